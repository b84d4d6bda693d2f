"""Matrix products of factors that are split into pieces for the matrix unit, see ``amx.py``.

The larger factor is cut among the threads: each splits some lines of it, multiplies them, and goes on to the next, so that what
it split stays in its cache. The smaller one each thread splits as a whole for itself, unless it is too large for that: it takes
less time than to fetch what another core has just written.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic, register_jitable

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

UNIT = 32  # lines of the larger factor at a time
BLOCK, SUMS_ROW = LANES * 2 * LANES * 4, 2 * LANES * 4  # bytes of a block of 16 × 32 sums, and of its rows
STEPS = 32  # of a long sum at a time: then the tiles that are multiplied stay in the second-level cache
# In scratch: two blocks of 16 × 16, or one at the edge, or the configuration of the tiles; then the extremes, and zeros.
EXTREMES = 2 * LANES * LANES
ZEROS = EXTREMES + 2 * LANES
SCRATCH = ZEROS + 2 * LANES  # numbers
_transpose, _transpose_limit = make_transpose(), make_transpose(adds=True, limits=True)
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


@register_jitable  # so that Python can call it, too
def tile_bytes(lines, depth):
    """How many bytes ``_split`` fills."""
    return (lines + LANES - 1) // LANES * ((depth + DEEP - 1) // DEEP) * TILES


@register_jitable
def layout(lines, depth):
    """Where a thread's things are in its place: the tiles of a unit, sums, the tiles of the smaller factor; and where those end.

    ``lines`` and ``depth`` are the smaller factor's. The place begins with ``SCRATCH`` numbers. All in bytes.
    """
    piece = SCRATCH * 4
    sums = piece + tile_bytes(UNIT, depth)
    whole = sums + 2 * BLOCK * ((max(lines, UNIT) + LANES - 1) // LANES)
    return piece, sums, whole, whole + tile_bytes(lines, depth)


@inner
def _scratch(place):
    return place[: SCRATCH * 4].view(np.float32)


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
def _multiply_tiles(left, right, steps, rows, columns, sums, turned, start, limit, out, out_row, scratch):
    """out = start + left @ right; or, if ``turned``, its transpose + start, where what is below the limit becomes the limit.

    The thread must be configured for tiles.

    Args:
        left, right: addresses, from ``_split``; ``steps`` tiles along the inner dimension.
        sums: the address of a place for 2 · ⌈rows / 16⌉ blocks of 16 × 32 numbers.
        start: the address of a number for each column of out, up to the next multiple of 16.
        out: an address; ``out_row`` bytes lead to the next row.
    """
    deep = steps * TILES  # bytes from the tiles of 16 lines to the next ones
    zeros, blocks = data(scratch) + ZEROS * 4, (rows + LANES - 1) // LANES
    done, done_m, done_n = 0, 0, 0  # the last block that has to be finished
    for n in range(0, columns, 2 * LANES):
        width = min(2 * LANES, columns - n)
        for first in range(0, steps, STEPS):
            b, count = right + n // LANES * deep + first * TILES, min(STEPS, steps - first)
            for m in range(0, rows, LANES):
                a = left + m // LANES * deep + first * TILES
                at_once = not turned and rows - m >= LANES and width % LANES == 0  # the unit can put it in its place
                here, row = sums + (n // (2 * LANES) % 2 * blocks + m // LANES) * BLOCK, SUMS_ROW
                if at_once:
                    here, row = out + m * out_row + n * 4, out_row
                begin, begin_row = zeros if turned else start + n * 4, 0
                if first > 0:
                    begin, begin_row = here, row
                if width > LANES:
                    _wide(a, b, deep, count, begin, begin_row, here, row)
                else:
                    _single(a, b, deep, count, begin, begin_row, here, row)
                if first + count == steps and not at_once:
                    if done != 0:  # Only now is it finished: to get at sums just stored would take a while.
                        _finish(done, turned, done_m, done_n, rows, columns, start, limit, out, out_row, scratch)
                    done, done_m, done_n = here, m, n
    if done != 0:
        _finish(done, turned, done_m, done_n, rows, columns, start, limit, out, out_row, scratch)


@inner
def _finish(sums, turned, m, n, rows, columns, start, limit, out, out_row, scratch):
    """Put what is there of a block of 16 × 32, from row m and column n on, into out, see ``_multiply_tiles``."""
    height, width = min(LANES, rows - m), min(2 * LANES, columns - n)
    if not turned:
        _copy(sums, SUMS_ROW, height, width, out + m * out_row + n * 4, out_row)
        return
    for v in range(0, width, LANES):
        here, across = out + (n + v) * out_row + m * 4, min(LANES, width - v)
        if height == LANES and across == LANES:
            _transpose_limit(sums + v * 4, SUMS_ROW, here, out_row, start + m * 4, limit)
        else:
            _transpose_limit(sums + v * 4, SUMS_ROW, data(scratch), LANES * 4, start + m * 4, limit)
            _copy(data(scratch), LANES * 4, across, height, here, out_row)


@inner
def _copy(source, source_row, rows, columns, target, target_row):
    for i in range(rows):
        for j in range(columns):
            _put(target + i * target_row + j * 4, _number(source + i * source_row + j * 4))


@inner
def _multiply(
    who, part, first, last, by_rows, large, small, start, rectified, shared, magnitudes, places, refused, out
):
    """Lines of the larger factor and of the product, ``UNIT`` for each of ``first`` to ``last``; see ``matmul_split``."""
    (a, line, step, depth, lines), (b, b_line, b_step, _, others) = large, small
    # The larger factor is the left one of the products of tiles if it need not be turned for that, be it so or not in a @ b.
    is_left, steps, out_row = step == 4, (depth + DEEP - 1) // DEEP, out.shape[1] * 4
    turned = is_left != by_rows
    limit = np.float32(0 if rectified and turned else -np.inf)
    place, scratch, mine = data(places[who]), _scratch(places[who]), 0 if shared.size > 0 else who
    piece, sums, whole, _ = layout(others, depth)
    piece, sums, whole = place + piece, place + sums, data(shared) if shared.size > 0 else place + whole
    configure(scratch.view(np.uint8))
    scratch[ZEROS:SCRATCH] = 0
    if magnitudes[mine] < 0:
        magnitudes[mine] = _split(b, b_line, b_step, others, depth, is_left, whole, scratch)
    for n in range(first * UNIT, min(last * UNIT, lines), UNIT):
        count = min(UNIT, lines - n)
        found = _split(a + n * line, line, step, count, depth, not is_left, piece, scratch)
        if not in_range(found, magnitudes[mine]):
            refused[0] = True
        if refused[0]:
            break
        here, begin = data(out) + n * (out_row if by_rows else 4), data(start) + (0 if by_rows else n * 4)
        if is_left:
            _multiply_tiles(piece, whole, steps, count, others, sums, turned, begin, limit, here, out_row, scratch)
        else:
            _multiply_tiles(whole, piece, steps, others, count, sums, turned, begin, limit, here, out_row, scratch)
        rectify(rectified and not turned, out[n : n + count] if by_rows else out[:, n : n + count])
    release()


@inner
def _split_part(who, part, first, last, is_right, factor, whole, found, places):
    """The lines ``16 · first`` to ``16 · last`` of a factor."""
    a, line, step, depth, lines = factor
    n, m = first * LANES, min(last * LANES, lines)
    place = data(whole) + tile_bytes(n, depth)
    found[part] = _split(a + n * line, line, step, m - n, depth, is_right, place, _scratch(places[who]))


_multiply_job, _split_job = job_of(_multiply), job_of(_split_part)


@inner
def _factor(a, by_columns):
    """(address, bytes from line to line, and along a line, length of a line, lines) of a; lines are its rows, or its columns."""
    if by_columns:
        return data(a), 4, a.shape[1] * 4, a.shape[0], a.shape[1]
    return data(a), a.shape[1] * 4, 4, a.shape[1], a.shape[0]


@kernel
def matmul_split(team, splitters, by_rows, a, a_turned, b, b_turned, bias, rectified, shared, places, out):
    """out = a @ b + bias, ``rectified`` as in ``gemm.matmul``; or False where the unit cannot have the numbers (``in_range``).

    Args:
        team: its length is the number of units that the larger factor is cut into. splitters: its length is ⌈lines / 16⌉, for the
            lines of the smaller one, where there is one place for its tiles.
        by_rows: whether the larger factor is a.
        a: (M, K) or, if ``a_turned``, (K, M). b: (K, N) or, if ``b_turned``, (N, K). Both C-contiguous.
        bias: (N), or empty for zeros.
        shared: bytes, as many as the tiles of the smaller factor have; or none: each thread splits it for itself.
        places: (threads, bytes), as many as ``layout`` says.
        out: (M, N), C-contiguous.
    """
    left, right = _factor(a, a_turned), _factor(b, not b_turned)
    large, small = (left, right) if by_rows else (right, left)
    magnitudes, refused = np.full(len(places), -1), np.zeros(1, np.bool_)
    if shared.size > 0:
        found = np.full(splitters[3], NONE)
        factor = (large[2] == 4, small, shared, found, places)
        run(splitters, _split_job(factor), address_of(factor))
        magnitudes[0] = NONE
        for more in found:
            magnitudes[0] = join(magnitudes[0], more)
    start = start_of(bias, (out.shape[1] + LANES - 1) // LANES * LANES)
    arguments = (by_rows, large, small, start, rectified, shared, magnitudes, places, refused, out)
    run(team, _multiply_job(arguments), address_of(arguments))
    hold(arguments)
    return not refused[0]
