"""Features: what a network computes inside, for every sample of a loader, kept on disk if wanted."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from tqdm import tqdm

from minidl import nn
from minidl.autograd.mode import no_grad
from minidl.data import RandomSampler, SubsetRandomSampler, WeightedRandomSampler
from minidl.io.safetensors import load_with_metadata, save
from minidl.nn.utils import evaluating
from minidl.ops.joining import cat
from minidl.tensor import Tensor
from minidl.transfer.heads import find_head

_KEY = "minidl.features"


@no_grad()
def features(
    model: nn.Module, loader: Any, layer: str | None = None, cache: str | os.PathLike[str] | None = None
) -> tuple[Tensor, Tensor]:
    """Compute the features of every sample of a loader, in evaluation mode and without gradients.

    Args:
        model: the network; its mode is put back afterwards. Inputs are moved to the device of its parameters.
        loader: gives batches (inputs, labels). Shuffled or not: labels come along.
        layer: the path of a module, such as "layer3" or "features.13": its output is taken, as it is. ``.flatten(1)`` makes rows
            of it, ``.mean((2, 3))`` averages over the image. Default: the input of the head (see ``find_head``), as a rule of
            shape (N, D).
        cache: a safetensors file to keep the result in, and to take it from the next time.

    Returns:
        ``(features, labels)``, both on the CPU, with the samples in the loader's order.

    The file is used if it was made with the same network (the class and settings of every layer, and a digest of all weights and
    running statistics), the same layer, and data with the same number of samples and batches and the same first batch, number
    for number, so also the same transforms, batch size and beginning of the order. Of a loader that is a list or tuple, all
    batches are compared; of a ``sampler`` or ``batch_sampler`` that is a sequence, all indices. Otherwise everything is computed
    again and the file written anew, atomically. **Not noticed**: samples of a dataset that differ behind the first batch, an
    order that another kind of sampler changes there, and what a ``forward`` does by other means than its layers. To be sure,
    delete the file.

    With random transforms the file holds one draw, that of the loader's seed and epoch. Give the loader a seed, or no second call
    will find the first batch as it was.

    Raises:
        ValueError: if there is no such layer (close names are suggested); if there are no batches, or these are no pairs; if
            ``cache`` is given for a loader that shuffles, whose order changes; or if the file is there and is something else.
        RuntimeError: if the layer did not run, or more than once, for a batch.
        TypeError: if its output is no Tensor.

    Example:
        >>> x, y = features(model, DataLoader(dataset, 32), cache="runs/features.safetensors")  # doctest: +SKIP
        >>> LinearSVC().fit(x, y).score(x, y)  # doctest: +SKIP
    """
    watched: nn.Module
    if layer is None:
        path, watched = find_head(model)
        name = f"input of {path or 'the model'}"
    else:
        watched, name = _submodule(model, layer), f"output of {layer}"
    if cache is not None:
        _refuse_shuffling(loader)
    batches = _pairs(loader)
    first = next(batches, None)
    if first is None:
        raise ValueError("features: the loader has no batches")
    key: dict[str, Any] = {}
    if cache is not None:
        key = _key(model, loader, name, first)
        if (found := _look_up(cache, key)) is not None:
            return found
    device = next((p.device for p in model.parameters()), None)
    rows, labels = [], []
    total = _length(loader)
    with evaluating(model), _watching(watched, before=layer is None) as seen:
        # The bar is shown on a terminal only.
        for x, y in tqdm(_chain(first, batches), desc="features", total=total, leave=False, disable=None):
            seen.clear()
            model(x if device is None else x.to(device))
            if len(seen) != 1:
                raise RuntimeError(f"features: expected {name} once for a batch, it came {len(seen)} times")
            rows.append(seen[0].cpu())
            labels.append(y.cpu())
    result = cat(rows), cat(labels)
    if cache is not None:
        save({"features": result[0], "labels": result[1]}, cache, metadata={_KEY: json.dumps(key)})
    return result


@contextmanager
def _watching(module: nn.Module, before: bool) -> Iterator[list[Tensor]]:
    """A list that gets a copy of the module's input or output at each call. (A copy: a later layer may write in place.)"""
    seen: list[Tensor] = []

    def keep(value: Any) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"features: expected a Tensor, {type(module).__name__} has {type(value).__name__}")
        seen.append(value.detach().clone())

    if before:
        handle = module.register_forward_pre_hook(lambda _, args: keep(args[0]))
    else:
        handle = module.register_forward_hook(lambda _, args, output: keep(output))
    try:
        yield seen
    finally:
        handle.remove()


def _submodule(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError:
        close = difflib.get_close_matches(path, [name for name, _ in model.named_modules() if name], n=3, cutoff=0.5)
        hint = (
            f"did you mean {' or '.join(close)}?"
            if close
            else f"it has {', '.join(n for n, _ in model.named_children())}"
        )
        raise ValueError(f"features: {type(model).__name__} has no layer {path!r}; {hint}") from None


def _pairs(loader: Iterable[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in loader:
        pair = tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
        if len(pair) != 2 or not all(isinstance(part, Tensor) for part in pair):
            kinds = ", ".join(type(part).__name__ for part in pair)
            raise ValueError(f"features: expected batches (inputs, labels) of two Tensors, got ({kinds})")
        yield pair


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _length(loader: Any) -> int | None:
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None


# -- the file ----------------------------------------------------------------------------------------------------------


def _refuse_shuffling(loader: Any) -> None:
    """ValueError if the loader is known to give another order each time."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    for sampler in (getattr(loader, "sampler", None), getattr(batch_sampler, "sampler", None)):
        if isinstance(sampler, (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)):
            raise ValueError(
                "features: with cache, the loader must give its samples in the same order every time; this one shuffles "
                f"({type(sampler).__name__}). Make it with shuffle=False: whoever learns from the features can shuffle them."
            )


def _key(model: nn.Module, loader: Any, layer: str, first: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """What must be the same for a file to be used."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    inner = getattr(batch_sampler, "sampler", None)
    shown = _pairs(loader) if isinstance(loader, (list, tuple)) else [first]
    return {
        "version": 2,
        "network": _digest([("", np.frombuffer(repr(model).encode(), np.uint8))]),
        "weights": _digest((name, t.backend.to_numpy(t.array)) for name, t in model.state_dict().items()),
        "layer": layer,
        "samples": _length(getattr(loader, "dataset", None)),
        "batches": _length(loader),
        "drop_last": bool(getattr(loader, "drop_last", False)),
        "order": [_order(s) for s in (getattr(loader, "sampler", None), batch_sampler, inner)],
        "first batches": _digest((str(i), t.backend.to_numpy(t.array)) for pair in shown for i, t in enumerate(pair)),
    }


def _order(sampler: Any) -> str | int | None:
    """What is known of a sampler: a digest of its indices if it is a sequence, else its length."""
    if isinstance(sampler, (Sequence, np.ndarray)):
        return hashlib.sha256(repr(list(sampler)).encode()).hexdigest()
    return _length(sampler)


def _digest(arrays: Iterable[tuple[str, np.ndarray]]) -> str:
    """SHA-256 of named arrays: names, dtypes, shapes and numbers."""
    digest = hashlib.sha256()
    for name, array in arrays:
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _look_up(path: str | os.PathLike[str], key: dict[str, Any]) -> tuple[Tensor, Tensor] | None:
    if not os.path.exists(path):
        return None
    try:
        tensors, metadata = load_with_metadata(path)
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(
            f"features: cache={os.fspath(path)!r} cannot be read; delete it, or name another file: {error}"
        ) from error
    if _KEY not in metadata:
        raise ValueError(
            f"features: cache={os.fspath(path)!r} is a file of something else, and is left alone; name another"
        )
    return (tensors["features"], tensors["labels"]) if json.loads(metadata[_KEY]) == key else None
