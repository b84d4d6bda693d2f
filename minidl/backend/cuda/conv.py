"""Convolution on the GPU: cuBLAS's product of windows, or depthwise kernels."""

from __future__ import annotations

from typing import Any

from minidl.backend.cuda.launch import MOST, blocks, geometry, matrix
from minidl.backend.cuda.layout import nhwc
from minidl.backend.cuda.windows import CudaWindows
from minidl.backend.reference.conv import Padding, Pair, output_sizes


class CudaConv(CudaWindows):
    """Convolution of floats in one group, or with a kernel for each channel; the other groups go to the reference.

    It does what the reference does, but for that products write where the result is wanted, and a 1×1 kernel's windows are
    the image.
    """

    block_bytes: int
    _with_bias: Any

    def conv2d(
        self, x: Any, weight: Any, stride: Pair, padding: Padding, dilation: Pair, groups: int, bias: Any = None,
        then: str | None = None,
    ) -> Any:  # fmt: skip
        n, c, h, w = x.shape
        o, _, *kernel = weight.shape
        out = output_sizes((h, w), kernel, stride, padding, dilation)
        pixels, steps = n * out[0] * out[1], (stride, padding, dilation)
        if groups == c == o and _is_small(pixels * c, x.size) and _are_floats(x, weight, bias):
            y = self.xp.empty((n, *out, c), dtype=x.dtype)
            self._depthwise("forward", (nhwc(self.xp, x), weight, bias), y, (h, w), out, kernel, steps)
            self._after(then, y)
        elif groups == 1 and self._at_once(pixels * kernel[0] * kernel[1] * c, x, weight):
            y = self.xp.empty((n, *out, o), dtype=x.dtype)
            self._rows(x, kernel, steps, out).dot(_matrix(weight), y.reshape(pixels, o))
            self._with_bias(y, bias, then)
        else:
            return super().conv2d(x, weight, stride, padding, dilation, groups, bias, then)
        return y.transpose(0, 3, 1, 2)

    def conv2d_input_grad(
        self, g: Any, weight: Any, size: Pair, stride: Pair, padding: Padding, dilation: Pair, groups: int
    ) -> Any:
        n, o, *out = g.shape
        _, cg, *kernel = weight.shape
        steps = stride, padding, dilation
        if groups == o and cg == 1 and _is_small(n * o * size[0] * size[1], g.size) and _are_floats(g, weight):
            x = self.xp.empty((n, *size, o), dtype=g.dtype)
            self._depthwise("input_grad", (nhwc(self.xp, g), weight), x, size, out, kernel, steps)
        elif groups == 1 and self._at_once(g.size // max(1, o) * kernel[0] * kernel[1] * cg, g, weight):
            windows = nhwc(self.xp, g).reshape(-1, o).dot(_matrix(weight).T)
            if _is_pointwise(kernel, steps) and tuple(size) == tuple(out):
                x = windows.reshape(n, *size, cg)
            else:
                x = self.fold_nhwc(windows.reshape(n, *out, *kernel, cg), size, *steps)
        else:
            return super().conv2d_input_grad(g, weight, size, stride, padding, dilation, groups)
        return x.transpose(0, 3, 1, 2)

    def conv2d_weight_grad(
        self, g: Any, x: Any, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair, groups: int
    ) -> Any:
        n, o, *out = g.shape
        c, *size = x.shape[1:]
        pixels, taps, steps = n * out[0] * out[1], kernel[0] * kernel[1], (stride, padding, dilation)
        if groups == c == o and _is_small(g.size, x.size) and _are_floats(g, x):
            weight = self.xp.empty((o, 1, *kernel), dtype=g.dtype)
            grid, block = matrix(pixels, taps * c)
            parts = self.xp.empty((grid[1], taps * c), dtype="float64")
            arrays = nhwc(self.xp, g), nhwc(self.xp, x)
            numbers = geometry(size, c, out, kernel, *steps)
            self.launch("depthwise", "weight_parts", g.dtype.char, grid, block, *arrays, pixels, *numbers, parts)
            self.launch("depthwise", "weight_grad", g.dtype.char, (grid[0], 1), block, parts, grid[1], taps, c, weight)
            return weight
        if groups == 1 and self._at_once(pixels * taps * c, g, x):
            product = nhwc(self.xp, g).reshape(pixels, o).T.dot(self._rows(x, kernel, steps, out))
            return product.reshape(o, *kernel, c).transpose(0, 3, 1, 2)
        return super().conv2d_weight_grad(g, x, kernel, stride, padding, dilation, groups)

    def _rows(self, x: Any, kernel: Any, steps: Any, out: Any) -> Any:
        """The windows of x as the rows of a matrix: (N·OH·OW, KH·KW·C)."""
        stride, padding, dilation = steps
        n, c = x.shape[:2]
        if _is_pointwise(kernel, steps) and x.shape[2:] == tuple(out):
            return nhwc(self.xp, x).reshape(-1, c)
        windows = self.unfold_nhwc(x.transpose(0, 2, 3, 1), tuple(kernel), stride, padding, dilation, tuple(out))
        return windows.reshape(n * out[0] * out[1], -1)

    def _at_once(self, numbers: int, *arrays: Any) -> bool:
        """Whether there are windows, they need not be made in several blocks, and all are floats of one kind."""
        return 0 < numbers * arrays[0].itemsize <= self.block_bytes and _are_floats(*arrays)

    def _depthwise(
        self, kernel_name: str, inputs: Any, result: Any, size: Any, out: Any, kernel: Any, steps: Any
    ) -> None:
        """Start a kernel of ``depthwise.cu`` with a thread for every number of the result."""
        numbers = geometry(size, result.shape[3], out, kernel, *steps)
        inputs = [None if a is None else self.xp.ascontiguousarray(a) for a in inputs]
        self.launch(
            "depthwise", kernel_name, result.dtype.char, *blocks(result.size), *inputs, result.size, *numbers, result
        )


def _matrix(weight: Any) -> Any:
    """(O, C, KH, KW) as a matrix, its rows ordered like the columns of im2col: (KH·KW·C, O)."""
    return weight.transpose(0, 2, 3, 1).reshape(weight.shape[0], -1).T


def _is_pointwise(kernel: Any, steps: Any) -> bool:
    """Whether every output pixel's window is a pixel."""
    stride, padding, _ = steps
    return tuple(kernel) == stride == (1, 1) and padding == ((0, 0), (0, 0))


def _is_small(*sizes: int) -> bool:
    """Whether there are numbers, and 32 bits can count them."""
    return all(0 < size < MOST for size in sizes)


def _are_floats(x: Any, *others: Any) -> bool:
    return x.dtype.char in "fd" and all(o is None or o.dtype == x.dtype for o in others)
