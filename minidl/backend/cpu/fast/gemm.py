"""Matrix products from register tiles.

``product`` multiplies whatever can be addressed by steps: rows of a matrix, of its transpose, or the runs of a padded image
that make up a window. What is multiplied from the right is best packed into *strips* of 16 columns, (columns / 16, K, 16),
so that the innermost loop reads memory in order.
"""

from __future__ import annotations

import numpy as np

from minidl.backend.cpu.fast.jit import kernel
from minidl.backend.cpu.fast.tile import LANES, make_tile, make_transpose

ROWS = 8  # with two vectors each, 16 sums in registers: enough to hide the latency of a multiply-add
_tile82, _tile81, _tile12, _tile11 = make_tile(8, 2), make_tile(8, 1), make_tile(1, 2), make_tile(1, 1)
_transpose = make_transpose()


@kernel
def product(
    a,
    a_row,
    a_segment,
    a_step,
    b,
    b_lane,
    b_segment,
    b_step,
    segments,
    run,
    rows,
    lanes,
    start,
    start_row,
    out,
    out_row,
):
    """out[r, n] = start[r, n] + Σ_{s < segments} Σ_{i < run} a[r, s, i] · b[s, i, n] for r < rows, n < 16 · lanes.

    Addresses and steps are in bytes; ``b_lane`` leads from 16 columns of b to the next. With ``start`` = ``out`` it adds to out.
    """
    adds = start == out
    for lane in range(0, lanes, 2):
        double = lane + 1 < lanes
        b_here, start_here, out_here = b + lane * b_lane, start + lane * LANES * 4, out + lane * LANES * 4
        full = rows - rows % ROWS
        for r in range(0, rows, ROWS):
            if r == full:  # what is left: with rows that were done already, if they may be done again, else one by one
                if adds or rows < ROWS:
                    break
                r = rows - ROWS
            if double:
                _tile82(
                    a + r * a_row, a_row, a_segment, a_step, b_here, b_lane, b_segment, b_step, segments, run,
                    start_here + r * start_row, start_row, out_here + r * out_row, out_row,
                )  # fmt: skip
            else:
                _tile81(
                    a + r * a_row, a_row, a_segment, a_step, b_here, b_lane, b_segment, b_step, segments, run,
                    start_here + r * start_row, start_row, out_here + r * out_row, out_row,
                )  # fmt: skip
        if adds or rows < ROWS:
            for r in range(full, rows):
                if double:
                    _tile12(
                        a + r * a_row, a_row, a_segment, a_step, b_here, b_lane, b_segment, b_step, segments, run,
                        start_here + r * start_row, start_row, out_here + r * out_row, out_row,
                    )  # fmt: skip
                else:
                    _tile11(
                        a + r * a_row, a_row, a_segment, a_step, b_here, b_lane, b_segment, b_step, segments, run,
                        start_here + r * start_row, start_row, out_here + r * out_row, out_row,
                    )  # fmt: skip


@kernel
def pack_rows(b, first, last, strips):
    """b (K, N) in strips (⌈N/16⌉, K, 16), padded with zeros; those of ``first`` to ``last``."""
    k_size, n = b.shape
    for s in range(first, last):
        width = min(LANES, n - s * LANES)
        for k in range(k_size):
            source, target = b[k, s * LANES :], strips[s, k]
            if width == LANES:
                for j in range(LANES):
                    target[j] = source[j]
            else:
                for j in range(LANES):
                    target[j] = source[j] if j < width else 0


@kernel
def pack_columns(bt, first, last, strips):
    """The transpose of bt (N, K), C-contiguous, in strips (⌈N/16⌉, K, 16), padded with zeros; those of ``first`` to ``last``."""
    n, k_size = bt.shape
    for s in range(first, last):
        width = min(LANES, n - s * LANES)
        strip = strips[s]
        if width < LANES:
            strip[:, :] = 0
        whole = k_size - k_size % LANES if width == LANES else 0
        for k in range(0, whole, LANES):
            _transpose(
                bt.ctypes.data + (s * LANES * k_size + k) * 4, k_size * 4, strip.ctypes.data + k * LANES * 4, LANES * 4
            )
        for j in range(width):
            for k in range(whole, k_size):
                strip[k, j] = bt[s * LANES + j, k]


@kernel
def matmul_strips(a, strips, start, first, last, out):
    """out[first:last] = start + a[first:last] @ b, for b packed in strips; out is (M, columns), columns a multiple of 16.

    Args:
        a: (M, K) with steps of any size between its rows and columns.
        start: (columns), added to every row.
    """
    lanes, k_size, _ = strips.shape
    product(
        a.ctypes.data + first * a.strides[0], a.strides[0], 0, a.strides[1], strips.ctypes.data, k_size * LANES * 4, 0,
        LANES * 4, 1, k_size, last - first, lanes, start.ctypes.data, 0, out.ctypes.data + first * out.strides[0],
        out.strides[0],
    )  # fmt: skip


@kernel
def matmul_whole(a, b, turned, start, out):
    """out = a @ b + start in one call, for products too small to be shared: b is (K, N), or, if ``turned``, (N, K).

    Args:
        a: (M, K), of any steps. b: C-contiguous.
        start: (N), or empty for zeros.
        out: (M, N), C-contiguous.
    """
    rows, columns = out.shape
    lanes = (columns + LANES - 1) // LANES
    strips = np.empty((lanes, a.shape[1], LANES), a.dtype)
    if turned:
        pack_columns(b, 0, lanes, strips)
    else:
        pack_rows(b, 0, lanes, strips)
    first = np.zeros(lanes * LANES, a.dtype)
    first[: start.size] = start
    if lanes * LANES == columns:
        matmul_strips(a, strips, first, 0, rows, out)
    else:  # the last strip is not full: its empty columns are computed too, and left behind
        whole = np.empty((rows, lanes * LANES), a.dtype)
        matmul_strips(a, strips, first, 0, rows, whole)
        out[:, :] = whole[:, :columns]


@kernel
def add_matmul(at, b, first, last, out):
    """out += at[first:last]ᵀ @ b[first:last], for at (K, M), b (K, N), N a multiple of 16, and out (M, N), all C-contiguous."""
    rows, columns = out.shape
    product(
        at.ctypes.data + first * rows * 4, 4, 0, rows * 4, b.ctypes.data + first * columns * 4, 64, 0, columns * 4, 1,
        last - first, rows, columns // 16, out.ctypes.data, columns * 4, out.ctypes.data, columns * 4,
    )  # fmt: skip
