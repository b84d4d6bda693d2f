"""autograd.Function. Every expectation here was first seen in PyTorch 2.13, except in ``test_own_…``."""

import pytest

import minidl
from minidl.autograd import Function, grad

T = minidl.tensor


def leaf(*values):
    return T(list(values), dtype=minidl.float64, requires_grad=True)


class Cube(Function):
    """Saves its input."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        assert not minidl.is_grad_enabled()
        return x**3

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 3 * x**2


class Exp(Function):
    """Saves its output."""

    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * y


class SinCos(Function):
    """Two outputs; each gradient needs the other's value, and one of them is saved as output."""

    @staticmethod
    def forward(ctx, x):
        s, c = x.sin(), x.cos()
        ctx.save_for_backward(s, c, x)
        return s, c

    @staticmethod
    def backward(ctx, gs, gc):
        s, c, _ = ctx.saved_tensors
        return gs * c - gc * s


@pytest.mark.parametrize(("function", "derivatives"), [(Cube, [12, 12, 6]), (Exp, [7.38905609893065] * 3)])
def test_derivatives_through_saved_tensors(function, derivatives):
    x = leaf(2.0)
    y = function.apply(x)
    assert y.requires_grad
    for expected in derivatives:
        (y,) = grad(y, x, minidl.ones(1, dtype=minidl.float64), create_graph=True)
        assert y.tolist() == pytest.approx([expected], rel=1e-14)


def test_second_derivative_goes_on_to_what_made_the_input():
    w = leaf(2.0)
    x = w * w
    (g,) = grad(Cube.apply(x).sum(), w, create_graph=True)  # d w⁶ = 6 w⁵
    assert g.tolist() == [192]
    (gg,) = grad(g.sum(), w)
    assert gg.tolist() == [480]


def test_several_outputs():
    x = leaf(0.5)
    s, c = SinCos.apply(x)
    (g,) = grad((s * c).sum(), x, create_graph=True)  # cos 2x
    assert g.tolist() == pytest.approx([0.5403023058681398], rel=1e-14)
    (gg,) = grad(g.sum(), x)
    assert gg.tolist() == pytest.approx([-2 * 0.8414709848078965], rel=1e-14)


def test_an_unused_output_has_gradient_zero():
    x = leaf(0.5)
    _, c = SinCos.apply(x)
    c.sum().backward()
    assert x.grad.tolist() == pytest.approx([-0.479425538604203], rel=1e-14)


def test_gradients_may_stay_none():
    seen = []

    class Two(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return x * 2, x * 3

        @staticmethod
        def backward(ctx, g, h):
            seen.append((g is None, h is None))
            return h * 3

    x = leaf(1.0)
    _, y = Two.apply(x)
    y.sum().backward()
    assert seen == [(True, False)]
    assert x.grad.tolist() == [3]


def test_setup_context():
    class Scale(Function):
        @staticmethod
        def forward(x, factor):
            return x * factor

        @staticmethod
        def setup_context(ctx, inputs, output):
            x, ctx.factor = inputs
            ctx.save_for_backward(x, output)

        @staticmethod
        def backward(ctx, g):
            saved_x, saved_y = ctx.saved_tensors
            assert (saved_y == saved_x * ctx.factor).all()
            return g * ctx.factor, None

    x = leaf(1.0, 2.0)
    Scale.apply(x, 4.0).sum().backward()
    assert x.grad.tolist() == [4, 4]


def test_mark_non_differentiable():
    class SortWithOrder(Function):
        @staticmethod
        def forward(ctx, x):
            order = x.argsort()
            rank = order.to(minidl.float64)
            ctx.mark_non_differentiable(order, rank)
            ctx.save_for_backward(order)
            return x[order], order, rank

        @staticmethod
        def backward(ctx, g, g_order, g_rank):
            (order,) = ctx.saved_tensors
            back = minidl.zeros_like(g)
            back[order] = g
            return back

    x = leaf(3.0, 1.0, 2.0)
    y, order, rank = SortWithOrder.apply(x)
    assert [t.requires_grad for t in (y, order, rank)] == [True, False, False]
    (y * T([1.0, 10.0, 100.0], dtype=minidl.float64)).sum().backward()
    assert x.grad.tolist() == [100, 1, 10]


def test_arguments_that_are_no_tensors_and_optional_ones():
    class Affine(Function):
        @staticmethod
        def forward(ctx, x, w, b, name):
            ctx.save_for_backward(x, w, b)
            ctx.name = name
            return x * w if b is None else x * w + b

        @staticmethod
        def backward(ctx, g):
            _, w, b = ctx.saved_tensors
            assert ctx.name == "n"
            assert ctx.needs_input_grad == (True, False, b is not None, False)
            return g * w, None, None if b is None else g, None

    x, b = leaf(1.0), leaf(5.0)
    w = T([3.0], dtype=minidl.float64)
    Affine.apply(x, w, None, "n").sum().backward()
    Affine.apply(x, w, b, "n").sum().backward()
    assert (x.grad.tolist(), b.grad.tolist()) == ([6], [1])


def returning(answer):
    class Returning(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return answer(g)

    return Returning.apply


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            lambda g: (g, g),
            r"function ReturningBackward returned an incorrect number of gradients \(expected 1, got 2\)",
        ),
        (lambda g: (), r"function ReturningBackward returned an incorrect number of gradients \(expected 1, got 0\)"),
        (lambda g: 3, r"expected (Variable|a Tensor) or None"),
        (
            lambda g: g[:1],
            r"Function ReturningBackward returned an invalid gradient at index 0 - got \[1\] but expected shape",
        ),
    ],
)
def test_wrong_gradients(answer, message):
    with pytest.raises(RuntimeError, match=message):
        returning(answer)(leaf(1.0, 2.0)).sum().backward()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda g: (g, None, None), [1, 1]),  # superfluous Nones
        (lambda g: g.to(minidl.float32), [1, 1]),
        (lambda g: minidl.ones(5, 2, dtype=minidl.float64), [5, 5]),  # summed down to the input's shape
        (lambda g: None, None),
    ],
)
def test_gradients_that_are_made_to_fit(answer, expected):
    x = leaf(1.0, 2.0)
    returning(answer)(x).sum().backward()
    assert x.grad is None if expected is None else (x.grad.tolist() == expected and x.grad.dtype == minidl.float64)


def test_backward_twice():
    x = leaf(2.0)
    y = Cube.apply(x).sum()
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        y.backward()
    assert x.grad.tolist() == [24]
    z = returning(lambda g: g * 2)(x).sum()  # nothing was saved, so nothing is missing
    z.backward()
    z.backward()
    assert x.grad.tolist() == [28]


def test_saved_tensors_are_watched_for_changes():
    x = leaf(2.0)
    h = x * 1
    y = Cube.apply(h)
    h.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    y = Exp.apply(x)
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_an_input_that_is_returned_gets_a_history_of_its_own():
    class Double(Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 2

    x = leaf(1.0)
    y = Double.apply(x)
    assert y is not x
    assert x.is_leaf
    y.sum().backward()
    assert x.grad.tolist() == [2]


def test_own_a_view_that_is_returned_keeps_the_given_gradient():
    class Flat(Function):
        @staticmethod
        def forward(ctx, x):
            return x.reshape(-1)

        @staticmethod
        def backward(ctx, g):
            return g.reshape(2, 1) * 100

    x = minidl.ones(2, 1, dtype=minidl.float64, requires_grad=True)
    y = Flat.apply(x)
    with minidl.no_grad():
        x.mul_(2)
    y.sum().backward()
    assert x.grad.tolist() == [[100], [100]]


def test_without_recording():
    x = leaf(2.0)
    with minidl.no_grad():
        assert not Cube.apply(x).requires_grad
    assert not Cube.apply(x.detach()).requires_grad


def test_own_forward_must_return_tensors():
    class Bad(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2, "text"

    with pytest.raises(TypeError, match=r"Bad.forward must return Tensors, got \['Tensor', 'str'\]"):
        Bad.apply(leaf(1.0))
    with pytest.raises(NotImplementedError, match="implement the forward function"):
        Function.apply(leaf(1.0))


def test_own_saved_values_are_named_when_they_are_changed():
    x = leaf(2.0)
    y = Exp.apply(x)
    y.mul_(2)
    with pytest.raises(RuntimeError, match=r"ExpBackward needs .* shape \(1,\).* which mul_ has changed"):
        y.sum().backward()


class Same(Function):
    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, g):
        return g


class Flat(Same):
    @staticmethod
    def forward(ctx, x):
        return x.view(-1)


@pytest.mark.parametrize("function", [Same, Flat])
def test_what_was_passed_on_must_not_be_changed_in_place(function):
    x = leaf(1.0, 2.0)
    for given in (x, x * 2):
        for change in (lambda t: t.mul_(3), lambda t: t[0].mul_(3)):
            with pytest.raises(RuntimeError, match="is a view and is being modified inplace"):
                change(function.apply(given))
    assert x.tolist() == [1, 2]
    Cube.apply(x).mul_(3).sum().backward()
    assert x.grad.tolist() == [9, 36]
