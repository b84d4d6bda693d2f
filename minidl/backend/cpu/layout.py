"""Getting at an array's memory in the order in which it lies there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.cpu.threads import Span, row_team, share, spans

SMALL, PART = (
    1 << 12,
    1 << 13,
)  # numbers that are worth turning by a compiled kernel; that a thread should have to itself
LEAST = 1 << 16  # elements that a thread should have to itself, to be worth waking
LARGE = 2 * LEAST  # elements: for fewer NumPy's own loops do not wake a second thread


def nhwc(x: Any) -> np.ndarray:
    """NCHW as a C-contiguous NHWC array: a view where the memory is channels-last already, else a copy."""
    y = x.transpose(0, 2, 3, 1)
    if y.flags.c_contiguous:
        return y
    copy = np.empty(y.shape, y.dtype)
    copy_into(copy.transpose(0, 3, 1, 2), x)
    return copy


def copy_into(target: np.ndarray, source: np.ndarray) -> None:
    """``target[...] = source``, of one shape; they share no memory. Threads share what is large."""
    if target.size < SMALL:
        target[...] = source
        return
    if target.ndim == 4 and target.dtype is source.dtype:
        to, y = target.transpose(0, 2, 3, 1), source.transpose(0, 2, 3, 1)
        n, c = target.shape[:2]
        if (
            source.flags.c_contiguous
            and to.flags.c_contiguous
            and _turn(source.reshape(n, c, -1), to.reshape(n, -1, c))
        ):
            return
        if y.flags.c_contiguous and target.flags.c_contiguous and _turn(y.reshape(n, -1, c), target.reshape(n, c, -1)):
            return
    along_memory(np.copyto, target, source)


def along_memory(function: Callable[..., Any], target: np.ndarray, *sources: np.ndarray) -> None:
    """``function(target, *sources)``, arrays of one shape, on runs of the target's memory: threads share them."""
    axis = max(range(target.ndim), key=lambda i: abs(target.strides[i]) if target.shape[i] > 1 else 0)
    rows = [x.swapaxes(0, axis) for x in (target, *sources)]

    def part(span: Span) -> None:
        function(*[x[slice(*span)] for x in rows])

    length = target.shape[axis]
    share(part, spans(length, max(1, LEAST * length / target.size)))


def in_rows(x: np.ndarray) -> np.ndarray | None:
    """A C-contiguous copy of NCHW whose channels lie last; None if they lie otherwise."""
    if not x.transpose(0, 2, 3, 1).flags.c_contiguous:
        return None
    copy = np.empty(x.shape, x.dtype)
    copy_into(copy, x)
    return copy


def _turn(matrices: np.ndarray, out: np.ndarray) -> bool:
    """Turn every matrix (N, A, B) into ``out`` (N, B, A), compiled; False if that cannot be, or is not worth it."""
    fast = fast_kernels() if matrices.dtype.char == "f" and matrices.size >= SMALL else None
    if fast is not None:
        fast.turn(row_team(matrices, PART), matrices, out)
    return fast is not None


def empty_nhwc(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """A C-contiguous array (N, H, W, C): the view of an array (N, C, H, W) that owns the memory, see ``nchw``."""
    n, h, w, c = shape
    size = np.dtype(dtype).itemsize
    owner: np.ndarray = np.ndarray((n, c, h, w), dtype, strides=(h * w * c * size, size, w * c * size, c * size))
    return owner.transpose(0, 2, 3, 1)


def nchw(x: np.ndarray) -> np.ndarray:
    """NHWC as NCHW: of an array from ``empty_nhwc`` its owner, to which autograd may add in place; else a view."""
    y = x.transpose(0, 3, 1, 2)
    owner = x.base
    return owner if owner is not None and owner.shape == y.shape and owner.strides == y.strides else y


def flat(x: np.ndarray) -> np.ndarray | None:
    """All elements in the order of memory, as a view; None if there are gaps or repetitions."""
    if x.flags.c_contiguous:
        return x.reshape(-1)
    if x.ndim == 4:
        y = x.transpose(0, 2, 3, 1)
        return y.reshape(-1) if y.flags.c_contiguous else None
    return x.T.reshape(-1) if x.flags.f_contiguous else None


def laid_out_like(x: np.ndarray, other: np.ndarray) -> np.ndarray:
    """x, or a copy of it in the memory layout of another array of its shape."""
    if x.strides == other.strides or x.shape != other.shape:
        return x
    copy = np.empty_like(other, dtype=x.dtype)
    copy_into(copy, x)
    return copy


def flat_alike(x: np.ndarray, *others: np.ndarray) -> list[np.ndarray] | None:
    """``flat`` of several arrays, if they have one shape, dtype and layout; else None."""
    shape, dtype, contiguous = x.shape, x.dtype, x.flags.c_contiguous
    for y in others:
        if y.shape != shape or y.dtype != dtype:
            return None
        contiguous = contiguous and y.flags.c_contiguous
    if contiguous:  # also where strides of axes of length 1 differ
        return [x, *others] if len(shape) == 1 else [x.ravel(), *[y.ravel() for y in others]]
    if any([y.strides != x.strides for y in others]):
        return None
    arrays = [flat(y) for y in (x, *others)]
    return None if arrays[0] is None else arrays  # type: ignore[return-value]
