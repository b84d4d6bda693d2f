"""Batches of a folder's images that are written in place, against the same ones made step by step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minidl
from minidl import transforms as T
from minidl.data import DataLoader, Subset, default_collate, draws
from minidl.data.dataset import SkipSample
from minidl.datasets import ImageFolder
from minidl.transforms.ending import Ending

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PIPELINES = {
    "only converted": [T.Resize((9, 7)), T.ToTensor()],
    "one number": [T.RandomCrop(8), T.ToTensor(), T.Normalize([0.5], [0.2])],
    "random": [T.RandomResizedCrop(8), T.RandomHorizontalFlip(), T.ColorJitter(0.3), T.ToTensor(), T.Normalize(MEAN, STD)],
    "nothing before": [T.ToTensor(), T.Normalize(MEAN, STD)],
}  # fmt: skip


@pytest.fixture
def many(tmp_path):
    random = np.random.default_rng(0)
    for i in range(14):
        path = tmp_path / "ab"[i % 2] / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)
    return tmp_path


@pytest.fixture
def written(monkeypatch):
    """One entry for every image that this process writes in place."""
    calls = []
    kept = Ending.convert
    monkeypatch.setattr(Ending, "convert", lambda self, image, out: (calls.append(1), kept(self, image, out))[1])
    return calls


class StepByStep(ImageFolder):
    def __getitem__(self, index):  # as it is: but what a derived class defines is what counts
        return super().__getitem__(index)


def batches(dataset, **options):
    return list(DataLoader(dataset, 4, seed=5, shuffle=True, **options))


def assert_same(some, others):
    assert len(some) == len(others) > 1
    for (x, y), (u, v) in zip(some, others, strict=True):
        assert x.dtype == u.dtype and y.dtype == v.dtype and x.is_contiguous()
        np.testing.assert_array_equal(x.numpy(), u.numpy(), strict=True)
        np.testing.assert_array_equal(y.numpy(), v.numpy(), strict=True)


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_batches(many, written, name, workers):
    transform = T.Compose(PIPELINES[name])
    expected = batches(StepByStep(many, transform))
    assert not written
    dataset = ImageFolder(many, transform)
    found = batches(dataset, num_workers=workers)
    assert_same(found, expected)
    assert len(written) == (0 if workers else 14)
    del written[:]
    part = [2, 3, 3, 5, 7, 11]
    assert_same(batches(Subset(dataset, part)), batches(Subset(StepByStep(many, transform), part)))
    assert len(written) == 6


def test_the_default_dtype_counts(many, written):
    transform = T.Compose(PIPELINES["random"])
    minidl.set_default_dtype(minidl.float64)
    try:
        expected, found = (batches(kind(many, transform)) for kind in (StepByStep, ImageFolder))
    finally:
        minidl.set_default_dtype(minidl.float32)
    assert written and found[0][0].dtype == np.float64
    assert_same(found, expected)


def test_without_a_loader_there_is_no_key(many):
    transform = T.Compose(PIPELINES["random"])
    minidl.manual_seed(3)
    images, labels = ImageFolder(many, transform).__getbatch__([1, 8])
    minidl.manual_seed(3)
    expected = default_collate([ImageFolder(many, transform)[i] for i in (1, 8)])
    assert np.array_equal(images.numpy(), expected[0].numpy()) and labels.tolist() == expected[1].tolist()


class OwnEnd(T.Normalize):
    def transform(self, image, params):
        return super().transform(image, params) * 2


@pytest.mark.parametrize(
    "change",
    [
        lambda d: setattr(d, "transform", T.Compose([T.Resize((8, 8)), T.Grayscale(), T.ToTensor()])),
        lambda d: setattr(d, "transform", T.Compose([T.ToTensor(), OwnEnd(MEAN, STD)])),
        lambda d: setattr(d, "transform", T.Compose([T.ToTensor(), T.RandomErasing(p=1.0)])),
        lambda d: setattr(d, "transform", T.Compose([T.ToImage(), T.ToTensor()])),
        lambda d: setattr(d, "transform", T.ToTensor()),
        lambda d: setattr(d, "transforms", lambda image, label: (T.ToTensor()(image), label + 7)),
        lambda d: setattr(d, "target_transform", lambda label: label + 7),
        lambda d: setattr(d, "finish", lambda image, label: (T.ToTensor()(image), label + 7)),
    ],
)
def test_whatever_else_is_made_step_by_step(many, written, change):
    found, expected = ImageFolder(many, T.Compose(PIPELINES["nothing before"])), None
    change(found)
    expected = StepByStep(many, T.Compose(PIPELINES["nothing before"]))
    change(expected)
    assert_same(batches(found), batches(expected))
    assert not written


class Drawing(ImageFolder):
    def __init__(self, root, transform):
        super().__init__(root, transform, loader=self.load)

    @staticmethod
    def load(path):
        draw = minidl.rand(1).item(), *draws.uniform(1, 1)[0].tolist()
        return Image.new("RGB", (30, 20), tuple(int(255 * u) for u in (*draw, 0.5)))


class DrawingStepByStep(Drawing):
    def __getitem__(self, index):
        return super().__getitem__(index)


def test_a_loader_that_draws(many, written):
    transform = T.Compose(PIPELINES["random"])
    found, expected = (batches(kind(many, transform)) for kind in (Drawing, DrawingStepByStep))
    assert_same(found, expected)
    assert len(written) == 14


@pytest.mark.parametrize("label", [0.5, True, "a", np.int32(3), None])
def test_labels_may_be_anything(many, label):
    dataset = ImageFolder(many, T.Compose(PIPELINES["nothing before"]))
    if label is None:
        dataset.samples = [(path, 2**40 + i) for i, (path, _) in enumerate(dataset.samples)]
    else:
        dataset.samples = [(path, label) for path, _ in dataset.samples]
    plain = StepByStep(many, dataset.transform)
    plain.samples = dataset.samples
    for (x, y), (u, v) in zip(batches(dataset), batches(plain), strict=True):
        assert np.array_equal(x.numpy(), u.numpy()) and type(y) is type(v)
        assert y == v if isinstance(y, list) else (y.dtype == v.dtype and y.tolist() == v.tolist())


def test_what_never_fits_is_tried_once(many):
    loaded = []
    dataset = ImageFolder(
        many, T.Compose([T.Grayscale(), T.ToTensor()]), loader=lambda p: loaded.append(p) or Image.open(p)
    )
    assert len(batches(dataset)) == 4 and len(loaded) == 15
    dataset.transform = T.Compose(PIPELINES["nothing before"])
    assert len(batches(dataset)) == 4 and len(loaded) == 29


def test_a_collate_fn_gets_samples(many, written):
    dataset = ImageFolder(many, T.Compose(PIPELINES["nothing before"]))
    seen = [label for batch in batches(dataset, collate_fn=list) for _, label in batch]
    assert {type(label) for label in seen} == {int} and not written


def test_a_derived_subset_is_asked_for_its_samples(many, written):
    class Doubled(Subset):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image * 2, label

    dataset = ImageFolder(many, T.Compose(PIPELINES["nothing before"]))
    once, twice = (DataLoader(kind(dataset, range(4)), 4) for kind in (Subset, Doubled))
    assert np.array_equal(next(iter(twice))[0].numpy(), 2 * next(iter(once))[0].numpy())
    assert len(written) == 4


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_name_the_sample(many, workers):
    dataset = ImageFolder(many, T.Compose(PIPELINES["nothing before"]))
    bad = dataset.samples[5][0]
    Path(bad).write_bytes(b"no picture")
    with pytest.raises(OSError, match="cannot read sample 5") as caught:
        batches(dataset, num_workers=workers)
    notes = [str(caught.value), *getattr(caught.value, "__notes__", ())]
    assert bad in notes[0] and any("while fetching sample 5 " in note for note in notes)
    dataset.on_error = "skip"
    with pytest.warns(UserWarning, match="the next one takes its place") if not workers else np.errstate():
        assert sum(len(x) for x, _ in batches(dataset, num_workers=workers)) == 14


def test_images_of_other_sizes_do_not_fit(many):
    dataset = ImageFolder(many, T.Compose(PIPELINES["nothing before"]))
    Image.new("RGB", (5, 4)).save(dataset.samples[5][0])
    with pytest.raises(RuntimeError, match="samples of one batch must have equal shape"):
        batches(dataset)


def test_skipped_samples(many):
    def some(image):
        if np.asarray(image)[0, 0, 0] > 127:
            raise SkipSample
        return image

    dataset = ImageFolder(many, T.Compose([some, *PIPELINES["nothing before"]]))
    with pytest.raises(SkipSample):  # a stream leaves such samples out; a dataset with indices cannot
        batches(dataset)


def test_batches_stay_as_they_are(many):
    """In a worker they lie in memory that is used again, but not while a batch lives."""
    dataset = ImageFolder(many, T.Compose(PIPELINES["random"]))
    loader = DataLoader(dataset, 2, num_workers=1, seed=0, prefetch_factor=1)
    kept = [(x, x.numpy().copy()) for _ in range(2) for x, _ in loader]
    assert all(np.array_equal(x.numpy(), copy) for x, copy in kept)
