"""Cross entropy on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.cpu.threads import row_team
from minidl.backend.reference.loss import LossKernels


class CpuLoss(LossKernels):
    """Softmax and cross entropy of float32 matrices; others go to the reference."""

    def cross_entropy(self, x: Any, labels: Any, ignore_index: int) -> tuple[Any, Any, Any]:
        fast = fast_kernels() if x.size and x.dtype.char == "f" else None
        if fast is None or not (x.flags.c_contiguous and labels.flags.c_contiguous):
            return super().cross_entropy(x, labels, ignore_index)
        p = np.empty_like(x)
        total, count = fast.cross_entropy_rows(row_team(x), x, labels, ignore_index, p)
        if count < 0:
            raise IndexError(int(labels[int(total)]))
        return x.dtype.type(total), count, p

    def cross_entropy_grad(self, p: Any, labels: Any, ignore_index: int, scale: Any) -> Any:
        fast = fast_kernels() if p.size and p.dtype.char == "f" else None
        if fast is None or not (p.flags.c_contiguous and labels.flags.c_contiguous):
            return super().cross_entropy_grad(p, labels, ignore_index, scale)
        dx = np.empty_like(p)
        fast.cross_entropy_back(row_team(p), p, labels, ignore_index, float(scale), dx)
        return dx
