"""Writing through an index."""

from __future__ import annotations

from typing import Any


class IndexKernels:
    """Reference kernels for scattering."""

    xp: Any

    def scatter_add(self, target: Any, index: Any, values: Any) -> None:
        """``target[index] += values`` in which an index that comes twice adds twice. In place."""
        self.xp.add.at(target, index, values)

    def place_along_axis(self, target: Any, index: Any, values: Any, axis: int, add: bool = False) -> None:
        """Write (or add) ``values`` into ``target`` at positions ``index`` along ``axis``. In place.

        ``target[i][index[i][j][k]][k] = values[i][j][k]`` for axis 1; ``index`` may be smaller than ``target`` elsewhere.
        """
        grids = [
            self.xp.arange(n).reshape([-1 if d == e else 1 for e in range(index.ndim)])
            for d, n in enumerate(index.shape)
        ]
        grids[axis] = index
        if add:
            self.scatter_add(target, tuple(grids), values)
        else:
            target[tuple(grids)] = values
