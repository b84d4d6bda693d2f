"""The three forms of images that transforms take: a PIL image, an array (C, H, W), and a batch of arrays (N, C, H, W)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from minidl.backend import Backend, backend_of, is_array
from minidl.tensor import Tensor


def is_pil(x: Any) -> bool:
    """Whether ``x`` is a PIL image."""
    return isinstance(x, Image.Image)


def is_image_array(x: Any) -> bool:
    """Whether ``x`` is a Tensor or an array of shape (C, H, W) or (N, C, H, W)."""
    return (isinstance(x, Tensor) or is_array(x)) and len(x.shape) in (3, 4)


def shape_of(image: Any, name: str = "transform") -> tuple[int, ...]:
    """(C, H, W), or (N, C, H, W) of a batch.

    Raises:
        TypeError: if it is no image.
        ValueError: if it is an array of other than 3 or 4 dimensions.
    """
    if is_pil(image):
        return len(image.getbands()), image.height, image.width
    shape = getattr(image, "shape", None)
    if shape is None:
        raise TypeError(f"{name}: expected a PIL image, a Tensor or an array, got {type(image).__name__}")
    if len(shape) not in (3, 4):
        raise ValueError(f"{name}: expected shape (C, H, W) or (N, C, H, W), got {tuple(shape)}")
    return tuple(shape)


def images_in(shape: tuple[int, ...]) -> int:
    """How many images an array of this shape holds."""
    return shape[0] if len(shape) == 4 else 1


def on_array(image: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(xp, array, *arguments)`` for a Tensor or an array; the result is what the image was.

    Raises:
        TypeError, ValueError: as ``shape_of``.
    """
    shape_of(image, function.__name__.strip("_"))
    array = image.array if isinstance(image, Tensor) else image
    result = function(backend_of(array), array, *arguments)
    return Tensor.wrap(result) if isinstance(image, Tensor) else result


def number(value: Any) -> Any:
    """A parameter of one image as a Python number, be it that or an array of one element."""
    return value.item() if isinstance(value, (np.ndarray, np.generic)) else value


def per_image(xp: Backend, value: Any, array: Any, dtype: Any = None) -> Any:
    """A parameter, a number or an array (N,), so that it broadcasts against a batch (N, C, H, W), on its device.

    For one image (C, H, W) it is a Python number.
    """
    if not isinstance(value, np.ndarray):
        return value
    if array.ndim == 3:
        return number(value)
    return xp.from_numpy(value.astype(dtype or value.dtype, copy=False).reshape(-1, 1, 1, 1))


def map_images(function: Callable[[Any], Any], sample: Any) -> Any:
    """``function`` of every image in a sample: an image, or tuples, lists and dicts with images among other things.

    Which are images: PIL images; if there is none, the first Tensor or array of 3 or 4 dimensions. The others (labels,
    boxes) are handed on. This is torchvision's rule.
    """
    chosen = find_images(sample)
    return map_leaves(lambda x: function(x) if any(x is image for image in chosen) else x, sample)


def map_leaves(function: Callable[[Any], Any], sample: Any) -> Any:
    """``function`` of everything in a sample that is no tuple, list or dict; these are made anew."""
    if isinstance(sample, tuple) and hasattr(sample, "_fields"):
        return type(sample)(*[map_leaves(function, x) for x in sample])
    if isinstance(sample, (tuple, list)):
        return type(sample)([map_leaves(function, x) for x in sample])
    if isinstance(sample, Mapping):
        return {key: map_leaves(function, x) for key, x in sample.items()}
    return function(sample)


def find_images(sample: Any) -> list[Any]:
    """The images of a sample, by the rule of ``map_images``."""
    leaves: list[Any] = []
    map_leaves(leaves.append, sample)
    return [x for x in leaves if is_pil(x)] or [x for x in leaves if is_image_array(x)][:1]
