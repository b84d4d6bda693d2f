"""The data that comes with the package."""

from __future__ import annotations

import hashlib
from importlib import resources

import numpy as np
import pytest

from minidl import transforms
from minidl.data import DataLoader
from minidl.datasets import FashionMini
from minidl.tensor import Tensor

SHA256_OF_FILE = "b3a5ef00123a6fcb94b9de321db87656eb8fb8f8a3ae1a4a4b2175975aec0fce"
SHA256_OF_PIXELS = {
    True: "2b17438af55637db62c122a92490b5b4275bed5719a838b5b0486ea2193a98a4",
    False: "3d7f6d64869a3f2d1afe64ae33ffb9b20670a91b31e3bbf0657e3999ec7b35cf",
}
SHA256_OF_LABELS = {
    True: "f16e201ddc15b401c509545575d23793b230f5735ae378c1ced3a6156cb72251",
    False: "6b25654537ff83dd6c40fe0a122c7778d8219b2a88ff02c36dbdd21152fdb075",
}


def test_the_file_is_the_one_that_was_made():
    folder = resources.files("minidl.datasets")
    content = folder.joinpath("fashion_mini.npz").read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHA256_OF_FILE
    assert len(content) < 3_500_000
    licence = folder.joinpath("fashion_mini.LICENSE.txt").read_text(encoding="utf-8")
    assert "Copyright (c) 2017 Zalando SE" in licence and "Permission is hereby granted" in licence


@pytest.mark.parametrize(("train", "count"), [(True, 6000), (False, 1000)])
def test_images_and_labels(train, count):
    dataset = FashionMini(train=train)
    assert len(dataset) == count
    assert dataset.data.shape == (count, 28, 28) and dataset.data.dtype == np.uint8
    assert dataset.targets.shape == (count,) and dataset.targets.dtype == np.int64
    assert hashlib.sha256(dataset.data.array.tobytes()).hexdigest() == SHA256_OF_PIXELS[train]
    assert hashlib.sha256(dataset.targets.array.astype(np.uint8).tobytes()).hexdigest() == SHA256_OF_LABELS[train]
    assert np.bincount(dataset.targets.array).tolist() == [count // 10] * 10


def test_a_sample():
    dataset = FashionMini(train=False)
    image, label = dataset[0]
    assert isinstance(image, Tensor) and image.shape == (1, 28, 28) and image.dtype == np.float32
    assert (image.array[0] == dataset.data.array[0].astype(np.float32) / np.float32(255)).all()
    assert type(label) is int and dataset.classes[label] == "Ankle boot" and dataset.class_to_idx["Ankle boot"] == label
    with pytest.raises(IndexError):
        dataset[1000]


def test_a_batch_is_its_samples():
    dataset = FashionMini(train=False, target_transform=lambda label: label % 2)
    images, labels = dataset.__getitems__([5, 0, 999])
    for i, index in enumerate([5, 0, 999]):
        image, label = dataset[index]
        assert (images.array[i] == image.array).all() and labels.array[i] == label
    assert images.shape == (3, 1, 28, 28) and labels.dtype == np.int64


def test_a_loader_transforms_a_batch_as_it_would_each_image():
    augment = transforms.Compose(
        [
            transforms.RandomCrop(28, padding=2),
            transforms.RandomHorizontalFlip(),
            transforms.Normalize([0.286], [0.353]),
        ]
    )
    sizes = []

    def one_by_one(image):  # a plain function: the dataset must not give it a batch
        sizes.append(image.shape)
        return augment(image)

    whole, single = (
        [images.array for images, _ in DataLoader(FashionMini(False, transform), batch_size=300, shuffle=True, seed=4)]
        for transform in (augment, one_by_one)
    )
    assert sizes == [(1, 28, 28)] * 1000
    assert all((a == b).all() for a, b in zip(whole, single, strict=True))


def test_the_maker_refuses_other_files(tmp_path):
    import gzip

    from minidl.datasets._make_fashion_mini import first_of_each_class, read_idx

    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"something else"))
    with pytest.raises(SystemExit, match="md5"):
        read_idx(tmp_path, "train-labels-idx1-ubyte")
    labels = np.array([1, 0, 1, 1, 0, 0] + list(range(2, 10)))
    assert first_of_each_class(labels, 2).tolist() == [0, 1, 2, 4, 6, 7, 8, 9, 10, 11, 12, 13]
