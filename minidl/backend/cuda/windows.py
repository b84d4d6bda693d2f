"""im2col for convolutions on the GPU, the border of zeros included, and its transpose; each one kernel."""

from __future__ import annotations

from typing import Any

from minidl.backend.cuda.launch import MOST, THREADS, Launcher, blocks, geometry
from minidl.backend.reference.conv import ConvKernels, Padding, Pair

ROWS = 16  # windows that a thread copies its number of


class CudaWindows(ConvKernels, Launcher):
    """The windows of float images; those of other dtypes go to the reference."""

    def unfold_nhwc(self, x: Any, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair, out: Pair) -> Any:
        n, c = x.shape[0], x.shape[3]
        if x.dtype.char not in "fd":
            return super().unfold_nhwc(x, kernel, stride, padding, dilation, out)
        windows = self.xp.empty((n, *out, *kernel, c), dtype=x.dtype)
        if windows.size:
            length = kernel[0] * kernel[1] * c
            wide = min(THREADS, -(-length // 32) * 32)
            high = THREADS // wide
            grid = -(-windows.size // length // (high * ROWS)), -(-length // wide)
            steps = [step // x.itemsize for step in x.strides]
            numbers = n, *geometry(x.shape[1:3], c, out, kernel, stride, padding, dilation)
            self.launch("windows", "unfold", x.dtype.char, grid, (wide, high), x, *steps, *numbers, ROWS, windows)
        return windows

    def fold_nhwc(self, windows: Any, size: Pair, stride: Pair, padding: Padding, dilation: Pair) -> Any:
        n, oh, ow, kh, kw, c = windows.shape
        if windows.dtype.char not in "fd" or n * size[0] * size[1] * c >= MOST:
            return super().fold_nhwc(windows, size, stride, padding, dilation)
        x = self.xp.empty((n, *size, c), dtype=windows.dtype)
        if x.size:
            numbers = geometry(size, c, (oh, ow), (kh, kw), stride, padding, dilation)
            windows = self.xp.ascontiguousarray(windows)
            self.launch("windows", "fold", x.dtype.char, *blocks(x.size), windows, x.size, *numbers, x)
        return x
