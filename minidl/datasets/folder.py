"""Datasets in folders: each class is a folder, and its samples are the files below it."""

from __future__ import annotations

import functools
import itertools
import operator
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from minidl.data import ahead, draws
from minidl.data.shared import new_batch
from minidl.datasets.vision import VisionDataset
from minidl.dtypes import get_default_dtype
from minidl.tensor import Tensor
from minidl.transforms.ending import Ending, ending_of
from minidl.transforms.undecoded import decoded, undecoded

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


class UnreadableSampleError(OSError):
    """A sample's file cannot be read. The error that says why is its ``__cause__``.

    Attributes:
        path: the file.
        index: the sample.
    """

    path: str | None = None
    index: int | None = None


def default_loader(path: str | os.PathLike[str], draft: tuple[int, int] | None = None) -> Image.Image:
    """Return the image in a file as a PIL image of mode "RGB"; the file is closed.

    Args:
        path: the file.
        draft: see ``ImageFolder``.

    Raises:
        OSError: (or another exception of Pillow) if it cannot be read, or is no image, or is truncated.
    """
    with open(path, "rb") as file, Image.open(file) as image:
        if draft is not None:
            image.draft(None, (draft[1], draft[0]))  # changes nothing but JPEGs
        return decoded(image)


class DatasetFolder(VisionDataset):
    """Samples in folders: ``root/CLASS/…/FILE``. Labels are the numbers of the class folders in alphabetical order.

    Args:
        root: the folder of class folders.
        loader: takes a path and returns a sample.
        extensions: the endings of the files that are samples, in lower case, such as ``(".png", ".jpg")``.
        transform: takes and returns a sample.
        target_transform: takes and returns a label.
        is_valid_file: takes a path and says whether it is a sample; instead of ``extensions``.
        allow_empty: whether a class folder may have no samples.
        on_error: what happens if the loader fails. "raise": an ``UnreadableSampleError`` (an OSError) with the path, the
            index and the reason. "skip": the next sample in the order of ``samples`` that can be read takes its place, with its
            own label; a warning is given once for each file.

    Attributes:
        classes: the names of the class folders, sorted.
        class_to_idx: the label of each name.
        samples: (path, label) of each sample: by class, then by folder, then by file name.
        targets: the label of each sample.
        loader, extensions: as given.
        skipped: the paths that "skip" has left out so far, a set; a DataLoader's workers tell of theirs with their batches.

    Raises:
        FileNotFoundError: if there is no class folder, or one without samples (unless ``allow_empty``).
        ValueError: if neither or both of ``extensions`` and ``is_valid_file`` are given, or ``on_error`` is unknown.
        TypeError: if ``root`` is no path.

    Example:
        >>> arrays = DatasetFolder("data/train", loader=np.load, extensions=(".npy",))  # doctest: +SKIP
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        loader: Callable[[str], Any],
        extensions: str | tuple[str, ...] | None = None,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
        *,
        on_error: str = "raise",
    ) -> None:
        if not isinstance(root, (str, os.PathLike)):
            raise TypeError(f"{type(self).__name__}: root should be the path of a folder, got {root!r}")
        super().__init__(root, transform=transform, target_transform=target_transform)
        if on_error not in ("raise", "skip"):
            raise ValueError(f"{type(self).__name__}: on_error should be 'raise' or 'skip', got {on_error!r}")
        self.loader = loader
        self.extensions = extensions
        self.on_error = on_error
        self.skipped: set[str] = set()
        self._unfit: Any = None  # a transform whose images ``__getbatch__`` cannot take
        self.classes, self.class_to_idx = self.find_classes(self.root)
        self.samples = self.make_dataset(self.root, self.class_to_idx, extensions, is_valid_file, allow_empty)
        self.targets = [label for _, label in self.samples]

    @staticmethod
    def make_dataset(
        directory: str | os.PathLike[str],
        class_to_idx: dict[str, int],
        extensions: str | tuple[str, ...] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> list[tuple[str, int]]:
        """Return (path, label) of each sample. A subclass may find them in another way."""
        if class_to_idx is None:
            raise ValueError("The class_to_idx parameter cannot be None.")
        return make_dataset(directory, class_to_idx, extensions, is_valid_file, allow_empty)

    def find_classes(self, directory: str | os.PathLike[str]) -> tuple[list[str], dict[str, int]]:
        """Return the class names and the label of each. A subclass may choose others."""
        return find_classes(directory)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        sample, label = self._load(index)
        return self.finish(sample, label)

    def __getbatch__(self, indices: Sequence[int]) -> Any:
        """The batch (images, labels), if every image can be converted where it will lie: ``transform`` is a ``Compose``
        that ends in ToTensor, or ToTensor and Normalize, of RGB images of one size.

        Everything else, and all errors, is for ``__getitem__``, which says more about them: NotImplemented.
        """
        ending = ending_of(self.transform) if self.on_error == "raise" and self.target_transform is None else None
        if ending is None or self._transforms is not None or self.finishes_otherwise or self.transform is self._unfit:
            return NotImplemented
        try:
            return self._assemble(indices, ending)
        except Exception:  # comes again when ``__getitem__`` gets there
            return NotImplemented

    def _assemble(self, indices: Sequence[int], ending: Ending) -> Any:
        images: np.ndarray | None = None
        labels = np.empty(len(indices), np.int64)
        with ahead.loading(self, indices):
            for row, index in enumerate(indices):
                with draws.only(row):
                    image, label = self._open(index)
                    image = ending.prepare(image)
                shape = ending.shape(image)
                if shape is None:
                    self._unfit = self.transform  # it makes images of another kind: do not try again
                    return NotImplemented
                if images is None:
                    images = new_batch((len(indices), *shape), get_default_dtype())
                if shape != images.shape[1:] or type(label) is not int:
                    return NotImplemented
                labels[row] = label
                ending.convert(image, images[row])
        return NotImplemented if images is None else (Tensor.wrap(images), Tensor.wrap(labels))

    def __keyed__(self) -> bool:
        return getattr(self.loader, "func", self.loader) is default_loader and self.draws_by_key

    def __len__(self) -> int:
        return len(self.samples)

    def _open(self, index: int) -> tuple[Any, int]:
        """As ``_load``, or a JPEG that is yet to be decoded, if it need not be another thread that does so."""
        if self.loader is default_loader and not ahead.is_loading():
            path, label = self.samples[index]
            file = undecoded(path)
            if file is not None:
                return file, label
        return self._load(index)

    def _load(self, index: int) -> tuple[Any, int]:
        """The sample and its label; with "skip", of the next one that can be read."""
        n = len(self.samples)
        start = operator.index(index)
        if not -n <= start < n:
            raise IndexError(f"{type(self).__name__}: index {start} is out of range for {n} samples")
        start %= n  # negative indices count from the end
        first: UnreadableSampleError | None = None
        for i in itertools.chain(range(start, n), range(start)):
            path, label = self.samples[i]
            try:
                return ahead.load(self.loader, path), label
            except MemoryError:
                raise
            except Exception as error:  # whatever becomes of a loader that reads a damaged file
                failed = UnreadableSampleError(
                    f"{type(self).__name__}: cannot read sample {i}, {path}: {type(error).__name__}: {error}"
                )
                failed.path, failed.index, failed.__cause__ = path, i, error
            if self.on_error == "raise":
                raise failed
            if path not in self.skipped:
                self.skipped.add(path)
                warnings.warn(f"{failed}; the next one takes its place (on_error='skip')", stacklevel=2)
            first = first or failed
        raise UnreadableSampleError(
            f"{type(self).__name__}: none of the {n} samples in {self.root} can be read"
        ) from first


class ImageFolder(DatasetFolder):
    """Images in folders: ``root/CLASS/…/FILE.jpg``. A sample is ``(image, label)``: a PIL image of mode "RGB" and an int.

    Args:
        root, transform, target_transform, is_valid_file, allow_empty, on_error: see ``DatasetFolder``.
        loader: takes a path and returns an image.
        draft: (height, width). A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, where it stays at least as large as
            this in both directions, which takes less time. Pass the size that the images are resized to afterwards, or more
            if only a part of them is kept. Only for the default loader.

    Without ``draft`` images are decoded exactly. With it, pixels change a little. Measured with ``draft=(224, 224)`` on the 398
    photographs of hymenoptera_data, of which 46 are large enough: these were decoded in two thirds of the time, and, resized to
    224x224 (bilinear), they differed from exact decoding by 1.3 grey levels of 255 on average, by 4.5 in the worst photograph,
    and by up to 78 in single values at sharp edges. Resized to half of ``draft``, they differed by 0.6 on average.

    Where ``transform`` is a ``Compose`` that begins with RandomResizedCrop and ends in ToTensor, or ToTensor and Normalize, a
    DataLoader's workers (or one thread alone) decode a JPEG only down to the window that is kept: the pixels are the same, and a
    seventh of the work is saved. A file that is cut off is an error as ever.

    Attributes:
        imgs: the same as ``samples``. For the others see ``DatasetFolder``.

    As in torchvision, the orientation that a camera notes in a file (EXIF) is left alone: a photograph that was taken upright may
    lie on its side. ``PIL.ImageOps.exif_transpose`` turns it, in a loader of your own.

    Raises:
        ValueError: if ``draft`` is given with another loader. And as ``DatasetFolder``.
        TypeError: if ``draft`` is no pair of integers. And as ``DatasetFolder``.

    Example:
        >>> dataset = ImageFolder("hymenoptera_data/train")  # doctest: +SKIP
        >>> dataset.classes, len(dataset), dataset[0]  # doctest: +SKIP
        (['ants', 'bees'], 244, (<PIL.Image.Image image mode=RGB size=768x512>, 0))
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        loader: Callable[[str], Any] = default_loader,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
        *,
        on_error: str = "raise",
        draft: tuple[int, int] | None = None,
    ) -> None:
        if draft is not None:
            if loader is not default_loader:
                raise ValueError(
                    "ImageFolder: draft is for the default loader; open your images with Image.draft yourself"
                )
            if not isinstance(draft, Sequence) or [isinstance(n, int) for n in draft] != [True, True]:
                raise TypeError(f"ImageFolder: draft should be (height, width), two integers, got {draft!r}")
            loader = functools.partial(default_loader, draft=draft)
        super().__init__(
            root,
            loader,
            IMG_EXTENSIONS if is_valid_file is None else None,
            transform=transform,
            target_transform=target_transform,
            is_valid_file=is_valid_file,
            allow_empty=allow_empty,
            on_error=on_error,
        )
        self.imgs = self.samples

    def __getfiles__(self, indices: Sequence[int]) -> tuple[Callable[[str], Any], list[str]] | None:
        """What may be loaded in another thread, see ``minidl.data.Dataset``: images by the default loader."""
        if getattr(self.loader, "func", self.loader) is not default_loader:
            return None  # one of the user's own may not bear to run twice at a time
        n = len(self.samples)
        return self.loader, [self.samples[i][0] for i in indices if -n <= i < n]


def has_file_allowed_extension(filename: str, extensions: str | tuple[str, ...]) -> bool:
    """Whether a file's name ends in one of ``extensions`` (in lower case), in capitals or not."""
    return filename.lower().endswith(extensions if isinstance(extensions, str) else tuple(extensions))


def is_image_file(filename: str) -> bool:
    """Whether a file's name ends like that of an image."""
    return has_file_allowed_extension(filename, IMG_EXTENSIONS)


def find_classes(directory: str | os.PathLike[str]) -> tuple[list[str], dict[str, int]]:
    """Return the names of the folders in ``directory``, sorted, and the number of each.

    Raises:
        FileNotFoundError: if there is none.
    """
    classes = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir())
    if not classes:
        raise FileNotFoundError(f"Couldn't find any class folder in {directory}.")
    return classes, {name: i for i, name in enumerate(classes)}


def make_dataset(
    directory: str | os.PathLike[str],
    class_to_idx: dict[str, int] | None = None,
    extensions: str | tuple[str, ...] | None = None,
    is_valid_file: Callable[[str], bool] | None = None,
    allow_empty: bool = False,
) -> list[tuple[str, int]]:
    """Return (path, label) of each sample: the files below each class folder that end in one of ``extensions``, or of which
    ``is_valid_file`` says that they are samples.

    Args:
        directory: the folder of class folders.
        class_to_idx: the label of each class folder (default: as ``find_classes`` says).
        extensions, is_valid_file, allow_empty: see ``DatasetFolder``.

    Raises:
        FileNotFoundError: if a class has no sample, unless ``allow_empty``.
        ValueError: if neither or both of ``extensions`` and ``is_valid_file`` are given; or there are no classes.
    """
    directory = os.path.expanduser(directory)
    if class_to_idx is None:
        class_to_idx = find_classes(directory)[1]
    elif not class_to_idx:
        raise ValueError("'class_to_index' must have at least one entry to collect any samples.")
    if (extensions is None) == (is_valid_file is None):
        raise ValueError("Both extensions and is_valid_file cannot be None or not None at the same time")
    if extensions is not None:
        is_valid_file = functools.partial(has_file_allowed_extension, extensions=extensions)
    assert is_valid_file is not None
    samples = []
    empty = set(class_to_idx)
    for name in sorted(class_to_idx):
        for folder, _, files in sorted(os.walk(os.path.join(directory, name), followlinks=True)):
            for file in sorted(files):
                path = os.path.join(folder, file)
                if is_valid_file(path):
                    samples.append((path, class_to_idx[name]))
                    empty.discard(name)
    if empty and not allow_empty:
        message = f"Found no valid file for the classes {', '.join(sorted(empty))} in {directory}. "
        if extensions is not None:
            message += (
                f"Supported extensions are: {extensions if isinstance(extensions, str) else ', '.join(extensions)}"
            )
        raise FileNotFoundError(message)
    return samples
