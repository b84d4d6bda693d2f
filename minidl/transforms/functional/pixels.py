"""What the functions of colour share: which arrays are images, and blending."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.backend import Backend
from minidl.transforms.images import is_pil, number, on_array, per_image


def check_colors(array: Any, name: str, channels: tuple[int, ...] = (1, 3)) -> None:
    """Raise TypeError unless the array is uint8 or floating point, with as many channels as a grey or an RGB image."""
    check_dtype(array, name)
    if array.shape[-3] not in channels:
        wanted = " or ".join(map(str, channels))
        raise TypeError(f"{name}: expected images of {wanted} channels, got {array.shape[-3]} (shape {array.shape})")


def check_dtype(array: Any, name: str) -> None:
    """Raise TypeError unless the array is uint8 (0 to 255) or floating point (0 to 1)."""
    if array.dtype.kind != "f" and array.dtype != np.uint8:
        raise TypeError(f"{name}: expected images of dtype uint8 or floating point, got {array.dtype}")


def check_at_least_0(value: Any, what: str) -> None:
    """Raise ValueError if a number, or one of a number per image, is negative."""
    if np.size(value) and np.min(value) < 0:
        raise ValueError(f"{what} should be >= 0, got {np.min(value)}")


def enhance(image: Any, factor: Any, what: str, pillow: Callable[[Any], Any], function: Callable[..., Any]) -> Any:
    """Move an image away from, or towards, another one by a factor: by one of Pillow's enhancers, or by the same for arrays.

    Args:
        factor: a number >= 0, or one for each image; ``what`` names it in the error.
        pillow: of ``PIL.ImageEnhance``. function: ``function(xp, array, factor)``.

    Raises:
        ValueError: if a factor is negative.
    """
    check_at_least_0(factor, what)
    return pillow(image).enhance(number(factor)) if is_pil(image) else on_array(image, function, factor)


def full(array: Any) -> float:
    """The value of white: 255 for uint8 and 1.0 for floating point."""
    return 255 if array.dtype == np.uint8 else 1.0


def blend(xp: Backend, array: Any, other: Any, factor: Any) -> Any:
    """other + factor · (array − other), cut off at black and white. ``factor`` is a number, or one for each image.

    ``other`` is a number or broadcasts against the array; for uint8 it holds whole numbers, as float32 or uint8.
    A uint8 result is ``PIL.Image.blend``'s: float32 arithmetic, the fraction dropped. For floating point the sum is written as
    factor · array + (1 − factor) · other, so that factor 1 gives the very numbers back.
    """
    if array.dtype == np.uint8:
        out = array.astype(np.float32)
        out -= other
        out *= per_image(xp, factor, array, np.float32)
        out += other
    else:
        out = array * per_image(xp, factor, array, array.dtype)
        out += other * per_image(xp, 1.0 - factor, array, array.dtype)
    return xp.clip(out, 0, full(array), out=out).astype(array.dtype, copy=False)
