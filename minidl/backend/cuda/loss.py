"""Softmax and cross entropy on the GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend.cuda.launch import THREADS, Launcher, blocks
from minidl.backend.reference.loss import LossKernels


class CudaLoss(LossKernels, Launcher):
    """Cross entropy of rows of scores that have no gaps; the CPU waits once, to see whether all labels are classes."""

    to_numpy: Any

    def cross_entropy(self, x: Any, labels: Any, ignore_index: int) -> tuple[Any, Any, Any]:
        if not _fits(x, labels):
            return super().cross_entropy(x, labels, ignore_index)
        rows, columns = x.shape
        losses, p = self.xp.empty(rows, dtype="float64"), self.xp.empty(x.shape, dtype=x.dtype)
        loss, facts = self.xp.empty((), dtype=x.dtype), self.xp.empty(3, dtype="int64")
        threads = min(THREADS, -(-columns // 32) * 32)
        of = labels, int(ignore_index)
        self.launch("loss", "cross_entropy_rows", x.dtype.char, (rows,), (1, threads), x, *of, columns, losses, p)
        self.launch("loss", "cross_entropy_total", x.dtype.char, (1,), (1, THREADS), losses, *of, rows, loss, facts)
        count, low, high = (int(n) for n in self.to_numpy(facts))
        if low < 0 or high >= columns:
            return super().cross_entropy(x, labels, ignore_index)  # raises, with the label
        return loss, count, p

    def cross_entropy_grad(self, p: Any, labels: Any, ignore_index: int, scale: Any) -> Any:
        if not _fits(p, labels):
            return super().cross_entropy_grad(p, labels, ignore_index, scale)
        scale = self.xp.asarray(scale, dtype=p.dtype)
        dx = self.xp.empty(p.shape, dtype=p.dtype)
        arguments = p, labels, int(ignore_index), scale, p.shape[1], p.size, dx
        self.launch("loss", "cross_entropy_grad", p.dtype.char, *blocks(p.size), *arguments)
        return dx


def _fits(x: Any, labels: Any) -> bool:
    contiguous = x.flags.c_contiguous and labels.flags.c_contiguous
    return bool(x.size and x.dtype.char in "fd" and labels.dtype == np.int64 and contiguous)
