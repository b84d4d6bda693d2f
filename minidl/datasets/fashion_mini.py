"""FashionMini: 7,000 images of Fashion-MNIST that come with the package, so that nothing need be downloaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

import numpy as np

from minidl.data import Dataset, default_collate
from minidl.tensor import Tensor
from minidl.transforms import is_batched
from minidl.transforms.transform import is_keyed


class FashionMini(Dataset[tuple[Any, Any]]):
    """A tenth of Fashion-MNIST: 6,000 training or 1,000 test images of clothing, 28x28 grey, equally many of 10
    classes.

    A sample is ``(image, label)``: a float32 Tensor of shape (1, 28, 28) with values from 0 to 1, and an int. (No
    ``ToDtype`` is needed, and one with ``scale=True`` does no harm.)

    Args:
        train: the training images (from Fashion-MNIST's training part) or the test images (from its test part).
        transform: takes and returns an image. One from ``minidl.transforms`` gets a whole batch (N, 1, 28, 28) at once
            when a DataLoader fetches one; any other callable always gets a single image.
        target_transform: takes and returns a label.

    Attributes:
        data: all images, a uint8 Tensor of shape (6000 or 1000, 28, 28) with values from 0 to 255.
        targets: all labels, an int64 Tensor.
        classes: the names of labels 0 to 9.

    Accuracies on FashionMini are not comparable with those published for Fashion-MNIST, which has 60,000 training
    images.

    Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms", arXiv:1708.07747. Copyright 2017 Zalando SE, MIT License; its text is in ``fashion_mini.LICENSE.txt``
    beside this file.

    Example:
        >>> image, label = FashionMini(train=False)[0]
        >>> image.shape, FashionMini.classes[label]
        ((1, 28, 28), 'Ankle boot')
    """

    classes = [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ]

    def __init__(
        self,
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.train = train
        self.transform = transform
        self.target_transform = target_transform
        part = "train" if train else "test"
        with resources.files("minidl.datasets").joinpath("fashion_mini.npz").open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            self.data = Tensor.wrap(arrays[f"{part}_images"])
            self.targets = Tensor.wrap(arrays[f"{part}_labels"].astype(np.int64))

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The label of each class name."""
        return {name: label for label, name in enumerate(self.classes)}

    def __keyed__(self) -> bool:
        return self.target_transform is None and is_keyed(self.transform)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image: Any = _as_floats(self.data.array[index][None])
        label: Any = int(self.targets.array[index])
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return image, label

    def __getitems__(self, indices: Sequence[int]) -> Any:
        """Return the finished batch (images, labels); or NotImplemented if ``transform`` takes single images only."""
        if not is_batched(self.transform):
            return NotImplemented
        images: Any = _as_floats(self.data.array[indices][:, None])
        labels: Any = Tensor.wrap(self.targets.array[indices])
        if self.transform is not None:
            images = self.transform(images)
        if self.target_transform is not None:
            labels = default_collate([self.target_transform(label) for label in labels.tolist()])
        return images, labels

    def __len__(self) -> int:
        return len(self.data)


def _as_floats(pixels: np.ndarray) -> Tensor:
    floats = pixels.astype(np.float32)
    floats /= 255
    return Tensor.wrap(floats)
