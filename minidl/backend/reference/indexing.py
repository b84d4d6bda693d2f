"""Writing through an index."""

from __future__ import annotations

from typing import Any


class IndexKernels:
    """Reference kernels for scattering."""

    xp: Any

    def scatter_add(self, target: Any, index: Any, values: Any) -> None:
        """``target[index] += values`` in which an index that comes twice adds twice. In place."""
        self.xp.add.at(target, index, values)
