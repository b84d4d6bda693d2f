"""Batches of images in memory that are written in place, and what a derived class may change about samples."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

import minidl
from minidl import transforms as T
from minidl.data import DataLoader, MemmapDataset, Subset, TensorDataset
from minidl.datasets import FashionMini
from minidl.datasets.vision import InMemoryDataset
from minidl.transforms.ending import Ending

PIPELINES = {
    "only converted": [T.RandomHorizontalFlip(), T.ToTensor()],
    "one number": [T.RandomCrop(8, padding=2), T.ToTensor(), T.Normalize([0.5], [0.2])],
    "nothing before": [T.ToTensor(), T.Normalize([0.5], [0.2])],
}
COLOURS = {"three numbers": [T.RandomCrop(8), T.ToTensor(), T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]}


class Pictures(InMemoryDataset):
    classes = ["a", "b"]

    def __init__(self, channels=3, transform=None, n=70):
        super().__init__(transform=transform)
        random = np.random.default_rng(0)
        self.data = random.integers(0, 256, (n, 20, 30, 3)[: 3 + (channels > 1)], dtype=np.uint8)
        self.targets = random.integers(0, 2, n).tolist()


@pytest.fixture
def written(monkeypatch):
    """The batches that this process writes in place."""
    calls = []
    kept = Ending.convert
    monkeypatch.setattr(Ending, "convert", lambda self, image, out: (calls.append(len(out)), kept(self, image, out))[1])
    return calls


def batches(dataset, **options):
    return list(DataLoader(dataset, 33, seed=5, shuffle=True, **options))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("channels", "name"), [*((c, n) for c in (1, 3) for n in PIPELINES), *((3, name) for name in COLOURS)]
)
def test_the_same_batches_as_step_by_step(written, channels, name, workers):
    transform = T.Compose((PIPELINES | COLOURS)[name])
    # A function, and not the Compose itself, that takes batches too: this way is the plain one.
    plain = lambda images: transform(images)  # noqa: E731
    plain.batched = True
    expected = batches(Pictures(channels, plain))
    assert not written
    found = batches(Pictures(channels, transform), num_workers=workers)
    assert written == ([] if workers else [33, 33, 4])
    for (x, y), (u, v) in zip(found, expected, strict=True):
        assert x.is_contiguous() and y.tolist() == v.tolist()
        np.testing.assert_array_equal(x.numpy(), u.numpy(), strict=True)


def test_what_does_not_fit_is_left_to_the_transforms(written):
    for wrong in ([0.1, 0.2], [0.1] * 4):
        dataset = Pictures(3, T.Compose([T.ToTensor(), T.Normalize(wrong, wrong)]))
        with pytest.raises(ValueError, match=f"{len(wrong)} means for images of 3 channels"):
            batches(dataset)
    dataset = Pictures(3, T.Compose([T.ToDtype(minidl.float32), T.ToTensor(), T.Normalize([1], [1])]))
    assert batches(dataset)[0][0].max().item() > 2 and not written


def test_a_batch_that_nobody_holds_is_freed_before_the_next_one_is_made():
    loader = iter(DataLoader(TensorDataset(minidl.zeros(8, 3)), 2))
    batch = next(loader)
    array = weakref.ref(batch[0].array)
    del batch
    assert array() is None


def doubled(kind):
    class Doubled(kind):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image, 2 * label

    return Doubled


def test_a_sample_is_what_a_derived_class_makes_of_it(tmp_path):
    labels = np.arange(1, 7)
    np.save(tmp_path / "x.npy", np.zeros((6, 2), np.float32))
    np.save(tmp_path / "y.npy", labels)
    pictures = {kind: kind(3, T.Compose([T.ToTensor()]), 6) for kind in (Pictures, doubled(Pictures))}
    for dataset in pictures.values():
        dataset.targets = labels.tolist()
    fashion = doubled(FashionMini)(train=False)
    fashion.data, fashion.targets = fashion.data[:6], minidl.tensor(labels)
    tensors = minidl.zeros(6, 2), minidl.tensor(labels)
    for dataset in (
        doubled(TensorDataset)(*tensors),
        doubled(Subset)(TensorDataset(*tensors), range(6)),
        Subset(doubled(TensorDataset)(*tensors), range(6)),
        doubled(MemmapDataset)(tmp_path / "x.npy", tmp_path / "y.npy"),
        fashion,
        pictures[[*pictures][1]],
    ):
        (_, found), *_ = DataLoader(dataset, 6)
        assert found.tolist() == (2 * labels).tolist(), type(dataset).__mro__
        (_, found), *_ = DataLoader(dataset, 6, collate_fn=lambda batch: minidl.data.default_collate(batch))
        assert found.tolist() == (2 * labels).tolist(), type(dataset).__mro__


def test_a_batch_is_what_a_derived_class_makes_of_it():
    class Negative(Pictures):
        def __getitems__(self, indices):
            images, labels = super().__getitems__(indices)
            return -images, labels

    class Part(Subset):
        def __getitems__(self, indices):
            images, labels = super().__getitems__(indices)
            return -images, labels

    transform = T.Compose([T.ToTensor()])
    for dataset in (Negative(3, transform), Part(Pictures(3, transform), range(9))):
        assert batches(dataset)[0][0].max().item() == 0


def test_an_index_that_is_out_of_range_is_named():
    loader = DataLoader(Pictures(3, T.Compose([T.ToTensor()])), 2, sampler=[1, 70])
    with pytest.raises(IndexError) as caught:
        next(iter(loader))
    assert any("while fetching samples 1, 70" in note for note in caught.value.__notes__)


def test_finish_may_be_another_one():
    dataset = Pictures(3, T.Compose([T.ToTensor()]), 6)
    dataset.finish = lambda image, label: (T.ToTensor()(image), label + 7)
    (_, labels), *_ = DataLoader(dataset, 6)
    assert labels.tolist() == [label + 7 for label in dataset.targets]
