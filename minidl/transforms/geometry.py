"""Transforms that mirror and pad images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.backend import Backend
from minidl.data import draws
from minidl.transforms.arguments import check_fill, check_padding_mode, check_probability, four_sides
from minidl.transforms.functional.geometry import Fill, horizontal_flip, pad, vertical_flip
from minidl.transforms.images import images_in, is_pil, on_array
from minidl.transforms.transform import Transform


class _RandomFlip(Transform):
    """Mirrors each image with probability ``p``."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = check_probability(p, type(self).__name__)

    def flip(self, image: Any) -> Any:
        """Mirror an image or all images of a batch."""
        raise NotImplementedError

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``{"flip": bool array (N,)}``."""
        return {"flip": draws.uniform(images_in(shape), 1)[:, 0] < self.p}

    def of_pil(self, image: Any) -> Any:
        return self.flip(image) if draws.uniform(1, 1).item() < self.p else image

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        flip = params["flip"]
        if flip.all():
            return self.flip(image)
        if is_pil(image) or not flip.any():
            return image
        return on_array(image, self._flip_some, flip)

    def _flip_some(self, xp: Backend, array: Any, flip: np.ndarray) -> Any:
        which = xp.from_numpy(np.flatnonzero(flip))
        out = array.copy()
        out[which] = self.flip(array[which])
        return out

    def extra_repr(self) -> str:
        return f"p={self.p}"


class RandomHorizontalFlip(_RandomFlip):
    """Mirror each image left to right with probability ``p``.

    Raises:
        ValueError: if ``p`` lies outside [0, 1].
    """

    def flip(self, image: Any) -> Any:
        return horizontal_flip(image)


class RandomVerticalFlip(_RandomFlip):
    """Mirror each image top to bottom with probability ``p``.

    Raises:
        ValueError: if ``p`` lies outside [0, 1].
    """

    def flip(self, image: Any) -> Any:
        return vertical_flip(image)


class Pad(Transform):
    """Put a border around the images.

    Args:
        padding: pixels on every side; or (left and right, top and bottom); or (left, top, right, bottom).
        fill: the border's value, or one value for each channel; for mode "constant" only.
        padding_mode: "constant"; "edge" repeats the last pixel; "reflect" mirrors without it and "symmetric" with it.

    Raises:
        ValueError: if there are not 1, 2 or 4 paddings, one is negative, or the mode is unknown.
        TypeError: if ``fill`` is neither a number nor a sequence.
    """

    def __init__(self, padding: int | Sequence[int], fill: Fill = 0, padding_mode: str = "constant") -> None:
        self.padding = four_sides(padding, type(self).__name__)
        self.fill = check_fill(fill, type(self).__name__)
        self.padding_mode = check_padding_mode(padding_mode, type(self).__name__)

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return pad(image, self.padding, self.fill, self.padding_mode)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, fill={self.fill}, padding_mode={self.padding_mode!r}"
