"""The convolution kernels of the CPU backend: choose an algorithm, give it NHWC arrays, hand the result back as NCHW."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.cpu.conv import depthwise, grouped
from minidl.backend.cpu.conv.select import choose, tile_of
from minidl.backend.cpu.conv.shape import Convolution, describe
from minidl.backend.cpu.explain import is_explaining, note
from minidl.backend.cpu.layout import nchw, nhwc
from minidl.backend.reference.conv import ConvKernels, Padding, Pair

ALGORITHMS = {"depthwise": depthwise, "grouped": grouped, **grouped.DENSE}


class CpuConv(ConvKernels):
    """Convolution and its gradients; the reference kernels are the plain twins, and serve where nothing else can."""

    def conv2d(
        self, x: Any, weight: Any, stride: Pair, padding: Padding, dilation: Pair, groups: int, bias: Any = None,
        then: str | None = None,
    ) -> Any:  # fmt: skip
        conv = describe(x.shape, len(weight), weight.shape[2:], None, stride, padding, dilation, groups, x.dtype)
        how = _pick("conv2d", conv, "forward")
        if how is None:
            return super().conv2d(x, weight, stride, padding, dilation, groups, bias, then)
        if bias is None:
            bias = np.zeros(conv.o, x.dtype)
        return self._after(then, nchw(how.forward(fast_kernels(), conv, nhwc(x), weight, np.ascontiguousarray(bias))))

    def conv2d_input_grad(
        self, g: Any, weight: Any, size: Pair, stride: Pair, padding: Padding, dilation: Pair, groups: int
    ) -> Any:
        o, cg, kh, kw = weight.shape
        x = len(g), cg * groups, size[0], size[1]
        conv = describe(x, o, (kh, kw), g.shape[2:], stride, padding, dilation, groups, g.dtype)
        how = _pick("conv2d_input_grad", conv, "input_grad")
        if how is None and groups == 1 and stride == dilation == (1, 1) and min(map(min, conv.turned.padding)) >= 0:
            # As a convolution with the kernel turned by 180 degrees: to copy windows is faster than to add them up.
            turned = weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
            return super().conv2d(g, turned, stride, conv.turned.padding, dilation, groups)
        if how is None:
            return super().conv2d_input_grad(g, weight, size, stride, padding, dilation, groups)
        return nchw(how.input_grad(fast_kernels(), conv, nhwc(g), weight))

    def conv2d_weight_grad(
        self, g: Any, x: Any, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair, groups: int
    ) -> Any:
        kernel = kernel[0], kernel[1]
        conv = describe(x.shape, g.shape[1], kernel, g.shape[2:], stride, padding, dilation, groups, x.dtype)
        how = _pick("conv2d_weight_grad", conv, "weight_grad")
        if how is None:
            return super().conv2d_weight_grad(g, x, kernel, stride, padding, dilation, groups)
        return how.weight_grad(fast_kernels(), conv, nhwc(g), nhwc(x))

    def unfold_nhwc(self, x: Any, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair, out: Pair) -> Any:
        """As the reference, in one copy: Python's lock is handed on after each, and one thread would wait for the other."""
        x = self.pad_nhwc(x, padding)
        n, _, _, c = x.shape
        image, row, column, channel = x.strides
        steps = image, row * stride[0], column * stride[1], row * dilation[0], column * dilation[1], channel
        shape = n, *out, *kernel, c
        windows = np.empty(shape, x.dtype)
        windows[...] = np.lib.stride_tricks.as_strided(x, shape, steps, writeable=False)
        return windows


def _pick(kernel: str, conv: Convolution, use: str) -> ModuleType | None:
    """The algorithm's module; None for the reference."""
    name, because = ("reference", "no compiled kernels") if fast_kernels() is None else choose(conv, use)
    if is_explaining():
        tile = tile_of(conv.turned if use == "input_grad" else conv) if name == "winograd" else None
        note(kernel, conv, name if tile is None else "winograd F({0}×{0}, {1}×{1})".format(*tile), because)
    return ALGORITHMS.get(name)
