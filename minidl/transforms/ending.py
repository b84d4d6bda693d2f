"""The end of many pipelines, ``ToTensor`` or ``ToTensor, Normalize``, written straight into a batch.

Done one after the other these make three arrays of every image, and collating makes a fourth; here every colour is
converted where it will lie. The plain twin is the transforms themselves: the numbers are the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from minidl.transforms.containers import Compose
from minidl.transforms.conversion import ToTensor
from minidl.transforms.functional.conversion import plane_of
from minidl.transforms.values import Normalize


class Ending(NamedTuple):
    """A pipeline that ends so: what comes before, and the numbers to normalise by (None: it only converts)."""

    before: list[Callable[[Any], Any]]
    means: list[float] | None
    stds: list[float] | None

    def prepare(self, image: Any) -> Any:
        """What is to be converted."""
        for transform in self.before:
            image = transform(image)
        return image

    def shape(self, image: Any) -> tuple[int, int, int] | None:
        """The shape of the result, (3, H, W); None if this is no image that ``convert`` takes, a PIL image of mode RGB."""
        return (3, image.height, image.width) if isinstance(image, Image.Image) and image.mode == "RGB" else None

    def convert(self, image: Image.Image, out: np.ndarray) -> None:
        """Write the image into ``out``, (3, H, W), C-contiguous, of a floating point dtype."""
        number = out.dtype.type
        values = np.empty(
            out[0].size, out.dtype
        )  # stays in the cache, as a batch does not: that is written to only once
        for channel, (plane, colour) in enumerate(zip(out, "RGB", strict=True)):
            if self.means is None or self.stds is None:
                np.divide(plane_of(image, colour), number(255), out=plane.reshape(-1))
                continue
            np.divide(plane_of(image, colour), number(255), out=values)
            values -= number(self.means[channel % len(self.means)])
            np.divide(values, number(self.stds[channel % len(self.stds)]), out=plane.reshape(-1))


def ending_of(transform: Any) -> Ending | None:
    """A pipeline as its ``Ending``, or None if it does not end so. Classes derived from minidl's own may do anything."""
    if type(transform) is not Compose:
        return None
    *before, last = transform.transforms
    if type(last) is ToTensor:
        return Ending(before, None, None)
    if type(last) is Normalize and before and type(before[-1]) is ToTensor and len(last.mean) in (1, 3):
        return Ending(before[:-1], last.mean, last.std)
    return None
