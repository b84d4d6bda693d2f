"""Each update rule against a few lines of NumPy, and what all optimizers share: groups, state, errors."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import minidl
from minidl.io.torch_file import load_torch
from minidl.optim import SGD, Adagrad, Adam, AdamW, RMSprop
from tests.elsewhere import elsewhere
from tests.strict import count_syncs

STEPS = 7
SHAPE = (3, 4)


# -- the published rules, step by step ---------------------------------------------------------------------------------


def sgd(p, gradients, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False, maximize=False):
    buf = None
    for gradient in gradients:
        g = (-gradient if maximize else gradient) + weight_decay * p
        buf = g if buf is None else momentum * buf + (1 - dampening) * g
        p = p - lr * (g if momentum == 0 else g + momentum * buf if nesterov else buf)
        yield p


def adam(
    p, gradients, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False, maximize=False, decoupled=False
):
    m = v = largest = np.zeros_like(p)
    for t, gradient in enumerate(gradients, start=1):
        g = -gradient if maximize else gradient
        if decoupled:
            p = p - lr * weight_decay * p
        else:
            g = g + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        largest = np.maximum(largest, v)
        m_hat = m / (1 - betas[0] ** t)
        v_hat = (largest if amsgrad else v) / (1 - betas[1] ** t)
        p = p - lr * m_hat / (np.sqrt(v_hat) + eps)
        yield p


def adamw(p, gradients, weight_decay=1e-2, **options):
    return adam(p, gradients, weight_decay=weight_decay, decoupled=True, **options)


def rmsprop(p, gradients, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False, maximize=False):
    v = mean = buf = np.zeros_like(p)
    for gradient in gradients:
        g = (-gradient if maximize else gradient) + weight_decay * p
        v = alpha * v + (1 - alpha) * g**2
        mean = alpha * mean + (1 - alpha) * g
        update = g / (np.sqrt(v - mean**2 if centered else v) + eps)
        buf = momentum * buf + update
        p = p - lr * buf
        yield p


def adagrad(p, gradients, lr=1e-2, lr_decay=0, weight_decay=0, initial_accumulator_value=0, eps=1e-10, maximize=False):
    total = np.full_like(p, initial_accumulator_value)
    for t, gradient in enumerate(gradients):
        g = (-gradient if maximize else gradient) + weight_decay * p
        total = total + g**2
        p = p - lr / (1 + t * lr_decay) * g / (np.sqrt(total) + eps)
        yield p


RULES = [
    (SGD, sgd, {}),
    (SGD, sgd, {"lr": 0.1, "weight_decay": 0.2}),
    (SGD, sgd, {"lr": 0.1, "maximize": True}),
    (SGD, sgd, {"lr": 0.1, "momentum": 0.9}),
    (SGD, sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.2, "maximize": True}),
    (SGD, sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.2}),
    (Adam, adam, {}),
    (Adam, adam, {"lr": 0.1, "betas": (0.5, 0.6), "eps": 0.1}),
    (Adam, adam, {"lr": 0.1, "weight_decay": 0.2, "maximize": True}),
    (Adam, adam, {"lr": 0.1, "betas": (0.5, 0.3), "amsgrad": True}),
    (AdamW, adamw, {"lr": 0.1}),
    (AdamW, adamw, {"lr": 0.1, "weight_decay": 0.3, "betas": (0.5, 0.3), "amsgrad": True, "maximize": True}),
    (RMSprop, rmsprop, {}),
    (RMSprop, rmsprop, {"lr": 0.1, "alpha": 0.5, "eps": 0.1, "weight_decay": 0.2, "maximize": True}),
    (RMSprop, rmsprop, {"lr": 0.1, "alpha": 0.5, "eps": 0.1, "momentum": 0.9, "centered": True}),
    (Adagrad, adagrad, {}),
    (Adagrad, adagrad, {"lr": 0.1, "lr_decay": 0.5, "initial_accumulator_value": 0.3, "eps": 0.1}),
    (Adagrad, adagrad, {"lr": 0.1, "weight_decay": 0.2, "maximize": True}),
]
NAMES = [f"{kind.__name__}-{'-'.join(options) or 'defaults'}" for kind, _, options in RULES]


def numbers(seed: int, dtype: Any = np.float64, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def gradients(dtype: Any = np.float64, shape: tuple[int, ...] = SHAPE) -> list[np.ndarray]:
    return [numbers(100 + t, dtype, shape) for t in range(STEPS)]


def leaf(array: np.ndarray) -> minidl.Tensor:
    return minidl.tensor(array, requires_grad=True)


def run(optimizer: Any, p: minidl.Tensor, all_gradients: list[np.ndarray]) -> Iterator[np.ndarray]:
    for gradient in all_gradients:
        p.grad = minidl.tensor(gradient)
        optimizer.step()
        yield p.array.copy()


@pytest.mark.parametrize(("kind", "rule", "options"), RULES, ids=NAMES)
@pytest.mark.parametrize("shape", [SHAPE, ()], ids=["matrix", "number"])
def test_rule(kind, rule, options, shape):
    start = numbers(0, shape=shape)
    p = leaf(start)
    steps = list(run(kind([p], **options), p, gradients(shape=shape)))
    np.testing.assert_allclose(steps, list(rule(start, gradients(shape=shape), **options)), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("kind", "rule", "options"), RULES, ids=NAMES)
def test_float32_stays_float32(kind, rule, options):
    start = numbers(0, np.float32)
    p = leaf(start)
    optimizer = kind([p], **options)
    steps = list(run(optimizer, p, gradients(np.float32)))
    assert p.dtype == np.float32
    assert all(value.dtype == np.float32 for value in optimizer.state[p].values())
    expected = list(rule(start.astype(np.float64), gradients(np.float32), **options))
    np.testing.assert_allclose(steps, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "rule", "options"), RULES, ids=NAMES)
def test_step_writes_in_place_and_leaves_the_gradient_alone(kind, rule, options):
    p = leaf(numbers(0))
    memory, version = p.array, p.version.count
    optimizer = kind([p], **options)
    for gradient in gradients():
        p.grad = minidl.tensor(gradient)
        optimizer.step()
        np.testing.assert_array_equal(p.grad.array, gradient)
    assert p.array is memory
    assert p.version.count == version + STEPS
    assert not any(np.shares_memory(value.array, p.grad.array) for value in optimizer.state[p].values())


@pytest.mark.parametrize(("kind", "rule", "options"), RULES, ids=NAMES)
def test_gpu_manners(kind, rule, options):
    p, q = leaf(numbers(0)), minidl.tensor(numbers(0), device=elsewhere.name, requires_grad=True)
    optimizer, other = kind([p], **options), kind([q], **options)
    *_, expected = run(optimizer, p, gradients())
    for gradient in gradients():
        q.grad = minidl.tensor(gradient, device=elsewhere.name)
        with count_syncs() as syncs:
            other.step()
        assert not syncs
    np.testing.assert_allclose(q.backend.to_numpy(q.array), expected, rtol=1e-13)
    resumed = kind([minidl.tensor(numbers(0), device=elsewhere.name, requires_grad=True)])
    resumed.load_state_dict(optimizer.state_dict())  # from the CPU
    values = resumed.state_dict()["state"].get(0, {})
    assert all(value.device.type == ("cpu" if name == "step" else elsewhere.name) for name, value in values.items())


def test_sgd_with_dampening_equal_to_momentum_is_the_averaged_form():
    m, lr = 0.9, 0.1
    p = leaf(numbers(0))
    steps = list(run(SGD([p], lr=lr, momentum=m, dampening=m), p, gradients()))
    moves = np.diff([numbers(0), *steps], axis=0)
    v = -lr * gradients()[0]  # the first step is the whole gradient, not (1 − m) of it
    np.testing.assert_allclose(moves[0], v, rtol=1e-12)
    for move, g in zip(moves[1:], gradients()[1:], strict=True):
        v = m * v + (1 - m) * (-lr * g)
        np.testing.assert_allclose(move, v, rtol=1e-12, atol=1e-14)


def test_step_reports_stale_saved_values():
    p = leaf(numbers(0))
    loss = (p * p).sum()
    p.grad = minidl.tensor(numbers(1))
    SGD([p], lr=0.1).step()
    with pytest.raises(RuntimeError, match="SGD"):
        loss.backward()


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW, RMSprop, Adagrad])
def test_minimizes(kind):
    target = minidl.tensor(numbers(1))
    p = leaf(numbers(0))
    optimizer = kind([p], lr=0.1)

    def closure() -> minidl.Tensor:
        optimizer.zero_grad()
        loss = ((p - target) ** 2).sum()
        loss.backward()
        return loss

    with minidl.no_grad():  # step() turns gradients on for the closure
        first = optimizer.step(closure).item()
        for _ in range(50):
            last = optimizer.step(closure).item()
    assert last < 0.5 * first


# -- groups ------------------------------------------------------------------------------------------------------------


def test_groups_have_options_of_their_own():
    a, b, c = (leaf(numbers(i)) for i in range(3))
    optimizer = SGD([{"params": [a], "lr": 0.5}, {"params": b, "momentum": 0.9}], lr=0.1, weight_decay=0.2)
    optimizer.add_param_group({"params": iter([c]), "weight_decay": 0})
    for gradient in gradients():
        for p in (a, b, c):
            p.grad = minidl.tensor(gradient)
        optimizer.step()
    for i, (p, options) in enumerate(
        [
            (a, {"lr": 0.5, "weight_decay": 0.2}),
            (b, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.2}),
            (c, {"lr": 0.1}),
        ]
    ):
        *_, expected = sgd(numbers(i), gradients(), **options)
        np.testing.assert_allclose(p.array, expected, rtol=1e-12)


def test_a_callers_group_is_left_as_it_is():
    group = {"params": [leaf(numbers(0))]}
    SGD([group], lr=0.1)
    assert list(group) == ["params"]


def test_parameters_without_gradient_stay_and_get_no_state():
    a, b = leaf(numbers(0)), leaf(numbers(1))
    optimizer = Adam([a, b], lr=0.1, weight_decay=0.5)
    a.grad = minidl.tensor(numbers(2))
    optimizer.step()
    np.testing.assert_array_equal(b.array, numbers(1))
    assert [id(p) for p in optimizer.state] == [id(a)]


def test_zero_grad():
    p = leaf(numbers(0))
    optimizer = SGD([p, leaf(numbers(1))], lr=0.1)
    p.grad = gradient = minidl.tensor(numbers(2))
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is gradient
    np.testing.assert_array_equal(gradient.array, np.zeros(SHAPE))
    optimizer.zero_grad()
    assert p.grad is None


def test_zero_grad_cuts_a_gradient_out_of_its_graph():
    p = leaf(numbers(0))
    (p**3).sum().backward(create_graph=True)
    assert p.grad.requires_grad
    SGD([p], lr=0.1).zero_grad(set_to_none=False)
    assert not p.grad.requires_grad
    np.testing.assert_array_equal(p.grad.array, np.zeros(SHAPE))


def test_names():
    a, b = leaf(numbers(0)), leaf(numbers(1))
    optimizer = SGD([("weight", a), ("bias", b)], lr=0.1)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(a), id(b)]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    with pytest.raises(ValueError, match="with/without names"):
        optimizer.add_param_group({"params": [leaf(numbers(2))]})


# -- state -------------------------------------------------------------------------------------------------------------


def test_state_dict_layout():
    a, b, c = (leaf(numbers(i)) for i in range(3))
    optimizer = Adam([{"params": [a, b]}, {"params": [c], "lr": 0.5}], lr=0.1)
    a.grad, c.grad = minidl.tensor(numbers(3)), minidl.tensor(numbers(4))
    optimizer.step()
    state = optimizer.state_dict()
    assert set(state) == {"state", "param_groups"}
    assert set(state["state"]) == {0, 2}
    assert set(state["state"][2]) == {"step", "exp_avg", "exp_avg_sq"}
    assert state["state"][2]["step"].item() == 1
    assert [group["params"] for group in state["param_groups"]] == [[0, 1], [2]]
    assert [group["lr"] for group in state["param_groups"]] == [0.1, 0.5]


@pytest.mark.parametrize(("kind", "rule", "options"), RULES, ids=NAMES)
def test_resuming_is_exact(kind, rule, options):
    p = leaf(numbers(0, np.float32))
    optimizer = kind([p], **options)
    list(run(optimizer, p, gradients(np.float32)[:3]))

    again = leaf(p.array)
    resumed = kind([again], lr=123.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    rest = gradients(np.float32)[3:]
    np.testing.assert_array_equal(list(run(resumed, again, rest)), list(run(optimizer, p, rest)))


def test_loaded_state_is_a_copy():
    p, q = leaf(numbers(0)), leaf(numbers(0))
    optimizer, other = SGD([p], lr=0.1, momentum=0.9), SGD([q], lr=0.1)
    list(run(optimizer, p, gradients()))
    state = optimizer.state_dict()
    other.load_state_dict(state)
    before = state["state"][0]["momentum_buffer"].array.copy()
    list(run(other, q, gradients()))
    np.testing.assert_array_equal(optimizer.state[p]["momentum_buffer"].array, before)
    assert state["param_groups"][0]["params"] == [0]


def test_loading_takes_the_dtype_of_the_parameter_and_missing_options_from_the_defaults():
    p, q = leaf(numbers(0)), leaf(numbers(0, np.float32))
    optimizer, other = Adam([p], lr=0.1), Adam([q], eps=0.25)
    list(run(optimizer, p, gradients()))
    state = optimizer.state_dict()
    del state["param_groups"][0]["eps"]  # as if an older version had saved it
    other.load_state_dict(state)
    assert other.state[q]["exp_avg"].dtype == np.float32
    assert other.state[q]["step"].item() == STEPS
    assert other.param_groups[0]["eps"] == 0.25


def test_state_has_the_memory_layout_of_the_parameter():
    channels_last = np.zeros((2, 4, 5, 3)).transpose(0, 3, 1, 2)
    p, q = (minidl.from_numpy(channels_last.copy(order="K")).requires_grad_() for _ in range(2))
    optimizer, other = SGD([p], momentum=0.9), SGD([q])
    p.grad = minidl.tensor(np.ones(p.shape))
    optimizer.step()
    state = optimizer.state_dict()
    state["state"][0]["momentum_buffer"] = minidl.tensor(np.ones(p.shape))  # as a file gives it
    other.load_state_dict(state)
    for loaded in (optimizer.state[p], other.state[q]):
        assert loaded["momentum_buffer"].array.strides == channels_last.strides
    np.testing.assert_array_equal(other.state[q]["momentum_buffer"].array, 1)


def test_adamw_decays_decoupled_even_with_the_state_of_adam():
    p = leaf(numbers(0))
    optimizer = AdamW([p])
    optimizer.load_state_dict(Adam([leaf(numbers(0))]).state_dict())
    assert optimizer.param_groups[0]["decoupled_weight_decay"]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("SGD", {"momentum": 0.9}),
        ("Adam", {"amsgrad": True}),
        ("AdamW", {}),
        ("RMSprop", {"momentum": 0.9, "centered": True}),
        ("Adagrad", {}),
    ],
)
def test_the_state_of_an_optimizer_of_pytorch_goes_on(tmp_path, kind, options):
    torch = pytest.importorskip("torch")
    theirs = torch.tensor(numbers(0, np.float32), requires_grad=True)
    optimizer = getattr(torch.optim, kind)([theirs], lr=0.1, **options)

    def steps(gradients):
        for gradient in gradients:
            theirs.grad = torch.tensor(gradient)
            optimizer.step()
        return theirs.detach().numpy().copy()

    first, rest = gradients(np.float32)[:3], gradients(np.float32)[3:]
    p = leaf(steps(first))
    torch.save({"opt": optimizer.state_dict()}, tmp_path / "state.pth")
    ours = getattr(minidl.optim, kind)([p])
    ours.load_state_dict(load_torch(tmp_path / "state.pth")["opt"])
    np.testing.assert_allclose(list(run(ours, p, rest))[-1], steps(rest), rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeError, match=r"of parameter 0 should be a minidl\.Tensor or NumPy array, got torch\.Tensor"):
        ours.load_state_dict(optimizer.state_dict())


def test_arrays_are_state_too():
    p, q = leaf(numbers(0)), leaf(numbers(0))
    optimizer, other = SGD([p], lr=0.1, momentum=0.9), SGD([q])
    list(run(optimizer, p, gradients()[:3]))
    q.array[...] = p.array
    state = optimizer.state_dict()
    state["state"] = {0: {"momentum_buffer": state["state"][0]["momentum_buffer"].numpy().astype(np.float32)}}
    other.load_state_dict(state)
    assert other.state[q]["momentum_buffer"].dtype == np.float64
    rest = gradients()[3:]
    np.testing.assert_allclose(list(run(other, q, rest)), list(run(optimizer, p, rest)), rtol=1e-5)


def test_loading_refuses_what_does_not_fit():
    p = leaf(numbers(0))
    optimizer = SGD([p], lr=0.1, momentum=0.9)
    list(run(optimizer, p, gradients()))
    state = optimizer.state_dict()
    with pytest.raises(ValueError, match="different number of parameter groups: 1, the optimizer has 2"):
        SGD([{"params": [leaf(numbers(0))]}, {"params": [leaf(numbers(0))]}]).load_state_dict(state)
    with pytest.raises(ValueError, match="group 0 has 1 parameters, the optimizer's 2"):
        SGD([leaf(numbers(0)), leaf(numbers(0))]).load_state_dict(state)
    with pytest.raises(ValueError, match=r"momentum_buffer of parameter 0 has shape \(3, 4\), .* has shape \(5,\)"):
        SGD([leaf(np.zeros(5))]).load_state_dict(state)
    with pytest.raises(ValueError, match="state for parameter '0', which is in none of its groups"):
        optimizer.load_state_dict({**state, "state": {"0": state["state"][0]}})

    class Foreign:
        def __array__(self):
            return numbers(0)

    with pytest.raises(TypeError, match=r"momentum_buffer of parameter 0 should be .*, got .*\.Foreign"):
        optimizer.load_state_dict({**state, "state": {0: {"momentum_buffer": Foreign()}}})


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (SGD, {"lr": -1}, "Invalid learning rate: -1"),
        (SGD, {"lr": float("nan")}, "Invalid learning rate: nan"),
        (SGD, {"momentum": -0.5}, "Invalid momentum value: -0.5"),
        (SGD, {"weight_decay": -0.5}, "Invalid weight_decay value: -0.5"),
        (SGD, {"nesterov": True}, "Nesterov momentum requires a momentum and zero dampening"),
        (
            SGD,
            {"nesterov": True, "momentum": 0.9, "dampening": 0.1},
            "Nesterov momentum requires a momentum and zero dampening",
        ),
        (Adam, {"lr": -1}, "Invalid learning rate: -1"),
        (Adam, {"eps": -1}, "Invalid epsilon value: -1"),
        (Adam, {"betas": (1.0, 0.9)}, "Invalid beta parameter at index 0: 1.0"),
        (AdamW, {"betas": (0.9, -0.1)}, "Invalid beta parameter at index 1: -0.1"),
        (Adam, {"betas": (0.9,)}, "Invalid betas, which should be two numbers: (0.9,)"),
        (Adam, {"betas": (0.9, 0.99, 0.999)}, "Invalid betas, which should be two numbers: (0.9, 0.99, 0.999)"),
        (AdamW, {"betas": 0.9}, "Invalid betas, which should be two numbers: 0.9"),
        (AdamW, {"weight_decay": -1}, "Invalid weight_decay value: -1"),
        (RMSprop, {"lr": -1}, "Invalid learning rate: -1"),
        (RMSprop, {"eps": -1}, "Invalid epsilon value: -1"),
        (RMSprop, {"momentum": -1}, "Invalid momentum value: -1"),
        (RMSprop, {"weight_decay": -1}, "Invalid weight_decay value: -1"),
        (RMSprop, {"alpha": -1}, "Invalid alpha value: -1"),
        (Adagrad, {"lr": -1}, "Invalid learning rate: -1"),
        (Adagrad, {"lr_decay": -1}, "Invalid lr_decay value: -1"),
        (Adagrad, {"weight_decay": -1}, "Invalid weight_decay value: -1"),
        (Adagrad, {"initial_accumulator_value": -1}, "Invalid initial_accumulator_value value: -1"),
        (Adagrad, {"eps": -1}, "Invalid epsilon value: -1"),
    ],
)
def test_options_out_of_range(kind, options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        kind([leaf(numbers(0))], **options)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):  # also as the option of a group
        kind([{"params": [leaf(numbers(0))], **options}])


def test_bad_parameters():
    p = leaf(numbers(0))
    with pytest.raises(ValueError, match="optimizer got an empty parameter list"):
        SGD([])
    with pytest.raises(TypeError, match="should be an iterable of Tensors or dicts, but got Tensor"):
        SGD(p)
    with pytest.raises(TypeError, match="Please use a list instead"):
        SGD({p})
    with pytest.raises(TypeError, match="Please use a list instead"):
        SGD([{"params": {p}}])
    with pytest.raises(TypeError, match="can only optimize Tensors, but one of the params is ndarray"):
        SGD([numbers(0)])
    with pytest.raises(ValueError, match="can't optimize a non-leaf Tensor"):
        SGD([p * 2])
    with pytest.raises(ValueError, match="more than once in a parameter group"):
        SGD([p, p])
    with pytest.raises(ValueError, match="in more than one parameter group"):
        SGD([{"params": [p]}, {"params": [p]}])
    with pytest.raises(ValueError, match="should be with/without names"):
        SGD([("p", p), leaf(numbers(1))])
    with pytest.raises(TypeError, match="param_group must be a dict, but got list"):
        SGD([p]).add_param_group([p])


def test_repr():
    text = repr(SGD([leaf(numbers(0))], lr=0.5))
    assert text.startswith("SGD (\nParameter Group 0\n    dampening: 0\n    lr: 0.5\n")
