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


def save(tensors: Mapping[str, Any], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
    """Write named Tensors (such as a ``state_dict()``) or arrays to a safetensors file, atomically.

    Args:
        tensors: name → Tensor or NumPy array.
        metadata: further text to keep in the file: name → string.

    Raises:
        TypeError: if a value is neither a Tensor nor an array; the message names it.

    Example:
        >>> minidl.save(model.state_dict(), "model.safetensors")
    """
    arrays = {}
    for name, value in tensors.items():
        if isinstance(value, Tensor):
            value = value.backend.to_numpy(value.array)
        if not isinstance(value, np.ndarray):
            raise TypeError(f"save: expected a Tensor or array for {name!r}, got {type(value).__name__}")
        arrays[name] = np.ascontiguousarray(value).reshape(value.shape)
    with atomic_write(path) as temporary:
        save_file(arrays, str(temporary), metadata=dict(metadata) if metadata else None)


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
