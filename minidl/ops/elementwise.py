"""Arithmetic, element by element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import dtypes
from minidl.ops.base import Elementwise, Op, as_function, cast, raw
from minidl.ops.rounding import sign, trunc
from minidl.ops.samples import reals
from minidl.ops.selection import where
from minidl.tensor import Tensor


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


class Add(Elementwise):
    """a + b."""

    samples = reals(-3, 3), reals(-3, 3)
    pointwise = False  # the backends have kernels for it

    def forward(self, xp, a, b):
        return xp.add(a, b)

    def vjp_a(self, g):
        return g

    def vjp_b(self, g):
        return g


class Sub(Elementwise):
    """a − b."""

    ufunc = "subtract"
    samples = reals(-3, 3), reals(-3, 3)

    def forward(self, xp, a, b):
        return xp.subtract(a, b)

    def _promote(self, inputs):
        if any(isinstance(x, bool) or (hasattr(x, "dtype") and x.dtype.kind == "b") for x in inputs):
            raise RuntimeError(
                "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use the "
                "`~` or `logical_not()` operator instead."
            )
        return super()._promote(inputs)

    def vjp_a(self, g):
        return g

    def vjp_b(self, g):
        return -g


class Mul(Elementwise):
    """a · b."""

    ufunc = "multiply"
    samples = reals(-3, 3), reals(-3, 3)

    def forward(self, xp, a, b):
        return a * b

    def vjp_a(self, g, b):
        return g * b

    def vjp_b(self, g, a):
        return g * a


class Div(Elementwise):
    """a / b."""

    ufunc = "divide"
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

    quiet = True

    def forward(self, xp, a, b):
        return a**b if _any_float(a, b) else _whole_power(xp, a, b)

    def vjp_a(self, g, a, b):
        if isinstance(b, (int, float)):
            return g * b * a ** (b - 1) if b != 0 else g * 0
        return where(raw(b) == 0, 0, g * b * a ** (b - 1))

    def vjp_b(self, g, a, b, y):
        if isinstance(a, (int, float)):
            slope = math.log(a) if a > 0 else float("-inf" if a == 0 else "nan")
            return where(raw(b) >= 0, 0, g * slope) if a == 0 else g * y * slope
        a_is_zero = raw(a) == 0
        return where(a_is_zero & (raw(b) >= 0), 0, g * y * log(where(a_is_zero, 1, a)))

    def samples(draw):
        shapes = draw.broadcast_shapes(2)
        a, b = draw.array(shapes[0], reals(0.3, 2.5)), draw.array(shapes[1], reals(-2, 3))
        exponent, base = draw.choice([0, 1, 3, -2, 0.5]), draw.choice([0.4, 2.5])
        return draw.choice([((a, b), pow), ((a,), lambda a: pow(a, exponent)), ((b,), lambda b: pow(base, b))])


class FloorDivide(Elementwise):
    """⌊a / b⌋, with gradient 0."""

    samples = reals(1.1, 1.9), reals(2.1, 2.9)
    quiet = True

    def forward(self, xp, a, b):
        _check_divisor(xp, a, b)
        return a // b

    def vjp_a(self, g):
        return g * 0

    def vjp_b(self, g):
        return g * 0


class Remainder(Elementwise):
    """a − b·⌊a / b⌋, with the sign of b."""

    samples = reals(-5.4, -5.1), reals(2.1, 2.4)
    quiet = True

    def forward(self, xp, a, b):
        _check_divisor(xp, a, b)
        return a % b

    def vjp_a(self, g):
        return g

    def vjp_b(self, g, a, b):
        return -g * (raw(a) // raw(b))


class Fmod(Elementwise):
    """a − b·trunc(a / b), with the sign of a, as C's ``fmod``."""

    samples = reals(-5.4, -5.1), reals(2.1, 2.4)
    quiet = True

    def forward(self, xp, a, b):
        _check_divisor(xp, a, b)
        return xp.fmod(a, b)

    def vjp_a(self, g):
        return g

    def vjp_b(self, g, a, b):
        return -g * trunc(raw(a) / raw(b))


def _whole_power(xp: Any, a: Any, b: Any) -> Any:
    """a ** b of whole numbers. With b below 0 it is 0 but where a is 1 or −1; NumPy refuses to say so."""
    dtype = xp.result_type(a, b)
    a, b = xp.asarray(a, dtype=dtype), xp.asarray(b, dtype=dtype)
    if dtype.kind == "u":
        return a**b
    inverse = xp.where(a == 1, dtype.type(1), xp.where(a == -1, 1 - 2 * (b & 1), dtype.type(0)))
    return xp.where(b < 0, inverse, a ** xp.maximum(b, 0)).astype(dtype, copy=False)


def _check_divisor(xp: Any, a: Any, b: Any) -> None:
    """Refuse booleans, and (on the CPU, where looking is cheap) integers divided by 0."""
    dtype = a.dtype if hasattr(a, "dtype") else b.dtype
    if dtype.kind == "b":
        raise NotImplementedError("not implemented for booleans")
    if dtype.kind in "iu" and xp.xp is np and not np.all(b):
        raise RuntimeError("ZeroDivisionError: an integer is divided by 0")


class Neg(Elementwise):
    """−x."""

    ufunc = "negative"
    samples = reals(-3, 3)

    def forward(self, xp, x):
        return -x

    def vjp(self, g):
        return -g


class Abs(Elementwise):
    """|x|, with slope 0 at 0."""

    ufunc = "absolute"
    samples = reals(-3, 3, kinks=[0])

    def forward(self, xp, x):
        return xp.abs(x)

    def vjp(self, g, x):
        return g * sign(raw(x))


# -- public functions -------------------------------------------------------------------------------------------------


def add(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """input + alpha · other."""
    return Add()(input, other if alpha == 1 and alpha is not True else _scaled("add", input, other, alpha))


def sub(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """input − alpha · other."""
    return Sub()(input, other if alpha == 1 and alpha is not True else _scaled("sub", input, other, alpha))


def _scaled(name: str, input: Any, other: Any, alpha: Any) -> Any:
    if isinstance(alpha, float) and not _any_float(input, other):
        raise RuntimeError(f"{name}: For integral input tensors, argument alpha must not be a floating point number.")
    if isinstance(alpha, bool) and dtypes.result_type(input, other).kind != "b":
        raise RuntimeError(f"{name}: Boolean alpha only supported for Boolean results.")
    return other * alpha


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
        if _any_float(input, other):
            return trunc(Div()(input, other))
        quotient, remainder = FloorDivide()(input, other), Fmod()(input, other)
        return quotient + ((quotient < 0) & (remainder != 0))  # ⌊−7 / 2⌋ is −4, and −7 / 2 cut off is −3
    raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'")


def _any_float(*xs: Any) -> bool:
    return any(isinstance(x, float) or (hasattr(x, "dtype") and x.dtype.kind == "f") for x in xs)


def pow(input: Any, exponent: Any) -> Tensor:
    """input ** exponent."""
    if type(exponent) in (int, float) and exponent == 2:
        return square(input)
    if not _any_float(input, exponent):
        dtype = dtypes.result_type(input, exponent)
        if dtype.kind == "b":
            raise NotImplementedError("pow: not implemented for booleans")
        if isinstance(exponent, int) and exponent < 0:
            raise RuntimeError("pow: Integers to negative integer powers are not allowed.")
    return Pow()(input, exponent)


def floor_divide(input: Any, other: Any) -> Tensor:
    """⌊input / other⌋."""
    return FloorDivide()(input, other)


def remainder(input: Any, other: Any) -> Tensor:
    """The remainder with the sign of ``other``, as Python's ``%``."""
    return Remainder()(input, other)


def fmod(input: Any, other: Any) -> Tensor:
    """The remainder with the sign of ``input``, as C's ``fmod``."""
    return Fmod()(input, other)


def float_power(input: Any, exponent: Any) -> Tensor:
    """input ** exponent in float64."""
    if hasattr(input, "dtype"):
        input = cast(input, dtypes.float64)
    return pow(input, cast(exponent, dtypes.float64) if hasattr(exponent, "dtype") else float(exponent))


def rsub(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """other − alpha · input."""
    return sub(other, input, alpha=alpha)


def positive(input: Tensor) -> Tensor:
    """``input`` itself."""
    if input.dtype.kind == "b":
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


def rad2deg(input: Tensor) -> Tensor:
    """Degrees from radians."""
    return input * (180 / math.pi)


def deg2rad(input: Tensor) -> Tensor:
    """Radians from degrees."""
    return input * (math.pi / 180)


neg = as_function(Neg, "neg")
abs = as_function(Abs, "abs")


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
from minidl.ops.unary import log, square  # noqa: E402
