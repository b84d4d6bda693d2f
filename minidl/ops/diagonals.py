"""Diagonals and triangles of matrices."""

from __future__ import annotations

from minidl.ops.base import Op
from minidl.ops.shape import View, normalize_dim, writable
from minidl.tensor import Tensor


class Diagonal(View):
    """The elements with equal indices in two dimensions (plus an offset); the diagonal becomes the last dimension."""

    def __init__(self, offset, dim1, dim2):
        self.arguments_ = offset, dim1, dim2

    def forward(self, xp, x):
        self.shape = x.shape
        return writable(xp.diagonal(x, *self.arguments_), x)

    def vjp(self, g):
        return DiagonalScatter(self.shape, *self.arguments_)(g)

    def samples(draw):
        x = draw.array(draw.shape(2, 4))
        dim1, dim2 = draw.choice([(0, 1), (-1, -2), (1, 0)])
        offset = draw.integer(-1, 1)
        return (x,), lambda x: diagonal(x, offset, dim1, dim2)


class DiagonalScatter(Op):
    """Zeros with the given diagonal: the transpose of ``Diagonal``."""

    promotes = False

    def __init__(self, shape, offset, dim1, dim2):
        self.shape, self.arguments_ = shape, (offset, dim1, dim2)

    def forward(self, xp, g):
        offset, dim1, dim2 = self.arguments_
        ndim = len(self.shape)
        dim1, dim2 = dim1 % ndim, dim2 % ndim
        x = xp.zeros(self.shape, dtype=g.dtype)
        steps = xp.arange(g.shape[-1])
        moved = x.transpose([i for i in range(ndim) if i not in (dim1, dim2)] + [dim1, dim2])
        moved[..., steps + max(-offset, 0), steps + max(offset, 0)] = g
        return x

    def vjp(self, gx):
        return Diagonal(*self.arguments_)(gx)

    def samples(draw):
        x = draw.array(draw.shape(2, 3))
        g = x.diagonal(0, 0, 1)
        return (g.copy(),), lambda g: DiagonalScatter(x.shape, 0, 0, 1)(g)


class Tril(Op):
    """The lower triangle of the last two dimensions, up to the diagonal ``k``; zeros above."""

    def __init__(self, k, upper=False):
        self.k, self.upper = k, upper

    def forward(self, xp, x):
        return (xp.triu if self.upper else xp.tril)(x, self.k)

    def vjp(self, g):
        return Tril(self.k, self.upper)(g)

    def samples(draw):
        x = draw.array(draw.shape(2, 4))
        k, upper = draw.integer(-2, 2), draw.flag()
        return (x,), lambda x: (triu if upper else tril)(x, k)


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of two dimensions, as the last dimension."""
    dim1, dim2 = normalize_dim(dim1, input.ndim), normalize_dim(dim2, input.ndim)
    if dim1 == dim2:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return Diagonal(offset, dim1, dim2)(input)


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix (a copy), or the matrix with this diagonal."""
    if input.ndim == 2:
        return Diagonal(diagonal, 0, 1)(input).clone()
    if input.ndim != 1:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    n = input.shape[0] + (diagonal if diagonal >= 0 else -diagonal)
    return DiagonalScatter((n, n), diagonal, 0, 1)(input)


def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Zeros with the last dimension of ``input`` as the diagonal of two new dimensions."""
    ndim = input.ndim + 1
    dim1, dim2 = normalize_dim(dim1, ndim), normalize_dim(dim2, ndim)
    if dim1 == dim2:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    shape = list(input.shape[:-1])
    for d in sorted((dim1, dim2)):
        shape.insert(d, input.shape[-1] + abs(offset))
    return DiagonalScatter(tuple(shape), offset, dim1, dim2)(input)


def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix."""
    if input.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.ndim}")
    return diagonal(input).sum()


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle, zeros above ``diagonal``."""
    if input.ndim < 2:
        raise RuntimeError(f"tril: input tensor must have at least 2 dimensions, got shape {tuple(input.shape)}")
    return Tril(diagonal)(input)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle, zeros below ``diagonal``."""
    if input.ndim < 2:
        raise RuntimeError(f"triu: input tensor must have at least 2 dimensions, got shape {tuple(input.shape)}")
    return Tril(diagonal, upper=True)(input)
