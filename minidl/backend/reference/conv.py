"""Convolution and its two gradients as matrix products over unfolded windows (im2col).

Shapes are NCHW; memory is channels-last: the result of a convolution is a transposed view of an NHWC array, and so is its
input when it comes from another convolution. Then every window copy below moves whole runs of channels, and the products
need no further transposition.
"""

from __future__ import annotations

from typing import Any

from minidl.backend.reference import depthwise

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]  # ((top, bottom), (left, right))


def output_size(size: int, kernel: int, stride: int, padding: Pair, dilation: int) -> int:
    """Number of positions of a window of ``kernel`` taps, ``dilation`` apart, along a padded axis."""
    return (size + padding[0] + padding[1] - dilation * (kernel - 1) - 1) // stride + 1


def output_sizes(size: Any, kernel: Any, stride: Pair, padding: Padding, dilation: Pair) -> Pair:
    """The same along both axes: how many rows and columns a convolution's result has."""
    rows, columns = map(output_size, size, kernel, stride, padding, dilation)
    return rows, columns


def taps(kernel: Pair, stride: Pair, dilation: Pair, out: Pair) -> list[tuple[int, int, slice, slice]]:
    """For every kernel position (i, j): the rows and columns of the padded image that it meets, one per output pixel."""
    return [
        (
            i,
            j,
            slice(i * dilation[0], i * dilation[0] + stride[0] * (out[0] - 1) + 1, stride[0]),
            slice(j * dilation[1], j * dilation[1] + stride[1] * (out[1] - 1) + 1, stride[1]),
        )
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]


class ConvKernels:
    """Reference kernels for 2-d convolution."""

    xp: Any
    blocks: Any  # im2col copies every pixel once per kernel position: for a few images at a time, it stays in the cache
    each: Any
    total: Any
    _after: Any

    def pad_nhwc(self, x: Any, padding: Padding, value: float = 0.0) -> Any:
        """Return an NHWC array with a border of ``value``; the array itself when there is no border."""
        (top, bottom), (left, right) = padding
        if not (top or bottom or left or right):
            return x
        n, h, w, c = x.shape
        padded = self.xp.full((n, h + top + bottom, w + left + right, c), value, dtype=x.dtype)
        padded[:, top : top + h, left : left + w] = x
        return padded

    def unfold_nhwc(self, x: Any, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair, out: Pair) -> Any:
        """im2col: the windows of an NHWC array with a border of zeros, as an array (N, OH, OW, KH, KW, C)."""
        x = self.pad_nhwc(x, padding)
        n, _, _, c = x.shape
        windows = self.xp.empty((n, *out, *kernel, c), dtype=x.dtype)
        for i, j, rows, cols in taps(kernel, stride, dilation, out):
            windows[:, :, :, i, j] = x[:, rows, cols]
        return windows

    def fold_nhwc(self, windows: Any, size: Pair, stride: Pair, padding: Padding, dilation: Pair) -> Any:
        """col2im, the transpose of ``unfold_nhwc``: add every window back to where it was taken from, (N, *size, C)."""
        n, oh, ow, kh, kw, c = windows.shape
        (top, bottom), (left, right) = padding
        x = self.xp.zeros((n, size[0] + top + bottom, size[1] + left + right, c), dtype=windows.dtype)
        for i, j, rows, cols in taps((kh, kw), stride, dilation, (oh, ow)):
            x[:, rows, cols] += windows[:, :, :, i, j]
        return x[:, top : top + size[0], left : left + size[1]]

    def conv2d(
        self, x: Any, weight: Any, stride: Pair, padding: Padding, dilation: Pair, groups: int, bias: Any = None,
        then: str | None = None,
    ) -> Any:  # fmt: skip
        """Cross-correlation of x (N, C, H, W) with weight (O, C/groups, KH, KW): (N, O, OH, OW), channels-last memory.

        ``bias`` (O) or None is added; ``then`` names a kernel that is applied to the result: "relu".
        """
        xp = self.xp
        n, c, h, w = x.shape
        o, _, kh, kw = weight.shape
        out = output_sizes((h, w), (kh, kw), stride, padding, dilation)
        matrix = _weight_matrix(weight, groups)  # (G, KH·KW·C/G, O/G)
        y = xp.empty((n, *out, o), dtype=x.dtype)

        def block(images: slice) -> None:
            nhwc = x[images].transpose(0, 2, 3, 1)
            if groups == c == o:
                padded = self.pad_nhwc(nhwc, padding)
                depthwise.forward(padded, weight, taps((kh, kw), stride, dilation, out), y[images])
            else:
                columns = self._columns(nhwc, (kh, kw), stride, padding, dilation, out, groups)
                y[images] = _merge_groups(_products(xp, columns, matrix)).reshape(-1, *out, o)
            if bias is not None:
                y[images] += bias
            self._after(then, y[images])

        self.each(block, self.blocks(n, out[0] * out[1] * kh * kw * c * x.itemsize))
        return y.transpose(0, 3, 1, 2)

    def conv2d_input_grad(
        self, g: Any, weight: Any, size: Pair, stride: Pair, padding: Padding, dilation: Pair, groups: int
    ) -> Any:
        """Gradient of ``conv2d`` with respect to its input of spatial ``size``, for the cotangent g (N, O, OH, OW)."""
        xp = self.xp
        n, o, oh, ow = g.shape
        _, cg, kh, kw = weight.shape
        (top, bottom), (left, right) = padding
        padded_size = (size[0] + top + bottom, size[1] + left + right)
        matrix = _weight_matrix(weight, groups).transpose(0, 2, 1)
        x = xp.empty((n, *size, cg * groups), dtype=g.dtype)

        def block(images: slice) -> None:
            cotangent = g[images].transpose(0, 2, 3, 1)
            if groups == o and cg == 1:
                padded = xp.zeros((len(cotangent), *padded_size, o), dtype=g.dtype)
                depthwise.input_grad(cotangent, weight, taps((kh, kw), stride, dilation, (oh, ow)), padded)
                x[images] = padded[:, top : top + size[0], left : left + size[1]]
            else:
                rows = _split_groups(cotangent.reshape(-1, o), groups)
                windows = _products(xp, rows, matrix).reshape(groups, -1, oh, ow, kh, kw, cg)
                windows = windows.transpose(1, 2, 3, 4, 5, 0, 6).reshape(-1, oh, ow, kh, kw, groups * cg)
                x[images] = self.fold_nhwc(windows, size, stride, padding, dilation)

        self.each(block, self.blocks(n, oh * ow * kh * kw * cg * groups * g.itemsize))
        return x.transpose(0, 3, 1, 2)

    def conv2d_weight_grad(
        self, g: Any, x: Any, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair, groups: int
    ) -> Any:
        """Gradient of ``conv2d`` with respect to its weight (O, C/groups, KH, KW), for the cotangent g (N, O, OH, OW)."""
        xp = self.xp
        n, o, oh, ow = g.shape
        c = x.shape[1]

        def block(images: slice) -> Any:
            nhwc = x[images].transpose(0, 2, 3, 1)
            if groups == c == o:
                padded = self.pad_nhwc(nhwc, padding)
                part = xp.empty((o, 1, *kernel), dtype=g.dtype)
                met = taps(kernel, stride, dilation, (oh, ow))
                depthwise.weight_grad(g[images].transpose(0, 2, 3, 1), padded, met, part)
                return part.reshape(o, -1, 1)
            columns = self._columns(nhwc, kernel, stride, padding, dilation, (oh, ow), groups)
            rows = _split_groups(g[images].transpose(0, 2, 3, 1).reshape(-1, o), groups)
            return _products(xp, columns.transpose(0, 2, 1), rows)

        shape = (groups, kernel[0] * kernel[1] * c // groups, o // groups)
        total = self.total(block, self.blocks(n, oh * ow * kernel[0] * kernel[1] * c * g.itemsize), shape, g.dtype)
        weight = total.reshape(groups, *kernel, c // groups, o // groups).transpose(0, 4, 3, 1, 2)
        return weight.reshape(o, c // groups, *kernel)

    def _columns(
        self, x: Any, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair, out: Pair, groups: int
    ) -> Any:
        """The windows of an NHWC array as one matrix per group: (G, N·OH·OW, KH·KW·C/G)."""
        n, _, _, c = x.shape
        pixels = kernel == (1, 1) and stride == (1, 1) and padding == ((0, 0), (0, 0)) and x.shape[1:3] == tuple(out)
        if pixels:  # every one is its own window
            windows = x
        else:
            windows = self.unfold_nhwc(x, kernel, stride, padding, dilation, out)
        taps_count = kernel[0] * kernel[1]
        if groups == 1:
            return windows.reshape(1, n * out[0] * out[1], taps_count * c)
        windows = windows.reshape(n * out[0] * out[1], taps_count, groups, c // groups)
        return windows.transpose(2, 0, 1, 3).reshape(groups, n * out[0] * out[1], taps_count * (c // groups))


def _products(xp: Any, a: Any, b: Any) -> Any:
    """(G, R, K) times (G, K, O). One product goes as a matrix product: CuPy copies what is transposed in stacks of them."""
    return xp.matmul(a[0], b[0])[None] if len(a) == 1 else xp.matmul(a, b)


def _weight_matrix(weight: Any, groups: int) -> Any:
    """(O, C/G, KH, KW) as one matrix per group, its rows ordered like the columns of im2col: (G, KH·KW·C/G, O/G)."""
    o, cg, kh, kw = weight.shape
    return (
        weight.reshape(groups, o // groups, cg, kh, kw)
        .transpose(0, 3, 4, 2, 1)
        .reshape(groups, kh * kw * cg, o // groups)
    )


def _split_groups(rows: Any, groups: int) -> Any:
    """(R, O) as (G, R, O/G)."""
    return rows.reshape(rows.shape[0], groups, rows.shape[1] // groups).transpose(1, 0, 2)


def _merge_groups(product: Any) -> Any:
    """(G, R, O/G) as (R, O)."""
    groups, rows, width = product.shape
    return product[0] if groups == 1 else product.transpose(1, 0, 2).reshape(rows, groups * width)
