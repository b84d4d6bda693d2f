"""MNIST and the datasets that come in its format: four idx files, each perhaps packed with gzip."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minidl.datasets.vision import InMemoryDataset, check_labels
from minidl.io.download import DownloadError, check_integrity, fetch, gunzip, md5_of
from minidl.tensor import Tensor

UBYTE = 8  # how an idx file says that its values are unsigned bytes


class MNIST(InMemoryDataset):
    """Handwritten digits: 60,000 training and 10,000 test images, 28x28 grey, 10 classes.

    A sample is ``(image, label)``: a PIL image of mode "L" and an int. See ``InMemoryDataset`` for what a transform gets
    when a whole batch is fetched.

    Args:
        root: a folder. The files (``train-images-idx3-ubyte`` and so on, as they are or with ``.gz``) are looked for in
            ``root/MNIST/raw``, where torchvision puts them too, ``root/MNIST``, ``root/mnist`` and ``root``.
        train: the training images or the test images.
        transform: takes and returns an image.
        target_transform: takes and returns a label.
        download: fetch files that are missing, or are not the maker's by their MD5, into ``root/MNIST/raw``.

    Attributes:
        data: all images, a uint8 Tensor of shape (n, 28, 28) with values from 0 to 255.
        targets: all labels, an int64 Tensor of shape (n,).
        classes, class_to_idx: the names of the labels, and the label of each name.

    Raises:
        RuntimeError: if there are no files; or if they cannot be fetched, with the addresses tried and what to do.
        ValueError: if a file is not what it should be; the message has the path, what was found and what was needed.

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.

    Example:
        >>> image, label = MNIST("data", train=False, download=True)[0]  # doctest: +SKIP
        >>> image.size, label  # doctest: +SKIP
        ((28, 28), 7)
    """

    mirrors = ["https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"]
    resources = [
        ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    ]
    unpacked_md5: dict[str, str] = {  # where none is known, any unpacked file counts as the maker's
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }
    other_name = "mnist"  # of the folder
    classes = [
        "0 - zero",
        "1 - one",
        "2 - two",
        "3 - three",
        "4 - four",
        "5 - five",
        "6 - six",
        "7 - seven",
        "8 - eight",
        "9 - nine",
    ]

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
        found = self._find("train" if train else "t10k")
        if found is None:
            names = " and ".join(self._names("train" if train else "t10k"))
            raise RuntimeError(
                f"Dataset not found. You can use download=True to download it. {type(self).__name__} looked for {names} "
                f"(or .gz) in: {', '.join(map(str, self._folders()))}"
            )
        images, labels = read_idx(found[0], 3), read_idx(found[1], 1)
        if len(images) != len(labels):
            raise ValueError(f"{found[0]} holds {len(images)} images, but {found[1]} holds {len(labels)} labels")
        if images.shape[1:] != (28, 28):
            raise ValueError(f"{found[0]}: the images are of shape {images.shape[1:]}, expected (28, 28)")
        check_labels(labels, len(self.classes), found[1])
        self._check_maker(found[1])
        self.data = Tensor.wrap(images)
        self.targets = Tensor.wrap(labels.astype(np.int64))

    @property
    def raw_folder(self) -> str:
        """Where downloaded files go."""
        return os.path.join(self.root, type(self).__name__, "raw")

    def download(self) -> None:
        """Fetch the files that are not there, or whose digest shows that they are not the maker's.

        Raises:
            RuntimeError: if a file cannot be fetched. It says what was tried and which files to place where.
        """
        for part in ("train", "t10k"):
            found = self._find(part)
            if found is not None and all(map(self._is_makers, found)):
                continue
            for name in self._names(part):
                packed = Path(self.raw_folder) / f"{name}.gz"
                addresses = [mirror + packed.name for mirror in self.mirrors]
                try:
                    fetch(addresses, packed, dict(self.resources)[packed.name])
                except DownloadError as error:
                    files = "\n".join(f"  {file}  (MD5 {md5})" for file, md5 in self.resources)
                    raise RuntimeError(
                        f"{type(self).__name__}: {error}\nYou can fetch these files in another way and put them into "
                        f"{self.raw_folder}, as they are or unpacked:\n{files}\nWith them download=False works."
                    ) from error
                gunzip(packed, packed.with_suffix(""))

    def extra_repr(self) -> str:
        return f"Split: {'Train' if self.train else 'Test'}"

    def _names(self, part: str) -> list[str]:
        return [f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"]

    def _folders(self) -> list[Path]:
        root = Path(self.root)
        return [Path(self.raw_folder), root / type(self).__name__, root / self.other_name, root]

    def _find(self, part: str) -> list[Path] | None:
        """The files of images and labels: the first folder that has both."""
        for folder in self._folders():
            found = [packed_or_not(folder / name) for name in self._names(part)]
            if None not in found:
                return [path for path in found if path is not None]
        return None

    def _is_makers(self, path: Path) -> bool:
        """Whether a file is the one that the maker published, packed or unpacked."""
        if path.suffix == ".gz" and check_integrity(path, dict(self.resources)[path.name]):
            return True
        known = self.unpacked_md5.get(path.name.removesuffix(".gz"))
        try:
            return known is None or md5_of(_read(path)) == known
        except ValueError:
            return False

    def _check_maker(self, path: Path) -> None:
        """Refuse the labels of another dataset: the files of all of them have the same names."""
        name, digest = path.name.removesuffix(".gz"), md5_of(_read(path))
        for other in (MNIST, FashionMNIST):
            if digest == other.unpacked_md5[name] != self.unpacked_md5.get(name):
                raise ValueError(f"{path} is a file of {other.__name__}, not of {type(self).__name__}")


class FashionMNIST(MNIST):
    """Clothing in the format of MNIST: 60,000 training and 10,000 test images, 28x28 grey, 10 classes.

    Arguments and attributes are those of ``MNIST``, with ``FashionMNIST`` (or ``fashion-mnist``) as the folder's name.

    Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms", arXiv:1708.07747.
    """

    mirrors = [
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ]
    resources = [
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    ]
    unpacked_md5 = {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    }
    other_name = "fashion-mnist"
    classes = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


class KMNIST(MNIST):
    """Cursive Japanese characters in the format of MNIST; arguments and attributes are those of ``MNIST``.

    Source: Clanuwat et al., "Deep learning for classical Japanese literature", arXiv:1812.01718.
    """

    mirrors = ["http://codh.rois.ac.jp/kmnist/dataset/kmnist/"]
    resources = [
        ("train-images-idx3-ubyte.gz", "bdb82020997e1d708af4cf47b453dcf7"),
        ("train-labels-idx1-ubyte.gz", "e144d726b3acfaa3e44228e80efcd344"),
        ("t10k-images-idx3-ubyte.gz", "5c965bf0a639b31b8f53240b1b52f4d7"),
        ("t10k-labels-idx1-ubyte.gz", "7320c461ea6c1c855c0b718fb2a4b134"),
    ]
    unpacked_md5: dict[str, str] = {}
    other_name = "kmnist"
    classes = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]


def read_idx(path: str | os.PathLike[str], ndim: int) -> np.ndarray:
    """Read an idx file of unsigned bytes, packed with gzip or not.

    The format: two zero bytes, a byte for the type (8: unsigned bytes), a byte for the number of dimensions, the length of
    each dimension as a 32-bit integer (most significant byte first), then the values.

    Args:
        path: the file.
        ndim: how many dimensions it must have: 3 for images, 1 for labels.

    Returns:
        uint8 array of ``ndim`` dimensions.

    Raises:
        ValueError: if it is another kind of file, or shorter or longer than it says itself.
    """
    content = _read(path)
    header = 4 + 4 * ndim
    needed = bytes([0, 0, UBYTE, ndim])
    if content[:4] != needed:
        raise ValueError(
            f"{path}: the magic number is 0x{content[:4].hex() or '(nothing)'}, but a file of unsigned bytes in {ndim} "
            f"dimension(s) begins with 0x{needed.hex()}"
        )
    if len(content) < header:
        raise ValueError(f"{path} is truncated: {len(content)} bytes, of which the header alone takes {header}")
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, header, 4))
    values = math.prod(shape)
    if len(content) != header + values:
        kind = "is truncated" if len(content) < header + values else "is too long"
        raise ValueError(
            f"{path} {kind}: the header says shape {shape}, which is {values} bytes of values, but there are "
            f"{len(content) - header}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()  # a copy, so that it can be written to


def packed_or_not(path: Path) -> Path | None:
    """The file, or the one with ``.gz`` after its name; None if there is neither."""
    return next((p for p in (path, path.with_name(f"{path.name}.gz")) if p.is_file()), None)


def _read(path: str | os.PathLike[str]) -> bytes:
    content = Path(path).read_bytes()
    if content[:2] != b"\x1f\x8b":  # not packed, whatever its name says: some browsers unpack what they fetch
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: the gzip file is damaged or truncated ({len(content)} bytes): {error}") from error
