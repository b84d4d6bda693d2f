"""Element by element: what is worth sharing among threads, or more than one function of the array module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class ElementwiseKernels:
    """Reference kernels for sums, for limited linear functions, for the sigmoid, and for any function of single elements."""

    xp: Any

    def by_pieces(self, function: Callable[..., Any], *inputs: Any) -> Any:
        """``function(*inputs)``, which treats every element alike, so that it may be computed a piece at a time."""
        return function(*inputs)

    def add(self, a: Any, b: Any) -> Any:
        """a + b."""
        return a + b

    def add_into(self, total: Any, x: Any) -> None:
        """total += x, in place; x broadcasts to the shape of total."""
        total += x

    def _after(self, then: str | None, y: Any) -> Any:
        """What the kernel that ``then`` names makes of y, in place; y itself for None."""
        return y if then is None else getattr(self, then)(y, out=y)

    def _before(self, then: str | None, g: Any, y: Any) -> Any:
        """The cotangent of what that kernel was given, for the cotangent g of its output y; g itself for None."""
        return g if then is None else getattr(self, f"{then}_grad")(g, y)

    def relu(self, x: Any, out: Any = None) -> Any:
        """max(x, 0), into ``out`` (which may be x) or a new array."""
        return self.xp.maximum(x, 0, out=out)

    def relu_grad(self, g: Any, y: Any) -> Any:
        """g where y, the output, is above 0 (or not a number), else 0."""
        return self.xp.where(y <= 0, g.dtype.type(0), g)

    def hardtanh(self, x: Any, low: float, high: float, out: Any = None) -> Any:
        """x limited to [low, high], into ``out`` (which may be x) or a new array."""
        return self.xp.clip(x, low, high, out=out)

    def hardtanh_grad(self, g: Any, y: Any, low: float, high: float) -> Any:
        """g where y, the output, is strictly between the limits (or not a number), else 0."""
        return self.xp.where((y <= low) | (y >= high), g.dtype.type(0), g)

    def relu6(self, x: Any, out: Any = None) -> Any:
        """min(max(x, 0), 6), into ``out`` (which may be x) or a new array."""
        return self.hardtanh(x, 0.0, 6.0, out)

    def relu6_grad(self, g: Any, y: Any) -> Any:
        """g where y, the output, is strictly between 0 and 6 (or not a number), else 0."""
        return self.hardtanh_grad(g, y, 0.0, 6.0)

    def sigmoid(self, x: Any, out: Any = None) -> Any:
        """1 / (1 + e⁻ˣ), into ``out`` (which may be x) or a new array. May overflow on the way, to what is right."""
        y = self.xp.negative(x, out=self.xp.empty_like(x) if out is None else out)
        self.xp.exp(y, out=y)
        y += 1
        return self.xp.divide(1, y, out=y)

    def sigmoid_grad(self, g: Any, y: Any) -> Any:
        """g · y · (1 − y), for the output y."""
        return g * (y * (1 - y))
