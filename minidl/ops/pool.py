"""Pooling: the largest or the mean value of each window."""

from __future__ import annotations

from typing import Any

from minidl.backend.reference.pool import Window
from minidl.ops.base import Op, at_place, backend_of_any, raw
from minidl.ops.conv import pair
from minidl.ops.joining import stack
from minidl.ops.linalg import einsum
from minidl.ops.reduction import max as max_
from minidl.ops.reduction import mean
from minidl.ops.shape import reshape, squeeze, unsqueeze
from minidl.tensor import Tensor


class MaxPool2d(Op):
    """The largest value of each window; the gradient goes to the first of the largest."""

    frees = ("index",)

    def __init__(self, window):
        self.window = window

    def forward(self, xp, x):
        y, self.index = xp.max_pool2d(x, self.window)
        return y

    def vjp(self, g):
        return MaxPool2dScatter(self.window, self.index)(g)

    def samples(draw):
        x, options = _draw_pooling(draw, distinct=True)
        return (x,), lambda x: max_pool2d(x, **options)


class MaxPool2dScatter(Op):
    """Every value sent to the pixel of its window that ``index`` names: the gradient of ``MaxPool2d``."""

    def __init__(self, window, index):
        self.window, self.index = window, index

    def forward(self, xp, g):
        return xp.max_pool2d_scatter(g, self.index, self.window)

    def vjp(self, gx):
        return MaxPool2dGather(self.window, self.index)(gx)

    def samples(draw):
        window, index, shape = _draw_positions(draw)
        return (draw.array(shape),), lambda g: MaxPool2dScatter(window, _here(index, g))(g)


class MaxPool2dGather(Op):
    """From every window the pixel that ``index`` names: the transpose of ``MaxPool2dScatter``."""

    def __init__(self, window, index):
        self.window, self.index = window, index

    def forward(self, xp, x):
        return xp.max_pool2d_gather(x, self.index, self.window)

    def vjp(self, g):
        return MaxPool2dScatter(self.window, self.index)(g)

    def samples(draw):
        window, index, shape = _draw_positions(draw)
        return (draw.array((*shape[:2], *window.size)),), lambda x: MaxPool2dGather(window, _here(index, x))(x)


class SumPool2d(Op):
    """The sum of each window."""

    def __init__(self, window):
        self.window = window

    def forward(self, xp, x):
        return xp.sum_pool2d(x, self.window)

    def vjp(self, g):
        return SumPool2dGrad(self.window)(g)

    def samples(draw):
        x, options = _draw_pooling(draw)
        options.pop("dilation")
        if draw.flag():
            options.update(draw.choice([{"count_include_pad": False}, {"divisor_override": 3}]))
        return (x,), lambda x: avg_pool2d(x, **options)


class SumPool2dGrad(Op):
    """Every value added to all the pixels of its window: the gradient of ``SumPool2d``."""

    def __init__(self, window):
        self.window = window

    def forward(self, xp, g):
        return xp.sum_pool2d_grad(g, self.window)

    def vjp(self, gx):
        return SumPool2d(self.window)(gx)

    def samples(draw):
        window, _, shape = _draw_positions(draw)
        return (draw.array(shape),), lambda g: SumPool2dGrad(window)(g)


def _draw_pooling(draw: Any, distinct: bool = False) -> tuple[Any, dict[str, Any]]:
    kernel = (draw.integer(1, 3), draw.integer(1, 3))
    dilation = draw.integer(1, 2) if distinct else 1
    padding = (draw.integer(0, kernel[0] // 2), draw.integer(0, kernel[1] // 2))
    size = [dilation * (k - 1) + 1 + draw.integer(0, 3) for k in kernel]
    x = draw.array((draw.integer(1, 2), draw.integer(1, 2), *size), distinct=distinct)
    stride = draw.choice([None, 1, 2, (2, 1)])
    return x, {
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "ceil_mode": draw.flag(),
    }


def _draw_positions(draw: Any) -> tuple[Window, Any, tuple[int, ...]]:
    """A window without padding, an index into it, and the shape of the pooled values."""
    x, options = _draw_pooling(draw)
    window = _window("draw", x, options["kernel_size"], options["stride"], 0, 1, False)
    shape = (*x.shape[:2], *window.out)
    return window, draw.indices(shape, window.kernel[0] * window.kernel[1]), shape


def _here(array: Any, x: Any) -> Any:
    return backend_of_any(x).from_numpy(array)


def _window(name: str, x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Window:
    """Work out the geometry.

    Raises:
        RuntimeError: if there would be no output pixel, or the padding is more than half the kernel.
    """
    kernel, padding, dilation = pair(kernel, "kernel_size"), pair(padding, "padding"), pair(dilation, "dilation")
    stride = kernel if stride in (None, (), []) else pair(stride, "stride")
    size = tuple(x.shape[-2:])
    if min(kernel) < 1 or min(stride) < 1 or min(dilation) < 1:
        raise RuntimeError(
            f"{name}: kernel_size, stride and dilation must be positive, got {kernel}, {stride}, {dilation}"
        )
    out, sides = [], []
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        if p < 0 or p > ((k - 1) * d + 1) // 2:
            raise RuntimeError(
                f"{name}: pad should be at most half of effective kernel size, but got pad={p}, kernel_size={k} and dilation={d}"
            )
        span = n + 2 * p - d * (k - 1) - 1
        count = (-(-span // s) if ceil_mode else span // s) + 1
        if ceil_mode and (count - 1) * s >= n + p:  # the last window must start inside the image or its left border
            count -= 1
        if (span < 0 and not ceil_mode) or count < 1:
            raise RuntimeError(
                f"{name}: Given input size: {tuple(x.shape)}. Calculated output size would be {count} along one axis. "
                f"Output size is too small (kernel {kernel}, stride {stride}, padding {padding}){at_place()}"
            )
        out.append(count)
        needed = (count - 1) * s + d * (k - 1) + 1
        sides.append((p, max(p, needed - n - p)))
    return Window(size, tuple(out), kernel, stride, tuple(sides), dilation)  # type: ignore[arg-type]


def _batched(name: str, input: Any) -> bool:
    if input.ndim not in (3, 4):
        raise RuntimeError(f"{name}: Expected 3D or 4D (batch mode) tensor, got shape {tuple(input.shape)}{at_place()}")
    return input.ndim == 4


def max_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of each window of (N, C, H, W) or (C, H, W).

    Args:
        kernel_size: size of the window: one number or (height, width).
        stride: step between windows (default: ``kernel_size``, so that they do not overlap).
        padding: border of −∞ added on each side, at most half the window.
        dilation: distance between the pixels of a window.
        ceil_mode: also pool a last, incomplete window.
        return_indices: also return where in its H × W plane each value stood (int64).
    """
    if not _batched("max_pool2d", input):
        result = max_pool2d(unsqueeze(input, 0), kernel_size, stride, padding, dilation, ceil_mode, return_indices)
        return tuple(squeeze(r, 0) for r in result) if return_indices else squeeze(result, 0)
    window = _window("max_pool2d", input, kernel_size, stride, padding, dilation, ceil_mode)
    op = MaxPool2d(window)
    y = op(input)
    if not return_indices:
        return y
    xp, index = backend_of_any(input), op.index.astype("int64")
    rows = xp.arange(window.out[0]).reshape((-1, 1)) * window.stride[0] + index // window.kernel[1] * window.dilation[0]
    columns = xp.arange(window.out[1]) * window.stride[1] + index % window.kernel[1] * window.dilation[1]
    flat = (rows - window.padding[0][0]) * window.size[1] + columns - window.padding[1][0]
    return y, Tensor.wrap(flat)


def avg_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The mean value of each window of (N, C, H, W) or (C, H, W).

    Args:
        kernel_size, stride, padding, ceil_mode: as for ``max_pool2d``; the border is zeros.
        count_include_pad: divide by the size of the window, border included; else by the number of real pixels in it.
        divisor_override: divide by this number instead.
    """
    if not _batched("avg_pool2d", input):
        result = avg_pool2d(
            unsqueeze(input, 0), kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        )
        return squeeze(result, 0)
    window = _window("avg_pool2d", input, kernel_size, stride, padding, 1, ceil_mode)
    total = SumPool2d(window)(input)
    if divisor_override is not None:
        if divisor_override == 0:
            raise RuntimeError("divisor must be not zero")
        return total * (1 / divisor_override)
    rows, columns = (_counts(window, i, pair(padding, "padding")[i] if count_include_pad else 0) for i in range(2))
    if len(set(rows)) == 1 and len(set(columns)) == 1:
        return total * (1 / (rows[0] * columns[0]))
    xp = backend_of_any(input)
    inverse = [[1 / (r * c) for c in columns] for r in rows]
    return total * xp.asarray(inverse, dtype=raw(input).dtype)


def _counts(window: Window, axis: int, border: int) -> list[int]:
    """How many pixels of each window along one axis lie in the image, or in a border of the given width around it."""
    counts = []
    for i in range(window.out[axis]):
        start = i * window.stride[axis] - window.padding[axis][0]
        stop = start + window.kernel[axis]
        counts.append(min(stop, window.size[axis] + border) - max(start, -border))
    return counts


def _cells(size: int, out: int) -> list[tuple[int, int]]:
    """The bounds of ``out`` cells, as even as possible, that cover ``size`` pixels (they may overlap by one)."""
    return [(i * size // out, -(-(i + 1) * size // out)) for i in range(out)]


def _check_adaptive(name: str, input: Any) -> None:
    if input.ndim < 3:
        raise ValueError(f"{name}: Input dimension should be at least 3, got shape {tuple(input.shape)}{at_place()}")
    _batched(name, input)


def _adaptive_size(output_size: Any, size: tuple[int, ...]) -> tuple[int, int]:
    wanted = (output_size,) * 2 if isinstance(output_size, int) or output_size is None else tuple(output_size)
    if len(wanted) != 2 or any(w is not None and w < 0 for w in wanted):
        raise RuntimeError(f"adaptive pooling: output_size must be one or two non-negative numbers, got {output_size}")
    return tuple(n if w is None else int(w) for w, n in zip(wanted, size, strict=True))  # type: ignore[return-value]


def adaptive_avg_pool2d(input: Any, output_size: Any) -> Any:
    """The means of ``output_size`` cells, as even as possible, that cover the image; (N, C, H, W) → (N, C, OH, OW)."""
    _check_adaptive("adaptive_avg_pool2d", input)
    size = tuple(input.shape[-2:])
    out = _adaptive_size(output_size, size)
    if out == (1, 1):
        return mean(input, (-2, -1), keepdim=True)
    if input.ndim == 4 and all(o and n % o == 0 for n, o in zip(size, out, strict=True)):
        return avg_pool2d(input, tuple(n // o for n, o in zip(size, out, strict=True)))
    # Uneven cells: the mean over each is a product with a matrix of weights, one for the rows and one for the columns.
    xp = backend_of_any(input)
    weights = []
    for n, o in zip(size, out, strict=True):
        rows = [[1 / (stop - start) if start <= i < stop else 0.0 for i in range(n)] for start, stop in _cells(n, o)]
        weights.append(xp.asarray(rows, dtype=raw(input).dtype).reshape((o, n)))
    return einsum("...hw,oh,pw->...op", input, *weights)


def adaptive_max_pool2d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest values of ``output_size`` cells, as even as possible, that cover the image."""
    _check_adaptive("adaptive_max_pool2d", input)
    size = tuple(input.shape[-2:])
    out = _adaptive_size(output_size, size)
    lead = tuple(input.shape[:-2])
    values, indices = [], []
    for top, bottom in _cells(size[0], out[0]):
        for left, right in _cells(size[1], out[1]):
            cell = reshape(input[..., top:bottom, left:right], (*lead, (bottom - top) * (right - left)))
            found = max_(cell, -1)
            values.append(found.values)
            width = right - left
            where_ = raw(found.indices)
            indices.append((where_ // width + top) * size[1] + where_ % width + left)
    y = reshape(stack(values, -1), (*lead, *out))
    if not return_indices:
        return y
    xp = backend_of_any(input)
    return y, Tensor.wrap(xp.stack(indices, axis=-1).reshape((*lead, *out)))
