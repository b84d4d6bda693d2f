"""Scattering on the CPU: what ``np.add.at`` does, without its price for every element."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.reference.indexing import IndexKernels

SMALL = 1 << 10  # numbers: for fewer NumPy is as fast


class CpuIndex(IndexKernels):
    """Rows that an array of integers names, or single elements that as many arrays as there are axes name."""

    def scatter_add(self, target: Any, index: Any, values: Any) -> None:
        fast = fast_kernels() if target.dtype.char in "fd" and target.flags.c_contiguous else None
        same = type(values) is np.ndarray and values.dtype is target.dtype and values.size >= SMALL
        rows = _rows(target, index) if fast is not None and same else None
        if fast is None or rows is None or values.shape != rows.shape + target.shape[_axes(index) :]:
            return super().scatter_add(target, index, values)
        width = values.size // rows.size
        matrix = target.reshape(-1, width)
        wrong = fast.add_rows(rows.reshape(-1), np.ascontiguousarray(values).reshape(-1, width), matrix)
        if wrong >= 0:
            raise IndexError(f"index {rows.reshape(-1)[wrong]} is out of bounds for axis 0 with size {len(matrix)}")


def _axes(index: Any) -> int:
    return len(index) if isinstance(index, tuple) else 1


def _rows(target: np.ndarray, index: Any) -> np.ndarray | None:
    """The index of each row of ``target``, or of each of its elements in flat order; None for an index of another kind."""
    parts = index if isinstance(index, tuple) else (index,)
    if not all([type(i) is np.ndarray and i.dtype.kind in "iu" for i in parts]):
        return None
    if len(parts) == 1:
        return parts[0].astype(np.int64, copy=False)
    if len(parts) != target.ndim:
        return None
    flat = np.zeros((), np.int64)
    for i, n in zip(parts, target.shape, strict=True):
        if i.size and (i.min() < 0 or i.max() >= n):
            return None
        flat = flat * n + i
    return flat
