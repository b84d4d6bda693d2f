"""Doing different things to the images of a batch: those that get the same treatment go through it together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.backend import Backend
from minidl.transforms.images import is_pil, on_array


def by_group(image: Any, keys: np.ndarray, function: Callable[[int, Any, np.ndarray], Any]) -> Any:
    """``function(key, images, rows)`` for the images of each key, put back in their places.

    Args:
        image: a PIL image, or a Tensor or array (C, H, W) or (N, C, H, W).
        keys: one integer for each image; images with a negative key stay as they are.
        function: returns images like those it is given. ``rows`` says which images of the batch they are, so that it can pick
            their parameters; of a single image it is [0].

    Example:
        >>> double = lambda key, images, rows: images * 2
        >>> by_group(np.ones((3, 1, 1, 1)), np.array([-1, 0, 0]), double).ravel().tolist()
        [1.0, 2.0, 2.0]
    """
    if not is_pil(image) and len(image.shape) == 4:
        return on_array(image, _by_group, keys, function)
    return function(int(keys[0]), image, np.array([0])) if keys[0] >= 0 else image


def _by_group(xp: Backend, array: Any, keys: np.ndarray, function: Callable[[int, Any, np.ndarray], Any]) -> Any:
    groups = np.unique(keys)
    if len(groups) == 1:  # all alike: nothing to take out and put back
        return function(int(groups[0]), array, np.arange(len(array))) if groups[0] >= 0 else array
    out = array.copy()
    for key in groups[groups >= 0]:
        rows = np.flatnonzero(keys == key)
        which = xp.from_numpy(rows)
        out[which] = function(int(key), array[which], rows)
    return out
