"""Depthwise convolution of a few pixels of a row: neighbouring channels in a vector, all of a pixel's in turn.

A pixel's taps lie in ``rows`` rows of the other image, up to three next to each other in each. So much is done at once for
``pixels`` pixels that the weights are loaded less often, and so little that what is read lies in order. The plain twin of a
convolution is, for all channels k,

    for p in range(pixels):
        y[p, k] = start[p, k] + Σ_{i < rows} Σ_{j < across} x[i, p, j, k] · taps[i, j, k]

and that of a correlation

    for i in range(rows):
        for j in range(across):
            sums[i, j, k] += Σ_{p < pixels} x[i, p, j, k] · g[p, k]

in float32; addresses and steps in bytes. Where ``pixel``, the step from a pixel's taps to the next one's, is as long as ``tap``,
from each tap to the next, neighbouring pixels may ``share`` what they load.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minidl.backend.cpu.fast.emit import WORD, Emitter
from minidl.backend.cpu.fast.gemm import WIDE

AT_ONCE = (16, 8, 1) if WIDE else (8, 1)  # channels: as many vectors of the first size as there are, then of the next


def make_convolution(pixels: int, across: int, share: bool = False) -> Any:
    """The first loop above as a function for Numba's kernels.

    ``convolve(x, row, pixel, tap, taps, taps_row, taps_tap, rows, channels, start, start_pixel, y, y_pixel)``
    """

    @intrinsic
    def convolve(
        context, x, row, pixel, tap, taps, taps_row, taps_tap, rows, channels, start, start_pixel, y, y_pixel
    ):  # fmt: skip
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            x, row, pixel, tap, taps, taps_row, taps_tap, rows, channels, start, start_pixel, y, y_pixel = arguments

            def vector(emit: Emitter, here: list[Any]) -> None:
                x, taps, start, y = here

                def line(here: list[Any], sums: list[Any]) -> list[Any]:
                    source, weights = here
                    factors = [emit.load(weights, (j, taps_tap)) for j in range(across)]
                    sums = list(sums)
                    for p, j, value in _loads(emit, source, pixel, tap, pixels, across, share):
                        sums[p] = emit.multiply_add(value, factors[j], sums[p])
                    return sums

                sums = [emit.load(start, (p, start_pixel)) for p in range(pixels)]
                _, sums = emit.loop(rows, [row, taps_row], [x, taps], sums, line)
                for p, total in enumerate(sums):
                    emit.store(total, y, (p, y_pixel))

            _each_vector(builder, channels, [x, taps, start, y], vector)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 13), generate

    return convolve


def make_correlation(pixels: int, across: int, share: bool = False) -> Any:
    """The second loop above: ``correlate(x, row, pixel, tap, g, g_pixel, rows, channels, sums, sums_row, sums_tap)``."""

    @intrinsic
    def correlate(context, x, row, pixel, tap, g, g_pixel, rows, channels, sums, sums_row, sums_tap):
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            x, row, pixel, tap, g, g_pixel, rows, channels, sums, sums_row, sums_tap = arguments

            def vector(emit: Emitter, here: list[Any]) -> None:
                x, g, sums = here
                cotangents = [emit.load(g, (p, g_pixel)) for p in range(pixels)]

                def line(here: list[Any], nothing: list[Any]) -> list[Any]:
                    source, place = here
                    totals = [emit.load(place, (j, sums_tap)) for j in range(across)]
                    for p, j, value in _loads(emit, source, pixel, tap, pixels, across, share):
                        totals[j] = emit.multiply_add(value, cotangents[p], totals[j])
                    for j, total in enumerate(totals):
                        emit.store(total, place, (j, sums_tap))
                    return nothing

                emit.loop(rows, [row, sums_row], [x, sums], [], line)

            _each_vector(builder, channels, [x, g, sums], vector)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 11), generate

    return correlate


def _loads(emit: Emitter, source: Any, pixel: Any, tap: Any, pixels: int, across: int, share: bool) -> Any:
    """Every pixel p, tap j, and what is loaded for them."""
    if not share:
        for j in range(across):
            for p in range(pixels):
                yield p, j, emit.load(source, (p, pixel), (j, tap))
        return
    for column in range(pixels + across - 1):
        value = emit.load(source, (column, tap))
        for j in range(across):
            if 0 <= column - j < pixels:
                yield column - j, j, value


def _each_vector(
    builder: ir.IRBuilder, channels: Any, places: list[Any], body: Callable[[Emitter, list[Any]], None]
) -> None:
    """``body`` at each vector of channels, from ``places`` on: as many of the first size as there are, then of the next."""
    for lanes in AT_ONCE:
        emit = Emitter(builder, lanes)

        def vector(here: list[Any], sums: list[Any], emit: Emitter = emit) -> list[Any]:
            body(emit, here)
            return sums

        size = WORD(lanes)
        steps = [WORD(lanes * 4)] * len(places)
        places, _ = emit.loop(builder.sdiv(channels, size), steps, places, [], vector)
        channels = builder.srem(channels, size)
