"""Doing a batch in blocks. The other kernels are written so that a backend may share the blocks out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class BlockKernels:
    """Reference: one block after another."""

    xp: Any
    # Of temporary arrays. Smaller ones would stay in the cache, but threads would wait for Python's lock more often.
    block_bytes = 4 << 20

    def blocks(self, batch: int, bytes_per_item: int) -> list[slice]:
        """Cut a batch into runs of items whose temporaries fit in ``block_bytes``."""
        return self._runs(batch, max(1, self.block_bytes // max(1, bytes_per_item)))

    @staticmethod
    def _runs(batch: int, step: int) -> list[slice]:
        return [slice(start, min(start + step, batch)) for start in range(0, batch, step)]

    def each(self, function: Callable[[slice], None], blocks: Sequence[slice]) -> None:
        """Call the function with every block; it writes its results where no other block does."""
        for block in blocks:
            function(block)

    def total(
        self, function: Callable[[slice], Any], blocks: Sequence[slice], shape: tuple[int, ...], dtype: Any
    ) -> Any:
        """Add up what the function returns for every block: an array of this shape."""
        result = self.xp.zeros(shape, dtype=dtype)
        for block in blocks:
            result += function(block)
        return result
