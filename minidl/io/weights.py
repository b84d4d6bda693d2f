"""Weights from a file, whoever wrote it."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from minidl.io.safetensors import load
from minidl.io.torch_file import load_torch
from minidl.tensor import Tensor

_NESTED = ("state_dict", "model_state_dict", "model")  # where checkpoints keep the weights


def load_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a state dict from a file: .safetensors; PyTorch's .pth, .pt or .th; or NumPy's .npz.

    bfloat16 becomes float32. Of a checkpoint that holds more, the state dict is taken. The prefix ``module.``, which PyTorch's
    DataParallel adds to every name, is removed. Nothing in the file is run.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has another ending, is damaged, or holds no state dict: names, each with a tensor of real numbers.

    Example:
        >>> state = load_weights("resnet20-12fca82f.th")  # doctest: +SKIP
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    ending = path.suffix.lower()
    if ending == ".safetensors":
        found: Any = load(path)
    elif ending in (".pth", ".pt", ".th"):
        found = load_torch(path)
    elif ending == ".npz":
        try:
            with np.load(path, allow_pickle=False) as archive:
                found = {name: archive[name] for name in archive.files}
        except (ValueError, OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path}: damaged, or no .npz file ({error})") from error
    else:
        raise ValueError(f"{path}: expected a file .safetensors, .pth, .pt, .th or .npz, got {ending or 'no ending'!r}")
    for name in _NESTED:
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
            break
    if not isinstance(found, dict) or not found or not all(isinstance(v, (np.ndarray, Tensor)) for v in found.values()):
        kinds = sorted({type(v).__name__ for v in found.values()}) if isinstance(found, dict) else type(found).__name__
        raise ValueError(f"{path}: expected names with a tensor each, found {kinds}")
    for name, value in found.items():
        if not isinstance(name, str):
            raise ValueError(f"{path}: expected a name for each tensor, found {name!r}")
        if value.dtype.kind not in "biuf":
            raise ValueError(f"{path}: expected numbers in {name!r}, found the dtype {value.dtype}")
    if all(name.startswith("module.") for name in found):
        found = {name.removeprefix("module."): value for name, value in found.items()}
    return {name: value if isinstance(value, Tensor) else Tensor.wrap(value) for name, value in found.items()}
