"""The end of many pipelines, ``ToTensor`` or ``ToTensor, Normalize``, written straight into a batch.

Done one after the other these make three arrays of every image, and collating makes a fourth; here every colour is
converted where it will lie. The plain twin is the transforms themselves: the numbers are the same bit for bit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from minidl.tensor import Tensor
from minidl.transforms.containers import Compose
from minidl.transforms.conversion import ToTensor
from minidl.transforms.functional.conversion import plane_of
from minidl.transforms.transform import Transform
from minidl.transforms.undecoded import Undecoded
from minidl.transforms.values import Normalize

BLOCK = 1 << 16  # numbers of a batch at a time


class Ending(NamedTuple):
    """A pipeline that ends so: what comes before, and the numbers to normalise by (None: it only converts)."""

    before: list[Callable[[Any], Any]]
    means: list[float] | None
    stds: list[float] | None

    def prepare(self, image: Any) -> Any:
        """What is to be converted, of an image or of a JPEG that is not decoded yet."""
        before = self.before
        if isinstance(image, Undecoded):
            if before and isinstance(before[0], Transform):
                image, before = before[0].of_undecoded(image), before[1:]
            else:
                image = image.decode()
        for transform in before:
            image = transform(image)
        return image

    def shape(self, image: Any) -> tuple[int, ...] | None:
        """The shape of the result; None if ``image`` is nothing that ``convert`` takes.

        That is a PIL image of mode RGB, (3, H, W), or a batch, a uint8 Tensor (N, C, H, W) on the CPU.
        """
        shape: tuple[int, ...] | None = None
        if isinstance(image, Image.Image) and image.mode == "RGB":
            shape = 3, image.height, image.width
        elif (
            isinstance(image, Tensor)
            and type(image.array) is np.ndarray
            and image.dtype == np.uint8
            and image.ndim == 4
        ):
            shape = image.shape
        fits = shape is not None and (self.means is None or len(self.means) in (1, shape[-3]))
        return shape if fits else None

    def convert(self, image: Any, out: np.ndarray) -> None:
        """Write an image or a batch into ``out``, C-contiguous, of a floating point dtype and the shape that ``shape`` says."""
        if isinstance(image, Tensor):
            step = max(1, BLOCK // max(1, out[:1].size))
            for i in range(0, len(out), step):
                self._convert(image.array[i : i + step], out[i : i + step], slice(None))
        else:
            for channel, colour in enumerate("RGB"):
                plane = plane_of(image, colour).reshape(1, image.height, image.width)
                self._convert(plane, out[channel : channel + 1], slice(channel, channel + 1))

    def _convert(self, pixels: np.ndarray, out: np.ndarray, channels: slice) -> None:
        """So few numbers that they stay in the cache until all is done, which those of a whole batch do not."""
        np.divide(pixels, out.dtype.type(255), out=out)
        if self.means is not None and self.stds is not None:
            mean, std = (
                v if len(v) == 1 else v[channels] for v in _arrays(tuple(self.means), tuple(self.stds), out.dtype.char)
            )
            out -= mean
            out /= std


@functools.cache
def _arrays(means: tuple[float, ...], stds: tuple[float, ...], dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """What to subtract and to divide by, (C, 1, 1): they are asked for with every channel of every image."""
    mean, std = (np.array(v, dtype).reshape(-1, 1, 1) for v in (means, stds))
    return mean, std


def ending_of(transform: Any) -> Ending | None:
    """A pipeline as its ``Ending``, or None if it does not end so. Classes derived from minidl's own may do anything."""
    if type(transform) is not Compose:
        return None
    *before, last = transform.transforms
    if type(last) is ToTensor:
        return Ending(before, None, None)
    if type(last) is Normalize and before and type(before[-1]) is ToTensor:
        return Ending(before[:-1], last.mean, last.std)
    return None
