"""Group normalisation on the CPU, of images: (N, groups, C / groups, H, W), whose channels lie last in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.cpu.layout import empty_nhwc, nchw, nhwc
from minidl.backend.cpu.threads import row_team
from minidl.backend.reference.norm import Shape

WIDE = 256  # numbers in a row at least, where the number of positions can be divided


def can_do(x: np.ndarray, axes: Shape, *vectors: Any) -> bool:
    """Whether there is a mean for each sample and group, and each of the vectors, weight and bias, is None or has C numbers."""
    if x.ndim != 5 or axes != (2, 3, 4) or x.dtype.char not in "fd" or not x.size or fast_kernels() is None:
        return False
    shape = (1, x.shape[1], x.shape[2], 1, 1)
    return all([v is None or (v.dtype is x.dtype and v.shape == shape) for v in vectors])


def forward(x: np.ndarray, weight: Any, bias: Any, eps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, and of every group mean and 1 / √(variance + eps), (N, groups, 1, 1, 1)."""
    n, groups, width, h, w = x.shape
    y = empty_nhwc((n, h, w, groups * width), x.dtype)
    mean, invstd = np.empty((2, n, groups), x.dtype)
    vectors = _line(weight, x, 1), _line(bias, x, 0)
    fast: Any = fast_kernels()
    fast.normalize_groups(row_team(x), _samples(_images(x)), *vectors, float(eps), _samples(y), mean, invstd)
    shape = n, groups, 1, 1, 1
    return nchw(y).reshape(x.shape), mean.reshape(shape), invstd.reshape(shape)


def back(
    g: np.ndarray, x: np.ndarray, weight: Any, mean: np.ndarray, invstd: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients for x, and for weight and bias, (C) each."""
    n, groups, width, h, w = x.shape
    dx = empty_nhwc((n, h, w, groups * width), x.dtype)
    sums = np.empty((2, n, groups * width))
    statistics = mean.reshape(n, groups), invstd.reshape(n, groups)
    pair = _samples(_images(g)), _samples(_images(x))
    fast: Any = fast_kernels()
    fast.normalize_groups_back(row_team(x), *pair, _line(weight, x, 1), *statistics, _samples(dx), *sums)
    dw, db = sums.sum(1)
    return nchw(dx).reshape(x.shape), dw, db


def _images(x: np.ndarray) -> np.ndarray:
    n, groups, width, h, w = x.shape
    return nhwc(x.reshape(n, groups * width, h, w))


def _samples(x: np.ndarray) -> np.ndarray:
    """NHWC as (N, positions / repeats, repeats · C): loops over short rows are slow, so several positions make one."""
    n, h, w, channels = x.shape
    repeats = 1
    while repeats * channels < WIDE and h * w % (2 * repeats) == 0:
        repeats *= 2
    return x.reshape(n, -1, repeats * channels)


def _line(v: Any, like: np.ndarray, otherwise: float) -> np.ndarray:
    """The numbers of a weight or a bias in a row; for None the same number for every channel."""
    channels = like.shape[1] * like.shape[2]
    return np.full(channels, otherwise, like.dtype) if v is None else np.ascontiguousarray(v).reshape(channels)
