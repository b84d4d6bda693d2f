"""CIFAR-10 and CIFAR-100, in the two forms that their makers publish: binary records, and pickles (which are not run)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minidl.datasets.vision import InMemoryDataset, check_labels
from minidl.io.download import DownloadError, check_integrity, extract_archive, fetch

VALUES = 3 * 32 * 32  # of an image: all red values by rows, then all green, then all blue


class Form(NamedTuple):
    """One of the forms in which a dataset is published.

    Attributes:
        folder: that its archive holds.
        archive, md5: the archive's name and MD5.
        train, test: the name and MD5 of each file.
    """

    folder: str
    archive: str
    md5: str
    train: list[tuple[str, str]]
    test: list[tuple[str, str]]


class CIFAR10(InMemoryDataset):
    """Small photographs: 50,000 training and 10,000 test images, 32x32 RGB, 10 classes.

    A sample is ``(image, label)``: a PIL image of mode "RGB" and an int. See ``InMemoryDataset`` for what a transform gets
    when a whole batch is fetched.

    Args:
        root: a folder. In it, in ``root/cifar10``, or as ``root`` itself, the folder ``cifar-10-batches-py`` (the form
            that torchvision reads too) or ``cifar-10-batches-bin`` is looked for. Pickles are read without running them,
            see ``minidl.io.safe_pickle``.
        train: the training images or the test images.
        transform: takes and returns an image.
        target_transform: takes and returns a label.
        download: if files are missing, or are not the makers' by their MD5, fetch ``cifar-10-python.tar.gz`` into ``root``
            and unpack it there.

    Attributes:
        data: all images, a uint8 array of shape (n, 32, 32, 3) with values from 0 to 255.
        targets: all labels, a list of n ints.
        classes, class_to_idx: the names of the labels, and the label of each name.

    Raises:
        RuntimeError: if there are no files; or if they cannot be fetched, with the addresses tried and what to do.
        ValueError: if a file is not what it should be; the message has the path, what was found and what was needed.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.

    Example:
        >>> image, label = CIFAR10("data", train=False, download=True)[0]  # doctest: +SKIP
        >>> image.size, CIFAR10.classes[label]  # doctest: +SKIP
        ((32, 32), 'cat')
    """

    mirrors = ["https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/"]
    python = Form(
        "cifar-10-batches-py",
        "cifar-10-python.tar.gz",
        "c58f30108f718f92721af3b95e74349a",
        [
            ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
            ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
            ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
            ("data_batch_4", "634d18415352ddfa80567beed471001a"),
            ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
        ],
        [("test_batch", "40351d587109b95175f43aff81a1287e")],
    )
    binary = Form(
        "cifar-10-batches-bin",
        "cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
        [
            ("data_batch_1.bin", "5dd7e06a14cb22eb9f671a540d1b7c25"),
            ("data_batch_2.bin", "5ea93a67294ea407fff1d09f752e9692"),
            ("data_batch_3.bin", "942cd6a4bcdd0dd3c604fbe906cb4421"),
            ("data_batch_4.bin", "ae636b3ba5c66a11e91e8cb52e771fcb"),
            ("data_batch_5.bin", "53f37980c15c3d472c316c40844f3f0d"),
        ],
        [("test_batch.bin", "803d5f7f4d78ea53de84dbe85f74fb6d")],
    )
    other_name = "cifar10"  # of the folder
    label_keys = ["labels"]  # in the pickles; each is a byte of a binary record, in this order
    classes = "airplane automobile bird cat deer dog frog horse ship truck".split()  # noqa: SIM905

    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        if download:
            self.download()
        found = self._find(train)
        if found is None:
            raise RuntimeError(
                f"Dataset not found. You can use download=True to download it. {type(self).__name__} looked for "
                + "; ".join(f"{', '.join(f for f, _ in _files(form, train))} in {d}" for form, d in self._places())
            )
        form, folder = found
        parts = [self._read(form, folder / name) for name, _ in _files(form, train)]
        images = np.concatenate([part[0] for part in parts])
        # A view of (n, 3, 32, 32), so that a batch of that form is copied in whole runs of memory.
        self.data = images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        self._set_labels(np.concatenate([part[1] for part in parts], axis=1))

    def download(self) -> None:
        """Fetch and unpack the archive, if files are missing or their digests show that they are not the makers'.

        An archive that lies in ``root`` already is unpacked, without a network.

        Raises:
            RuntimeError: if it cannot be fetched. It says what was tried and what to place where.
        """
        found = [self._find(train) for train in (True, False)]
        if None not in found and all(
            check_integrity(place[1] / name, md5)
            for train, place in zip((True, False), found, strict=True)
            if place is not None
            for name, md5 in _files(place[0], train)
        ):
            return
        root = Path(self.root)
        if found == [None, None] and check_integrity(root / self.binary.archive, self.binary.md5):
            extract_archive(root / self.binary.archive)
            return
        archive = root / self.python.archive
        try:
            fetch([mirror + archive.name for mirror in self.mirrors], archive, self.python.md5)
        except DownloadError as error:
            ways = " or ".join(f"{form.archive} (MD5 {form.md5})" for form in (self.python, self.binary))
            raise RuntimeError(
                f"{type(self).__name__}: {error}\nYou can fetch {ways} in another way and put it into {root}, and call this "
                f"again, which unpacks it; or unpack it there yourself (you get {root / self.python.folder} or "
                f"{root / self.binary.folder}). With the unpacked folder download=False works."
            ) from error
        extract_archive(archive)

    def extra_repr(self) -> str:
        return f"Split: {'Train' if self.train else 'Test'}"

    def _set_labels(self, labels: np.ndarray) -> None:
        """Take the labels, shape (kinds of labels, n)."""
        self.targets = labels[0].tolist()

    def _label_counts(self) -> list[int]:
        """How many classes each kind of label has."""
        return [len(self.classes)]

    def _places(self) -> list[tuple[Form, Path]]:
        root = Path(self.root)
        bases = [root, root / self.other_name]
        return [(f, p) for f in (self.python, self.binary) for p in (*(b / f.folder for b in bases), root)]

    def _find(self, train: bool) -> tuple[Form, Path] | None:
        """The first place that has all files of a part."""
        for form, folder in self._places():
            if all((folder / name).is_file() for name, _ in _files(form, train)):
                return form, folder
        return None

    def _read(self, form: Form, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Images (n, 3072) and labels (kinds of labels, n) of a file."""
        read = read_binary(path, len(self.label_keys)) if form is self.binary else read_python(path, self.label_keys)
        for key, labels, count in zip(self.label_keys, read[1], self._label_counts(), strict=True):
            check_labels(labels, count, f"{path}, {key}")
        return read


class CIFAR100(CIFAR10):
    """Small photographs: 50,000 training and 10,000 test images, 32x32 RGB, 100 classes in 20 groups.

    Arguments and attributes are those of ``CIFAR10``; the folders are ``cifar-100-python``, ``cifar-100-binary`` and
    ``cifar100``. Labels are the fine ones.

    Attributes:
        coarse_targets: the labels of the groups, a list of n ints.
        coarse_classes: the names of the groups.
    """

    python = Form(
        "cifar-100-python",
        "cifar-100-python.tar.gz",
        "eb9058c3a382ffc7106e4002c42a8d85",
        [("train", "16019d7e3df5f24257cddd939b257f8d")],
        [("test", "f0ef6b0ae62326f3e7ffdfab6717acfc")],
    )
    binary = Form(
        "cifar-100-binary",
        "cifar-100-binary.tar.gz",
        "03b5dce01913d631647c71ecec9e9cb8",
        [("train.bin", "6172c7755cfe09b2fe270c85cebc1b15")],
        [("test.bin", "4499cfba6c016c1be1438163640a0898")],
    )
    other_name = "cifar100"
    label_keys = ["coarse_labels", "fine_labels"]
    classes = (  # noqa: SIM905
        "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle "
        "caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant "
        "flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man "
        "maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree "
        "plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail "
        "snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout "
        "tulip turtle wardrobe whale willow_tree wolf woman worm"
    ).split()
    coarse_classes = (  # noqa: SIM905
        "aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices "
        "household_furniture insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes "
        "large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles small_mammals trees "
        "vehicles_1 vehicles_2"
    ).split()

    def _set_labels(self, labels: np.ndarray) -> None:
        self.coarse_targets = labels[0].tolist()
        self.targets = labels[1].tolist()

    def _label_counts(self) -> list[int]:
        return [len(self.coarse_classes), len(self.classes)]


def _files(form: Form, train: bool) -> list[tuple[str, str]]:
    return form.train if train else form.test


def read_binary(path: str | os.PathLike[str], kinds: int) -> tuple[np.ndarray, np.ndarray]:
    """Read binary records: ``kinds`` bytes of labels and 3072 of an image each.

    Returns:
        Images, uint8 of shape (n, 3072), and labels, uint8 of shape (kinds, n).

    Raises:
        ValueError: if the file is no whole number of records, or empty.
    """
    content = np.fromfile(path, np.uint8)
    record = kinds + VALUES
    if len(content) % record or not len(content):
        raise ValueError(
            f"{path}: {len(content)} bytes are not a whole number of records of {record} bytes ({kinds} of labels and "
            f"{VALUES} of an image)"
        )
    rows = content.reshape(-1, record)
    return rows[:, kinds:], rows[:, :kinds].T


def read_python(path: str | os.PathLike[str], keys: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read a pickled dict with ``"data"``, an array of images (n, 3072), and a list of n labels under each of ``keys``.

    The pickle is not run, see ``minidl.io.safe_pickle``.

    Returns:
        Images, uint8 of shape (n, 3072), and labels, int64 of shape (len(keys), n).

    Raises:
        ValueError: if the file is a pickle of anything else.
    """
    from minidl.io import safe_pickle  # what it needs of the standard library is needed for nothing else

    batch = safe_pickle.read(path)
    if not isinstance(batch, dict):
        raise ValueError(f"{path}: found a pickled {type(batch).__name__}, expected a dict with 'data' and {keys}")
    batch = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
    missing = [key for key in ("data", *keys) if key not in batch]
    if missing:
        raise ValueError(f"{path}: the dict has the keys {list(batch)}, but not {missing}")
    images = batch["data"]
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (VALUES,):
        found = f"{images.dtype} of shape {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
        raise ValueError(f"{path}: 'data' is {found}, expected uint8 of shape (n, {VALUES})")
    for key in keys:
        labels = batch[key]
        if not isinstance(labels, list) or len(labels) != len(images) or not all(type(x) is int for x in labels):
            found = f"{len(labels)} values" if isinstance(labels, list) else type(labels).__name__
            raise ValueError(f"{path}: {key!r} is {found}, expected a list of {len(images)} ints, one for each image")
    return images, np.array([batch[key] for key in keys], dtype=np.int64)
