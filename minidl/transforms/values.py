"""Transforms that change values and leave pixels where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.transforms.functional.conversion import check_dtype, check_mean_std, normalize, to_dtype
from minidl.transforms.transform import Transform


class ToDtype(Transform):
    """Convert to a dtype.

    Args:
        dtype: the wanted dtype, such as ``minidl.float32``.
        scale: whether values keep their meaning: 0 to 255 (or the largest value of another integer dtype) corresponds
            to 0 to 1 in floating point. Between integer dtypes bits are added or dropped; between floating point dtypes
            nothing is scaled.

    Raises:
        RuntimeError: when called with ``scale=True`` to convert to an integer dtype with more bits than the floating point
            dtype can tell apart, such as from float32 to int32.
        TypeError: if ``dtype`` is none; when called with a PIL image (apply ``ToImage`` first).

    Example:
        >>> ToDtype(minidl.float32, scale=True)(np.full((1, 1, 1), 255, np.uint8))
        array([[[1.]]], dtype=float32)
    """

    def __init__(self, dtype: Any, scale: bool = False) -> None:
        self.dtype = check_dtype(dtype, type(self).__name__)
        self.scale = scale

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return to_dtype(image, self.dtype, self.scale)

    def extra_repr(self) -> str:
        return f"dtype={self.dtype}, scale={self.scale}"


class ConvertImageDtype(ToDtype):
    """``ToDtype(dtype, scale=True)``, under the name that it had before."""

    def __init__(self, dtype: Any = np.float32) -> None:
        super().__init__(dtype, scale=True)


class Normalize(Transform):
    """Subtract a mean from each channel and divide by a standard deviation.

    Args:
        mean, std: one number for each channel, in the units of the image.
        inplace: whether to write the result into the image.

    Raises:
        ValueError: if a standard deviation is zero or the lengths differ; or, when called, if the number of channels
            does.
        TypeError: when called with images of an integer dtype (convert them with ``ToDtype`` first) or with a PIL image.

    Example:
        >>> Normalize([0.5], [0.25])(np.ones((1, 1, 1), np.float32))
        array([[[2.]]], dtype=float32)
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> None:
        self.mean, self.std = check_mean_std(mean, std, type(self).__name__)
        self.inplace = inplace

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return normalize(image, self.mean, self.std, self.inplace)

    def extra_repr(self) -> str:
        return f"mean={self.mean}, std={self.std}, inplace={self.inplace}"
