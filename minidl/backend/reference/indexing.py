"""Writing through an index, and reading in row-major order."""

from __future__ import annotations

from typing import Any


class IndexKernels:
    """Reference kernels for scattering and reshaping."""

    xp: Any

    def reshaped(self, x: Any, shape: tuple[int, ...]) -> Any:
        """The same elements in row-major order in another shape: a view where there can be one."""
        return x.reshape(shape)

    def scatter_add(self, target: Any, index: Any, values: Any) -> None:
        """``target[index] += values`` in which an index that comes twice adds twice. In place."""
        self.xp.add.at(target, index, values)
