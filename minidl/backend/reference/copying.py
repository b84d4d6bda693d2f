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

    def copy_into(self, target: Any, source: Any) -> None:
        """``target[...] = source``, of one shape; they share no memory."""
        target[...] = source

    def concatenate(self, arrays: Sequence[Any], axis: int = 0) -> Any:
        """Arrays of one dtype one after another along an axis, in the memory order of the first."""
        return self.xp.concatenate(arrays, axis=axis)
