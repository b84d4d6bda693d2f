"""Convolution by windows laid out as a matrix, in blocks that stay in a core's cache.

In float32, with channels that fill whole vectors, the compiled register tiles multiply; else BLAS does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend.cpu.conv.shape import Convolution
from minidl.backend.cpu.layout import empty_nhwc
from minidl.backend.cpu.matmul import pack
from minidl.backend.cpu.threads import Span, cut, share, single_blas, spans
from minidl.backend.cpu.workspace import workspace

WORTHWHILE = 1 << 21  # multiplications
WINDOW_BYTES = 1 << 19  # of windows at a time and thread


def forward(fast: Any, conv: Convolution, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """y (N, OH, OW, O) from x (N, H, W, C)."""
    y = empty_nhwc((conv.n, *conv.out, conv.o), x.dtype)
    multiply = _multiplier(fast, _matrix(weight), bias)
    lines = y.reshape(-1, conv.out[1], conv.o)

    def part(rows: Span) -> None:
        for a, b in _blocks(conv, rows, conv.out[1]):
            multiply(_windows(fast, conv, x, a, b), lines[a:b].reshape(-1, conv.o))

    share(part, spans(len(lines), _least(conv, conv.out[1])))
    return y


def input_grad(fast: Any, conv: Convolution, g: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The gradient for x (N, H, W, C)."""
    x = empty_nhwc((conv.n, *conv.size, conv.c), g.dtype)
    matrix = _matrix(weight).T
    multiply = _multiplier(fast, matrix, np.zeros(matrix.shape[1], g.dtype))

    def part(images: Span) -> None:
        for a, b in _blocks(conv, images, conv.out[0] * conv.out[1]):
            rows = g[a:b].reshape(-1, conv.o)
            if _plain(conv):
                multiply(rows, x[a:b].reshape(-1, conv.c))
                continue
            windows = workspace("windows", (b - a, *conv.out, *conv.kernel, conv.c), g.dtype)
            multiply(rows, windows.reshape(len(rows), -1))
            fast.fold_images(windows, conv.stride, conv.corner, conv.dilation, x[a:b])

    share(part, spans(conv.n, _least(conv, conv.out[0] * conv.out[1])))
    return x


def weight_grad(fast: Any, conv: Convolution, g: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The gradient for the weight (O, C, KH, KW)."""
    (kh, kw), c, o = conv.kernel, conv.c, conv.o
    lines = g.reshape(-1, conv.out[1], o)
    size = kh * kw * c
    turned = o % 16 != 0 and size % 16 == 0  # the vectors then run along the windows
    by_tiles = conv.dtype == "float32" and (o % 16 == 0 or turned)

    def part(rows: Span) -> np.ndarray:
        total = np.zeros((o, size) if turned else (size, o), g.dtype)
        for a, b in _blocks(conv, rows, conv.out[1]):
            windows, cotangents = _windows(fast, conv, x, a, b), lines[a:b].reshape(-1, o)
            factors = (cotangents, windows) if turned else (windows, cotangents)
            if by_tiles:
                fast.add_matmul(*factors, 0, len(windows), total)
            else:
                with single_blas:
                    total += factors[0].T @ factors[1]
        return total

    large = kh * kw * c * o > 1 << 16  # then every further sum costs more than idle time
    total, *others = share(part, spans(len(lines), _least(conv, conv.out[1]), pieces=1 if large else 4))
    for other in others:
        total += other
    total = (total.T if turned else total).reshape(kh, kw, c, o)
    return np.ascontiguousarray(total.transpose(3, 2, 0, 1))


def _multiplier(fast: Any, matrix: np.ndarray, start: np.ndarray) -> Any:
    """A function that writes ``rows @ matrix + start`` into an array."""
    columns = matrix.shape[1]
    if matrix.dtype == "float32" and (columns % 16 == 0 or columns >= 20):
        strips, begin = pack(fast, matrix if matrix.flags.f_contiguous else np.ascontiguousarray(matrix), start)
        if len(begin) == columns:
            return lambda rows, out: fast.matmul_strips(rows, strips, begin, 0, len(rows), out)

        def with_padding(rows: np.ndarray, out: np.ndarray) -> None:
            whole = workspace("whole", (len(rows), len(begin)), out.dtype)
            fast.matmul_strips(rows, strips, begin, 0, len(rows), whole)
            out[...] = whole[:, :columns]

        return with_padding

    def by_blas(rows: np.ndarray, out: np.ndarray) -> None:
        with single_blas:
            np.matmul(rows, matrix, out=out)
        out += start

    return by_blas


def _matrix(weight: np.ndarray) -> np.ndarray:
    """(O, C, KH, KW) as (KH · KW · C, O), its rows in the order of a window."""
    return weight.transpose(2, 3, 1, 0).reshape(-1, len(weight))


def _least(conv: Convolution, windows_per_item: int) -> int:
    """How many items make a part that is worth a thread's attention."""
    return max(1, WORTHWHILE // (windows_per_item * conv.kernel[0] * conv.kernel[1] * conv.c * conv.o))


def _plain(conv: Convolution) -> bool:
    """Whether every pixel is its own window."""
    return conv.kernel == (1, 1) and conv.stride == (1, 1) and conv.padded == conv.size


def _windows(fast: Any, conv: Convolution, x: np.ndarray, a: int, b: int) -> np.ndarray:
    """The windows of the output rows a to b (through all images): ((b − a) · OW, KH · KW · C)."""
    width = conv.out[1]
    if _plain(conv):
        return x.reshape(-1, conv.c)[a * width : b * width]
    windows = workspace("windows", (b - a, width, *conv.kernel, conv.c), x.dtype)
    fast.unfold_rows(x, a, b, conv.out[0], conv.stride, conv.corner, conv.dilation, windows)
    return windows.reshape((b - a) * width, -1)


def _blocks(conv: Convolution, span: Span, windows_per_item: int) -> list[Span]:
    """Cut a span into runs whose windows need ``WINDOW_BYTES`` at most (or into single items)."""
    if _plain(conv) and conv.o % 16 == 0 == conv.c % 16:
        return [span]
    size = windows_per_item * conv.kernel[0] * conv.kernel[1] * conv.c * conv.dtype.itemsize
    return cut(span, max(1, WINDOW_BYTES // size))
