"""Putting elements in order."""

from __future__ import annotations

from typing import Any

from minidl.ops.base import backend_of_any, raw
from minidl.ops.gathering import gather
from minidl.ops.indexing import getitem
from minidl.ops.reduction import Values
from minidl.ops.shape import normalize_dim
from minidl.tensor import Tensor

FEW = 4  # times as many elements as are asked for: then to find them is faster than to sort everything


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The indices (int64) that sort along ``dim``; equal elements keep their order."""
    xp = backend_of_any(input)
    if input.ndim == 0:
        normalize_dim(dim, 0)
        return Tensor.wrap(xp.zeros((), dtype=xp.int64))
    dim = normalize_dim(dim, input.ndim)
    array = raw(input)
    if not descending:
        return Tensor.wrap(xp.argsort(array, axis=dim, kind="stable"))
    backwards = xp.argsort(xp.flip(array, dim), axis=dim, kind="stable")  # so that equals keep their order this way too
    return Tensor.wrap(array.shape[dim] - 1 - xp.flip(backwards, dim))


def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """The elements in order along ``dim``, and the indices they had: (values, indices)."""
    indices = argsort(input, dim, descending)
    return Values(gather(input, dim, indices), indices)


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The ``k`` largest (or smallest) elements along ``dim``, in order, and their indices: (values, indices)."""
    dim = normalize_dim(dim, input.ndim)
    if not 0 <= k <= (input.shape[dim] if input.ndim else 1):
        raise RuntimeError(f"selected index k out of range: k={k} for shape {input.shape}, dim {dim}")
    if input.ndim and 0 < FEW * k < input.shape[dim]:
        some = Tensor.wrap(_largest(raw(input), k, dim) if largest else _smallest(raw(input), k, dim))
        values = gather(input, dim, some)
        order = argsort(values, dim, descending=largest)
        return Values(gather(values, dim, order), gather(some, dim, order))
    order = argsort(input, dim, descending=largest)
    indices = getitem(order, (slice(None),) * dim + (slice(k),)) if input.ndim else order
    return Values(gather(input, dim, indices), indices)


def _largest(array: Any, k: int, dim: int) -> Any:
    """The indices, rising, of the k largest elements (NaN is larger than any); which of equal ones, is not defined."""
    xp, rest = backend_of_any(array), array.shape[dim] - k
    found = xp.argpartition(array, rest, axis=dim)[(slice(None),) * dim + (slice(rest, None),)]
    return xp.sort(found, axis=dim)


def _smallest(array: Any, k: int, dim: int) -> Any:
    """Likewise of the k smallest."""
    xp = backend_of_any(array)
    return xp.sort(xp.argpartition(array, k - 1, axis=dim)[(slice(None),) * dim + (slice(k),)], axis=dim)
