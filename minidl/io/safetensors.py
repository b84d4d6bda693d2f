"""Tensors in a file, in the safetensors format: names, shapes and numbers, and nothing that could run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from minidl.backend import backend_for
from minidl.io.atomic import atomic_write
from minidl.tensor import Tensor

_DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "bfloat16", "float32", "float64", "complex64",
)  # fmt: skip


def save(tensors: Mapping[str, Any], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
    """Write named Tensors (such as a ``state_dict()``) or arrays to a safetensors file, atomically.

    Args:
        tensors: name → Tensor or NumPy array.
        metadata: further text to keep in the file: name → string.

    Raises:
        TypeError: if a value is neither a Tensor nor an array, or of a dtype that such files do not have, or a name is no
            string; the message names it and the path.
        OSError: if the file cannot be written, such as on a full disk; the message has the path.

    Example:
        >>> minidl.save(model.state_dict(), "model.safetensors")
    """
    where = f"save to {os.fspath(path)}"
    if not isinstance(tensors, Mapping):
        raise TypeError(f"{where}: expected a dict of names and Tensors, got {type(tensors).__name__}")
    arrays = {}
    for name, value in tensors.items():
        if not isinstance(name, str):
            raise TypeError(f"{where}: expected a string for each name, got {name!r}")
        if isinstance(value, Tensor):
            value = value.backend.to_numpy(value.array)
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{where}: expected a Tensor or array for {name!r}, got {type(value).__name__}")
        if value.dtype.name not in _DTYPES:
            raise TypeError(f"{where}: {name!r} is of dtype {value.dtype}, expected one of {', '.join(_DTYPES)}")
        arrays[name] = np.ascontiguousarray(value).reshape(value.shape)
    with atomic_write(path) as temporary:
        try:
            save_file(arrays, str(temporary), metadata=dict(metadata) if metadata else None)
        except SafetensorError as error:
            raise OSError(f"{where}: the file cannot be written: {error}") from error


def load(path: str | os.PathLike[str], device: Any = None) -> dict[str, Tensor]:
    """Read the Tensors of a safetensors file: name → Tensor. bfloat16 becomes float32.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a safetensors file, or damaged, or holds numbers that NumPy does not know (of 8 bits, say); the
            message names the path.
    """
    return load_with_metadata(path, device)[0]


def load_with_metadata(path: str | os.PathLike[str], device: Any = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """As ``load``, together with the text kept beside the Tensors."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no such file: {os.fspath(path)}")
    backend = backend_for(device)
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            names = file.keys()
            tensors = {name: Tensor.wrap(backend.from_numpy(_array(file, name, path))) for name in names}
            return tensors, dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)} is not a safetensors file, or is damaged: {error}") from error


def _array(file: Any, name: str, path: str | os.PathLike[str]) -> np.ndarray:
    kind = file.get_slice(name).get_dtype()
    if kind == "BF16":
        return _bfloat16(name, path)
    try:
        return file.get_tensor(name)
    except (AttributeError, TypeError) as error:  # what looking for the dtype in NumPy ends with
        raise ValueError(f"{os.fspath(path)}: {name!r} is of dtype {kind}, which NumPy does not have") from error


def _bfloat16(name: str, path: str | os.PathLike[str]) -> np.ndarray:
    """The file begins with the length of its header, 8 bytes, and the header, which says where the numbers are behind it."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
        begin, end = entry["data_offsets"]
        file.seek(8 + length + begin)
        upper_halves = np.frombuffer(file.read(end - begin), "<u2")
    return (upper_halves.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])
