"""Transforms that move pixels: flips, crops and padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.backend import Backend
from minidl.data import draws
from minidl.transforms.transform import Transform

_PADDING_MODES = ("constant", "edge", "reflect", "symmetric")


class _RandomFlip(Transform):
    """Reverses an axis of each image with probability ``p``."""

    axis: int

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p should be a number in [0, 1], got {p}")
        self.p = p

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``{"flip": bool array (N,)}``."""
        return {"flip": draws.uniform(_images(shape), 1)[:, 0] < self.p}

    def apply(self, xp: Backend, array: Any, params: dict[str, Any]) -> Any:
        if array.ndim == 3:
            return xp.flip(array, self.axis) if params["flip"][0] else array
        which = xp.from_numpy(np.flatnonzero(params["flip"]))
        out = array.copy()
        out[which] = xp.flip(array[which], self.axis)
        return out

    def extra_repr(self) -> str:
        return f"p={self.p}"


class RandomHorizontalFlip(_RandomFlip):
    """Mirror each image left to right with probability ``p``.

    Raises:
        ValueError: if ``p`` lies outside [0, 1].
    """

    axis = -1


class RandomVerticalFlip(_RandomFlip):
    """Mirror each image top to bottom with probability ``p``.

    Raises:
        ValueError: if ``p`` lies outside [0, 1].
    """

    axis = -2


class Pad(Transform):
    """Put a border around the images.

    Args:
        padding: pixels on every side; or (left and right, top and bottom); or (left, top, right, bottom).
        fill: the border's value, or one value for each channel; for mode "constant" only.
        padding_mode: "constant"; "edge" repeats the last pixel; "reflect" mirrors without it and "symmetric" with it.

    Raises:
        ValueError: if there are not 1, 2 or 4 paddings, one is negative, or the mode is unknown.
    """

    def __init__(
        self, padding: int | Sequence[int], fill: float | Sequence[float] = 0, padding_mode: str = "constant"
    ) -> None:
        self.padding = _four_sides(padding, type(self).__name__)
        self.fill = fill
        self.padding_mode = _check_padding_mode(padding_mode, type(self).__name__)

    def apply(self, xp: Backend, array: Any, params: dict[str, Any]) -> Any:
        return _pad(xp, array, self.padding, self.fill, self.padding_mode)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, fill={self.fill}, padding_mode={self.padding_mode!r}"


class CenterCrop(Transform):
    """Cut the middle out of each image; an image that is smaller than that is first padded with zeros.

    Args:
        size: (height, width), or one number for both.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = _height_width(size, type(self).__name__)

    def apply(self, xp: Backend, array: Any, params: dict[str, Any]) -> Any:
        (height, width), (h, w) = array.shape[-2:], self.size
        missing_h, missing_w = max(h - height, 0), max(w - width, 0)
        if missing_h or missing_w:
            sides = (missing_w // 2, missing_h // 2, (missing_w + 1) // 2, (missing_h + 1) // 2)
            array = _pad(xp, array, sides, 0, "constant")
            height, width = array.shape[-2:]
        top, left = round((height - h) / 2), round((width - w) / 2)  # torchvision's rounding
        return array[..., top : top + h, left : left + w]

    def extra_repr(self) -> str:
        return f"size={self.size}"


class RandomCrop(Transform):
    """Cut a window out of each image, at a random place, after padding.

    Args:
        size: (height, width), or one number for both.
        padding: as in ``Pad``; None for no padding.
        pad_if_needed: pad an image that is smaller than the window (by what is missing, on both sides).
        fill, padding_mode: as in ``Pad``.

    Raises:
        ValueError: if an image is smaller than the window, or for a wrong argument.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] | None = None,
        pad_if_needed: bool = False,
        fill: float | Sequence[float] = 0,
        padding_mode: str = "constant",
    ) -> None:
        self.size = _height_width(size, type(self).__name__)
        self.padding = None if padding is None else _four_sides(padding, type(self).__name__)
        self.pad_if_needed = pad_if_needed
        self.fill = fill
        self.padding_mode = _check_padding_mode(padding_mode, type(self).__name__)

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``{"padding": (left, top, right, bottom), "top": int array (N,), "left": int array (N,)}``."""
        (height, width), (h, w) = shape[-2:], self.size
        left, top, right, bottom = self.padding or (0, 0, 0, 0)
        if self.pad_if_needed:
            missing_h, missing_w = max(h - height - top - bottom, 0), max(w - width - left - right, 0)
            left, top, right, bottom = left + missing_w, top + missing_h, right + missing_w, bottom + missing_h
        height, width = height + top + bottom, width + left + right
        if height < h or width < w:
            padded = "" if self.padding is None else "padded "
            raise ValueError(
                f"RandomCrop: required crop size {self.size} is larger than the {padded}image size {(height, width)}"
            )
        u = draws.uniform(_images(shape), 2)
        corner = (u * (height - h + 1, width - w + 1)).astype(np.int64)
        return {"padding": (left, top, right, bottom), "top": corner[:, 0], "left": corner[:, 1]}

    def apply(self, xp: Backend, array: Any, params: dict[str, Any]) -> Any:
        array = _pad(xp, array, params["padding"], self.fill, self.padding_mode)
        h, w = self.size
        if array.ndim == 3:
            top, left = int(params["top"][0]), int(params["left"][0])
            return array[:, top : top + h, left : left + w]
        windows = xp.lib.stride_tricks.sliding_window_view(
            array, (h, w), axis=(2, 3)
        )  # (N, C, tops, lefts, h, w), no copy
        top, left = xp.from_numpy(params["top"]), xp.from_numpy(params["left"])
        return windows[xp.arange(len(array)), :, top, left]

    def extra_repr(self) -> str:
        return (
            f"size={self.size}, padding={self.padding}, pad_if_needed={self.pad_if_needed}, fill={self.fill}, "
            f"padding_mode={self.padding_mode!r}"
        )


def _pad(xp: Backend, array: Any, sides: tuple[int, int, int, int], fill: float | Sequence[float], mode: str) -> Any:
    left, top, right, bottom = sides
    if not any(sides):
        return array
    if mode != "constant":
        widths = [(0, 0)] * (array.ndim - 2) + [(top, bottom), (left, right)]
        return xp.pad(array, widths, mode=mode)
    *outer, height, width = array.shape
    values = np.asarray(fill, dtype=array.dtype).reshape(-1)
    if len(values) not in (1, array.shape[-3]):
        raise ValueError(f"pad: fill has {len(values)} values for images of {array.shape[-3]} channels")
    out = xp.empty((*outer, height + top + bottom, width + left + right), dtype=array.dtype)
    out[...] = xp.from_numpy(values[:, None, None])
    out[..., top : top + height, left : left + width] = array
    return out


def _images(shape: tuple[int, ...]) -> int:
    return shape[0] if len(shape) == 4 else 1


def _height_width(size: int | Sequence[int], name: str) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) == 1:
        pair *= 2
    if len(pair) != 2 or min(pair) <= 0:
        raise ValueError(f"{name}: size should be one or two positive numbers (height, width), got {size}")
    return pair


def _four_sides(padding: int | Sequence[int], name: str) -> tuple[int, int, int, int]:
    sides = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(sides) not in (1, 2, 4) or min(sides) < 0:
        raise ValueError(f"{name}: padding should be 1, 2 or 4 numbers >= 0, got {padding}")
    left, top, right, bottom = sides * (4 // len(sides))
    return left, top, right, bottom


def _check_padding_mode(mode: str, name: str) -> str:
    if mode not in _PADDING_MODES:
        raise ValueError(f"{name}: padding_mode should be one of {', '.join(_PADDING_MODES)}, got {mode!r}")
    return mode
