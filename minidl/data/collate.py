"""From a list of samples to a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidl.data.shared import new_batch
from minidl.tensor import Tensor


def default_collate(batch: Sequence[Any]) -> Any:
    """Put samples together to a batch.

    Tensors, NumPy arrays and numbers become a Tensor with a new dimension 0 that runs over the samples (Python floats
    become float64 and integers int64, arrays keep their dtype). Dicts, named tuples, tuples and lists are collated part
    by part, where plain tuples and lists become a list. Strings and bytes stay a list.

    Raises:
        RuntimeError: if shapes, lengths or dict keys differ between samples; the message names the first two that do.
        TypeError: if a sample is of no such type, or of another than the first; the message says which.
        OverflowError: if an integer does not fit into 64 bits.

    Example:
        >>> default_collate([(minidl.zeros(2), 5), (minidl.ones(2), 6)])
        [tensor([[0., 0.],
                [1., 1.]]), tensor([5, 6])]
    """
    return _collate(batch, "")


def _collate(batch: Sequence[Any], where: str) -> Any:
    first = batch[0]
    if isinstance(first, (str, bytes)):  # NumPy's too
        return list(batch)
    if isinstance(first, Tensor):
        _check_kind(batch, Tensor, where)
        _check_equal([tuple(t.shape) for t in batch], "shape", where)
        if type(first.array) is np.ndarray:
            return Tensor.wrap(_stack([t.array for t in batch]))
        return Tensor.wrap(first.backend.stack([t.array for t in batch]))
    if set(map(type, batch)) <= {float, int, bool}:
        return Tensor.wrap(_numbers(batch, where))
    if isinstance(first, (np.ndarray, np.generic, float, int)):
        _check_kind(batch, (np.ndarray, np.generic, float, int, Tensor), where)
        arrays = [np.asarray(a) for a in batch]
        for a in arrays:
            if a.dtype.kind not in "biuf":
                raise TypeError(f"default_collate: cannot make a Tensor of dtype {a.dtype}{where}")
        _check_equal([a.shape for a in arrays], "shape", where)
        return Tensor.wrap(_stack(arrays))
    if isinstance(first, Mapping):
        _check_equal([set(sample) for sample in batch], "keys", where)
        parts = {key: _collate([sample[key] for sample in batch], f"{where} at key {key!r}") for key in first}
        try:
            return type(first)(parts)  # type: ignore[call-arg]
        except TypeError:
            return parts  # a mapping that is not made from a dict
    if isinstance(first, Sequence):
        _check_equal([len(sample) for sample in batch], "length", where)
        fields = [_collate(field, f"{where} at position {i}") for i, field in enumerate(zip(*batch, strict=True))]
        return type(first)(*fields) if hasattr(first, "_fields") else fields
    raise TypeError(
        "default_collate: batch must contain Tensors, numpy arrays, numbers, strings, dicts, tuples or lists; "
        f"found {type(first).__module__}.{type(first).__name__}{where}. Give the DataLoader a collate_fn for it."
    )


def _numbers(batch: Sequence[Any], where: str) -> np.ndarray:
    kinds = set(map(type, batch))
    dtype = np.float64 if float in kinds else np.int64 if int in kinds else np.bool_
    try:  # without the dtype NumPy would make objects, or float64, of integers that are too large
        return np.array(batch, dtype)
    except OverflowError as error:
        largest = max(batch, key=abs)
        raise OverflowError(f"default_collate: {largest} is too large for {dtype.__name__}{where}") from error


def _stack(arrays: Sequence[Any]) -> np.ndarray:
    """``np.stack``; in a worker into the memory that the batch is sent in, where that has room."""
    dtype = arrays[0].dtype
    alike = all(a.dtype == dtype for a in arrays)
    return np.stack(arrays, out=new_batch((len(arrays), *arrays[0].shape), dtype) if alike else None)


def _check_kind(batch: Sequence[Any], kind: Any, where: str) -> None:
    for i, sample in enumerate(batch):
        if not isinstance(sample, kind):
            raise TypeError(
                f"default_collate: samples of one batch must be of one kind, but got {type(batch[0]).__name__} in sample 0 "
                f"and {type(sample).__name__} in sample {i} of the batch{where}. Make them equal, or give the DataLoader a "
                "collate_fn."
            )


def _check_equal(values: list[Any], what: str, where: str) -> None:
    for i, value in enumerate(values):
        if value != values[0]:
            raise RuntimeError(
                f"default_collate: samples of one batch must have equal {what}, but got {values[0]} in sample 0 "
                f"and {value} in sample {i} of the batch{where}. Make them equal, or give the DataLoader a collate_fn."
            )


def default_convert(data: Any) -> Any:
    """Make Tensors of the NumPy arrays in a sample or a batch, sharing memory, and leave everything else as it is."""
    if isinstance(data, (np.ndarray, np.generic)) and data.dtype.kind in "biuf":
        return Tensor.wrap(np.asarray(data))
    if isinstance(data, Mapping):
        return {key: default_convert(value) for key, value in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(default_convert, data))
    if isinstance(data, (list, tuple)):
        return [default_convert(x) for x in data]
    return data
