"""Running sums and products, and the product of many elements."""

from __future__ import annotations

from typing import Any

from minidl.ops.base import Op
from minidl.ops.joining import cat
from minidl.ops.reduction import sum, widen
from minidl.ops.shape import flip, normalize_dim, reshape
from minidl.tensor import Tensor


class CumSum(Op):
    """Sums from the start of a dimension up to and including each element."""

    def __init__(self, dim):
        self.dim = dim

    def forward(self, xp, x):
        return xp.cumsum(x, axis=self.dim, dtype=x.dtype) if x.ndim else x.copy()

    def vjp(self, g):
        return flip(CumSum(self.dim)(flip(g, self.dim)), self.dim) if g.ndim else g

    def samples(draw):
        x = draw.array(draw.shape())
        dim = draw.dim(x.ndim) if x.ndim else 0
        return (x,), lambda x: cumsum(x, dim)


def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Sums from the start of ``dim`` up to and including each element."""
    normalize_dim(dim, input.ndim)
    return CumSum(dim)(widen(input, dtype))


def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Products from the start of ``dim`` up to and including each element.

    Hillis and Steele's scan ("Data parallel algorithms", 1986): log₂ n multiplications by a shifted copy, each
    differentiable, and so right at zeros too.
    """
    dim = normalize_dim(dim, input.ndim)
    input = widen(input, dtype)
    if input.ndim == 0 or input.shape[dim] < 2:
        return input.clone()
    at = (slice(None),) * dim
    x, shift = input, 1
    while shift < x.shape[dim]:
        x = cat([x[(*at, slice(shift))], x[(*at, slice(shift, None))] * x[(*at, slice(-shift))]], dim)
        shift *= 2
    return x


def prod(input: Any, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The product of all elements, or along ``dim``.

    Multiplies neighbours pairwise, and the results again, so that the gradient (of any order) is right at zeros too,
    where the usual y / x fails.
    """
    input = widen(input, dtype)

    if dim is None:
        x, along, kept = reshape(input, (-1,)), 0, (1,) * input.ndim
    else:
        along = normalize_dim(dim, input.ndim)
        x = input if input.ndim else reshape(input, (1,))
        kept = tuple([1 if i == along else n for i, n in enumerate(input.shape)])
    at = (slice(None),) * along
    if x.shape[along] < 2:
        x = sum(x, along, keepdim=True) + (1 if x.shape[along] == 0 else 0)
    while (n := x.shape[along]) > 1:
        half = n // 2
        pairs = [x[(*at, slice(half))] * x[(*at, slice(half, 2 * half))], x[(*at, slice(2 * half, n))]]
        x = cat(pairs, along) if n % 2 else pairs[0]
    if keepdim or input.ndim == 0:
        return reshape(x, kept)
    return reshape(x, () if dim is None else kept[:along] + kept[along + 1 :])
