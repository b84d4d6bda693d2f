"""Convolution by Winograd tiles, the compiled transforms and products of ``fast/winograd.py``.

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
from minidl.backend.cpu.layout import empty_nhwc
from minidl.backend.cpu.threads import Span, get_num_threads, share, spans
from minidl.backend.cpu.workspace import workspace

BLOCK_BYTES = 3 << 19  # transformed tiles and their products, at a time and thread
FEW_TILES = 96  # for each thread: fewer make thin matrices, and the weights are better split by frequency
LEAST_PAIRS = 512  # (strip, channel) pairs of a weight's transform that are worth a thread


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
    y = empty_nhwc((conv.n, *conv.out, o), x.dtype)
    matrix = _kernel_matrix(fast, t.m, t.r)
    u = workspace("weight tiles", (t.points, o // 16, c, 16), x.dtype)
    share(lambda pairs: fast.weight_tiles(weight, turned, matrix, *pairs, u), spans(c * o // 16, LEAST_PAIRS))

    if t.few:
        count = t.units * t.columns
        v, products = workspace("v", (t.points, count, c), x.dtype), workspace("m", (t.points, count, o), x.dtype)
        zeros = np.zeros(o, x.dtype)
        share(lambda part: fast.input_tiles(x, *part, 0, *t.shape, *conv.corner, t.scratch(), v), spans(t.units))
        share(lambda part: fast.multiply_points(v, u, *part, count, zeros, products), spans(t.points))
        share(lambda part: fast.output_tiles(products, bias, *part, 0, *t.shape, t.scratch(), y), spans(t.units))
        return y

    def part(units: Span) -> None:
        step, v, products = t.block(units)
        fast.convolve_tiles(x, u, bias, *units, step, *t.shape, *conv.corner, t.scratch(), v, products, y)

    share(part, spans(t.units))
    return y


def weight_grad(fast: Any, conv: Convolution, g: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The gradient for the weight (O, C, r, r)."""
    c, o, t = conv.c, conv.o, _Tiles(conv)
    shape = t.points, c, o
    if t.sums_are_large:
        count = t.units * t.columns
        v, z = workspace("v", (t.points, count, c), x.dtype), workspace("m", (t.points, count, o), x.dtype)
        sums = workspace("weight tiles", shape, x.dtype)

        def load(units: Span) -> None:
            fast.input_tiles(x, *units, 0, *t.shape, *conv.corner, t.scratch(), v)
            fast.grad_tiles(g, *units, 0, *t.shape, t.scratch(), z)

        def multiply(points: Span) -> None:
            sums[slice(*points)] = 0
            fast.add_products(v, z, *points, count, sums)

        share(load, spans(t.units))
        share(multiply, spans(t.points))
    else:

        def part(units: Span) -> np.ndarray:
            total = np.zeros(shape, x.dtype)
            step, v, z = t.block(units)
            fast.add_weight_tiles(g, x, *units, step, *t.shape, *conv.corner, t.scratch(), v, z, total)
            return total

        sums, *others = share(part, spans(t.units, pieces=1 if c * o > 1 << 12 else 2))
        for other in others:
            sums += other

    weight = np.empty((o, c, t.r, t.r), x.dtype)
    matrix = np.ascontiguousarray(_kernel_matrix(fast, t.m, t.r).T)
    by_input = weight.transpose(1, 0, 2, 3)
    share(lambda pairs: fast.weight_from_tiles(sums, matrix, *pairs, by_input), spans(c * o // 16, LEAST_PAIRS))
    return weight


@cache
def _kernel_matrix(fast: Any, m: int, r: int) -> np.ndarray:
    return fast.kernel_matrix(m, r)


class _Tiles:
    """How the output is cut into tiles of m × m, units (rows of tiles), and blocks of units."""

    def __init__(self, conv: Convolution) -> None:
        tile = tile_of(conv)
        assert tile is not None
        self.m, self.r = m, r = tile
        self.c, self.o, self.dtype = conv.c, conv.o, conv.dtype
        self.rows, self.columns = -(-conv.out[0] // m), -(-conv.out[1] // m)
        self.units = conv.n * self.rows
        self.points = (m + r - 1) ** 2
        tiles = self.units * self.columns // get_num_threads()
        self.few = tiles < FEW_TILES and conv.c * conv.o >= 1 << 14
        self.sums_are_large = 2 * conv.c * conv.o > tiles * (conv.c + conv.o)
        self.shape = self.rows, self.columns, m, r

    def block(self, units: Span) -> tuple[int, np.ndarray, np.ndarray]:
        """How many units to do at a time, and workspaces for their tiles and products."""
        step = max(1, min(units[1] - units[0], BLOCK_BYTES // (self.points * self.columns * (self.c + self.o) * 4)))
        tiles = step * self.columns
        v = workspace("v", (self.points, tiles, self.c), self.dtype)
        return step, v, workspace("m", (self.points, tiles, self.o), self.dtype)

    def scratch(self) -> np.ndarray:
        """What the transforms of one unit need."""
        p, m, wide = self.m + self.r - 1, self.m, self.columns + (self.m + self.r - 2) // self.m
        size = max(2 * p * m * wide * self.c, (p + m) * m * self.columns * self.o)
        return workspace("scratch", (size,), self.dtype)
