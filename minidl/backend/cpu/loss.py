"""Cross entropy on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.reference.loss import LossKernels

MANY = 1 << 14  # numbers: from there on NumPy's vectors are faster than the one pass of a loop with exp


class CpuLoss(LossKernels):
    """Softmax and cross entropy of float matrices; few numbers in a compiled loop, many by NumPy's vectorised exp."""

    def cross_entropy(self, x: Any, labels: Any, ignore_index: int) -> tuple[Any, Any]:
        fast = fast_kernels() if 0 < x.size < MANY and x.dtype.char in "fd" else None
        if fast is None or not (x.flags.c_contiguous and labels.flags.c_contiguous):
            return super().cross_entropy(x, labels, ignore_index)
        losses, p = np.empty(len(x), x.dtype), np.empty_like(x)
        bad = fast.cross_entropy_rows(x, labels, ignore_index, 0, len(x), losses, p)
        if bad >= 0:
            raise IndexError(int(labels[bad]))
        return losses, p

    def cross_entropy_grad(self, p: Any, labels: Any, ignore_index: int, scale: Any) -> Any:
        fast = fast_kernels() if p.size and p.dtype.char in "fd" else None
        if fast is None or not (p.flags.c_contiguous and labels.flags.c_contiguous):
            return super().cross_entropy_grad(p, labels, ignore_index, scale)
        dx = np.empty_like(p)
        fast.cross_entropy_back(p, labels, ignore_index, np.asarray(scale, p.dtype).reshape(-1), dx)
        return dx
