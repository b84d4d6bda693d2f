"""Makes shards for ``ShardDataset``: few large archives of many small files.

    python -m minidl.data.packing FOLDER OUT --samples-per-shard 1000 --size 256

packs a folder of images, with a folder for each class, into OUT/FOLDER-000000.tar, OUT/FOLDER-000001.tar, …
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from minidl import random
from minidl.data.shard_list import INDEX
from minidl.data.shards import IMAGES
from minidl.data.tar import BLOCK
from minidl.tensor import Tensor

_END = bytes(2 * BLOCK)  # what an archive ends with


class ShardWriter:
    """Writes samples to shards ``name-000000.tar``, ``name-000001.tar``, … in a folder, and ``shards.json`` beside them.

    The same samples make the same bytes: no times or users are noted. All files appear at the end of the block together; until
    then they are in a hidden folder there, which is removed if the block fails.

    Args:
        out: the folder. It is made if it is missing; it may not hold shards.
        name: what the shards' names begin with.
        samples_per_shard: after how many samples the next shard begins; None for any number.
        max_bytes: the next shard begins when this one would become larger than this. (One sample may be larger alone.)
        classes: the names of labels 0, 1, … for ``shards.json``. Its "counts" are then how often "cls" was each, and a sample
            without a "cls" among them is refused.

    Raises:
        FileExistsError: if there are shards in the folder already.
        ValueError: if an argument is out of range, a sample is empty, or there was none at the end.

    Example:
        >>> with ShardWriter("train", "train") as writer:
        ...     writer.write({"jpg": content, "cls": 3, "txt": "a dog that looks up"})
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        name: str,
        samples_per_shard: int | None = 1000,
        max_bytes: int | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        for argument, value in {"samples_per_shard": samples_per_shard, "max_bytes": max_bytes}.items():
            if value is not None and value <= 0:
                raise ValueError(f"ShardWriter: {argument} should be positive, got {value}")
        if not name or os.path.basename(name) != name or name.startswith("."):
            raise ValueError(f"ShardWriter: the shards' name should be that of a file, got {name!r}")
        self.out = Path(out)
        self.name = name
        self.samples_per_shard = samples_per_shard
        self.max_bytes = max_bytes
        self.classes = None if classes is None else list(classes)
        self.samples = 0
        self._labels: Counter[int] = Counter()
        self._shards: list[dict[str, Any]] = []
        self._file: IO[bytes] | None = None

    def __enter__(self) -> ShardWriter:
        there = [INDEX] if (self.out / INDEX).exists() else sorted(p.name for p in self.out.glob("*.tar"))
        if there:
            raise FileExistsError(
                f"there are shards in {self.out} already: {there[0]}; give another folder, or delete them"
            )
        self._made = [folder for folder in (self.out, *self.out.parents) if not folder.exists()]
        self.out.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix=".packing-", dir=self.out))
        return self

    def write(self, sample: Mapping[str, Any]) -> None:
        """Add a sample: field → bytes, or what becomes bytes: an int, a str, an array (npy), a dict or list (json)."""
        if not sample:
            raise ValueError("ShardWriter: a sample without fields")
        members = []
        for field, value in sample.items():
            if not field or "/" in field:
                raise ValueError(f"ShardWriter: a field's name should be like 'jpg', got {field!r}")
            content = encoded(value)
            info = tarfile.TarInfo(f"{self.samples:08d}.{field}")  # its time, user and group are 0
            info.size = len(content)
            padding = bytes(-len(content) % BLOCK)
            members.append(info.tobuf(tarfile.USTAR_FORMAT) + content + padding)
        if self.classes is not None:
            label = sample.get("cls")
            if not isinstance(label, (int, np.integer)) or not 0 <= label < len(self.classes):
                raise ValueError(
                    f'ShardWriter: "cls" should be the number of one of {len(self.classes)} classes, got {label!r}'
                )
            self._labels[int(label)] += 1
        if self._file is not None:
            full = self._shards[-1]["nsamples"] == self.samples_per_shard
            bytes_then = self._file.tell() + sum(map(len, members)) + len(_END)
            if full or (self.max_bytes is not None and bytes_then > self.max_bytes):
                self._end_shard()
        if self._file is None:
            name = f"{self.name}-{len(self._shards):06d}.tar"
            self._shards.append({"url": name, "nsamples": 0})
            self._file, self._hash = open(self._folder / name, "wb"), hashlib.sha256()  # noqa: SIM115
        for member in members:
            self._file.write(member)
            self._hash.update(member)
        self._shards[-1]["nsamples"] += 1
        self.samples += 1

    def _end_shard(self) -> None:
        assert self._file is not None
        self._file.write(_END)
        self._hash.update(_END)
        self._shards[-1] |= {"bytes": self._file.tell(), "sha256": self._hash.hexdigest()}
        self._file.flush()
        os.fsync(self._file.fileno())  # on the disk before its name is seen
        self._file.close()
        self._file = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        moved: list[Path] = []
        try:
            if error is None:
                if self._file is None:
                    raise ValueError(f"ShardWriter: no sample was written to {self.out}")
                self._end_shard()
                self._write_index()
                for file in [*(shard["url"] for shard in self._shards), INDEX]:
                    moved.append(self.out / file)
                    os.rename(self._folder / file, self.out / file)
                moved = []
        finally:
            if self._file is not None:
                self._file.close()
            for path in moved:
                path.unlink(missing_ok=True)
            shutil.rmtree(self._folder, ignore_errors=True)
            for folder in self._made:
                with suppress(OSError):  # it is not empty: all went well
                    folder.rmdir()

    def _write_index(self) -> None:
        index: dict[str, Any] = {"wids_version": 1, "name": self.name, "samples": self.samples}
        if self.classes is not None:
            index |= {"classes": self.classes, "counts": [self._labels[i] for i in range(len(self.classes))]}
        text = json.dumps(index | {"shardlist": self._shards}, indent=1, ensure_ascii=False)
        (self._folder / INDEX).write_text(text + "\n", encoding="utf-8")


def encoded(value: Any) -> bytes:
    """The bytes of a field that ``ShardDataset`` makes this value of.

    Raises:
        TypeError: if it cannot be any field's.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8")
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(int(value)).encode()
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False).encode("utf-8")
    array = value.backend.to_numpy(value.array) if isinstance(value, Tensor) else value
    if isinstance(array, np.ndarray):
        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        return file.getvalue()
    raise TypeError(f"ShardWriter: expected bytes, str, int, an array, a dict or a list, got {type(value).__name__}")


def pack_images(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    samples_per_shard: int | None = 1000,
    max_bytes: int | None = None,
    shuffle: bool = True,
    seed: int = 0,
    size: int | None = None,
    quality: int = 90,
    name: str | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Pack a folder of images, with a folder for each class, into shards of fields "cls" and "jpg", "png", ….

    Labels are the numbers of the class folders in alphabetical order, as in torchvision's ``ImageFolder``. Files are packed
    as they are, apart from those that ``size`` shrinks. The same files and arguments make the same bytes. On a terminal a bar
    shows the progress.

    Args:
        folder: for instance ``imagenet/train``. Images may lie deeper in the class folders.
        out, samples_per_shard, max_bytes: as for ``ShardWriter``.
        shuffle: whether to pack in random order. (Otherwise class follows class, which no buffer can mix.)
        seed: of that order.
        size: images whose shorter side is longer than this many pixels are made smaller (bilinear), and stored as JPEG. As in
            torchvision, what EXIF says of their orientation is disregarded.
        quality: of that JPEG.
        name: what the shards' names begin with (default: the name of ``folder``).
        threads: that read and shrink images (default: one for each core).

    Returns:
        what ``shards.json`` holds: "samples", "classes", "counts" of each class; "shardlist", for each shard "url", "nsamples",
        "bytes" and "sha256".

    Raises:
        FileNotFoundError: if there are no class folders, or one of them has no image.
        FileExistsError: if there are shards in ``out`` already.
        ValueError: if an image that is to be made smaller cannot be decoded; the message names it.

    Example:
        >>> pack_images("imagenet/train", "shards/train", size=256)["samples"]
        1281167
    """
    if size is not None and size <= 0:
        raise ValueError(f"pack_images: size should be positive, got {size}")
    root = os.path.abspath(folder)
    classes, files = find_images(root)
    order = random.Generator().manual_seed(seed).numpy.permutation(len(files)) if shuffle else range(len(files))

    def load(i: int) -> dict[str, Any]:
        file, label = files[i]
        field, content = _image(os.path.join(root, file), size, quality)
        return {field: content, "cls": label}

    terminal = sys.stderr.isatty()
    with (
        ShardWriter(out, name or os.path.basename(root), samples_per_shard, max_bytes, classes) as writer,
        closing(_ahead(load, order, threads or os.cpu_count() or 1)) as samples,
        tqdm(total=len(files), unit=" images", disable=not terminal, leave=False, dynamic_ncols=True) as bar,
    ):
        for sample in samples:
            writer.write(sample)
            bar.update()
    index: dict[str, Any] = json.loads((Path(out) / INDEX).read_text(encoding="utf-8"))
    return index


def find_images(folder: str) -> tuple[list[str], list[tuple[str, int]]]:
    """The class folders in a folder, and the images in them: (path from ``folder``, label).

    Raises:
        FileNotFoundError: if there are no class folders, or one of them has no image.
    """
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise FileNotFoundError(f"couldn't find any class folder in {folder}")
    files: list[tuple[str, int]] = []
    for label, name in enumerate(classes):
        before = len(files)
        for where, folders, names in os.walk(os.path.join(folder, name), followlinks=True):
            folders.sort()
            chosen = sorted(n for n in names if _extension(n) in IMAGES and not n.startswith("."))
            files += [(os.path.relpath(os.path.join(where, n), folder), label) for n in chosen]
        if len(files) == before:
            raise FileNotFoundError(f"found no image in class folder {os.path.join(folder, name)}; looked for {IMAGES}")
    return classes, files


def _extension(name: str) -> str:
    return os.path.splitext(name)[1][1:].lower()


def _image(path: str, size: int | None, quality: int) -> tuple[str, bytes]:
    """The field and the bytes of an image, made smaller if its shorter side is longer than ``size``."""
    content = Path(path).read_bytes()
    if size is None:
        return _extension(path), content
    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            if min(width, height) <= size:
                return _extension(path), content
            grey = image.mode in ("1", "L")
            smaller = image.convert("L" if grey else "RGB").resize(
                (size, int(size * height / width)) if width <= height else (int(size * width / height), size),
                Image.Resampling.BILINEAR,
            )
    except Exception as error:
        raise ValueError(f"cannot decode {path}: {error}") from error
    file = io.BytesIO()
    smaller.save(file, "JPEG", quality=quality)
    return "jpg", file.getvalue()


def _ahead(function: Callable[[int], Any], numbers: Iterable[int], threads: int) -> Generator[Any, None, None]:
    """``map(function, numbers)``, where threads are a few results ahead."""
    waiting: deque[Future[Any]] = deque()
    executor = ThreadPoolExecutor(threads)
    try:
        for number in numbers:
            waiting.append(executor.submit(function, number))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m minidl.data.packing",
        description="Pack a folder of images, with a folder for each class, into tar archives for minidl's ShardDataset.",
    )
    parser.add_argument("folder", metavar="FOLDER", help="the images: FOLDER/class/….jpg")
    parser.add_argument("out", metavar="OUT", help="where the shards go; made if it is missing")
    parser.add_argument("--samples-per-shard", type=int, default=1000, metavar="N", help="images in a shard (1000)")
    parser.add_argument("--max-bytes", type=int, metavar="N", help="begin another shard before one becomes larger")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="shrink images whose shorter side is longer")
    parser.add_argument("--quality", type=int, default=90, help="of the JPEG files that shrinking makes (90)")
    parser.add_argument("--no-shuffle", dest="shuffle", action="store_false", help="pack class after class")
    parser.add_argument("--seed", type=int, default=0, help="of the random order (0)")
    parser.add_argument("--name", help="what the shards' names begin with (the name of FOLDER)")
    parser.add_argument("--threads", type=int, metavar="N", help="that read and shrink images (one for each core)")
    given = parser.parse_args(arguments)
    try:
        index = pack_images(**vars(given))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"stopped; nothing was left in {given.out}", file=sys.stderr)
        return 130
    shards = index["shardlist"]
    total = sum(shard["bytes"] for shard in shards)
    print(
        f"{index['samples']} images of {len(index['classes'])} classes in {len(shards)} shards, "
        f"{total / 1e6:.1f} MB: {given.out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
