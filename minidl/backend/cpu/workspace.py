"""Scratch memory that is used again: one array for each purpose and thread, as large as the largest request so far.

A new temporary costs page faults and falls out of the cache; a workspace stays in it. What a workspace holds is only valid
until the same thread asks for the same purpose again, so it never leaves the kernel that asked.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np


class _Memory(threading.local):
    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}  # for each purpose
        self.views: dict[tuple[str, tuple[int, ...], Any], np.ndarray] = {}  # of them, as they were asked for


_memory = _Memory()
_ALIGN = 64  # bytes: a cache line, and the widest vector register
_VIEWS = 512  # that are kept


def workspace(purpose: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an uninitialised C-contiguous array for a purpose; its memory is reused, and aligned to 64 bytes."""
    found = _memory.views.get((purpose, shape, dtype))
    return _view(purpose, shape, dtype) if found is None else found


def _view(purpose: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    views, kind = _memory.views, np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    held = _memory.arrays.get(purpose)
    if held is None or held.size < size:
        for key in [key for key in views if key[0] == purpose]:
            del views[key]  # or the smaller memory would live on
        raw = np.empty(size + _ALIGN, np.uint8)
        start = -raw.ctypes.data % _ALIGN
        held = _memory.arrays[purpose] = raw[start : start + size]
    if len(views) >= _VIEWS:
        views.clear()
    found = views[purpose, shape, dtype] = held[:size].view(kind).reshape(shape)
    return found
