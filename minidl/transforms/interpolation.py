"""How values between pixels are found: the names that torchvision and Pillow have for it."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
from PIL import Image


class InterpolationMode(Enum):
    """Ways to interpolate, as in ``torchvision.transforms.InterpolationMode``.

    NEAREST and NEAREST_EXACT are the same here, on PIL images and on arrays: the pixel whose area holds the new pixel's centre.
    """

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


_PILLOW = {
    InterpolationMode.NEAREST: Image.Resampling.NEAREST,
    InterpolationMode.BILINEAR: Image.Resampling.BILINEAR,
    InterpolationMode.BICUBIC: Image.Resampling.BICUBIC,
    InterpolationMode.BOX: Image.Resampling.BOX,
    InterpolationMode.HAMMING: Image.Resampling.HAMMING,
    InterpolationMode.LANCZOS: Image.Resampling.LANCZOS,
    InterpolationMode.NEAREST_EXACT: Image.Resampling.NEAREST,
}
_BY_NAME = {mode.value: mode for mode in InterpolationMode}
_BY_NUMBER = {int(constant): mode for mode, constant in reversed(_PILLOW.items())}  # NEAREST comes last, and stays


def check_interpolation(interpolation: Any, name: str = "transform") -> InterpolationMode:
    """Return the mode, which may be given as its name ("bilinear") or as Pillow's integer constant too
    (``PIL.Image.BILINEAR``).

    Raises:
        ValueError: if it is none of these.
    """
    if isinstance(interpolation, InterpolationMode):
        return interpolation
    if isinstance(interpolation, str) and interpolation in _BY_NAME:
        return _BY_NAME[interpolation]
    if isinstance(interpolation, (int, np.integer)) and int(interpolation) in _BY_NUMBER:
        return _BY_NUMBER[int(interpolation)]
    raise ValueError(
        f"{name}: interpolation should be an InterpolationMode, its name ({', '.join(map(repr, _BY_NAME))}) or one of "
        f"Pillow's constants 0 to 5, got {interpolation!r}"
    )


def to_pillow(mode: InterpolationMode) -> Image.Resampling:
    """Return Pillow's constant for the mode."""
    return _PILLOW[mode]
