"""Datasets in folders, and the files in them that cannot be read."""

from __future__ import annotations

import io
import os
import pickle
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minidl
from minidl.data import ConcatDataset, DataLoader, Subset, ahead
from minidl.datasets import DatasetFolder, ImageFolder, UnreadableSampleError, folder


def picture(height=40, width=60, seed=0, mode="RGB") -> Image.Image:
    """Smooth colours with an edge, so that a JPEG of it is close to it."""
    y, x = np.mgrid[:height, :width]
    array = np.stack([4 * x % 256, 3 * y % 256, (x + y + 40 * seed) % 256], -1).astype(np.uint8)
    return Image.fromarray(array).convert(mode)


def save(image: Image.Image, path: Path, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


@pytest.fixture
def tree(tmp_path):
    """dog: 10.png, 9.PNG, deep/a.jpg; cat: x.bmp; and files that are none."""
    save(picture(seed=1), tmp_path / "dog" / "9.PNG")
    save(picture(seed=2), tmp_path / "dog" / "10.png")
    save(picture(seed=3), tmp_path / "dog" / "deep" / "a.jpg")
    save(picture(seed=4), tmp_path / "cat" / "x.bmp")
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    (tmp_path / "README.jpg").write_text("in no class")
    return tmp_path


def below(root, samples):
    return [(Path(path).relative_to(root).as_posix(), label) for path, label in samples]


def test_the_order_and_the_attributes(tree):
    for root in (tree, str(tree)):
        dataset = ImageFolder(root)
        assert dataset.classes == ["cat", "dog"] and dataset.class_to_idx == {"cat": 0, "dog": 1}
        assert below(tree, dataset.samples) == [
            ("cat/x.bmp", 0),
            ("dog/10.png", 1),
            ("dog/9.PNG", 1),
            ("dog/deep/a.jpg", 1),
        ]
        assert dataset.imgs is dataset.samples and dataset.targets == [0, 1, 1, 1] and len(dataset) == 4
        assert all(isinstance(path, str) for path, _ in dataset.samples)
        assert dataset.extensions == folder.IMG_EXTENSIONS and dataset.loader is folder.default_loader
        assert dataset.root == root


def test_folders_below_a_class_are_sorted_too(tmp_path):
    names = ["f", "b", "e/z", "a", "d", "e/y", "c", "b/x"]
    for name in names:
        save(picture(4, 4), tmp_path / "class" / name / "0.png")
    assert [n for n, _ in below(tmp_path, ImageFolder(tmp_path).samples)] == [f"class/{n}/0.png" for n in sorted(names)]


def test_a_sample(tree):
    dataset = ImageFolder(tree, transform=lambda image: ("seen", image), target_transform=lambda label: label + 10)
    (seen, image), label = dataset[1]
    assert seen == "seen" and label == 11 and isinstance(image, Image.Image) and image.mode == "RGB"
    assert (np.asarray(image) == np.asarray(picture(seed=2))).all()
    assert dataset[-3][1] == dataset[np.int64(1)][1] == 11
    for index in (4, -5):
        with pytest.raises(IndexError):
            dataset[index]
    assert "Number of datapoints: 4" in repr(dataset) and f"Root location: {tree}" in repr(dataset)


def test_which_files_are_samples(tree):
    def only(names):
        return lambda path: os.path.basename(path) in names

    assert below(tree, ImageFolder(tree, is_valid_file=only({"notes.txt", "9.PNG"})).samples) == [
        ("cat/notes.txt", 0),
        ("dog/9.PNG", 1),
    ]
    texts = DatasetFolder(tree, lambda path: Path(path).read_text(), ".txt", allow_empty=True)
    assert [texts[i] for i in range(len(texts))] == [("no picture", 0)] and texts.classes == ["cat", "dog"]
    assert len(DatasetFolder(tree, str, (".bmp", ".jpg"))) == 2

    class Chosen(ImageFolder):
        def find_classes(self, directory):
            return ["dog"], {"dog": 5}

    assert {label for _, label in Chosen(tree).samples} == {5}
    assert folder.make_dataset(tree, extensions=".bmp", allow_empty=True) == [(str(tree / "cat" / "x.bmp"), 0)]
    assert folder.is_image_file("A.WEBP") and not folder.is_image_file("webp.txt")
    assert folder.has_file_allowed_extension("a.Tar.GZ", (".zip", ".gz"))


def test_what_is_wrong_with_a_folder(tree, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(FileNotFoundError, match="Couldn't find any class folder in .*empty"):
        ImageFolder(empty)
    with pytest.raises(FileNotFoundError, match="none"):
        ImageFolder(empty / "none")
    (tree / "zebra").mkdir()
    (tree / "ape").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"Found no valid file for the classes ape, zebra.*extensions are: \.jpg, "
    ):
        ImageFolder(tree)
    assert ImageFolder(tree, allow_empty=True).targets == [1, 2, 2, 2]
    with pytest.raises(FileNotFoundError, match=r"classes ape, cat, dog, zebra in .*\. $"):
        ImageFolder(tree, is_valid_file=lambda path: False)
    with pytest.raises(ValueError, match="Both extensions and is_valid_file"):
        DatasetFolder(tree, str)
    with pytest.raises(ValueError, match="Both extensions and is_valid_file"):
        DatasetFolder(tree, str, ".png", is_valid_file=bool)
    with pytest.raises(ValueError, match="at least one entry"):
        folder.make_dataset(tree, {}, ".png")
    with pytest.raises(ValueError, match="cannot be None"):
        DatasetFolder.make_dataset(tree, None, ".png")
    with pytest.raises(ValueError, match="on_error should be 'raise' or 'skip', got 'ignore'"):
        ImageFolder(tree, on_error="ignore")


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "CMYK", "LA", "I;16"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    image = Image.fromarray(np.full((4, 5), 9, np.uint16)) if mode == "I;16" else picture(mode=mode)
    path = save(image, tmp_path / ("a.tif" if mode in ("CMYK", "I;16") else "a.png"))
    loaded = folder.default_loader(path)
    assert loaded.mode == "RGB" and loaded.size == image.size
    assert (np.asarray(loaded) == np.asarray(image.convert("RGB"))).all()


def test_files_are_closed_and_turned_by_nobody(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    path = save(picture(40, 60), tmp_path / "a.jpg", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        image = folder.default_loader(path)
    assert image.size == (60, 40)
    os.replace(path, tmp_path / "b.jpg")  # Windows forbids it while a file is open


# ---------------------------------------------------------------------------------------------- unreadable files

JPEG = io.BytesIO()
picture(200, 300).save(JPEG, "jpeg")
DAMAGED = {
    "truncated.jpg": JPEG.getvalue()[: len(JPEG.getvalue()) // 2],
    "header.jpg": JPEG.getvalue()[:30],
    "empty.jpg": b"",
    "text.jpg": b"<html>404 Not Found</html>",
    "empty.png": b"",
}


def broken(tmp_path, names, good=("good.png",)):
    for name in names:
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / name).write_bytes(DAMAGED[name])
    for i, name in enumerate(good):
        save(picture(seed=i), tmp_path / "b" / name)
    return tmp_path


@pytest.mark.parametrize("name", sorted(DAMAGED))
def test_an_unreadable_image_is_named(tmp_path, name):
    dataset = ImageFolder(broken(tmp_path, [name]))
    with pytest.raises(UnreadableSampleError, match=r"ImageFolder: cannot read sample 0, .*: \w+: .+") as info:
        dataset[0]
    error = info.value
    assert isinstance(error, OSError) and error.path == str(tmp_path / "a" / name) and error.path in str(error)
    assert error.index == 0 and error.__cause__ is not None and str(error.__cause__) in str(error)
    assert dataset[1][1] == 1 and dataset.skipped == set()
    with pytest.raises(UnreadableSampleError) as info:
        dataset[-2]
    assert info.value.index == 0
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.path, again.index) == (str(error), error.path, 0)


@pytest.mark.parametrize("draft", [8, (8,), (8, 8.5), "ab"])
def test_arguments_of_wrong_types_are_refused_at_once(tree, draft):
    with pytest.raises(TypeError, match=r"ImageFolder: draft should be \(height, width\), two integers, got "):
        ImageFolder(tree, draft=draft)
    with pytest.raises(TypeError, match="ImageFolder: root should be the path of a folder, got 5"):
        ImageFolder(5)


@pytest.mark.parametrize("index", [4, -5])
def test_an_index_beyond_the_samples(tree, index):
    with pytest.raises(IndexError, match=f"ImageFolder: index {index} is out of range for 4 samples"):
        ImageFolder(tree)[index]


def test_a_missing_file_is_named(tree):
    dataset = ImageFolder(tree)
    os.remove(dataset.samples[2][0])
    with pytest.raises(UnreadableSampleError, match="sample 2, .*9.PNG: FileNotFoundError"):
        dataset[2]


def test_any_failure_of_a_loader_but_no_memory_error(tree):
    def loader(path):
        raise KeyError(path) if path.endswith("bmp") else MemoryError

    dataset = DatasetFolder(tree, loader, folder.IMG_EXTENSIONS, on_error="skip")
    with pytest.warns(UserWarning, match="KeyError"), pytest.raises(MemoryError):
        dataset[0]


def test_skipping_takes_the_next_that_can_be_read(tmp_path):
    names = sorted(DAMAGED)
    dataset = ImageFolder(broken(tmp_path, names, ["1.png", "2.png"]), on_error="skip")
    paths = [str(tmp_path / "a" / name) for name in names]
    with pytest.warns(UserWarning, match="the next one takes its place") as caught:
        image, label = dataset[2]
    assert label == 1 and (np.asarray(image) == np.asarray(picture(seed=0))).all()
    assert dataset.skipped == set(paths[2:]) and len(caught) == len(paths[2:])
    for warning, path in zip(caught, paths[2:], strict=True):
        assert path in str(warning.message)
    with pytest.warns(UserWarning, match="cannot read sample") as caught:
        dataset[0]
    assert len(caught) == 2 and dataset.skipped == set(paths)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dataset[1][1] == 1  # each file is warned of once
        assert (np.asarray(dataset[-1][0]) == np.asarray(picture(seed=1))).all()


def test_after_the_last_sample_comes_the_first(tmp_path):
    save(picture(seed=5), tmp_path / "a" / "good.png")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "empty.jpg").write_bytes(b"")
    dataset = ImageFolder(tmp_path, on_error="skip", target_transform=lambda label: label + 3)
    with pytest.warns(UserWarning, match=r"sample 1, .*empty\.jpg"):
        image, label = dataset[1]
    assert label == 3 and (np.asarray(image) == np.asarray(picture(seed=5))).all()


def test_nothing_can_be_read(tmp_path):
    dataset = ImageFolder(broken(tmp_path, ["empty.jpg", "text.jpg"], []), on_error="skip")
    with (
        pytest.warns(UserWarning, match=r"(empty|text)\.jpg"),
        pytest.raises(UnreadableSampleError, match="none of the 2 samples in") as info,
    ):
        dataset[1]
    assert info.value.__cause__.index == 1


def test_in_a_loader(tmp_path):
    broken(tmp_path, ["text.jpg"])

    def collate(samples):
        return [label for _, label in samples]

    with pytest.raises(UnreadableSampleError, match=r"text\.jpg"):
        list(DataLoader(ImageFolder(tmp_path), collate_fn=collate))
    with pytest.warns(UserWarning, match=r"text\.jpg"):
        assert list(DataLoader(ImageFolder(tmp_path, on_error="skip"), batch_size=2, collate_fn=collate)) == [[1, 1]]


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_tell_what_they_skipped(tmp_path, persistent):
    names = sorted(DAMAGED)
    dataset = ImageFolder(broken(tmp_path, names, ["1.png", "2.png"]), lambda image: 0, on_error="skip")
    other = ImageFolder(tmp_path, lambda image: 0, on_error="skip")
    whole = ConcatDataset([Subset(dataset, range(2, len(dataset))), dataset, Subset(other, [-1])])
    loader = DataLoader(whole, 2, num_workers=2, persistent_workers=persistent)
    paths = {path for path, _ in dataset.samples}
    for _ in range(2):
        assert sum(map(len, (labels for _, labels in loader))) == len(whole)
        assert {Path(path).name for path in dataset.skipped} == set(names) and dataset.skipped < paths
        assert not other.skipped


# ---------------------------------------------------------------------------------------------- draft


def test_draft_decodes_at_a_fraction(tmp_path):
    save(picture(480, 640), tmp_path / "a" / "x.jpg", quality=95, subsampling=0)
    save(picture(480, 640, mode="L"), tmp_path / "a" / "y.jpg")
    save(picture(480, 640), tmp_path / "a" / "z.png")
    exact = ImageFolder(tmp_path)
    sizes = {(480, 640): (640, 480), (241, 10): (640, 480), (240, 320): (320, 240), (10, 161): (320, 240)}
    sizes |= {(120, 160): (160, 120), (100, 81): (160, 120), (50, 60): (80, 60), (1, 1): (80, 60)}
    for draft, size in sizes.items():
        dataset = ImageFolder(tmp_path, draft=draft)
        assert [dataset[i][0].size for i in range(3)] == [size, size, (640, 480)]
        assert all(dataset[i][0].mode == "RGB" for i in range(3))
        pickle.loads(pickle.dumps(dataset))  # for workers
    assert (np.asarray(ImageFolder(tmp_path, draft=(480, 640))[0][0]) == np.asarray(exact[0][0])).all()
    small = np.asarray(ImageFolder(tmp_path, draft=(120, 160))[1][0], float)
    assert abs(small - np.asarray(exact[1][0].reduce(4), float)).mean() < 1


def test_draft_is_for_the_default_loader(tree):
    with pytest.raises(ValueError, match="draft is for the default loader"):
        ImageFolder(tree, loader=Image.open, draft=(2, 2))


# -------------------------------------------------------------------------------------- loading in a second thread


@pytest.fixture
def many(tmp_path):
    threads = minidl.get_num_threads()
    for i in range(12):
        save(picture(seed=i), tmp_path / "ab"[i % 2] / f"{i}.jpg")
    yield tmp_path
    minidl.set_num_threads(threads)


def threads_of_loader(monkeypatch) -> list[str]:
    """The name of the thread of every call of the default loader from now on."""
    names: list[str] = []
    original = folder.default_loader

    def loader(path, draft=None):
        names.append(threading.current_thread().name)
        return original(path, draft)

    monkeypatch.setattr(folder, "default_loader", loader)
    return names


def batches(dataset, **options):
    loader = DataLoader(dataset, 5, collate_fn=lambda samples: samples, **options)
    return [[(np.asarray(image), label) for image, label in batch] for batch in loader]


def same(one, other):
    return all(
        np.array_equal(a, b) and m == n
        for x, y in zip(one, other, strict=True)
        for (a, m), (b, n) in zip(x, y, strict=True)
    )


@pytest.mark.parametrize("order", [range(12), [3, 3, -1, 0, -12, 5, 5, 5], []])
def test_a_second_thread_loads_the_same(many, monkeypatch, order):
    names = threads_of_loader(monkeypatch)
    found = {}
    for count in (1, 2):
        minidl.set_num_threads(count)
        names.clear()
        whole = ImageFolder(many, loader=folder.default_loader)
        part = Subset(whole, range(2, 7))
        found[count] = [batches(whole, sampler=order), batches(part, shuffle=True, seed=3)]
        assert set(names) == {threading.current_thread().name if count == 1 else "minidl-loads-ahead"}
    assert all(map(same, found[1], found[2]))
    assert not [t for t in threading.enumerate() if t.name == "minidl-loads-ahead"]


def test_a_loader_of_ones_own_stays_in_its_thread(many):
    names = []

    def loader(path):
        names.append(threading.current_thread().name)
        return folder.default_loader(path)

    minidl.set_num_threads(2)
    batches(ImageFolder(many, loader=loader))
    assert set(names) == {threading.current_thread().name}


def test_what_cannot_be_read_is_told_from_the_second_thread_too(many):
    minidl.set_num_threads(2)
    dataset = ImageFolder(many)
    bad = dataset.samples[2][0]
    Path(bad).write_bytes(b"no picture")
    with pytest.raises(UnreadableSampleError, match="cannot read sample 2") as caught:
        batches(dataset)
    assert caught.value.path == bad and any("sample 2" in note for note in caught.value.__notes__)
    dataset.on_error = "skip"
    with pytest.warns(UserWarning, match="the next one takes its place"):
        found = batches(dataset)
    assert np.array_equal(found[0][2][0], found[0][3][0]) and sum(map(len, found)) == 12
    assert not [t for t in threading.enumerate() if t.name == "minidl-loads-ahead"]


def test_few_images_are_held_ahead(many, monkeypatch):
    names = threads_of_loader(monkeypatch)
    minidl.set_num_threads(2)
    dataset = ImageFolder(many, loader=folder.default_loader)
    with ahead.loading(dataset, range(12)):
        deadline = time.monotonic() + 10
        while len(names) < ahead.DEPTH and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        assert len(names) == ahead.DEPTH
        dataset[0]
        while len(names) < ahead.DEPTH + 1 and time.monotonic() < deadline:
            time.sleep(0.001)
        dataset[7]  # out of turn: loaded at once, by whoever asks
        assert names[-1] == threading.current_thread().name
