"""How arrays are resized: Pillow's algorithm as products with matrices of weights, for a whole batch at once.

A new pixel is a weighted mean of old pixels along one axis, and then along the other. The weights are a *filter* around the
place in the old image where the new pixel's centre lies; if the image shrinks, the filter is stretched by the same factor, so
that every old pixel counts (antialiasing). Pillow rounds images of 8 bits to whole numbers after each of the two passes, and
rounds the weights to multiples of 2**-22. The products here are then sums of whole multiples of 2**-22 in float64, which holds
them exactly, in whatever order they are added: so the result is Pillow's, bit for bit, on any number of threads and any device.

Few old pixels matter to a new one. So new pixels are taken in runs of ``RUN``, and each run is multiplied with the *band* of
old pixels that it needs. In a batch of crops of different sizes, the band begins at another place in each image, and has
weights of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np
import PIL

from minidl.backend import Backend
from minidl.backend.cpu.threads import single_blas
from minidl.transforms.interpolation import InterpolationMode

RUN = 64  # new pixels for each band
_BITS = 22  # of a weight behind the point, for images of 8 bits
_PILLOW = int(PIL.__version__.split(".")[0])
Run = tuple[slice, np.ndarray, np.ndarray]  # new pixels (B), where their bands begin (N,), weights (N, band, B)
DeviceRun = tuple[slice, np.ndarray, Any]  # the same, with the weights where the images are


# -- filters -----------------------------------------------------------------------------------------------------------


def _box(x: np.ndarray) -> np.ndarray:
    return ((x > -0.5) & (x <= 0.5)).astype(np.float64)


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _hamming(x: np.ndarray) -> np.ndarray:
    a, b = float(np.float32(0.54)), float(np.float32(0.46))  # Pillow has these two in single precision
    window = np.sinc(x) * (a + b * np.cos(np.pi * x))
    return np.where(np.abs(x) < 1.0, window, 0.0)


def _cubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    x = np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _lanczos(x: np.ndarray) -> np.ndarray:
    return np.where((x >= -3.0) & (x < 3.0), np.sinc(x) * np.sinc(x / 3.0), 0.0)


_FILTERS: dict[InterpolationMode, tuple[float, Callable[[np.ndarray], np.ndarray]]] = {
    InterpolationMode.BOX: (0.5, _box),
    InterpolationMode.BILINEAR: (1.0, _triangle),
    InterpolationMode.HAMMING: (1.0, _hamming),
    InterpolationMode.BICUBIC: (2.0, _cubic),
    InterpolationMode.LANCZOS: (3.0, _lanczos),
}


# -- weights -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Axis:
    """What is to become of one axis: of its ``length`` old pixels, ``size`` from ``start`` on become ``out`` new ones.

    ``start`` and ``size`` have one value for each image, (N,), or one for all, (1,). They lie within the axis.
    """

    length: int
    start: np.ndarray
    size: np.ndarray
    out: int

    @classmethod
    def whole(cls, length: int, out: int) -> Axis:
        """An axis that is resized as a whole."""
        return cls(length, np.zeros(1, np.int64), np.full(1, length), out)

    def of(self, images: np.ndarray) -> Axis:
        """The axis of some images of the batch."""
        return Axis(self.length, self.start[images], self.size[images], self.out)

    @property
    def idle(self) -> bool:
        """Whether nothing changes."""
        return self.out == self.length and bool((self.size == self.length).all())


def _runs(axis: Axis, mode: InterpolationMode, antialias: bool, dtype: np.dtype, exact: bool) -> list[Run]:
    if len(axis.start) == 1 and axis.size[0] == axis.length:
        return _whole_runs(axis.length, axis.out, mode, antialias, dtype, exact)
    return _make_runs(axis, mode, antialias, dtype, exact)


@lru_cache(maxsize=32)
def _whole_runs(
    length: int, out: int, mode: InterpolationMode, antialias: bool, dtype: np.dtype, exact: bool
) -> list[Run]:
    return _make_runs(Axis.whole(length, out), mode, antialias, dtype, exact)


def _make_runs(axis: Axis, mode: InterpolationMode, antialias: bool, dtype: np.dtype, exact: bool) -> list[Run]:
    scale = axis.size / axis.out  # old pixels for each new one
    places, weights = _taps(axis, scale, mode, antialias)
    if exact:
        weights = np.trunc(weights * 2.0**_BITS + np.copysign(0.5, weights)) * 2.0**-_BITS
    places += axis.start[:, None, None]
    # The band is as long as the whole axis would need, so that an image's sums do not depend on the crops beside it.
    widest = axis.length / axis.out
    reach = _FILTERS[mode][0] * (max(widest, 1.0) if antialias else 1.0)
    band = min(ceil((min(RUN, axis.out) - 1) * widest + 2 * reach) + 2, axis.length)
    result = []
    image = np.arange(len(scale))[:, None, None]
    for first in range(0, axis.out, RUN):
        new = slice(first, min(first + RUN, axis.out))
        begin = np.minimum(places[:, 0, first], axis.length - band)
        dense = np.zeros((len(scale), band, new.stop - first), dtype)
        column = np.arange(new.stop - first)
        np.add.at(dense, (image, places[:, :, new] - begin[:, None, None], column), weights[:, :, new])
        result.append((new, begin, dense))
    return result


def _taps(axis: Axis, scale: np.ndarray, mode: InterpolationMode, antialias: bool) -> tuple[np.ndarray, np.ndarray]:
    """Which old pixels matter to each new one, from the crop's beginning, and their weights: both (N, taps, out)."""
    size = axis.size[:, None, None]
    centre = (np.arange(axis.out) + 0.5) * scale[:, None, None]
    if mode is InterpolationMode.BICUBIC and not antialias:
        # PyTorch's has another a than Pillow's, and repeats the pixels at the edge beyond it.
        places = np.floor(centre - 0.5) + np.arange(-1, 3)[:, None]
        weights = _cubic(centre - 0.5 - places, a=-0.75)
    else:
        support, filter_ = _FILTERS[mode]
        stretch = np.maximum(scale[:, None, None], 1.0) if antialias else 1.0
        low = np.maximum(np.floor(centre - support * stretch + 0.5), 0)
        high = np.minimum(np.floor(centre + support * stretch + 0.5), size)
        taps = ceil(
            2 * support * np.max(stretch)
        )  # by rounding there may be one more between low and high; its weight is 0
        places = low + np.arange(taps)[:, None]
        weights = filter_((places - centre + 0.5) * (1.0 / stretch)) * (places < high)
        total = weights.sum(1, keepdims=True)  # what lies beyond the edge is left out, and the others make up for it
        np.divide(weights, total, out=weights, where=total != 0)
    return np.clip(places, 0, size - 1).astype(np.int64), weights


# -- images ------------------------------------------------------------------------------------------------------------


def resample(xp: Backend, images: Any, rows: Axis, columns: Axis, mode: InterpolationMode, antialias: bool) -> Any:
    """Resize a batch (N, C, H, W) to (N, C, rows.out, columns.out), in its dtype.

    ``antialias`` matters to BILINEAR and BICUBIC, as in torchvision; the other filters always have it. Without it these two
    are what ``torch.nn.functional.interpolate`` computes with ``align_corners=False``.

    Raises:
        TypeError: for images that are neither of integers nor of floating point, unless the mode is NEAREST.
    """
    if rows.idle and columns.idle:
        return images
    if mode in (InterpolationMode.NEAREST, InterpolationMode.NEAREST_EXACT):
        return _nearest(xp, images, rows, columns)
    if images.dtype.kind not in "iuf":
        raise TypeError(f"resize: {images.dtype} images can be resized with NEAREST only, not with {mode}")
    antialias = antialias or mode not in (InterpolationMode.BILINEAR, InterpolationMode.BICUBIC)
    first = _down_first(rows, columns)
    if first.all() or not first.any():
        return _resample(xp, images, rows, columns, mode, antialias, bool(first[0]))
    out = xp.empty((*images.shape[:2], rows.out, columns.out), dtype=images.dtype)
    for order in (False, True):
        some = np.flatnonzero(first == order)
        index = xp.from_numpy(some)
        out[index] = _resample(xp, images[index], rows.of(some), columns.of(some), mode, antialias, order)
    return out


def _down_first(rows: Axis, columns: Axis) -> np.ndarray:
    """For which images the pass down comes before the pass across: Pillow 13 does so if they lose far more rows than columns."""
    less_rows, less_columns = rows.size - rows.out, columns.size - columns.out
    return (less_rows > 0) & (less_rows > 2 * less_columns) & (_PILLOW >= 13)


def _resample(
    xp: Backend, images: Any, rows: Axis, columns: Axis, mode: InterpolationMode, antialias: bool, down_first: bool
) -> Any:
    exact = images.dtype == np.uint8
    dtype = np.dtype(np.float32 if images.dtype in (np.float16, np.float32) else np.float64)
    passes = [
        (one_pass, axis.out, _runs(axis, mode, antialias, dtype, exact))
        for one_pass, axis in ((_across, columns), (_down, rows))
        if not axis.idle
    ]
    if down_first:
        passes.reverse()
    n, channels, height, width = images.shape
    out = xp.empty((n, channels, rows.out, columns.out), dtype=images.dtype)

    def some(block: slice) -> None:
        part = images[block]
        for one_pass, new, runs in passes:
            part = one_pass(xp, part, new, _of_images(xp, runs, block), dtype)
        out[block] = part if part.dtype == images.dtype else _convert(xp, part, images.dtype)

    bytes_per_image = dtype.itemsize * channels * max(height, rows.out) * max(width, columns.out)
    with single_blas:  # the products are small: BLAS's threads would wait for each other longer than they work
        xp.each(some, xp.blocks(n, bytes_per_image))
    return out


def _of_images(xp: Backend, runs: list[Run], block: slice) -> list[DeviceRun]:
    """The runs of some images of the batch, with their weights on the device."""
    return [
        (new, begin, xp.from_numpy(weights)) if len(begin) == 1 else (new, begin[block], xp.from_numpy(weights[block]))
        for new, begin, weights in runs
    ]


def _across(xp: Backend, images: Any, out: int, runs: list[DeviceRun], dtype: np.dtype) -> Any:
    """The pass across: (N, C, H, W) to (N, C, H, out)."""
    n, channels, height, width = images.shape
    lines = images.reshape(n, channels * height, width)
    result = _room(xp, (n, channels * height, out), images.dtype, dtype)
    for new, begin, weights in runs:
        band = weights.shape[1]
        if (begin == begin[0]).all():
            old = lines[:, :, begin[0] : begin[0] + band]
        else:
            windows = xp.lib.stride_tricks.sliding_window_view(lines, band, axis=2)  # (N, C H, begins, band), no copy
            old = windows[xp.arange(n), :, xp.from_numpy(begin)]
        result[:, :, new] = _settle(xp, old.astype(dtype, copy=False) @ weights, result.dtype)
    return result.reshape(n, channels, height, out)


def _down(xp: Backend, images: Any, out: int, runs: list[DeviceRun], dtype: np.dtype) -> Any:
    """The pass down: (N, C, H, W) to (N, C, out, W)."""
    n, channels, _, width = images.shape
    result = _room(xp, (n, channels, out, width), images.dtype, dtype)
    for new, begin, weights in runs:
        band = weights.shape[1]
        if (begin == begin[0]).all():
            old = images[:, :, begin[0] : begin[0] + band]
        else:
            which = xp.from_numpy(begin[:, None] + np.arange(band))
            picked = images[xp.arange(n)[:, None], :, which]  # what is indexed comes first: (N, band, C, W)
            old = picked.transpose(0, 2, 1, 3)
        sums = weights.transpose(0, 2, 1)[:, None] @ old.astype(dtype, copy=False)
        result[:, :, new] = _settle(xp, sums, result.dtype)
    return result


def _room(xp: Backend, shape: tuple[int, ...], dtype: np.dtype, computed: np.dtype) -> Any:
    """For the result of a pass: uint8 as in Pillow; other whole numbers are rounded after both passes."""
    return xp.empty(shape, dtype=np.uint8 if dtype == np.uint8 else computed)


def _settle(xp: Backend, sums: Any, dtype: np.dtype) -> Any:
    return _convert(xp, sums, dtype) if dtype == np.uint8 else sums


def _convert(xp: Backend, values: Any, dtype: np.dtype) -> Any:
    """To a floating point dtype as it is; else round half up, and clip to what the dtype holds. Writes to ``values``."""
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    values += 0.5
    if limits.min:
        xp.floor(values, out=values)
    xp.clip(values, limits.min, limits.max, out=values)  # astype cuts off what is behind the point
    return values.astype(dtype)


def _nearest(xp: Backend, images: Any, rows: Axis, columns: Axis) -> Any:
    y, x = _nearest_places(rows), _nearest_places(columns)
    if len(y) == len(x) == 1:
        return images[:, :, xp.from_numpy(y[0][:, None]), xp.from_numpy(x[0])]
    image = xp.arange(len(images))[:, None, None]
    picked = images[image, :, xp.from_numpy(y[:, :, None]), xp.from_numpy(x[:, None, :])]  # (N, rows, columns, C)
    return xp.ascontiguousarray(picked.transpose(0, 3, 1, 2))


def _nearest_places(axis: Axis) -> np.ndarray:
    """The old pixels under the new ones' centres, (N, out): Pillow adds step after step, and the sum decides a draw."""
    steps = np.repeat((axis.size / axis.out)[:, None], axis.out, axis=1)
    steps[:, 0] *= 0.5
    return np.minimum(np.cumsum(steps, axis=1).astype(np.int64), axis.size[:, None] - 1) + axis.start[:, None]
