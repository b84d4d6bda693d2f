"""Softmax and its logarithm."""

from __future__ import annotations

from typing import Any

from minidl.backend import backend_of
from minidl.ops.base import Op
from minidl.ops.reduction import sum
from minidl.ops.shape import normalize_dim
from minidl.ops.unary import exp
from minidl.tensor import Tensor


class Softmax(Op):
    """exp(x) / Σ exp(x) along a dimension."""

    to_float = quiet = True

    def __init__(self, dim):
        self.dim = dim

    def forward(self, xp, x):
        return xp.softmax(x, self.dim)

    def vjp(self, g, y):
        if not isinstance(g, Tensor):
            return backend_of(g).softmax_grad(g, y, self.dim)
        gy = g * y
        return gy - y * sum(gy, self.dim, keepdim=True)

    def samples(draw):
        x = draw.array(draw.shape())
        dim = draw.dim(x.ndim) if x.ndim else -1
        return (x,), lambda x: softmax(x, dim)


class LogSoftmax(Op):
    """x − log Σ exp(x) along a dimension."""

    to_float = quiet = True

    def __init__(self, dim):
        self.dim = dim

    def forward(self, xp, x):
        return xp.log_softmax(x, self.dim)

    def vjp(self, g, y):
        if not isinstance(g, Tensor):
            return backend_of(g).log_softmax_grad(g, y, self.dim)
        return g - exp(y) * sum(g, self.dim, keepdim=True)

    def samples(draw):
        x = draw.array(draw.shape())
        dim = draw.dim(x.ndim) if x.ndim else -1
        return (x,), lambda x: log_softmax(x, dim)


def _softmax_dim(name: str, dim: int | None, ndim: int) -> int:
    if dim is None:  # PyTorch's old guess, kept for its users
        dim = 0 if ndim in (0, 1, 3) else 1
    return normalize_dim(dim, ndim)


def softmax(input: Any, dim: int | None = None, dtype: Any = None) -> Any:
    """exp(input) / Σ exp(input) along ``dim``, without overflow."""
    x = input if dtype is None else input.to(dtype)
    if x.ndim == 0:
        return x * 0 + 1
    return Softmax(_softmax_dim("softmax", dim, x.ndim))(x)


def log_softmax(input: Any, dim: int | None = None, dtype: Any = None) -> Any:
    """log softmax(input) along ``dim``, without overflow or loss of digits."""
    x = input if dtype is None else input.to(dtype)
    if x.ndim == 0:
        return x * 0
    return LogSoftmax(_softmax_dim("log_softmax", dim, x.ndim))(x)


def softmin(input: Any, dim: int | None = None, dtype: Any = None) -> Any:
    """softmax(−input)."""
    return softmax(-input, dim, dtype)
