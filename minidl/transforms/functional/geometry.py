"""Flips, padding and crops, of PIL images, arrays (C, H, W) and batches (N, C, H, W)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from minidl.backend import Backend
from minidl.transforms.arguments import check_padding_mode, four_sides, height_width
from minidl.transforms.functional.meta import get_size
from minidl.transforms.images import is_pil, number, on_array, shape_of

Fill = float | Sequence[float] | None


def horizontal_flip(image: Any) -> Any:
    """Mirror left to right.

    Raises:
        TypeError, ValueError: if ``image`` is none; see ``minidl.transforms.images.shape_of``.

    Example:
        >>> horizontal_flip(np.array([[[1, 2, 3]]]))
        array([[[3, 2, 1]]])
    """
    if is_pil(image):
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return on_array(image, _horizontal_flip)


def _horizontal_flip(xp: Backend, array: Any) -> Any:
    return xp.flip(array, -1)


def vertical_flip(image: Any) -> Any:
    """Mirror top to bottom. Raises: as ``horizontal_flip``."""
    if is_pil(image):
        return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return on_array(image, _vertical_flip)


def _vertical_flip(xp: Backend, array: Any) -> Any:
    return xp.flip(array, -2)


hflip, vflip = horizontal_flip, vertical_flip


# -- padding -----------------------------------------------------------------------------------------------------------


def pad(image: Any, padding: int | Sequence[int], fill: Fill = None, padding_mode: str = "constant") -> Any:
    """Put a border around an image.

    Args:
        image: a PIL image, or a Tensor or array (C, H, W) or (N, C, H, W).
        padding: pixels on every side; or (left and right, top and bottom); or (left, top, right, bottom).
        fill: the border's value, or one value for each channel; None is 0; for mode "constant" only.
        padding_mode: "constant"; "edge" repeats the last pixel; "reflect" mirrors without it and "symmetric" with it.

    Raises:
        ValueError: if there are not 1, 2 or 4 paddings, one is negative, the mode is unknown, or ``fill`` has as many values
            as the image has not channels.
        TypeError: if ``image`` is none.

    Example:
        >>> pad(np.array([[[5]]]), (1, 0), fill=9)
        array([[[9, 5, 9]]])
    """
    sides, mode = four_sides(padding, "pad"), check_padding_mode(padding_mode, "pad")
    if not any(sides):
        shape_of(image, "pad")
        return image
    return _pad_pil(image, sides, fill, mode) if is_pil(image) else on_array(image, _pad, sides, fill, mode)


def _pad(xp: Backend, array: Any, sides: tuple[int, int, int, int], fill: Fill, mode: str) -> Any:
    left, top, right, bottom = sides
    if mode != "constant":
        widths = [(0, 0)] * (array.ndim - 2) + [(top, bottom), (left, right)]
        return xp.pad(array, widths, mode=mode)
    *outer, height, width = array.shape
    values = np.asarray(0 if fill is None else fill, dtype=array.dtype).reshape(-1)
    _check_fill(len(values), array.shape[-3])
    out = xp.empty((*outer, height + top + bottom, width + left + right), dtype=array.dtype)
    out[...] = xp.from_numpy(values[:, None, None])
    out[..., top : top + height, left : left + width] = array
    return out


def _check_fill(values: int, channels: int) -> None:
    if values not in (1, channels):
        raise ValueError(f"pad: fill has {values} values for images of {channels} channels")


def _pad_pil(image: Any, sides: tuple[int, int, int, int], fill: Fill, mode: Any) -> Any:
    palette = image.getpalette() if image.mode == "P" else None
    if mode == "constant":
        padded = ImageOps.expand(image, sides, _pil_fill(image, fill))
    else:
        left, top, right, bottom = sides
        pixels = np.asarray(image)
        pixels = np.pad(pixels, [(top, bottom), (left, right), (0, 0)][: pixels.ndim], mode=mode)
        padded = Image.fromarray(pixels)
        if padded.mode != image.mode:  # what an array does not tell: CMYK, HSV, YCbCr, P
            padded = Image.frombytes(image.mode, padded.size, pixels.tobytes())
    if palette is not None:
        padded.putpalette(palette)
    return padded


def _pil_fill(image: Any, fill: Fill) -> Any:
    """The fill as Pillow wants it: a number for one channel, a tuple for more, whole unless the mode is F."""
    values = np.asarray(0 if fill is None else fill).reshape(-1).tolist()
    channels = len(image.getbands())
    _check_fill(len(values), channels)
    if image.mode != "F":
        values = [int(v) for v in values]
    return values[0] if channels == 1 else tuple(values * (channels // len(values)))


# -- crops -------------------------------------------------------------------------------------------------------------


def crop(image: Any, top: Any, left: Any, height: Any, width: Any) -> Any:
    """Cut a window out of an image. What lies outside the image is 0.

    Args:
        image: a PIL image, or a Tensor or array (C, H, W) or (N, C, H, W).
        top, left: where the window begins.
        height, width: of the window.

    For a batch each of the four may be a NumPy array (N,), one value for each image.

    Raises:
        ValueError: if a height or width is negative, or if they differ among the images of a batch.
        TypeError: if ``image`` is none.

    Example:
        >>> crop(np.arange(9).reshape(1, 3, 3), top=1, left=1, height=2, width=3)
        array([[[4, 5, 0],
                [7, 8, 0]]])
    """
    if is_pil(image):
        top, left, height, width = (int(number(v)) for v in (top, left, height, width))
        _check_window(height, width)
        return image.crop((left, top, left + width, top + height))
    return on_array(image, _crop, *(np.asarray(v, np.int64).reshape(-1) for v in (top, left, height, width)))


def _crop(xp: Backend, array: Any, top: np.ndarray, left: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> Any:
    height, width = int(heights[0]), int(widths[0])
    _check_window(int(heights.min()), int(widths.min()))
    if (heights != height).any() or (widths != width).any():
        raise ValueError(
            f"crop: the windows of a batch need one height and width, got heights {heights.tolist()} and widths {widths.tolist()}"
        )
    array, top, left = cover(xp, array, top, left, heights, widths)
    if len(top) and (top == top[0]).all() and (left == left[0]).all():
        return array[..., top[0] : top[0] + height, left[0] : left[0] + width]
    top, left = (np.broadcast_to(v, len(array)) for v in (top, left))
    windows = xp.lib.stride_tricks.sliding_window_view(array, (height, width), axis=(2, 3))
    return windows[
        xp.arange(len(array)), :, xp.from_numpy(top), xp.from_numpy(left)
    ]  # of (N, C, tops, lefts, h, w), no copy


def cover(
    xp: Backend, array: Any, top: np.ndarray, left: np.ndarray, height: np.ndarray, width: np.ndarray
) -> tuple[Any, np.ndarray, np.ndarray]:
    """Pad the images with zeros as far as some window reaches out of them. Returns them, and where the windows are then."""
    rows, columns = array.shape[-2:]
    outside = -left, -top, left + width - columns, top + height - rows
    sides = tuple(int(side.max(initial=0)) for side in outside)
    if any(sides):
        array = _pad(xp, array, sides, 0, "constant")  # type: ignore[arg-type]
    return array, top + sides[1], left + sides[0]


def _check_window(height: int, width: int) -> None:
    if height < 0 or width < 0:
        raise ValueError(f"crop: height and width should not be negative, got {height} and {width}")


def center_crop(image: Any, output_size: int | Sequence[int]) -> Any:
    """Cut the middle out of an image; one that is smaller than that is first padded with zeros.

    Args:
        image: a PIL image, or a Tensor or array (C, H, W) or (N, C, H, W).
        output_size: (height, width), or one number for both.

    Raises:
        ValueError: if the size is not one or two positive numbers.
        TypeError: if ``image`` is none.
    """
    h, w = height_width(output_size, "center_crop")
    height, width = shape_of(image, "center_crop")[-2:]
    missing_h, missing_w = max(h - height, 0), max(w - width, 0)
    if missing_h or missing_w:
        image = pad(image, (missing_w // 2, missing_h // 2, (missing_w + 1) // 2, (missing_h + 1) // 2))
        height, width = height + missing_h, width + missing_w
    return crop(image, round((height - h) / 2), round((width - w) / 2), h, w)  # torchvision's rounding


def five_crop(image: Any, size: int | Sequence[int]) -> tuple[Any, Any, Any, Any, Any]:
    """Cut out the four corners and the middle.

    Args:
        image: a PIL image, or a Tensor or array (C, H, W) or (N, C, H, W).
        size: (height, width) of each crop, or one number for both.

    Returns:
        Top left, top right, bottom left, bottom right, centre: five images, or five batches.

    Raises:
        ValueError: if the crops are larger than the image, or the size is not one or two positive numbers.
        TypeError: if ``image`` is none.
    """
    h, w = height_width(size, "five_crop")
    shape_of(image, "five_crop")
    height, width = get_size(image)
    if h > height or w > width:
        raise ValueError(f"five_crop: crop size {(h, w)} is larger than the image size {(height, width)}")
    bottom, right = height - h, width - w
    corners = [crop(image, top, left, h, w) for top in (0, bottom) for left in (0, right)]
    return corners[0], corners[1], corners[2], corners[3], center_crop(image, (h, w))


def ten_crop(image: Any, size: int | Sequence[int], vertical_flip: bool = False) -> tuple[Any, ...]:
    """``five_crop`` of an image, and of its mirror image: left to right, or top to bottom with ``vertical_flip``.

    Returns:
        Ten images, or ten batches. Raises: as ``five_crop``.
    """
    mirrored = vflip(image) if vertical_flip else hflip(image)
    return five_crop(image, size) + five_crop(mirrored, size)
