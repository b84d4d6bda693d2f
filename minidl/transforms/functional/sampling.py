"""The sampler behind the warps: for every pixel of the result a place in the image, and what the image has there.

The conventions are Pillow's. The pixel in row i and column j covers the square from (j, i) to (j + 1, i + 1), so that its
middle lies at (j + 0.5, i + 0.5). A place (x, y) outside of the image gives the fill. Inside, the nearest pixel is the one
whose square it lies in; the others interpolate between the middles of pixels, and beyond the outermost middles they go on
with the border's pixels. Integer results are cut off (0.9 becomes 0), where nothing else is asked for.

The arithmetic, in 64 bits, goes step by step as in Pillow (src/libImaging/Geometry.c), so that uint8 images come out equal.
Source of the bicubic polynomial: Keys, "Cubic convolution interpolation for digital image processing", 1981, with a = -1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.backend import Backend
from minidl.transforms.interpolation import InterpolationMode

Places = Callable[[slice], tuple[Any, Any]]  # the places (x, y), arrays (n or 1, h, w), for this part of a batch

NEAREST_MODES = (InterpolationMode.NEAREST, InterpolationMode.NEAREST_EXACT)  # the same here
MODES = (*NEAREST_MODES, InterpolationMode.BILINEAR, InterpolationMode.BICUBIC)

_FARTHEST = 2.0**46  # no number in fixed point goes beyond it: a product with a row or column still fits 64 bits


def warp(
    xp: Backend,
    array: Any,
    places: Places,
    size: tuple[int, int],
    interpolation: InterpolationMode,
    fill: float | Sequence[float] | None,
    rounds: bool = False,
) -> Any:
    """Sample every image of a batch at its places.

    Args:
        array: (N, C, H, W), or one image (C, H, W).
        places: where the results' pixels come from.
        size: (height, width) of the results.
        interpolation: NEAREST or NEAREST_EXACT (the same here), BILINEAR or BICUBIC. Booleans are always NEAREST.
        fill: for places outside: a number, or one for each channel; None is 0.
        rounds: round integer results to the nearest number instead of cutting them off.

    Returns:
        (N, C, *size) or (C, *size), of the array's dtype.

    Raises:
        ValueError: for another interpolation, or if there are neither one nor C fill values.
    """
    sample = _sampler(interpolation, array.dtype)
    images = array if array.ndim == 4 else array[None]
    batch, channels, height, width = images.shape
    filling = xp.from_numpy(fill_values(fill, channels, images.dtype))
    out = xp.empty((batch, channels, *size), dtype=images.dtype)

    def do(part: slice) -> None:
        with np.errstate(all="ignore"):  # a perspective has a horizon, where it divides by zero
            x, y = places(part)
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            x, y = xp.where(inside, x, 0), xp.where(inside, y, 0)
            values = sample(xp, images[part], x, y)
            if rounds and values.dtype.kind == "f" and images.dtype.kind in "iu":
                values = xp.rint(values)
            if sample is _bicubic and images.dtype.kind in "iu":
                limits = np.iinfo(images.dtype)
                values = xp.clip(values, limits.min, limits.max)
            out[part] = xp.where(inside[:, None], values.astype(images.dtype, copy=False), filling)

    if out.size and not images.size:
        out[...] = filling
    elif out.size:
        temporaries = 8 if sample is _nearest else 8 * 6
        xp.each(do, xp.blocks(batch, temporaries * max(out[0].size, images[0].size)))
    return out if array.ndim == 4 else out[0]


def fill_values(fill: float | Sequence[float] | None, channels: int, dtype: Any) -> np.ndarray:
    """The fill as an array (C, 1, 1) or (1, 1, 1), held to the range of an integer dtype."""
    values = np.asarray(0 if fill is None else fill, dtype=np.float64).reshape(-1)
    if len(values) not in (1, channels):
        raise ValueError(f"fill has {len(values)} values for images of {channels} channels")
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(values, limits.min, limits.max)
    return values.astype(dtype)[:, None, None]


# -- places ------------------------------------------------------------------------------------------------------------


def affine_places(xp: Backend, matrices: np.ndarray, size: tuple[int, int], interpolation: InterpolationMode) -> Places:
    """Places under affine maps.

    Args:
        matrices: (N, 6) or (1, 6): a pixel of the result with its middle in (x, y) comes from
            (a·x + b·y + c, d·x + e·y + f).
    """
    if interpolation in NEAREST_MODES:
        return _affine_cells(xp, matrices, size)
    across, down = _middles(xp, size)

    def places(part: slice) -> tuple[Any, Any]:
        a, b, c, d, e, f = _columns(xp, matrices, part)
        return a * across + b * down + c, d * across + e * down + f

    return places


def _affine_cells(xp: Backend, matrices: np.ndarray, size: tuple[int, int]) -> Places:
    """Whole columns and rows under affine maps, in the numbers that Pillow reckons with for NEAREST.

    These are integers, a pixel being 65536: a rounded matrix, whose multiples are then exact. A map without rotation and
    shear is in floating point, stepping from pixel to pixel. (Where Pillow's integers have too few bits, for coordinates
    beyond 32768, it takes floating point too; here there are bits enough.)
    """
    height, width = size
    a, b, c, d, e, f = matrices.T[..., None]  # (N, 1) each
    x0, y0 = _fixed(c + a * 0.5 + b * 0.5), _fixed(f + d * 0.5 + e * 0.5)
    rows, columns = np.arange(height), np.arange(width)
    # the column for (row, column) of the result is (x_down[row] + x_across[column]) >> 16, and so for its row
    x_across, x_down = _fixed(a) * columns, _fixed(b) * rows + x0
    y_across, y_down = _fixed(d) * columns, _fixed(e) * rows + y0

    straight = (b == 0)[:, 0] & (d == 0)[:, 0]
    x_across[straight], x_down[straight] = _steps(c + a * 0.5, a, width)[straight], 0
    y_across[straight], y_down[straight] = 0, _steps(f + e * 0.5, e, height)[straight]

    def places(part: slice) -> tuple[Any, Any]:
        part = part if len(matrices) > 1 else slice(None)
        x = xp.from_numpy(x_across[part, None, :]) + xp.from_numpy(x_down[part, :, None])
        y = xp.from_numpy(y_across[part, None, :]) + xp.from_numpy(y_down[part, :, None])
        return x >> 16, y >> 16

    return places


def _fixed(values: np.ndarray) -> np.ndarray:
    """In units of 1/65536, rounded."""
    return np.floor(np.clip(values * 65536.0 + 0.5, -_FARTHEST, _FARTHEST)).astype(np.int64)


def _steps(start: np.ndarray, step: np.ndarray, count: int) -> np.ndarray:
    """The whole parts of start, start + step, start + step + step, …, each sum rounded: (N, count) in fixed point."""
    terms = np.repeat(step, count, axis=1)
    terms[:, :1] = start
    sums = np.add.accumulate(terms, axis=1)
    return np.floor(np.clip(sums, -_FARTHEST / 65536, _FARTHEST / 65536)).astype(np.int64) << 16


def perspective_places(xp: Backend, coefficients: np.ndarray, size: tuple[int, int]) -> Places:
    """Places under perspective maps.

    Args:
        coefficients: (N, 8) or (1, 8): a pixel of the result with its middle in (x, y) comes from
            ((a·x + b·y + c) / (g·x + h·y + 1), (d·x + e·y + f) / (g·x + h·y + 1)).
    """
    across, down = _middles(xp, size)

    def places(part: slice) -> tuple[Any, Any]:
        a, b, c, d, e, f, g, h = _columns(xp, coefficients, part)
        below = g * across + h * down + 1.0
        return (a * across + b * down + c) / below, (d * across + e * down + f) / below

    return places


def displaced_places(xp: Backend, displacement: Any, border: int = 0) -> Places:
    """Places that are a displacement away from where the pixel is.

    Args:
        displacement: (N, H, W, 2) or (1, H, W, 2) of this backend: how far to the right and down, in halves of the
            image's width and height.
        border: how many pixels have been put around the image.
    """
    _, height, width, _ = displacement.shape
    across, down = _middles(xp, (height, width))

    def places(part: slice) -> tuple[Any, Any]:
        away = displacement[part if len(displacement) > 1 else slice(None)].astype("float64")
        return across + border + away[..., 0] * (width / 2), down + border + away[..., 1] * (height / 2)

    return places


def _middles(xp: Backend, size: tuple[int, int]) -> tuple[Any, Any]:
    """Where the middles of pixels are: x as (1, 1, W) and y as (1, H, 1)."""
    height, width = size
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    return xp.from_numpy(x[None, None, :]), xp.from_numpy(y[None, :, None])


def _columns(xp: Backend, rows: np.ndarray, part: slice) -> list[Any]:
    """The columns of ``rows[part]`` as arrays (n, 1, 1); all rows if there is but one, for the whole batch."""
    part = part if len(rows) > 1 else slice(None)
    return list(xp.from_numpy(np.ascontiguousarray(rows[part].T)[..., None, None]))


# -- values ------------------------------------------------------------------------------------------------------------


def _sampler(interpolation: InterpolationMode, dtype: Any) -> Callable[..., Any]:
    if interpolation not in MODES:
        known = ", ".join(mode.name for mode in MODES)
        raise ValueError(f"interpolation should be one of {known}, got {interpolation}")
    if interpolation in NEAREST_MODES or np.dtype(dtype).kind == "b":
        return _nearest
    return _bilinear if interpolation is InterpolationMode.BILINEAR else _bicubic


def _nearest(xp: Backend, images: Any, x: Any, y: Any) -> Any:
    """The pixels whose squares the places lie in; places may be whole columns and rows as well."""
    return _pixels(xp, images, y.astype("int64") * images.shape[3], x.astype("int64"))


def _bilinear(xp: Backend, images: Any, x: Any, y: Any) -> Any:
    return _interpolated(xp, images, x, y, 2, _line)


def _bicubic(xp: Backend, images: Any, x: Any, y: Any) -> Any:
    return _interpolated(xp, images, x, y, 4, _cubic)


def _interpolated(xp: Backend, images: Any, x: Any, y: Any, taps: int, curve: Callable[..., Any]) -> Any:
    """Values on a curve through ``taps`` pixels of each of ``taps`` rows, and through those values down the column."""
    height, width = images.shape[2:]
    dtype = images.dtype if images.dtype.kind == "f" and images.dtype.itemsize >= 4 else np.dtype("float64")
    images = images.astype(dtype, copy=False)
    columns, rightwards = _neighbours(xp, x - 0.5, taps, width)
    rows, downwards = _neighbours(xp, y - 0.5, taps, height)
    rightwards, downwards = (t[:, None].astype(dtype, copy=False) for t in (rightwards, downwards))
    values = [curve(*(_pixels(xp, images, row * width, column) for column in columns), rightwards) for row in rows]
    return curve(*values, downwards)


def _neighbours(xp: Backend, places: Any, taps: int, length: int) -> tuple[list[Any], Any]:
    """Which ``taps`` pixels are nearest to the places, along one axis, and how far from the left middle one to the right."""
    floor = xp.floor(places)
    first = floor.astype("int64") - (taps // 2 - 1)
    return [xp.clip(first + k, 0, length - 1) for k in range(taps)], places - floor


def _line(v0: Any, v1: Any, t: Any) -> Any:
    return v0 + (v1 - v0) * t


def _cubic(v0: Any, v1: Any, v2: Any, v3: Any, t: Any) -> Any:
    p2 = v2 - v0
    p3 = 2 * (v0 - v1) + v2 - v3
    p4 = v1 - v0 - v2 + v3
    return v1 + t * (p2 + t * (p3 + t * p4))


def _pixels(xp: Backend, images: Any, row_start: Any, column: Any) -> Any:
    """The pixels (n, C, h, w) at these rows (as the number of the row's first pixel) and columns, (n or 1, h, w) each."""
    n, channels, height, width = images.shape
    first = xp.arange(n * channels).reshape(n, channels, 1, 1) * (height * width)
    return xp.take(images.reshape(-1), first + (row_start + column)[:, None])
