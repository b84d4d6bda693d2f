"""Filters and noise: Gaussian blur, Gaussian noise, and erasing a rectangle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from minidl.backend import Backend
from minidl.tensor import Tensor
from minidl.transforms.fields import normal_field
from minidl.transforms.images import images_in, is_pil, number, on_array, per_image, shape_of


def through_array(image: Any, function: Callable[[np.ndarray], np.ndarray]) -> Any:
    """``function`` of the PIL image as an array (C, H, W), as a PIL image of the same mode and the result's values."""
    pixels = np.asarray(image)
    channels_first = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    result = function(channels_first)
    result = np.ascontiguousarray(result[0] if pixels.ndim == 2 else result.transpose(1, 2, 0))
    if image.mode == "1":
        return Image.fromarray(result)
    out = image.copy()  # with its palette
    out.frombytes(result.tobytes())
    return out


# -- blur --------------------------------------------------------------------------------------------------------------


def gaussian_blur(image: Any, kernel_size: int | Sequence[int], sigma: Any = None) -> Any:
    """Average every pixel with its neighbours, weighted by a Gaussian.

    The weights of k pixels in a row are exp(−x² / 2σ²) at x = −(k−1)/2, …, (k−1)/2, divided by their sum. Beyond the
    border the image is mirrored, without repeating the border's pixels; an image smaller than that is mirrored again and
    again (torchvision refuses it).

    Args:
        image: a PIL image, an array (C, H, W) or a batch (N, C, H, W). Integers are rounded to the nearest, of two the even.
        kernel_size: odd number of pixels, or (horizontal, vertical).
        sigma: standard deviation in pixels, a number, or an array (N,) with one for each image; or a list (horizontal,
            vertical) of two such. None is 0.15 · kernel_size + 0.35.

    Raises:
        ValueError: if a kernel size is not an odd positive number, or a sigma is not positive.
        TypeError: if sigma is something else.

    Example:
        >>> gaussian_blur(np.eye(3)[None], kernel_size=3, sigma=1e-3)[0].tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    sizes = _kernel_sizes(kernel_size)
    weights = [_gaussian(size, s) for size, s in zip(sizes, _sigmas(sigma, sizes), strict=True)]
    if is_pil(image):
        return through_array(image, lambda array: on_array(array, _blur, weights))
    return on_array(image, _blur, weights)


def _blur(xp: Backend, array: Any, weights: list[np.ndarray]) -> Any:
    images = array if array.ndim == 4 else array[None]
    for rows in weights:
        if len(rows) not in (1, len(images)):
            raise ValueError(f"gaussian_blur: sigma has {len(rows)} values for {len(images)} image(s)")
    dtype = np.dtype("float64" if images.dtype == np.float64 else "float32")
    out = xp.empty(images.shape, dtype=images.dtype)

    def do(part: slice) -> None:
        x = images[part].astype(dtype, copy=False)
        for axis, rows in zip((3, 2), weights, strict=True):
            kernels = xp.from_numpy((rows[part] if len(rows) > 1 else rows).astype(dtype))
            x = _filter(xp, x, kernels, axis)
        out[part] = (x if images.dtype.kind == "f" else xp.rint(x)).astype(images.dtype, copy=False)

    if out.size:
        xp.each(do, xp.blocks(len(images), images[0].size * dtype.itemsize * 4))
    return out if array.ndim == 4 else out[0]


def _filter(xp: Backend, x: Any, kernels: Any, axis: int) -> Any:
    """Sum of neighbours along an axis, weighted by the kernels (n or 1, k)."""
    length, taps = x.shape[axis], kernels.shape[1]
    if taps == 1:
        return x
    mirrored = np.pad(np.arange(length), taps // 2, mode="reflect")
    x = xp.take(x, xp.from_numpy(mirrored), axis=axis)
    before = (slice(None),) * axis
    total = None
    for k in range(taps):
        term = x[(*before, slice(k, k + length))] * kernels[:, k].reshape(-1, 1, 1, 1)
        if total is None:
            total = term
        else:
            total += term
    return total


def _gaussian(size: int, sigma: np.ndarray) -> np.ndarray:
    """Weights (n, size) for standard deviations (n,)."""
    with np.errstate(over="ignore"):  # with a tiny sigma, which leaves the middle one alone
        x = (np.arange(size) - (size - 1) / 2) / sigma[:, None]
        weights = np.exp(-0.5 * x * x)
    return weights / weights.sum(axis=1, keepdims=True)


def _kernel_sizes(kernel_size: int | Sequence[int]) -> list[int]:
    sizes = [kernel_size] * 2 if isinstance(kernel_size, int) else list(kernel_size)
    if len(sizes) != 2:
        raise ValueError(f"gaussian_blur: if kernel_size is a sequence its length should be 2, got {kernel_size}")
    if not all(isinstance(size, (int, np.integer)) and size > 0 and size % 2 for size in sizes):
        raise ValueError(f"gaussian_blur: kernel_size should have odd and positive integers, got {kernel_size}")
    return [int(size) for size in sizes]


def _sigmas(sigma: Any, sizes: list[int]) -> list[np.ndarray]:
    """Standard deviations across and down, each an array (N,) or (1,)."""
    if sigma is None:
        sigma = [size * 0.15 + 0.35 for size in sizes]
    pair = list(sigma) if isinstance(sigma, (list, tuple)) else [sigma, sigma]
    if len(pair) == 1:
        pair *= 2
    if len(pair) != 2:
        raise ValueError(f"gaussian_blur: if sigma is a sequence its length should be 1 or 2, got {len(pair)}")
    if not all(isinstance(s, (int, float, np.ndarray, np.number)) for s in pair):
        kinds = type(sigma).__name__
        raise TypeError(f"gaussian_blur: sigma should be a number, an array, or a list of two of them, got {kinds}")
    arrays = [np.asarray(s, dtype=np.float64).reshape(-1) for s in pair]
    if not all((s > 0).all() for s in arrays):
        raise ValueError(f"gaussian_blur: sigma should have positive values, got {sigma}")
    return arrays


# -- noise -------------------------------------------------------------------------------------------------------------


def gaussian_noise(
    image: Any, mean: Any = 0.0, sigma: Any = 0.1, clip: bool = True, noise: np.ndarray | None = None
) -> Any:
    """Add normally distributed noise to every pixel and channel.

    Args:
        image: a PIL image (which torchvision refuses), an array (C, H, W) or a batch (N, C, H, W), floating point or uint8.
        mean, sigma: of the noise, where 1 is the distance from black to white: in uint8 images it is 255 grey levels, and
            the noise is cut off to whole ones.
        clip: hold the result to [0, 1], or 0 to 255. Without it uint8 wraps around.
        noise: standard normal numbers in the shape of the image, for the same noise again; drawn if None. Of a PIL image
            the shape is (C, H, W).

    Raises:
        ValueError: if sigma is negative, the noise has another shape, or the dtype is neither floating point nor uint8.

    Example:
        >>> gaussian_noise(np.full((1, 1, 2), 100, np.uint8), sigma=0.1, noise=np.array([[[0.5, -1.0]]])).tolist()
        [[[112, 75]]]
    """
    if np.min(sigma) < 0:
        raise ValueError(f"gaussian_noise: sigma shouldn't be negative, got {np.min(sigma)}")
    shape = shape_of(image, "gaussian_noise")
    if noise is None:
        rows = images_in(shape)
        noise = normal_field(rows, int(np.prod(shape)) // max(rows, 1))
    elif noise.size != np.prod(shape) or noise.shape[-3:] != shape[-3:]:
        raise ValueError(f"gaussian_noise: noise should have the image's shape {shape}, got {noise.shape}")
    noise = noise.reshape(shape)
    if is_pil(image):
        return through_array(image, lambda array: on_array(array, _add_noise, noise, mean, sigma, clip))
    return on_array(image, _add_noise, noise, mean, sigma, clip)


def _add_noise(xp: Backend, array: Any, noise: np.ndarray, mean: Any, sigma: Any, clip: bool) -> Any:
    floats = array.dtype.kind == "f"
    if not floats and array.dtype != np.uint8:
        raise ValueError(f"gaussian_noise: expected images of dtype uint8 or floating point, got {array.dtype}")
    dtype = np.dtype("float64" if array.dtype == np.float64 else "float32")
    white = 1 if floats else 255
    out = xp.from_numpy(noise.astype(dtype)) * per_image(xp, sigma * white, array, dtype)
    out += per_image(xp, mean * white, array, dtype)
    out = array + (out if floats else out.astype("int32"))
    if clip:
        out = xp.clip(out, 0, white)
    return out.astype(array.dtype, copy=False)


# -- erasing -----------------------------------------------------------------------------------------------------------


def erase(image: Any, i: Any, j: Any, h: Any, w: Any, v: Any, inplace: bool = False) -> Any:
    """Put values in place of a rectangle of each image.

    Args:
        image: a PIL image, an array (C, H, W) or a batch (N, C, H, W).
        i, j: row and column of the upper left corner.
        h, w: height and width, 0 for nothing. All four are numbers, or arrays (N,) with one for each image.
        v: a number; or an array that broadcasts against the rectangle, such as (C, 1, 1) or (C, h, w); or one that broadcasts
            against the whole batch and its images, from which the rectangles are taken.
        inplace: write to the image's own memory (a PIL image is never written to).

    Raises:
        ValueError: if ``v`` has another shape.

    Example:
        >>> erase(np.zeros((1, 2, 3)), 0, 1, 2, 2, 5).tolist()
        [[[0.0, 5.0, 5.0], [0.0, 5.0, 5.0]]]
    """
    box = [np.atleast_1d(np.asarray(x, dtype=np.int64)) for x in (i, j, h, w)]
    if is_pil(image):
        return through_array(image, lambda array: on_array(array, _erase, box, v, False))
    return on_array(image, _erase, box, v, inplace)


def _erase(xp: Backend, array: Any, box: list[np.ndarray], v: Any, inplace: bool) -> Any:
    values = v.array if isinstance(v, Tensor) else v
    if isinstance(values, (list, tuple, np.ndarray, np.generic, int, float)):
        values = xp.from_numpy(np.asarray(values).astype(array.dtype, copy=False))
    out = array if inplace else array.copy()
    if all(len(x) == 1 for x in box):
        top, left, height, width = (number(x) for x in box)
        place = out[..., top : top + height, left : left + width]
        if values.shape[-2:] == array.shape[-2:]:
            values = values[..., top : top + height, left : left + width]
        _check_fits(values, place.shape)
        place[...] = values
        return out
    if array.ndim == 3 or any(len(x) not in (1, len(array)) for x in box):
        raise ValueError(f"erase: {max(map(len, box))} rectangles for an image of shape {array.shape}")
    _check_fits(values, array.shape)
    top, left, height, width = (x.reshape(-1, 1, 1, 1) for x in box)
    rows, columns = np.arange(array.shape[2])[:, None], np.arange(array.shape[3])
    inside_rows, inside_columns = (
        xp.from_numpy((n >= start) & (n < start + length))
        for n, start, length in ((rows, top, height), (columns, left, width))
    )
    out[...] = xp.where(inside_rows & inside_columns, values, out)
    return out


def _check_fits(values: Any, shape: tuple[int, ...]) -> None:
    try:
        fits = np.broadcast_shapes(values.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"erase: v of shape {tuple(values.shape)} does not fit pixels of shape {shape}")
