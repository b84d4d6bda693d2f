"""Pooling over windows, written as a loop over the positions inside the window (few) of operations on whole arrays (large)."""

from __future__ import annotations

from typing import Any, NamedTuple

from minidl.backend.reference.conv import Padding, Pair, taps


class Window(NamedTuple):
    """The geometry of a pooling: everything in (height, width) order.

    ``padding`` is ((top, bottom), (left, right)); with ``ceil_mode`` the bottom and right parts also cover the last,
    incomplete window.
    """

    size: Pair  # of the unpadded input
    out: Pair
    kernel: Pair
    stride: Pair
    padding: Padding
    dilation: Pair

    def taps(self) -> list[tuple[int, int, slice, slice]]:
        return taps(self.kernel, self.stride, self.dilation, self.out)

    @property
    def index_dtype(self) -> str:
        """Of the positions in a window."""
        return "uint8" if self.kernel[0] * self.kernel[1] <= 256 else "int32"

    @property
    def apart(self) -> bool:
        """Whether no pixel is in two windows."""
        return all(self.stride[i] > self.dilation[i] * (self.kernel[i] - 1) for i in range(2))

    @property
    def padded(self) -> Pair:
        (top, bottom), (left, right) = self.padding
        return self.size[0] + top + bottom, self.size[1] + left + right


class PoolKernels:
    """Reference kernels for 2-d pooling of (N, C, H, W) arrays; results are channels-last in memory."""

    xp: Any
    pad_nhwc: Any
    blocks: Any
    each: Any
    looks_for_nans = False  # first, to save a pass where there are none; on a GPU that would mean to wait for it

    def max_pool2d(self, x: Any, window: Window) -> tuple[Any, Any]:
        """Return the largest value of each window and its position in the window (row-major, the first of equals)."""
        xp = self.xp
        lowest = -float("inf") if x.dtype.kind == "f" else int(xp.iinfo(x.dtype).min)
        shape = (x.shape[0], *window.out, x.shape[1])
        y, index = xp.empty(shape, dtype=x.dtype), xp.zeros(shape, dtype=window.index_dtype)

        def find(padded: Any, best: Any, place: Any, nans: bool) -> None:
            for k, (_, _, rows, cols) in enumerate(window.taps()):
                value = padded[:, rows, cols]
                if k == 0:
                    best[...] = value
                    continue
                better = value > best
                if nans:  # a NaN wins, as in PyTorch
                    better |= value != value
                # k only grows: the larger one is the later one
                xp.maximum(place, better * place.dtype.type(k), out=place)
                xp.maximum(best, value, out=best)

        def block(images: slice) -> None:
            padded = self.pad_nhwc(x[images].transpose(0, 2, 3, 1), window.padding, lowest)
            best, place = y[images], index[images]
            find(padded, best, place, not self.looks_for_nans)
            if self.looks_for_nans and best.size and xp.isnan(best.max()):
                find(padded, best, place, True)

        self.each(block, self._image_blocks(y))
        return y.transpose(0, 3, 1, 2), index.transpose(0, 3, 1, 2)

    def max_pool2d_scatter(self, g: Any, index: Any, window: Window) -> Any:
        """Send every g to the input pixel that ``index`` names in its window: the gradient of ``max_pool2d``."""
        xp = self.xp
        g, index = g.transpose(0, 2, 3, 1), index.transpose(0, 2, 3, 1)
        padded = xp.zeros((g.shape[0], *window.padded, g.shape[3]), dtype=g.dtype)

        def block(images: slice) -> None:
            for k, (_, _, rows, cols) in enumerate(window.taps()):
                here = padded[images, rows, cols]
                if window.apart:
                    xp.multiply(g[images], index[images] == k, out=here)
                else:
                    here += g[images] * (index[images] == k)

        self.each(block, self._image_blocks(padded))
        return self._crop(padded, window)

    def _image_blocks(self, x: Any) -> list[slice]:
        return self.blocks(len(x), 4 * x[0].nbytes if len(x) else 1)  # with the temporaries

    def max_pool2d_gather(self, x: Any, index: Any, window: Window) -> Any:
        """Take from every window the pixel that ``index`` names: the transpose of ``max_pool2d_scatter``."""
        xp = self.xp
        padded, index = self.pad_nhwc(x.transpose(0, 2, 3, 1), window.padding), index.transpose(0, 2, 3, 1)
        y = xp.zeros(index.shape, dtype=x.dtype)
        for k, (_, _, rows, cols) in enumerate(window.taps()):
            y += xp.where(index == k, padded[:, rows, cols], 0)
        return y.transpose(0, 3, 1, 2)

    def sum_pool2d(self, x: Any, window: Window) -> Any:
        """Return the sum of each window."""
        y = self.xp.zeros((x.shape[0], *window.out, x.shape[1]), dtype=x.dtype)

        def block(images: slice) -> None:
            padded, here = self.pad_nhwc(x[images].transpose(0, 2, 3, 1), window.padding), y[images]
            for _, _, rows, cols in window.taps():
                here += padded[:, rows, cols]

        self.each(block, self._image_blocks(y))
        return y.transpose(0, 3, 1, 2)

    def sum_pool2d_grad(self, g: Any, window: Window) -> Any:
        """Add every g to all the pixels of its window: the gradient of ``sum_pool2d``."""
        g = g.transpose(0, 2, 3, 1)
        padded = self.xp.zeros((g.shape[0], *window.padded, g.shape[3]), dtype=g.dtype)

        def block(images: slice) -> None:
            for _, _, rows, cols in window.taps():
                padded[images, rows, cols] += g[images]

        self.each(block, self._image_blocks(padded))
        return self._crop(padded, window)

    def _crop(self, padded: Any, window: Window) -> Any:
        """Take the border off again and return to NCHW."""
        (top, _), (left, _) = window.padding
        return padded[:, top : top + window.size[0], left : left + window.size[1]].transpose(0, 3, 1, 2)
