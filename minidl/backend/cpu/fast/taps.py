"""Convolution of rows of pixels with three taps: every number that is loaded is multiplied three times.

With few channels a matrix product loads almost as many numbers as it multiplies, and loads are what is scarce. But the pixels
of a row have most of their windows in common: the input at column q meets the taps of the outputs at q, q − 1 and q − 2. So a
number is spread over a vector once here, and multiplied by the weights of all three taps. The plain twin of ``convolve_row`` is

    for p in range(width):
        for k in range(16 · lanes):
            out[p, k] = start[k] + Σ_{s < segments} Σ_{t < 3} Σ_{c < channels} a[s, p + t, c] · b[s, t, c, k]

and that of ``correlate_rows``

    for t in range(3):
        for c in range(channels):
            for k in range(16 · lanes):
                out[t, c, k] += Σ_{s < segments} Σ_{q < width + 2} a[s, q, c] · g[s, q − t, k]

in float32; addresses and steps in bytes. ``g`` has two columns of zeros on either side of its rows.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minidl.backend.cpu.fast.emit import LANES, WORD, Emitter
from minidl.backend.cpu.fast.gemm import WIDE
from minidl.backend.cpu.fast.jit import symbol

TAPS = 3
PIXELS = 16  # at least in a row
CHANNELS = 8  # whose sums over three taps fill the registers; the channels are a multiple of it
USED = WIDE  # with fewer registers there is no room for all this


def _make_row(pixels: int, vectors: int) -> Any:
    """``tile(a, a_pixel, a_segment, b, b_lane, b_segment, b_tap, segments, channels, start, out, out_pixel)``"""

    @intrinsic
    def tile(context, a, a_pixel, a_segment, b, b_lane, b_segment, b_tap, segments, channels, start, out, out_pixel):
        return types.void(*[types.int64] * 12), _generate

    def _generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        a, a_pixel, a_segment, b, b_lane, b_segment, b_tap, segments, channels, start, out, out_pixel = arguments
        emit = Emitter(builder)

        def channel(here: list[Any], sums: list[Any]) -> list[Any]:
            sums = list(sums)
            weights = [[emit.load(here[1], (t, b_tap), (v, b_lane)) for v in range(vectors)] for t in range(TAPS)]
            for q in range(pixels + TAPS - 1):
                x = emit.spread(here[0], (q, a_pixel))
                for t in range(TAPS):
                    for v in range(vectors):
                        if 0 <= q - t < pixels:
                            i = (q - t) * vectors + v
                            sums[i] = emit.multiply_add(x, weights[t][v], sums[i])
            return sums

        def segment(here: list[Any], sums: list[Any]) -> list[Any]:
            return emit.loop(channels, [WORD(4), WORD(LANES * 4)], here, sums, channel)[1]

        first = [emit.load(start, v * LANES * 4) for v in range(vectors)]
        _, sums = emit.loop(segments, [a_segment, b_segment], [a, b], first * pixels, segment)
        for i, total in enumerate(sums):
            emit.store(total, out, (i // vectors, out_pixel), i % vectors * LANES * 4)
        return context.get_dummy_value()

    return tile


def _make_sums(channels: int) -> Any:
    """``tile(a, a_pixel, a_segment, g, g_pixel, g_segment, segments, columns, out, out_tap, out_channel)``"""

    @intrinsic
    def tile(context, a, a_pixel, a_segment, g, g_pixel, g_segment, segments, columns, out, out_tap, out_channel):
        return types.void(*[types.int64] * 11), _generate

    def _generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        a, a_pixel, a_segment, g, g_pixel, g_segment, segments, columns, out, out_tap, out_channel = arguments
        emit = Emitter(builder)
        back = builder.neg(g_pixel)
        places = [(c, t) for c in range(channels) for t in range(TAPS)]

        def column(here: list[Any], sums: list[Any]) -> list[Any]:
            cotangents = [emit.load(here[1], (t, back)) for t in range(TAPS)]
            numbers = (emit.spread(here[0], c * 4) for c in range(channels))
            products = [(x, cotangent) for x in numbers for cotangent in cotangents]
            return [emit.multiply_add(*product, total) for product, total in zip(products, sums, strict=True)]

        def segment(here: list[Any], sums: list[Any]) -> list[Any]:
            return emit.loop(columns, [a_pixel, g_pixel], here, sums, column)[1]

        sums = [emit.load(out, (c, out_channel), (t, out_tap)) for c, t in places]
        _, sums = emit.loop(segments, [a_segment, g_segment], [a, g], sums, segment)
        for total, (c, t) in zip(sums, places, strict=True):
            emit.store(total, out, (c, out_channel), (t, out_tap))
        return context.get_dummy_value()

    return tile


_row16, _row8, _sums = _make_row(PIXELS, 1), _make_row(PIXELS // 2, 2), _make_sums(CHANNELS)


@symbol
def convolve_row(
    a, a_pixel, a_segment, b, b_lane, b_segment, b_tap, segments, channels, width, lanes, start, out, out_pixel
):
    """See above. The last pixels may be done twice."""
    lane = 0
    while lane < lanes:
        b_here, start_here = b + lane * b_lane, start + lane * LANES * 4
        two = lanes - lane >= 2
        step = PIXELS // 2 if two else PIXELS
        for column in range(0, width, step):
            p = min(column, width - step)
            a_here, out_here = a + p * a_pixel, out + p * out_pixel + lane * LANES * 4
            if two:
                _row8(
                    a_here, a_pixel, a_segment, b_here, b_lane, b_segment, b_tap, segments, channels, start_here, out_here,
                    out_pixel,
                )  # fmt: skip
            else:
                _row16(
                    a_here, a_pixel, a_segment, b_here, b_lane, b_segment, b_tap, segments, channels, start_here, out_here,
                    out_pixel,
                )  # fmt: skip
        lane += 2 if two else 1


@symbol
def correlate_rows(
    a, a_pixel, a_segment, g, g_pixel, g_segment, segments, width, channels, lanes, out, out_tap, out_channel
):
    """See above."""
    for lane in range(lanes):
        for c in range(0, channels, CHANNELS):
            _sums(
                a + c * 4, a_pixel, a_segment, g + lane * LANES * 4, g_pixel, g_segment, segments, width + TAPS - 1,
                out + c * out_channel + lane * LANES * 4, out_tap, out_channel,
            )  # fmt: skip
