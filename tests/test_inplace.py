"""In-place operations and version counters. Every expectation here was first seen in PyTorch 2.13, except in
``test_own_…``: there minidl's message says more, or it allows more."""

import copy
import pickle

import pytest

import minidl

T = minidl.tensor
F64 = minidl.float64


def leaf(*values):
    return T(list(values), requires_grad=True)


# -- plain values ------------------------------------------------------------------------------------------------------


def test_python_operators_work_in_place():
    x = T([1.0, 2.0])
    y = x
    x += 1
    x *= T([2.0, 3.0])
    x -= 1
    x /= 2
    x **= 2
    assert x is y
    assert y.tolist() == [2.25, 16.0]


def test_every_in_place_method_returns_its_tensor():
    x = T([4.0, 9.0])
    assert x.sqrt_() is x
    assert x.copy_(T([5.0])) is x
    assert x.tolist() == [5, 5]
    assert x.fill_(3) is x
    assert x.fill_(T(4.0)) is x
    assert x.tolist() == [4, 4]
    assert x.zero_() is x
    assert x.tolist() == [0, 0]
    assert x.masked_fill_(T([True, False]), 7).tolist() == [7, 0]


def test_setitem_with_all_kinds_of_index():
    x = minidl.zeros(3, 4)
    x[0] = 1
    x[:, 1] = T([5.0, 6.0, 7.0])
    x[-1, 2:] = T(9.0)
    x[x == 9] = -9
    x[T([0, 1]), T([3, 3])] = T([30.0, 31.0])
    x[T([True, False, False])] += 100
    assert x.tolist() == [[101, 105, 101, 130], [0, 6, 0, 31], [0, 7, -9, -9]]


def test_integers_stay_integers():
    x = T([1, 2, 3])
    x[0] = 1.7
    x += 1
    assert x.tolist() == [2, 3, 4]
    with pytest.raises(RuntimeError, match="result type .* can't be cast to the desired output type"):
        x.add_(0.5)
    with pytest.raises(RuntimeError, match="can't be cast to the desired output type"):
        T([True]).add_(2)
    x.copy_(T([1.9, -1.9, 0.0]))
    assert x.tolist() == [1, -1, 0]


def test_shapes_that_do_not_fit():
    x = minidl.zeros(3)
    with pytest.raises(RuntimeError, match=r"output with shape \[3\] doesn't match the broadcast shape \[2, 3\]"):
        x.add_(minidl.zeros(2, 3))
    with pytest.raises(RuntimeError, match="must match the .*size"):
        x.copy_(minidl.zeros(4))
    with pytest.raises(RuntimeError, match=r"shape mismatch: value tensor of shape \[4\]|must match the .*size"):
        x[:] = minidl.zeros(4)
    with pytest.raises(
        RuntimeError, match="fill_ only supports 0-dimension value tensor but got tensor with 1 dimensions"
    ):
        x.fill_(minidl.zeros(3))
    with pytest.raises(IndexError, match="index 3 is out of bounds for dimension 0 with size 3"):
        x[3] = 1.0
    with pytest.raises(RuntimeError, match=r"unsupported operation.* single memory location.* clone\(\) the tensor"):
        minidl.zeros(3).expand(2, 3).add_(1)
    assert x.tolist() == [0, 0, 0]


def test_overlapping_copies():
    x = minidl.arange(5).float()
    x[1:] = x[:-1].clone()
    assert x.tolist() == [0, 0, 1, 2, 3]


# -- history -----------------------------------------------------------------------------------------------------------


def test_in_place_operations_are_differentiated():
    x = leaf(1.0, 2.0)
    y = x * 3
    y += x
    y.mul_(x)  # 4x²
    y.pow_(2)
    y.sum().backward()
    assert x.grad.tolist() == [64, 512]  # 64x³


def test_double_backward_through_in_place_operations():
    x = T([1.0, 2.0], dtype=F64, requires_grad=True)
    y = x * 1
    y.mul_(x).mul_(x)
    (g,) = minidl.autograd.grad(y.sum(), x, create_graph=True)
    (gg,) = minidl.autograd.grad(g.sum(), x)
    assert gg.tolist() == [6, 12]


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.add_(1),
        lambda x: x.zero_(),
        lambda x: x.fill_(1),
        lambda x: x.copy_(T([1.0, 1.0])),
        lambda x: x.__setitem__(0, 1.0),
        lambda x: x.__iadd__(1),
    ],
)
def test_leaves_that_require_a_gradient_are_not_changed(change):
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"):
        change(x)
    with pytest.raises(
        RuntimeError, match="a view of a leaf Variable that requires grad is being used in an in-place operation"
    ):
        change(x[:])
    assert x.tolist() == [1, 2]
    with minidl.no_grad():
        change(x)
    assert x.requires_grad
    assert x.is_leaf


def test_overwriting_cuts_the_gradient():
    for overwrite in (lambda y: y.zero_(), lambda y: y.fill_(5), lambda y: y.copy_(T([5.0, 6.0]))):
        w = leaf(1.0, 2.0)
        y = w * 2
        overwrite(y)
        assert y.requires_grad
        (y * y).sum().backward()
        assert w.grad.tolist() == [0, 0]


def test_zeroing_infinity():
    y = leaf(1.0, 2.0) * float("inf")
    assert y.zero_().tolist() == [0, 0]


def test_a_tensor_copied_in_gets_its_gradient():
    w = leaf(1.0, 2.0)
    y = minidl.zeros(2)
    y.copy_(w)
    (y * y).sum().backward()
    assert w.grad.tolist() == [2, 4]
    z = minidl.zeros(2, 2, dtype=F64)
    z.copy_(w)  # broadcast and cast
    (z * T([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    assert w.grad.tolist() == [6, 10]
    s = T(3.0, requires_grad=True)
    minidl.zeros(4).fill_(s).sum().backward()
    assert s.grad.item() == 4


def test_setitem_into_a_constant():
    w = T(3.0, requires_grad=True)
    x = minidl.zeros(3)
    x[0] = w
    x[2] = w * w
    assert x.requires_grad
    (x * T([1.0, 10.0, 100.0])).sum().backward()
    assert w.grad.item() == 601


def test_setitem_over_something_with_history():
    a, b = leaf(1.0, 2.0, 3.0), leaf(5.0, 6.0)
    y = a * 2
    y[T([True, False, True])] = b
    y[1:] += 1
    (y * T([1.0, 10.0, 100.0])).sum().backward()
    assert a.grad.tolist() == [0, 20, 0]
    assert b.grad.tolist() == [1, 100]


def test_setitem_broadcasts_the_value():
    w = leaf(1.0, 2.0)
    x = minidl.zeros(3, 2)
    x[1:] = w
    x[0] = w[0]
    (x * T([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])).sum().backward()
    assert w.grad.tolist() == [3 + 8, 10]
    x = minidl.zeros(2)
    x[:] = w.reshape(1, 2)  # superfluous leading dimension
    w.grad = None
    x.sum().backward()
    assert w.grad.tolist() == [1, 1]


def test_no_grad_changes_values_but_not_history():
    x = leaf(1.0, 2.0)
    y = x * 3
    with minidl.no_grad():
        y.add_(100)
        y[0] = 7
    assert y.requires_grad
    y.sum().backward()
    assert x.grad.tolist() == [3, 3]
    assert y.tolist() == [7, 106]


def test_the_retained_gradient_is_that_of_the_latest_value():
    w = leaf(1.0, 2.0)
    y = w * 2
    y.retain_grad()
    seen = []
    y.register_hook(lambda g: seen.append(g.tolist()))  # a hook stays with the old value
    y.mul_(3)
    (y * 5).sum().backward()
    assert y.grad.tolist() == [5, 5]
    assert seen == [[15, 15]]


# -- version counters --------------------------------------------------------------------------------------------------


def changed(message="one of the variables needed for gradient computation has been modified by an inplace operation"):
    return pytest.raises(RuntimeError, match=message)


def test_a_changed_output_or_input_is_noticed():
    x = leaf(1.0, 2.0)
    y = x.exp()
    y += 1
    with changed():
        y.sum().backward()
    h = x * 1
    z = h * h
    h.zero_()
    with changed():
        z.sum().backward()


def test_a_change_through_a_view_or_alias_is_noticed():
    x = leaf(1.0, 2.0)
    for change in (lambda h: h[0].add_(1), lambda h: h.detach().add_(1), lambda h: h.reshape(2, 1)[1].zero_()):
        h = x * 1
        z = h * h
        change(h)
        with changed():
            z.sum().backward()


def test_a_parameter_changed_between_forward_and_backward_is_noticed():
    w, x = leaf(2.0), leaf(3.0)
    y = w * x
    with minidl.no_grad():
        w -= 0.1
    with changed():
        y.sum().backward()


def test_changes_of_what_is_not_needed_are_allowed():
    x = leaf(1.0, 2.0)
    h = x * 1
    y = h + 1  # needs neither input nor output
    h.zero_()
    y.mul_(2)
    y.sum().backward()
    assert x.grad.tolist() == [2, 2]
    constant = T([5.0, 6.0])
    z = constant * 2 + x
    constant.zero_()
    z.sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_own_the_error_names_both_operations():
    x = leaf(1.0, 2.0)
    y = x.exp()
    y += 1
    with changed(
        r"ExpBackward needs its output \(a float32 tensor of shape \(2,\), version 0\), which add_ has changed since"
    ):
        y.sum().backward()
    h = x * 1
    z = T([1.0, 1.0]) * h * h
    h[0] = 5.0
    with changed(r"MulBackward needs its input 1 .* which __setitem__ has changed since \(it is at version 1\)"):
        z.sum().backward()


# -- copies ------------------------------------------------------------------------------------------------------------


def test_deepcopy_of_a_leaf():
    w = leaf(1.0, 2.0)
    w.grad = T([3.0, 4.0])
    twin = copy.deepcopy(w)
    assert twin.requires_grad
    assert twin.grad.tolist() == [3, 4]
    with minidl.no_grad():
        twin.zero_()
        twin.grad.zero_()
    assert w.tolist() == [1, 2]
    assert w.grad.tolist() == [3, 4]
    pair = copy.deepcopy([w, w])
    assert pair[0] is pair[1]
    with pytest.raises(
        RuntimeError, match="Only Tensors created explicitly by the user .* support the deepcopy protocol"
    ):
        copy.deepcopy(w * 2)


def test_pickle():
    w = leaf(1.0, 2.0)
    w.grad = T([3.0, 4.0])
    for t in (w, w * 1):
        twin = pickle.loads(pickle.dumps(t))
        assert twin.tolist() == [1, 2]
        assert twin.requires_grad
        assert twin.is_leaf
        assert twin.grad is None
    assert pickle.loads(pickle.dumps(T([1, 2]))).dtype == minidl.int64


def test_shifts_in_place():
    x = T([1, 2, 3], dtype=minidl.uint8)
    y, part = x, x[:2]
    x <<= 1
    part >>= T(1, dtype=minidl.uint8)
    assert y.tolist() == [1, 2, 6] and y.dtype == minidl.uint8


def test_an_element_takes_a_tensor_of_one():
    x = minidl.zeros(2, 2)
    x[0, 1] = T([[7.0]])
    x[1] = T([[5.0, 6.0]])
    x[T(0), 0] = x[1:2, 1] + 1
    assert x.tolist() == [[7, 7], [5, 6]]
    with pytest.raises(RuntimeError, match="cannot be broadcast"):
        x[0, 0] = T([1.0, 2.0])


def test_none_is_no_number():
    x = minidl.ones(2)
    for call in (lambda: x.fill_(None), lambda: x.__setitem__(0, None)):
        with pytest.raises(TypeError, match="NoneType"):
            call()
    assert x.tolist() == [1, 1]


def test_a_copied_parameter_has_no_gradient():
    p = minidl.nn.Parameter(minidl.ones(2))
    p.grad = minidl.ones(2)
    copied = copy.deepcopy([p, p])
    assert copied[0] is copied[1] and copied[0].grad is None and type(copied[0]) is type(p) and copied[0].requires_grad
