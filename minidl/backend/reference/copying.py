"""Copies of arrays, and arrays side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class CopyKernels:
    """Reference kernels for copying."""

    xp: Any

    def reshaped(self, x: Any, shape: tuple[int, ...]) -> Any:
        """The same elements in row-major order in another shape: a view where there can be one."""
        return x.reshape(shape)

    def empty_in_order(self, shape: tuple[int, ...], like: Any) -> Any:
        """An array that is not set to anything, of like's dtype, whose axes, as many, lie in memory in the order of like's."""
        # Not ``empty_like(like, shape=shape)``: CuPy gives it no more memory than ``like`` has.
        order = sorted(range(like.ndim), key=lambda i: -abs(like.strides[i]))
        array = self.xp.empty(tuple([shape[i] for i in order]), dtype=like.dtype)
        return array.transpose([order.index(i) for i in range(like.ndim)])

    def copy_into(self, target: Any, source: Any) -> None:
        """``target[...] = source``, of one shape; they share no memory."""
        target[...] = source

    def copy_in_order(self, x: Any, like: Any) -> Any:
        """A copy of x that lies in memory as another array of its shape does."""
        copy = self.xp.empty_like(like, dtype=x.dtype)
        self.copy_into(copy, x)
        return copy

    def concatenate(self, arrays: Sequence[Any], axis: int = 0) -> Any:
        """Arrays of one dtype one after another along an axis; NumPy's in the memory order of the first."""
        return self.xp.concatenate(arrays, axis=axis)
