"""Tensors in a file, in the safetensors format: names, shapes and numbers, and nothing that could run."""

from __future__ import annotations

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
    """Read the Tensors of a safetensors file: name → Tensor.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a safetensors file, or damaged; the message names the path.
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
            return {n: Tensor.wrap(backend.from_numpy(file.get_tensor(n))) for n in names}, dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)} is not a safetensors file, or is damaged: {error}") from error
