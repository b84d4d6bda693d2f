"""Resizing, of PIL images, arrays (C, H, W) and batches (N, C, H, W)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

from minidl.backend import Backend
from minidl.transforms.functional.geometry import cover, crop
from minidl.transforms.functional.resampling import Axis, resample
from minidl.transforms.images import is_pil, on_array, shape_of
from minidl.transforms.interpolation import InterpolationMode, check_interpolation, to_pillow

Size = int | Sequence[int] | None


def resize(
    image: Any,
    size: Size,
    interpolation: InterpolationMode | str | int = InterpolationMode.BILINEAR,
    max_size: int | None = None,
    antialias: bool | None = True,
) -> Any:
    """Resize an image.

    Args:
        image: a PIL image, or a Tensor or array (C, H, W) or (N, C, H, W).
        size: (height, width); or the length of the shorter side, the other one in proportion, rounded down; or None, to make
            the longer side ``max_size`` long.
        interpolation: how; its name, such as "bilinear", and Pillow's integer constants are accepted too.
        max_size: no side becomes longer than this, even if the shorter one then gets shorter than ``size``.
        antialias: whether the filter grows with the reduction, for BILINEAR and BICUBIC on arrays; all else is antialiased
            anyway.

    Returns:
        What ``image`` was. uint8 images are what the installed Pillow makes of them, exactly (with ``antialias``; an array of
        2 or 4 channels is like a PIL image without alpha). Float images agree with Pillow's mode F to rounding.

    Raises:
        ValueError: for a wrong size, max_size or interpolation, or an image without pixels.
        TypeError: if ``image`` is none, or of dtype bool and not resized with NEAREST.

    Unlike in torchvision, arrays can be resized with every filter, and NEAREST takes the same pixels of arrays as of PIL
    images.

    Example:
        >>> resize(np.zeros((3, 40, 60), np.uint8), 20).shape
        (3, 20, 30)
    """
    mode = check_interpolation(interpolation, "resize")
    old = shape_of(image, "resize")[-2:]
    new = resized_size(old, size, max_size)
    if is_pil(image):
        _warn_of_antialias(antialias)
        return image if new == old else image.resize(new[::-1], to_pillow(mode))
    if new == old:
        return image
    return on_array(image, _resize, new, mode, bool(antialias))


def _warn_of_antialias(antialias: bool | None) -> None:
    if antialias is False:
        warnings.warn("resize: antialias=False is ignored, because PIL images are always antialiased", stacklevel=3)


def _resize(xp: Backend, array: Any, size: tuple[int, int], mode: InterpolationMode, antialias: bool) -> Any:
    batch = array[None] if array.ndim == 3 else array
    rows, columns = (Axis.whole(old, new) for old, new in zip(array.shape[-2:], size, strict=True))
    out = resample(xp, batch, rows, columns, mode, antialias)
    return out[0] if array.ndim == 3 else out


def resized_size(old: Sequence[int], size: Size, max_size: int | None = None) -> tuple[int, int]:
    """Return the (height, width) that ``resize`` makes of ``old``.

    Raises:
        ValueError: as ``resize``.
    """
    height, width = old
    wanted: tuple[Any, ...] = tuple(size) if hasattr(size, "__iter__") else (size,)  # type: ignore[arg-type]
    if len(wanted) not in (1, 2) or any(not isinstance(s, Integral) or s <= 0 for s in wanted if s is not None):
        raise ValueError(f"resize: size should be one or two positive whole numbers, or None, got {size}")
    if max_size is not None and (not isinstance(max_size, Integral) or max_size <= 0):
        raise ValueError(f"resize: max_size should be a positive whole number, got {max_size}")
    if min(height, width) <= 0:
        raise ValueError(f"resize: the image has no pixels, its size is {(height, width)}")
    if len(wanted) == 2:
        if max_size is not None:
            raise ValueError(f"resize: max_size goes with the length of the shorter side or None, but size is {size}")
        return int(wanted[0]), int(wanted[1])
    shorter, longer = sorted((height, width))
    if wanted[0] is None:
        if max_size is None:
            raise ValueError("resize: max_size should be given when size is None")
        short, long = int(max_size * shorter / longer), int(max_size)
    else:
        short, long = int(wanted[0]), int(wanted[0] * longer / shorter)
        if max_size is not None:
            if max_size <= short:
                raise ValueError(f"resize: max_size should be greater than the shorter side, got {max_size} and {size}")
            if long > max_size:
                short, long = int(max_size * short / long), int(max_size)
    if short <= 0:
        raise ValueError(
            f"resize: an image of size {(height, width)} would lose all pixels, size={size}, max_size={max_size}"
        )
    return (long, short) if width <= height else (short, long)


def resized_crop(
    image: Any,
    top: Any,
    left: Any,
    height: Any,
    width: Any,
    size: Size,
    interpolation: InterpolationMode | str | int = InterpolationMode.BILINEAR,
    antialias: bool | None = True,
) -> Any:
    """Cut a window out of an image, and resize it: ``resize(crop(image, top, left, height, width), size)``.

    For a batch ``top``, ``left``, ``height`` and ``width`` may each be a NumPy array (N,), one value for each image. The windows
    may be of different sizes, if all become equally large.

    Raises:
        ValueError: as ``crop`` and ``resize``, or if the windows of a batch become differently large.
        TypeError: as ``resize``.
    """
    mode = check_interpolation(interpolation, "resized_crop")
    if is_pil(image):
        return resize(crop(image, top, left, height, width), size, mode, antialias=antialias)
    window = [np.asarray(v, np.int64).reshape(-1) for v in (top, left, height, width)]
    return on_array(image, _resized_crop, np.broadcast_arrays(*window), size, mode, bool(antialias))


def _resized_crop(
    xp: Backend, array: Any, window: Sequence[np.ndarray], size: Size, mode: InterpolationMode, antialias: bool
) -> Any:
    top, left, height, width = window
    sizes = {resized_size(pair, size) for pair in zip(height.tolist(), width.tolist(), strict=True)}
    if not sizes:  # no windows, for a batch of no images
        return _resize(xp, array, resized_size(array.shape[-2:], size), mode, antialias)
    if len(sizes) != 1:
        raise ValueError(
            f"resized_crop: the images of a batch should become equally large, got {sorted(sizes)} with size={size}"
        )
    batch, top, left = cover(xp, array[None] if array.ndim == 3 else array, top, left, height, width)
    (new,) = sizes
    rows = Axis(batch.shape[2], top, height, new[0])
    columns = Axis(batch.shape[3], left, width, new[1])
    out = resample(xp, batch, rows, columns, mode, antialias)
    return out[0] if array.ndim == 3 else out
