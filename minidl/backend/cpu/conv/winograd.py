"""Convolution by Winograd tiles: the compiled transforms of ``fast/winograd.py`` around NumPy's matrix products.

The tiles are done in blocks that stay in a core's cache, each thread with its own: transform, multiply, transform back.
Where there are few tiles and many channels, the matrices of the weights are what is large: then the threads share all tiles
and take the frequencies in turn, so that each reads only its part of the weights.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from minidl.backend.cpu.conv.select import tile_of
from minidl.backend.cpu.conv.shape import Convolution
from minidl.backend.cpu.threads import Span, get_num_threads, share, spans
from minidl.backend.cpu.workspace import workspace

BLOCK_BYTES = 3 << 20  # transformed tiles and their products, at a time and thread
FEW_TILES = 96  # for each thread: fewer make thin matrices, and the weights are better split by frequency


@cache
def _kernel_matrix(fast: Any, m: int, r: int) -> np.ndarray:
    return fast.kernel_matrix(m, r)


def transform_weight(fast: Any, weight: np.ndarray, turned: bool, m: int, r: int) -> np.ndarray:
    """G w Gᵀ of a weight (C, O, r, r) of any strides: (p², C, O), in a workspace."""
    c, o = weight.shape[:2]
    matrix = _kernel_matrix(fast, m, r)
    taps = workspace("taps", (r * r, c, o), weight.dtype)
    u = workspace("weight tiles", (len(matrix), c, o), weight.dtype)
    flat_taps, flat_u = taps.reshape(r * r, c * o), u.reshape(len(matrix), c * o)

    def part(rows: Span) -> None:
        a, b = rows
        fast.gather_taps(weight, turned, a, b, taps)
        np.matmul(matrix, flat_taps[:, a * o : b * o], out=flat_u[:, a * o : b * o])

    share(part, spans(c, max(1, 16384 // o)))
    return u


class _Tiles:
    """How the output is cut into tiles, and these into blocks."""

    def __init__(self, conv: Convolution) -> None:
        tile = tile_of(conv)
        assert tile is not None
        n, out, c, o = conv.n, conv.out, conv.c, conv.o
        m, r = self.m, self.r = tile
        self.rows, self.columns = -(-out[0] // m), -(-out[1] // m)
        self.units = n * self.rows
        self.points = (m + r - 1) ** 2
        self.few = self.units * self.columns < FEW_TILES * get_num_threads() and c * o >= 1 << 14
        per_unit = self.points * self.columns * (c + o) * 4
        self.step = max(1, BLOCK_BYTES // per_unit)
        p, wide = m + r - 1, self.columns + (m + r - 2) // m
        self.scratch = max(2 * p * m * wide * c, (p + m) * m * self.columns * o, (p + 1) * m * self.columns * o)

    def blocks(self, span: Span) -> list[Span]:
        return [(a, min(a + self.step, span[1])) for a in range(*span, self.step)]


def forward(fast: Any, conv: Convolution, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """y (N, OH, OW, O) from x (N, H, W, C)."""
    return _convolve(fast, conv, x, weight.transpose(1, 0, 2, 3), False, bias)


def input_grad(fast: Any, conv: Convolution, g: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The gradient for x, a convolution with the kernel turned by 180 degrees."""
    return _convolve(fast, conv.turned, g, weight, True, np.zeros(conv.c, g.dtype))


def _convolve(
    fast: Any, conv: Convolution, x: np.ndarray, weight: np.ndarray, turned: bool, bias: np.ndarray
) -> np.ndarray:
    c, o, t = conv.c, conv.o, _Tiles(conv)
    m, r = t.m, t.r
    y = np.empty((conv.n, *conv.out, o), x.dtype)
    u = transform_weight(fast, weight, turned, m, r)
    shape = t.rows, t.columns, m, r

    def load(units: Span, origin: int, v: np.ndarray) -> None:
        fast.input_tiles(x, *units, origin, *shape, *conv.corner, workspace("scratch", (t.scratch,), x.dtype), v)

    def store(units: Span, origin: int, products: np.ndarray) -> None:
        fast.output_tiles(products, bias, *units, origin, *shape, workspace("scratch", (t.scratch,), x.dtype), y)

    if t.few:
        total = t.units * t.columns
        v, products = workspace("v", (t.points, total, c), x.dtype), workspace("mm", (t.points, total, o), x.dtype)
        share(lambda units: load(units, 0, v), spans(t.units))
        share(lambda part: np.matmul(v[slice(*part)], u[slice(*part)], out=products[slice(*part)]), spans(t.points))
        share(lambda units: store(units, 0, products), spans(t.units))
        return y

    def work(units: Span) -> None:
        for a, b in t.blocks(units):
            tiles = (b - a) * t.columns
            v, products = workspace("v", (t.points, tiles, c), x.dtype), workspace("mm", (t.points, tiles, o), x.dtype)
            load((a, b), a, v)
            np.matmul(v, u, out=products)
            store((a, b), a, products)

    share(work, spans(t.units))
    return y


def weight_grad(fast: Any, conv: Convolution, g: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The gradient for the weight (O, C, r, r)."""
    c, o, t = conv.c, conv.o, _Tiles(conv)
    m, r = t.m, t.r
    shape = t.rows, t.columns, m, r

    def load(units: Span, origin: int, v: np.ndarray, z: np.ndarray) -> None:
        scratch = workspace("scratch", (t.scratch,), x.dtype)
        fast.input_tiles(x, *units, origin, *shape, *conv.corner, scratch, v)
        fast.grad_tiles(g, *units, origin, *shape, scratch, z)

    if t.few:
        total = t.units * t.columns
        v, z = workspace("v", (t.points, total, c), x.dtype), workspace("mm", (t.points, total, o), x.dtype)
        summed = workspace("weight tiles", (t.points, c, o), x.dtype)

        def multiply(part: Span) -> None:
            points = slice(*part)
            np.matmul(v[points].transpose(0, 2, 1), z[points], out=summed[points])

        share(lambda units: load(units, 0, v, z), spans(t.units))
        share(multiply, spans(t.points))
    else:

        def work(units: Span) -> np.ndarray:
            total = np.zeros((t.points, c, o), x.dtype)
            products = workspace("products", total.shape, x.dtype)
            for a, b in t.blocks(units):
                count = (b - a) * t.columns
                v, z = workspace("v", (t.points, count, c), x.dtype), workspace("mm", (t.points, count, o), x.dtype)
                load((a, b), a, v, z)
                np.matmul(v.transpose(0, 2, 1), z, out=products)
                total += products
            return total

        summed, *others = share(work, spans(t.units))
        for part in others:
            summed += part

    weight = np.empty((o, c, r, r), x.dtype)
    matrix = _kernel_matrix(fast, m, r).T
    taps = workspace("taps", (r * r, c, o), x.dtype)
    flat_taps, flat_sum = taps.reshape(r * r, c * o), summed.reshape(t.points, c * o)

    def back(rows: Span) -> None:
        a, b = rows
        np.matmul(matrix, flat_sum[:, a * o : b * o], out=flat_taps[:, a * o : b * o])
        fast.scatter_taps(taps, a, b, weight.transpose(1, 0, 2, 3))

    share(back, spans(c, max(1, 16384 // o)))
    return weight


