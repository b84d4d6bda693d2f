"""A whole training state in one safetensors file: numbers as Tensors, everything else as JSON beside them."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from minidl.io.safetensors import load_with_metadata, save
from minidl.ops.creation import from_numpy
from minidl.tensor import Tensor

_KEY = "minidl.checkpoint"


def save_checkpoint(state: Any, path: str | os.PathLike[str]) -> None:
    """Write nested dicts, lists and tuples of Tensors, NumPy arrays, numbers, strings, booleans and None, atomically.

    Raises:
        TypeError: for anything else, also as a key of a dict; the message names it.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _pack(state, "", tensors)
    save(tensors, path, metadata={_KEY: json.dumps(skeleton)})


def load_checkpoint(path: str | os.PathLike[str], device: Any = None) -> Any:
    """Read what ``save_checkpoint`` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        IsADirectoryError: if it is a folder.
        ValueError: if it is damaged, or not a checkpoint.
    """
    if os.path.isdir(path):
        raise IsADirectoryError(f"{os.fspath(path)} is a folder; a checkpoint is a file")
    tensors, metadata = load_with_metadata(path, device)
    if _KEY not in metadata:
        raise ValueError(f"{os.fspath(path)} holds Tensors, but is not a checkpoint of a training run")
    try:
        return _unpack(json.loads(metadata[_KEY]), tensors)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{os.fspath(path)} is damaged: its text is not that of a checkpoint ({type(error).__name__}: {error})"
        ) from error


def _pack(x: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Replace Tensors by their names, and mark what JSON would not give back as it was."""
    if isinstance(x, Tensor):
        return {"$tensor": _add(x.detach(), path, tensors)}
    if isinstance(x, (np.ndarray, np.generic)) and x.dtype.kind in "biuf" and x.dtype.itemsize <= 8:
        # With its dtype: a schedule whose factor is a float32 goes on with the same roundings.
        return {"$numpy": _add(from_numpy(np.array(x, x.dtype.newbyteorder("="))), path, tensors)}
    if isinstance(x, dict):
        for k in x:
            if not (k is None or isinstance(k, (bool, int, float, str))):
                raise TypeError(
                    f"checkpoint: cannot store {path or 'the state'}: its key {k!r} is of type {type(k).__name__}, "
                    "and should be a string, number, boolean or None"
                )
        return {"$dict": [[k, _pack(v, f"{path}.{k}" if path else str(k), tensors)] for k, v in x.items()]}
    if isinstance(x, (list, tuple)):
        items = [_pack(v, f"{path}.{i}", tensors) for i, v in enumerate(x)]
        return {"$tuple": items} if isinstance(x, tuple) else items
    if x is None or isinstance(x, (bool, int, float, str)):
        return x
    raise TypeError(f"checkpoint: cannot store {path or 'the state'} of type {type(x).__name__}")


def _add(tensor: Tensor, path: str, tensors: dict[str, Tensor]) -> str:
    """Add a Tensor, and return its name: the path, with a number if that is taken ("a.b" may be in "a", or a key itself)."""
    name, number = path, 1
    while name in tensors or name == "__metadata__":  # the format's own
        number += 1
        name = f"{path}#{number}"
    tensors[name] = tensor
    return name


def _unpack(x: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(x, list):
        return [_unpack(v, tensors) for v in x]
    if isinstance(x, dict):
        ((kind, content),) = x.items()
        if kind == "$tensor":
            return tensors[content]
        if kind == "$numpy":
            return tensors[content].cpu().numpy()[()]  # a scalar where the array has no dimensions
        if kind == "$tuple":
            return tuple(_unpack(v, tensors) for v in content)
        return {k: _unpack(v, tensors) for k, v in content}
    return x
