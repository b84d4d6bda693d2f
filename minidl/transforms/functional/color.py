"""Brightness, contrast, saturation, hue, gamma, grey and colour casts.

Every function takes a PIL image, a Tensor or array (C, H, W), or a batch (N, C, H, W), uint8 from 0 to 255 or floating point
from 0 to 1, and returns the same kind. A parameter is a number, or a NumPy array with one number for each image of the batch.

PIL images go through the Pillow functions that torchvision calls. uint8 arrays follow Pillow's arithmetic step by step, and
come out equal to it (the tests allow one grey level, for machines whose compilers round sums of products once). The hue is the
exception: see ``adjust_hue``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from minidl.backend import Backend
from minidl.transforms.functional.pixels import blend, check_at_least_0, check_colors, check_dtype, enhance, full
from minidl.transforms.images import is_pil, number, on_array, per_image


def rgb_to_grayscale(image: Any, num_output_channels: int = 1) -> Any:
    """The luminance of each pixel, 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601-7, section 2.5.1).

    Args:
        image: 1 or 3 channels; a PIL image of any mode.
        num_output_channels: 1, or 3 for three equal channels.

    Returns:
        An image of that many channels. (torchvision's weights add up to 0.9999; these leave white as it is.)

    Raises:
        ValueError: if ``num_output_channels`` is neither 1 nor 3.
        TypeError: for arrays of other dtypes or channels.

    Example:
        >>> rgb_to_grayscale(np.full((3, 1, 1), 255, np.uint8))
        array([[[255]]], dtype=uint8)
    """
    if num_output_channels not in (1, 3):
        raise ValueError(f"rgb_to_grayscale: num_output_channels should be 1 or 3, got {num_output_channels}")
    if is_pil(image):
        grey = image.convert("L")
        return grey if num_output_channels == 1 else Image.merge("RGB", (grey, grey, grey))
    return on_array(image, _rgb_to_grayscale, num_output_channels)


to_grayscale = rgb_to_grayscale


def _rgb_to_grayscale(xp: Backend, array: Any, num_output_channels: int) -> Any:
    check_colors(array, "rgb_to_grayscale")
    grey = array.copy() if array.shape[-3] == 1 else luminance(array).astype(array.dtype, copy=False)
    return grey if num_output_channels == 1 else xp.concatenate([grey] * 3, axis=-3)


def luminance(array: Any) -> Any:
    """The grey of RGB images, shape (…, 1, H, W): rounded to whole numbers (uint32) for uint8, as Pillow does it."""
    r, g, b = (array[..., c : c + 1, :, :] for c in range(3))
    if array.dtype == np.uint8:
        total = r.astype(np.uint32) * 19595 + g.astype(np.uint32) * 38470 + b.astype(np.uint32) * 7471
        return total + 32768 >> 16
    return r * 0.299 + g * 0.587 + b * 0.114


def adjust_brightness(image: Any, brightness_factor: Any) -> Any:
    """Multiply with a factor: 0 gives black, 1 the image itself.

    Raises:
        ValueError: if a factor is negative.
        TypeError: for arrays of other dtypes, or of other than 1 or 3 channels.
    """
    return enhance(
        image, brightness_factor, "adjust_brightness: brightness_factor", ImageEnhance.Brightness, _adjust_brightness
    )


def _adjust_brightness(xp: Backend, array: Any, factor: Any) -> Any:
    check_colors(array, "adjust_brightness")
    return blend(xp, array, 0.0, factor)


def adjust_contrast(image: Any, contrast_factor: Any) -> Any:
    """Move away from the image's mean grey: 0 gives a grey area, 1 the image itself.

    Raises:
        ValueError: if a factor is negative.
        TypeError: for arrays of other dtypes, or of other than 1 or 3 channels.
    """
    return enhance(image, contrast_factor, "adjust_contrast: contrast_factor", ImageEnhance.Contrast, _adjust_contrast)


def _adjust_contrast(xp: Backend, array: Any, factor: Any) -> Any:
    check_colors(array, "adjust_contrast")
    grey = luminance(array) if array.shape[-3] == 3 else array
    if array.dtype != np.uint8:
        return blend(xp, array, grey.mean(axis=(-3, -2, -1), keepdims=True), factor)
    total = grey.sum(axis=(-3, -2, -1), keepdims=True, dtype=np.int64)
    mean = xp.floor(total / (array.shape[-2] * array.shape[-1]) + 0.5)  # Pillow blends with a whole number
    return blend(xp, array, mean.astype(np.float32), factor)


def adjust_saturation(image: Any, saturation_factor: Any) -> Any:
    """Move away from grey: 0 gives a grey image, 1 the image itself. An image of one channel stays as it is.

    Raises:
        ValueError: if a factor is negative.
        TypeError: for arrays of other dtypes, or of other than 1 or 3 channels.
    """
    return enhance(
        image, saturation_factor, "adjust_saturation: saturation_factor", ImageEnhance.Color, _adjust_saturation
    )


def _adjust_saturation(xp: Backend, array: Any, factor: Any) -> Any:
    check_colors(array, "adjust_saturation")
    if array.shape[-3] == 1:
        return array
    grey = luminance(array)
    return blend(xp, array, grey if array.dtype != np.uint8 else grey.astype(np.float32), factor)


def adjust_hue(image: Any, hue_factor: Any) -> Any:
    """Turn the hue by a part of the colour circle; lightness and saturation stay. An image of one channel stays as it is.

    Args:
        hue_factor: from −0.5 to 0.5; ±0.5 is the complementary colour, 0 the image itself.

    Raises:
        ValueError: if a factor lies outside [−0.5, 0.5].
        TypeError: for arrays of other dtypes, or of other than 1 or 3 channels.

    On PIL images this goes through Pillow's HSV images, as in torchvision. These hold 8 bits of hue and saturation, so
    that factor 0 changes values by a few levels. Arrays are turned in floating point, and uint8 results rounded. The two
    differ by up to 20 grey levels, where a colour is bright and pure, and by 1 in the mean over all colours and factors (2 at
    the worst factor).

    Example:
        >>> red = np.array([255, 0, 0], np.uint8).reshape(3, 1, 1)
        >>> adjust_hue(red, 1 / 3).ravel().tolist()
        [0, 255, 0]
    """
    if np.size(hue_factor) and np.max(np.abs(hue_factor)) > 0.5:
        worst = np.ravel(hue_factor)[np.argmax(np.abs(hue_factor))]
        raise ValueError(f"adjust_hue: hue_factor should lie in [-0.5, 0.5], got {worst}")
    if is_pil(image):
        return _adjust_hue_pil(image, number(hue_factor))
    return on_array(image, _adjust_hue, hue_factor)


def _adjust_hue_pil(image: Image.Image, factor: float) -> Image.Image:
    if image.mode in ("1", "L", "I", "F"):
        return image
    h, s, v = image.convert("HSV").split()
    h = h.point([(i + int(factor * 255)) % 256 for i in range(256)])
    return Image.merge("HSV", (h, s, v)).convert(image.mode)


def _adjust_hue(xp: Backend, array: Any, factor: Any) -> Any:
    """Hue and value on the hexagon of Smith, "Color gamut transform pairs", SIGGRAPH 1978.

    The hue h goes from 0 to 6 around the hexagon. On the way a channel is at the largest value for two sixths, falls to
    the smallest within one sixth, stays there for two, and rises within one; red, green and blue do so one after the other. With
    the position k = h + 5, 3 or 1 (modulo 6) of a channel it is largest − spread · min(k, 4 − k), the minimum cut off to [0, 1].
    """
    check_colors(array, "adjust_hue")
    if array.shape[-3] == 1:
        return array
    x = array.astype(np.float32) if array.dtype == np.uint8 else array
    r, g, b = (x[..., c : c + 1, :, :] for c in range(3))
    largest = xp.maximum(xp.maximum(r, g), b)
    spread = largest - xp.minimum(xp.minimum(r, g), b)
    sixth = xp.maximum(spread, np.finfo(x.dtype).tiny)  # where the spread is 0, so is what it divides
    hue = xp.where(r == largest, (g - b) / sixth, xp.where(g == largest, (b - r) / sixth + 2, (r - g) / sixth + 4))
    hue += per_image(xp, factor * 6.0, array, x.dtype)
    k = hue + xp.from_numpy(np.array([5, 3, 1], x.dtype).reshape(3, 1, 1))
    k -= xp.floor(k * (1 / 6)) * 6
    share = xp.minimum(k, 4 - k)
    share = xp.clip(share, 0, 1, out=share)
    share *= spread
    out = xp.subtract(largest, share, out=share)
    return xp.rint(out).astype(np.uint8) if array.dtype == np.uint8 else out


def adjust_gamma(image: Any, gamma: Any, gain: Any = 1) -> Any:
    """gain · x ** gamma, where x goes from 0 to 1: gamma above 1 makes shadows darker, below 1 lighter.

    Raises:
        ValueError: if a gamma is negative.
        TypeError: for arrays of other dtypes.
    """
    check_at_least_0(gamma, "adjust_gamma: gamma")
    if is_pil(image):
        table = _gamma_tables(number(gamma), number(gain)).tolist()
        return image.convert("RGB").point(table * 3).convert(image.mode)
    return on_array(image, _adjust_gamma, gamma, gain)


def _gamma_tables(gamma: Any, gain: Any) -> np.ndarray:
    """What becomes of 0 to 255: shape (256,), or (N, 256) for a number for each image. (torchvision drops the fraction.)"""
    gamma, gain = (v[:, None] if np.ndim(v) else v for v in (gamma, gain))
    return np.clip(255.999 * gain * (np.arange(256) / 255.0) ** gamma, 0, 255).astype(np.uint8)


def _adjust_gamma(xp: Backend, array: Any, gamma: Any, gain: Any) -> Any:
    check_dtype(array, "adjust_gamma")
    if array.dtype == np.uint8:
        if array.ndim == 3:
            gamma, gain = number(gamma), number(gain)
        tables = _gamma_tables(gamma, gain)
        if tables.ndim == 1:
            return xp.take(xp.from_numpy(tables), array)
        starts = xp.from_numpy(256 * np.arange(len(tables)).reshape(-1, 1, 1, 1))  # of each image's table
        return xp.take(xp.from_numpy(tables.reshape(-1)), array + starts)
    out = array ** per_image(xp, gamma, array, array.dtype)
    out *= per_image(xp, gain, array, array.dtype)
    return xp.clip(out, 0, 1, out=out).astype(array.dtype, copy=False)


def permute_channels(image: Any, permutation: Any) -> Any:
    """Put the channels in another order: channel i of the result is channel ``permutation[i]`` of the image.

    Args:
        permutation: a sequence, or an integer NumPy array, of shape (C,); or (N, C), one row for each image of a batch.

    Raises:
        ValueError: if there are more or fewer channels than places in the permutation.
    """
    order = np.asarray(permutation)
    if is_pil(image):
        bands = image.split()
        _check_permutation(order, len(bands))
        return Image.merge(image.mode, [bands[i] for i in order.reshape(-1)]) if len(bands) > 1 else image
    return on_array(image, _permute_channels, order)


def _permute_channels(xp: Backend, array: Any, order: np.ndarray) -> Any:
    _check_permutation(order, array.shape[-3])
    if array.ndim == 3 or order.ndim == 1:
        return xp.take(array, xp.from_numpy(order.reshape(-1)), axis=-3)
    return array[xp.arange(len(array))[:, None], xp.from_numpy(order)]


def _check_permutation(order: np.ndarray, channels: int) -> None:
    if order.shape[-1] != channels:
        raise ValueError(f"permute_channels: a permutation of {order.shape[-1]} for images of {channels} channels")


def cast_color(image: Any, shift: Any, scale: Any) -> Any:
    """Colour cast: x · (1 + scale) + shift in each channel, cut off at black and white.

    Args:
        shift: fractions of the full range, shape (C,); or (N, C), one row for each image of a batch.
        scale: likewise.

    Raises:
        ValueError: if there is not one number for each channel.
        TypeError: for arrays of other dtypes.

    uint8 results are rounded to the nearest whole number. The alpha channel of a PIL image stays as it is.

    Example:
        >>> cast_color(np.full((2, 1, 1), 0.5), shift=np.array([0.25, 0.0]), scale=np.array([0.0, -0.5])).ravel().tolist()
        [0.75, 0.25]
    """
    shift, scale = np.asarray(shift, dtype=np.float64), np.asarray(scale, dtype=np.float64)
    if not is_pil(image):
        return on_array(image, _cast_color, shift, scale)
    bands = image.getbands()
    tables = on_array(np.tile(np.arange(256, dtype=np.uint8), (len(bands), 1, 1)), _cast_color, shift, scale)
    for table, band in zip(tables, bands, strict=True):
        if band == "A":
            table[...] = np.arange(256)
    return image.point(tables.reshape(-1).tolist())


def _cast_color(xp: Backend, array: Any, shift: np.ndarray, scale: np.ndarray) -> Any:
    check_dtype(array, "cast_color")
    for name, value in (("shift", shift), ("scale", scale)):
        if value.ndim == 0 or value.shape[-1] != array.shape[-3]:
            raise ValueError(
                f"cast_color: {name} should have one number for each of {array.shape[-3]} channels, got shape {value.shape}"
            )
    dtype = np.float32 if array.dtype == np.uint8 else array.dtype
    rows = (-1, array.shape[-3], 1, 1) if array.ndim == 4 else (array.shape[-3], 1, 1)
    out = array * xp.from_numpy((1 + scale).astype(dtype).reshape(rows))
    out += xp.from_numpy((shift * full(array)).astype(dtype).reshape(rows))
    out = xp.clip(out, 0, full(array), out=out)
    return xp.rint(out).astype(np.uint8) if array.dtype == np.uint8 else out
