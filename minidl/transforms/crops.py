"""Transforms that cut windows out of images, as they are; ``RandomResizedCrop`` is in ``minidl.transforms.resizing``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.data import draws
from minidl.transforms.arguments import check_fill, check_padding_mode, four_sides, height_width
from minidl.transforms.functional.geometry import Fill, center_crop, crop, five_crop, pad, ten_crop
from minidl.transforms.images import images_in
from minidl.transforms.transform import Transform


class CenterCrop(Transform):
    """Cut the middle out of each image; an image that is smaller than that is first padded with zeros.

    Args:
        size: (height, width), or one number for both.

    Raises:
        ValueError: if the size is not one or two positive numbers.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = height_width(size, type(self).__name__)

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return center_crop(image, self.size)

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
        TypeError: if ``fill`` is neither a number nor a sequence.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] | None = None,
        pad_if_needed: bool = False,
        fill: Fill = 0,
        padding_mode: str = "constant",
    ) -> None:
        self.size = height_width(size, type(self).__name__)
        self.padding = None if padding is None else four_sides(padding, type(self).__name__)
        self.pad_if_needed = pad_if_needed
        self.fill = check_fill(fill, type(self).__name__)
        self.padding_mode = check_padding_mode(padding_mode, type(self).__name__)

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
        u = draws.uniform(images_in(shape), 2)
        corner = (u * (height - h + 1, width - w + 1)).astype(np.int64)
        return {"padding": (left, top, right, bottom), "top": corner[:, 0], "left": corner[:, 1]}

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        padded = pad(image, params["padding"], self.fill, self.padding_mode)
        return crop(padded, params["top"], params["left"], *self.size)

    def extra_repr(self) -> str:
        return (
            f"size={self.size}, padding={self.padding}, pad_if_needed={self.pad_if_needed}, fill={self.fill}, "
            f"padding_mode={self.padding_mode!r}"
        )


class FiveCrop(Transform):
    """Cut out the four corners and the middle: a tuple (top left, top right, bottom left, bottom right, centre).

    Args:
        size: (height, width) of each crop, or one number for both.

    Raises:
        ValueError: if the size is not one or two positive numbers; when called, if the crops are larger than the image.

    Example:
        >>> crops = FiveCrop(24)(minidl.zeros(8, 3, 32, 32))
        >>> len(crops), crops[0].shape
        (5, (8, 3, 24, 24))
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = height_width(size, type(self).__name__)

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return five_crop(image, self.size)

    def extra_repr(self) -> str:
        return f"size={self.size}"


class TenCrop(Transform):
    """``FiveCrop`` of an image and of its mirror image: a tuple of ten.

    Args:
        size: (height, width) of each crop, or one number for both.
        vertical_flip: mirror top to bottom instead of left to right.

    Raises:
        ValueError: as ``FiveCrop``.
    """

    def __init__(self, size: int | Sequence[int], vertical_flip: bool = False) -> None:
        self.size = height_width(size, type(self).__name__)
        self.vertical_flip = vertical_flip

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return ten_crop(image, self.size, self.vertical_flip)

    def extra_repr(self) -> str:
        return f"size={self.size}, vertical_flip={self.vertical_flip}"
