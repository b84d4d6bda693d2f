"""Keeping freed memory instead of giving it back to the operating system.

By default glibc returns large blocks at once, and every new temporary array then costs a page fault for each 4 KiB of it:
for a training step, which makes and drops the same large arrays again and again, a good part of the time. With two
thresholds raised the blocks are kept and used again. Only glibc (Linux) knows this; elsewhere nothing is done. Set the
environment variable ``MINIDL_KEEP_MEMORY=0`` to leave the allocator alone: the process then holds less memory between steps.
"""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h
_LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc refuses more
_KEEP = (1 << 31) - 1  # bytes at the top of the heap that are not given back; the largest that fits a C int


_kept = False


def kept() -> bool:
    """Whether ``keep_freed_memory`` has raised the thresholds."""
    return _kept


def keep_freed_memory() -> bool:
    """Raise glibc's thresholds. Returns whether that was done."""
    global _kept
    if not sys.platform.startswith("linux") or os.environ.get("MINIDL_KEEP_MEMORY", "1") == "0":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    _kept = bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEEP))
    return _kept
