"""Datasets of arrays on the disk, and the writer of such arrays."""

from __future__ import annotations

import os
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import transforms
from minidl.data import DataLoader, TensorDataset
from minidl.data.memmap import MemmapDataset, MemmapWriter
from minidl.tensor import Tensor


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    arrays = rng.integers(0, 256, (20, 3, 4, 4), dtype=np.uint8), rng.integers(0, 10, 20)
    paths = tmp_path / "images.npy", tmp_path / "labels.npy"
    for path, array in zip(paths, arrays, strict=True):
        np.save(path, array)
    return paths, arrays


def test_samples_are_rows_that_may_be_written_to(files):
    paths, (images, labels) = files
    dataset = MemmapDataset(*paths)
    assert len(dataset) == 20
    assert isinstance(dataset.arrays[0].base, np.memmap)
    assert not dataset.arrays[0].flags.writeable
    image, label = dataset[7]
    assert isinstance(image, Tensor) and isinstance(label, Tensor) and label.shape == ()
    assert (image.array == images[7]).all() and label.item() == labels[7]
    image.array[:] = 0
    assert (dataset[7][0].array == images[7]).all()
    assert (dataset[-1][0].array == images[-1]).all()
    assert len(list(dataset)) == 20  # ends with an IndexError


@given(st.lists(st.integers(-20, 19), max_size=30))
def test_a_batch_is_its_samples_in_order(indices):
    array = np.arange(40, dtype=np.float32).reshape(20, 2)
    dataset = MemmapDataset(array)
    (batch,) = dataset.__getitems__(indices)
    assert batch.array.tolist() == array[indices].tolist() and batch.dtype == np.float32


def test_a_batch_is_read_in_the_order_of_the_file(files):
    read = []

    class Watched(np.ndarray):
        def __getitem__(self, index):
            read.append(int(index))
            return np.asarray(self)[index]

    dataset = MemmapDataset(*files[0])
    dataset.arrays = [array.view(Watched) for array in dataset.arrays]
    dataset.__getitems__([9, 2, 2, 15, 0])
    assert read == [0, 2, 2, 9, 15] * 2


def test_it_is_like_a_tensor_dataset_whoever_loads_it(files):
    paths, arrays = files
    expected = DataLoader(TensorDataset(*map(Tensor.wrap, arrays)), batch_size=6, shuffle=True, seed=3)
    expected = [(x.tolist(), y.tolist()) for x, y in expected]
    for workers in (0, 2):
        loader = DataLoader(MemmapDataset(*paths), batch_size=6, shuffle=True, seed=3, num_workers=workers)
        assert [(x.tolist(), y.tolist()) for x, y in loader] == expected


def test_transforms(files):
    paths, (images, labels) = files
    seen = []

    def single(image):
        seen.append(image.shape)
        return image.array.sum()

    dataset = MemmapDataset(*paths, transform=single, target_transform=lambda label: int(label.item()) % 2)
    assert dataset[3] == (images[3].sum(), labels[3] % 2)
    assert dataset.__getitems__([1, 2]) is NotImplemented
    (sums, odd) = next(iter(DataLoader(dataset, batch_size=20)))
    assert sums.tolist() == images.sum((1, 2, 3)).tolist() and odd.tolist() == (labels % 2).tolist()
    assert set(seen) == {(3, 4, 4)}
    batched = MemmapDataset(*paths, transform=transforms.CenterCrop(2), target_transform=lambda label: label.item() % 2)
    crops, odd = batched.__getitems__([5, 4])
    assert (crops.array == images[[5, 4], :, 1:3, 1:3]).all() and odd.tolist() == (labels[[5, 4]] % 2).tolist()


def test_it_is_pickled_as_paths(files, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    dataset = MemmapDataset("images.npy", "labels.npy")
    content = pickle.dumps(dataset)
    assert len(content) < 1000
    monkeypatch.chdir("/")
    again = pickle.loads(content)
    assert (again[4][0].array == dataset[4][0].array).all()
    assert isinstance(again.arrays[0].base, np.memmap)


def test_other_orders_of_bytes_and_of_axes(tmp_path):
    path, array = tmp_path / "x.npy", np.arange(12.0).reshape(4, 3)
    np.save(path, np.asfortranarray(array.astype(">f4")))
    (row,), (batch,) = MemmapDataset(path)[2], MemmapDataset(path).__getitems__([2, 0])
    assert row.dtype == batch.dtype == np.dtype("=f4") and row.dtype.isnative and batch.array.dtype.isnative
    assert row.tolist() == array[2].tolist() and batch.tolist() == array[[2, 0]].tolist()


def test_what_is_no_array_of_numbers(files, tmp_path):
    (images, labels), _ = files
    content = images.read_bytes()
    broken = {
        "short.npy": content[:-1],
        "header.npy": content[:40],
        "magic.npy": content[:7],
        "empty.npy": b"",
        "text.npy": b"hello",
    }
    for name, data in broken.items():
        (tmp_path / name).write_bytes(data)
        what = "not a .npy file" if name in ("empty.npy", "text.npy") else "truncated or damaged"
        with pytest.raises(ValueError, match=f"{name} is {what}"):
            MemmapDataset(tmp_path / name)
    np.savez(tmp_path / "several.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="several.npz is not a .npy file"):
        MemmapDataset(tmp_path / "several.npz")
    with pytest.raises(FileNotFoundError, match="missing.npy"):
        MemmapDataset(tmp_path / "missing.npy")
    np.save(tmp_path / "objects.npy", np.array([{}, None]), allow_pickle=True)
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    np.save(tmp_path / "one.npy", np.array(3))
    for name, kind, message in [
        ("objects.npy", TypeError, "objects.npy holds Python objects"),
        ("words.npy", TypeError, "got <U1 in .*words.npy"),
        ("one.npy", ValueError, "single value in .*one.npy"),
    ]:
        with pytest.raises(kind, match=message):
            MemmapDataset(tmp_path / name)
    with pytest.raises(ValueError, match=r"20 in .*images.npy, 3 in an array"):
        MemmapDataset(images, np.zeros(3))
    with pytest.raises(ValueError, match="at least one"):
        MemmapDataset()
    with pytest.raises(ValueError, match="second array"):
        MemmapDataset(images, target_transform=int)
    with pytest.raises(TypeError, match="list"):
        MemmapDataset([1, 2])
    for index in (20, -21):
        with pytest.raises(IndexError, match=f"index {index} is out of range for 20"):
            MemmapDataset(images, labels)[index]
        with pytest.raises(IndexError, match=f"index {index} is out of range for 20"):
            MemmapDataset(images, labels).__getitems__([0, index])
    with pytest.raises(TypeError):
        MemmapDataset(images, labels)[1.5]


def test_a_file_that_changed_before_it_is_opened_again(files):
    (images, labels), _ = files
    content = pickle.dumps(MemmapDataset(images, labels))
    np.save(labels, np.zeros(19))
    with pytest.raises(ValueError, match="equal length"):
        pickle.loads(content)


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=5),
    st.sampled_from([(), (3,), (2, 2)]),
    st.sampled_from(["uint8", "<f4", ">f8", "bool"]),
)
def test_what_is_written_is_read(tmp_path_factory, lengths, row, dtype):
    path = tmp_path_factory.mktemp("x") / "folder" / "x.npy"
    chunks = [np.random.default_rng(i).integers(0, 2, (n, *row)).astype(dtype) for i, n in enumerate(lengths)]
    with MemmapWriter(path) as writer:
        for i, chunk in enumerate(chunks):
            writer.append(Tensor.wrap(chunk) if i % 2 and chunk.dtype.isnative else chunk)
    whole = np.concatenate(chunks)
    read = np.load(path)
    assert read.dtype == np.dtype(dtype) and read.shape == whole.shape and (read == whole).all()
    assert writer.rows == len(whole)
    assert len(MemmapDataset(path)) == len(whole)
    assert os.listdir(path.parent) == ["x.npy"]


def test_the_writer_holds_no_rows(tmp_path):
    rows = np.zeros((100, 1000))
    with MemmapWriter(tmp_path / "x.npy") as writer:
        tracemalloc.start()
        for _ in range(20):  # 16 MB
            writer.append(rows)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 200_000
    assert np.load(tmp_path / "x.npy", mmap_mode="r").shape == (2000, 1000)


def test_given_dtype_and_shape(tmp_path):
    path = tmp_path / "x.npy"
    with MemmapWriter(path, np.uint8, (2,)) as writer:
        writer.append(np.array([[1, 2], [3, 255]]))
        with pytest.raises(TypeError, match="uint8 cannot hold the int64 values given for .*x.npy"):
            writer.append(np.array([[1, 256]]))
        with pytest.raises(TypeError, match="uint8 cannot hold the float64"):
            writer.append(np.array([[1.0, 2.0]]))
        with pytest.raises(ValueError, match=r"rows of shape \(2,\) for .*x.npy, got \(3,\)"):
            writer.append(np.zeros((1, 3), np.uint8))
        with pytest.raises(ValueError, match="single value"):
            writer.append(3)
    assert np.load(path).tolist() == [[1, 2], [3, 255]]  # what was refused left nothing
    with MemmapWriter(path, np.float32, (2,)):
        pass
    assert np.load(path).shape == (0, 2)


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.arange(3))
    with pytest.raises(KeyboardInterrupt), MemmapWriter(path) as writer:
        writer.append(np.zeros(5))
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), MemmapWriter(path):
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="nothing was appended"), MemmapWriter(path):
        pass
    assert np.load(path).tolist() == [0, 1, 2] and os.listdir(tmp_path) == ["x.npy"]
    with pytest.raises(ValueError, match="with statement"):
        writer.append(np.zeros(5))
    with pytest.raises(TypeError, match="object"):
        MemmapWriter(path, object)
