"""Transforms made of other transforms, or of any function.

``RandomApply``, ``RandomChoice`` and ``RandomOrder`` decide for each image of a batch what is to be done with it. They draw once
for each image: the decision, and a *key*. Whatever the transforms within draw is computed from the image's key and from which of
the transforms it is (see ``minidl.data.draws``). So an image gets the same whether it is alone or in a batch, whatever
happens to the others, and however many numbers a transform within draws; and calling ``transform`` with the same parameters
again does the same again, to a mask for instance.

If one of the transforms within takes labels (``MixUp``, ``CutMix``, ``Lambda``), a sample that holds more than an image goes
through them as a whole, as through ``Compose``. There is one decision then for all the images of a batch, the first one's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.backend import backend_of
from minidl.data import draws
from minidl.tensor import Tensor
from minidl.transforms.arguments import check_probability, check_transforms
from minidl.transforms.images import find_images, images_in, is_pil, map_leaves, shape_of
from minidl.transforms.transform import Transform, is_batched, takes_labels

_SEED = 0x6D696E69646C0001  # of what is drawn within; the key says for which image


class Compose:
    """Transforms one after the other.

    Args:
        transforms: transforms, or functions that take and return an image.

    Raises:
        TypeError: if ``transforms`` is not a sequence of callables.
        ValueError: if it is empty.

    Example:
        >>> from minidl.transforms import Normalize, RandomCrop, RandomHorizontalFlip
        >>> augment = Compose([RandomCrop(28, padding=2), RandomHorizontalFlip(), Normalize([0.286], [0.353])])
        >>> augment(minidl.zeros(64, 1, 28, 28)).shape
        (64, 1, 28, 28)
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = check_transforms(transforms, "Compose")

    @property
    def batched(self) -> bool:
        """Whether every transform takes a batch."""
        return all(is_batched(t) for t in self.transforms)

    @property
    def takes_labels(self) -> bool:
        """Whether one of the transforms does."""
        return any(map(takes_labels, self.transforms))

    def __call__(self, *inputs: Any) -> Any:
        for transform in self.transforms:
            outputs = transform(*inputs)
            inputs = outputs if len(inputs) > 1 else (outputs,)
        return outputs

    def __repr__(self) -> str:
        return _listed(type(self).__name__, self.transforms)


class _Random(Transform):
    """Base class of those that decide for each image which transforms it gets.

    A decision is a row of integers: the transforms' numbers, in the order in which they are applied.
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = check_transforms(transforms, type(self).__name__)

    @property
    def batched(self) -> bool:  # type: ignore[override]
        """Whether every transform takes a batch."""
        return all(is_batched(t) for t in self.transforms)

    @property
    def takes_labels(self) -> bool:  # type: ignore[override]
        """Whether one of the transforms does."""
        return any(map(takes_labels, self.transforms))

    def __call__(self, *inputs: Any) -> Any:
        sample = inputs if len(inputs) != 1 else inputs[0]
        alone = is_pil(sample) or hasattr(sample, "shape")
        found = find_images(sample) if self.takes_labels and not alone else []
        if not found:
            return super().__call__(*inputs)
        params = self.make_params(shape_of(found[0], type(self).__name__))
        decisions = self.decisions(params)
        return self._run(decisions[0], params["key"], *inputs) if len(decisions) else sample

    def _draw(self, shape: tuple[int, ...], count: int) -> tuple[np.ndarray, np.ndarray]:
        """``count`` uniform numbers (N, count) to decide by, and the keys (N,), integers of 48 bits."""
        u = draws.uniform(images_in(shape), count + 2)
        key = (u[:, count:] * 2**24).astype(np.int64)
        return u[:, :count], key[:, 0] << 24 | key[:, 1]

    def decisions(self, params: dict[str, Any]) -> np.ndarray:
        """The decision for each image, (N, how many transforms at most); -1 for none."""
        raise NotImplementedError

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        decisions, keys = self.decisions(params), params["key"]
        shape = shape_of(image, type(self).__name__)
        count = images_in(shape)
        if len(keys) not in (1, count):
            raise ValueError(
                f"{type(self).__name__}: parameters for {len(keys)} images, but {count} images to transform"
            )
        keys = np.broadcast_to(keys, count)
        kinds, kind = np.unique(decisions, axis=0, return_inverse=True)
        if not count:
            return image
        if is_pil(image) or len(kinds) == 1:
            return self._run(kinds[0], keys, image)
        array = image.array if isinstance(image, Tensor) else image
        xp = backend_of(array)
        parts: list[tuple[np.ndarray, Any]] = []
        for i, decision in enumerate(kinds):
            rows = np.flatnonzero(kind.reshape(-1) == i)
            some = array[xp.from_numpy(rows)]
            parts.append(
                (rows, self._run(decision, keys[rows], Tensor.wrap(some) if isinstance(image, Tensor) else some))
            )
        return self._together(image, parts)

    def _run(self, decision: np.ndarray, keys: np.ndarray, *inputs: Any) -> Any:
        """Apply the transforms of a decision to an image, to the images of a batch that share it, or to a whole sample."""
        several = len(inputs) > 1
        for i in decision.tolist():
            if i >= 0:
                with draws.fetching(_SEED, i, keys):  # type: ignore[arg-type]
                    outputs = self.transforms[i](*inputs)
                inputs = outputs if several else (outputs,)
        return inputs if several else inputs[0]

    def _together(self, image: Any, parts: list[tuple[np.ndarray, Any]]) -> Any:
        """One batch of what became of its images."""
        arrays = [part.array if isinstance(part, Tensor) else part for _, part in parts]
        for (rows, _), array in zip(parts, arrays, strict=True):
            if not hasattr(array, "shape") or len(array.shape) == 0 or len(array) != len(rows):
                raise TypeError(
                    f"{type(self).__name__}: a transform made {type(array).__name__} of a batch of {len(rows)} images"
                )
        forms = {(tuple(array.shape[1:]), str(array.dtype)) for array in arrays}
        if len(forms) != 1:
            listed = " and ".join(f"shape {shape} of {dtype}" for shape, dtype in sorted(forms))
            raise ValueError(
                f"{type(self).__name__}: the images of a batch must keep one shape and dtype, but some became {listed}; "
                "transform them one by one, or choose transforms with equal results"
            )
        xp = backend_of(arrays[0])
        out = xp.empty((sum(map(len, arrays)), *arrays[0].shape[1:]), dtype=arrays[0].dtype)
        for (rows, _), array in zip(parts, arrays, strict=True):
            out[xp.from_numpy(rows)] = array
        return Tensor.wrap(out) if isinstance(parts[-1][1], Tensor) else out

    def __repr__(self) -> str:
        return _listed(type(self).__name__, self.transforms, self.extra_repr())


class RandomApply(_Random):
    """Apply the transforms, one after the other, to each image with probability ``p``; else leave it as it is.

    To a batch as a whole, with its labels, if one of the transforms takes labels.

    Args:
        transforms: transforms, or functions that take and return an image.
        p: the probability.

    Raises:
        TypeError: if ``transforms`` is not a sequence of callables.
        ValueError: if it is empty, or ``p`` lies outside [0, 1]; when called with a batch, if the images would get different
            shapes or dtypes.

    Example:
        >>> augment = RandomApply([RandomCrop(32, padding=4), RandomVerticalFlip()], p=0.3)
        >>> augment(minidl.zeros(64, 3, 32, 32)).shape
        (64, 3, 32, 32)
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: float = 0.5) -> None:
        super().__init__(transforms)
        self.p = check_probability(p, type(self).__name__)

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``{"apply": bool array (N,), "key": int array (N,)}``."""
        u, key = self._draw(shape, 1)
        return {"apply": u[:, 0] < self.p, "key": key}

    def decisions(self, params: dict[str, Any]) -> np.ndarray:
        return np.where(params["apply"][:, None], np.arange(len(self.transforms)), -1)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class RandomChoice(_Random):
    """Apply one of the transforms to each image; to a batch as a whole, with its labels, if one of them takes labels.

    Args:
        transforms: transforms, or functions that take and return an image.
        p: how probable each is, relative to the others; None: equally.

    Raises:
        TypeError: if ``transforms`` is not a sequence of callables.
        ValueError: if it is empty, or ``p`` is not as long, has a negative number or no positive one; when called with a
            batch, if the images would get different shapes or dtypes.

    Example:
        >>> mix = RandomChoice([CutMix(num_classes=10), MixUp(num_classes=10)])
        >>> images, labels = mix(minidl.rand(8, 3, 32, 32), minidl.arange(8))
        >>> images.shape, labels.shape
        ((8, 3, 32, 32), (8, 10))
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: Sequence[float] | None = None) -> None:
        super().__init__(transforms)
        weights = [1.0] * len(self.transforms) if p is None else [float(w) for w in p]
        if len(weights) != len(self.transforms):
            raise ValueError(f"RandomChoice: {len(weights)} probabilities for {len(self.transforms)} transforms")
        if min(weights) < 0 or not 0 < sum(weights) < float("inf"):
            raise ValueError(f"RandomChoice: p should be numbers >= 0 and not all of them 0, got {p}")
        self.p = [w / sum(weights) for w in weights]

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``{"choice": int array (N,), "key": int array (N,)}``."""
        u, key = self._draw(shape, 1)
        bounds = np.cumsum(self.p)
        # The last bound may miss 1 by rounding; then the last transform that can come is meant.
        last = max(i for i, p in enumerate(self.p) if p > 0)
        return {"choice": np.minimum(np.searchsorted(bounds, u[:, 0], side="right"), last), "key": key}

    def decisions(self, params: dict[str, Any]) -> np.ndarray:
        return params["choice"][:, None]

    def extra_repr(self) -> str:
        return f"p={self.p}"


class RandomOrder(_Random):
    """Apply all the transforms to each image, in random order; to a batch as a whole, with its labels, in one order, if one
    of them takes labels.

    Args:
        transforms: transforms, or functions that take and return an image.

    Raises:
        TypeError: if ``transforms`` is not a sequence of callables.
        ValueError: if it is empty; when called with a batch, if the images would get different shapes or dtypes.
    """

    def make_params(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return ``{"order": int array (N, transforms), "key": int array (N,)}``."""
        u, key = self._draw(shape, len(self.transforms))
        return {"order": np.argsort(u, axis=1), "key": key}

    def decisions(self, params: dict[str, Any]) -> np.ndarray:
        return params["order"]


class Identity(Transform):
    """Leave everything as it is."""

    def __call__(self, *inputs: Any) -> Any:
        return inputs if len(inputs) != 1 else inputs[0]

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return image


class Lambda(Transform):
    """Apply a function.

    Args:
        lambd: takes and returns an image, or whatever else is in a sample.
        types: of what in a sample it is applied to; by default everything, labels too, as in torchvision.

    It is taken to know single images only, unless the function has an attribute ``batched`` that is true.

    Raises:
        TypeError: if ``lambd`` cannot be called.

    Example:
        >>> grey = Lambda(lambda image: image.convert("L"), PIL.Image.Image)
        >>> image, label = grey(PIL.Image.new("RGB", (32, 28)), 3)
        >>> image.mode, label
        ('L', 3)
    """

    takes_labels = True

    def __init__(self, lambd: Callable[[Any], Any], *types: type) -> None:
        if not callable(lambd):
            raise TypeError(f"Lambda: expected a function, got {type(lambd).__name__}")
        self.lambd = lambd
        self.types = types or (object,)

    @property
    def batched(self) -> bool:  # type: ignore[override]
        """Whether the function takes a batch."""
        return is_batched(self.lambd)

    def __call__(self, *inputs: Any) -> Any:
        sample = inputs if len(inputs) != 1 else inputs[0]
        return map_leaves(lambda x: self.transform(x, {}), sample)

    def transform(self, image: Any, params: dict[str, Any]) -> Any:
        return self.lambd(image) if isinstance(image, self.types) else image

    def extra_repr(self) -> str:
        name = getattr(self.lambd, "__name__", None)
        types = ", ".join(t.__name__ for t in self.types)
        return f"types=[{types}]" if name is None else f"{name}, types=[{types}]"


def _listed(name: str, transforms: Sequence[Callable[[Any], Any]], extra: str = "") -> str:
    lines = [*([f"    {extra}"] if extra else []), *(f"    {t!r}" for t in transforms)]
    return "\n".join([f"{name}(", *lines, ")"])
