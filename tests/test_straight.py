"""Rows of layers where nothing is recorded: the same bits as one layer after another, and nothing that goes past them."""

from __future__ import annotations

import copy
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.nn import straight as module
from tests.elsewhere import elsewhere


def dense(dtype: Any = minidl.float32) -> nn.Sequential:
    """All layers that are known, with statistics that are not 0 and 1."""
    minidl.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Sigmoid(), nn.Dropout(0.5), nn.Linear(7, 6, bias=False), nn.ReLU(),
        nn.Identity(), nn.Linear(6, 4), nn.ReLU(inplace=True), nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU()),
    )  # fmt: skip
    net.train()
    net(minidl.randn(20, 5))
    return net.eval().to(dtype)


def one_by_one(layers: Any, x: Any) -> Any:
    for layer in layers:
        x = one_by_one(layer, x) if type(layer) is nn.Sequential else layer(x)
    return x


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the layers that were done straight."""
    done: list[str] = []

    def noted(layer: type, step: Any) -> Any:
        def call(*arguments: Any) -> Any:
            result = step(*arguments)
            if result is not None:
                done.append(layer.__name__ if arguments[-1] is None else f"{layer.__name__}, {arguments[-1]}")
            return result

        return call

    for layer, step in list(module.STEPS.items()):
        monkeypatch.setitem(module.STEPS, layer, noted(layer, step))
    return done


ALL = [
    "Linear",
    "BatchNorm1d, sigmoid",
    "Dropout",
    "Linear, relu",
    "Identity",
    "Linear, relu",
    "Linear",
    "BatchNorm1d, relu",
]


@pytest.mark.parametrize("rows", [0, 1, 2, 33, 3000])
@pytest.mark.parametrize("dtype", [minidl.float32, minidl.float64], ids=str)
def test_the_same_bits(rows: int, dtype: Any, steps: list[str]) -> None:
    net, x = dense(dtype), minidl.randn(rows, 5).to(dtype)
    before = x.numpy().copy()
    with minidl.no_grad():
        y, plain = net(x), one_by_one(net, x)
    assert type(y) is minidl.Tensor and y.dtype is dtype and not y.requires_grad
    assert (y.numpy() == plain.numpy()).all() and y.shape == (rows, 3)
    assert (x.numpy() == before).all()  # layers write over what is theirs, and not over what they are given
    assert steps == ALL


def test_on_another_device(steps: list[str]) -> None:
    net, x = dense().to(elsewhere.name), minidl.randn(4, 5).to(elsewhere.name)
    with minidl.no_grad():
        y, plain = net(x), one_by_one(net, x)
    assert (y.cpu().numpy() == plain.cpu().numpy()).all() and steps == ALL


def test_what_is_recorded_goes_the_ordinary_way(steps: list[str]) -> None:
    net = dense()
    net(minidl.randn(4, 5)).sum().backward()
    assert net[0].weight.grad is not None and not steps


def test_layers_in_training_do_what_they_do_in_training(steps: list[str]) -> None:
    net = dense().train()
    x, mean = minidl.randn(40, 5), net[1].running_mean.numpy().copy()
    with minidl.no_grad():
        net(x)
        assert not (net[1].running_mean.numpy() == mean).all()
        assert len({float(net(x).sum().item()) for _ in range(3)}) == 3  # dropout
    assert set(steps) == {"Linear", "Linear, relu"}


def test_hooks_are_called(steps: list[str]) -> None:
    net, seen = dense(), []
    handles = [
        net[0].register_forward_hook(lambda layer, args, y: seen.append(y.shape)),
        net[2].register_forward_pre_hook(lambda layer, args: seen.append(args[0].shape)),
        net[5].register_forward_pre_hook(lambda layer, args: seen.append(args[0].shape)),
    ]
    with minidl.no_grad():
        y = net(minidl.ones(2, 5))
        for handle in handles:
            handle.remove()
        assert (net(minidl.ones(2, 5)).numpy() == y.numpy()).all()
    assert seen == [(2, 7), (2, 7), (2, 6)]


def test_a_forward_of_ones_own_is_called() -> None:
    class Twice(nn.Linear):
        def forward(self, input: Any) -> Any:
            return super().forward(input) * 2

    net, x = nn.Sequential(Twice(3, 3), nn.ReLU(), nn.Linear(3, 3)), minidl.randn(2, 3)
    with minidl.no_grad():
        plain = (net[0].forward(x)).relu()
        net[2].forward = lambda input: input + 1
        assert (net(x).numpy() == (plain + 1).numpy()).all()


def test_layers_between_that_are_not_known(steps: list[str]) -> None:
    net, x = (
        nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.ReLU(), nn.Unflatten(1, (2, 2)), nn.Flatten(), nn.Linear(4, 2)),
        minidl.randn(3, 4),
    )
    with minidl.no_grad():
        assert (net(x).numpy() == one_by_one(net, x).numpy()).all()
    assert steps == ["Linear", "ReLU", "Linear"]


@pytest.mark.parametrize("first", [nn.Identity(), nn.Dropout(0.5).eval(), nn.ReLU(), nn.Sigmoid()], ids=repr)
def test_what_is_given_stays_as_it_is(first: Any) -> None:
    x = minidl.randn(3, 3)
    before = x.tolist()
    with minidl.no_grad():
        nn.Sequential(first, nn.ReLU(), nn.Sigmoid())(x)
    assert x.tolist() == before


def test_a_layer_that_was_changed_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = nn.Sequential(nn.Linear(3, 3)), minidl.randn(2, 3)
    monkeypatch.setattr(nn.Linear, "forward", lambda self, input: input - 1)
    with minidl.no_grad():
        assert (net(x).numpy() == x.numpy() - 1).all()


def test_parameters_of_another_dtype_are_refused() -> None:
    net = nn.Sequential(nn.BatchNorm1d(3)).eval()
    net[0].weight.data = net[0].weight.data.double()
    with minidl.no_grad(), pytest.raises(RuntimeError, match="float64"):
        net(minidl.randn(2, 3))


def test_inplace_writes_over_what_it_is_given() -> None:
    x = minidl.tensor([[-1.0, 2.0]])
    with minidl.no_grad():
        y = nn.Sequential(nn.ReLU(inplace=True), nn.Identity())(x)
    assert y is x and x.tolist() == [[0.0, 2.0]]


@pytest.mark.parametrize("make", [
    lambda: minidl.ones(2, 4), lambda: minidl.ones(2, 5, dtype=minidl.float64), lambda: minidl.ones(2, 5, dtype=minidl.int64),
    lambda: minidl.ones(()), lambda: [1.0] * 5,
], ids=["size", "float64", "int64", "0-d", "list"])  # fmt: skip
def test_errors_say_the_same_as_where_it_is_recorded(make: Any) -> None:
    net = nn.Sequential(nn.Identity(), nn.Linear(5, 7), nn.ReLU())
    with pytest.raises((RuntimeError, TypeError)) as plain:
        net(make())
    with minidl.no_grad(), pytest.raises(type(plain.value)) as straight:
        net(make())
    assert str(straight.value) == str(plain.value) and "Sequential.1" in str(plain.value)


def test_other_shapes() -> None:
    net = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.BatchNorm1d(3)).eval()
    with minidl.no_grad():
        for x in (minidl.randn(2, 3, 5), minidl.randn(2, 3, 5).double()):
            net.to(x.dtype)
            assert (net(x).numpy() == one_by_one(net, x).numpy()).all()
        assert nn.Sequential()(x) is x


def test_no_warning_where_the_layers_give_none() -> None:
    net, x = nn.Sequential(nn.Linear(1, 1), nn.Sigmoid()), minidl.tensor([[-1e4], [1e4]], dtype=minidl.float64)
    net = net.double()
    with minidl.no_grad():
        net[0].weight.fill_(1)
        assert net(x).round().tolist() == [[0.0], [1.0]]


# -- layers that do what follows them, too --------------------------------------------------------------------------------


ACTIVATIONS = [nn.ReLU, lambda: nn.ReLU(inplace=True), nn.ReLU6, lambda: nn.ReLU6(inplace=True), nn.Sigmoid]


def trained(net: nn.Sequential, x: Any, call: Any) -> list[np.ndarray]:
    """The result, all gradients and the running statistics after a step."""
    x = x.detach().requires_grad_()
    y = call(net, x)
    (y * y.detach().cos()).sum().backward()
    return [t.detach().cpu().numpy() for t in (y, x.grad, *[p.grad for p in net.parameters()], *net.buffers())]


@pytest.mark.parametrize("dtype", [minidl.float32, minidl.float64], ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(6, 4), (33, 70), (3, 4, 5), (4, 5, 6, 7), (2, 48, 23, 29)], ids=str)
def test_joined_they_do_what_they_do_one_by_one(shape: Any, activation: Any, dtype: Any) -> None:
    minidl.manual_seed(0)
    layer = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    nets = [nn.Sequential(layer(shape[1]), activation(), layer(shape[1]), activation()).to(dtype) for _ in range(2)]
    x = (3 * minidl.randn(*shape)).to(dtype)
    for net in nets:
        net[0].weight.data.copy_(minidl.linspace(-3, 4, shape[1]))
        net[2].bias.data.copy_(minidl.linspace(-1, 7, shape[1]))
    ours, theirs = (trained(net, x, call) for net, call in zip(nets, (lambda n, x: n(x), one_by_one), strict=True))
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b)
    assert nodes(nets[0](x.requires_grad_())) == ["NormalizeThen"] * 2


def nodes(y: Any) -> list[str]:
    """The names of the records that lead to y, the last one first."""
    names, node = [], y.grad_fn
    while node is not None and not isinstance(node, minidl.Tensor):
        names.append(type(node).__name__)
        node = node.edges[0][0] if node.edges and node.edges[0] else None
    return names


def convolution(*arguments: Any, **settings: Any) -> Any:
    return lambda: nn.Conv2d(*arguments, **settings)


PRODUCTS = {
    "dense": (lambda: nn.Linear(4, 4), (6, 4)),
    "dense, large": (lambda: nn.Linear(200, 200), (130, 200)),
    "dense, no bias": (lambda: nn.Linear(4, 4, bias=False), (6, 4)),
    "dense, three dimensions": (lambda: nn.Linear(4, 4), (2, 3, 4)),
    "dense, one dimension": (lambda: nn.Linear(4, 4), (4,)),
    "no rows": (lambda: nn.Linear(4, 4), (0, 4)),
    "direct": (convolution(16, 16, 3, padding=1), (3, 16, 9, 8)),
    "windows": (convolution(3, 3, 2, 2, 3), (2, 3, 5, 6)),
    "by Winograd": (convolution(64, 64, 3, padding=1), (2, 64, 13, 12)),
    "depthwise": (convolution(4, 4, 3, padding=1, groups=4), (2, 4, 7, 6)),
    "groups": (convolution(4, 4, 3, padding=1, groups=2, bias=False), (2, 4, 7, 6)),
    "dilation": (convolution(4, 4, 3, padding=2, dilation=2), (2, 4, 7, 6)),
    "reflected": (convolution(4, 4, 3, padding=1, padding_mode="reflect"), (2, 4, 7, 6)),
    "one image": (convolution(4, 4, 3, padding="same"), (4, 7, 6)),
    "no images": (convolution(4, 4, 3, padding=1), (0, 4, 7, 6)),
}


def product_net(name: str, dtype: Any) -> tuple[nn.Sequential, Any]:
    layer, shape = PRODUCTS[name]
    minidl.manual_seed(0)
    return nn.Sequential(layer(), nn.ReLU(), layer(), nn.ReLU(inplace=True)).to(dtype), minidl.randn(*shape).to(dtype)


@pytest.mark.parametrize("dtype", [minidl.float32, minidl.float64], ids=str)
@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_and_relu_do_what_they_do_one_by_one(name: str, dtype: Any) -> None:
    net, x = product_net(name, dtype)
    ours = trained(net, x, lambda n, x: n(x))
    net.zero_grad()
    for a, b in zip(ours, trained(net, x, one_by_one), strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b)
    with minidl.no_grad():
        assert np.array_equal(net(x).numpy(), one_by_one(net, x).numpy())
    names = [name for name in nodes(net(x)) if "Linear" in name or "Conv" in name or name == "ReLU"]
    assert names == ["LinearReLU" if "dense" in name or name == "no rows" else "Conv2dReLU"] * 2


@pytest.mark.parametrize("name", ["dense", "windows", "groups"])
def test_their_second_derivatives(name: str) -> None:
    net, x = product_net(name, minidl.float64)
    found = []
    for call in (lambda n, x: n(x)), one_by_one:
        x = x.detach().requires_grad_()
        inputs = [x, *net.parameters()]
        y = call(net, x)
        first = minidl.autograd.grad((y * y).sum(), inputs, create_graph=True)
        second = minidl.autograd.grad(sum([(g * g.detach().cos()).sum() for g in first]), inputs)
        found.append([t.detach().numpy() for t in (*first, *second)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
    assert np.abs(found[0][-2]).max() > 0


@pytest.mark.parametrize("layer", [nn.Linear(3, 3), nn.Conv2d(3, 3, 1)], ids=lambda layer: type(layer).__name__)
def test_they_ask_for_no_more_than_one_by_one(layer: Any) -> None:
    """The first layer's input wants no gradient: its weight may change before the way back, and the graph may be used twice."""
    net, x = nn.Sequential(layer, nn.ReLU()), minidl.randn(2, 3, *[5, 5][: 2 * (type(layer) is nn.Conv2d)])
    y = net(x)
    with minidl.no_grad():
        layer.weight.add_(1)
    y.sum().backward(retain_graph=True)
    once = layer.weight.grad.clone()
    (2 * y).sum().backward()
    assert np.array_equal(layer.weight.grad.numpy(), 3 * once.numpy()) and once.numpy().any()
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()
    layer.weight.grad, y, g = None, net(x), minidl.ones(*y.shape)
    y.backward(g, retain_graph=True)
    once = layer.weight.grad.clone()
    y.backward(g.mul_(2))  # the same memory, other numbers
    assert np.array_equal(layer.weight.grad.numpy(), 3 * once.numpy()) and once.numpy().any()
    z = net(x)
    with minidl.no_grad():
        z.mul_(2)
    with pytest.raises(RuntimeError, match=r"its output .* has changed since"):
        z.sum().backward()


@pytest.mark.parametrize("layer", [nn.Linear(16, 16), nn.Conv2d(4, 4, 1)], ids=lambda layer: type(layer).__name__)
def test_threads_may_go_back_over_one_graph(layer: Any) -> None:
    net, x = nn.Sequential(layer, nn.ReLU()), minidl.randn(32, *([16] if type(layer) is nn.Linear else [4, 2, 2]))
    y = net(x)
    cotangents = [minidl.ones(*y.shape), 3 * minidl.ones(*y.shape)]
    back = lambda i: minidl.autograd.grad(y, list(net.parameters()), cotangents[i], retain_graph=True)  # noqa: E731
    expected = [[g.numpy().copy() for g in back(i)] for i in range(2)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as pool:
            for i, found in enumerate(pool.map(lambda i: [back(i) for _ in range(300)], range(2))):
                for gradients in found:
                    for a, b in zip(gradients, expected[i], strict=True):
                        np.testing.assert_allclose(a.numpy(), b, rtol=1e-5)
    finally:
        sys.setswitchinterval(before)


def test_a_call_that_was_changed_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x, plain, seen = nn.Sequential(nn.Linear(3, 3), nn.ReLU()), minidl.randn(2, 3), nn.Module.__call__, []
    monkeypatch.setattr(nn.ReLU, "__call__", lambda self, *args: [seen.append(1), plain(self, *args)][1], raising=False)
    net(x)
    with minidl.no_grad():
        net(x)
    assert seen == [1, 1]


def test_other_activations_are_refused() -> None:
    for layer, x in (nn.Linear(3, 3), minidl.ones(2, 3)), (nn.Conv2d(3, 3, 1), minidl.ones(1, 3, 2, 2)):
        with pytest.raises(ValueError, match=f"then='tanh' is not 'relu', in {type(layer).__name__}"):
            layer(x, "tanh")


def test_joined_on_another_device() -> None:
    layers = nn.Conv2d(4, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.ReLU6(), nn.BatchNorm2d(4), nn.Sigmoid(), nn.Flatten()
    net, x = nn.Sequential(*layers, nn.Linear(48, 5), nn.ReLU()), minidl.randn(3, 4, 5, 6)
    there = copy.deepcopy(net).to(elsewhere.name)
    here = trained(net, x, lambda n, x: n(x))
    for a, b in zip(here, trained(there, x.to(elsewhere.name), lambda n, x: n(x)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 5), (4, 5, 6, 7)], ids=str)
def test_where_nothing_is_recorded_batch_normalisation_joins_in_evaluation_too(shape: Any, activation: Any) -> None:
    layer = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    net, x = (
        nn.Sequential(layer(shape[1]), activation(), nn.Identity(), layer(shape[1]), activation()),
        minidl.randn(*shape),
    )
    net(x)
    net.eval()
    with minidl.no_grad():
        assert np.array_equal(net(x).numpy(), one_by_one(net, x).numpy())


def test_a_nan_stays_and_an_infinity_passes_as_one_by_one() -> None:
    x = minidl.randn(6, 3)
    x[2, 1] = float("nan")
    for activation in nn.ReLU, nn.ReLU6, nn.Sigmoid:
        nets = [nn.Sequential(nn.BatchNorm1d(3), activation()) for _ in range(2)]
        nets[0][0].bias.data.fill_(float("inf"))
        nets[1][0].bias.data.fill_(float("inf"))
        ours, theirs = (trained(net, x, call) for net, call in zip(nets, (lambda n, x: n(x), one_by_one), strict=True))
        for a, b in zip(ours, theirs, strict=True):
            assert np.array_equal(a, b, equal_nan=True)


def test_what_is_not_joined() -> None:
    """Hooks, a forward of one's own, evaluation, anomaly mode: there everything is called by itself."""
    x = minidl.randn(6, 4).requires_grad_()

    class Mine(nn.ReLU):
        def forward(self, input: Any) -> Any:
            return super().forward(input) * 2

    plain = ["ReLU", "Normalize"]
    assert nodes(nn.Sequential(nn.BatchNorm1d(4), nn.ReLU())(x)) == ["NormalizeThen"]
    assert nodes(nn.Sequential(nn.BatchNorm1d(4), Mine())(x)) == ["Mul", *plain]
    assert nodes(nn.Sequential(nn.BatchNorm1d(4), nn.ReLU()).eval()(x)) == ["ReLU", "NormalizeBy"]
    for i in range(2):
        net, seen = nn.Sequential(nn.BatchNorm1d(4), nn.ReLU()), []
        net[i].register_forward_hook(lambda layer, args, y, seen=seen: seen.append(y.shape))
        assert nodes(net(x)) == plain and seen == [(6, 4)]
    with minidl.autograd.detect_anomaly():
        assert nodes(nn.Sequential(nn.BatchNorm1d(4), nn.ReLU())(x)) == plain
    with pytest.raises(ValueError, match=r"expected 4D input \(got 2D input\), in Sequential.0"):
        nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())(x)
    assert nn.Sequential()(x) is x
    with pytest.raises(ValueError, match=r"then='tanh' is none of 'relu', 'relu6', 'sigmoid', in BatchNorm1d"):
        nn.BatchNorm1d(4)(x, "tanh")
    y = nn.BatchNorm1d(4).eval()(x, "relu")  # asked for by hand
    assert nodes(y) == ["ReLU", "NormalizeBy"]
