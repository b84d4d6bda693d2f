"""Copies on the CPU: large ones are shared among threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.backend.cpu.layout import LARGE, copy_into, in_rows
from minidl.backend.reference.copying import CopyKernels


class CpuCopy(CopyKernels):
    """Large copies; small ones go to NumPy."""

    def reshaped(self, x: Any, shape: tuple[int, ...]) -> Any:
        if x.ndim == 4 and len(shape) == 2 and shape[0] == len(x) and not x.flags.c_contiguous:  # needs a copy
            rows = in_rows(x)
            x = x if rows is None else rows
        return x.reshape(shape)

    def empty_in_order(self, shape: tuple[int, ...], like: Any) -> Any:
        return np.empty_like(like, shape=shape)

    def copy_into(self, target: Any, source: Any) -> None:
        copy_into(target, source)

    def concatenate(self, arrays: Sequence[Any], axis: int = 0) -> Any:
        first = arrays[0]
        if sum([x.size for x in arrays]) < LARGE or any([x.dtype is not first.dtype for x in arrays]):
            return np.concatenate(arrays, axis=axis)
        axis %= first.ndim
        total = sum([x.shape[axis] for x in arrays])
        joined = self.empty_in_order((*first.shape[:axis], total, *first.shape[axis + 1 :]), first)
        start = 0
        for x in arrays:
            stop = start + x.shape[axis]
            copy_into(joined[(slice(None),) * axis + (slice(start, stop),)], x)
            start = stop
        return joined
