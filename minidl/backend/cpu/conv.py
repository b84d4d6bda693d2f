"""Convolution on the CPU: Winograd tiles, windows as matrices, or channel by channel; shared among threads.

``select.tile_of`` decides. The reference kernels (``backend/reference/conv.py``) are the plain twins of all of these.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend.cpu import select
from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.cpu.layout import nchw, nhwc
from minidl.backend.cpu.select import Convolution
from minidl.backend.cpu.threads import Span, share, spans
from minidl.backend.cpu.winograd import winograd_conv, winograd_weight_grad
from minidl.backend.cpu.workspace import workspace
from minidl.backend.reference.conv import ConvKernels, Padding, Pair, _weight_matrix, output_size

WINDOW_BYTES = 1 << 20  # of im2col at a time and thread: what stays in a core's own cache


class CpuConv(ConvKernels):
    """Convolution and its gradients for float32 and float64; everything else goes to the reference."""

    def conv2d(
        self,
        x: Any,
        weight: Any,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        groups: int,
        bias: Any = None,
    ) -> Any:
        (kh, kw), (h, w) = weight.shape[2:], x.shape[2:]
        out = (
            output_size(h, kh, stride[0], padding[0], dilation[0]),
            output_size(w, kw, stride[1], padding[1], dilation[1]),
        )
        conv = Convolution(
            len(x), x.shape[1], len(weight), (h, w), out, (kh, kw), stride, padding, dilation, groups, x.dtype
        )
        how = self._how("conv2d", conv)
        if how is None:
            return super().conv2d(x, weight, stride, padding, dilation, groups, bias)
        m, r, fast = how
        if bias is None:
            bias = np.zeros(conv.o, x.dtype)
        x = nhwc(x)
        y = np.empty((conv.n, *out, conv.o), x.dtype)
        if m:
            sides = (padding[0][0], padding[1][0])
            winograd_conv(fast, x, weight.transpose(1, 0, 2, 3), False, bias, m, r, sides, y)
        elif groups > 1:
            taps = _taps(weight)
            share(
                lambda rows: fast.depthwise(x, taps, bias, *rows, stride, _corner(padding), dilation, y),
                spans(conv.n * out[0]),
            )
        else:
            matrix = _weight_matrix(weight, 1)[0]
            rows_of = y.reshape(-1, out[1], conv.o)
            plain = conv.kernel == (1, 1) and stride == (1, 1) and not any(map(any, padding))

            def part(rows: Span) -> None:
                for a, b in _blocks(rows, out[1] * kh * kw * conv.c * x.itemsize):
                    if plain:
                        windows = x.reshape(-1, conv.c)[a * out[1] : b * out[1]]
                    else:
                        windows = workspace("windows", (b - a, out[1], kh, kw, conv.c), x.dtype)
                        fast.unfold_rows(x, a, b, out[0], stride, _corner(padding), dilation, windows)
                    target = rows_of[a:b].reshape(-1, conv.o)
                    np.matmul(windows.reshape(len(target), -1), matrix, out=target)
                    target += bias

            share(part, spans(conv.n * out[0]))
        return nchw(y)

    def conv2d_input_grad(
        self, g: Any, weight: Any, size: Pair, stride: Pair, padding: Padding, dilation: Pair, groups: int
    ) -> Any:
        o, cg, kh, kw = weight.shape
        conv = Convolution(
            len(g), cg * groups, o, tuple(size), g.shape[2:], (kh, kw), stride, padding, dilation, groups, g.dtype
        )
        how = self._how("conv2d_input_grad", conv)
        if how is None:
            return super().conv2d_input_grad(g, weight, size, stride, padding, dilation, groups)
        m, r, fast = how
        g = nhwc(g)
        x = np.empty((conv.n, *size, conv.c), g.dtype)
        if m:
            sides = (r - 1 - padding[0][0], r - 1 - padding[1][0])
            winograd_conv(fast, g, weight, True, np.zeros(conv.c, g.dtype), m, r, sides, x)
        elif groups > 1:
            taps = _taps(weight)
            share(
                lambda rows: fast.depthwise_input_grad(g, taps, *rows, stride, _corner(padding), dilation, x),
                spans(conv.n * size[0]),
            )
        else:
            matrix = _weight_matrix(weight, 1)[0].T
            oh, ow = conv.out
            plain = conv.kernel == (1, 1) and stride == (1, 1) and not any(map(any, padding))

            def part(images: Span) -> None:
                for a, b in _blocks(images, oh * ow * kh * kw * conv.c * g.itemsize):
                    rows = g[a:b].reshape(-1, o)
                    if plain:
                        np.matmul(rows, matrix, out=x[a:b].reshape(-1, conv.c))
                        continue
                    windows = workspace("windows", (b - a, oh, ow, kh, kw, conv.c), g.dtype)
                    np.matmul(rows, matrix, out=windows.reshape(len(rows), -1))
                    fast.fold_images(windows, stride, _corner(padding), dilation, x[a:b])

            share(part, spans(conv.n))
        return nchw(x)

    def conv2d_weight_grad(
        self, g: Any, x: Any, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair, groups: int
    ) -> Any:
        o, c = g.shape[1], x.shape[1]
        conv = Convolution(
            len(g), c, o, x.shape[2:], g.shape[2:], tuple(kernel), stride, padding, dilation, groups, g.dtype
        )
        how = self._how("conv2d_weight_grad", conv)
        if how is None:
            return super().conv2d_weight_grad(g, x, kernel, stride, padding, dilation, groups)
        m, r, fast = how
        g, x = nhwc(g), nhwc(x)
        (kh, kw), (oh, ow) = kernel, conv.out
        if m:
            return winograd_weight_grad(fast, g, x, m, r, (padding[0][0], padding[1][0]))
        if groups > 1:

            def channels(rows: Span) -> np.ndarray:
                taps = np.zeros((kh, kw, c), g.dtype)
                fast.depthwise_weight_grad(g, x, *rows, stride, _corner(padding), dilation, taps)
                return taps

            taps = sum(share(channels, spans(conv.n * oh)))
            return np.ascontiguousarray(taps.transpose(2, 0, 1)).reshape(o, 1, kh, kw)
        rows_of = g.reshape(-1, ow, o)
        plain = conv.kernel == (1, 1) and stride == (1, 1) and not any(map(any, padding))

        def part(rows: Span) -> np.ndarray:
            total = np.zeros((kh * kw * c, o), g.dtype)
            for a, b in _blocks(rows, ow * kh * kw * c * g.itemsize):
                if plain:
                    windows = x.reshape(-1, c)[a * ow : b * ow]
                else:
                    windows = workspace("windows", (b - a, ow, kh, kw, c), g.dtype)
                    fast.unfold_rows(x, a, b, oh, stride, _corner(padding), dilation, windows)
                total += windows.reshape((b - a) * ow, -1).T @ rows_of[a:b].reshape(-1, o)
            return total

        total = sum(share(part, spans(conv.n * oh)))
        return np.ascontiguousarray(total.reshape(kh, kw, c, o).transpose(3, 2, 0, 1))

    def _how(self, name: str, conv: Convolution) -> tuple[int, int, Any] | None:
        """The Winograd tile (m, r), or m = 0, and the compiled kernels; None if the reference is to compute this."""
        fast = fast_kernels()
        m, r, because = select.tile_of(conv)
        picked = f"Winograd F({m}×{m}, {r}×{r})" if m else "im2col and GEMM"
        serves = fast is not None and conv.dtype in ("float32", "float64") and conv.n * conv.o * conv.c > 0
        if serves and conv.groups > 1:
            serves = select.is_depthwise(conv)
            picked, because = ("depthwise", "a kernel for every channel") if serves else ("reference", "groups")
        elif not serves:
            picked, because = "reference", "no compiled kernels" if fast is None else "dtype or empty"
        select.note(name, lambda: str(conv), picked, because)
        return (m, r, fast) if serves else None


def _corner(padding: Padding) -> Pair:
    return padding[0][0], padding[1][0]


def _blocks(span: Span, bytes_per_item: int) -> list[Span]:
    """Cut a span into runs that need ``WINDOW_BYTES`` at most (or one item)."""
    step = max(1, WINDOW_BYTES // max(1, bytes_per_item))
    return [(a, min(a + step, span[1])) for a in range(*span, step)]


def _taps(weight: np.ndarray) -> np.ndarray:
    """Depthwise kernels (C, 1, KH, KW) by tap: (KH, KW, C)."""
    return np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0))


