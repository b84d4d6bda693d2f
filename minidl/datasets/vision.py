"""What datasets of images share: their arguments, how they print, and how a whole batch is fetched at once."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from minidl.data import Dataset, default_collate
from minidl.data.shared import new_batch
from minidl.dtypes import get_default_dtype
from minidl.tensor import Tensor
from minidl.transforms import is_batched
from minidl.transforms.ending import ending_of
from minidl.transforms.transform import is_keyed


class VisionDataset(Dataset[tuple[Any, Any]]):
    """Base class of datasets of images. A subclass defines ``__getitem__`` and ``__len__``.

    Args:
        root: the folder of the dataset; ``~`` stands for the home folder.
        transforms: takes an image and its label, and returns both.
        transform: takes and returns an image.
        target_transform: takes and returns a label.

    Attributes:
        root, transform, target_transform: as given; they may be set anew.
        transforms: as given, or a ``StandardTransform`` of the two others; None if there is none.

    Raises:
        ValueError: if ``transforms`` is given together with one of the other two.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        transforms: Callable[..., Any] | None = None,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        if transforms is not None and (transform is not None or target_transform is not None):
            raise ValueError(
                f"{type(self).__name__}: only transforms or transform/target_transform can be passed as argument, not both"
            )
        self.root: Any = root.expanduser() if isinstance(root, Path) else root
        if isinstance(root, str):
            self.root = os.path.expanduser(root)
        self.transform = transform
        self.target_transform = target_transform
        self._transforms = transforms

    @property
    def transforms(self) -> Callable[..., Any] | None:
        """What an image and its label go through together."""
        if self._transforms is not None or (self.transform is None and self.target_transform is None):
            return self._transforms
        return StandardTransform(self.transform, self.target_transform)

    @transforms.setter
    def transforms(self, transforms: Callable[..., Any] | None) -> None:
        self._transforms = transforms

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__(index)")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__()")

    def finish(self, image: Any, label: Any) -> tuple[Any, Any]:
        """Apply the transforms, if there are any, to one image and its label."""
        transforms = self.transforms
        return (image, label) if transforms is None else transforms(image, label)

    @property
    def draws_by_key(self) -> bool:
        """Whether all that is random about a sample is keyed by it (see ``minidl.data.draws``)."""
        usual = type(self).transforms is VisionDataset.transforms and not self.finishes_otherwise
        return usual and self._transforms is None and self.target_transform is None and is_keyed(self.transform)

    @property
    def finishes_otherwise(self) -> bool:
        """Whether a derived class, or somebody, has put another ``finish`` in the place of this one."""
        return getattr(self.finish, "__func__", None) is not VisionDataset.finish

    def extra_repr(self) -> str:
        """Return further lines for the printed form."""
        return ""

    def __repr__(self) -> str:
        lines = [f"Number of datapoints: {len(self)}"]
        if self.root is not None:
            lines.append(f"Root location: {self.root}")
        lines += self.extra_repr().splitlines()
        if self.transforms is not None:
            lines += repr(self.transforms).splitlines()
        return "\n    ".join([f"Dataset {type(self).__name__}", *lines])


class StandardTransform:
    """``transform`` for the image and ``target_transform`` for the label, as one function of both."""

    def __init__(
        self, transform: Callable[[Any], Any] | None = None, target_transform: Callable[[Any], Any] | None = None
    ) -> None:
        self.transform = transform
        self.target_transform = target_transform

    def __call__(self, image: Any, label: Any) -> tuple[Any, Any]:
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return image, label

    def __repr__(self) -> str:
        lines = [type(self).__name__]
        for head, transform in (("Transform: ", self.transform), ("Target transform: ", self.target_transform)):
            if transform is not None:
                lines.append(head + repr(transform).replace("\n", "\n" + " " * len(head)))
        return "\n".join(lines)


class InMemoryDataset(VisionDataset):
    """Images of one size that are all in memory: a subclass sets ``data``, ``targets`` and ``classes``.

    A sample is ``(image, label)``: a PIL image (grey or RGB) and an int, before the transforms get them.

    When a DataLoader fetches a batch and ``transform`` takes batches (``minidl.transforms.is_batched``), it is called
    once, with a uint8 Tensor of shape (N, C, H, W), values 0 to 255, instead of N times with a PIL image. minidl's own
    transforms take both, and draw the same numbers for each image.

    Attributes:
        data: uint8 Tensor or array of shape (n, H, W) or (n, H, W, C).
        targets: the labels, a Tensor or a list of ints.
        classes: the names of the labels.
    """

    data: Any
    targets: Any
    classes: list[str]

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The label of each class name."""
        return {name: label for label, name in enumerate(self.classes)}

    def __keyed__(self) -> bool:
        return self.draws_by_key

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        i = operator.index(index)
        return self.finish(Image.fromarray(_array_of(self.data)[i]), int(_array_of(self.targets)[i]))

    def __getbatch__(self, indices: Sequence[int]) -> Any:
        """What ``__getitems__`` returns; if ``transform`` ends in ToTensor, or ToTensor and Normalize, made with fewer copies."""
        ending = ending_of(self.transform) if self._is_transformed_by_batches() else None
        if ending is None:
            return NotImplemented
        labels = self._labels(indices)
        images = ending.prepare(Tensor.wrap(self._pixels(indices)))
        shape = ending.shape(images)
        if shape is None or not isinstance(labels, Tensor):
            return NotImplemented
        batch = new_batch(shape, get_default_dtype())
        ending.convert(images, batch)
        return Tensor.wrap(batch), labels

    def __getitems__(self, indices: Sequence[int]) -> Any:
        """Return the finished batch (images, labels); or NotImplemented if ``transform`` is none, or takes single
        images only."""
        if self.transform is None or not self._is_transformed_by_batches():
            return NotImplemented
        labels = self._labels(indices)
        if not isinstance(labels, Tensor):  # a target_transform that makes no numbers: samples are collated one by one
            return NotImplemented
        return self.transform(Tensor.wrap(self._pixels(indices))), labels

    def _is_transformed_by_batches(self) -> bool:
        """Whether ``transform`` is all that happens to the images, and takes a whole batch."""
        return self._transforms is None and not self.finishes_otherwise and is_batched(self.transform)

    def _labels(self, indices: Sequence[int]) -> Any:
        targets = _array_of(self.targets)
        labels = np.array([targets[i] for i in indices], dtype=np.int64)
        if self.target_transform is None:
            return Tensor.wrap(labels)
        return default_collate([self.target_transform(label) for label in labels.tolist()])

    def _pixels(self, indices: Sequence[int]) -> np.ndarray:
        """The images as an array (N, C, H, W) of its own memory."""
        images = _array_of(self.data)
        images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(images[np.asarray(indices, dtype=np.intp)])

    def __len__(self) -> int:
        return len(self.data)


def _array_of(data: Any) -> Any:
    return data.array if isinstance(data, Tensor) else data


def check_labels(labels: np.ndarray, classes: int, where: object) -> None:
    """See that labels lie in 0 to ``classes - 1``.

    Raises:
        ValueError: if one does not; it says which, and ``where``.
    """
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise ValueError(
            f"{where}: label {labels[wrong[0]]} of sample {wrong[0]} is none of the {classes} classes "
            f"(0 to {classes - 1}); {len(wrong)} of {len(labels)} labels are not"
        )
