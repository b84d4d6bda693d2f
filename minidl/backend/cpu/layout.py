"""Getting at an array's memory in the order in which it lies there."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.cpu.threads import Span, share, spans, team

SMALL, PART = (
    1 << 12,
    1 << 13,
)  # numbers that are worth turning by a compiled kernel; that a thread should have to itself
LEAST = 1 << 16  # elements that a thread should have to itself, to be worth waking


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
        n, c, h, w = target.shape
        if source.flags.c_contiguous and to.flags.c_contiguous:
            if _turn(source.reshape(n, c, h * w), to.reshape(n, h * w, c)):
                return
        elif (
            y.flags.c_contiguous
            and target.flags.c_contiguous
            and _turn(y.reshape(n, h * w, c), target.reshape(n, c, h * w))
        ):
            return
    axis = outermost(target)
    rows, others = target.swapaxes(0, axis), source.swapaxes(0, axis)

    def part(span: Span) -> None:
        here = slice(*span)
        rows[here] = others[here]

    share(part, spans(len(rows), max(1, LEAST * len(rows) / target.size)))


def outermost(x: np.ndarray) -> int:
    """The axis along which x can be cut into the longest runs of memory: that of the longest steps."""
    return max(range(x.ndim), key=lambda i: abs(x.strides[i]) if x.shape[i] > 1 else 0)


def in_rows(x: np.ndarray) -> np.ndarray | None:
    """A C-contiguous copy of NCHW whose channels lie last, if there is a fast way to it."""
    y = x.transpose(0, 2, 3, 1)
    if not y.flags.c_contiguous:
        return None
    copy = np.empty(x.shape, x.dtype)
    return copy if _turn(y.reshape(len(x), -1, x.shape[1]), copy.reshape(*x.shape[:2], -1)) else None


def _turn(matrices: np.ndarray, out: np.ndarray) -> bool:
    """Turn every matrix (N, A, B) into ``out`` (N, B, A), compiled; False if that cannot be, or is not worth it."""
    fast = fast_kernels() if matrices.dtype.char == "f" and matrices.size >= SMALL else None
    if fast is not None:
        fast.turn(team(len(matrices), PART / matrices[0].size), matrices, out)
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
