"""Inverting, solarizing, fewer levels; histograms that fill the range or are flat; and sharpness.

The images are those of ``minidl.transforms.functional.color``. On uint8 arrays every function gives Pillow's results.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import ImageEnhance, ImageOps

from minidl.backend import Backend
from minidl.transforms.functional.pixels import blend, check_colors, check_dtype, enhance, full
from minidl.transforms.images import is_pil, number, on_array, per_image


def invert(image: Any) -> Any:
    """White minus the value: the negative.

    Raises:
        TypeError: for arrays of other dtypes.

    Example:
        >>> invert(np.array([[[0, 200]]], np.uint8))
        array([[[255,  55]]], dtype=uint8)
    """
    return ImageOps.invert(image) if is_pil(image) else on_array(image, _invert)


def _invert(xp: Backend, array: Any) -> Any:
    check_dtype(array, "invert")
    return full(array) - array


def solarize(image: Any, threshold: Any) -> Any:
    """Invert the values that are equal to a threshold or above.

    Args:
        threshold: in the units of the image; a number, or one for each image of a batch.

    Raises:
        TypeError: for arrays, if a threshold lies above white (255, or 1 in floating point); for arrays of other dtypes.
    """
    if is_pil(image):
        return ImageOps.solarize(image, number(threshold))
    return on_array(image, _solarize, threshold)


def _solarize(xp: Backend, array: Any, threshold: Any) -> Any:
    check_dtype(array, "solarize")
    if np.size(threshold) and np.max(threshold) > full(array):
        raise TypeError(
            f"solarize: threshold should be at most {full(array)} for images of {array.dtype}, got {np.max(threshold)}"
        )
    if array.dtype == np.uint8:
        threshold = np.ceil(threshold)  # the same for whole numbers, and fits their dtype
    bound = per_image(xp, threshold, array, array.dtype if array.dtype.kind == "f" else np.int16)
    return xp.where(array >= bound, full(array) - array, array)


def posterize(image: Any, bits: Any) -> Any:
    """Keep the highest bits of each value.

    Args:
        bits: from 0 to 8; a number, or an integer for each image of a batch. Floating point values are cut to multiples of
            2 ** −bits, the highest being 1 − 2 ** −bits.

    Raises:
        TypeError: if ``bits`` is no integer in [0, 8]; for arrays of other dtypes.

    Example:
        >>> posterize(np.array([[[255, 127, 65]]], np.uint8), bits=2)
        array([[[192,  64,  64]]], dtype=uint8)
    """
    whole = isinstance(bits, int) or (isinstance(bits, np.ndarray | np.generic) and bits.dtype.kind in "iu")
    if not whole or (np.size(bits) and not (np.min(bits) >= 0 and np.max(bits) <= 8)):
        raise TypeError(f"posterize: bits should be an integer, or integers, in [0, 8], got {bits}")
    if not is_pil(image):
        return on_array(image, _posterize, bits)
    one = int(number(bits))
    if one == 0:  # Pillow refuses it
        return image.point([0] * 256 * len(image.getbands()))
    return ImageOps.posterize(image, one)


def _posterize(xp: Backend, array: Any, bits: Any) -> Any:
    check_dtype(array, "posterize")
    bits = np.asarray(bits) if array.ndim == 4 else np.asarray(number(bits))
    if array.dtype == np.uint8:
        mask = (255 << (8 - bits) & 255).astype(np.uint8)
        return array & xp.from_numpy(mask.reshape(-1, 1, 1) if array.ndim == 3 else mask.reshape(-1, 1, 1, 1))
    levels = (2.0**bits).astype(array.dtype).reshape((-1,) + (1,) * (array.ndim - 1))
    out = xp.floor(array * xp.from_numpy(levels))
    out = xp.minimum(xp.maximum(out, 0), xp.from_numpy(levels - 1))
    out /= xp.from_numpy(levels)
    return out


def autocontrast(image: Any) -> Any:
    """Stretch the values of each channel so that the lowest becomes black and the highest white; a flat channel stays.

    Raises:
        TypeError: for arrays of other dtypes, or of other than 1 or 3 channels.

    Example:
        >>> autocontrast(np.array([[[50, 100, 150]]], np.uint8))
        array([[[  0, 127, 255]]], dtype=uint8)
    """
    return ImageOps.autocontrast(image) if is_pil(image) else on_array(image, _autocontrast)


def _autocontrast(xp: Backend, array: Any) -> Any:
    check_colors(array, "autocontrast")
    if array.size == 0:
        return array
    x = array.astype(np.float64) if array.dtype == np.uint8 else array  # Pillow's table is made in double precision
    low, high = (m(axis=(-2, -1), keepdims=True) for m in (x.min, x.max))
    spread = high - low
    flat = spread == 0
    scale = full(array) / xp.where(flat, xp.ones_like(spread), spread)
    scale = xp.where(flat, xp.ones_like(scale), scale)
    low = xp.where(flat, xp.zeros_like(low), low)
    # The sum is Pillow's, whose dropped fraction depends on how it was rounded.
    out = x * scale - low * scale if array.dtype == np.uint8 else (x - low) * scale
    return xp.clip(out, 0, full(array), out=out).astype(array.dtype, copy=False)


def equalize(image: Any) -> Any:
    """Spread the values of each channel so that every level is about equally frequent.

    Floating point images are brought to 256 levels for it. A channel of which less than 255 pixels are below its highest value
    stays as it is. (Gonzalez and Woods, "Digital Image Processing", section 3.3; the rounding is Pillow's.)

    Raises:
        TypeError: for arrays of other dtypes.
    """
    return ImageOps.equalize(image) if is_pil(image) else on_array(image, _equalize)


def _equalize(xp: Backend, array: Any) -> Any:
    check_dtype(array, "equalize")
    if array.size == 0:
        return array
    if array.dtype.kind == "f":  # to uint8 and back, by ToDtype's rules
        levels = xp.clip(array * 255.999, 0, 255).astype(np.uint8)
        return _equalize(xp, levels).astype(array.dtype) / 255
    rows = array.reshape(-1, array.shape[-2] * array.shape[-1])
    count, pixels = rows.shape
    places = rows + (xp.arange(count) * 256)[:, None]
    histogram = xp.bincount(places.reshape(-1), minlength=count * 256).reshape(count, 256)
    up_to = xp.cumsum(histogram, axis=1)
    below = up_to - histogram
    below_highest = pixels - xp.where(up_to < pixels, 0, histogram).max(axis=1, keepdims=True)
    step = below_highest // 255
    table = xp.minimum((below + step // 2) // xp.maximum(step, 1), 255)
    table = xp.where(step == 0, xp.arange(256), table).astype(np.uint8)
    return xp.take(table.reshape(-1), places).reshape(array.shape)


def adjust_sharpness(image: Any, sharpness_factor: Any) -> Any:
    """Move away from a blurred image: 0 gives that one, 1 the image itself, 2 a sharper one.

    The blur is the mean over 3 × 3 pixels in which the middle one counts five times. The outermost pixels stay as they are, as
    do images of two rows or columns.

    Raises:
        ValueError: if a factor is negative.
        TypeError: for arrays of other dtypes, or of other than 1 or 3 channels.
    """
    return enhance(
        image, sharpness_factor, "adjust_sharpness: sharpness_factor", ImageEnhance.Sharpness, _adjust_sharpness
    )


def _adjust_sharpness(xp: Backend, array: Any, factor: Any) -> Any:
    check_colors(array, "adjust_sharpness")
    if array.shape[-2] <= 2 or array.shape[-1] <= 2:
        return array
    x = array.astype(np.float32) if array.dtype == np.uint8 else array
    rows = x[..., :-2, :] + x[..., 1:-1, :] + x[..., 2:, :]
    blurred = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    blurred += 4 * x[..., 1:-1, 1:-1]
    blurred /= 13
    inner = array[..., 1:-1, 1:-1]
    out = array.copy()
    out[..., 1:-1, 1:-1] = blend(xp, inner, xp.rint(blurred) if array.dtype == np.uint8 else blurred, factor)
    return out
