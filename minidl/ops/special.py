"""Further elementwise functions: hypot, logaddexp, logit, sinc."""

from __future__ import annotations

import math
from typing import Any

from minidl.ops.base import Elementwise, raw
from minidl.ops.samples import reals
from minidl.ops.selection import clamp, where
from minidl.ops.unary import Unary, cos, log, sigmoid
from minidl.tensor import Tensor


class Hypot(Elementwise):
    """√(a² + b²) without overflow; the gradient at the origin is 0."""

    samples = reals(0.3, 3), reals(-3, 3)
    to_float = quiet = True

    def forward(self, xp, a, b):
        return xp.hypot(a, b)

    def vjp_a(self, g, a, y):
        return g * a / where(raw(y) == 0, 1, y)

    def vjp_b(self, g, b, y):
        return g * b / where(raw(y) == 0, 1, y)


class LogAddExp(Elementwise):
    """log(exp(a) + exp(b)) without overflow."""

    samples = reals(-3, 3), reals(-3, 3)
    to_float = quiet = True

    def forward(self, xp, a, b):
        return xp.logaddexp(a, b)

    def vjp_a(self, g, a, b):
        return g * sigmoid(_difference(a, b))

    def vjp_b(self, g, a, b):
        return g * sigmoid(_difference(b, a))


def _difference(a: Any, b: Any) -> Any:
    """a − b, and 0 where both are the same infinity."""
    return where((raw(a) == raw(b)) & (abs(raw(a)) == math.inf), 0, a - b)


class Sinc(Unary):
    """sin(πx) / (πx), and 1 at 0."""

    samples = reals(-3, 3, kinks=[0], margin=0.3)

    def forward(self, xp, x):
        return xp.sinc(x).astype(x.dtype)

    def vjp(self, g, x, y):
        zero = raw(x) == 0
        return g * where(zero, 0, (cos(x * math.pi) - y) / where(zero, 1, x))


def hypot(input: Tensor, other: Tensor) -> Tensor:
    """√(input² + other²)."""
    return Hypot()(input, other)


def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(exp(input) + exp(other)), without overflow."""
    return LogAddExp()(input, other)


def sinc(input: Tensor) -> Tensor:
    """sin(π · input) / (π · input), and 1 at 0."""
    return Sinc()(input)


def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(p / (1 − p)), the inverse of ``sigmoid``; with ``eps`` p is limited to [eps, 1 − eps] first."""
    p = input if eps is None else clamp(input, eps, 1 - eps)
    return log(p / (1 - p))
