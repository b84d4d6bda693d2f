"""Choosing between elements: where, clamp, maximum, minimum and their kin."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import dtypes
from minidl.ops.base import Elementwise, Op, backend_of_any, cast, raw, same_device
from minidl.ops.samples import reals
from minidl.tensor import Tensor


class Maximum(Elementwise):
    """The larger of a and b; where they are equal each gets half the gradient."""

    ufunc = "maximum"

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

    ufunc = "minimum"

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


# -- public functions -------------------------------------------------------------------------------------------------


def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two, element by element."""
    return Maximum()(input, other)


def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two, element by element."""
    return Minimum()(input, other)


def fmax(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two, element by element; a number is preferred to NaN."""
    return _preferred(input, other, "greater_equal")


def fmin(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two, element by element; a number is preferred to NaN."""
    return _preferred(input, other, "less_equal")


def _preferred(input: Tensor, other: Tensor, comparison: str) -> Tensor:
    """``input`` where it compares so with ``other``, or that is NaN, in the dtype that both come to."""
    dtype = dtypes.result_type(input, other)
    a, b = (x.astype(dtype) if hasattr(x, "dtype") else x for x in (raw(input), raw(other)))
    return where(getattr(backend_of_any(input).xp, comparison)(a, b) | (b != b), input, other)


def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """``input`` where ``condition`` holds, ``other`` elsewhere; with the condition alone, as ``nonzero(…, as_tuple=True)``."""
    if input is None and other is None:
        from minidl.ops.indexing import nonzero

        return nonzero(condition, as_tuple=True)
    condition = raw(condition)
    if condition.dtype != np.dtype("bool"):
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}"
        )
    if not hasattr(input, "dtype") and not hasattr(other, "dtype"):  # two numbers: give one of them a dtype
        input = Tensor.wrap(backend_of_any(condition).full((), input, dtype=dtypes.result_type(input, other)))
    same_device("where", condition, input, other)
    return Where(condition)(input, other)


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """``input`` limited to the range from ``min`` to ``max`` (numbers or Tensors; None: no limit)."""
    if min is None and max is None:
        raise RuntimeError("clamp: At least one of 'min' or 'max' must not be None")
    if hasattr(min, "dtype") or hasattr(max, "dtype"):
        bounded = input if min is None else Where(raw(input) < raw(min))(min, input)
        return bounded if max is None else Where(raw(bounded) > raw(max))(max, bounded)
    if input.dtype.kind in "biu" and (isinstance(min, float) or isinstance(max, float)):
        input = cast(input, dtypes.get_default_dtype())
    return Clamp(min, max)(input)


def clamp_min(input: Tensor, min: Any) -> Tensor:
    """``clamp`` with a lower limit only."""
    return clamp(input, min=min)


def clamp_max(input: Tensor, max: Any) -> Tensor:
    """``clamp`` with an upper limit only."""
    return clamp(input, max=max)


def nan_to_num(
    input: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """``input`` with NaN replaced by ``nan`` (default 0), ∞ and −∞ by the largest and smallest number of the dtype."""
    if input.dtype.kind != "f":
        return cast(input, input.dtype)
    limits = np.finfo(input.dtype)
    array = raw(input)
    y = where(array != array, 0.0 if nan is None else nan, input)
    y = where(array == float("inf"), float(limits.max) if posinf is None else posinf, y)
    return where(array == -float("inf"), float(limits.min) if neginf is None else neginf, y)


def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 where ``input`` < 0, 1 where it is > 0, and ``values`` where it is 0. Has no gradient."""
    if input.dtype != values.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    above = (raw(input) > 0).astype(input.dtype)
    return Tensor.wrap(backend_of_any(input).where(raw(input) == 0, raw(values), above))
