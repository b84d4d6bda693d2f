"""Turning matrices, 16 × 16 numbers at a time: from images whose channels lie first to such whose channels lie last, and back."""

from __future__ import annotations

from minidl.backend.cpu.fast.emit import LANES
from minidl.backend.cpu.fast.jit import data, inner, kernel
from minidl.backend.cpu.fast.team import address_of, job_of, run
from minidl.backend.cpu.fast.tile import make_transpose

_block = make_transpose()


@inner
def _turn(who, part, first, last, x, out):
    """out[n] = x[n]ᵀ for the matrices ``first`` to ``last``; x (N, A, B) and out (N, B, A) of float32, C-contiguous."""
    _, rows, columns = x.shape
    whole_rows, whole_columns = rows - rows % LANES, columns - columns % LANES
    for n in range(first, last):
        source, target = data(x) + n * rows * columns * 4, data(out) + n * rows * columns * 4
        for c in range(0, whole_columns, LANES):
            for r in range(0, whole_rows, LANES):
                _block(source + (r * columns + c) * 4, columns * 4, target + (c * rows + r) * 4, rows * 4)
        for r in range(whole_rows, rows):
            row = x[n, r]
            for c in range(whole_columns):
                out[n, c, r] = row[c]
        for c in range(whole_columns, columns):
            row = out[n, c]
            for r in range(rows):
                row[r] = x[n, r, c]


_turn_job = job_of(_turn)


@kernel
def turn(team, *arguments):  # x (N, A, B), out (N, B, A)
    run(team, _turn_job(arguments), address_of(arguments))
