"""backward() and grad().

Every expectation here was first seen in PyTorch 2.13, except in ``test_own_…``: there minidl is more exact.
"""

import numpy as np
import pytest

import minidl

T = minidl.tensor


def leaf(*values):
    return T(list(values), requires_grad=True)


# -- backward() --------------------------------------------------------------------------------------------------------


def test_gradients_accumulate_over_calls_and_uses():
    x = leaf(1.0, 2.0)
    y = (x * x + 3 * x).sum()
    y.backward()
    assert x.grad.tolist() == [5, 7]
    (x * 10).sum().backward()
    assert x.grad.tolist() == [15, 17]
    assert not x.grad.requires_grad


def test_a_leaf_is_its_own_graph():
    x = T(3.0, requires_grad=True)
    x.backward()
    assert x.grad.item() == 1
    assert x.is_leaf
    assert x.grad_fn is None


def test_what_a_leaf_is():
    x = leaf(1.0)
    assert not (x * 2).is_leaf
    assert (x * 2).requires_grad
    assert (x * 2).detach().is_leaf
    assert T([1.0]).is_leaf
    assert (T([1.0]) * 2).is_leaf
    assert not (x > 0).requires_grad
    assert (x * 2).grad is None


def test_gradient_argument():
    x = leaf(1.0, 2.0)
    y = x * x
    y.backward(T([1.0, 10.0]))
    assert x.grad.tolist() == [2, 40]


def test_gradient_argument_is_cast_and_not_kept():
    x = leaf(1.0, 2.0)
    g = T([1.0, 10.0], dtype=minidl.float64)
    (x + 1).backward(g)
    assert x.grad.dtype == minidl.float32
    same = T([1.0, 10.0])
    x.grad = None
    (x + 1).backward(same)
    (x + 1).backward(same)
    assert x.grad.tolist() == [2, 20]
    assert same.tolist() == [1, 10]


@pytest.mark.parametrize(
    ("gradient", "error", "message"),
    [
        (
            T([1.0]),
            RuntimeError,
            r"Mismatch in shape: grad_output\[0\] has a shape of .*1.* and output\[0\] has a shape of .*2",
        ),
        (None, RuntimeError, "grad can be implicitly created only for scalar outputs"),
        ("1", TypeError, "gradients can be either Tensors or None, but got str"),
    ],
)
def test_unsuitable_gradient(gradient, error, message):
    y = leaf(1.0, 2.0) * 2
    with pytest.raises(error, match=message):
        minidl.autograd.backward([y], [gradient])


def test_no_graph():
    with pytest.raises(RuntimeError, match="element 0 of tensors does not require grad and does not have a grad_fn"):
        T([1.0, 2.0]).sum().backward()


def test_backward_twice():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(
        RuntimeError, match=r"Trying to backward through the graph a second time.*(MulBackward|Saved inter)"
    ):
        y.backward()
    assert x.grad.tolist() == [2, 4]


def test_retain_graph():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [6, 12]
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()


def test_two_losses_share_a_part():
    x = leaf(3.0)
    shared = x * x
    shared.sum().backward(retain_graph=True)
    (shared * 2).sum().backward()
    assert x.grad.tolist() == [18]


def test_inputs_only():
    x, z, other = T(1.0, requires_grad=True), T(2.0, requires_grad=True), T(5.0, requires_grad=True)
    h = x * z
    (h * 3).backward(inputs=[h, z, z, other])
    assert x.grad is None
    assert other.grad is None
    assert (h.grad.item(), z.grad.item()) == (3, 3)


def test_inputs_must_be_some():
    with pytest.raises(RuntimeError, match="`inputs` argument to `backward\\(\\)` cannot be empty"):
        (leaf(1.0) * 2).backward(inputs=[])


def test_several_roots():
    x = leaf(1.0, 2.0)
    y = x * 2
    minidl.autograd.backward([y, (y * y).sum()], [T([1.0, 0.0]), None])
    assert x.grad.tolist() == [10, 16]


# -- grad() ------------------------------------------------------------------------------------------------------------


def test_grad_leaves_grad_alone():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    gx, gw = minidl.autograd.grad((x * w).sum(), [x, w])
    assert gx.tolist() == [3, 4]
    assert gw.tolist() == [1, 2]
    assert x.grad is None


def test_grad_of_several_outputs_adds_up():
    x = leaf(1.0, 1.0)
    y = x * 2
    (g,) = minidl.autograd.grad([y, y * 2], x, [T([1.0, 2.0]), T([1.0, 1.0])])
    assert g.tolist() == [6, 8]
    with pytest.raises(RuntimeError, match="got 2 tensors and 1 gradients"):
        minidl.autograd.grad([y, y * 2], x, [T([1.0, 2.0])])


def test_grad_of_intermediate_values():
    x = leaf(2.0)
    h = x * x
    y = h * h
    gh, gx = minidl.autograd.grad(y.sum(), [h, x])
    assert gh.tolist() == [8]
    assert gx.tolist() == [32]
    (gy,) = minidl.autograd.grad(y, y, T([7.0]))
    assert gy.tolist() == [7]


def test_unused_input():
    x, unused = leaf(1.0), leaf(2.0, 3.0)
    with pytest.raises(
        RuntimeError, match="The differentiated Tensor at index 1 .*appears to not have been used in the graph"
    ):
        minidl.autograd.grad((x * 2).sum(), [x, unused])
    gx, g = minidl.autograd.grad((x * 2).sum(), [x, unused], allow_unused=True)
    assert g is None
    gx, g = minidl.autograd.grad((x * 2).sum(), [x, unused], materialize_grads=True)
    assert (gx.tolist(), g.tolist()) == ([2], [0, 0])
    with pytest.raises(RuntimeError, match="One of the differentiated Tensors does not require grad"):
        minidl.autograd.grad((x * 2).sum(), T([1.0]))


def test_only_the_needed_part_is_computed():
    seen = []

    class Watch(minidl.autograd.Function):
        @staticmethod
        def forward(ctx, x, name):
            ctx.name = name
            return x * 1

        @staticmethod
        def backward(ctx, g):
            seen.append(ctx.name)
            return g, None

    a, b = leaf(1.0), leaf(2.0)
    y = Watch.apply(Watch.apply(a, "a") * 2, "a2") + Watch.apply(b, "b")
    minidl.autograd.grad(y.sum(), b, retain_graph=True)
    assert seen == ["b"]
    seen.clear()
    y.sum().backward(inputs=[a])
    assert seen == ["a2", "a"]
    assert b.grad is None


def test_own_a_function_learns_which_gradients_are_needed():
    seen = []

    class Product(minidl.autograd.Function):
        @staticmethod
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            return a * b

        @staticmethod
        def backward(ctx, g):
            seen.append(ctx.needs_input_grad)
            a, b = ctx.saved_tensors
            return g * b, g * a

    a, b = leaf(2.0), leaf(3.0)
    y = Product.apply(a, b).sum()
    assert minidl.autograd.grad(y, a, retain_graph=True)[0].tolist() == [3]
    assert minidl.autograd.grad(y, b, retain_graph=True)[0].tolist() == [2]
    y.backward()
    assert seen == [(True, False), (False, True), (True, True)]


# -- derivatives of higher order ---------------------------------------------------------------------------------------


def test_derivatives_to_third_order():
    x = T(2.0, dtype=minidl.float64, requires_grad=True)
    y = x**4 * 3
    expected = [96, 144, 144]
    for value in expected:
        (y,) = minidl.autograd.grad(y, x, create_graph=True)
        assert y.item() == value
    assert y.requires_grad


def test_create_graph_in_backward():
    x = T(2.0, requires_grad=True)
    (x**3).backward(create_graph=True)
    assert x.grad.requires_grad
    g = x.grad
    x.grad = None
    (g * g).backward()
    assert x.grad.item() == 2 * 12 * 12


def test_a_gradient_penalty_reaches_all_parameters():
    w, v, x = leaf(2.0), leaf(3.0), leaf(5.0)
    y = (w * x * x * v).sum()
    (g,) = minidl.autograd.grad(y, x, create_graph=True)  # 2wxv = 60
    ((g - 1) ** 2).sum().backward()
    assert w.grad.tolist() == [2 * 59 * 30]
    assert v.grad.tolist() == [2 * 59 * 20]
    assert x.grad.tolist() == [2 * 59 * 12]


def test_mixed_partial_derivatives_agree():
    x, y = T(0.3, dtype=minidl.float64, requires_grad=True), T(0.7, dtype=minidl.float64, requires_grad=True)
    z = (x * y).sin() * (x + y).exp()
    gx, gy = minidl.autograd.grad(z, [x, y], create_graph=True)
    (gxy,) = minidl.autograd.grad(gx, y, retain_graph=True)
    (gyx,) = minidl.autograd.grad(gy, x)
    assert abs(gxy.item() - gyx.item()) < 1e-14


def test_accumulating_with_create_graph_keeps_history():
    x = T(2.0, requires_grad=True)
    (x**2).backward(create_graph=True)
    (x**2).backward(create_graph=True)
    assert x.grad.item() == 8
    (gg,) = minidl.autograd.grad(x.grad, x)
    assert gg.item() == 4


# -- aliasing: buffers that are added to in place ----------------------------------------------------------------------


def test_a_cotangent_that_goes_to_several_places_stays_whole():
    a, b, c = leaf(1.0, 2.0), leaf(3.0, 4.0), leaf(5.0, 6.0)
    s = a + b  # one array goes to both
    y = s + c + a * 10 + b * 100 + s * 1000
    y.backward(T([1.0, 2.0]))
    assert a.grad.tolist() == [1011, 2022]
    assert b.grad.tolist() == [1101, 2202]
    assert c.grad.tolist() == [1, 2]
    a.grad.add_(1)
    assert b.grad.tolist() == [1101, 2202]
    assert c.grad.tolist() == [1, 2]


@pytest.mark.parametrize(
    "twin", [lambda h: h, lambda h: h.reshape(-1), lambda h: h[:]], ids=["same", "reshaped", "sliced"]
)
def test_a_function_may_return_one_tensor_for_two_inputs(twin):
    kept = []

    class Both(minidl.autograd.Function):
        @staticmethod
        def forward(ctx, a, b):
            return a + b

        @staticmethod
        def backward(ctx, g):
            h = g * 3
            kept.append(h)
            return h, twin(h)

    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    p, q = a * 1, b * 1
    y = Both.apply(p, q) + p * 10 + p * 10 + q * 100 + q * 100
    y.sum().backward()
    assert a.grad.tolist() == [23, 23]
    assert b.grad.tolist() == [203, 203]
    assert kept[0].tolist() == [3, 3]


def test_a_function_may_return_a_tensor_that_it_keeps():
    constant = T([5.0, 5.0])

    class Slope(minidl.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 5

        @staticmethod
        def backward(ctx, g):
            return constant

    x = leaf(1.0, 2.0)
    h = x * 1
    (Slope.apply(h) + h * 2 + h * 3).sum().backward()
    Slope.apply(x).sum().backward()
    x.grad.add_(100)
    assert constant.tolist() == [5, 5]
    assert x.grad.tolist() == [115, 115]


def test_gradients_seen_by_hooks_do_not_change_afterwards():
    seen = []
    x = leaf(1.0, 2.0)
    h = x * 2
    h.register_hook(lambda g: seen.append(g))
    x.register_hook(lambda g: seen.append(g))
    (h * 3 + h * 4).sum().backward()
    (x * 100).sum().backward()
    assert [g.tolist() for g in seen] == [[7, 7], [14, 14], [100, 100]]
    assert x.grad.tolist() == [114, 114]


def test_the_broadcast_gradient_of_a_sum_is_writable_once_it_is_in_grad():
    x = minidl.zeros(3, requires_grad=True)
    x.sum().backward()
    x.grad.mul_(2)
    assert x.grad.tolist() == [2, 2, 2]


def test_numbers_in_a_foreign_byte_order_are_converted_or_refused():
    foreign = np.arange(16.0, dtype=np.float32).reshape(1, 1, 4, 4)
    foreign = foreign.astype(foreign.dtype.newbyteorder("S"))
    for make in (minidl.tensor, minidl.as_tensor, minidl.Tensor):
        x = make(foreign)
        assert x.dtype == minidl.float32 and x.dtype.isnative
        np.testing.assert_array_equal(minidl.nn.functional.avg_pool2d(x, 2).numpy().ravel(), [2.5, 4.5, 10.5, 12.5])
    with pytest.raises(ValueError, match="byte order different from the native byte order"):
        minidl.from_numpy(foreign)


# -- values and dtypes, as seen in PyTorch 2.13 -------------------------------------------------------------------------


def test_whole_numbers_to_negative_powers():
    assert (2 ** minidl.tensor([-1, 0, 2])).tolist() == [0, 1, 4]
    assert (minidl.tensor([1, -1, -1, 2, 0]) ** minidl.tensor([-1, -3, -2, -5, 3])).tolist() == [1, -1, 1, 0, 0]
    y = minidl.tensor([2], dtype=minidl.uint8) ** minidl.tensor([3], dtype=minidl.uint8)
    assert y.tolist() == [8] and y.dtype == minidl.uint8


def test_numbers_are_compared_in_their_common_dtype():
    x = minidl.tensor([7, 250], dtype=minidl.uint8)
    assert minidl.fmax(x, minidl.tensor(-7)).tolist() == [249, 250]
    assert minidl.fmin(x, minidl.tensor(-7)).tolist() == [7, 249]


def test_a_number_is_scattered_in_the_dtype_of_the_tensor():
    y = minidl.ones(3, dtype=minidl.int64).scatter(0, minidl.tensor([0]), 2.7)
    assert y.tolist() == [2, 1, 1] and y.dtype == minidl.int64


def test_numpys_numbers_in_a_list_keep_their_dtype():
    assert minidl.tensor([np.float64(3)]).dtype == minidl.float64
    assert minidl.tensor([[np.ones(2)], [np.zeros(2)]]).dtype == minidl.float64
    assert minidl.tensor([3.0]).dtype == minidl.float32


def test_notes_that_do_not_fit_on_the_line():
    text = repr(minidl.ones(13).requires_grad_())
    assert text == "tensor([" + ", ".join(["1."] * 13) + "],\n       requires_grad=True)"
