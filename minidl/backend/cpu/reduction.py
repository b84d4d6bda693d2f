"""Sums on the CPU: those of large arrays are shared among threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend.cpu.layout import LARGE, LEAST, flat
from minidl.backend.cpu.threads import Span, share, spans
from minidl.backend.reference.reduction import ReductionKernels


class CpuReduction(ReductionKernels):
    """Sums of floats; NumPy adds in pairs, so that rounding errors stay small."""

    channel_sums: Any

    def sum_over(self, x: Any, axes: tuple[int, ...], keepdims: bool = False) -> Any:
        if x.size < LARGE or x.dtype.char not in "fd" or not axes:
            return super().sum_over(x, axes, keepdims)
        kept = [i for i in range(x.ndim) if i not in axes and x.shape[i] > 1]
        shape = tuple([1 if i in axes else n for i, n in enumerate(x.shape)])
        if not kept:
            return _sum_of_all(x).reshape(shape if keepdims else ())
        if kept == [1] and x.ndim in (2, 4):
            total = self.channel_sums(x).reshape(shape)
        else:
            total = _sum_of_some(x, axes, max(kept, key=lambda i: abs(x.strides[i])), shape)
        return total if keepdims else total.reshape([n for i, n in enumerate(x.shape) if i not in axes])


def _sum_of_all(x: np.ndarray) -> np.ndarray:
    line = flat(x)
    if line is None:
        return np.asarray(np.add.reduce(x, axis=None))
    parts = share(lambda span: np.add.reduce(line[slice(*span)]), spans(line.size, LEAST))
    return np.asarray(np.add.reduce(np.array(parts)))


def _sum_of_some(x: np.ndarray, axes: tuple[int, ...], axis: int, shape: tuple[int, ...]) -> np.ndarray:
    """Threads share ``axis``, which is kept; the others have length 1 in the result."""
    total = np.empty(shape, x.dtype)
    before = (slice(None),) * axis

    def part(span: Span) -> None:
        here = (*before, slice(*span))
        np.add.reduce(x[here], axis=axes, keepdims=True, out=total[here])

    share(part, spans(x.shape[axis], LEAST * x.shape[axis] / x.size))
    return total
