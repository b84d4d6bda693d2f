"""Joining Tensors, and cutting them up again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidl.ops.base import Op
from minidl.ops.shape import normalize_dim, reshape, unsqueeze
from minidl.tensor import Tensor


class Cat(Op):
    """Tensors one after another along a dimension."""

    def __init__(self, dim):
        self.dim = dim

    def forward(self, xp, *xs):
        self.lengths = [x.shape[self.dim] for x in xs]
        return xp.concatenate(xs, axis=self.dim)

    def vjp(self, g):
        results, start = [], 0
        for length, need in zip(self.lengths, self.needs, strict=True):
            part = (slice(None),) * self.dim + (slice(start, start + length),)
            results.append(g[part] if need else None)
            start += length
        return results

    def samples(draw):
        shape = list(draw.shape(1))
        dim = draw.integer(0, len(shape) - 1)
        arrays = []
        for _ in range(draw.integer(1, 3)):
            shape[dim] = draw.integer(0, 3)
            arrays.append(draw.array(shape))
        return tuple(arrays), lambda *xs: cat(xs, dim)


def cat(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Tensors joined along an existing dimension.

    Raises:
        ValueError: if there are none.
        RuntimeError: if their other dimensions differ.
    """
    tensors = list(tensors)
    if not tensors:
        raise ValueError("cat(): expected a non-empty list of Tensors")
    for i, x in enumerate(tensors):
        if not hasattr(x, "shape"):
            raise TypeError(f"cat(): expected Tensor as element {i}, but got {type(x).__name__}")
    if any(x.ndim != 1 for x in tensors):  # as in PyTorch, an empty vector goes with anything
        tensors = [x for x in tensors if x.shape != (0,)]
    first = tensors[0]
    if first.ndim == 0:
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    dim = normalize_dim(dim, first.ndim)
    for i, x in enumerate(tensors):
        if x.ndim != first.ndim or any(d != dim and n != first.shape[d] for d, n in enumerate(x.shape)):
            raise RuntimeError(
                f"Sizes of tensors must match except in dimension {dim}. Expected {tuple(first.shape)} but got "
                f"{tuple(x.shape)} for tensor number {i} in the list."
            )
    return Cat(dim)(*tensors)


def stack(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Tensors of one shape joined along a new dimension.

    Raises:
        RuntimeError: if there are none, or their shapes differ.
    """
    tensors = list(tensors)
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    for i, x in enumerate(tensors):
        if x.shape != tensors[0].shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(tensors[0].shape)} at entry 0 and "
                f"{list(x.shape)} at entry {i}"
            )
    return cat([unsqueeze(x, dim) for x in tensors], normalize_dim(dim, tensors[0].ndim + 1))


def hstack(tensors: Sequence[Any]) -> Any:
    """Joined side by side: along dimension 1 (along 0 for vectors)."""
    xs = [reshape(x, (1,)) if x.ndim == 0 else x for x in tensors]
    if not xs:
        raise RuntimeError("hstack expects a non-empty TensorList")
    return cat(xs, 0 if xs and xs[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Any]) -> Any:
    """Joined one below the other: along dimension 0; vectors become rows."""
    xs = [reshape(x, (1, x.numel())) if x.ndim < 2 else x for x in tensors]
    if not xs:
        raise RuntimeError("vstack expects a non-empty TensorList")
    return cat(xs, 0)


def column_stack(tensors: Sequence[Any]) -> Any:
    """Vectors as the columns of a matrix; matrices side by side."""
    return hstack([reshape(x, (-1, 1)) if x.ndim < 2 else x for x in tensors])


def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut along ``dim`` into parts of one size (the last may be smaller), or of the sizes listed."""
    dim = normalize_dim(dim, tensor.ndim)
    total = tensor.shape[dim]
    if isinstance(split_size_or_sections, int):
        step = split_size_or_sections
        if step < 0 or (step == 0 and total):
            raise RuntimeError(f"split expects split_size be positive, but got split_size={step}")
        sections = [min(step, total - i) for i in range(0, total, step or 1)] or [0]
    else:
        sections = [int(n) for n in split_size_or_sections]
        if sum(sections) != total:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {total} (input tensor's size at dimension {dim}), "
                f"but got split_sizes={sections}"
            )
    parts, start = [], 0
    for n in sections:
        parts.append(tensor[(slice(None),) * dim + (slice(start, start + n),)])
        start += n
    return tuple(parts)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut along ``dim`` into at most ``chunks`` parts of equal size (the last may be smaller)."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    return split(input, max(1, -(-input.shape[normalize_dim(dim, input.ndim)] // chunks)), dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along ``dim``, which disappears."""
    dim = normalize_dim(dim, input.ndim)
    return tuple(input[(slice(None),) * dim + (i,)] for i in range(input.shape[dim]))
