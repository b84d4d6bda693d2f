"""Transforms that change values and leave pixels where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.backend import Backend
from minidl.transforms.transform import Transform


class ToDtype(Transform):
    """Convert to a dtype.

    Args:
        dtype: the wanted dtype, such as ``minidl.float32``.
        scale: whether values keep their meaning: 0 to 255 (or the largest value of another integer dtype) corresponds
            to 0 to 1 in floating point. Between floating point dtypes nothing is scaled.

    Raises:
        NotImplementedError: when called with ``scale=True`` to convert between two integer dtypes.

    Example:
        >>> ToDtype(minidl.float32, scale=True)(np.full((1, 1, 1), 255, np.uint8))
        array([[[1.]]], dtype=float32)
    """

    def __init__(self, dtype: Any, scale: bool = False) -> None:
        self.dtype = np.dtype(dtype)
        self.scale = scale

    def apply(self, xp: Backend, array: Any, params: dict[str, Any]) -> Any:
        if array.dtype == self.dtype:
            return array
        from_integer, to_integer = array.dtype.kind in "iu", self.dtype.kind in "iu"
        if not self.scale or not (from_integer or to_integer):
            return array.astype(self.dtype)
        if from_integer and to_integer:
            raise NotImplementedError(
                f"ToDtype: scale=True from {array.dtype} to {self.dtype} (both integers) is not supported"
            )
        if from_integer:
            out = array.astype(self.dtype)
            out /= self.dtype.type(np.iinfo(array.dtype).max)
            return out
        # Every integer gets an equally wide piece of [0, 1]; the small number keeps 1.0 from landing one too high.
        return (array * array.dtype.type(np.iinfo(self.dtype).max + 1.0 - 1e-3)).astype(self.dtype)

    def extra_repr(self) -> str:
        return f"dtype={self.dtype}, scale={self.scale}"


class Normalize(Transform):
    """Subtract a mean from each channel and divide by a standard deviation.

    Args:
        mean, std: one number for each channel, in the units of the image.

    Raises:
        ValueError: if a standard deviation is zero or the lengths differ; or, when called, if the number of channels
            does.
        TypeError: when called with images of an integer dtype (convert them with ``ToDtype`` first).
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = list(mean), list(std)
        if len(self.mean) != len(self.std):
            raise ValueError(f"Normalize: mean has {len(self.mean)} values and std has {len(self.std)}")
        if 0 in self.std:
            raise ValueError(f"Normalize: std contains zero, which would lead to division by zero: {self.std}")

    def apply(self, xp: Backend, array: Any, params: dict[str, Any]) -> Any:
        if array.dtype.kind != "f":
            raise TypeError(
                f"Normalize: expected images of a floating point dtype, got {array.dtype}; apply ToDtype first"
            )
        if len(self.mean) not in (1, array.shape[-3]):
            raise ValueError(
                f"Normalize: {len(self.mean)} means for images of {array.shape[-3]} channels, shape {array.shape}"
            )
        mean, std = (xp.from_numpy(np.array(v, dtype=array.dtype).reshape(-1, 1, 1)) for v in (self.mean, self.std))
        out = array - mean
        out /= std
        return out

    def extra_repr(self) -> str:
        return f"mean={self.mean}, std={self.std}"
