"""Reads PyTorch's files (.pth, .pt, .th) without PyTorch, and without running the pickle in them.

Two forms: since PyTorch 1.6 a zip archive with one pickle and a member for each storage; before that several pickles one after
the other, and the storages behind them.
"""

from __future__ import annotations

import errno
import io
import math
import os
import struct
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minidl.io.safe_pickle import Machine, Name, RefusedError, array_of, brief, read_from

_DTYPES = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "BFloat16Storage": "bf16", "LongStorage": "i8",
    "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip
_TENSORS = {Name("torch._utils", "_rebuild_tensor"), Name("torch._utils", "_rebuild_tensor_v2")}
REPEATED = 1 << 20  # numbers that a tensor may have which shows some of its storage's more than once
_SCALAR = {Name(f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")}
_MAGIC = 0x1950A86A20F9469CFC6C


class _Storage(NamedTuple):
    key: str
    dtype: str
    length: int


class _TensorSpec(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _TorchMachine(Machine):
    """Knows OrderedDicts, the tensors of a state dict, and NumPy's single numbers, such as an accuracy beside it."""

    known = {
        Name("collections", "OrderedDict"),
        *_TENSORS,
        *_SCALAR,
        Name("torch._utils", "_rebuild_parameter"),
        Name("torch", "Size"),
        *(Name("torch", storage) for storage in _DTYPES),
    }

    def persistent(self, identity: Any) -> Any:
        """('storage', kind, key, location, length[, view])."""
        what, kind, key, _, count, *view = identity
        if (
            what != "storage"
            or not isinstance(kind, Name)
            or kind.attribute not in _DTYPES
            or (view and view[0] is not None)
        ):
            raise RefusedError(f"a persistent id {brief(identity)} is not that of a storage")
        return _Storage(_key(key), _DTYPES[kind.attribute], int(count))

    def reduce(self, name: Name, arguments: Any) -> Any:
        if name == Name("collections", "OrderedDict") and (arguments == () or type(arguments[0]) is list):
            return self.ordered(arguments[0] if arguments else [])
        if name == Name("torch", "Size") and len(arguments) == 1:
            return tuple(arguments[0])
        if name in _TENSORS and isinstance(arguments[0], _Storage):
            storage, offset, size, stride = arguments[:4]
            if len(size) != len(stride) or not all(type(n) is int for n in (offset, *size, *stride)):
                raise RefusedError(
                    f"a tensor with offset {brief(offset)}, size {brief(size)} and stride {brief(stride)}"
                )
            return _TensorSpec(storage, offset, tuple(size), tuple(stride))
        if name == Name("torch._utils", "_rebuild_parameter") and isinstance(arguments[0], _TensorSpec):
            return arguments[0]
        if name in _SCALAR:
            dtype, values = arguments
            return array_of((), dtype, False, values)[()]
        return super().reduce(name, arguments)

    def ordered(self, pairs: list[Any]) -> dict[Any, Any]:
        """Key and value of each; Python 2 wrote OrderedDicts so, Python 3 sets the items of an empty one."""
        self.stack.append({})
        self.set_items([x for key, value in pairs for x in (key, value)])
        return self.stack.pop()

    def build(self, thing: Any, state: Any) -> None:
        if type(thing) is dict:  # attributes of an OrderedDict: a state dict's ``_metadata``
            self.stack.append(thing)
        else:
            super().build(thing, state)


def load_torch(path: str | os.PathLike[str]) -> Any:
    """Return what is in the file: as a rule a dict of NumPy arrays, perhaps within other dicts.

    bfloat16 becomes float32. Nothing in the file is run: what is no plain data or tensor is refused.

    Raises:
        ValueError: if the file is damaged, cut off, or holds anything else (a whole pickled module, say).
    """
    try:
        if zipfile.is_zipfile(path):
            return _from_zip(path)
        with open(path, "rb") as file:
            if file.read(2) == b"PK":
                raise ValueError(f"{os.fspath(path)}: the file is cut off (a zip archive without its end)")
        return _from_pickles(path)
    except (FileNotFoundError, PermissionError, IsADirectoryError, MemoryError):
        raise
    except Exception as error:  # zipfile, zlib, a key or a type that does not fit: the file is not what it should be
        if isinstance(error, ValueError) and os.fspath(path) in str(error):
            raise
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: zipfile looks before the beginning
            raise
        raise ValueError(f"{os.fspath(path)}: damaged ({type(error).__name__}: {error})") from error


def _from_zip(path: str | os.PathLike[str]) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("data.pkl")]
        if len(names) != 1:
            raise ValueError(f"{os.fspath(path)}: no PyTorch file (a zip archive without data.pkl)")
        folder = names[0].removesuffix("data.pkl")
        byteorder = archive.read(f"{folder}byteorder") if f"{folder}byteorder" in archive.namelist() else b"little"
        order = ">" if byteorder == b"big" else "<"
        content = read_from(io.BytesIO(archive.read(names[0])), path, _TorchMachine())
        seen: dict[str, _Storage] = {}
        read: dict[str, np.ndarray] = {}

        def storage(wanted: _Storage) -> np.ndarray:
            _agree(seen.setdefault(wanted.key, wanted), wanted, path)
            if wanted.key not in read:
                read[wanted.key] = _numbers(archive.read(f"{folder}data/{wanted.key}"), wanted, order, path)
            return read[wanted.key]

        return _resolve(content, lambda spec: _array(spec, storage(spec.storage), path), path, {})


def _from_pickles(path: str | os.PathLike[str]) -> Any:
    with open(path, "rb") as file:
        magic = read_from(file, path, Machine())
        if magic != _MAGIC:
            raise ValueError(f"{os.fspath(path)}: no PyTorch file (its first value should be {_MAGIC:#x})")
        read_from(file, path, Machine())  # the protocol's version
        system = read_from(file, path, Machine())
        content = read_from(file, path, _TorchMachine())
        keys = read_from(file, path, Machine())
        order = "<" if not isinstance(system, dict) or system.get("little_endian", True) else ">"
        rest = file.read()
    specs: dict[str, _Storage] = {}

    def look(spec: _TensorSpec) -> None:
        _agree(specs.setdefault(spec.storage.key, spec.storage), spec.storage, path)

    _resolve(content, look, path, {})
    storages: dict[str, np.ndarray] = {}
    at = 0
    for key in keys:
        wanted = specs.get(_key(key))
        if wanted is None:
            raise ValueError(f"{os.fspath(path)}: the storage {key} belongs to no tensor")
        if len(rest) < at + 8:
            raise ValueError(f"{os.fspath(path)}: the file is cut off before storage {key}")
        (count,) = struct.unpack_from(f"{order}q", rest, at)
        size = count * (2 if wanted.dtype == "bf16" else np.dtype(wanted.dtype).itemsize)
        storages[_key(key)] = _numbers(rest[at + 8 : at + 8 + size], wanted._replace(length=count), order, path)
        at += 8 + size
    if lost := sorted(specs.keys() - storages.keys()):
        raise ValueError(f"{os.fspath(path)}: the storages {', '.join(lost)} are not in the file")
    return _resolve(content, lambda spec: _array(spec, storages[spec.storage.key], path), path, {})


def _key(key: Any) -> str:
    if type(key) not in (str, int):
        raise RefusedError(f"the key of a storage is a {type(key).__name__}")
    return str(key)


def _agree(first: _Storage, other: _Storage, path: Any) -> None:
    if first != other:
        raise ValueError(f"{os.fspath(path)}: storage {first.key} is said to be {first[1:]} and {other[1:]}")


def _numbers(content: bytes, wanted: _Storage, order: str, path: Any) -> np.ndarray:
    plain = np.dtype(f"{order}u2" if wanted.dtype == "bf16" else f"{order}{wanted.dtype}")
    if len(content) < wanted.length * plain.itemsize:
        needed = wanted.length * plain.itemsize
        raise ValueError(f"{os.fspath(path)}: cut off: storage {wanted.key} has {len(content)} bytes of {needed}")
    numbers = np.frombuffer(content, plain, count=wanted.length)
    if wanted.dtype == "bf16":  # the upper half of a float32
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.astype(plain.newbyteorder("="), copy=False)


def _array(spec: _TensorSpec, numbers: np.ndarray, path: Any) -> np.ndarray:
    """A tensor, of memory of its own."""
    _, offset, size, stride = spec
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if 0 not in size else -1
    if offset < 0 or min(stride, default=0) < 0 or min(size, default=0) < 0 or last >= len(numbers):
        raise ValueError(
            f"{os.fspath(path)}: a tensor of shape {size} reaches beyond its storage of {len(numbers)} numbers"
        )
    if math.prod(size) > max(len(numbers), REPEATED):  # or a small file could ask for any amount of memory
        raise ValueError(f"{os.fspath(path)}: a tensor of shape {size} repeats its storage of {len(numbers)} numbers")
    strides = [s * numbers.itemsize for s in stride]
    return np.lib.stride_tricks.as_strided(numbers[offset:], size, strides).copy()


def _resolve(x: Any, tensor: Callable[[_TensorSpec], Any], path: Any, known: dict[int, Any]) -> Any:
    """The same structure with what ``tensor`` makes of the tensors' descriptions in their place.

    What is referred to more than once is resolved once (``known``: by id), or a small file could ask for any amount of time.
    """
    if x is None or isinstance(x, (bool, int, float, str, bytes, np.ndarray, np.generic)):
        return x
    if id(x) in known:
        return known[id(x)]
    if isinstance(x, _TensorSpec):
        resolved = tensor(x)
    elif isinstance(x, dict):
        resolved = {key: _resolve(value, tensor, path, known) for key, value in x.items()}
    elif type(x) in (list, tuple):
        resolved = type(x)([_resolve(value, tensor, path, known) for value in x])
    else:
        raise ValueError(f"{os.fspath(path)}: holds a {type(x).__name__.strip('_')} where data or a tensor should be")
    known[id(x)] = resolved
    return resolved
