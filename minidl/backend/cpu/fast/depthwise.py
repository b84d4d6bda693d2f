"""Depthwise convolution: every channel has a kernel of its own, so there is no matrix product to make of it.

Images are NHWC, ``taps`` is (KH, KW, C). Rows are counted through all images, and shared among threads. In float32 a row is done
a few pixels at a time (``channels.py``); the loops that serve other dtypes are the plain twins.

The gradient for the input is a convolution, too: a pixel collects what the outputs that saw it send back. With a stride of s only
every s-th pixel of a row is seen by the same taps, so that a row is done in s turns.
"""

from __future__ import annotations

import numpy as np

from minidl.backend.cpu.fast.channels import make_convolution, make_correlation
from minidl.backend.cpu.fast.jit import data, inner, kernel
from minidl.backend.cpu.fast.team import address_of, job_of, run

ACROSS = 3  # taps next to each other, at most
PIXELS, FEW_PIXELS = 6, 3  # at once: of a convolution, and of a correlation, which keeps as many of g in registers
_near3, _many3, _one3 = make_convolution(PIXELS, 3, share=True), make_convolution(PIXELS, 3), make_convolution(1, 3)
_many2, _one2 = make_convolution(PIXELS, 2), make_convolution(1, 2)
_many1, _one1 = make_convolution(PIXELS, 1), make_convolution(1, 1)
_sums_near3, _sums_many3 = make_correlation(FEW_PIXELS, 3, share=True), make_correlation(FEW_PIXELS, 3)
_sums3, _sums2, _sums1 = make_correlation(1, 3), make_correlation(1, 2), make_correlation(1, 1)


@inner
def _inside(at, step, count, size):
    """Of the numbers ``at``, ``at + step``, … (``count``; step > 0): the first that is in 0 ≤ … < size, and the first beyond."""
    first = min(max(0, -(at // step)), count)
    return first, max(first, min(count, (size - 1 - at) // step + 1))


@inner
def _convolve_row(
    x, row, rows, width, size, left, pixel, tap, across, taps, taps_row, taps_tap, start, start_pixel, columns, y, y_pixel
):  # fmt: skip
    """y[q] = start[q] + Σ_{i < rows} Σ_{j < across} x[i, left + q · pixel + j · tap] · taps[i, j], for q < columns.

    What does not lie in 0 ≤ … < ``width`` counts as zero. ``left``, ``pixel`` and ``tap`` are in pixels of ``size`` bytes, other
    steps in bytes.
    """
    if tap < 0:  # from the other end
        left, tap, taps, taps_tap = left + (across - 1) * tap, -tap, taps + (across - 1) * taps_tap, -taps_tap
    for j in range(0, max(1, across), ACROSS):
        few, at, again = min(ACROSS, across - j), left + j * tap, start != y
        begin, end = _inside(at, pixel, columns, width - (few - 1) * tap)  # the outputs with all taps inside
        q = 0
        while q < columns:
            if begin <= q < end:
                if (
                    again and end - q < PIXELS <= end - begin
                ):  # pixels may be done twice, unless they add to what they find
                    q = end - PIXELS
                many, first, last = end - q >= PIXELS, 0, few
            else:
                first, last = _inside(at + q * pixel, tap, few, width)
                many = False
            here = (
                x + (at + q * pixel + first * tap) * size, row, pixel * size, tap * size, taps + (j + first) * taps_tap, taps_row,
                taps_tap, rows if last > first else 0, size // 4, start + q * start_pixel, start_pixel, y + q * y_pixel, y_pixel,
            )  # fmt: skip
            if many and few == 3 and tap == pixel:
                _near3(*here)
            elif many and few == 3:
                _many3(*here)
            elif many and few == 2:
                _many2(*here)
            elif many:
                _many1(*here)
            elif last - first == 3:
                _one3(*here)
            elif last - first == 2:
                _one2(*here)
            else:
                _one1(*here)
            q += PIXELS if many else 1
        start, start_pixel = y, y_pixel


@inner
def _depthwise_tiles(who, part, first, last, x, taps, bias, stride, padding, dilation, y):
    """``_depthwise`` of float32."""
    _, height, width, c = x.shape
    _, out_height, out_width, _ = y.shape
    kh, kw, _ = taps.shape
    size = c * 4
    for row in range(first, last):
        image, top = row // out_height, row % out_height * stride[0] - padding[0]
        i, end = _inside(top, dilation[0], kh, height)
        _convolve_row(
            data(x) + (image * height + top + i * dilation[0]) * width * size, dilation[0] * width * size, end - i, width, size,
            -padding[1], stride[1], dilation[1], kw, data(taps) + i * kw * size, kw * size, size, data(bias), 0, out_width,
            data(y) + row * out_width * size, size,
        )  # fmt: skip


@inner
def _seen_by(place, stride, dilation, count):
    """Through which of ``count`` taps an output saw the pixel at ``place``, counted with the border.

    Returns the first, the step to the next, and how many; then the output that saw it through the first, and the step to that
    of the next.
    """
    step = 1
    while step * dilation % stride != 0:
        step += 1
    first = 0
    while first < step and (place - first * dilation) % stride != 0:
        first += 1
    many = 0 if first == step else max(0, (count - first + step - 1) // step)
    return first, step, many, (place - first * dilation) // stride, -(step * dilation // stride)


@inner
def _input_grad_tiles(who, part, first, last, g, taps, stride, padding, dilation, x):
    """``_input_grad`` of float32."""
    _, height, width, c = x.shape
    _, out_height, out_width, _ = g.shape
    kh, kw, _ = taps.shape
    size, zeros = c * 4, np.zeros(c, x.dtype)
    for row in range(first, last):
        image = row // height
        i, i_step, rows, out_y, down = _seen_by(row % height + padding[0], stride[0], dilation[0], kh)
        skipped, end = _inside(out_height - 1 - out_y, -down, rows, out_height)
        i, out_y = i + skipped * i_step, out_y + skipped * down
        for turn in range(min(stride[1], width)):
            j, j_step, across, left, tap = _seen_by(turn + padding[1], stride[1], dilation[1], kw)
            _convolve_row(
                data(g) + (image * out_height + out_y) * out_width * size, down * out_width * size, end - skipped, out_width,
                size, left, 1, tap, across, data(taps) + (i * kw + j) * size, i_step * kw * size, j_step * size, data(zeros), 0,
                (width - turn + stride[1] - 1) // stride[1], data(x) + (row * width + turn) * size, stride[1] * size,
            )  # fmt: skip


@inner
def _weight_grad_tiles(who, part, first, last, g, x, stride, padding, dilation, sums):
    """``_weight_grad`` of float32."""
    _, height, width, c = x.shape
    _, out_height, out_width, _ = g.shape
    _, kh, kw, _ = sums.shape
    size, taps, pixel, tap = c * 4, data(sums[part]), stride[1], dilation[1]
    for row in range(first, last):
        image, top = row // out_height, row % out_height * stride[0] - padding[0]
        i, end_row = _inside(top, dilation[0], kh, height)
        source, down = data(x) + (image * height + top + i * dilation[0]) * width * size, dilation[0] * width * size
        for j in range(0, kw, ACROSS):
            few, at = min(ACROSS, kw - j), j * tap - padding[1]
            begin, end = _inside(at, pixel, out_width, width - (few - 1) * tap)
            q = 0
            while q < out_width:
                many = few == 3 and begin <= q and q + FEW_PIXELS <= end
                near, far = _inside(at + q * pixel, tap, few, width)
                here = (
                    source + (at + q * pixel + near * tap) * size, down, pixel * size, tap * size,
                    data(g) + (row * out_width + q) * size, size, end_row - i, c, taps + (i * kw + j + near) * size, kw * size,
                    size,
                )  # fmt: skip
                if many and tap == pixel:
                    _sums_near3(*here)
                elif many:
                    _sums_many3(*here)
                elif far - near == 3:
                    _sums3(*here)
                elif far - near == 2:
                    _sums2(*here)
                elif far - near == 1:
                    _sums1(*here)
                q += FEW_PIXELS if many else 1


@inner
def _depthwise(who, part, first, last, x, taps, bias, stride, padding, dilation, y):
    """The output rows ``first`` to ``last`` of y (N, OH, OW, C)."""
    _, height, width, c = x.shape
    _, out_height, out_width, _ = y.shape
    kh, kw, _ = taps.shape
    for row in range(first, last):
        image, out_y = row // out_height, row % out_height
        for column in range(out_width):
            target = y[image, out_y, column]
            for k in range(c):
                target[k] = bias[k]
            for i in range(kh):
                place_y = out_y * stride[0] - padding[0] + i * dilation[0]
                if place_y < 0 or place_y >= height:
                    continue
                for j in range(kw):
                    place = column * stride[1] - padding[1] + j * dilation[1]
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
    for row in range(first, last):
        image, out_y = row // out_height, row % out_height
        for i in range(kh):
            place_y = out_y * stride[0] - padding[0] + i * dilation[0]
            if place_y < 0 or place_y >= height:
                continue
            for column in range(out_width):
                cotangent = g[image, out_y, column]
                for j in range(kw):
                    place = column * stride[1] - padding[1] + j * dilation[1]
                    if place >= 0 and place < width:
                        source, target = x[image, place_y, place], taps[i, j]
                        for k in range(c):
                            target[k] += source[k] * cotangent[k]


_depthwise_job = job_of(_depthwise_tiles, otherwise=_depthwise)
_input_grad_job = job_of(_input_grad_tiles, otherwise=_input_grad)
_weight_grad_job = job_of(_weight_grad_tiles, otherwise=_weight_grad)


@kernel
def depthwise(team, *arguments):  # x, taps, bias, stride, padding, dilation, y
    run(team, _depthwise_job(arguments), address_of(arguments))


@kernel
def depthwise_input_grad(team, *arguments):  # g, taps, stride, padding, dilation, x
    run(team, _input_grad_job(arguments), address_of(arguments))


@kernel
def depthwise_weight_grad(team, *arguments):  # g, x, stride, padding, dilation, sums (parts, KH, KW, C), of zeros
    run(team, _weight_grad_job(arguments), address_of(arguments))
