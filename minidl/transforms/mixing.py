"""MixUp and CutMix: every image of a batch is mixed with its neighbour, and so are their labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minidl.backend import backend_of, is_array
from minidl.data import draws
from minidl.tensor import Tensor
from minidl.transforms.distributions import beta
from minidl.transforms.images import find_images, is_pil
from minidl.transforms.transform import Transform


class _Mixing(Transform):
    """What MixUp and CutMix share: finding the labels in a batch, and mixing them."""

    takes_labels = True

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        num_classes: int | None = None,
        labels_getter: str | Callable[[Any], Any] | None = "default",
    ) -> None:
        name = type(self).__name__
        if not alpha > 0:
            raise ValueError(f"{name}: alpha should be positive, got {alpha}")
        if labels_getter not in ("default", None) and not callable(labels_getter):
            raise ValueError(f"{name}: labels_getter should be 'default', None or a function, got {labels_getter!r}")
        self.alpha = float(alpha)
        self.num_classes = num_classes
        self.labels_getter = labels_getter

    def __call__(self, *inputs: Any) -> Any:
        """Mix a batch: images and labels as two arguments, or in a tuple, list or dict. What is returned is of that form."""
        name = type(self).__name__
        sample = inputs if len(inputs) != 1 else inputs[0]
        labels = self._labels(sample)
        found = [image for image in find_images(sample) if image is not labels]
        if any(is_pil(image) for image in found):
            raise ValueError(f"{name}: PIL images are not supported; it mixes batches, after the images were collated")
        if not found:
            raise ValueError(f"{name}: found no images of shape (N, C, H, W)")
        images = found[0]
        if images.ndim != 4:
            raise ValueError(f"{name}: expected a batch of images (N, C, H, W), got shape {tuple(images.shape)}")
        if len(images) != len(labels):
            raise ValueError(f"{name}: there are {len(images)} images but {len(labels)} labels")
        params = self.make_params(tuple(images.shape))
        mixed = {id(images): self.transform(images, params), id(labels): self.mix_labels(labels, params)}
        out, used = _replace(sample, mixed)
        if id(labels) not in used:
            raise ValueError(
                f"{name}: the labels that labels_getter returned are not in the input, so cannot be replaced there"
            )
        return out

    def share(self, params: dict[str, Any]) -> float:
        """How much of each image is its own."""
        raise NotImplementedError

    def mix_labels(self, labels: Any, params: dict[str, Any]) -> Any:
        """Return labels (N, num_classes), float32 (or the dtype of labels that were floating point): each is
        share · its own + (1 − share) · its neighbour's.

        Raises:
            RuntimeError: if a label is not a class.
        """
        array = labels.array if isinstance(labels, Tensor) else labels
        xp = backend_of(array)
        if array.ndim == 1:
            for limit, wrong in ((int(array.min()), "non-negative"), (int(array.max()), f"below {self.num_classes}")):
                if not 0 <= limit < self.num_classes:  # type: ignore[operator]  # checked by _labels
                    raise RuntimeError(f"{type(self).__name__}: labels should be {wrong}, got {limit}")
            array = array[:, None] == xp.arange(self.num_classes)
        array = array.astype(array.dtype if array.dtype.kind == "f" else np.float32)
        mixed = _mix(xp, array, self.share(params))
        return Tensor.wrap(mixed) if isinstance(labels, Tensor) else mixed

    def _labels(self, sample: Any) -> Any:
        """The labels of a batch, checked."""
        name = type(self).__name__
        if self.labels_getter == "default":
            labels = _find_labels(sample, name)
        else:
            labels = self.labels_getter(sample) if callable(self.labels_getter) else None
        if not (isinstance(labels, Tensor) or is_array(labels)):
            raise ValueError(f"{name}: the labels should be a Tensor or an array, got {type(labels).__name__}")
        if labels.ndim not in (1, 2):
            raise ValueError(
                f"{name}: labels should have shape (N,), or (N, num_classes) if they are probabilities, got {tuple(labels.shape)}"
            )
        if labels.ndim == 1 and self.num_classes is None:
            raise ValueError(f"{name}: num_classes must be passed if labels are numbers of classes, of shape (N,)")
        if labels.ndim == 1 and labels.dtype.kind not in "iu":
            raise ValueError(f"{name}: labels of shape (N,) should be integers, got {labels.dtype}")
        if labels.ndim == 2 and self.num_classes not in (None, labels.shape[1]):
            raise ValueError(
                f"{name}: labels have {labels.shape[1]} columns but num_classes is {self.num_classes}; it may be None for "
                "labels of shape (N, num_classes)"
            )
        return labels

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, num_classes={self.num_classes}"


class MixUp(_Mixing):
    """Mix each image of a batch with the one before it: share · own + (1 − share) · other, the labels likewise.

    One share is drawn for the whole batch, from Beta(alpha, alpha). Use it on batches, in the training loop or in a loader's
    ``collate_fn``; there the share is keyed by the first sample of the batch (see ``minidl.data.draws``). The
    labels that come out are probabilities, which ``cross_entropy`` takes. ``RandomChoice([CutMix(…), MixUp(…)])`` does one of
    both to each batch.

    Args:
        alpha: positive; small values mean little mixing, 1 any mixing alike.
        num_classes: needed for labels (N,), which are numbers of classes; not for (N, num_classes).
        labels_getter: "default" takes the second of a tuple or list, or what stands in a dict under the key "labels", or
            else under the first key with "label" in it; otherwise a function of the whole input.

    Raises:
        ValueError: for a wrong argument; when called, if there are no images (N, C, H, W) or no labels that fit them.
        TypeError: when called with images of an integer dtype (convert them with ``ToDtype`` first).
        RuntimeError: when called, if a label is not a class.

    Source: Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", arXiv:1710.09412.

    Example:
        >>> images, labels = MixUp(alpha=0.2, num_classes=10)(minidl.rand(8, 3, 32, 32), minidl.arange(8))
        >>> images.shape, labels.shape
        ((8, 3, 32, 32), (8, 10))
    """

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``{"lam": float}``: how much of each image is its own."""
        return {"lam": float(beta(draws.uniform(shape[0], 2)[:1], self.alpha)[0])}

    def share(self, params: dict[str, Any]) -> float:
        return params["lam"]

    def apply(self, xp: Any, array: Any, params: dict[str, Any]) -> Any:
        if array.dtype.kind != "f":
            raise TypeError(
                f"MixUp: expected images of a floating point dtype, got {array.dtype}; apply ToDtype(scale=True) first"
            )
        return _mix(xp, array, params["lam"])


class CutMix(_Mixing):
    """Put into each image of a batch a rectangle of the one before it; the labels are mixed by its area.

    One rectangle is drawn for the whole batch. Before it is cut off at the border it is shaped like the image and covers the
    part 1 − λ of it, with λ from Beta(alpha, alpha), and its middle lies anywhere. Used like ``MixUp``, on images of any dtype.

    Args:
        alpha, num_classes, labels_getter: as in ``MixUp``.

    Raises:
        ValueError: for a wrong argument; when called, if there are no images (N, C, H, W) or no labels that fit them.
        RuntimeError: when called, if a label is not a class.

    Source: Yun, Han, Oh, Chun, Choe and Yoo, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
    Features", arXiv:1905.04899.

    Example:
        >>> images, labels = CutMix(num_classes=10)(minidl.rand(8, 3, 32, 32), minidl.arange(8))
        >>> images.shape, labels.shape
        ((8, 3, 32, 32), (8, 10))
    """

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``box``, (x1, y1, x2, y2) in pixels, the ends exclusive; and ``lam_adjusted``, the area outside of it."""
        height, width = shape[-2:]
        u = draws.uniform(shape[0], 4)[0]
        half = 0.5 * math.sqrt(1.0 - float(beta(u[:2], self.alpha)))
        x, y = int(u[2] * width), int(u[3] * height)
        half_x, half_y = int(half * width), int(half * height)
        x1, x2 = max(x - half_x, 0), min(x + half_x, width)
        y1, y2 = max(y - half_y, 0), min(y + half_y, height)
        return {"box": (x1, y1, x2, y2), "lam_adjusted": 1.0 - (x2 - x1) * (y2 - y1) / (width * height)}

    def share(self, params: dict[str, Any]) -> float:
        return params["lam_adjusted"]

    def apply(self, xp: Any, array: Any, params: dict[str, Any]) -> Any:
        x1, y1, x2, y2 = params["box"]
        out = array.copy()
        out[..., y1:y2, x1:x2] = xp.roll(array[..., y1:y2, x1:x2], 1, axis=0)
        return out


def _mix(xp: Any, array: Any, share: float) -> Any:
    out = xp.roll(array, 1, axis=0)
    out *= 1.0 - share
    out += array * share
    return out


def _find_labels(sample: Any, name: str) -> Any:
    if isinstance(sample, (tuple, list)) and len(sample) > 1:
        sample = sample[1]
    if not isinstance(sample, Mapping):
        return sample
    keys = [key for key in sample if isinstance(key, str)]
    alike = [key for key in keys if key.lower() == "labels"] or [key for key in keys if "label" in key.lower()]
    if not alike:
        raise ValueError(f"{name}: found no labels among {keys}; say with labels_getter where they are")
    return sample[alike[0]]


def _replace(sample: Any, by: dict[int, Any]) -> tuple[Any, set[int]]:
    """The sample with other things in place of some, which are given by their ``id``; and which of these there were."""
    used: set[int] = set()

    def walk(x: Any) -> Any:
        if id(x) in by:
            used.add(id(x))
            return by[id(x)]
        if isinstance(x, tuple) and hasattr(x, "_fields"):
            return type(x)(*map(walk, x))
        if isinstance(x, (tuple, list)):
            return type(x)(map(walk, x))
        return {key: walk(value) for key, value in x.items()} if isinstance(x, Mapping) else x

    return walk(sample), used
