"""Piecewise constant functions (sign, floor, round, …): their derivative is 0 wherever there is one."""

from __future__ import annotations

from typing import Any

from minidl.ops.base import Elementwise, as_function
from minidl.ops.samples import reals
from minidl.tensor import Tensor


class Step(Elementwise, abstract=True):
    """A piecewise constant function: the gradient is zero."""

    def vjp(self, g):
        return g * 0


class Sign(Step):
    """−1, 0 or 1 (0 for NaN)."""

    samples = reals(-3, 3, kinks=[0])

    def forward(self, xp, x):
        if x.dtype.kind == "b":
            return x.copy()
        y = xp.sign(x)
        return xp.where(x == x, y, y.dtype.type(0)) if x.dtype.kind == "f" else y  # the sign of NaN is 0, as in PyTorch


class Floor(Step):
    """The largest integer not above x."""

    samples = reals(0.1, 0.9)

    def forward(self, xp, x):
        return xp.floor(x) if x.dtype.kind == "f" else x.copy()


class Ceil(Step):
    """The smallest integer not below x."""

    samples = reals(0.1, 0.9)

    def forward(self, xp, x):
        return xp.ceil(x) if x.dtype.kind == "f" else x.copy()


class Trunc(Step):
    """x without its fraction."""

    samples = reals(0.1, 0.9)

    def forward(self, xp, x):
        return xp.trunc(x) if x.dtype.kind == "f" else x.copy()


class Round(Step):
    """The nearest integer, halves to even; with ``decimals`` digits after the point."""

    def __init__(self, decimals=0):
        self.decimals = decimals

    samples = reals(0.6, 0.9)

    def forward(self, xp, x):
        return xp.round(x, self.decimals) if x.dtype.kind == "f" else x.copy()


# -- public functions -------------------------------------------------------------------------------------------------


def sign(input: Any) -> Any:
    """−1, 0 or 1."""
    return Sign()(input)


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest integer, halves to even."""
    return Round(decimals)(input)


floor = as_function(Floor, "floor")
ceil = as_function(Ceil, "ceil")
trunc = as_function(Trunc, "trunc")


def frac(input: Tensor) -> Tensor:
    """The fraction that ``trunc`` takes away."""
    return input - trunc(input)
