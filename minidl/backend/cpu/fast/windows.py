"""im2col and col2im: the windows of an image laid out as the rows of a matrix, and added back. Images are NHWC.

Arrays are indexed flat, with the offsets worked out by hand: choosing an element by four indices would cost more than the
copy. The innermost loops run over slices from 0 up, because only then does Numba know that no index is negative.
"""

from __future__ import annotations

from minidl.backend.cpu.fast.jit import kernel


@kernel
def unfold_rows(x, first, last, out_height, stride, padding, dilation, windows):
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


@kernel
def fold_images(windows, stride, padding, dilation, x):
    """The transpose of ``unfold_rows``: add the windows (N, OH, OW, KH, KW, C) of whole images to x, which it clears first."""
    n, out_height, out_width, kh, kw, c = windows.shape
    _, height, width, _ = x.shape
    source, target = windows.reshape(-1), x.reshape(-1)
    size = kh * kw * c
    target[:] = 0
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
