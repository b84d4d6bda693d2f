"""Convolution without detours, for few channels: there the transforms of Winograd and the copies of im2col would dominate.

In an NHWC image with its border of zeros in place, the kw · C numbers that one row of a window meets lie next to each other.
So a row of output pixels is a product of matrices whose inner dimension consists of kh such runs. The weight gradient has the
same form, with pixels and taps in exchanged roles. O is a multiple of 16; float32 only.
"""

from __future__ import annotations

from minidl.backend.cpu.fast.gemm import product
from minidl.backend.cpu.fast.jit import data, inner, kernel
from minidl.backend.cpu.fast.taps import CHANNELS, PIXELS, TAPS, USED, convolve_row, correlate_rows
from minidl.backend.cpu.fast.team import address_of, job_of, run

MULTIPLE = 4  # the rows of a weight gradient are rounded up to a multiple of this


@inner
def _pad(x, image, padding, padded):
    """Copy one image into the middle of ``padded`` (H + …, W + …, C), whose border is zero already."""
    _, height, width, c = x.shape
    wide = padded.shape[1]
    source, target = x.reshape(-1), padded.reshape(-1)
    for y in range(height):
        row, to = source[(image * height + y) * width * c :], target[((y + padding[0]) * wide + padding[1]) * c :]
        for k in range(width * c):
            to[k] = row[k]


@inner
def _conv(who, part, first, last, x, strips, bias, kernel_size, stride, padding, padded, y):
    """The images ``first`` to ``last`` of y (N, OH, OW, O).

    Args:
        strips: the weight, (O / 16, KH · KW · C, 16).
        bias: (O).
        padded: scratch of one image with its border, of zeros, for each thread.
    """
    lanes, taps, _ = strips.shape
    _, out_height, out_width, o = y.shape
    c = x.shape[3]
    wide = padded.shape[2] * c * 4  # bytes of a padded row
    run = kernel_size[1] * c
    by_taps = USED and kernel_size[1] == TAPS and stride[1] == 1 and out_width >= PIXELS
    for image in range(first, last):
        _pad(x, image, padding, padded[who])
        for row in range(out_height):
            if by_taps:
                convolve_row(
                    data(padded[who]) + row * stride[0] * wide, c * 4, wide, data(strips), taps * 64, run * 64,
                    c * 64, kernel_size[0], c, out_width, lanes, data(bias),
                    data(y) + (image * out_height + row) * out_width * o * 4, o * 4,
                )  # fmt: skip
                continue
            product(
                data(padded[who]) + row * stride[0] * wide, stride[1] * c * 4, wide, 4,
                data(strips), taps * 64, run * 64, 64, kernel_size[0], run, out_width, lanes,
                data(bias), 0, data(y) + (image * out_height + row) * out_width * o * 4, o * 4,
            )  # fmt: skip


def correlates(kernel_width: int, channels: int, stride: int, width: int) -> bool:
    """Whether the weight gradient is taken by ``taps.correlate_rows``."""
    return USED and kernel_width == TAPS and channels % CHANNELS == 0 and stride == 1 and width >= PIXELS


@inner
def _weight_grad(who, part, first, last, g, x, stride, padding, padded, bordered, ones, totals):
    """Add the gradients of the images ``first`` to ``last`` for the weight to totals[part]; g is (N, OH, OW, O).

    Args:
        padded: scratch of one image with its border, of zeros, for each thread; at least MULTIPLE numbers of memory follow it.
        bordered: scratch of one image of g, for each thread, with two columns of zeros at its left and at its right; empty
            unless the gradient is taken by ``correlate_rows``, see ``correlates``.
        ones, totals: (threads or parts, KH, run, O), where run is KW · C rounded up to a multiple of MULTIPLE; what lies beyond
            KW · C is of no use. The sum of each image is taken by itself in ``ones``: added one by one to a large total, small
            ones would lose digits.
    """
    c = x.shape[3]
    one, total = ones[who], totals[part]
    kh, run, o = total.shape
    _, out_height, out_width, _ = g.shape
    wide = padded.shape[2] * c * 4
    result, summed = one.reshape(-1), total.reshape(-1)
    by_taps = bordered.size > 0
    for image in range(first, last):
        _pad(x, image, padding, padded[who])
        if by_taps:
            _pad(g, image, (0, TAPS - 1), bordered[who])
        for k in range(result.size):
            result[k] = 0
        for i in range(kh):
            place = data(one) + i * run * o * 4
            if by_taps:
                correlate_rows(
                    data(padded[who]) + i * wide, c * 4, stride[0] * wide,
                    data(bordered[who]) + (TAPS - 1) * o * 4, o * 4, bordered.shape[2] * o * 4, out_height, out_width, c,
                    o // 16, place, c * o * 4, o * 4,
                )  # fmt: skip
                continue
            product(
                data(padded[who]) + i * wide, 4, stride[0] * wide, stride[1] * c * 4,
                data(g) + image * out_height * out_width * o * 4, 64, out_width * o * 4, o * 4, out_height, out_width,
                run, o // 16, place, o * 4, place, o * 4,
            )  # fmt: skip
        for k in range(result.size):
            summed[k] += result[k]


_conv_job, _weight_grad_job = job_of(_conv), job_of(_weight_grad)


@kernel
def direct_conv(team, *arguments):  # x, strips, bias, kernel_size, stride, padding, padded, y
    run(team, _conv_job(arguments), address_of(arguments))


@kernel
def direct_weight_grad(team, *arguments):  # g, x, stride, padding, padded, bordered, ones, totals
    run(team, _weight_grad_job(arguments), address_of(arguments))
