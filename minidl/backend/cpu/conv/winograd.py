"""Convolution by Winograd tiles, the compiled transforms and products of ``fast/winograd.py``.

The tiles are done in blocks that stay in a core's cache, each thread with its own: transform, multiply, transform back.
Where there are few tiles and many channels, the matrices of the weights are what is large: then the threads share all tiles
and take the frequencies in turn, so that each reads only its part of the weights, once.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import numpy as np

from minidl.backend.cpu.conv.select import tile_of
from minidl.backend.cpu.conv.shape import KEPT, Convolution
from minidl.backend.cpu.layout import empty_nhwc
from minidl.backend.cpu.threads import Team, get_num_threads, members, team
from minidl.backend.cpu.workspace import workspace

BLOCK_BYTES = 3 << 19  # transformed tiles and their products, at a time and thread
# Channels in times channels out: from LARGE on a weight's transform does not stay in a core's cache. From MANY for each tile of a
# thread on it takes less time to keep all tiles, and to read each frequency's weights once, than to read them for every block.
LARGE, MANY = 1 << 14, 1 << 7
MOST_BYTES = 1 << 25  # of all tiles and their products, for each thread
LEAST_PAIRS = 512  # (strip, channel) pairs of a weight's transform that are worth a thread


def forward(fast: Any, conv: Convolution, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """y (N, OH, OW, O) from x (N, H, W, C)."""
    return _convolve(fast, conv, x, weight, False, bias)


def input_grad(fast: Any, conv: Convolution, g: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The gradient for x, a convolution with the kernel turned by 180 degrees."""
    return _convolve(fast, conv.turned, g, weight, True, np.zeros(conv.c, g.dtype))


def _convolve(
    fast: Any, conv: Convolution, x: np.ndarray, weight: np.ndarray, turned: bool, bias: np.ndarray
) -> np.ndarray:
    c, o, t = conv.c, conv.o, _tiles(conv, get_num_threads())
    y = empty_nhwc((conv.n, *conv.out, o), x.dtype)
    u = workspace("weight tiles", (t.points, o // 16, c, 16), x.dtype)
    flat, taps = np.ascontiguousarray(weight).reshape(-1), t.r * t.r
    steps = (taps * o, taps) if turned else (taps, taps * c)  # along c and o
    fast.weight_tiles(team(c * o // 16, LEAST_PAIRS), flat, *steps, _kernel_matrix(fast, t.m, t.r, turned), u)
    units = team(t.units)
    if t.few:
        v, products = t.all_tiles()
        fast.convolve_points(units, team(t.points), x, u, bias, t.shape, conv.corner, t.scratch(units), v, products, y)
    else:
        step, v, products = t.blocks(units)
        fast.convolve_tiles(units, x, u, bias, step, t.shape, conv.corner, t.scratch(units), v, products, y)
    return y


def weight_grad(fast: Any, conv: Convolution, g: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The gradient for the weight (O, C, r, r)."""
    c, o, t = conv.c, conv.o, _tiles(conv, get_num_threads())
    size = t.points * c * o
    if t.sums_are_large:
        v, z = t.all_tiles()
        sums = workspace("weight tiles", (t.points, c, o), x.dtype)
        units = team(t.units)
        fast.add_weight_points(units, team(t.points), g, x, t.shape, conv.corner, t.scratch(units), v, z, sums)
    else:
        units = team(t.units, pieces=1 if c * o > 1 << 12 else 2)
        step, v, z = t.blocks(units)
        parts = workspace("weight tiles", (units[-1], t.points, c, o), x.dtype)
        numbers = team(size, 1 << 13)
        fast.add_weight_tiles(units, numbers, g, x, step, t.shape, conv.corner, t.scratch(units), v, z, parts)
        sums = parts[0]
    weight = np.empty((o, c, t.r, t.r), x.dtype)
    matrix = np.ascontiguousarray(_kernel_matrix(fast, t.m, t.r).T)
    fast.weight_from_tiles(team(c, LEAST_PAIRS * 16 / o), sums, matrix, weight.reshape(o, -1))
    return weight


@cache
def _kernel_matrix(fast: Any, m: int, r: int, turned: bool = False) -> np.ndarray:
    """G ⊗ G, or if ``turned`` the one for a kernel that is turned by 180 degrees: whose taps come in the other order."""
    matrix: np.ndarray = fast.kernel_matrix(m, r)
    return np.ascontiguousarray(matrix[:, ::-1]) if turned else matrix


class _Tiles:
    """How the output is cut into tiles of m × m, units (rows of tiles), and blocks of units."""

    def __init__(self, conv: Convolution, threads: int) -> None:
        tile = tile_of(conv)
        assert tile is not None
        self.m, self.r = m, r = tile
        self.c, self.o, self.dtype = conv.c, conv.o, conv.dtype
        self.rows, self.columns = -(-conv.out[0] // m), -(-conv.out[1] // m)
        self.units = conv.n * self.rows
        self.points = (m + r - 1) ** 2
        tiles = self.units * self.columns // threads
        kept = tiles * self.points * (conv.c + conv.o) * conv.dtype.itemsize
        self.few = conv.c * conv.o >= max(LARGE, tiles * MANY) and kept <= MOST_BYTES
        self.sums_are_large = 2 * conv.c * conv.o > tiles * (conv.c + conv.o)
        self.shape = self.rows, self.columns, m, r

    def blocks(self, team: Team) -> tuple[int, np.ndarray, np.ndarray]:
        """How many units to do at a time, and workspaces for their tiles and products, for each thread."""
        most = -(-self.units // team[-1])
        step = max(1, min(most, BLOCK_BYTES // (self.points * self.columns * (self.c + self.o) * 4)))
        shape = members(team), self.points, step * self.columns
        return step, workspace("v", (*shape, self.c), self.dtype), workspace("m", (*shape, self.o), self.dtype)

    def all_tiles(self) -> tuple[np.ndarray, np.ndarray]:
        """Workspaces for all tiles and their products."""
        shape = self.points, self.units * self.columns
        return workspace("v", (*shape, self.c), self.dtype), workspace("m", (*shape, self.o), self.dtype)

    def scratch(self, team: Team) -> np.ndarray:
        """What the transforms of one unit need, for each thread."""
        p, m, wide = self.m + self.r - 1, self.m, self.columns + (self.m + self.r - 2) // self.m
        size = max(2 * p * m * wide * self.c, (p + m) * m * self.columns * self.o)
        return workspace("scratch", (members(team), size), self.dtype)


_tiles = lru_cache(maxsize=3 * KEPT)(_Tiles)  # for a shape and a number of threads
