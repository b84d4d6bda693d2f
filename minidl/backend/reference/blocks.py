"""Doing a batch in blocks. The other kernels are written so that a backend may share the blocks out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

BLOCK_BYTES = 2 << 20  # of temporary arrays: what stays in a core's cache


class BlockKernels:
    """Reference: one block after another."""

    xp: Any

    def blocks(self, batch: int, bytes_per_item: int) -> list[slice]:
        """Cut a batch into runs of items whose temporaries fit in ``BLOCK_BYTES``."""
        step = max(1, BLOCK_BYTES // max(1, bytes_per_item))
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
