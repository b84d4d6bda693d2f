"""ShardDataset: a stream of samples out of tar archives, for data that is larger than memory or lies on a slow disk."""

from __future__ import annotations

import io
import json
import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np
from PIL import Image

from minidl.data.dataset import IterableDataset, SkipSample
from minidl.data.sampler import current_generator
from minidl.data.shard_list import INDEX, find_shards, read_indices
from minidl.data.tar import Member, open_tar, read_content, read_members

IMAGES = ("jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp")

_MODES = {"pil": "RGB", "pilrgb": "RGB", "pill": "L", "pilrgba": "RGBA"}
_OPEN = 8  # shards that are held open


class ShardDataset(IterableDataset[Any]):
    """A stream of samples from tar archives ("shards") in the WebDataset convention.

    Files of one sample follow each other in the archive and share their *key*: the name with its folders, up to the first
    dot of the file name. What comes after the dot, in lower case, is the *field*: ``000017.jpg`` and ``000017.cls`` are fields
    "jpg" and "cls" of sample "000017". Hidden files (``.name``), and those whose first folder or name is like ``__this__``,
    are not part of any sample. ``minidl.data.packing`` makes such archives of folders of images.

    Reading is sequential and lazy. Every DataLoader worker passes over the headers of all samples, and reads and decodes those
    of its own batches only; so the batches do not depend on the number of workers, and resuming within an epoch costs the
    headers of what is passed over. Archives compressed with gzip have to be unpacked by every worker; better do without.

    Args:
        urls: a path; a pattern, ``"train-{000000..000012}.tar"`` or ``"train-*.tar"``; a folder of shards; or a list of such.
        decode: how the bytes of a field become a value, by the last part of its name.

            - "pil": image files become PIL images in RGB ("pill": in grey, "pilrgba": with transparency); cls, cls2, index, inx
              and id an int; txt, text and transcript a str; json and jsn what they hold; npy a NumPy array. Anything else,
              pickles above all, stays bytes.
            - a dict: field → function of the bytes; fields that it lacks as "pil" has them.
            - a function of (field, bytes); where it returns None, as "pil" has it.
            - None: bytes.
        shuffle: 0 leaves the order as it is. Otherwise the order of the shards is shuffled, and the next sample is drawn from
            a buffer of this many. It holds places in files, not data (of compressed shards: data, not decoded).
        transform: takes and returns the first of ``keys``; if ``keys`` is None, the dict.
        target_transform: takes and returns the second of ``keys``.
        keys: which fields make a sample, a tuple. Of ``"jpg;png"`` the first counts that the sample has. "__key__" and
            "__url__" are its key and shard. With None a sample is a dict of all its fields and of these two.
        on_error: "raise"; or "skip", to leave out samples that cannot be decoded, with a warning at the first. A shard that is
            damaged, and a field that is missing, is an error in any case.

    Attributes:
        shards: the paths.
        classes: the names of labels 0, 1, …, or None if there is no ``shards.json``.
        skipped: how many samples were left out; a DataLoader's workers tell of theirs with their batches.

    ``len(dataset)`` is known if a file ``shards.json`` lies beside the shards. It holds at least
    ``{"shardlist": [{"url": "train-000000.tar", "nsamples": 1000}]}``, as WebDataset's index of random access does.

    Raises:
        FileNotFoundError: if a shard is missing, or no file matches a pattern.
        ValueError: if an argument is not understood; while iterating, if a shard is truncated or damaged or has another number
            of samples than ``shards.json`` says, if a field is missing or given twice or cannot be decoded, or if there is
            no sample at all. The message names ``shard!key``.
        TypeError: by ``len()``, if the number of samples is not known.

    Source: Aizman, Maltby and Breuel, "High performance I/O for large scale deep learning", IEEE Big Data 2019.

    Example:
        >>> dataset = ShardDataset("imagenet/train-{000000..001281}.tar", shuffle=5000, transform=augment)
        >>> loader = minidl.data.DataLoader(dataset, batch_size=64, num_workers=4, seed=0)
    """

    def __init__(
        self,
        urls: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        decode: str | Mapping[str, Callable[[bytes], Any]] | Callable[[str, bytes], Any] | None = "pil",
        shuffle: int = 0,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        keys: Sequence[str] | None = (";".join(IMAGES), "cls"),
        on_error: str = "raise",
    ) -> None:
        if not (isinstance(decode, Mapping) or callable(decode) or decode in (None, *_MODES)):
            raise ValueError(
                f"ShardDataset: decode should be one of {[*_MODES]}, a dict, a function or None, got {decode!r}"
            )
        if not isinstance(shuffle, int) or isinstance(shuffle, bool) or shuffle < 0:
            raise ValueError(f"ShardDataset: shuffle should be a number of samples >= 0, got {shuffle!r}")
        if on_error not in ("raise", "skip"):
            raise ValueError(f'ShardDataset: on_error should be "raise" or "skip", got {on_error!r}')
        if isinstance(keys, str) or (keys is not None and not keys):
            raise ValueError(f"ShardDataset: keys should be a sequence of fields, or None, got {keys!r}")
        if target_transform is not None and (keys is None or len(keys) < 2):
            raise ValueError(f"ShardDataset: target_transform needs a second field, but keys={keys!r}")
        self.shards = find_shards(urls)
        self.decode = decode
        self.shuffle = shuffle
        self.transform = transform
        self.target_transform = target_transform
        self.keys = None if keys is None else tuple(keys)
        self.on_error = on_error
        self.skipped = 0
        self._wanted = None if keys is None else [key.lower().split(";") for key in keys]
        self._counts, self.classes = read_indices(self.shards)

    def __len__(self) -> int:
        unknown = [shard for shard in self.shards if shard not in self._counts]
        if unknown:
            raise TypeError(f"ShardDataset has no length: no {INDEX} says how many samples {unknown[0]} has")
        return sum(self._counts[shard] for shard in self.shards)

    def __iter__(self) -> Iterator[Any]:
        for sample in self.iter_lazily():
            try:
                value = sample()
            except SkipSample:
                continue
            yield value

    def iter_lazily(self) -> Iterator[Callable[[], Any]]:
        """The samples of an epoch as functions. Each reads and decodes its sample when it is called, or raises ``SkipSample``.

        The order comes from ``minidl.data.sampler.current_generator()``: within a DataLoader from its seed and the epoch.
        """
        shards = self.shards
        if self.shuffle:
            shards = [shards[i] for i in current_generator().numpy.permutation(len(shards))]
        with _OpenFiles() as files:
            yield from shuffled(self._stored(shards, files), self.shuffle)

    def _stored(self, shards: list[str], files: _OpenFiles) -> Iterator[_Stored]:
        """The samples of these shards, one shard after the other."""
        total = 0
        for shard in shards:
            count = 0
            try:
                for sample in self._samples_of(shard, files):
                    count += 1
                    yield sample
            except ValueError as error:
                error.args = (f"{error} ({count} samples of this shard were read)",)
                raise
            if count != self._counts.get(shard, count):
                raise ValueError(f"{shard} has {count} samples, but {INDEX} beside it says {self._counts[shard]}")
            total += count
        if total == 0:
            raise ValueError(f"there is no sample in {len(shards)} shards; the first is {shards[0]}")

    def _samples_of(self, shard: str, files: _OpenFiles) -> Iterator[_Stored]:
        wanted = None if self._wanted is None else {field for fields in self._wanted for field in fields}
        sample: _Stored | None = None
        file, length = open_tar(shard)
        with file:
            for member in read_members(file, shard, length):
                key, field = split_name(member.name)
                if not field:
                    continue
                if sample is None or sample.key != key:
                    if sample is not None:
                        yield sample
                    sample = _Stored(self, files, shard, key)
                if field in sample.fields:
                    raise ValueError(f"{shard}!{key}: field {field!r} comes twice")
                packed = length is None and (wanted is None or field in wanted)  # what is passed by is gone for good
                sample.fields[field] = read_content(file, member, shard) if packed else member
        if sample is not None:
            yield sample

    def _load(self, sample: _Stored) -> Any:
        """Read and decode a sample."""
        known = {"__key__": sample.key, "__url__": sample.shard}
        if self._wanted is None:
            everything = known | {field: self._value(sample, field) for field in sample.fields}
            return self._transformed(self.transform, everything, sample)
        values = []
        for fields in self._wanted:
            field = next((f for f in fields if f in sample.fields or f in known), None)
            if field is None:
                raise ValueError(
                    f"{sample.shard}!{sample.key}: there is no field {' or '.join(fields)}; it has {sorted(sample.fields)}"
                )
            values.append(known[field] if field in known else self._value(sample, field))
        transforms = [self.transform, self.target_transform]
        values[:2] = [self._transformed(t, v, sample) for t, v in zip(transforms, values, strict=False)]
        return tuple(values)

    def _value(self, sample: _Stored, field: str) -> Any:
        content = sample.read(field)
        try:
            return decoded(field, content, self.decode)
        except Exception as error:
            where = f"{sample.shard}!{sample.key}"
            if self.on_error == "raise":
                raise ValueError(f"{where}: cannot decode field {field!r} of {len(content)} bytes: {error}") from error
            if not self.skipped:
                warnings.warn(f"ShardDataset leaves out {where}: cannot decode field {field!r}: {error}", stacklevel=2)
            self.skipped += 1
            raise SkipSample(where) from error

    def _transformed(self, transform: Callable[[Any], Any] | None, value: Any, sample: _Stored) -> Any:
        if transform is None:
            return value
        try:
            return transform(value)
        except Exception as error:
            error.add_note(f"the sample was {sample.shard}!{sample.key}")
            raise

    def __repr__(self) -> str:
        return f"ShardDataset({len(self.shards)} shards, first {self.shards[0]!r}, shuffle={self.shuffle})"


class _Stored:
    """A sample that lies in a shard; calling it loads it."""

    __slots__ = ("dataset", "fields", "files", "key", "shard")

    def __init__(self, dataset: ShardDataset, files: _OpenFiles, shard: str, key: str) -> None:
        self.dataset = dataset
        self.files = files
        self.shard = shard
        self.key = key
        self.fields: dict[str, Member | bytes] = {}

    def __call__(self) -> Any:
        return self.dataset._load(self)

    def read(self, field: str) -> bytes:
        """The bytes of a field."""
        place = self.fields[field]
        return place if isinstance(place, bytes) else self.files.read(self.shard, place)


class _OpenFiles:
    """The shards that were read from last, held open: on network disks it is opening that takes long."""

    def __init__(self) -> None:
        self.files: OrderedDict[str, IO[bytes]] = OrderedDict()
        self.lock = threading.Lock()  # samples may be loaded in threads

    def read(self, path: str, member: Member) -> bytes:
        """The content of a member of an uncompressed archive."""
        with self.lock:
            file = self.files.pop(path, None) or open(path, "rb", buffering=0)  # noqa: SIM115
            self.files[path] = file
            if len(self.files) > _OPEN:
                self.files.popitem(last=False)[1].close()
            return read_content(file, member, path)

    def __enter__(self) -> _OpenFiles:
        return self

    def __exit__(self, *_: object) -> None:
        with self.lock:
            while self.files:
                self.files.popitem()[1].close()

    __del__ = __exit__  # a sample may be loaded when the stream has ended


def shuffled(samples: Iterator[Any], size: int) -> Iterator[Any]:
    """Samples in random order, each drawn from a buffer of ``size`` that is filled up from ``samples``.

    With ``size`` 0 or 1 the order stays. A sample comes at most ``size - 1`` places earlier than in ``samples``.
    """
    if size < 2:
        yield from samples
        return
    buffer: list[Any] = []
    for sample in samples:
        if len(buffer) < size:
            buffer.append(sample)
            continue
        i = int(current_generator().numpy.integers(size))
        chosen, buffer[i] = buffer[i], sample
        yield chosen
    while buffer:
        i = int(current_generator().numpy.integers(len(buffer)))
        buffer[i], buffer[-1] = buffer[-1], buffer[i]
        yield buffer.pop()


def split_name(name: str) -> tuple[str, str]:
    """The key and the field of a file in an archive; field "" if it is not part of a sample.

    Example:
        >>> split_name("cats/01.left.JPG")
        ('cats/01', 'left.jpg')
    """
    folder, slash, base = name.rpartition("/")
    stem, _, field = base.partition(".")
    first = name.partition("/")[0]
    if not stem or (first.startswith("__") and first.endswith("__") and len(first) >= 4):
        return "", ""
    return folder + slash + stem, field.lower()


def decoded(
    field: str,
    content: bytes,
    decode: str | Mapping[str, Callable[[bytes], Any]] | Callable[[str, bytes], Any] | None = "pil",
) -> Any:
    """The value of a field, as ``decode`` of ``ShardDataset`` says."""
    if decode is None:
        return content
    kind = field.rpartition(".")[2]
    if isinstance(decode, Mapping):
        own = decode.get(field) or decode.get(kind)
        if own is not None:
            return own(content)
    elif callable(decode):
        value = decode(field, content)
        if value is not None:
            return value
    if kind in IMAGES:
        with Image.open(io.BytesIO(content)) as image:
            return image.convert(_MODES[decode if isinstance(decode, str) else "pil"])
    if kind in ("cls", "cls2", "index", "inx", "id"):
        return int(content)
    if kind in ("txt", "text", "transcript"):
        return content.decode("utf-8")
    if kind in ("json", "jsn"):
        return json.loads(content)
    if kind == "npy":
        return np.load(io.BytesIO(content), allow_pickle=False)
    return content
