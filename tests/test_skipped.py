"""Counting in the main process what workers left out, whatever else a dataset calls ``skipped``."""

from __future__ import annotations

import numpy as np
import pytest

from minidl.data import DataLoader, Dataset, get_worker_info


class Numbers(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return np.float32(index)


class ReadOnly(Numbers):
    @property
    def skipped(self):
        return {1}


class NotOpen(Numbers):
    @property
    def skipped(self):
        raise OSError("not open yet")

    dataset = datasets = skipped


class Changing(Numbers):
    def __init__(self):
        self.skipped = 0
        self.dataset = None

    def __getitem__(self, index):
        self.skipped = [] if index == 3 else index
        self.dataset = self
        return super().__getitem__(index)


@pytest.mark.parametrize("kind", [ReadOnly, NotOpen, Changing, Numbers])
def test_attributes_of_the_same_name_do_no_harm(kind):
    for persistent in (False, True):
        loader = DataLoader(kind(), 2, num_workers=1, persistent_workers=persistent)
        for _ in range(2):
            assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3], [4, 5]]


def add_attribute(worker):
    get_worker_info().dataset.skipped = 0
    get_worker_info().dataset.datasets = [Changing()]


def test_a_worker_may_change_its_dataset():
    loader = DataLoader(Numbers(), 2, num_workers=1, worker_init_fn=add_attribute)
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3], [4, 5]]


class Counting(Numbers):
    skipped = 0

    def __init__(self):
        self.skipped = 0

    def __getitem__(self, index):
        self.skipped += index % 2
        return super().__getitem__(index)


def test_numbers_are_added_up_and_may_be_set_anew():
    dataset = Counting()
    loader = DataLoader(dataset, 2, num_workers=2, persistent_workers=True)
    assert len(list(loader)) == 3 and dataset.skipped == 3
    dataset.skipped = None
    assert len(list(loader)) == 3 and dataset.skipped is None
    dataset.skipped = 0
    assert len(list(loader)) == 3 and dataset.skipped == 3
