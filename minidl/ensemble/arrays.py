"""Reading what the measures of this package are given: arrays or Tensors, of predictions, labels and probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.tensor import Tensor


def as_numpy(x: Any) -> np.ndarray:
    """A Tensor, from any device, or anything that NumPy takes, as an array."""
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def read_labels(labels: Any, samples: int, classes: int | None, name: str) -> np.ndarray:
    """Class labels as an array (N,).

    Raises:
        ValueError: if they are no integers, not as many as samples, or one is none of the classes.
    """
    array = as_numpy(labels)
    if array.shape != (samples,) or array.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: expected labels as integers of shape ({samples},), got {array.dtype} of shape {array.shape}"
        )
    if classes is not None and samples and not (array.min() >= 0 and array.max() < classes):
        bad = array.min() if array.min() < 0 else array.max()
        raise ValueError(f"{name}: label {bad} is none of the {classes} classes (0 to {classes - 1})")
    return array


def read_scores(scores: Any, name: str) -> np.ndarray:
    """Scores (N, C) of at least one sample and class, in float64.

    Raises:
        ValueError: if the shape is another, or a score is not finite.
    """
    array = as_numpy(scores)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind != "f":
        raise ValueError(f"{name}: expected floats of shape (N, C), got {array.dtype} of shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: {int((~np.isfinite(array)).sum())} of the numbers are NaN or infinite")
    return array.astype(np.float64)
