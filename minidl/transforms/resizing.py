"""Transforms that resize images."""

from __future__ import annotations

import functools
import itertools
import math
import warnings
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from minidl.data import draws
from minidl.transforms.arguments import height_width
from minidl.transforms.functional.resize import Size, resize, resized_crop, resized_size
from minidl.transforms.images import images_in
from minidl.transforms.interpolation import InterpolationMode, check_interpolation
from minidl.transforms.transform import Transform
from minidl.transforms.undecoded import Undecoded

ATTEMPTS = 10  # of RandomResizedCrop, as in torchvision


class Resize(Transform):
    """Resize images.

    Args:
        size: (height, width); or the length of the shorter side, the other one in proportion, rounded down; or None, to make
            the longer side ``max_size`` long.
        interpolation: how; its name, such as "bilinear", and Pillow's integer constants are accepted too.
        max_size: no side becomes longer than this, even if the shorter one then gets shorter than ``size``.
        antialias: whether the filter grows with the reduction, for BILINEAR and BICUBIC on arrays; all else is antialiased
            anyway.

    Raises:
        ValueError: for a wrong argument.

    ``minidl.transforms.functional.resize`` says how arrays compare with PIL images.

    Example:
        >>> Resize(20)(np.zeros((8, 3, 40, 60), np.uint8)).shape
        (8, 3, 20, 30)
    """

    def __init__(
        self,
        size: Size,
        interpolation: InterpolationMode | str | int = InterpolationMode.BILINEAR,
        max_size: int | None = None,
        antialias: bool | None = True,
    ) -> None:
        resized_size((1, 1), size, max_size)  # raises what there is to raise
        self.size = size
        self.interpolation = check_interpolation(interpolation, type(self).__name__)
        self.max_size = max_size
        self.antialias = antialias

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return resize(image, self.size, self.interpolation, self.max_size, self.antialias)

    def extra_repr(self) -> str:
        return f"size={self.size}, interpolation={self.interpolation}, max_size={self.max_size}, antialias={self.antialias}"


class RandomResizedCrop(Transform):
    """Cut out a window of random area and shape at a random place, and resize it.

    Args:
        size: (height, width) of the result, or one number for both.
        scale: between which parts of the image's area the window's lies.
        ratio: between which values the window's width / height lies (its logarithm is uniform).
        interpolation: how to resize; a name or Pillow's integer constant is accepted too.
        antialias: as in ``Resize``.

    Ten windows are drawn for each image, and the first that fits into it is taken. If none does, it is the largest one in the
    middle with a permitted ratio.

    Raises:
        ValueError: for a wrong argument.
        TypeError: if ``scale`` or ``ratio`` is no sequence.

    Source: Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6.

    Example:
        >>> RandomResizedCrop(28)(np.zeros((8, 3, 40, 60), np.uint8)).shape
        (8, 3, 28, 28)
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3.0 / 4.0, 4.0 / 3.0),
        interpolation: InterpolationMode | str | int = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        self.size = height_width(size, type(self).__name__)
        self.scale = _two_numbers(scale, "scale", above_zero=False)
        self.ratio = _two_numbers(ratio, "ratio", above_zero=True)
        if self.scale[0] > self.scale[1] or self.ratio[0] > self.ratio[1]:
            warnings.warn(
                f"RandomResizedCrop: scale and ratio should be (least, most), got {scale} and {ratio}", stacklevel=2
            )
        self.interpolation = check_interpolation(interpolation, type(self).__name__)
        self.antialias = antialias

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``{"top": …, "left": …, "height": …, "width": …}``, int arrays (N,)."""
        rows, columns = shape[-2:]
        if images_in(shape) == 1:
            chosen = np.array([self._for_one(rows, columns)])
        else:
            chosen = self._for_many(shape[0], rows, columns)
        return {"top": chosen[:, 0], "left": chosen[:, 1], "height": chosen[:, 2], "width": chosen[:, 3]}

    def _for_one(self, rows: int, columns: int) -> tuple[int, int, int, int]:
        """(top, left, height, width) for one image: as ``_for_many``, without arrays."""
        first, others = draws.fours(1), draws.fours(ATTEMPTS - 1)
        low, high = _logarithms(tuple(self.ratio))
        for a, b, c, d in itertools.chain(first, others):
            area = rows * columns * (self.scale[0] + a * (self.scale[1] - self.scale[0]))
            ratio = math.exp(low + b * (high - low))
            height, width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < height <= rows and 0 < width <= columns:
                return int(c * (rows - height + 1)), int(d * (columns - width + 1)), height, width
        return self._middle(rows, columns)

    def _for_many(self, count: int, rows: int, columns: int) -> np.ndarray:
        """(top, left, height, width) for each of ``count`` images, (count, 4)."""
        chosen = self._windows(draws.uniform(count, 4), rows, columns)
        missing = bool((chosen[:, 2] == 0).any())
        # Often the first window fits into every image. Where numbers are keyed, the others need not be computed then.
        others = draws.uniform(count, 4 * (ATTEMPTS - 1) if missing or not draws.keyed() else 0)
        if missing:
            chosen = np.where(chosen[:, 2:3] == 0, self._windows(others, rows, columns), chosen)
            chosen = np.where(chosen[:, 2:3] == 0, self._middle(rows, columns), chosen)
        return chosen

    def _windows(self, u: np.ndarray, rows: int, columns: int) -> np.ndarray:
        """Of each row of numbers, four to a window, the first window that fits: (top, left, height, width), or zeros."""
        u = u.reshape(len(u), u.shape[1] // 4, 4)
        area = rows * columns * (self.scale[0] + u[..., 0] * (self.scale[1] - self.scale[0]))
        low, high = np.log(self.ratio)
        logarithms = low + u[..., 1] * (high - low)
        ratio: Any = np.array([math.exp(v) for v in logarithms.flat]).reshape(
            logarithms.shape
        )  # as for one, to the last bit
        height, width = (np.rint(np.sqrt(v)).astype(np.int64) for v in (area / ratio, area * ratio))
        fits = (height > 0) & (height <= rows) & (width > 0) & (width <= columns)
        top = (u[..., 2] * (rows - height + 1)).astype(np.int64)
        left = (u[..., 3] * (columns - width + 1)).astype(np.int64)
        first = np.argmax(fits, axis=1)
        drawn = np.stack([top, left, height, width], axis=-1)[np.arange(len(u)), first]
        return np.where(fits.any(axis=1)[:, None], drawn, 0)

    def _middle(self, rows: int, columns: int) -> tuple[int, int, int, int]:
        """(top, left, height, width) of the largest window in the middle with a permitted ratio, of at least one pixel."""
        height, width = rows, columns
        if columns / rows < min(self.ratio):
            height = max(round(width / min(self.ratio)), 1)
        elif columns / rows > max(self.ratio):
            width = max(round(height * max(self.ratio)), 1)
        return (rows - height) // 2, (columns - width) // 2, height, width

    def of_pil(self, image: Any) -> Any:
        window = self._for_one(image.height, image.width)
        return resized_crop(image, *window, self.size, self.interpolation, self.antialias)

    def of_undecoded(self, image: Undecoded) -> Any:
        window = top, _, height, _ = self._for_one(image.height, image.width)
        return resized_crop(image.decode(top + height), *window, self.size, self.interpolation, self.antialias)

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return resized_crop(image, **params, size=self.size, interpolation=self.interpolation, antialias=self.antialias)

    def extra_repr(self) -> str:
        return (
            f"size={self.size}, scale={self.scale}, ratio={self.ratio}, interpolation={self.interpolation}, "
            f"antialias={self.antialias}"
        )


class _ToRandomSize(Transform):
    """Resizes an image to a size that ``make_params`` draws; one image at a time, for a batch has one size."""

    batched = False
    interpolation: InterpolationMode
    antialias: bool | None

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        sizes = params["size"]
        if (sizes != sizes[0]).any():
            raise ValueError(
                f"{type(self).__name__}: the images of a batch would become differently large, {sizes.tolist()}; "
                "transform them one by one"
            )
        return resize(image, tuple(sizes[0].tolist()), self.interpolation, antialias=self.antialias)


class RandomResize(_ToRandomSize):
    """Resize an image so that its shorter side is of random length. (Single images only: a batch has one size.)

    Args:
        min_size: the least length.
        max_size: the first length that is too much.
        interpolation, antialias: as in ``Resize``.

    Raises:
        TypeError: if a length is no whole number.
        ValueError: for a wrong argument; when called, if the images of a batch would become differently large.
    """

    def __init__(
        self,
        min_size: int,
        max_size: int,
        interpolation: InterpolationMode | str | int = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        if not all(isinstance(length, Integral) for length in (min_size, max_size)):
            raise TypeError(f"RandomResize: expected whole numbers, got {min_size!r} and {max_size!r}")
        if not 0 < min_size < max_size:
            raise ValueError(f"RandomResize: expected 0 < min_size < max_size, got {min_size} and {max_size}")
        self.min_size, self.max_size = min_size, max_size
        self.interpolation = check_interpolation(interpolation, type(self).__name__)
        self.antialias = antialias

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``{"size": int array (N, 2)}``, heights and widths."""
        u = draws.uniform(images_in(shape), 1)[:, 0]
        shorter = self.min_size + (u * (self.max_size - self.min_size)).astype(np.int64)
        return {"size": np.array([resized_size(shape[-2:], int(s)) for s in shorter])}

    def extra_repr(self) -> str:
        return (
            f"min_size={self.min_size}, max_size={self.max_size}, interpolation={self.interpolation}, "
            f"antialias={self.antialias}"
        )


class RandomShortestSize(_ToRandomSize):
    """Resize an image so that its shorter side has one of several lengths. (Single images only: a batch has one size.)

    Args:
        min_size: the length, or a sequence of lengths to choose from.
        max_size: no side becomes longer than this, even if the shorter one then gets shorter than was chosen.
        interpolation, antialias: as in ``Resize``.

    Raises:
        TypeError: if ``min_size`` is neither a number nor a sequence of numbers.
        ValueError: for a wrong argument; when called, if the images of a batch would become differently large.
    """

    def __init__(
        self,
        min_size: int | Sequence[int],
        max_size: int | None = None,
        interpolation: InterpolationMode | str | int = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        self.min_size = list(min_size) if isinstance(min_size, Iterable) else [min_size]
        wrong = f"RandomShortestSize: min_size should be one or more positive numbers, got {min_size!r}"
        if not all(isinstance(length, Real) for length in self.min_size):
            raise TypeError(wrong)
        if not self.min_size or min(self.min_size) <= 0:
            raise ValueError(wrong)
        self.max_size = max_size
        self.interpolation = check_interpolation(interpolation, type(self).__name__)
        self.antialias = antialias

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``{"size": int array (N, 2)}``, heights and widths."""
        u = draws.uniform(images_in(shape), 1)[:, 0]
        height, width = shape[-2:]
        factor = np.array(self.min_size)[(u * len(self.min_size)).astype(np.int64)] / min(height, width)
        if self.max_size is not None:
            factor = np.minimum(factor, self.max_size / max(height, width))
        return {"size": (factor[:, None] * (height, width)).astype(np.int64)}

    def extra_repr(self) -> str:
        return (
            f"min_size={self.min_size}, max_size={self.max_size}, interpolation={self.interpolation}, "
            f"antialias={self.antialias}"
        )


@functools.cache
def _logarithms(ratio: tuple[float, float]) -> tuple[float, float]:
    """Of both values: asked for with every image."""
    low, high = np.log(ratio).tolist()
    return low, high


def _two_numbers(pair: Any, name: str, above_zero: bool) -> tuple[float, float]:
    if not hasattr(pair, "__iter__"):
        raise TypeError(f"RandomResizedCrop: {name} should be a sequence of two numbers, got {pair!r}")
    values = tuple(pair)
    if len(values) != 2 or min(values) < 0 or (above_zero and min(values) == 0):
        raise ValueError(f"RandomResizedCrop: {name} should be two positive numbers, got {pair}")
    return float(values[0]), float(values[1])
