"""Pooling on the GPU, every one a single kernel."""

from __future__ import annotations

from typing import Any

from minidl.backend.cuda.launch import MOST, Launcher, blocks, geometry
from minidl.backend.cuda.layout import nhwc
from minidl.backend.reference.conv import Pair
from minidl.backend.reference.pool import PoolKernels, Window


class CudaPool(PoolKernels, Launcher):
    """Pooling of float images; that of other dtypes goes to the reference."""

    def max_pool2d(self, x: Any, window: Window) -> tuple[Any, Any]:
        if not _fits(x, window):
            return super().max_pool2d(x, window)
        y = self._empty(x, window.out)
        index = self.xp.empty(y.shape, dtype=window.index_dtype)
        self._start("max_pool", window, nhwc(self.xp, x), y, index)
        return y.transpose(0, 3, 1, 2), index.transpose(0, 3, 1, 2)

    def max_pool2d_scatter(self, g: Any, index: Any, window: Window) -> Any:
        if not _fits(g, window):
            return super().max_pool2d_scatter(g, index, window)
        x = self._empty(g, window.size)
        self._start(
            "pool_back",
            window,
            nhwc(self.xp, g),
            x,
            before=(nhwc(self.xp, index.astype(window.index_dtype, copy=False)),),
        )
        return x.transpose(0, 3, 1, 2)

    def sum_pool2d(self, x: Any, window: Window) -> Any:
        if not _fits(x, window):
            return super().sum_pool2d(x, window)
        y = self._empty(x, window.out)
        self._start("sum_pool", window, nhwc(self.xp, x), y)
        return y.transpose(0, 3, 1, 2)

    def sum_pool2d_grad(self, g: Any, window: Window) -> Any:
        if not _fits(g, window):
            return super().sum_pool2d_grad(g, window)
        x = self._empty(g, window.size)
        self._start("pool_back", window, nhwc(self.xp, g), x, before=(None,))
        return x.transpose(0, 3, 1, 2)

    def _start(self, kernel: str, window: Window, x: Any, y: Any, *more: Any, before: tuple[Any, ...] = ()) -> None:
        """A kernel with one thread for each number of y; ``more`` it writes too, ``before`` it reads."""
        if y.size == 0:
            return
        types = y.dtype.char + ("B" if window.index_dtype == "uint8" else "i")
        steps = window.stride, window.padding, window.dilation
        numbers = geometry(window.size, y.shape[3], window.out, window.kernel, *steps)
        self.launch("pool", kernel, types, *blocks(y.size), x, *before, y.size, *numbers, y, *more)

    def _empty(self, like: Any, size: Pair) -> Any:
        return self.xp.empty((like.shape[0], *size, like.shape[1]), dtype=like.dtype)


def _fits(x: Any, window: Window) -> bool:
    size = x.shape[0] * x.shape[1] * max(window.size[0] * window.size[1], window.out[0] * window.out[1])
    return x.dtype.char in "fd" and size < MOST
