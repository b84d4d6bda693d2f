"""Sums over axes."""

from __future__ import annotations

from typing import Any

from minidl.backend.reference.broadcasting import unbroadcast_axes


class ReductionKernels:
    """Reference kernels for sums."""

    xp: Any

    def sum_over(self, x: Any, axes: tuple[int, ...], keepdims: bool = False) -> Any:
        """The sum over some axes, in x's dtype."""
        return x.sum(axis=axes, keepdims=keepdims, dtype=x.dtype)

    def sum_to(self, x: Any, shape: tuple[int, ...]) -> Any:
        """The sum down to a shape that broadcasts to x's."""
        return self.sum_over(x, unbroadcast_axes(x.shape, shape)).reshape(shape)
