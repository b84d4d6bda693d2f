"""Blocks of a batch shared among threads: so the reference kernels run on all of them, without Numba too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.backend.cpu.layout import LEAST
from minidl.backend.cpu.threads import get_num_threads, share, single_blas, spans
from minidl.backend.reference.blocks import BlockKernels


class CpuBlocks(BlockKernels):
    """As the reference, by several threads at once."""

    def blocks(self, batch: int, bytes_per_item: int) -> list[slice]:
        step = max(1, self.block_bytes // max(1, bytes_per_item))
        if batch * bytes_per_item > 8 * LEAST:  # enough for every thread to get some
            step = min(step, -(-batch // get_num_threads()))
        return self._runs(batch, step)

    def each(self, function: Callable[[slice], None], blocks: Sequence[slice]) -> None:
        if len(blocks) < 2:
            return super().each(function, blocks)
        with single_blas:
            share(function, blocks)
        return None

    def total(
        self, function: Callable[[slice], Any], blocks: Sequence[slice], shape: tuple[int, ...], dtype: Any
    ) -> Any:
        if len(blocks) < 2:
            return super().total(function, blocks, shape, dtype)

        def part(span: tuple[int, int]) -> Any:
            result = np.zeros(shape, dtype)
            for block in blocks[slice(*span)]:
                result += function(block)
            return result

        with single_blas:
            result, *others = share(part, spans(len(blocks), pieces=1))
        for other in others:
            result += other
        return result
