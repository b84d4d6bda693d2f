"""Reading and writing along one dimension: gather, scatter and their kin."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.ops.base import Op, backend_of_any, raw
from minidl.ops.indexing import IndexPut, getitem, here
from minidl.ops.shape import broadcast_to, normalize_dim, reshape
from minidl.tensor import Tensor


class Gather(Op):
    """y[i][j][k] = x[index[i][j][k]][j][k] (for dim 0), in which indices may repeat."""

    promotes = False

    def __init__(self, dim, index):
        self.dim, self.index = dim, index

    def forward(self, xp, x):
        self.shape = x.shape
        return x[_along(xp, self.index, self.dim)]

    def vjp(self, g):
        return GatherGrad(self.dim, self.index, self.shape)(g)

    def samples(draw):
        x = draw.array(draw.shape(1, 3))
        dim = draw.integer(0, x.ndim - 1)
        index = draw.indices([*x.shape[:dim], draw.integer(1, 5), *x.shape[dim + 1 :]], x.shape[dim])
        return (x,), lambda x: gather(x, dim, Tensor.wrap(here((index,), x)[0]))


class GatherGrad(Op):
    """Zeros of a shape, to which values are added at the positions of ``Gather``: its transpose."""

    promotes = False

    def __init__(self, dim, index, shape):
        self.dim, self.index, self.shape = dim, index, shape

    def forward(self, xp, g):
        x = xp.zeros(self.shape, dtype=g.dtype)
        xp.scatter_add(x, _along(xp, self.index, self.dim), g)
        return x

    def vjp(self, gx):
        return Gather(self.dim, self.index)(gx)

    def samples(draw):
        shape = draw.shape(1, 3)
        index = draw.indices(shape, 3)
        return (draw.array(shape),), lambda g: GatherGrad(0, here((index,), g)[0], (3, *shape[1:]))(g)


def _along(xp: Any, index: Any, dim: int) -> tuple[Any, ...]:
    """An index along one dimension as a full index: every other dimension meets its own position."""
    grids = [xp.arange(n).reshape([-1 if d == e else 1 for e in range(index.ndim)]) for d, n in enumerate(index.shape)]
    grids[dim] = index
    return tuple(grids)


def gather(input: Any, dim: int, index: Tensor) -> Any:
    """Take elements along ``dim`` at ``index`` (integers, of as many dimensions as the input).

    Raises:
        RuntimeError: if an index is out of range, or the shapes do not fit.
    """
    positions = _check_index("gather", input, dim, index)
    if positions.size == 0 and positions.ndim != input.ndim:
        return reshape(reshape(input, (-1,))[:0], positions.shape)
    dim = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        return reshape(Gather(0, positions.reshape(-1))(reshape(input, (1,))), positions.shape)
    return Gather(dim, positions)(input)


def _check_index(name: str, input: Any, dim: int, index: Any) -> Any:
    dim = normalize_dim(dim, input.ndim)
    positions = raw(index)
    if positions.dtype.kind not in "iu":
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index, got {positions.dtype}")
    if positions.ndim != input.ndim and input.ndim and positions.size:
        raise RuntimeError(
            f"{name}(): Index tensor must have the same number of dimensions as input tensor: {tuple(positions.shape)} for "
            f"input {tuple(input.shape)}"
        )
    for d in range(input.ndim if positions.size else 0):
        if d != dim and positions.shape[d] > input.shape[d]:
            raise RuntimeError(
                f"Size does not match at dimension {d} expected index {list(positions.shape)} to be no larger than self "
                f"{list(input.shape)} apart from dimension {dim}"
            )
    if positions.size and input.ndim:
        low, high = int(positions.min()), int(positions.max())
        if low < 0 or high >= input.shape[dim]:
            bad = low if low < 0 else high
            raise RuntimeError(
                f"{name}(): index {bad} is out of bounds for dimension {dim} with size {input.shape[dim]}"
            )
    return positions


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """``gather`` whose other dimensions broadcast, and which takes negative indices; without ``dim``, from the flat input."""
    if dim is None:
        return take_along_dim(reshape(input, (-1,)), reshape(indices, (-1,)), 0)
    xp, positions = backend_of_any(input), raw(indices)
    indices = Tensor.wrap(xp.where(positions < 0, positions + input.shape[dim], positions))
    dim = normalize_dim(dim, input.ndim)
    shape = np.broadcast_shapes(
        tuple(1 if i == dim else n for i, n in enumerate(input.shape)),
        tuple(1 if i == dim else n for i, n in enumerate(indices.shape)),
    )
    full = lambda x: broadcast_to(x, tuple(x.shape[dim] if i == dim else n for i, n in enumerate(shape)))  # noqa: E731
    return gather(full(input), dim, full(indices))


def _scatter(input: Tensor, dim: int, index: Tensor, src: Any, add: bool) -> Tensor:
    name = "scatter_add" if add else "scatter"
    if input.ndim == 0:
        flat = [reshape(x, (1,)) if hasattr(x, "dtype") and x.ndim == 0 else x for x in (input, index, src)]
        return reshape(_scatter(flat[0], dim, flat[1], flat[2], add), ())
    positions = _check_index(name, input, dim, index)
    dim = normalize_dim(dim, input.ndim)
    if hasattr(src, "dtype"):
        if src.dtype != input.dtype:
            raise RuntimeError(
                f"{name}(): Expected self.dtype to be equal to src.dtype, got {input.dtype} and {src.dtype}"
            )
        if src.ndim and src.ndim != positions.ndim:
            raise RuntimeError(
                f"{name}(): Index tensor must have the same number of dimensions as src tensor: "
                f"{positions.ndim} and {src.ndim}"
            )
    if hasattr(src, "dtype") and raw(src).ndim:
        src = getitem(src, tuple(slice(n) for n in positions.shape))  # only the part that the index covers is used
    elif not hasattr(src, "dtype"):
        src = input.dtype.type(src)
    if add:
        return input + GatherGrad(dim, positions, tuple(input.shape))(src)
    return IndexPut(_along(backend_of_any(input), positions, dim))(input, src)


def scatter(input: Tensor, dim: int, index: Tensor, src: Any) -> Tensor:
    """``input`` with the values of ``src`` (a Tensor or a number) at the positions ``index`` along ``dim``."""
    return _scatter(input, dim, index, src, add=False)


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """``input`` with the values of ``src`` added at the positions ``index`` along ``dim``; repeated indices add up."""
    return _scatter(input, dim, index, src, add=True)
