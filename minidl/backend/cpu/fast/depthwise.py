"""Depthwise convolution: every channel has a kernel of its own, so there is no matrix product to make of it.

Images are NHWC, ``taps`` is (KH, KW, C). Rows are counted through all images. The innermost loops run over channels, which
lie next to each other; a pixel's taps are added up in a line of C sums that stays in the first-level cache. Where there are 3 × 3
taps and whole vectors of channels, ``channels.py`` does the pixels that no tap of which lies beside the image.
"""

from __future__ import annotations

import numpy as np

from minidl.backend.cpu.fast.channels import AT_ONCE, convolve_channels, correlate_channels
from minidl.backend.cpu.fast.jit import data, inner, kernel
from minidl.backend.cpu.fast.team import address_of, job_of, run


@inner
def _inside(kh, kw, x, out_width, stride, padding, dilation):
    """The output columns, from the first to before the last, that ``channels.py`` does: none, or those with all taps inside."""
    _, _, width, c = x.shape
    if kh != 3 or kw != 3 or c % AT_ONCE != 0 or x.itemsize != 4:
        return 0, 0
    room = width - 1 - 2 * dilation[1] + padding[1]
    first, last = -(-padding[1] // stride[1]), min(out_width, room // stride[1] + 1)
    return (max(first, 0), last) if last > max(first, 0) else (0, 0)


@inner
def _row(x, image, y, left, zeros, pixel, tap):
    """A row of the input for ``channels.py``: where it begins, and its steps; a line of zeros beside the image."""
    _, height, width, c = x.shape
    if y < 0 or y >= height:
        return data(zeros), 0, 0
    return data(x) + ((image * height + y) * width + left) * c * 4, pixel * c * 4, tap * c * 4


@inner
def _rows(x, image, out_y, column, zeros, stride, padding, dilation):
    """The three ``_row``s that the taps of the output row ``out_y`` lie in, from the output column ``column`` on."""
    top, left = out_y * stride[0] - padding[0], column * stride[1] - padding[1]
    x0, p0, t0 = _row(x, image, top, left, zeros, stride[1], dilation[1])
    x1, p1, t1 = _row(x, image, top + dilation[0], left, zeros, stride[1], dilation[1])
    x2, p2, t2 = _row(x, image, top + 2 * dilation[0], left, zeros, stride[1], dilation[1])
    return x0, p0, t0, x1, p1, t1, x2, p2, t2


@inner
def _depthwise(who, part, first, last, x, taps, bias, stride, padding, dilation, y):
    """The output rows ``first`` to ``last`` of y (N, OH, OW, C)."""
    _, height, width, c = x.shape
    _, out_height, out_width, _ = y.shape
    kh, kw, _ = taps.shape
    begin, end = _inside(kh, kw, x, out_width, stride, padding, dilation)
    zeros = np.zeros(c, x.dtype)
    for row in range(first, last):
        image, out_y = row // out_height, row % out_height
        top = out_y * stride[0] - padding[0]
        if end > begin:
            rows = _rows(x, image, out_y, begin, zeros, stride, padding, dilation)
            x0, p0, t0, x1, p1, t1, x2, p2, t2 = rows
            to = data(y) + (row * out_width + begin) * c * 4
            for k in range(0, c * 4, AT_ONCE * 4):
                convolve_channels(
                    x0 + k, p0, t0, x1 + k, p1, t1, x2 + k, p2, t2, data(taps) + k, c * 4, data(bias) + k, end - begin, to + k,
                    c * 4,
                )  # fmt: skip
        for column in range(out_width):
            if begin <= column < end:
                continue
            target = y[image, out_y, column]
            left = column * stride[1] - padding[1]
            if (
                kh == 3
                and kw == 3
                and top >= 0
                and left >= 0
                and top + 2 * dilation[0] < height
                and left + 2 * dilation[1] < width
            ):
                d, e = dilation
                s0, s1, s2 = x[image, top, left], x[image, top, left + e], x[image, top, left + 2 * e]
                s3, s4, s5 = x[image, top + d, left], x[image, top + d, left + e], x[image, top + d, left + 2 * e]
                s6, s7, s8 = (
                    x[image, top + 2 * d, left],
                    x[image, top + 2 * d, left + e],
                    x[image, top + 2 * d, left + 2 * e],
                )
                w0, w1, w2, w3, w4 = taps[0, 0], taps[0, 1], taps[0, 2], taps[1, 0], taps[1, 1]
                w5, w6, w7, w8 = taps[1, 2], taps[2, 0], taps[2, 1], taps[2, 2]
                for k in range(c):
                    upper = s0[k] * w0[k] + s1[k] * w1[k] + s2[k] * w2[k] + s3[k] * w3[k]
                    lower = s5[k] * w5[k] + s6[k] * w6[k] + s7[k] * w7[k] + s8[k] * w8[k]
                    target[k] = bias[k] + s4[k] * w4[k] + upper + lower
                continue
            for k in range(c):
                target[k] = bias[k]
            for i in range(kh):
                place_y = top + i * dilation[0]
                if place_y < 0 or place_y >= height:
                    continue
                for j in range(kw):
                    place = left + j * dilation[1]
                    if place >= 0 and place < width:
                        source, w = x[image, place_y, place], taps[i, j]
                        for k in range(c):
                            target[k] += source[k] * w[k]


@inner
def _input_grad(who, part, first, last, g, taps, stride, padding, dilation, x):
    """The input rows ``first`` to ``last`` of the gradient x (N, H, W, C): what every output that saw the pixel sends back."""
    _, height, width, c = x.shape
    _, out_height, out_width, _ = g.shape
    kh, kw, _ = taps.shape
    for row in range(first, last):
        image, y = row // height, row % height
        for column in range(width):
            target = x[image, y, column]
            for k in range(c):
                target[k] = 0
            for i in range(kh):
                from_y = y + padding[0] - i * dilation[0]
                if from_y < 0 or from_y % stride[0] != 0 or from_y // stride[0] >= out_height:
                    continue
                for j in range(kw):
                    place = column + padding[1] - j * dilation[1]
                    if place >= 0 and place % stride[1] == 0 and place // stride[1] < out_width:
                        source, w = g[image, from_y // stride[0], place // stride[1]], taps[i, j]
                        for k in range(c):
                            target[k] += source[k] * w[k]


@inner
def _weight_grad(who, part, first, last, g, x, stride, padding, dilation, sums):
    """The share of the output rows ``first`` to ``last`` of g (N, OH, OW, C) in the gradient: sums[part], (KH, KW, C)."""
    taps = sums[part]
    _, height, width, c = x.shape
    _, out_height, out_width, _ = g.shape
    kh, kw, _ = taps.shape
    source, cotangents = x.reshape(-1), g.reshape(-1)
    begin, end = _inside(kh, kw, x, out_width, stride, padding, dilation)
    zeros = np.zeros(c, x.dtype)
    lines = np.zeros((3, c), taps.dtype)  # the sums of three neighbouring taps at a time: fewer passes over g
    line0, line1, line2 = lines[0], lines[1], lines[2]
    for row in range(first, last):
        image, out_y = row // out_height, row % out_height
        if end > begin:
            rows = _rows(x, image, out_y, begin, zeros, stride, padding, dilation)
            x0, p0, t0, x1, p1, t1, x2, p2, t2 = rows
            at = data(g) + (row * out_width + begin) * c * 4
            for k in range(0, c * 4, AT_ONCE * 4):
                correlate_channels(
                    x0 + k, p0, t0, x1 + k, p1, t1, x2 + k, p2, t2, at + k, c * 4, end - begin, data(taps) + k, c * 4
                )
        for i in range(kh if begin > 0 or end < out_width else 0):
            y = out_y * stride[0] - padding[0] + i * dilation[0]
            if y < 0 or y >= height:
                continue
            start = (image * height + y) * width
            for j in range(0, kw, 3):
                for n in range(3):
                    for k in range(c):
                        lines[n, k] = 0
                for column in range(out_width):
                    if begin <= column < end:
                        continue
                    t = cotangents[(row * out_width + column) * c :]
                    place = column * stride[1] - padding[1] + j * dilation[1]
                    step = dilation[1]
                    if j + 2 < kw and place >= 0 and place + 2 * step < width:
                        s0, s1 = source[(start + place) * c :], source[(start + place + step) * c :]
                        s2 = source[(start + place + 2 * step) * c :]
                        for k in range(c):
                            line0[k] += s0[k] * t[k]
                            line1[k] += s1[k] * t[k]
                            line2[k] += s2[k] * t[k]
                        continue
                    for n in range(min(3, kw - j)):
                        if place + n * step >= 0 and place + n * step < width:
                            s0, line = source[(start + place + n * step) * c :], lines[n]
                            for k in range(c):
                                line[k] += s0[k] * t[k]
                for n in range(min(3, kw - j)):
                    target, line = taps[i, j + n], lines[n]
                    for k in range(c):
                        target[k] += line[k]


_depthwise_job, _input_grad_job, _weight_grad_job = job_of(_depthwise), job_of(_input_grad), job_of(_weight_grad)


@kernel
def depthwise(team, *arguments):  # x, taps, bias, stride, padding, dilation, y
    run(team, _depthwise_job(arguments), address_of(arguments))


@kernel
def depthwise_input_grad(team, *arguments):  # g, taps, stride, padding, dilation, x
    run(team, _input_grad_job(arguments), address_of(arguments))


@kernel
def depthwise_weight_grad(team, *arguments):  # g, x, stride, padding, dilation, sums (parts, KH, KW, C), of zeros
    run(team, _weight_grad_job(arguments), address_of(arguments))
