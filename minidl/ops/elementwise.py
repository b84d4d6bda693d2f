"""Arithmetic and elementary functions, element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.ops.base import Elementwise, Op, raw
from minidl.ops.samples import reals
from minidl.tensor import Tensor


def as_function(op: type[Op], name: str) -> Callable[[Tensor], Tensor]:
    """The public function of a unary op without parameters; its documentation is the op's."""

    def function(input: Tensor) -> Tensor:
        return op()(input)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = op.__doc__
    return function


class Cast(Op):
    """The same numbers in another dtype; the gradient is cast back."""

    promotes = False

    def __init__(self, dtype):
        self.dtype = dtype

    def forward(self, xp, x):
        self.from_dtype = x.dtype
        return x.astype(self.dtype)

    def vjp(self, g):
        return Cast(self.from_dtype)(g)

    def samples(draw):
        return (draw.array(draw.shape()),), lambda x: Cast(np.dtype("float64"))(x)


# -- arithmetic -------------------------------------------------------------------------------------------------------


class Add(Elementwise):
    """a + b."""

    samples = reals(-3, 3), reals(-3, 3)

    def forward(self, xp, a, b):
        return a + b

    def vjp_a(self, g):
        return g

    def vjp_b(self, g):
        return g


class Sub(Elementwise):
    """a − b."""

    samples = reals(-3, 3), reals(-3, 3)

    def forward(self, xp, a, b):
        return xp.subtract(a, b)

    def vjp_a(self, g):
        return g

    def vjp_b(self, g):
        return -g


class Mul(Elementwise):
    """a · b."""

    samples = reals(-3, 3), reals(-3, 3)

    def forward(self, xp, a, b):
        return a * b

    def vjp_a(self, g, b):
        return g * b

    def vjp_b(self, g, a):
        return g * a


class Div(Elementwise):
    """a / b."""

    samples = reals(-3, 3), reals(-3, 3, kinks=[0], margin=0.3)
    to_float = quiet = True

    def forward(self, xp, a, b):
        return a / b

    def vjp_a(self, g, b):
        return g / b

    def vjp_b(self, g, b, y):
        return -g * y / b


class Pow(Elementwise):
    """a ** b. Where b is 0 the slope in a is 0; where a is 0 and b ≥ 0, the slope in b is 0."""

    samples = reals(0.3, 2.5), reals(-2, 3)
    quiet = True

    def forward(self, xp, a, b):
        if _is_integer(a) and isinstance(b, int) and b < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        return a**b

    def vjp_a(self, g, a, b):
        if isinstance(b, (int, float)):
            return g * b * a ** (b - 1) if b != 0 else g * 0
        return where(raw(b) == 0, 0, g * b * a ** (b - 1))

    def vjp_b(self, g, a, b, y):
        a_is_zero = raw(a) == 0
        return where(a_is_zero & (raw(b) >= 0), 0, g * y * log(where(a_is_zero, 1, a)))


def _is_integer(x: Any) -> bool:
    return getattr(x, "dtype", np.dtype("f")).kind in "biu"


class FloorDivide(Elementwise):
    """⌊a / b⌋. Has no gradient."""

    quiet = True

    def forward(self, xp, a, b):
        return a // b


class Remainder(Elementwise):
    """a − b·⌊a / b⌋, with the sign of b."""

    samples = reals(1.1, 1.9), reals(2.1, 2.9)
    quiet = True

    def forward(self, xp, a, b):
        return a % b

    def vjp_a(self, g):
        return g

    def vjp_b(self, g, a, b):
        return -g * (raw(a) // raw(b))


class Maximum(Elementwise):
    """The larger of a and b; where they are equal each gets half the gradient."""

    def forward(self, xp, a, b):
        return xp.maximum(a, b)

    def vjp_a(self, g, a, b):
        return g * _share(a, b)

    def vjp_b(self, g, a, b):
        return g * _share(b, a)

    def samples(draw):
        return _apart(draw), lambda a, b: maximum(a, b)


class Minimum(Elementwise):
    """The smaller of a and b; where they are equal each gets half the gradient."""

    def forward(self, xp, a, b):
        return xp.minimum(a, b)

    def vjp_a(self, g, a, b):
        return g * _share(b, a)

    def vjp_b(self, g, a, b):
        return g * _share(a, b)

    def samples(draw):
        return _apart(draw), lambda a, b: minimum(a, b)


def _share(a: Any, b: Any) -> Any:
    """1 where a > b, 1/2 where they are equal, else 0."""
    a, b = raw(a), raw(b)
    dtype = a.dtype if hasattr(a, "dtype") else b.dtype
    return (a > b).astype(dtype) + (a == b).astype(dtype) * 0.5


def _apart(draw: Any) -> Any:
    """Two arrays whose values are nowhere close."""
    shapes = draw.broadcast_shapes(2)
    return draw.array(shapes[0], distinct=True), draw.array(shapes[1], distinct=True) + 0.05


class Where(Op):
    """a where the condition holds, else b. The condition is a constant."""

    broadcasts = True

    def __init__(self, condition):
        self.condition = condition

    def forward(self, xp, a, b):
        return xp.where(self.condition, a, b)

    def vjp_a(self, g):
        return where(self.condition, g, 0)

    def vjp_b(self, g):
        return where(self.condition, 0, g)

    def samples(draw):
        shapes = draw.broadcast_shapes(3)
        condition = draw.array(shapes[0]) > 0
        return (draw.array(shapes[1]), draw.array(shapes[2])), lambda a, b: where(_like(condition, a), a, b)


def _like(array: Any, x: Any) -> Any:
    """A constant NumPy array as an array on the device of x."""
    from minidl.ops.base import backend_of_any

    return backend_of_any(x).from_numpy(array)


class Clamp(Elementwise):
    """x limited to [low, high]; low and high are numbers or None."""

    def __init__(self, low, high):
        self.low, self.high = low, high

    def forward(self, xp, x):
        return xp.clip(x, self.low, self.high)

    def vjp(self, g, x):
        x = raw(x)
        inside = x == x
        if self.low is not None:
            inside &= x >= self.low
        if self.high is not None:
            inside &= x <= self.high
        return where(inside, g, 0)

    def samples(draw):
        low, high = draw.choice([(-1.0, 1.0), (None, 1.0), (-1.0, None)])
        x = draw.array(draw.shape(), reals(-2, 2, kinks=[-1, 1]))
        return (x,), lambda x: clamp(x, low, high)


class Neg(Elementwise):
    """−x."""

    samples = reals(-3, 3)

    def forward(self, xp, x):
        return -x

    def vjp(self, g):
        return -g


class Abs(Elementwise):
    """|x|, with slope 0 at 0."""

    samples = reals(-3, 3, kinks=[0])

    def forward(self, xp, x):
        return xp.abs(x)

    def vjp(self, g, x):
        return g * sign(raw(x))


# -- functions whose derivative is 0 wherever there is one -------------------------------------------------------------


class Step(Elementwise, abstract=True):
    """A piecewise constant function: the gradient is zero."""

    def vjp(self, g):
        return g * 0


class Sign(Step):
    """−1, 0 or 1."""

    samples = reals(-3, 3, kinks=[0])

    def forward(self, xp, x):
        return xp.sign(x)


class Floor(Step):
    """The largest integer not above x."""

    samples = reals(0.1, 0.9)

    def forward(self, xp, x):
        return xp.floor(x) if x.dtype.kind == "f" else x


class Ceil(Step):
    """The smallest integer not below x."""

    samples = reals(0.1, 0.9)

    def forward(self, xp, x):
        return xp.ceil(x) if x.dtype.kind == "f" else x


class Trunc(Step):
    """x without its fraction."""

    samples = reals(0.1, 0.9)

    def forward(self, xp, x):
        return xp.trunc(x) if x.dtype.kind == "f" else x


class Round(Step):
    """The nearest integer, halves to even; with ``decimals`` digits after the point."""

    def __init__(self, decimals=0):
        self.decimals = decimals

    samples = reals(0.6, 0.9)

    def forward(self, xp, x):
        return xp.round(x, self.decimals) if x.dtype.kind == "f" else x


# -- public functions -------------------------------------------------------------------------------------------------


def add(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """input + alpha · other."""
    return Add()(input, other if alpha == 1 else other * alpha)


def sub(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """input − alpha · other."""
    return Sub()(input, other if alpha == 1 else other * alpha)


def mul(input: Tensor, other: Any) -> Tensor:
    """input · other."""
    return Mul()(input, other)


def div(input: Tensor, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other; ``rounding_mode`` may be ``"floor"`` or ``"trunc"``."""
    if rounding_mode is None:
        return Div()(input, other)
    if rounding_mode == "floor":
        return FloorDivide()(input, other)
    if rounding_mode == "trunc":
        return trunc(Div()(input, other)) if _any_float(input, other) else Trunc()(Div()(input, other)).to(input.dtype)
    raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'")


def _any_float(*xs: Any) -> bool:
    return any(isinstance(x, float) or (hasattr(x, "dtype") and x.dtype.kind == "f") for x in xs)


def pow(input: Any, exponent: Any) -> Tensor:
    """input ** exponent."""
    if type(exponent) in (int, float) and exponent == 2:
        return Square()(input)
    return Pow()(input, exponent)


def floor_divide(input: Any, other: Any) -> Tensor:
    """⌊input / other⌋."""
    return FloorDivide()(input, other)


def remainder(input: Any, other: Any) -> Tensor:
    """The remainder with the sign of ``other``, as Python's ``%``."""
    return Remainder()(input, other)


def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two, element by element."""
    return Maximum()(input, other)


def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two, element by element."""
    return Minimum()(input, other)


def where(condition: Any, input: Any, other: Any) -> Any:
    """``input`` where ``condition`` holds, ``other`` elsewhere."""
    condition = raw(condition)
    if condition.dtype != np.dtype("bool"):
        raise RuntimeError(f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}")
    if not hasattr(input, "dtype") and not hasattr(other, "dtype"):  # two numbers: give one of them a dtype
        from minidl.backend import backend_of
        from minidl.dtypes import result_type

        input = Tensor.wrap(backend_of(condition).full((), input, dtype=result_type(input, other)))
    return Where(condition)(input, other)


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """``input`` limited to the range from ``min`` to ``max`` (numbers or Tensors; None: no limit)."""
    if min is None and max is None:
        raise RuntimeError("clamp: At least one of 'min' or 'max' must not be None")
    if hasattr(min, "dtype") or hasattr(max, "dtype"):
        bounded = input if min is None else Where(raw(input) < raw(min))(min, input)
        return bounded if max is None else Where(raw(bounded) > raw(max))(max, bounded)
    return Clamp(min, max)(input)


def sign(input: Any) -> Any:
    """−1, 0 or 1."""
    return Sign()(input)


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest integer, halves to even."""
    return Round(decimals)(input)


neg = as_function(Neg, "neg")
abs = as_function(Abs, "abs")
floor = as_function(Floor, "floor")
ceil = as_function(Ceil, "ceil")
trunc = as_function(Trunc, "trunc")


def frac(input: Tensor) -> Tensor:
    """The fraction that ``trunc`` takes away."""
    return input - trunc(input)


def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight · (end − input)."""
    return input + weight * (end - input)


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """input + value · tensor1 · tensor2."""
    return add(input, tensor1 * tensor2, alpha=value)


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """input + value · tensor1 / tensor2."""
    return add(input, tensor1 / tensor2, alpha=value)


# At the end: unary functions build on this file, and only pow and its gradient need two of them.
from minidl.ops.unary import Square, log  # noqa: E402
