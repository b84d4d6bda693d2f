"""PyTorch's files, made without PyTorch: the opcodes of their pickles one by one, and the storages beside or behind them."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
STORAGES = {"f8": "Double", "f4": "Float", "f2": "Half", "i8": "Long", "i4": "Int", "i2": "Short", "i1": "Char", "u1": "Byte",
            "b1": "Bool"}  # fmt: skip


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def many(*parts: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(parts) + b"t"


def integers(values: Sequence[int]) -> bytes:
    return many(*(integer(v) for v in values))


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + many(*arguments) + b"R"


def storage(kind: str, key: str, count: int) -> bytes:
    return many(text("storage"), f"ctorch\n{kind}Storage\n".encode(), text(key), text("cpu"), integer(count)) + b"Q"


def tensor(
    kind: str, key: str, count: int, size: Sequence[int], stride: Sequence[int], offset: int = 0, legacy: bool = False
) -> bytes:
    """A tensor as seen through size and stride (in numbers) on a storage; in the form of before PyTorch 0.4 if ``legacy``."""
    place = storage(kind, key, count), integer(offset), integers(size), integers(stride)
    if legacy:
        return call("torch._utils", "_rebuild_tensor", *place)
    return call("torch._utils", "_rebuild_tensor_v2", *place, b"\x89", call("collections", "OrderedDict"))


def ordered(items: Mapping[str, bytes]) -> bytes:
    """An OrderedDict, as Python 3 writes it."""
    return call("collections", "OrderedDict") + b"(" + b"".join(text(k) + v for k, v in items.items()) + b"u"


def pickled(value: bytes) -> bytes:
    return b"\x80\x02" + value + b"."


def zipped(value: bytes, storages: Mapping[str, bytes], byteorder: bytes | None = b"little") -> bytes:
    """The form since PyTorch 1.6."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("some/data.pkl", pickled(value))
        if byteorder is not None:
            archive.writestr("some/byteorder", byteorder)
        for key, content in storages.items():
            archive.writestr(f"some/data/{key}", content)
        archive.writestr("some/version", b"3\n")
    return file.getvalue()


def chained(value: bytes, storages: Mapping[str, tuple[int, bytes]], system: object = SYSTEM) -> bytes:
    """The form before: five pickles, then for each storage its length in numbers, and its bytes."""
    head = pickle.dumps(MAGIC, 2) + pickle.dumps(1001, 2) + pickle.dumps(system, 2)
    order = "<" if system == SYSTEM else ">"
    numbers = b"".join(struct.pack(f"{order}q", count) + content for count, content in storages.values())
    return head + pickled(value) + pickle.dumps(sorted(storages), 2) + numbers


def of_arrays(arrays: Mapping[str, np.ndarray], legacy: bool = False) -> bytes:
    """A file with a state dict; every array has a storage of its own."""
    parts: dict[str, bytes] = {}
    contents: dict[str, tuple[int, bytes]] = {}
    for number, (name, array) in enumerate(arrays.items()):
        kind, key = STORAGES[array.dtype.str[1:]], f"{number:05}"
        stride = [s // array.itemsize for s in np.ascontiguousarray(array).strides] if array.ndim else []
        parts[name] = tensor(kind, key, array.size, array.shape, stride, legacy=legacy)
        contents[key] = array.size, array.tobytes()
    if legacy:
        return chained(ordered(parts), contents)
    return zipped(ordered(parts), {key: content for key, (_, content) in contents.items()})


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
