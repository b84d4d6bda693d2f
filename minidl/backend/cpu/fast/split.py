"""Matrix products of factors that are split into pieces for the matrix unit, see ``amx.py``.

The larger factor is cut among the threads: each splits some lines of it, multiplies them, and goes on to the next, so that what
it split stays in its cache. The smaller one each thread splits as a whole for itself, unless it is too large for that: it takes
less time than to fetch what another core has just written.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from minidl.backend.cpu.fast.amx import (
    DEEP,
    NONE,
    TILES,
    begin,
    configure,
    in_range,
    join,
    magnitudes_of,
    make_block,
    release,
    split_tile,
)
from minidl.backend.cpu.fast.emit import LANES, NUMBER
from minidl.backend.cpu.fast.gemm import rectify, start_of
from minidl.backend.cpu.fast.jit import data, inner, kernel
from minidl.backend.cpu.fast.team import address_of, hold, job_of, run
from minidl.backend.cpu.fast.tile import make_transpose

STEPS = 32  # of a long sum at a time: then the tiles that are multiplied stay in the second-level cache
# In scratch: two blocks of 16 × 16, or a block of sums at the edge, or the configuration of the tiles; and then the extremes.
EXTREMES = 2 * LANES * LANES
SCRATCH = EXTREMES + 2 * LANES  # numbers
_transpose = make_transpose()
_wide, _single = make_block(2), make_block(1)


@intrinsic
def _number(typing_context, address):
    """The float32 number at an address of memory."""

    def generate(context, builder, signature, arguments):
        return builder.load(builder.inttoptr(arguments[0], NUMBER.as_pointer()), align=4)

    return types.float32(types.int64), generate


@intrinsic
def _put(typing_context, address, number):
    """Put a float32 number at an address of memory."""

    def generate(context, builder, signature, arguments):
        builder.store(arguments[1], builder.inttoptr(arguments[0], NUMBER.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), generate


@inner
def _tile_bytes(lines, depth):
    """How many bytes ``_split`` fills."""
    return (lines + LANES - 1) // LANES * ((depth + DEEP - 1) // DEEP) * TILES


@inner
def _split(a, line, step, lines, depth, is_right, tiles, scratch):
    """Split ``lines`` rows of the left factor, or columns of the right one, of ``depth`` numbers each; zeros fill the last tiles.

    Args:
        a: the address of the first number; ``line`` and ``step`` bytes lead to the next line, and along it. One of them is 4.
        is_right: whether lines are columns of the right factor.
        tiles: the address of the tiles, (⌈lines / 16⌉, ⌈depth / 32⌉, 3, 1024 bytes).

    Returns:
        Their magnitudes, see ``magnitudes_of``.
    """
    extremes = scratch[EXTREMES:SCRATCH].view(np.uint32)
    begin(extremes)
    kept = data(extremes)
    along = step == 4  # the numbers of a line lie next to each other
    row = 64 if is_right else 128  # bytes of what is put in order in scratch
    low, high = data(scratch), data(scratch) + (1024 if is_right else 64)
    for first in range(0, lines, LANES):
        for k in range(0, depth, DEEP):
            here = a + first * line + k * step
            if first + LANES > lines or k + DEEP > depth:
                _collect(here, line, step, lines - first, depth - k, is_right, scratch)
                split_tile(low, high, row, tiles, kept)
            elif along != is_right:
                split_tile(here, here + LANES * step, step if is_right else line, tiles, kept)
            else:
                across = line if along else step
                _transpose(here, across, low, row)
                _transpose(here + LANES * step, across, high, row)
                split_tile(low, high, row, tiles, kept)
            tiles += TILES
    return magnitudes_of(extremes)


@inner
def _collect(a, line, step, lines, depth, is_right, scratch):
    """What is there of 16 lines and 32 numbers, zeros where nothing is."""
    for i in range(LANES):
        for j in range(DEEP):
            inside = i < lines and j < depth
            scratch[j * LANES + i if is_right else i * DEEP + j] = _number(a + i * line + j * step) if inside else 0


@inner
def _multiply_tiles(left, right, depth, rows, columns, start, out, out_row, scratch):
    """out = start + left @ right, for (rows, depth) and (depth, columns) in tiles. The thread must be configured for them.

    Args:
        left, right: addresses, from ``_split``.
        start: the address of ⌈columns / 16⌉ · 16 numbers, added to every row.
        out: an address; ``out_row`` bytes lead to the next row.
    """
    steps = (depth + DEEP - 1) // DEEP
    deep = steps * TILES  # bytes from the tiles of 16 lines to the next ones
    for n in range(0, columns, 2 * LANES):
        width = min(2 * LANES, columns - n)
        for first in range(0, steps, STEPS):
            b, count = right + n // LANES * deep + first * TILES, min(STEPS, steps - first)
            for m in range(0, rows, LANES):
                a, here = left + m // LANES * deep + first * TILES, out + m * out_row + n * 4
                begin, begin_row = start + n * 4, 0
                if first > 0:
                    begin, begin_row = here, out_row
                height = min(LANES, rows - m)
                if height < LANES or width % LANES != 0:
                    place, place_row = data(scratch), 2 * LANES * 4
                    _copy_block(begin, begin_row, height, width, place, place_row)
                    _multiply_block(a, b, deep, count, width, place, place_row, place, place_row)
                    _copy_block(place, place_row, height, width, here, out_row)
                else:
                    _multiply_block(a, b, deep, count, width, begin, begin_row, here, out_row)


@inner
def _multiply_block(a, b, deep, steps, width, start, start_row, out, out_row):
    if width > LANES:
        _wide(a, b, deep, steps, start, start_row, out, out_row)
    else:
        _single(a, b, deep, steps, start, start_row, out, out_row)


@inner
def _copy_block(source, source_row, height, width, target, target_row):
    for i in range(height):
        for j in range(width):
            _put(target + i * target_row + j * 4, _number(source + i * source_row + j * 4))


@inner
def _multiply(
    who,
    part,
    first,
    last,
    unit,
    by_rows,
    large,
    small,
    start,
    rectified,
    wholes,
    magnitudes,
    pieces,
    scratches,
    refused,
    out,
):
    """Lines of the larger factor and of the product, ``unit`` for each of ``first`` to ``last``; see ``matmul_split``."""
    (a, line, step, depth), (b, b_line, b_step, _) = large, small
    rows, columns = out.shape
    lines, others = (rows, columns) if by_rows else (columns, rows)
    mine = who if len(wholes) > 1 else 0
    whole, piece, scratch = data(wholes[mine]), data(pieces[who]), scratches[who]
    configure(scratch.view(np.uint8))
    if magnitudes[mine] < 0:
        magnitudes[mine] = _split(b, b_line, b_step, others, depth, by_rows, whole, scratch)
    for n in range(first * unit, min(last * unit, lines), unit):
        count = min(unit, lines - n)
        found = _split(a + n * line, line, step, count, depth, not by_rows, piece, scratch)
        if not in_range(found, magnitudes[mine]):
            refused[0] = True
        if refused[0]:
            break
        if by_rows:
            here = data(out) + n * columns * 4
            _multiply_tiles(piece, whole, depth, count, columns, data(start), here, columns * 4, scratch)
            rectify(rectified, out[n : n + count])
        else:
            here = data(out) + n * 4
            _multiply_tiles(whole, piece, depth, rows, count, data(start) + n * 4, here, columns * 4, scratch)
            rectify(rectified, out[:, n : n + count])
    release()


@inner
def _split_part(who, part, first, last, is_right, factor, lines, whole, found, scratches):
    """The lines ``16 · first`` to ``16 · last`` of a factor."""
    a, line, step, depth = factor
    n, m = first * LANES, min(last * LANES, lines)
    place = data(whole) + _tile_bytes(n, depth)
    found[part] = _split(a + n * line, line, step, m - n, depth, is_right, place, scratches[who])


_multiply_job, _split_job = job_of(_multiply), job_of(_split_part)


@inner
def _factor(a, by_columns):
    """(address, bytes from line to line, and along a line, length of a line) of a, whose lines are its rows, or its columns."""
    if by_columns:
        return data(a), 4, a.shape[1] * 4, a.shape[0]
    return data(a), a.shape[1] * 4, 4, a.shape[1]


@kernel
def matmul_split(
    team, splitters, unit, by_rows, a, a_turned, b, b_turned, bias, rectified, wholes, pieces, scratches, out
):
    """out = a @ b + bias, ``rectified`` as in ``gemm.matmul``; or False where the unit cannot have the numbers (``in_range``).

    Args:
        team: its length is the number of units that the larger factor is cut into. splitters: its length is ⌈lines / 16⌉, for the
            lines of the smaller one, where there is one place for its tiles.
        unit: lines of the larger factor at a time, a multiple of 16. by_rows: whether the larger factor is a.
        a: (M, K) or, if ``a_turned``, (K, M). b: (K, N) or, if ``b_turned``, (N, K). Both C-contiguous.
        bias: (N), or empty for zeros.
        wholes: (1 or threads, bytes), a place for the smaller factor's tiles. pieces: (threads, bytes), for those of a unit of
            the larger one. scratches: (threads, ``SCRATCH``) numbers.
        out: (M, N), C-contiguous.
    """
    left, right = _factor(a, a_turned), _factor(b, not b_turned)
    large, small = (left, right) if by_rows else (right, left)
    magnitudes, refused = np.full(len(wholes), -1), np.zeros(1, np.bool_)
    if len(wholes) == 1:
        found = np.full(splitters[3], NONE)
        lines = out.shape[1] if by_rows else out.shape[0]
        shared = (by_rows, small, lines, wholes[0], found, scratches)
        run(splitters, _split_job(shared), address_of(shared))
        magnitudes[0] = NONE
        for more in found:
            magnitudes[0] = join(magnitudes[0], more)
    start = start_of(bias, (out.shape[1] + LANES - 1) // LANES * LANES)
    arguments = (unit, by_rows, large, small, start, rectified, wholes, magnitudes, pieces, scratches, refused, out)
    run(team, _multiply_job(arguments), address_of(arguments))
    hold(arguments)
    return not refused[0]
