"""How arrays lie in GPU memory."""

from __future__ import annotations

from typing import Any


def channels_last(x: Any) -> bool:
    """Whether x, (N, C, H, W), has a pixel's channels side by side and no gaps: a contiguous NHWC array, seen as NCHW."""
    return x.ndim == 4 and bool(x.transpose(0, 2, 3, 1).flags.c_contiguous)


def nhwc(xp: Any, x: Any) -> Any:
    """x, (N, C, H, W), as a contiguous NHWC array: itself, or a copy."""
    return xp.ascontiguousarray(x.transpose(0, 2, 3, 1))


def is_dense(x: Any) -> bool:
    """Whether x is contiguous, or would be with its channels last."""
    return bool(x.flags.c_contiguous) or channels_last(x)


def empty_like(xp: Any, x: Any) -> Any:
    """An array that lies as x does, which is dense."""
    if x.flags.c_contiguous:
        return xp.empty(x.shape, dtype=x.dtype)
    n, c, h, w = x.shape
    return xp.empty((n, h, w, c), dtype=x.dtype).transpose(0, 3, 1, 2)


def laid_out_like(xp: Any, x: Any, other: Any) -> Any:
    """x, or a copy of it that lies as another array of its shape and dtype does, which is dense."""
    if x.strides == other.strides:
        return x
    copy = empty_like(xp, other)
    copy[...] = x
    return copy


def are_alike(x: Any, *others: Any) -> bool:
    """Whether all are dense arrays of floats whose numbers lie in the same order."""
    if x.dtype.char not in "fd" or not is_dense(x):
        return False
    return all(o.dtype == x.dtype and o.shape == x.shape and o.strides == x.strides for o in others)
