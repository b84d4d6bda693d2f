"""Pooling on the CPU: output rows, or images, shared among threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.cpu.layout import empty_nhwc, nchw, nhwc
from minidl.backend.cpu.threads import row_team, team
from minidl.backend.reference.pool import PoolKernels, Window

PART = 1 << 13  # elements of the image that a thread should have to itself
MOST_TAPS = 1 << 24  # of a window: the compiled kernel counts them in float32


class CpuPool(PoolKernels):
    """Pooling of float32 and float64; everything else goes to the reference."""

    looks_for_nans = True

    def max_pool2d(self, x: Any, window: Window) -> tuple[Any, Any]:
        fast = fast_kernels()
        if fast is None or x.dtype.char not in "fd" or not x.size or window.kernel[0] * window.kernel[1] > MOST_TAPS:
            return super().max_pool2d(x, window)
        x = nhwc(x)
        y = empty_nhwc((len(x), *window.out, x.shape[3]), x.dtype)
        index = np.empty(y.shape, window.index_dtype)
        rows = len(y) * window.out[0]
        fast.max_pool_rows(team(rows, PART * rows / x.size), x, *_geometry(window), y, index)
        return nchw(y), nchw(index)

    def max_pool2d_scatter(self, g: Any, index: Any, window: Window) -> Any:
        fast = fast_kernels()
        if fast is None or g.dtype.char not in "fd" or not g.size or index.dtype != window.index_dtype:
            return super().max_pool2d_scatter(g, index, window)
        g, index = nhwc(g), nhwc(index)
        x = empty_nhwc((len(g), *window.size, g.shape[3]), g.dtype)
        fast.max_pool_scatter(row_team(x, PART), g, index, *_geometry(window), x)
        return nchw(x)

    def sum_pool2d(self, x: Any, window: Window) -> Any:
        fast = fast_kernels()
        if fast is None or x.dtype.char not in "fd" or not x.size:
            return super().sum_pool2d(x, window)
        x = nhwc(x)
        y = empty_nhwc((len(x), *window.out, x.shape[3]), x.dtype)
        rows = len(y) * window.out[0]
        fast.sum_pool_rows(team(rows, PART * rows / x.size), x, *_geometry(window), y)
        return nchw(y)

    def sum_pool2d_grad(self, g: Any, window: Window) -> Any:
        fast = fast_kernels()
        if fast is None or g.dtype.char not in "fd" or not g.size:
            return super().sum_pool2d_grad(g, window)
        g = nhwc(g)
        x = empty_nhwc((len(g), *window.size, g.shape[3]), g.dtype)
        fast.sum_pool_spread(row_team(x, PART), g, *_geometry(window), x)
        return nchw(x)


def _geometry(window: Window) -> tuple[tuple[int, int], ...]:
    """Kernel, stride, corner and dilation, as the compiled kernels take them."""
    return window.kernel, window.stride, (window.padding[0][0], window.padding[1][0]), window.dilation
