"""im2col and col2im: the windows of an image laid out as the rows of a matrix, and added back. Images are NHWC.

Arrays are indexed flat, with the offsets worked out by hand: choosing an element by four indices would cost more than the
copy. The innermost loops run over slices from 0 up, because only then does Numba know that no index is negative.
"""

from __future__ import annotations

import numpy as np

from minidl.backend.cpu.fast.emit import LANES
from minidl.backend.cpu.fast.gemm import add_matmul, matmul_strips
from minidl.backend.cpu.fast.jit import inner, kernel
from minidl.backend.cpu.fast.team import address_of, job_of, run


@inner
def _unfold(x, first, last, out_height, stride, padding, dilation, windows):
    """Copy the windows of the output rows ``first`` to ``last`` (counted through all images).

    Args:
        x: (N, H, W, C).
        stride, dilation: (vertical, horizontal). padding: (top, left), a border of zeros.
        windows: (last − first, OW, KH, KW, C), to be filled.
    """
    _, height, width, c = x.shape
    _, out_width, kh, kw, _ = windows.shape
    source, target = x.reshape(-1), windows.reshape(-1)
    size = kh * kw * c  # of one window
    for row in range(first, last):
        image, top = row // out_height, row % out_height * stride[0] - padding[0]
        line = (row - first) * out_width * size
        for i in range(kh):
            y = top + i * dilation[0]
            if y < 0 or y >= height:
                for column in range(out_width):
                    to = line + column * size + i * kw * c
                    for k in range(kw * c):
                        target[to + k] = 0
                continue
            start = (image * height + y) * width * c
            for j in range(kw):
                shift = j * dilation[1] - padding[1]
                low = min(
                    out_width, max(0, -(shift // stride[1]))
                )  # the first and last columns that meet the image here
                high = max(low, min(out_width, (width - 1 - shift) // stride[1] + 1))
                to = line + (i * kw + j) * c
                for column in range(low):
                    for k in range(c):
                        target[to + column * size + k] = 0
                for column in range(high, out_width):
                    for k in range(c):
                        target[to + column * size + k] = 0
                here = start + shift * c
                if c == 1:
                    for column in range(low, high):
                        target[to + column * size] = source[here + column * stride[1]]
                elif c == 3:
                    for column in range(low, high):
                        a, b = to + column * size, here + column * stride[1] * 3
                        target[a], target[a + 1], target[a + 2] = source[b], source[b + 1], source[b + 2]
                else:
                    for column in range(low, high):
                        a, b = target[to + column * size :], source[here + column * stride[1] * c :]
                        for k in range(c):
                            a[k] = b[k]


@inner
def _fold(windows, stride, padding, dilation, x):
    """The transpose of ``_unfold``: add the windows (N, OH, OW, KH, KW, C) of whole images to x, which it clears first."""
    n, out_height, out_width, kh, kw, c = windows.shape
    _, height, width, _ = x.shape
    source, target = windows.reshape(-1), x.reshape(-1)
    size = kh * kw * c
    for k in range(target.size):
        target[k] = 0
    for row in range(n * out_height):
        image, top = row // out_height, row % out_height * stride[0] - padding[0]
        line = row * out_width * size
        for i in range(kh):
            y = top + i * dilation[0]
            if y < 0 or y >= height:
                continue
            start = (image * height + y) * width * c
            for j in range(kw):
                shift = j * dilation[1] - padding[1]
                low = min(out_width, max(0, -(shift // stride[1])))
                high = max(low, min(out_width, (width - 1 - shift) // stride[1] + 1))
                for column in range(low, high):
                    a = target[start + (column * stride[1] + shift) * c :]
                    b = source[line + column * size + (i * kw + j) * c :]
                    for k in range(c):
                        a[k] += b[k]


@kernel
def unfold_rows(*arguments):  # see _unfold
    _unfold(*arguments)


@kernel
def fold_images(*arguments):  # see _fold
    _fold(*arguments)


# Bodies: what one part does, see ``team.py``. ``geometry`` is (stride, padding, dilation); windows are for each thread.


@inner
def _rows(x, a, b, height, width, size, geometry, plain, windows):
    """The windows of the output rows a to b as the rows of a matrix, ``size`` numbers each; ``plain``: pixels are windows."""
    if plain:
        return x.reshape(-1, size)[a * width : b * width]
    stride, padding, dilation = geometry
    _unfold(x, a, b, height, stride, padding, dilation, windows)
    return windows.reshape(-1, size)[: (b - a) * width]


@inner
def _convolve(who, part, first, last, x, strips, start, geometry, plain, step, windows, y):
    """The output rows ``first`` to ``last`` (through all images), ``step`` at a time; ``plain``: every pixel is a window."""
    _, height, width, o = y.shape
    size = strips.shape[1]
    lines = y.reshape(-1, o)
    for a in range(first, last, step):
        b = min(a + step, last)
        rows = _rows(x, a, b, height, width, size, geometry, plain, windows[who])
        matmul_strips(rows, strips, start, lines[a * width : b * width])


@inner
def _spread(who, part, first, last, g, strips, start, geometry, plain, step, windows, x):
    """The gradient for the images ``first`` to ``last`` of x, ``step`` at a time."""
    o = g.shape[3]
    stride, padding, dilation = geometry
    for a in range(first, last, step):
        b = min(a + step, last)
        rows = g[a:b].reshape(-1, o)
        if plain:
            matmul_strips(rows, strips, start, x[a:b].reshape(-1, x.shape[3]))
        else:
            here = windows[who, : b - a]
            matmul_strips(rows, strips, start, here.reshape(len(rows), -1))
            _fold(here, stride, padding, dilation, x[a:b])


@inner
def _correlate(who, part, first, last, g, x, geometry, plain, turned, step, windows, totals):
    """totals[part] = Σ windowsᵀ g over the output rows ``first`` to ``last``, or, if ``turned``, its transpose."""
    _, height, width, o = g.shape
    size = totals.shape[1] * totals.shape[2] // o
    cotangents, total = g.reshape(-1, o), totals[part]
    for i in range(total.shape[0]):
        for k in range(total.shape[1]):
            total[i, k] = 0
    for a in range(first, last, step):
        b = min(a + step, last)
        rows = _rows(x, a, b, height, width, size, geometry, plain, windows[who])
        here = cotangents[a * width : b * width]
        if turned:
            add_matmul(here, rows, total)
        else:
            add_matmul(rows, here, total)


@inner
def _weight(who, part, first, last, totals, channels, turned, weight):
    """Output channels, 16 for each of ``first`` to ``last``: the sums of all parts, in the order of a weight."""
    o = totals.shape[1] if turned else totals.shape[2]
    size = totals.shape[2] if turned else totals.shape[1]
    taps = size // channels
    sums = np.zeros(LANES, totals.dtype)
    if turned:
        for k in range(first * LANES, min(last * LANES, o)):
            for t in range(taps):
                to = weight[k * size + t :]
                for p in range(len(totals)):
                    line = totals[p, k, t * channels : (t + 1) * channels]
                    for i in range(channels):
                        to[i * taps] = line[i] if p == 0 else to[i * taps] + line[i]
        return
    for k in range(first * LANES, min(last * LANES, o), LANES):
        count = min(LANES, o - k)
        for t in range(taps):
            for i in range(channels):
                for p in range(len(totals)):
                    line = totals[p, t * channels + i, k : k + count]
                    for lane in range(count):
                        sums[lane] = line[lane] if p == 0 else sums[lane] + line[lane]
                to = weight[k * size + i * taps + t :]
                for lane in range(count):
                    to[lane * size] = sums[lane]


_weight_job = job_of(_weight)
_convolve_job, _spread_job, _correlate_job = job_of(_convolve), job_of(_spread), job_of(_correlate)


@kernel
def convolve_windows(team, *arguments):  # x, strips, start, geometry, plain, step, windows, y
    run(team, _convolve_job(arguments), address_of(arguments))


@kernel
def spread_windows(team, *arguments):  # g, strips, start, geometry, plain, step, windows, x
    run(team, _spread_job(arguments), address_of(arguments))


@kernel
def correlate_windows(team, *arguments):  # g, x, geometry, plain, turned, step, windows, totals
    run(team, _correlate_job(arguments), address_of(arguments))


@kernel
def sum_weight(team, *arguments):
    """The parts' totals, (parts, KH · KW · C, O) or if ``turned`` (parts, O, KH · KW · C), as one weight (O · C · KH · KW).

    Arguments: totals, channels, turned, weight. The team's length is ⌈O / 16⌉.
    """
    run(team, _weight_job(arguments), address_of(arguments))
