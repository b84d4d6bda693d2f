"""Convolution without detours, for few channels: there the transforms of Winograd and the copies of im2col would dominate.

In an NHWC image with its border of zeros in place, the kw · C numbers that one row of a window meets lie next to each other.
So an output pixel is a sum over kh runs, and ``tile`` adds up eight pixels times 16 channels at once. The weight gradient has
the same form, with pixels and taps in exchanged roles. ``weight`` is (KH, KW, C, O), O a multiple of 16; float32 only.
"""

from __future__ import annotations

from minidl.backend.cpu.fast.jit import kernel
from minidl.backend.cpu.fast.tile import LANES, make_tile

ROWS = 8  # sums that are kept in registers: enough to hide the latency of a multiply-add
_tile8 = make_tile(ROWS)


@kernel
def _pad(x, image, padding, padded):  # type: ignore[no-untyped-def]
    """Copy one image into the middle of ``padded`` (H + …, W + …, C), whose border is zero already."""
    _, height, width, c = x.shape
    wide = padded.shape[1]
    source, target = x.reshape(-1), padded.reshape(-1)
    for y in range(height):
        row, to = source[(image * height + y) * width * c :], target[((y + padding[0]) * wide + padding[1]) * c :]
        for k in range(width * c):
            to[k] = row[k]


@kernel
def direct_conv(x, weight, bias, first, last, stride, padding, padded, y):  # type: ignore[no-untyped-def]
    """The images ``first`` to ``last`` of y (N, OH, OW, O). OW is at least 8.

    Args:
        bias: (O).
        padded: scratch of one image with its border, of zeros.
    """
    kh, kw, c, o = weight.shape
    _, out_height, out_width, _ = y.shape
    wide = padded.shape[1] * c * 4  # bytes of a padded row
    a, b, start, out = padded.ctypes.data, weight.ctypes.data, bias.ctypes.data, y.ctypes.data
    for image in range(first, last):
        _pad(x, image, padding, padded)
        for row in range(out_height):
            place = out + (image * out_height + row) * out_width * o * 4
            for column in range(0, out_width, ROWS):
                left = min(column, out_width - ROWS)  # the last tile may overlap the one before it
                source = a + row * stride[0] * wide + left * stride[1] * c * 4
                for v in range(0, o, LANES):
                    _tile8(
                        source, stride[1] * c * 4, wide, 4, b + v * 4, kw * c * o * 4, o * 4, kh, kw * c,
                        start + v * 4, 0, place + (left * o + v) * 4, o * 4,
                    )  # fmt: skip


@kernel
def direct_weight_grad(g, x, first, last, stride, padding, padded, one, total):  # type: ignore[no-untyped-def]
    """Add the gradients of the images ``first`` to ``last`` for the weight to ``total``; g is (N, OH, OW, O).

    Args:
        padded: scratch of one image with its border, of zeros; at least 8 numbers of memory follow it.
        one, total: (KH, run, O), where run is KW · C rounded up to a multiple of 8; what lies beyond KW · C is of no use.
            The sum of each image is taken by itself in ``one``: added one by one to a large total, small ones would lose digits.
    """
    _, _, _, c = x.shape
    kh, run, o = total.shape
    _, out_height, out_width, _ = g.shape
    wide = padded.shape[1] * c * 4
    a, b, out = padded.ctypes.data, g.ctypes.data, one.ctypes.data
    result, summed = one.reshape(-1), total.reshape(-1)
    for image in range(first, last):
        _pad(x, image, padding, padded)
        result[:] = 0
        cotangent = b + image * out_height * out_width * o * 4
        for v in range(0, o, LANES):
            for i in range(kh):
                for k in range(0, run, ROWS):
                    place = out + ((i * run + k) * o + v) * 4
                    _tile8(
                        a + i * wide + k * 4, 4, stride[0] * wide, stride[1] * c * 4,
                        cotangent + v * 4, out_width * o * 4, o * 4, out_height, out_width, place, o * 4, place, o * 4,
                    )  # fmt: skip
        for k in range(result.size):
            summed[k] += result[k]
