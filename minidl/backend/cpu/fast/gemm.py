"""Matrix products from register tiles.

``product`` multiplies whatever can be addressed by steps: rows of a matrix, of its transpose, or the runs of a padded image
that make up a window. What is multiplied from the right is best packed into *strips* of 16 columns, (columns / 16, K, 16),
so that the innermost loop reads memory in order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding

from minidl.backend.cpu.fast.elementwise import above_zero
from minidl.backend.cpu.fast.emit import LANES
from minidl.backend.cpu.fast.jit import data, inner, kernel, symbol
from minidl.backend.cpu.fast.team import address_of, hold, job_of, run
from minidl.backend.cpu.fast.tile import make_tile, make_transpose

# The fewer rows and the more vectors a tile has, the fewer numbers it loads for each multiply-add; its sums must fit into the
# registers beside the factors. There are 32 of 16 numbers with AVX-512, and half that room at most elsewhere.
WIDE = bool(binding.get_host_cpu_features().get("avx512f"))
MOST_ROWS = 16 if WIDE else 6  # of a tile
CACHED = 32 << 10  # bytes of b that stay in the first-level cache while all rows of a pass by
# Bytes of both factors, at a time, of a product that is added to what there is, and their rows at least: the tiles read them
# again and again, and often as far apart as is worst for a cache.
SUMMED, LEAST_SUMMED = 64 << 10, 48
ROWS_PACKED = 16  # at a time
EDGE_ROWS = 96  # at a time, of the columns that do not fill a vector
_transpose, _transpose_add = make_transpose(), make_transpose(adds=True)


def _columns(vectors: int, most: int, some: int) -> Any:
    """``product`` for 16 · vectors columns, by tiles of ``most`` rows, then ``some``, then one."""
    tall, short, single = (make_tile(rows, vectors) for rows in (most, some, 1))

    def columns(
        a, a_row, a_segment, a_step, b, b_lane, b_segment, b_step, segments, run, rows, start, start_row, out, out_row
    ):  # fmt: skip
        again = start != out  # rows may be done twice, unless they add to what they find
        r = 0
        while r < rows:
            left = rows - r
            if left < most and again and rows >= most and left > some:
                r, left = rows - most, most
            if left >= most:
                tall(
                    a + r * a_row, a_row, a_segment, a_step, b, b_lane, b_segment, b_step, segments, run, start + r * start_row,
                    start_row, out + r * out_row, out_row,
                )  # fmt: skip
                r += most
            elif left >= some:
                short(
                    a + r * a_row, a_row, a_segment, a_step, b, b_lane, b_segment, b_step, segments, run, start + r * start_row,
                    start_row, out + r * out_row, out_row,
                )  # fmt: skip
                r += some
            else:
                single(
                    a + r * a_row, a_row, a_segment, a_step, b, b_lane, b_segment, b_step, segments, run, start + r * start_row,
                    start_row, out + r * out_row, out_row,
                )  # fmt: skip
                r += 1

    return inner(columns, f"{vectors}x{most}")


if WIDE:
    _four, _two, _one = _columns(4, 6, 2), _columns(2, 8, 4), _columns(1, MOST_ROWS, 4)
else:
    _four = _two = _one = _columns(1, MOST_ROWS, 2)


@symbol
def product(
    a, a_row, a_segment, a_step, b, b_lane, b_segment, b_step, segments, run, rows, lanes, start, start_row, out, out_row
):  # fmt: skip
    """out[r, n] = start[r, n] + Σ_{s < segments} Σ_{i < run} a[r, s, i] · b[s, i, n] for r < rows, n < 16 · lanes.

    Addresses and steps are in bytes; ``b_lane`` leads from 16 columns of b to the next. With ``start`` = ``out`` it adds to out.

    A long sum is cut, and its later pieces added to the first, so that the columns at hand stay in the first-level cache.
    """
    lane = 0
    while lane < lanes:
        here = 1
        if WIDE and lanes - lane >= 4:
            here = 4
        elif WIDE and lanes - lane >= 2:
            here = 2
        pieces = 1
        if segments == 1 and run * here * LANES * 4 > CACHED:
            pieces = (run * here * LANES * 4 + CACHED - 1) // CACHED
        for piece in range(pieces):
            first, last = run * piece // pieces, run * (piece + 1) // pieces
            a_here, b_here = a + first * a_step, b + lane * b_lane + first * b_step
            out_here = out + lane * LANES * 4
            start_here, start_step = start + lane * LANES * 4, start_row
            if piece > 0:
                start_here, start_step = out_here, out_row
            if WIDE and here == 4:
                _four(
                    a_here, a_row, a_segment, a_step, b_here, b_lane, b_segment, b_step, segments, last - first, rows,
                    start_here, start_step, out_here, out_row,
                )  # fmt: skip
            elif WIDE and here == 2:
                _two(
                    a_here, a_row, a_segment, a_step, b_here, b_lane, b_segment, b_step, segments, last - first, rows,
                    start_here, start_step, out_here, out_row,
                )  # fmt: skip
            else:
                _one(
                    a_here, a_row, a_segment, a_step, b_here, b_lane, b_segment, b_step, segments, last - first, rows,
                    start_here, start_step, out_here, out_row,
                )  # fmt: skip
        lane += here


@inner
def _pack_rows(who, part, first, last, b, strips):
    """b (K, N) in strips (⌈N/16⌉, K, 16), padded with zeros; those of ``first`` to ``last``.

    Some rows at a time: a row of b is often as long as a page of memory, of which few can be in use at once.
    """
    k_size, n = b.shape
    whole = min(last, n // LANES)
    for start in range(0, k_size, ROWS_PACKED):
        stop = min(start + ROWS_PACKED, k_size)
        for s in range(first, whole):
            for k in range(start, stop):
                source, target = b[k, s * LANES :], strips[s, k]
                for j in range(LANES):
                    target[j] = source[j]
        for s in range(whole, last):
            for k in range(start, stop):
                for j in range(LANES):
                    strips[s, k, j] = b[k, s * LANES + j] if s * LANES + j < n else 0


@inner
def _pack_columns(who, part, first, last, bt, strips):
    """The transpose of bt (N, K), C-contiguous, in strips (⌈N/16⌉, K, 16), padded with zeros; those of ``first`` to ``last``."""
    n, k_size = bt.shape
    for s in range(first, last):
        width = min(LANES, n - s * LANES)
        strip = strips[s]
        whole = k_size - k_size % LANES if width == LANES else 0
        for k in range(0, whole, LANES):
            _transpose(data(bt) + (s * LANES * k_size + k) * 4, k_size * 4, data(strip) + k * LANES * 4, LANES * 4)
        for k in range(whole, k_size):
            for j in range(LANES):
                strip[k, j] = bt[s * LANES + j, k] if j < width else 0


@inner
def matmul_strips(a, strips, start, out):
    """out = start + a @ b, for b packed in strips; out is (M, N), which may be a part of a larger matrix.

    Args:
        a: (M, K) with steps of any size between its rows and columns.
        start: (⌈N/16⌉ · 16), added to every row.
    """
    _multiply(a, _strips_of(strips), strips[len(strips) - 1], start, out)


@inner
def _strips_of(strips):
    """What ``_multiply`` wants to know of a factor: its address, and bytes from 16 columns to the next and from row to row."""
    return data(strips), strips.shape[1] * LANES * 4, LANES * 4


@inner
def _multiply(a, right, edge, start, out):
    """``matmul_strips`` of a factor as by ``_strips_of``; its last columns, where they fill no vector, are those of ``edge``."""
    k_size, (place, lane, step) = a.shape[1], right
    lanes, rest = out.shape[1] // LANES, out.shape[1] % LANES
    product(
        data(a), a.strides[0], 0, a.strides[1], place, lane, 0, step, 1, k_size, len(a), lanes, data(start), 0, data(out),
        out.strides[0],
    )  # fmt: skip
    if rest == 0:
        return
    some = np.empty((EDGE_ROWS, LANES), a.dtype)  # the columns that are wanted, and others
    for first in range(0, len(a), EDGE_ROWS):
        rows = min(EDGE_ROWS, len(a) - first)
        product(
            data(a) + first * a.strides[0], a.strides[0], 0, a.strides[1], data(edge), 0, 0, LANES * 4, 1, k_size, rows, 1,
            data(start) + lanes * LANES * 4, 0, data(some), LANES * 4,
        )  # fmt: skip
        for i in range(rows):
            for n in range(rest):
                out[first + i, lanes * LANES + n] = some[i, n]


@inner
def rectify(rectified, out):
    """If it is to be ``rectified``: max(out, 0), in place."""
    if rectified:
        for i in range(len(out)):
            row = out[i]
            for n in range(row.size):
                row[n] = above_zero(row[n])


@inner
def start_of(bias, columns):
    """What every row's sums start from: the bias, if there is one, and zeros."""
    start = np.zeros(columns, bias.dtype)
    for n in range(bias.size):
        start[n] = bias[n]
    return start


_pack_rows_job, _pack_columns_job = job_of(_pack_rows), job_of(_pack_columns)


@inner
def _pack(team, b, turned, strips):
    """b in strips (⌈N/16⌉, K, 16), padded with zeros: b is (K, N), or, if ``turned``, (N, K). The team's length is ⌈N/16⌉."""
    arguments = (b, strips)
    if turned:
        run(team, _pack_columns_job(arguments), address_of(arguments))
    else:
        run(team, _pack_rows_job(arguments), address_of(arguments))


@kernel
def pack(team, *arguments):  # see _pack
    _pack(team, *arguments)


@inner
def _multiply_rows(who, part, first, last, unit, a, right, edge, start, rectified, out):
    """Rows of ``matmul``; ``unit`` rows for each of ``first`` to ``last``."""
    n, m = first * unit, min(last * unit, len(a))
    _multiply(a[n:m], right, edge, start, out[n:m])
    rectify(rectified, out[n:m])


@inner
def _multiply_columns(who, part, first, last, unit, a, right, edge, start, rectified, out):
    """Columns of ``matmul``; ``unit`` times 16 for each of ``first`` to ``last``."""
    place, lane, step = right
    n, m = first * unit, last * unit
    here = out[:, n * LANES : min(m * LANES, out.shape[1])]
    _multiply(a, (place + n * lane, lane, step), edge, start[n * LANES :], here)
    rectify(rectified, here)


_multiply_rows_job, _multiply_columns_job = job_of(_multiply_rows), job_of(_multiply_columns)


@inner
def _as_it_lies(b, strips):
    """The factor b (K, N) as ``_multiply`` wants it, without packing more than the last columns: into the last strip."""
    lanes, rest = b.shape[1] // LANES, b.shape[1] % LANES
    for k in range(len(b) if rest else 0):
        source, target = b[k, lanes * LANES :], strips[len(strips) - 1, k]
        for j in range(LANES):
            target[j] = source[j] if j < rest else 0
    return data(b), LANES * 4, b.shape[1] * 4


@kernel
def matmul(team, parts, a, b, turned, bias, rectified, strips, out):
    """out = a @ b + bias, or if ``rectified`` what of it is above 0; threads share the rows or the columns of out.

    Args:
        team: its length is the number of strips, ⌈N/16⌉. parts: in how many the product is cut.
        a: (M, K), of any steps. b: (K, N), or, if ``turned``, (N, K), C-contiguous.
        bias: (N), or empty for zeros.
        strips: (⌈N/16⌉, K, 16), a place for b. If it is not ``turned``, one strip is enough: then b is taken as it lies.
        out: (M, N).
    """
    if turned or len(strips) > 1:
        _pack(team, b, turned, strips)
        right = _strips_of(strips)
    else:
        right = _as_it_lies(b, strips)
    board, helpers, lanes, _ = team
    start = start_of(bias, lanes * LANES)
    rows = len(a)
    by_rows = rows >= lanes * LANES or lanes < 8  # few strips cannot be shared four by four
    unit = 6 if by_rows else 4  # rows, or strips: what the widest tile takes
    units = ((rows if by_rows else lanes) + unit - 1) // unit
    arguments = (unit, a, right, strips[len(strips) - 1], start, rectified, out)
    crew = (board, helpers, units, max(1, min(parts, units // 4 if by_rows else units)))
    if by_rows:
        run(crew, _multiply_rows_job(arguments), address_of(arguments))
    else:
        run(crew, _multiply_columns_job(arguments), address_of(arguments))
    hold(arguments)


@kernel
def matmul_small(a, b, turned, bias, rectified, out):
    """``matmul`` in one call, for products too small to be shared."""
    lanes = (out.shape[1] + LANES - 1) // LANES
    strips = np.empty((lanes if turned else 1, a.shape[1], LANES), a.dtype)
    if turned:
        _pack_columns(0, 0, 0, lanes, b, strips)
        right = _strips_of(strips)
    else:
        right = _as_it_lies(b, strips)
    _multiply(a, right, strips[len(strips) - 1], start_of(bias, lanes * LANES), out)
    rectify(rectified, out)


@inner
def _transpose_block(block, first, start, out):
    """Columns of out from ``first`` on = blockᵀ + start: block is (columns, at least as many as out has rows).

    Args:
        start: a number for each column of out.
    """
    rows, columns = len(out), len(block)
    across, down = block.shape[1] * 4, out.shape[1] * 4
    whole_rows, whole_columns = rows - rows % LANES, columns - columns % LANES
    for n in range(0, whole_columns, LANES):
        for m in range(0, whole_rows, LANES):
            place = data(out) + m * down + (first + n) * 4
            _transpose_add(data(block) + n * across + m * 4, across, place, down, data(start) + (first + n) * 4)
    for m in range(rows):
        for n in range(whole_columns if m < whole_rows else 0, columns):
            out[m, first + n] = block[n, m] + start[first + n]


@inner
def _multiply_transposed(who, part, first, last, unit, a, copies, packed, b, turned, start, rectified, blocks, out):
    """Columns of ``matmul_transposed``; ``unit`` columns for each of ``first`` to ``last``."""
    mine = who if len(copies) > 1 else 0
    strips = copies[mine]
    lanes, k_size, _ = strips.shape
    if not packed[mine]:
        _pack_columns(0, 0, 0, lanes, a, strips)
        packed[mine] = True
    b_column, b_step = (k_size * 4, 4) if turned else (4, b.shape[1] * 4)
    zeros, width = np.zeros(lanes * LANES, strips.dtype), lanes * LANES * 4
    for piece in range(first, last):
        n = piece * unit
        block = blocks[who, : min(unit, out.shape[1] - n)]
        product(
            data(b) + n * b_column, b_column, 0, b_step, data(strips), k_size * LANES * 4, 0, LANES * 4, 1, k_size, len(block),
            lanes, data(zeros), 0, data(block), width,
        )  # fmt: skip
        _transpose_block(block, n, start, out)
        rectify(rectified, out[:, n : n + len(block)])


_multiply_transposed_job = job_of(_multiply_transposed)


@kernel
def matmul_transposed(team, packers, unit, a, b, turned, bias, rectified, copies, blocks, out):
    """``matmul`` as outᵀ = bᵀ @ aᵀ: what is packed is a, which is less to do where b is the larger one.

    Args:
        team: its length is the number of pieces of ``unit`` columns of out, the last one shorter. packers: its length is ⌈M/16⌉.
        a: (M, K), C-contiguous. b: as in ``matmul``, likewise bias, rectified and out.
        copies: (1 or threads, ⌈M/16⌉, K, 16), a place for a. Where each thread has one, it packs a for itself: that can take less
            time than to fetch what another core has just written. blocks: (threads, unit, ⌈M/16⌉ · 16), for each thread's piece
            of outᵀ. Empty ones are made here, for one thread.
    """
    lanes = (len(a) + LANES - 1) // LANES
    if copies.size == 0:
        copies = np.empty((1, lanes, a.shape[1], LANES), a.dtype)
        blocks = np.empty((1, min(unit, out.shape[1]), lanes * LANES), a.dtype)
    packed = np.zeros(len(copies), np.bool_)
    if len(copies) == 1:
        whole = (a, copies[0])
        run(packers, _pack_columns_job(whole), address_of(whole))
        packed[0] = True
    arguments = (unit, a, copies, packed, b, turned, start_of(bias, out.shape[1]), rectified, blocks, out)
    run(team, _multiply_transposed_job(arguments), address_of(arguments))
    hold(arguments)


@inner
def add_matmul(at, b, out):
    """out += atᵀ @ b, for at (K, M), b (K, N), N a multiple of 16, and out (M, N), all C-contiguous."""
    rows, columns = out.shape
    block = max(LEAST_SUMMED, SUMMED // ((rows + columns) * 4))
    for first in range(0, len(at), block):
        count = min(block, len(at) - first)
        product(
            data(at) + first * rows * 4, 4, 0, rows * 4, data(b) + first * columns * 4, LANES * 4, 0, columns * 4, 1, count, rows,
            columns // LANES, data(out), columns * 4, data(out), columns * 4,
        )  # fmt: skip
