"""What an op says about the inputs that its tests shall draw.

An elementwise op names a range for each input: ``samples = reals(-3, 3), reals(0.5, 2)``. Any other op has a function that
draws arrays and parameters from a ``Draw`` and returns the arrays to differentiate with respect to, and the call:

    def samples(draw):
        x = draw.array(draw.shape(1, 4))
        dim = draw.dim(x.ndim)
        return (x,), lambda x: cumsum(x, dim)

The source of the choices is any object with ``integer(low, high)``: a random number generator here, hypothesis in the tests
(which then shrinks a failing case to a small one). This module knows neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

T = TypeVar("T")
Sample = tuple[tuple[np.ndarray, ...], Callable[..., Any]]


class Reals(NamedTuple):
    """A range of real numbers, without a margin around the points where the op has no derivative."""

    low: float
    high: float
    kinks: tuple[float, ...] = ()
    margin: float = 0.05


def reals(low: float, high: float, kinks: Sequence[float] = (), margin: float = 0.05) -> Reals:
    """Real numbers between ``low`` and ``high``, at least ``margin`` away from ``kinks``."""
    return Reals(low, high, tuple(kinks), margin)


ORDINARY = Reals(-2.0, 2.0)


class Source(Protocol):
    """Where choices come from."""

    def integer(self, low: int, high: int) -> int:
        """Return an integer from ``low`` to ``high``, both included."""
        ...


class Draw:
    """Draws arrays, shapes and parameters for a test."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def integer(self, low: int, high: int) -> int:
        return self.source.integer(low, high)

    def flag(self) -> bool:
        return bool(self.source.integer(0, 1))

    def choice(self, options: Sequence[T]) -> T:
        return options[self.source.integer(0, len(options) - 1)]

    def shape(self, least: int = 0, most: int = 4, side: int = 4, empty: bool = False) -> tuple[int, ...]:
        """A shape of ``least`` to ``most`` dimensions, each 1 (or 0, if ``empty``) to ``side`` long."""
        return tuple(self.integer(0 if empty else 1, side) for _ in range(self.integer(least, most)))

    def dim(self, ndim: int) -> int:
        """One dimension, counted from either end."""
        return self.integer(-ndim, ndim - 1)

    def dims(self, ndim: int) -> Any:
        """None, one dimension, or several."""
        if ndim == 0 or self.integer(0, 3) == 0:
            return None
        chosen = [d for d in range(ndim) if self.flag()] or [self.integer(0, ndim - 1)]
        signed = [d - ndim if self.flag() else d for d in chosen]
        return signed[0] if len(signed) == 1 and self.flag() else tuple(signed)

    def generator(self) -> np.random.Generator:
        return np.random.default_rng(self.integer(0, 2**32 - 1))

    def array(self, shape: Sequence[int], spec: Reals = ORDINARY, distinct: bool = False) -> np.ndarray:
        """A float64 array; with ``distinct`` all values are near different multiples of 0.1 (for max, sort and the like)."""
        rng = self.generator()
        shape = tuple(shape)
        if distinct:
            n = int(np.prod(shape))
            return ((rng.permutation(n) - n // 2) * 0.1 + rng.uniform(-0.02, 0.02, n)).reshape(shape)
        x = rng.uniform(spec.low, spec.high, shape)
        for kink in spec.kinks:
            near = np.abs(x - kink) < spec.margin
            step = np.where(x >= kink, spec.margin, -spec.margin)
            x = np.where(near, kink + step * (1 + rng.uniform(0, 1, shape)), x)
        return np.asarray(x)

    def indices(self, shape: Sequence[int], size: int) -> np.ndarray:
        """Integers below ``size``; repetitions are likely."""
        return self.generator().integers(0, size, tuple(shape))

    def broadcast_shapes(self, number: int) -> list[tuple[int, ...]]:
        """Shapes that broadcast together: each drops leading dimensions or shrinks some to 1."""
        full = self.shape(0, 4, 3, empty=self.integer(0, 9) == 0)
        shapes = []
        for _ in range(number):
            start = self.integer(0, len(full)) if self.flag() else 0
            shapes.append(tuple(1 if self.integer(0, 3) == 0 else n for n in full[start:]))
        return shapes


def elementwise_sample(op: Any, draw: Draw) -> Sample:
    """Arrays of broadcasting shapes from the ranges of an elementwise op."""
    specs = [op.samples] if isinstance(op.samples, Reals) else list(op.samples)
    shapes = draw.broadcast_shapes(len(specs))
    return tuple(draw.array(s, spec) for s, spec in zip(shapes, specs, strict=True)), lambda *xs: op()(*xs)


def draw_sample(op: Any, draw: Draw) -> Sample:
    """Draw the inputs and the call for any registered op."""
    if isinstance(op.samples, (Reals, tuple)):
        return elementwise_sample(op, draw)
    return op.samples(draw)
