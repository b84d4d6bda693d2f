"""Softmax on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.cpu.threads import row_team
from minidl.backend.reference.softmax import SoftmaxKernels


class CpuSoftmax(SoftmaxKernels):
    """Of float32 along the last axis; else the reference serves."""

    def softmax(self, x: Any, axis: int) -> Any:
        y = _by_rows("softmax_rows", axis, x)
        return super().softmax(x, axis) if y is None else y

    def softmax_grad(self, g: Any, y: Any, axis: int) -> Any:
        dx = _by_rows("softmax_back", axis, g, y)
        return super().softmax_grad(g, y, axis) if dx is None else dx

    def log_softmax(self, x: Any, axis: int) -> Any:
        y = _by_rows("log_softmax_rows", axis, x)
        return super().log_softmax(x, axis) if y is None else y

    def log_softmax_grad(self, g: Any, y: Any, axis: int) -> Any:
        dx = _by_rows("log_softmax_back", axis, g, y)
        return super().log_softmax_grad(g, y, axis) if dx is None else dx


def _by_rows(name: str, axis: int, *arrays: np.ndarray) -> np.ndarray | None:
    """What the compiled kernel of that name makes of the arrays, row by row; None if it cannot."""
    x = arrays[-1]
    fast = fast_kernels() if x.size and x.dtype.char == "f" and axis in (-1, x.ndim - 1) else None
    if fast is None or not all([a.dtype is x.dtype and a.flags.c_contiguous for a in arrays]):
        return None
    out = np.empty_like(x)
    matrices = [a.reshape(-1, x.shape[-1]) for a in (*arrays, out)]
    getattr(fast, name)(row_team(matrices[-1]), *matrices)
    return out
