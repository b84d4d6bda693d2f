"""MNIST and its like, CIFAR-10 and CIFAR-100: every form of their files, made small; and the real files where they are.

``MINIDL_DATA`` names the folder that ``get.py`` made, with ``mnist``, ``fashion-mnist`` and ``cifar10`` in it.
"""

from __future__ import annotations

import copy
import gzip
import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minidl.data import DataLoader, Subset
from minidl.data.draws import uniform
from minidl.datasets import CIFAR10, CIFAR100, KMNIST, MNIST, FashionMNIST, VisionDataset, cifar, mnist
from minidl.tensor import Tensor
from tests.serving import serving

# ---------------------------------------------------------------------------------------------- making files


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def images_and_labels(n: int, classes: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, classes, n).astype(np.uint8)


def write_mnist(folder: Path, n: int = 7, packed: bool = False) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for seed, part in enumerate(["train", "t10k"]):
        made[part] = images_and_labels(n + seed, seed=seed)
        for array, kind in zip(made[part], ("images-idx3", "labels-idx1"), strict=True):
            name = f"{part}-{kind}-ubyte"
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
            else:
                (folder / name).write_bytes(idx(array))
    return made


def rows_and_labels(n: int, seed: int, kinds: int, counts=(20, 100)) -> tuple[np.ndarray, list[list[int]]]:
    rng = np.random.default_rng(seed)
    counts = [10] if kinds == 1 else counts
    return rng.integers(0, 256, (n, 3072), np.uint8), [rng.integers(0, c, n).tolist() for c in counts]


def write_cifar(root: Path, cls: type, binary: bool, n: int = 4, as_bytes: bool = False, protocol: int = 2) -> dict:
    """Files of the form; {train: (rows, labels)}."""
    form = cls.binary if binary else cls.python
    folder = root / form.folder
    folder.mkdir(parents=True)
    made = {}
    for train, files in ((True, form.train), (False, form.test)):
        parts = [rows_and_labels(n, 10 * i + train, len(cls.label_keys)) for i in range(len(files))]
        for (name, _), (rows, labels) in zip(files, parts, strict=True):
            if binary:
                content = np.concatenate([np.array(labels, np.uint8).T, rows], axis=1).tobytes()
            else:
                batch = {"batch_label": "some batch", "data": rows, "filenames": ["a.png"] * n}
                batch |= dict(zip(cls.label_keys, labels, strict=True))
                if as_bytes:
                    batch = {key.encode(): value for key, value in batch.items()}
                content = pickle.dumps(batch, protocol)
            (folder / name).write_bytes(content)
        made[train] = (
            np.concatenate([p[0] for p in parts]),
            [sum(x, []) for x in zip(*[p[1] for p in parts], strict=True)],
        )
    return made


def pixels(image: Image.Image) -> np.ndarray:
    assert isinstance(image, Image.Image)
    return np.asarray(image)


class AddNoise:
    """A transform of one's own that knows PIL images and batches, and draws."""

    batched = True

    def __init__(self):
        self.given = []

    def __call__(self, images):
        self.given.append(type(images))
        if isinstance(images, Tensor):
            assert images.dtype == np.uint8 and images.array.ndim == 4 and images.array.flags.c_contiguous
            array = images.array
        else:
            array = np.atleast_3d(np.asarray(images)).transpose(2, 0, 1)[None]
        noisy = array / np.float32(255) + uniform(len(array), 1)[:, :, None, None].astype(np.float32)
        return Tensor.wrap(noisy if isinstance(images, Tensor) else noisy[0])


# ---------------------------------------------------------------------------------------------- MNIST


@pytest.mark.parametrize("place", ["{name}/raw", "{name}", "{other}", ""])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("cls", [MNIST, FashionMNIST, KMNIST])
def test_mnist(tmp_path, cls, packed, place):
    made = write_mnist(tmp_path / place.format(name=cls.__name__, other=cls.other_name), packed=packed)
    for train, part in ((True, "train"), (False, "t10k")):
        dataset = cls(tmp_path, train)
        images, labels = made[part]
        assert len(dataset) == len(images)
        assert isinstance(dataset.data, Tensor) and dataset.data.dtype == np.uint8
        assert isinstance(dataset.targets, Tensor) and dataset.targets.dtype == np.int64
        assert (dataset.data.array == images).all() and dataset.targets.tolist() == labels.tolist()
        for i in range(len(images)):
            image, label = dataset[i]
            assert image.mode == "L" and (pixels(image) == images[i]).all()
            assert type(label) is int and label == labels[i]
        dataset.data.array[0] = 0  # as in torchvision, it can be written to


def test_class_names(tmp_path):
    write_mnist(tmp_path)
    assert MNIST(tmp_path).class_to_idx["3 - three"] == 3 and len(MNIST.classes) == 10
    assert FashionMNIST(tmp_path).class_to_idx["Ankle boot"] == 9 and len(FashionMNIST.classes) == 10
    assert KMNIST(tmp_path).classes == ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]
    assert len(CIFAR10.classes) == 10 and CIFAR10.classes[3] == "cat"
    assert len(CIFAR100.classes) == 100 and CIFAR100.classes == sorted(CIFAR100.classes)
    assert len(CIFAR100.coarse_classes) == 20 and CIFAR100.coarse_classes == sorted(CIFAR100.coarse_classes)


def test_unpacked_files_go_first_and_names_may_lie(tmp_path):
    write_mnist(tmp_path / "a", packed=True)
    images, labels = images_and_labels(3, seed=5)
    (tmp_path / "a" / "train-images-idx3-ubyte").write_bytes(idx(images))
    (tmp_path / "a" / "train-labels-idx1-ubyte.gz").write_bytes(idx(labels))  # a browser has unpacked it
    assert (MNIST(tmp_path / "a").data.array == images).all()


def test_torchvisions_folder_goes_first(tmp_path):
    write_mnist(tmp_path, n=3)
    write_mnist(tmp_path / "MNIST" / "raw", n=5)
    assert len(MNIST(tmp_path)) == 5
    (tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte").unlink()  # half of the files are none
    assert len(MNIST(tmp_path)) == 3 and len(MNIST(tmp_path, train=False)) == 6


def test_a_folder_without_files(tmp_path):
    with pytest.raises(RuntimeError, match=r"Dataset not found. You can use download=True to download it") as info:
        FashionMNIST(tmp_path, train=False)
    assert "t10k-images-idx3-ubyte" in str(info.value)
    for place in ("FashionMNIST/raw", "FashionMNIST", "fashion-mnist", ""):
        assert str(tmp_path / place) in str(info.value)
    with pytest.raises(RuntimeError, match=r"Dataset not found. You can use download=True to download it") as info:
        CIFAR100(tmp_path)
    for place in ("cifar-100-python", "cifar100/cifar-100-binary", ""):
        assert str(tmp_path / place) in str(info.value)


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (IMAGES, lambda c: c[:-1], r"is truncated: the header says shape \(7, 28, 28\), which is 5488 bytes .* are 5487"),
        (IMAGES, lambda c: c + b"!!", "is too long: .* 5488 bytes .* 5490"),
        (IMAGES, lambda c: c[:10], "is truncated: 10 bytes, of which the header alone takes 16"),
        (IMAGES, lambda c: b"", r"magic number is 0x\(nothing\)"),
        (IMAGES, lambda c: b"\0\0\x0d\x03" + c[4:], "magic number is 0x00000d03, .* unsigned bytes in 3 .* 0x00000803"),
        (IMAGES, lambda c: b"<html>404</html>", "magic number is 0x3c68746d"),
        (IMAGES, lambda c: idx(np.zeros((7, 32, 32), np.uint8)), r"of shape \(32, 32\), expected \(28, 28\)"),
        (LABELS, lambda c: idx(np.zeros((7, 1), np.uint8)), "magic number is 0x00000802, .* 0x00000801"),
        (LABELS, lambda c: idx(np.zeros(6, np.uint8)), "7 images, but .*labels.* holds 6 labels"),
        (LABELS, lambda c: idx(np.array([0, 1, 2, 10, 4, 99, 6], np.uint8)), "label 10 of sample 3 .* 10 classes .*; 2 of 7"),
        (IMAGES, lambda c: gzip.compress(c)[:-30], r"gzip file is damaged or truncated \(\d+ bytes\)"),
        (IMAGES, lambda c: gzip.compress(c)[:5], "damaged or truncated"),
        (IMAGES, lambda c: gzip.compress(c)[:100] + b"?" * 50, "damaged or truncated"),
    ],
)  # fmt: skip
def test_damaged_idx_files(tmp_path, name, change, message):
    write_mnist(tmp_path)
    path = tmp_path / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=message) as info:
        MNIST(tmp_path)
    assert str(path) in str(info.value)


def test_the_files_of_another_dataset(tmp_path, monkeypatch):
    made = write_mnist(tmp_path)
    digest = hashlib.md5(idx(made["train"][1])).hexdigest()
    monkeypatch.setitem(FashionMNIST.unpacked_md5, LABELS, digest)
    for cls in (MNIST, KMNIST):
        with pytest.raises(ValueError, match=rf"is a file of FashionMNIST, not of {cls.__name__}"):
            cls(tmp_path)
    FashionMNIST(tmp_path)

    class Mine(FashionMNIST):
        pass

    Mine(tmp_path)


# ---------------------------------------------------------------------------------------------- CIFAR


@pytest.mark.parametrize(
    ("binary", "as_bytes", "protocol"), [(True, False, 2), (False, False, 2), (False, True, 2), (False, False, 4)]
)
@pytest.mark.parametrize("cls", [CIFAR10, CIFAR100])
def test_cifar(tmp_path, cls, binary, as_bytes, protocol):
    made = write_cifar(tmp_path / cls.other_name, cls, binary, as_bytes=as_bytes, protocol=protocol)
    inside = tmp_path / cls.other_name
    for root in (tmp_path, inside, inside / (cls.binary if binary else cls.python).folder):
        for train in (True, False):
            dataset = cls(root, train)
            rows, labels = made[train]
            n = len(rows)
            assert len(dataset) == n == (20 if train and cls is CIFAR10 else 4)
            assert type(dataset.data) is np.ndarray and dataset.data.dtype == np.uint8
            assert dataset.data.shape == (n, 32, 32, 3)
            assert dataset.targets == labels[-1] and all(type(x) is int for x in dataset.targets)
            if cls is CIFAR100:
                assert dataset.coarse_targets == labels[0]
            for i in range(n):
                image, label = dataset[i]
                assert image.mode == "RGB" and type(label) is int and label == labels[-1][i]
                assert (pixels(image) == rows[i].reshape(3, 32, 32).transpose(1, 2, 0)).all()
            dataset.data[0] = 0


def test_damaged_binary_files(tmp_path):
    write_cifar(tmp_path, CIFAR100, binary=True)
    path = tmp_path / "cifar-100-binary" / "train.bin"
    whole = path.read_bytes()
    for content, message in (
        (whole[:-1], "12295 bytes are not a whole number of records of 3074 bytes"),
        (b"", "0 bytes are not"),
        (bytes([20]) + whole[1:], "coarse_labels: label 20 of sample 0 is none of the 20 classes"),
        (whole[:3075] + bytes([100]) + whole[3076:], "fine_labels: label 100 of sample 1 is none of the 100 classes"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message) as info:
            CIFAR100(tmp_path)
        assert str(path) in str(info.value)


class Evil:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


def test_damaged_and_evil_pickles(tmp_path):
    write_cifar(tmp_path, CIFAR10, binary=False)
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    good = pickle.loads(path.read_bytes())
    cases = [
        ([1, 2], "a pickled list, expected a dict"),
        ({"data": good["data"]}, r"not \['labels'\]"),
        (good | {"data": [1]}, "'data' is list, expected uint8"),
        (good | {"data": good["data"].astype(np.int32)}, r"'data' is int32 of shape \(4, 3072\)"),
        (good | {"data": good["data"][:, :-1]}, r"'data' is uint8 of shape \(4, 3071\)"),
        (good | {"labels": [1, 2, 3]}, "'labels' is 3 values, expected a list of 4 ints"),
        (good | {"labels": [1, 2, 3, 4.5]}, "expected a list of 4 ints"),
        (good | {"labels": {}}, "'labels' is dict"),
        (good | {"labels": [1, 2, 3, -1]}, "label -1 of sample 3"),
        (good | {"labels": [1, 10, 3, 1]}, "label 10 of sample 1"),
        (good | {"filenames": Evil(tmp_path / "it ran")}, r"global (posix|nt)\.system is not allowed"),
    ]
    for batch, message in cases:
        path.write_bytes(pickle.dumps(batch, 2))
        with pytest.raises(ValueError, match=message) as info:
            CIFAR10(tmp_path, train=False)
        assert str(path) in str(info.value)
    assert not (tmp_path / "it ran").exists()


# ---------------------------------------------------------------------------------------------- samples and batches


def datasets(tmp_path, **arguments):
    write_mnist(tmp_path)
    write_cifar(tmp_path, CIFAR10, binary=True)
    return [MNIST(tmp_path, **arguments), CIFAR10(tmp_path, **arguments)]


def test_a_batch_is_its_samples(tmp_path):
    for dataset in datasets(tmp_path, transform=AddNoise(), target_transform=lambda label: label % 3):
        loaders = [
            DataLoader(d, batch_size=5, shuffle=True, seed=3)
            for d in (dataset, copy.copy(dataset), Subset(dataset, [*range(7)]))
        ]
        loaders[1].dataset.transform = lambda image, whole=dataset.transform: whole(image)
        given = dataset.transform.given
        given.clear()
        one, other = (list(loader) for loader in loaders[:2])
        assert given == [Tensor] * len(one) + [Image.Image] * len(dataset)
        for (images, labels), (images2, labels2) in zip(one, other, strict=True):
            assert (images.array == images2.array).all() and (labels.array == labels2.array).all()
            assert labels.dtype == np.int64 and labels.array.max() < 3
        assert sum(len(images) for images, _ in loaders[2]) == 7 and given[-2:] == [Tensor, Tensor]


def test_who_gets_a_whole_batch(tmp_path):
    for dataset in datasets(tmp_path):
        assert dataset.__getitems__([0, 1]) is NotImplemented  # no transform: PIL images
        dataset.transform = np.asarray
        assert dataset.__getitems__([0, 1]) is NotImplemented
        dataset.transform = AddNoise()
        images, labels = dataset.__getitems__([2, 0, -1])
        assert (
            images.shape[0] == 3
            and labels.dtype == np.int64
            and labels.array.tolist() == [int(dataset.targets[i]) for i in (2, 0, -1)]
        )
        dataset.target_transform = str  # is no Tensor
        assert dataset.__getitems__([0, 1]) is NotImplemented
        dataset.target_transform = None
        dataset.transforms = lambda image, label: (image, label)
        assert dataset.__getitems__([0, 1]) is NotImplemented


def test_a_batch_has_memory_of_its_own(tmp_path):
    class Clear:
        batched = True

        def __call__(self, images):
            images.array[:] = 0
            return images

    for dataset in datasets(tmp_path, transform=Clear()):
        before = np.array(dataset.data)
        dataset.__getitems__([0, 1, 2])
        assert (np.asarray(dataset.data) == before).all()


def test_what_was_changed_counts(tmp_path):
    for dataset in datasets(tmp_path, transform=AddNoise()):
        dataset.targets = [5] * len(dataset)  # a list of numbers, or an array
        assert dataset[1][1] == 5 and dataset.__getitems__([1])[1].tolist() == [5]
        dataset.targets = np.full(len(dataset), 6)
        assert dataset[1][1] == 6 and dataset.__getitems__([1])[1].tolist() == [6]
        images = dataset.__getitems__([1])[0].array
        dataset.data = np.ascontiguousarray(dataset.data)
        assert dataset.__getitems__([1])[0].array.shape == images.shape  # AddNoise looks at the order of the memory
        dataset.data = np.zeros_like(dataset.data)
        dataset.transform = lambda image: np.asarray(image).max()
        assert dataset[1][0] == 0


def test_indices(tmp_path):
    for dataset in datasets(tmp_path):
        n = len(dataset)
        assert dataset[-1][1] == dataset[n - 1][1] == dataset[np.int64(n - 1)][1]
        for index in (n, -n - 1):
            with pytest.raises(IndexError):
                dataset[index]
        for index in ([0], slice(2), 1.0):
            with pytest.raises(TypeError):
                dataset[index]


def test_transforms_together():
    class Pairs(VisionDataset):
        def __len__(self):
            return 2

    with pytest.raises(ValueError, match="Pairs: only transforms or transform/target_transform"):
        Pairs(transforms=zip, transform=str)
    both = Pairs("~", transforms=lambda image, label: (label, image))
    assert both.finish(1, 2) == (2, 1) and both.root == os.path.expanduser("~")
    assert Pairs(Path("~")).root == Path.home() and Pairs().transforms is None
    each = Pairs(transform=str, target_transform=float)
    assert each.finish(1, 2) == ("1", 2.0) == each.transforms(1, 2)
    each.transform = None
    assert each.finish(1, 2) == (1, 2.0)


def test_what_is_printed(tmp_path):
    class Two:
        def __repr__(self):
            return "Two(\n    lines)"

    write_mnist(tmp_path)
    assert repr(MNIST(str(tmp_path), train=False, transform=Two(), target_transform=Two())).splitlines() == [
        "Dataset MNIST",
        "    Number of datapoints: 8",
        f"    Root location: {tmp_path}",
        "    Split: Test",
        "    StandardTransform",
        "    Transform: Two(",
        "                   lines)",
        "    Target transform: Two(",
        "                          lines)",
    ]


def test_it_can_be_pickled_for_workers(tmp_path):
    for dataset in datasets(tmp_path, transform=AddNoise()):
        again = pickle.loads(pickle.dumps(dataset))
        assert again.targets[1] == dataset.targets[1] and again.classes == dataset.classes
        assert (np.asarray(again.data) == np.asarray(dataset.data)).all()


# ---------------------------------------------------------------------------------------------- downloads


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with serving({}) as server:
        yield server


def published(monkeypatch, server, cls, tmp_path):
    """Let small files stand for what the maker of MNIST publishes; returns them."""
    made = write_mnist(tmp_path / "made")
    files = {f"{p.name}.gz": gzip.compress(p.read_bytes()) for p in (tmp_path / "made").iterdir()}
    server.files.update(files)
    monkeypatch.setattr(cls, "mirrors", [server("missing"), server("drops")])
    monkeypatch.setattr(cls, "resources", [(n, hashlib.md5(c).hexdigest()) for n, c in sorted(files.items())])
    monkeypatch.setattr(
        cls, "unpacked_md5", {n[:-3]: hashlib.md5(gzip.decompress(c)).hexdigest() for n, c in files.items()}
    )
    return made


def test_mnist_is_downloaded_once(tmp_path, monkeypatch, server):
    made = published(monkeypatch, server, MNIST, tmp_path)
    root = tmp_path / "root"
    dataset = MNIST(root, download=True)
    assert (dataset.data.array == made["train"][0]).all()
    assert sorted(p.name for p in (root / "MNIST" / "raw").iterdir()) == sorted(
        name for packed, _ in MNIST.resources for name in (packed, packed[:-3])
    )
    server.asked.clear()
    MNIST(root, train=False, download=True)
    assert server.asked == []
    name = "t10k-labels-idx1-ubyte"
    (root / "MNIST" / "raw" / name).write_bytes(idx(np.zeros(8, np.uint8)))  # wrong, beside the right packed one
    assert MNIST(root, train=False, download=True).targets.tolist() == made["t10k"][1].tolist()
    assert server.asked == []
    for suffix in ("", ".gz"):
        (root / "MNIST" / "raw" / (name + suffix)).write_bytes(b"wrong")
    assert MNIST(root, train=False, download=True).targets.tolist() == made["t10k"][1].tolist()
    assert server.asked == [(f"missing/{name}.gz", None), (f"drops/{name}.gz", None)]


@pytest.mark.parametrize("packed", [False, True])
def test_files_that_are_there_are_not_fetched(tmp_path, monkeypatch, server, packed):
    published(monkeypatch, server, MNIST, tmp_path)
    write_mnist(tmp_path / "root", packed=packed)
    for file in (tmp_path / "root").iterdir():  # another gzip header, as Debian's files have
        if packed:
            file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()), compresslevel=1, mtime=7))
    MNIST(tmp_path / "root", download=True)
    assert server.asked == []


def test_without_a_network_the_error_helps(tmp_path, monkeypatch, server):
    published(monkeypatch, server, FashionMNIST, tmp_path)
    server.files.clear()
    with pytest.raises(RuntimeError) as info:
        FashionMNIST(tmp_path / "root", download=True)
    text = str(info.value)
    raw = tmp_path / "root" / "FashionMNIST" / "raw"
    assert f"put them into {raw}" in text and "download=False" in text
    assert f"{server('missing')}train-images-idx3-ubyte.gz: HTTP status 404" in text
    assert f"{server('drops')}train-images-idx3-ubyte.gz: HTTP status 404" in text
    for name, md5 in FashionMNIST.resources:
        assert f"{name}  (MD5 {md5})" in text
    write_mnist(raw, packed=True)
    assert len(FashionMNIST(tmp_path / "root")) == 7  # as it was promised


def packed(folder: Path) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        tar.add(folder, folder.name)
    return file.getvalue()


def publish_cifar(monkeypatch, server, cls, made_in: Path) -> dict:
    """Let small archives stand for what the makers of CIFAR publish."""
    contents = {}
    for binary, attribute in ((False, "python"), (True, "binary")):
        made = write_cifar(made_in, cls, binary)
        form = getattr(cls, attribute)
        folder = made_in / form.folder
        contents[attribute] = server.files[form.archive] = packed(folder)

        def digests(files, folder=folder):
            return [(name, hashlib.md5((folder / name).read_bytes()).hexdigest()) for name, _ in files]

        md5 = hashlib.md5(contents[attribute]).hexdigest()
        changed = form._replace(md5=md5, train=digests(form.train), test=digests(form.test))
        monkeypatch.setattr(cls, attribute, changed)
    monkeypatch.setattr(cls, "mirrors", [server("missing"), server("good")])
    return contents | {"made": made}


@pytest.mark.parametrize("cls", [CIFAR10, CIFAR100])
def test_cifar_is_downloaded_once(tmp_path, monkeypatch, server, cls):
    made = publish_cifar(monkeypatch, server, cls, tmp_path / "made")["made"]
    root = tmp_path / "root"
    assert cls(root, download=True).targets == made[True][1][-1]
    assert sorted(p.name for p in root.iterdir()) == sorted([cls.python.folder, cls.python.archive])
    assert len(server.asked) == 2
    cls(root, train=False, download=True)
    assert len(server.asked) == 2
    name = cls.python.test[0][0]
    (root / cls.python.folder / name).write_bytes(b"wrong")
    assert cls(root, train=False, download=True).targets == made[False][1][-1]  # unpacked again, not fetched again
    assert len(server.asked) == 2


def test_cifar_archives_and_folders_that_were_put_there(tmp_path, monkeypatch, server):
    contents = publish_cifar(monkeypatch, server, CIFAR10, tmp_path / "made")
    for attribute in ("python", "binary"):
        root = tmp_path / attribute
        root.mkdir()
        form = getattr(CIFAR10, attribute)
        (root / form.archive).write_bytes(contents[attribute])
        assert CIFAR10(root, train=False, download=True).targets == contents["made"][False][1][-1]
        assert (root / form.folder).is_dir()
        (root / form.archive).unlink()
        CIFAR10(root, download=True)
    assert server.asked == []


def test_cifar_without_a_network(tmp_path, monkeypatch, server):
    contents = publish_cifar(monkeypatch, server, CIFAR10, tmp_path / "made")
    server.files.clear()
    root = tmp_path / "root"
    with pytest.raises(RuntimeError) as info:
        CIFAR10(root, download=True)
    text = str(info.value)
    for part in (
        f"{server('good')}cifar-10-python.tar.gz: HTTP status 404",
        f"cifar-10-python.tar.gz (MD5 {CIFAR10.python.md5})",
        f"cifar-10-binary.tar.gz (MD5 {CIFAR10.binary.md5})",
        f"put it into {root}",
        "download=False works",
    ):
        assert part in text
    (root / "cifar-10-python.tar.gz").write_bytes(contents["python"])
    assert len(CIFAR10(root, download=True)) == 20


# ---------------------------------------------------------------------------------------------- the real files

REAL = os.environ.get("MINIDL_DATA")
real = pytest.mark.skipif(not REAL, reason="MINIDL_DATA names no folder with the real files")


@real
@pytest.mark.parametrize(
    ("cls", "train", "counts", "first"),
    [
        (MNIST, True, [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949], [5, 0, 4, 1, 9]),
        (MNIST, False, [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], [7, 2, 1, 0, 4]),
        (FashionMNIST, True, [6000] * 10, [9, 0, 0, 3, 0]),
        (FashionMNIST, False, [1000] * 10, [9, 2, 1, 1, 6]),
    ],
)
def test_real_mnist(cls, train, counts, first):
    dataset = cls(REAL, train, download=True)  # nothing to download: the digests are right
    assert np.bincount(dataset.targets.array).tolist() == counts and dataset.targets.tolist()[:5] == first
    for kind, array in (("images-idx3", dataset.data.array), ("labels-idx1", dataset.targets.array.astype(np.uint8))):
        name = f"{'train' if train else 't10k'}-{kind}-ubyte"
        assert hashlib.md5(idx(array)).hexdigest() == cls.unpacked_md5[name]


@real
def test_the_real_files_are_not_mistaken():
    with pytest.raises(ValueError, match="is a file of MNIST, not of FashionMNIST"):
        FashionMNIST(Path(REAL) / "mnist")


@real
@pytest.mark.parametrize(("train", "first"), [(True, [6, 9, 9, 4, 1]), (False, [3, 8, 8, 0, 6])])
def test_real_cifar(train, first, tmp_path):
    dataset = CIFAR10(REAL, train, download=True)
    n = 50_000 if train else 10_000
    assert dataset.data.shape == (n, 32, 32, 3) and dataset.targets[:5] == first
    assert np.bincount(dataset.targets).tolist() == [n // 10] * 10
    rows = np.concatenate(
        [np.array(dataset.targets, np.uint8)[:, None], dataset.data.transpose(0, 3, 1, 2).reshape(n, -1)], 1
    )
    for i, (_, md5) in enumerate(cifar.CIFAR10.binary.train if train else cifar.CIFAR10.binary.test):
        assert hashlib.md5(rows[10_000 * i : 10_000 * (i + 1)].tobytes()).hexdigest() == md5
    if not train:  # the same images through a pickle
        folder = tmp_path / "cifar-10-batches-py"
        folder.mkdir()
        content = {"data": np.ascontiguousarray(rows[:, 1:]), "labels": dataset.targets}
        (folder / "test_batch").write_bytes(pickle.dumps(content, 2))
        again = CIFAR10(tmp_path, train=False)
        assert (again.data == dataset.data).all() and again.targets == dataset.targets


def test_reading_one_file(tmp_path):
    array = images_and_labels(2)[0]
    (tmp_path / "x").write_bytes(idx(array))
    assert (mnist.read_idx(tmp_path / "x", 3) == array).all()
