"""Views share memory and history. Every expectation here was first seen in PyTorch 2.13."""

import pytest

import minidl

T = minidl.tensor
F64 = minidl.float64


def leaf(*values):
    return T(list(values), requires_grad=True)


def test_a_changed_view_changes_its_base():
    x = leaf(1.0, 2.0, 3.0)
    y = x * 2
    v = y[1:]
    v *= 10
    assert y.tolist() == [2, 40, 60]
    (y * T([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [2, 40, 60]


def test_adding_to_an_element():
    x = leaf(1.0, 2.0)
    y = x * x
    y[0] += 1
    y[1] *= y[0].clone()  # as it is: y[1] = … changes the memory of y[0]
    y.sum().backward()  # x₀² + 1 + x₁²(x₀² + 1)
    assert x.grad.tolist() == [2 + 4 * 2, 2 * 2 * 2]


def test_a_chain_of_views():
    x = minidl.arange(12).float().requires_grad_()
    y = x * 1
    v = y.reshape(3, 4).transpose(0, 1)[1:3][:, ::2]
    v.mul_(T([[2.0, 3.0], [4.0, 5.0]]))
    expected = [1.0] * 12
    expected[1], expected[9], expected[2], expected[10] = 2, 3, 4, 5
    y.sum().backward()
    assert x.grad.tolist() == expected


def test_a_view_follows_a_change_of_its_base():
    x = leaf(1.0, 2.0)
    y = x * 1
    v = y[1]
    y.mul_(T([3.0, 5.0]))
    assert v.item() == 10
    v.backward()
    assert x.grad.tolist() == [0, 5]


def test_a_view_follows_a_change_of_another_view():
    x = leaf(1.0, 2.0, 3.0)
    y = x * 1
    a, b = y[:2], y[1:]
    a.mul_(10)
    (b * T([1.0, 2.0])).sum().backward()
    assert x.grad.tolist() == [0, 10, 2]


def test_writing_into_a_view_of_a_constant():
    w = leaf(1.0, 2.0)
    base = minidl.zeros(2, 2)
    row = base[1]
    row.copy_(w)
    assert base.requires_grad
    assert base.tolist() == [[0, 0], [1, 2]]
    (base * base).sum().backward()
    assert w.grad.tolist() == [2, 4]


def test_a_view_in_another_memory_order():
    x = minidl.arange(6).float().reshape(2, 3).requires_grad_()
    y = (x * 2).t().contiguous().t()  # column-major
    v = y.t().reshape(-1)  # a view only because of that
    v[1:3] *= T([10.0, 100.0])
    y.sum().backward()
    assert x.grad.tolist() == [[2, 200, 2], [20, 2, 2]]


def test_a_view_changed_under_no_grad():
    x = leaf(1.0, 2.0)
    y = x * 2
    v = y[0]
    with minidl.no_grad():
        v.add_(5)
    assert y.tolist() == [7, 4]
    (v * 3).backward()
    assert x.grad.tolist() == [6, 0]


def test_the_retained_gradient_of_a_view_follows_its_base():
    w = leaf(1.0, 2.0)
    y = w * 2
    v = y[0]
    v.retain_grad()
    y.mul_(3)
    v.sum().backward()
    assert v.grad.item() == 1
    assert w.grad.tolist() == [6, 0]


def test_detached_views_do_not_reach_the_graph():
    x = leaf(1.0, 2.0)
    y = x * 2
    d = y.detach()[0]
    d.mul_(10)
    assert y.tolist() == [20, 4]
    y.sum().backward()
    assert x.grad.tolist() == [2, 2]


def test_double_backward_through_a_changed_view():
    x = T([1.0, 2.0], dtype=F64, requires_grad=True)
    y = x * x
    y[0] *= x[1]
    (g,) = minidl.autograd.grad((y * y).sum(), x, create_graph=True)  # x₀⁴x₁² + x₁⁴
    assert g.tolist() == [4 * 4, 2 * 2 + 4 * 8]
    (gg,) = minidl.autograd.grad(g.sum(), x)  # 12x₀²x₁² + 8x₀³x₁ ; 8x₀³x₁ + 2x₀⁴ + 12x₁²
    assert gg.tolist() == [12 * 4 + 8 * 2, 8 * 2 + 2 + 12 * 4]


def test_own_overlapping_operands_are_read_before_they_are_written():
    """PyTorch reads values that it has already overwritten here."""
    y = T([[1.0, 2.0], [3.0, 4.0]])
    y *= y[:, 1]
    assert y.tolist() == [[2, 8], [6, 16]]


def test_a_number_may_be_overwritten():
    w = T([1.0, 2.0], requires_grad=True)
    s = (w * w).sum()
    s.zero_()
    s += w.sum()
    s.backward()
    assert w.grad.tolist() == [1, 1]


COPIES = {
    "flip": (lambda x: x.flip(0), (3,)),
    "fliplr": (minidl.fliplr, (2, 2)),
    "repeat": (lambda x: x.repeat(2, 1), (3,)),
    "repeat 1": (lambda x: x.repeat(1), (3,)),
    "tile": (lambda x: x.tile(1, 1), (3,)),
    "repeat_interleave": (lambda x: x.repeat_interleave(3), (1,)),
    "repeat_interleave 1": (lambda x: x.repeat_interleave(1), (3,)),
    "prod": (lambda x: x.prod(), (1,)),
    "prod along": (lambda x: x.prod(0), (1, 3)),
    "cumprod": (lambda x: x.cumprod(0), (1, 2)),
    "diag": (lambda x: x.diag(), (2, 2)),
}


@pytest.mark.parametrize(("function", "shape"), COPIES.values(), ids=COPIES)
def test_results_that_are_no_views(function, shape):
    x = minidl.ones(*shape)
    y = function(x)
    x.zero_()
    assert (y == 1).all()
    y += 1
    assert (x == 0).all()
    leaf = minidl.ones(*shape, requires_grad=True)
    function(leaf).mul_(2).sum().backward()  # no view of a leaf
    assert leaf.grad.sum() > 0


@pytest.mark.parametrize("function", [minidl.round, minidl.floor, minidl.ceil, minidl.trunc], ids=lambda f: f.__name__)
def test_rounded_whole_numbers_are_a_copy(function):
    x = T([1, 2])
    y = function(x)
    y += 1
    assert x.tolist() == [1, 2]


def test_the_sign_of_booleans_is_a_copy():
    x = T([True, False])
    x.sign().logical_not_()
    assert x.tolist() == [True, False]


def test_views_that_may_be_written_to():
    x = minidl.zeros(3, 3)
    x.diagonal().fill_(2)
    assert x.tolist() == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
    row = minidl.ones(1, 4)
    row.expand(1, 4).mul_(3)
    assert row.tolist() == [[3] * 4]
    with pytest.raises(RuntimeError, match="single memory location"):
        row.expand(2, 4).mul_(3)
    leaf = minidl.ones(2, 2, requires_grad=True)
    y = leaf * 1
    y.diagonal().mul_(5)
    y.sum().backward()
    assert leaf.grad.tolist() == [[5, 1], [1, 5]]
