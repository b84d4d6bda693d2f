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
from minidl.backend.cpu.fast.jit import data, inner, kernel
from minidl.backend.cpu.fast.team import address_of, job_of, run
from minidl.backend.cpu.fast.tile import make_transpose
from minidl.backend.cpu.fast.transform import A24, A26, A46, AT42, AT62, AT64, BT4, BT6, apply_transform

_transpose = make_transpose()


@inner
def _apply(transform, source, at, target, to, length):
    """``transform.apply_transform`` on flat arrays and arrays of offsets."""
    apply_transform(transform, data(source), data(at), data(target), data(to), length)


@inner
def _multiples(count, step):
    """0, step, 2 · step, … (``np.arange`` takes long to compile.)"""
    out = np.empty(count, np.int64)
    for i in range(count):
        out[i] = i * step
    return out


@inner
def _load_row(images, start, inside, left, width, c, m, span, target, to):
    """One row of pixels with a border of zeros, sorted by column modulo m: target[to + (phase · span + i) · C], C numbers each.

    ``start`` is where the row begins in the flat ``images``; it is all zeros unless ``inside``.
    """
    if not inside:
        for k in range(to, to + m * span * c):
            target[k] = 0
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


@inner
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
    rows = _multiples(p, row)
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


@inner
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


@inner
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
    rows = _multiples(p, row)
    columns, places = _multiples(m, run), np.empty(p, np.int64)
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


@inner
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
            data(v) + f * v.strides[0], c * 4, 0, 4, data(u) + f * u.strides[0], c * 64, 0, 64, 1, c, tiles, lanes,
            data(zeros), 0, data(products) + f * products.strides[0], o * 4,
        )  # fmt: skip


@inner
def add_products(v, z, first, last, tiles, sums):
    """sums[f] += v[f]ᵀ @ z[f] for the frequencies ``first`` to ``last``; v (p², …, C), z (p², …, O), sums (p², C, O)."""
    _, c, o = sums.shape
    for f in range(first, last):
        place = data(sums) + f * sums.strides[0]
        product(
            data(v) + f * v.strides[0], 4, 0, c * 4, data(z) + f * z.strides[0], 64, 0, o * 4, 1, tiles, c, o // 16,
            place, o * 4, place, o * 4,
        )  # fmt: skip


# Bodies: what one part does, see ``team.py``. ``shape`` is (tile_rows, tile_columns, m, r), ``corner`` (top, left); scratch, v, z
# and products are for each thread, or, where the threads share all tiles, one for all.


@inner
def _convolve(who, part, first, last, x, u, bias, step, shape, corner, scratch, v, products, y):
    """The whole convolution of the units ``first`` to ``last``, ``step`` at a time, so that v and products stay in the cache."""
    zeros = np.zeros(y.shape[3], y.dtype)
    for a in range(first, last, step):
        b = min(a + step, last)
        input_tiles(x, a, b, a, *shape, *corner, scratch[who], v[who])
        multiply_points(v[who], u, 0, v.shape[1], (b - a) * shape[1], zeros, products[who])
        output_tiles(products[who], bias, a, b, a, *shape, scratch[who], y)


@inner
def _input_tiles(who, part, first, last, x, shape, corner, scratch, v):
    input_tiles(x, first, last, 0, *shape, *corner, scratch[who], v)


@inner
def _multiply_points(who, part, first, last, v, u, products):
    multiply_points(v, u, first, last, v.shape[1], np.zeros(products.shape[2], v.dtype), products)


@inner
def _output_tiles(who, part, first, last, products, bias, shape, scratch, y):
    output_tiles(products, bias, first, last, 0, *shape, scratch[who], y)


@inner
def _add_weight_tiles(who, part, first, last, g, x, step, shape, corner, scratch, v, z, sums):
    """sums[part] = Σ (Bᵀ d B) ⊙ (A g Aᵀ) over the units ``first`` to ``last``; sums is (parts, p², C, O)."""
    total = sums[part].reshape(-1)
    for k in range(total.size):
        total[k] = 0
    for a in range(first, last, step):
        b = min(a + step, last)
        input_tiles(x, a, b, a, *shape, *corner, scratch[who], v[who])
        grad_tiles(g, a, b, a, *shape, scratch[who], z[who])
        add_products(v[who], z[who], 0, v.shape[1], (b - a) * shape[1], sums[part])


@inner
def _join(who, part, first, last, sums):
    """sums[0] += sums[1] + …, those of its numbers from ``first`` to ``last``."""
    total = sums[0].reshape(-1)[first:last]
    for p in range(1, len(sums)):
        other = sums[p].reshape(-1)[first:last]
        for k in range(total.size):
            total[k] += other[k]


@inner
def _grad_tiles(who, part, first, last, g, x, shape, corner, scratch, v, z):
    input_tiles(x, first, last, 0, *shape, *corner, scratch[who], v)
    grad_tiles(g, first, last, 0, *shape, scratch[who], z)


@inner
def _add_products(who, part, first, last, v, z, sums):
    total = sums[first:last].reshape(-1)
    for k in range(total.size):
        total[k] = 0
    add_products(v, z, first, last, v.shape[1], sums)


@inner
def _gather_taps(weight, at, c_step, o_step, pairs, count, taps):
    """taps[c, k, o] = weight[at + c · c_step + o · o_step + k] for ``pairs`` of c, ``count`` of k and 16 of o.

    By blocks of 16 × 16; where there are fewer taps, what follows them comes too, and is overwritten by the next or left behind.

    Args:
        weight: flat. taps: at least (pairs · count + 16, 16).
    """
    lines, line = pairs, count
    if c_step == count:  # the taps of all pairs are one line
        lines, line = 1, pairs * count
    for i in range(lines):
        for k in range(0, line, 16):
            source, row = at + i * c_step + k, i * line + k
            if source + 15 * o_step + 16 <= weight.size:
                _transpose(data(weight) + source * 4, o_step * 4, data(taps) + row * 64, 64)
            else:
                for j in range(min(16, line - k)):
                    for o in range(16):
                        taps[row + j, o] = weight[source + o * o_step + j]


@inner
def _weight_tiles(who, part, first, last, weight, c_step, o_step, matrix, u):
    """G w Gᵀ of a weight, in strips: u (p², O / 16, C, 16).

    The (strip, C) pairs ``first`` to ``last`` are done. A step along O is often a large power of two, of whose lines a cache
    holds but few: therefore sixteen columns at a time, all C of them in turn.

    Args:
        weight: flat; the r² taps for channels c and o begin at c · c_step + o · o_step.
        matrix: G ⊗ G, (p², r²).
    """
    c_size = u.shape[2]
    points, count = matrix.shape
    chunk = 32  # pairs at a time
    taps, zeros = np.empty((chunk * count + 16, 16), weight.dtype), np.zeros(chunk * 16, weight.dtype)
    start = first
    while start < last:
        strip, c = start // c_size, start % c_size
        pairs = min(chunk, last - start, c_size - c)
        _gather_taps(weight, c * c_step + strip * 16 * o_step, c_step, o_step, pairs, count, taps)
        product(
            data(matrix), count * 4, 0, 4, data(taps), count * 64, 0, 64, 1, count, points, pairs,
            data(zeros), 0, data(u) + start * 64, u.strides[0],
        )  # fmt: skip
        start += pairs


@inner
def _weight_from_tiles(who, part, first, last, sums, matrix, weight):
    """Gᵀ S G: from ``sums`` (p², C, O) into a weight (O, C · r²); the channels ``first`` to ``last``.

    The sums are read in the order in which they lie. The weights of a row lie far from those of the next one: therefore those of
    sixteen channels are collected first, and then written together.

    Args:
        matrix: (G ⊗ G)ᵀ, (r², p²).
    """
    _, _, o_size = sums.shape
    taps_count, points = matrix.shape
    rows, zeros = np.empty((16 * taps_count, o_size), weight.dtype), np.zeros(o_size, weight.dtype)
    for start in range(first, last, 16):
        stop = min(start + 16, last)
        for c in range(start, stop):
            product(
                data(matrix), points * 4, 0, 4, data(sums) + c * o_size * 4, 64, 0, sums.strides[0], 1, points,
                taps_count, o_size // 16, data(zeros), 0, data(rows) + (c - start) * taps_count * o_size * 4, o_size * 4,
            )  # fmt: skip
        count = (stop - start) * taps_count
        whole = count - count % 16
        for o in range(0, o_size, 16):
            for k in range(0, whole, 16):
                target = data(weight) + o * weight.strides[0] + (start * taps_count + k) * 4
                _transpose(data(rows) + (k * o_size + o) * 4, o_size * 4, target, weight.strides[0])
        for o in range(o_size):
            for k in range(whole, count):
                weight[o, start * taps_count + k] = rows[k, o]


_convolve_job, _input_tiles_job, _multiply_points_job = (
    job_of(_convolve),
    job_of(_input_tiles),
    job_of(_multiply_points),
)
_output_tiles_job, _add_weight_tiles_job, _join_job = job_of(_output_tiles), job_of(_add_weight_tiles), job_of(_join)
_grad_tiles_job, _add_products_job = job_of(_grad_tiles), job_of(_add_products)
_weight_tiles_job, _weight_from_tiles_job = job_of(_weight_tiles), job_of(_weight_from_tiles)


@kernel
def weight_tiles(team, *arguments):  # weight, c_step, o_step, matrix, u
    run(team, _weight_tiles_job(arguments), address_of(arguments))


@kernel
def weight_from_tiles(team, *arguments):  # sums, matrix, weight
    run(team, _weight_from_tiles_job(arguments), address_of(arguments))


@kernel
def convolve_tiles(team, *arguments):  # x, u, bias, step, shape, corner, scratch, v, products, y
    run(team, _convolve_job(arguments), address_of(arguments))


@kernel
def convolve_points(units, points, x, u, bias, shape, corner, scratch, v, products, y):
    """As ``convolve_tiles``, for few tiles: v and products are of all of them, and each thread multiplies its frequencies.

    Args:
        units, points: teams, to share the units and the p² frequencies.
    """
    load, multiply, store = (x, shape, corner, scratch, v), (v, u, products), (products, bias, shape, scratch, y)
    run(units, _input_tiles_job(load), address_of(load))
    run(points, _multiply_points_job(multiply), address_of(multiply))
    run(units, _output_tiles_job(store), address_of(store))


@kernel
def add_weight_tiles(team, numbers, *arguments):  # g, x, step, shape, corner, scratch, v, z, sums
    """Add the products of all tiles into sums[0]; ``numbers`` is the team that joins the sums of the parts."""
    run(team, _add_weight_tiles_job(arguments), address_of(arguments))
    sums = (arguments[-1],)
    run(numbers, _join_job(sums), address_of(sums))


@kernel
def add_weight_points(units, points, g, x, shape, corner, scratch, v, z, sums):
    """As ``add_weight_tiles``, for large sums (p², C, O): v and z are of all tiles, and each thread adds up its frequencies."""
    load, multiply = (g, x, shape, corner, scratch, v, z), (v, z, sums)
    run(units, _grad_tiles_job(load), address_of(load))
    run(points, _add_products_job(multiply), address_of(multiply))


def kernel_matrix(m: int, r: int) -> np.ndarray:
    """G ⊗ G: (p², r²), float32. Row i of G holds the powers of point i, over its product of differences to the others."""
    points = np.array([0.0, 1, -1, 2, -2][: m + r - 2])
    rows = [np.array([p**k for k in range(r)]) / np.prod([p - q for q in points if q != p]) for p in points]
    matrix = np.array([*rows, [0.0] * (r - 1) + [1.0]])
    return np.kron(matrix, matrix).astype(np.float32)
