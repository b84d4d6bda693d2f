"""Convolution by windows laid out as a matrix, in blocks that stay in a core's cache.

In float32, with channels that fill whole vectors, the compiled register tiles multiply; else BLAS does.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.backend.cpu.conv.shape import Convolution
from minidl.backend.cpu.layout import empty_nhwc
from minidl.backend.cpu.matmul import pack
from minidl.backend.cpu.threads import Span, Team, count_parts, cut, members, share, single_blas, spans, team
from minidl.backend.cpu.workspace import workspace

WORTHWHILE = 1 << 21  # multiplications, for a thread that sleeps
PART = 1 << 17  # multiplications, for one that is awake
SUMMED = 1 << 17  # numbers of partial sums, for a thread that is awake
WINDOW_BYTES = 1 << 19  # of windows at a time and thread


def forward(fast: Any, conv: Convolution, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """y (N, OH, OW, O) from x (N, H, W, C)."""
    y, matrix, width = empty_nhwc((conv.n, *conv.out, conv.o), x.dtype), _matrix(weight), conv.out[1]
    rows = conv.n * conv.out[0]
    if _by_tiles(matrix):
        strips, start = pack(fast, _contiguous(matrix), bias)
        crew = team(rows, _least(conv, width, PART))
        step, windows = _scratch(conv, crew, (width,))
        fast.convolve_windows(crew, x, strips, start, conv.geometry, conv.is_plain, step, windows, y)
        return y
    lines = y.reshape(-1, width, conv.o)

    def part(rows: Span) -> None:
        for a, b in _blocks(conv, rows, width):
            here = lines[a:b].reshape(-1, conv.o)
            with single_blas:
                np.matmul(_windows(fast, conv, x, a, b), matrix, out=here)
            here += bias

    share(part, spans(rows, _least(conv, width, WORTHWHILE)))
    return y


def input_grad(fast: Any, conv: Convolution, g: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The gradient for x (N, H, W, C)."""
    x, matrix, size = empty_nhwc((conv.n, *conv.size, conv.c), g.dtype), _matrix(weight).T, conv.out[0] * conv.out[1]
    if _by_tiles(matrix):
        strips, start = pack(fast, _contiguous(matrix), None)
        crew = team(conv.n, _least(conv, size, PART))
        step, windows = _scratch(conv, crew, conv.out)
        fast.spread_windows(crew, g, strips, start, conv.geometry, conv.is_plain, step, windows, x)
        return x

    def part(images: Span) -> None:
        for a, b in _blocks(conv, images, size):
            rows = g[a:b].reshape(-1, conv.o)
            if conv.is_plain:
                with single_blas:
                    np.matmul(rows, matrix, out=x[a:b].reshape(-1, conv.c))
                continue
            windows = workspace("windows", (b - a, *conv.out, *conv.kernel, conv.c), g.dtype)
            with single_blas:
                np.matmul(rows, matrix, out=windows.reshape(len(rows), -1))
            fast.fold_images(windows, *conv.geometry, x[a:b])

    share(part, spans(conv.n, _least(conv, size, WORTHWHILE)))
    return x


def weight_grad(fast: Any, conv: Convolution, g: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The gradient for the weight (O, C, KH, KW)."""
    (kh, kw), c, o, width = conv.kernel, conv.c, conv.o, conv.out[1]
    rows, size = conv.n * conv.out[0], kh * kw * c
    turned = o % 16 != 0 and size % 16 == 0  # the vectors then run along the windows
    # With many weights every further sum costs more than idle time.
    pieces = 1 if size * o > 1 << 16 else 2 if size * o > 1 << 12 else 4
    shape = (o, size) if turned else (size, o)
    if conv.dtype == "float32" and (o % 16 == 0 or turned):
        crew = team(rows, _least(conv, width, PART), pieces)
        step, windows = _scratch(conv, crew, (width,))
        totals = np.empty((crew[-1], *shape), g.dtype)
        fast.correlate_windows(crew, g, x, conv.geometry, conv.is_plain, turned, step, windows, totals)
    else:
        lines = g.reshape(-1, width, o)

        def part(place: tuple[int, Span]) -> None:
            for a, b in _blocks(conv, place[1], width):
                windows, cotangents = _windows(fast, conv, x, a, b), lines[a:b].reshape(-1, o)
                with single_blas:
                    totals[place[0]] += cotangents.T @ windows if turned else windows.T @ cotangents

        least = _least(conv, width, WORTHWHILE)
        totals = np.zeros((count_parts(rows, least, pieces), *shape), g.dtype)
        share(part, list(enumerate(spans(rows, least, pieces))))
    return summed(fast, totals, c, turned).reshape(o, c, kh, kw)


def summed(fast: Any, totals: np.ndarray, channels: int, turned: bool = False) -> np.ndarray:
    """The sum of ``totals``, (parts, KH · KW · C, O) or if turned (parts, O, KH · KW · C), as a flat weight (O, C, KH, KW)."""
    weight = np.empty(totals[0].size, totals.dtype)
    outputs = totals.shape[1 if turned else 2]
    crew = team(-(-outputs // 16), SUMMED * outputs / totals.size / 16)
    fast.sum_weight(crew, totals, channels, turned, weight)
    return weight


def _by_tiles(matrix: np.ndarray) -> bool:
    """Whether register tiles multiply by this matrix: its columns must fill vectors, more or less."""
    columns = matrix.shape[1]
    return matrix.dtype == "float32" and (columns % 16 == 0 or columns >= 20)


def _contiguous(matrix: np.ndarray) -> np.ndarray:
    return matrix if matrix.flags.f_contiguous else np.ascontiguousarray(matrix)


def _matrix(weight: np.ndarray) -> np.ndarray:
    """(O, C, KH, KW) as (KH · KW · C, O), its rows in the order of a window; its columns contiguous, which copies faster."""
    return np.ascontiguousarray(weight.transpose(0, 2, 3, 1)).reshape(len(weight), -1).T


def _least(conv: Convolution, windows_per_item: int, worthwhile: int) -> float:
    """How many items, or what fraction of one, make a part that is worth a thread's attention."""
    return worthwhile / (windows_per_item * conv.kernel[0] * conv.kernel[1] * conv.c * conv.o)


def _scratch(conv: Convolution, crew: Team, windows_per_item: tuple[int, ...]) -> tuple[int, np.ndarray]:
    """How many items (rows or images) to do at a time, and room for their windows, for each thread."""
    most = -(-crew[2] // crew[3])
    step = most if conv.is_plain else min(most, _step(conv, math.prod(windows_per_item)))
    shape = (0,) * (len(windows_per_item) + 1) if conv.is_plain else (step, *windows_per_item)
    return step, workspace("windows", (members(crew), *shape, *conv.kernel, conv.c), conv.dtype)


def _step(conv: Convolution, windows_per_item: int) -> int:
    """How many items' windows need ``WINDOW_BYTES`` at most (or one)."""
    size = windows_per_item * conv.kernel[0] * conv.kernel[1] * conv.c * conv.dtype.itemsize
    return max(1, WINDOW_BYTES // size)


def _windows(fast: Any, conv: Convolution, x: np.ndarray, a: int, b: int) -> np.ndarray:
    """The windows of the output rows a to b (through all images): ((b − a) · OW, KH · KW · C)."""
    width = conv.out[1]
    if conv.is_plain:
        return x.reshape(-1, conv.c)[a * width : b * width]
    windows = workspace("windows", (b - a, width, *conv.kernel, conv.c), x.dtype)
    fast.unfold_rows(x, a, b, conv.out[0], *conv.geometry, windows)
    return windows.reshape((b - a) * width, -1)


def _blocks(conv: Convolution, span: Span, windows_per_item: int) -> list[Span]:
    """Cut a span into runs whose windows need ``WINDOW_BYTES`` at most (or into single items)."""
    return cut(span, _step(conv, windows_per_item))
