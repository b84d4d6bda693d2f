"""Depthwise convolution with 3 × 3 taps of a row of pixels: 8 or 16 channels at a time, whose weights or sums stay in registers.

The taps of an output pixel lie in three rows of the input. A row is given as where it begins, the step from the first tap of a
pixel to that of the next, and the step from tap to tap; a row of the border is a line of zeros with steps of 0. The plain twin of
``convolve_channels`` is, for ``AT_ONCE`` channels k,

    for p in range(width):
        y[p, k] = bias[k] + Σ_{i < 3} Σ_{j < 3} x[i, p, j, k] · taps[i, j, k]

and that of ``correlate_channels``

    for i in range(3):
        for j in range(3):
            out[i, j, k] += Σ_{p < width} x[i, p, j, k] · g[p, k]

in float32; addresses and steps in bytes.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minidl.backend.cpu.fast.emit import Emitter
from minidl.backend.cpu.fast.gemm import WIDE

# Channels: nine vectors of weights or sums, and what they meet, have to fit into the registers.
AT_ONCE = 16 if WIDE else 8


@intrinsic
def convolve_channels(context, x0, p0, t0, x1, p1, t1, x2, p2, t2, taps, tap, bias, width, y, y_pixel):
    """See above; ``tap`` is the step from each of the nine taps to the next."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        x0, p0, t0, x1, p1, t1, x2, p2, t2, taps, tap, bias, width, y, y_pixel = arguments
        emit = Emitter(builder, AT_ONCE)
        weights = [[emit.load(taps, (3 * i + j, tap)) for j in range(3)] for i in range(3)]
        start = emit.load(bias)

        def pixel(here: list[Any], sums: list[Any]) -> list[Any]:
            rows: list[Any] = []  # each by itself: a sum of nine would have to wait for every product
            for place, step, line in zip(here[:3], (t0, t1, t2), weights, strict=True):
                total = (
                    builder.fmul(emit.load(place), line[0])
                    if rows
                    else emit.multiply_add(emit.load(place), line[0], start)
                )
                for j in 1, 2:
                    total = emit.multiply_add(emit.load(place, (j, step)), line[j], total)
                rows.append(total)
            emit.store(builder.fadd(builder.fadd(rows[0], rows[1]), rows[2]), here[3])
            return sums

        emit.loop(width, [p0, p1, p2, y_pixel], [x0, x1, x2, y], [], pixel)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 15), generate


@intrinsic
def correlate_channels(context, x0, p0, t0, x1, p1, t1, x2, p2, t2, g, g_pixel, width, out, tap):
    """See above; ``tap`` is the step from each of the nine sums to the next."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        x0, p0, t0, x1, p1, t1, x2, p2, t2, g, g_pixel, width, out, tap = arguments
        emit = Emitter(builder, AT_ONCE)
        places = [(i, j) for i in range(3) for j in range(3)]

        def pixel(here: list[Any], sums: list[Any]) -> list[Any]:
            cotangent = emit.load(here[3])
            numbers = (emit.load(here[i], (j, (t0, t1, t2)[i])) for i, j in places)
            return [emit.multiply_add(x, cotangent, total) for x, total in zip(numbers, sums, strict=True)]

        zero = ir.Constant(emit.vector, [0.0] * AT_ONCE)
        _, sums = emit.loop(width, [p0, p1, p2, g_pixel], [x0, x1, x2, g], [zero] * len(places), pixel)
        for n, total in enumerate(sums):
            emit.store(builder.fadd(emit.load(out, (n, tap)), total), out, (n, tap))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 14), generate
