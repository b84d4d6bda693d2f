"""Batches of which it does not matter who makes them: the worker that is free does, and all else is as if workers took turns."""

from __future__ import annotations

import multiprocessing
import os
import random as python_random
import time

import numpy as np
import pytest
from PIL import Image

import minidl
from minidl import transforms as T
from minidl.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    MemmapDataset,
    Subset,
    TensorDataset,
    get_worker_info,
)
from minidl.data.dataset import is_keyed
from minidl.datasets import DatasetFolder, FashionMini, ImageFolder
from minidl.datasets.vision import InMemoryDataset

fork = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="the dataset is made in the test"
)


class Who(Dataset):
    """Sample i: i and the worker that made it. Worker 0 is slow."""

    def __init__(self, n, keyed=True, action=lambda index: None):
        self.n = n
        self.keyed = keyed
        self.action = action

    def __getitem__(self, index):
        worker = get_worker_info().id
        time.sleep(0.05 if worker == 0 else 0.0)
        self.action(index)
        return index, worker

    def __len__(self):
        return self.n

    def __keyed__(self):
        return self.keyed


def made(dataset, **options):
    """Which samples came, in order, and how many of them worker 0 made."""
    batches = list(DataLoader(dataset, 2, **{"num_workers": 2, **options}))
    indices, workers = (np.concatenate([batch[i].numpy() for batch in batches]) for i in (0, 1))
    assert all(len(set(batch[1].tolist())) == 1 for batch in batches)
    return indices.tolist(), int((workers == 0).sum())


@fork
def test_the_free_worker_makes_the_next_batch_and_the_order_stays():
    everything = list(range(40))
    indices, by_slow = made(Who(40))
    assert indices == everything and by_slow < 20
    assert made(Who(40, keyed=False)) == (everything, 20)
    assert made(Who(40), worker_init_fn=print) == (everything, 20)  # a function of the user's: who knows what it does
    assert made(Who(40), collate_fn=lambda samples: minidl.data.default_collate(samples)) == (everything, 20)
    indices, by_slow = made(Who(40), in_order=False)
    assert indices != everything and sorted(indices) == everything and by_slow < 20


@fork
@pytest.mark.parametrize("prefetch", [1, 3])
@pytest.mark.parametrize("keyed", [False, True])
def test_no_more_is_ahead_than_was_asked_for(prefetch, keyed):
    """However much faster the other worker is: as many batches are begun as if each had ``prefetch``."""
    count = multiprocessing.Value("i", 0)

    def begin(index):
        with count.get_lock():
            count.value += 1
        time.sleep(0.3 if index == 0 else 0)  # the batch that comes first is long in coming

    batches = iter(DataLoader(Who(40, keyed, begin), 1, num_workers=2, prefetch_factor=prefetch))
    next(batches)
    time.sleep(0.8)
    assert 2 * prefetch <= count.value <= 2 * prefetch + 1
    assert len(list(batches)) == 39


class Stream(IterableDataset):
    def __iter__(self):
        worker = get_worker_info().id
        for i in range(worker, 24, 2):
            time.sleep(0.02 if worker == 0 else 0)
            yield i

    def __keyed__(self):
        return True


@fork
def test_of_a_stream_each_worker_has_its_part():
    batches = [batch.tolist() for batch in DataLoader(Stream(), 2, num_workers=2)]
    assert batches == [[4 * i + j, 4 * i + j + 2] for i in range(6) for j in (0, 1)]


@fork
def test_a_fast_worker_does_not_make_all_that_is_ahead():
    """Each keeps the memory of as many batches as it once had under way."""

    def begin(index):
        time.sleep(0 if get_worker_info().id == 1 else 0.1)

    batches = iter(DataLoader(Who(40, action=begin), 1, num_workers=4, prefetch_factor=2))
    most, count = 0, 0
    for _ in batches:
        workers = [worker for _, worker in batches.batches.order]
        most, count = max(most, workers.count(1)), count + 1
    assert most == 3 and count == 40


@fork
def test_a_failure_that_is_early_waits_for_its_turn():
    def fail(index):
        if index == 7:
            raise ValueError("seven")
        time.sleep(0.4 if index == 0 else 0)  # batch 3 has failed long before

    batches = iter(DataLoader(Who(40, action=fail), 2, num_workers=2))
    assert [next(batches)[0].tolist() for _ in range(3)] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ValueError, match=r"worker process 1(.|\n)*seven(.|\n)*sample 7 \(batch 3 of epoch 0\)"):
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)


@fork
def test_a_death_is_reported_at_once():
    def die(index):
        if index == 3:
            os._exit(1)
        time.sleep(20 if index == 0 else 0)

    begin = time.monotonic()
    with pytest.raises(RuntimeError, match=r"worker 1 \(pid \d+\) ended with exit code 1.*batch 1 of epoch 0"):
        made(Who(40, action=die))
    assert time.monotonic() - begin < 5


@fork
def test_the_time_runs_for_the_batch_that_comes_first():
    """Others that arrive meanwhile do not begin it anew; and the message names the worker that is late."""

    def hang(index):
        time.sleep(60 if index == 0 else 0.4)

    begin = time.monotonic()
    late = r"timed out after 0.9 seconds, waiting for worker 0 \(pid \d+\) on batch 0 of epoch 0 \(samples 0, 1\)\."
    with pytest.raises(RuntimeError, match=late):
        made(Who(40, action=hang), timeout=0.9, prefetch_factor=4)
    assert time.monotonic() - begin < 3  # the other worker goes on for 3.2 seconds


class DrawsElsewhere(T.Resize):
    def transform(self, image, params):
        return super().transform(image, params) if python_random.random() < 0.5 else image


class Tagged(ImageFolder):
    def __getitem__(self, index):
        return index, super().__getitem__(index)


class Batched(ImageFolder):
    def __getbatch__(self, indices):
        return NotImplemented


class Transforming(ImageFolder):
    @property
    def transforms(self):
        return lambda image, label: (image, python_random.random())


class Finished(ImageFolder):
    def finish(self, image, label):
        return image, python_random.random()


def test_which_datasets_are_keyed(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "x.png")
    (tmp_path / "a").mkdir()
    (tmp_path / "x.png").rename(tmp_path / "a" / "x.png")
    own = T.Compose([T.RandomApply([T.RandomResizedCrop(8)]), T.AutoAugment(), T.ToTensor()])
    others = [
        lambda image: image,
        T.Lambda(lambda image: image),
        T.Compose([T.RandomApply([DrawsElsewhere(8)]), T.ToTensor()]),
        T.RandomOrder([T.ToTensor(), T.RandomChoice([T.Lambda(abs)])]),
        T.Compose([T.ToTensor(), T.MixUp(num_classes=3, labels_getter=lambda sample: python_random.random())]),
    ]
    rows = minidl.zeros(3, 1, 8, 8)

    def kinds(transform):
        memory = InMemoryDataset(transform=transform)
        return [
            ImageFolder(tmp_path, transform),
            FashionMini(False, transform),
            MemmapDataset(rows, transform=transform),
            memory,
        ]

    assert all(is_keyed(dataset) for transform in (None, own) for dataset in kinds(transform))
    assert not any(is_keyed(dataset) for transform in others for dataset in kinds(transform))
    folder, tensors = ImageFolder(tmp_path, own, draft=(8, 8)), TensorDataset(rows)
    mixed = ConcatDataset([folder, Subset(ConcatDataset([tensors, folder]), [0])])
    assert is_keyed(folder) and is_keyed(tensors) and is_keyed(mixed)
    mixed.datasets.append(Subset(ImageFolder(tmp_path, others[0]), [0]))
    assert not is_keyed(mixed)
    for dataset in (
        Tagged(tmp_path, own),
        Finished(tmp_path, own),
        Batched(tmp_path, own),
        Transforming(tmp_path),
        ImageFolder(tmp_path, own, loader=Image.open),
        ImageFolder(tmp_path, own, target_transform=int),
        DatasetFolder(tmp_path, Image.open, (".png",)),
        FashionMini(False, target_transform=int),
        MemmapDataset(rows, rows, target_transform=int),
        list(range(3)),
    ):
        assert not is_keyed(dataset), dataset
    folder.transforms = lambda image, label: (image, label)
    assert not is_keyed(folder)
