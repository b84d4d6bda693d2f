"""Layer normalisation on the CPU: over the last axes, so that every row of memory has statistics of its own."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.cpu.threads import row_team
from minidl.backend.reference.norm import Shape

NOTHING: dict[str, np.ndarray] = {"f": np.empty(0, np.float32), "d": np.empty(0)}


def can_do(x: np.ndarray, axes: Shape, *vectors: Any) -> bool:
    """Whether x lies row by row, and each of the vectors, weight and bias, is None or has a number for every one in a row."""
    first = x.ndim - len(axes)
    if axes != tuple(range(first, x.ndim)) or x.dtype.char not in "fd" or not x.size or not x.flags.c_contiguous:
        return False
    row = x.shape[first:]
    fit = all([v is None or (v.dtype is x.dtype and v.shape == row and v.flags.c_contiguous) for v in vectors])
    return fit and fast_kernels() is not None


def forward(
    x: np.ndarray, weight: Any, bias: Any, axes: Shape, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, mean and 1 / √(variance + eps), the last two with axes of length 1."""
    matrix = _matrix(x, axes)
    y, (mean, invstd) = np.empty_like(x), np.empty((2, len(matrix)), x.dtype)
    vectors = line(weight, x), line(bias, x)
    fast: Any = fast_kernels()
    fast.normalize_rows(row_team(matrix), matrix, *vectors, eps, y.reshape(matrix.shape), mean, invstd)
    kept = x.shape[: x.ndim - len(axes)] + (1,) * len(axes)
    return y, mean.reshape(kept), invstd.reshape(kept)


def back(
    g: np.ndarray, x: np.ndarray, weight: Any, mean: np.ndarray, invstd: np.ndarray, axes: Shape, affine: bool
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """The gradients for x, and, if the layer is ``affine``, for weight and bias in the shape of a row."""
    matrix = _matrix(x, axes)
    crew, dx = row_team(matrix), np.empty_like(x)
    sums = np.empty((2, crew[-1], matrix.shape[1] if affine else 0), x.dtype)
    lines = line(weight, x), line(mean, x), line(invstd, x)
    cotangent = np.ascontiguousarray(g).reshape(matrix.shape)
    fast: Any = fast_kernels()
    fast.normalize_rows_back(crew, cotangent, matrix, *lines, dx.reshape(matrix.shape), *sums)
    if not affine:
        return dx, None, None
    dw, db = sums.sum(1)
    row = x.shape[x.ndim - len(axes) :]
    return dx, dw.reshape(row), db.reshape(row)


def _matrix(x: np.ndarray, axes: Shape) -> np.ndarray:
    return x.reshape(prod(x.shape[: x.ndim - len(axes)]), -1)


def line(v: Any, like: np.ndarray) -> np.ndarray:
    """The numbers of a weight, a bias or a statistic in a row; empty for None."""
    return NOTHING[like.dtype.char] if v is None else v.ravel()
