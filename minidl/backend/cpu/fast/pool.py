"""Pooling. Images are NHWC; the innermost loops run over the channels of one pixel."""

from __future__ import annotations

import numpy as np

from minidl.backend.cpu.fast.jit import inner, kernel
from minidl.backend.cpu.fast.team import address_of, job_of, run


@inner
def _max_pool_rows(who, part, first, last, x, window, stride, padding, dilation, y, index):
    """The output rows ``first`` to ``last`` (counted through all images): the largest value and its place in the window.

    Args:
        x: (N, H, W, C).
        window: (height, width). padding: (top, left).
        y, index: (N, OH, OW, C), to be filled.
    """
    _, height, width, c = x.shape
    _, out_height, out_width, _ = y.shape
    source, best, place = x.reshape(-1), y.reshape(-1), index.reshape(-1)
    taps = np.empty(c, x.dtype)  # places as numbers of x's size: vectors of one size go through a comparison together
    for row in range(first, last):
        image, top = row // out_height, row % out_height * stride[0] - padding[0]
        for column in range(out_width):
            left = column * stride[1] - padding[1]
            to = (row * out_width + column) * c
            b, p = best[to : to + c], place[to : to + c]
            started = False
            for i in range(window[0]):
                yy = top + i * dilation[0]
                if yy < 0 or yy >= height:
                    continue
                for j in range(window[1]):
                    xx = left + j * dilation[1]
                    if xx < 0 or xx >= width:
                        continue
                    start = ((image * height + yy) * width + xx) * c
                    s, tap = source[start : start + c], x.dtype.type(i * window[1] + j)
                    if not started:
                        started = True
                        for k in range(c):
                            b[k] = s[k]
                            taps[k] = tap
                    else:
                        for k in range(c):
                            v = s[k]
                            better = v > b[k] or v != v  # a NaN wins
                            b[k] = v if better else b[k]
                            taps[k] = tap if better else taps[k]
            for k in range(c):
                p[k] = index.dtype.type(taps[k])


@inner
def _clear(x):
    for k in range(x.size):
        x[k] = 0


@inner
def _max_pool_scatter(who, part, first, last, g, index, window, stride, padding, dilation, x):
    """Clear the images ``first`` to ``last`` of x, and send every g to the pixel that ``index`` names in its window."""
    _, height, width, c = x.shape
    _, out_height, out_width, _ = g.shape
    source, place, target = g.reshape(-1), index.reshape(-1), x.reshape(-1)
    _clear(target[first * height * width * c : last * height * width * c])
    for row in range(first * out_height, last * out_height):
        image, top = row // out_height, row % out_height * stride[0] - padding[0]
        for column in range(out_width):
            left = column * stride[1] - padding[1]
            start = (row * out_width + column) * c
            s, p = source[start : start + c], place[start : start + c]
            for i in range(window[0]):
                yy = top + i * dilation[0]
                if yy < 0 or yy >= height:
                    continue
                for j in range(window[1]):
                    xx = left + j * dilation[1]
                    if xx < 0 or xx >= width:
                        continue
                    to = ((image * height + yy) * width + xx) * c
                    t, tap = target[to : to + c], index.dtype.type(i * window[1] + j)
                    for k in range(c):
                        t[k] += s[k] if p[k] == tap else x.dtype.type(0)


@inner
def _add_windows(first, last, small, large, window, stride, padding, dilation, spread):
    """Add to each pixel in the rows ``first`` to ``last`` of small those of large in its window; if ``spread``, it to them."""
    _, height, width, c = large.shape
    _, out_height, out_width, _ = small.shape
    pixels, image_pixels = small.reshape(-1), large.reshape(-1)
    for row in range(first, last):
        image, top = row // out_height, row % out_height * stride[0] - padding[0]
        for column in range(out_width):
            left = column * stride[1] - padding[1]
            here = (row * out_width + column) * c
            a = pixels[here : here + c]
            for i in range(window[0]):
                yy = top + i * dilation[0]
                if yy < 0 or yy >= height:
                    continue
                for j in range(window[1]):
                    xx = left + j * dilation[1]
                    if xx < 0 or xx >= width:
                        continue
                    there = ((image * height + yy) * width + xx) * c
                    b = image_pixels[there : there + c]
                    if spread:
                        for k in range(c):
                            b[k] += a[k]
                    else:
                        for k in range(c):
                            a[k] += b[k]


@inner
def _sum_pool_rows(who, part, first, last, x, window, stride, padding, dilation, y):
    """The output rows ``first`` to ``last`` (counted through all images) of y (N, OH, OW, C): the sum of each window."""
    size = y.shape[2] * y.shape[3]
    _clear(y.reshape(-1)[first * size : last * size])
    _add_windows(first, last, y, x, window, stride, padding, dilation, False)


@inner
def _sum_pool_spread(who, part, first, last, g, window, stride, padding, dilation, x):
    """The images ``first`` to ``last`` of x (N, H, W, C): every g added to all the pixels of its window."""
    size = x.size // len(x)
    _clear(x.reshape(-1)[first * size : last * size])
    _add_windows(first * g.shape[1], last * g.shape[1], g, x, window, stride, padding, dilation, True)


_rows_job, _scatter_job = job_of(_max_pool_rows), job_of(_max_pool_scatter)
_sums_job, _spread_job = job_of(_sum_pool_rows), job_of(_sum_pool_spread)


@kernel
def max_pool_rows(team, *arguments):  # x, window, stride, padding, dilation, y, index
    run(team, _rows_job(arguments), address_of(arguments))


@kernel
def max_pool_scatter(team, *arguments):  # g, index, window, stride, padding, dilation, x
    run(team, _scatter_job(arguments), address_of(arguments))


@kernel
def sum_pool_rows(team, *arguments):  # x, window, stride, padding, dilation, y
    run(team, _sums_job(arguments), address_of(arguments))


@kernel
def sum_pool_spread(team, *arguments):  # g, window, stride, padding, dilation, x
    run(team, _spread_job(arguments), address_of(arguments))
