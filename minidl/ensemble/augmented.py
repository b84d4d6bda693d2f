"""Test-time augmentation: a model looks at each image several times, each time a little changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import minidl
from minidl.data import draws
from minidl.nn import Module
from minidl.nn import functional as F
from minidl.tensor import Tensor


class TestTimeAugmentation(Module):
    """The mean of a model's probabilities over several views of each image.

    Args:
        model: takes a batch of images (N, C, H, W) and returns scores (N, classes): logits, or log-probabilities.
        transforms: each takes the whole batch, and returns a batch or a tuple of batches: those of ``minidl.transforms``, such as
            ``RandomHorizontalFlip(p=1.0)`` or ``TenCrop(28)``, or a function. None is the batch as it is.
        seed: of random transforms. They draw for image i of a batch the same numbers in every call.

    Calling it returns log-probabilities (N, classes), as ``VotingEnsemble`` does; all views count alike, those of a tuple too.
    Gradients reach the model, not the images: transforms are not differentiated.

    Averaging over the crops and their mirror images is as old as Krizhevsky et al. 2012, section 4.1 (ten views).

    Raises:
        ValueError: if there are no transforms.
        TypeError: if one cannot be called, or when called, gives something else than Tensors.

    Example:
        >>> from minidl import nn, transforms as T
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
        >>> augmented = TestTimeAugmentation(model, [None, T.RandomHorizontalFlip(p=1.0)]).eval()
        >>> augmented(minidl.rand(4, 1, 28, 28)).shape
        (4, 10)
    """

    __test__ = False  # pytest would take it for a test, by its name

    def __init__(self, model: Module, transforms: Iterable[Callable[[Tensor], Any] | None], seed: int = 0) -> None:
        super().__init__()
        self.model = model
        self.transforms = list(transforms)
        self.seed = seed
        if not self.transforms:
            raise ValueError("TestTimeAugmentation: expected at least one transform (None is the image as it is)")
        for transform in self.transforms:
            if transform is not None and not callable(transform):
                raise TypeError(f"TestTimeAugmentation: a transform should be callable or None, got {transform!r}")

    def views(self, x: Tensor) -> list[Tensor]:
        """All views of a batch."""
        found: list[Any] = []
        for number, transform in enumerate(self.transforms):
            with draws.fetching(self.seed, epoch=number, indices=range(len(x))):
                view = x if transform is None else transform(x)
            found += view if isinstance(view, (tuple, list)) else [view]
        for view in found:
            if not isinstance(view, Tensor):
                raise TypeError(f"TestTimeAugmentation: a transform should give Tensors, got {type(view).__name__}")
        return found

    def forward(self, x: Tensor) -> Tensor:
        logs = [F.log_softmax(self.model(view), 1) for view in self.views(x)]
        return minidl.logsumexp(minidl.stack(logs), 0) - math.log(len(logs))

    def extra_repr(self) -> str:
        return f"transforms={self.transforms}, seed={self.seed}"
