"""Winograd's minimal filtering: a convolution over tiles, with fewer multiplications (Lavin & Gray 2016, section 4).

A kernel of r taps on a tile of m outputs needs p = m + r − 1 multiplications instead of m · r: F(4, 3) and F(2, 5) with six
points, F(2, 3) with four. In two dimensions, with d an input tile and w the kernel,

    y = Aᵀ [ (G w Gᵀ) ⊙ (Bᵀ d B) ] A.

Summed over channels, each of the p² products ⊙ of all tiles is a matrix product, (tiles × C) @ (C × O). Both gradients use
them too: the input gradient is a convolution with the kernel turned round, and the weight gradient is the transpose of the
same trilinear form, Gᵀ [ Σ (Bᵀ d B) ⊙ (A g Aᵀ) ] G.

A tile is too small to compute on with vectors, and so are the channels of one pixel. So a whole row of tiles is done at
once: its pixel rows are first sorted by column modulo m (*phases*), and then every step is a loop over (tiles · channels)
numbers that lie next to each other.

Points 0, ±1, ±2 and ∞, or 0, ±1 and ∞; matrices as in Lavin & Gray. Images are NHWC. A *unit* is one row of tiles of one image.
"""

from __future__ import annotations

import numpy as np

from minidl.backend.cpu.fast.gemm import product
from minidl.backend.cpu.fast.jit import kernel

_2, _4, _5, _8 = (np.float32(n) for n in (2, 4, 5, 8))

# The one-dimensional transforms: Bᵀ of an input, Aᵀ of products (p points to m outputs), A of a cotangent (m to p).
BT6, BT4, AT64, AT62, AT42, A46, A26, A24 = range(8)


# fmt: off
@kernel
def _apply(transform, source, at, target, to, length):
    """target[to[i] + k] ← row i of the transform of (source[at[0] + k], source[at[1] + k], …), for every k < length."""
    s0, s1, t0, t1 = source[at[0]:], source[at[1]:], target[to[0]:], target[to[1]:]
    if transform == BT6:
        s2, s3, s4, s5 = source[at[2]:], source[at[3]:], source[at[4]:], source[at[5]:]
        t2, t3, t4, t5 = target[to[2]:], target[to[3]:], target[to[4]:], target[to[5]:]
        for k in range(length):
            d0, d1, d2, d3, d4, d5 = s0[k], s1[k], s2[k], s3[k], s4[k], s5[k]
            a, b = d4 - _4 * d2, d3 - _4 * d1
            c, d = d4 - d2, _2 * (d3 - d1)
            t0[k], t5[k] = _4 * d0 - _5 * d2 + d4, _4 * d1 - _5 * d3 + d5
            t1[k], t2[k], t3[k], t4[k] = a + b, a - b, c + d, c - d
    elif transform == BT4:
        s2, s3, t2, t3 = source[at[2]:], source[at[3]:], target[to[2]:], target[to[3]:]
        for k in range(length):
            d0, d1, d2, d3 = s0[k], s1[k], s2[k], s3[k]
            t0[k], t1[k], t2[k], t3[k] = d2 - d0, d1 + d2, d2 - d1, d3 - d1
    elif transform == AT64:
        t2, t3 = target[to[2]:], target[to[3]:]
        s2, s3, s4, s5 = source[at[2]:], source[at[3]:], source[at[4]:], source[at[5]:]
        for k in range(length):
            a, b, c, d = s1[k] + s2[k], s1[k] - s2[k], s3[k] + s4[k], s3[k] - s4[k]
            t0[k], t1[k], t2[k], t3[k] = s0[k] + a + c, b + _2 * d, a + _4 * c, b + _8 * d + s5[k]
    elif transform == AT62:
        s2, s3, s4, s5 = source[at[2]:], source[at[3]:], source[at[4]:], source[at[5]:]
        for k in range(length):
            a, b, c, d = s1[k] + s2[k], s1[k] - s2[k], s3[k] + s4[k], s3[k] - s4[k]
            t0[k], t1[k] = s0[k] + a + c, b + _2 * d + s5[k]
    elif transform == AT42:
        s2, s3 = source[at[2]:], source[at[3]:]
        for k in range(length):
            t0[k], t1[k] = s0[k] + s1[k] + s2[k], s1[k] - s2[k] + s3[k]
    elif transform == A46:
        s2, s3 = source[at[2]:], source[at[3]:]
        t2, t3, t4, t5 = target[to[2]:], target[to[3]:], target[to[4]:], target[to[5]:]
        for k in range(length):
            g0, g1, g2, g3 = s0[k], s1[k], s2[k], s3[k]
            a, b, c, d = g0 + g2, g1 + g3, g0 + _4 * g2, _2 * g1 + _8 * g3
            t0[k], t1[k], t2[k], t3[k], t4[k], t5[k] = g0, a + b, a - b, c + d, c - d, g3
    elif transform == A26:
        t2, t3, t4, t5 = target[to[2]:], target[to[3]:], target[to[4]:], target[to[5]:]
        for k in range(length):
            g0, g1 = s0[k], s1[k]
            d = _2 * g1
            t0[k], t1[k], t2[k], t3[k], t4[k], t5[k] = g0, g0 + g1, g0 - g1, g0 + d, g0 - d, g1
    else:  # A24
        t2, t3 = target[to[2]:], target[to[3]:]
        for k in range(length):
            g0, g1 = s0[k], s1[k]
            t0[k], t1[k], t2[k], t3[k] = g0, g0 + g1, g0 - g1, g1
# fmt: on


@kernel
def _load_row(images, start, inside, left, width, c, m, span, target, to):
    """One row of pixels with a border of zeros, sorted by column modulo m: target[to + (phase · span + i) · C], C numbers each.

    ``start`` is where the row begins in the flat ``images``; it is all zeros unless ``inside``.
    """
    if not inside:
        target[to : to + m * span * c] = 0
        return
    for phase in range(m):
        for i in range(span):
            pixel, column = target[to + (phase * span + i) * c :], i * m + phase - left
            if column < 0 or column >= width:
                for k in range(c):
                    pixel[k] = 0
            else:
                source = images[start + column * c :]
                for k in range(c):
                    pixel[k] = source[k]


@kernel
def input_tiles(x, first, last, origin, tile_rows, tile_columns, m, r, top, left, scratch, out):
    """Bᵀ d B of the units ``first`` to ``last``: into ``out`` (p², units · tile_columns, C), which starts at ``origin``.

    Args:
        m: outputs of a tile, and so the step from one to the next.
        r: taps of the kernel.
        top, left: the border of zeros around x (N, H, W, C).
        scratch: at least 2 · p · m · (tile_columns + p // m) · C floats.
    """
    _, height, width, c = x.shape
    p = m + r - 1
    transform = BT6 if p == 6 else BT4
    span = tile_columns + (p - 1) // m  # columns of one phase
    row, run = m * span * c, tile_columns * c
    images, down, results = x.reshape(-1), scratch[p * row : 2 * p * row], out.reshape(-1)
    rows = np.arange(p) * row
    columns, places = np.empty(p, np.int64), np.empty(p, np.int64)
    for unit in range(first, last):
        for i in range(p):
            y = unit % tile_rows * m - top + i
            start = (unit // tile_rows * height + y) * width * c
            _load_row(images, start, y >= 0 and y < height, left, width, c, m, span, scratch, i * row)
        _apply(transform, scratch, rows, down, rows, row)
        for i in range(p):
            for j in range(p):
                columns[j] = i * row + (j % m * span + j // m) * c
                places[j] = ((i * p + j) * out.shape[1] + (unit - origin) * tile_columns) * c
            _apply(transform, down, columns, results, places, run)


@kernel
def output_tiles(products, bias, first, last, origin, tile_rows, tile_columns, m, r, scratch, y):
    """Aᵀ M A of the units ``first`` to ``last``, plus the bias, written into their pixels of ``y`` (N, H, W, O).

    Args:
        products: M, (p², units · tile_columns, O).
        bias: (O).
        scratch: at least (p + 1) · m · tile_columns · O floats.
    """
    _, height, width, o = y.shape
    p = m + r - 1
    transform = AT64 if m == 4 else (AT62 if p == 6 else AT42)
    run = tile_columns * o
    line, down = scratch[: m * run], scratch[m * run : (p + 1) * m * run]  # down: (m, p, run)
    source, target = products.reshape(-1), y.reshape(-1)
    ins, outs = np.empty(p, np.int64), np.empty(m, np.int64)
    for unit in range(first, last):
        image, top = unit // tile_rows, unit % tile_rows * m
        for j in range(p):
            for i in range(p):
                ins[i] = ((i * p + j) * products.shape[1] + (unit - origin) * tile_columns) * o
            for i in range(m):
                outs[i] = (i * p + j) * run
            _apply(transform, source, ins, down, outs, run)
        for i in range(min(m, height - top)):
            for j in range(p):
                ins[j] = (i * p + j) * run
            for j in range(m):
                outs[j] = j * run
            _apply(transform, down, ins, line, outs, run)
            for column in range(width):
                pixel = target[((image * height + top + i) * width + column) * o :]
                result = line[column % m * run + column // m * o :]
                for k in range(o):
                    pixel[k] = result[k] + bias[k]


@kernel
def grad_tiles(g, first, last, origin, tile_rows, tile_columns, m, r, scratch, out):
    """A g Aᵀ of the units ``first`` to ``last``: into ``out`` (p², units · tile_columns, O), from g (N, H, W, O).

    Args:
        scratch: at least (m + p) · m · tile_columns · O floats.
    """
    _, height, width, o = g.shape
    p = m + r - 1
    transform = A46 if m == 4 else (A26 if p == 6 else A24)
    run = tile_columns * o
    row = m * run
    images, down, results = g.reshape(-1), scratch[m * row : (m + p) * row], out.reshape(-1)
    rows = np.arange(p) * row
    columns, places = np.arange(m) * run, np.empty(p, np.int64)
    for unit in range(first, last):
        for i in range(m):
            y = unit % tile_rows * m + i
            start = (unit // tile_rows * height + y) * width * o
            _load_row(images, start, y < height, 0, width, o, m, tile_columns, scratch, i * row)
        _apply(transform, scratch, rows, down, rows, row)
        for i in range(p):
            for j in range(p):
                places[j] = ((i * p + j) * out.shape[1] + (unit - origin) * tile_columns) * o
            _apply(transform, down[i * row :], columns, results, places, run)


@kernel
def multiply_points(v, u, first, last, tiles, zeros, products):
    """products[f] = v[f] @ u[f] for the frequencies ``first`` to ``last``.

    Args:
        v: (p², at least ``tiles``, C). products: (p², at least ``tiles``, O).
        u: (p², O / 16, C, 16), see ``weight_tiles``.
        zeros: (O).
    """
    _, lanes, c, _ = u.shape
    o = products.shape[2]
    for f in range(first, last):
        product(
            v.ctypes.data + f * v.strides[0], c * 4, 0, 4, u.ctypes.data + f * u.strides[0], c * 64, 0, 64, 1, c, tiles, lanes,
            zeros.ctypes.data, 0, products.ctypes.data + f * products.strides[0], o * 4,
        )  # fmt: skip


@kernel
def add_products(v, z, first, last, tiles, sums):
    """sums[f] += v[f]ᵀ @ z[f] for the frequencies ``first`` to ``last``; v (p², …, C), z (p², …, O), sums (p², C, O)."""
    _, c, o = sums.shape
    for f in range(first, last):
        place = sums.ctypes.data + f * sums.strides[0]
        product(
            v.ctypes.data + f * v.strides[0], 4, 0, c * 4, z.ctypes.data + f * z.strides[0], 64, 0, o * 4, 1, tiles, c, o // 16,
            place, o * 4, place, o * 4,
        )  # fmt: skip


@kernel
def convolve_tiles(x, u, bias, first, last, step, tile_rows, tile_columns, m, r, top, left, scratch, v, products, y):
    """The whole convolution of the units ``first`` to ``last``, ``step`` at a time, so that v and products stay in the cache."""
    zeros = np.zeros(y.shape[3], y.dtype)
    for a in range(first, last, step):
        b = min(a + step, last)
        input_tiles(x, a, b, a, tile_rows, tile_columns, m, r, top, left, scratch, v)
        multiply_points(v, u, 0, len(v), (b - a) * tile_columns, zeros, products)
        output_tiles(products, bias, a, b, a, tile_rows, tile_columns, m, r, scratch, y)


@kernel
def add_weight_tiles(g, x, first, last, step, tile_rows, tile_columns, m, r, top, left, scratch, v, z, sums):
    """Add Σ (Bᵀ d B) ⊙ (A g Aᵀ) over the units ``first`` to ``last`` to ``sums`` (p², C, O)."""
    for a in range(first, last, step):
        b = min(a + step, last)
        input_tiles(x, a, b, a, tile_rows, tile_columns, m, r, top, left, scratch, v)
        grad_tiles(g, a, b, a, tile_rows, tile_columns, m, r, scratch, z)
        add_products(v, z, 0, len(v), (b - a) * tile_columns, sums)


@kernel
def weight_tiles(weight, turned, matrix, first, last, u):
    """G w Gᵀ of kernels (C, O, r, r), of any strides, in strips: u (p², O / 16, C, 16).

    The (strip, C) pairs ``first`` to ``last`` are done. A step along O is often a large power of two, of whose lines a cache
    holds but few: therefore sixteen columns at a time, all C of them in turn.

    Args:
        turned: by 180 degrees, as the input gradient needs them.
        matrix: G ⊗ G, (p², r²).
    """
    c_size, _, r, _ = weight.shape
    points, taps_count = matrix.shape
    chunk = 32  # pairs at a time
    taps, zeros = np.empty((taps_count, chunk, 16), weight.dtype), np.zeros(chunk * 16, weight.dtype)
    for start in range(first, last, chunk):
        stop = min(start + chunk, last)
        for pair in range(start, stop):
            o, c = pair // c_size * 16, pair % c_size
            for i in range(r):
                for j in range(r):
                    target = taps[i * r + j, pair - start]
                    a, b = (r - 1 - i, r - 1 - j) if turned else (i, j)
                    for k in range(16):
                        target[k] = weight[c, o + k, a, b]
        product(
            matrix.ctypes.data, taps_count * 4, 0, 4, taps.ctypes.data, 64, 0, chunk * 64, 1, taps_count, points, stop - start,
            zeros.ctypes.data, 0, u.ctypes.data + start * 64, u.strides[0],
        )  # fmt: skip


@kernel
def weight_from_tiles(sums, matrix, first, last, weight):
    """Gᵀ S G: from ``sums`` (p², C, O) into weight (C, O, r, r), of any strides; the (strip, C) pairs ``first`` to ``last``.

    Args:
        matrix: (G ⊗ G)ᵀ, (r², p²).
    """
    c_size, o_size, r, _ = weight.shape
    taps_count, points = matrix.shape
    taps, zeros = np.empty((taps_count, 16), weight.dtype), np.zeros(16, weight.dtype)
    for pair in range(first, last):
        o, c = pair // c_size * 16, pair % c_size
        product(
            matrix.ctypes.data, points * 4, 0, 4, sums.ctypes.data + (c * o_size + o) * 4, 64, 0, sums.strides[0], 1, points,
            taps_count, 1, zeros.ctypes.data, 0, taps.ctypes.data, 64,
        )  # fmt: skip
        for k in range(16):
            for i in range(r):
                for j in range(r):
                    weight[c, o + k, i, j] = taps[i * r + j, k]


def kernel_matrix(m: int, r: int) -> np.ndarray:
    """G ⊗ G: (p², r²), float32. Row i of G holds the powers of point i, over its product of differences to the others."""
    points = np.array([0.0, 1, -1, 2, -2][: m + r - 2])
    rows = [np.array([p**k for k in range(r)]) / np.prod([p - q for q in points if q != p]) for p in points]
    matrix = np.array([*rows, [0.0] * (r - 1) + [1.0]])
    return np.kron(matrix, matrix).astype(np.float32)
