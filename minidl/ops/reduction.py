"""Sums, means and other reductions over dimensions."""

from __future__ import annotations

import builtins
import math
from typing import Any, NamedTuple

import numpy as np

from minidl import dtypes
from minidl.ops.base import Op, cast, raw
from minidl.ops.samples import reals
from minidl.ops.selection import maximum, minimum, where
from minidl.ops.shape import broadcast_to, normalize_dims, reshape
from minidl.tensor import Tensor


class Values(NamedTuple):
    """What a reduction along one dimension returns when it also knows where the value stood."""

    values: Any
    indices: Any


class AMinMax(NamedTuple):
    """What ``aminmax`` returns."""

    min: Any
    max: Any


class Reduction(Op, abstract=True):
    """An op over some dimensions, ``axes`` (counted from the front); ``keepdim`` leaves them with size 1."""

    def __init__(self, dim=None, keepdim=False):
        self.dim, self.keepdim = dim, keepdim

    def axes(self, x):
        self.shape = x.shape
        self.reduced = normalize_dims(self.dim, x.ndim)
        return self.reduced

    def spread(self, g):
        """Give something of the output's shape its reduced dimensions back, and the input's shape."""
        kept = tuple([1 if i in self.reduced else n for i, n in enumerate(self.shape)])
        return broadcast_to(g if g.shape == kept else reshape(g, kept), self.shape)

    @property
    def size(self):
        """How many elements go into each result."""
        return math.prod(self.shape[i] for i in self.reduced)


class Sum(Reduction):
    """The sum."""

    def forward(self, xp, x):
        return xp.sum_over(x, self.axes(x), self.keepdim)

    def vjp(self, g):
        return self.spread(g)

    def samples(draw):
        x = draw.array(draw.shape(0, 4, empty=draw.integer(0, 5) == 0))
        dim, keepdim = draw.dims(x.ndim), draw.flag()
        return (x,), lambda x: sum(x, dim, keepdim)


class SumTo(Op):
    """The sum down to a shape that broadcasts to the input's: the transpose of ``broadcast_to``."""

    def __init__(self, shape):
        self.target = shape

    def forward(self, xp, x):
        self.shape = x.shape
        return xp.sum_to(x, self.target)

    def vjp(self, g):
        return broadcast_to(g, self.shape)

    def samples(draw):
        full = draw.shape(0, 4, 3)
        target = tuple(1 if draw.flag() else n for n in full[draw.integer(0, len(full)) :])
        return (draw.array(full),), lambda x: SumTo(target)(x)


class Mean(Reduction):
    """The arithmetic mean."""

    to_float = quiet = True

    def forward(self, xp, x):
        axes = self.axes(x)
        total = xp.sum_over(x, axes, self.keepdim)
        return total / self.size if self.size else total * float("nan")

    def vjp(self, g):
        return self.spread(g / builtins.max(self.size, 1))

    def samples(draw):
        x = draw.array(draw.shape())
        dim, keepdim = draw.dims(x.ndim), draw.flag()
        return (x,), lambda x: mean(x, dim, keepdim)


class Var(Reduction):
    """The variance, in two passes: mean((x − mean(x))²) · n / (n − correction)."""

    quiet = True

    def __init__(self, dim=None, correction=1, keepdim=False):
        super().__init__(dim, keepdim)
        self.correction = correction

    def forward(self, xp, x):
        axes = self.axes(x)
        self.freedom = builtins.max(self.size - self.correction, 0)
        centred = x - xp.sum_over(x, axes, True) / builtins.max(self.size, 1)
        total = xp.sum_over(centred * centred, axes, self.keepdim)
        return total / self.freedom if self.freedom else total * float("nan")

    def vjp(self, g, x):
        centred = x - mean(x, self.reduced, True)
        return self.spread(g * (2 / self.freedom if self.freedom else float("nan"))) * centred

    def samples(draw):
        x = draw.array(draw.shape(1, 4, 4))
        dim = draw.dims(x.ndim)
        axes = normalize_dims(dim, x.ndim)
        correction = 1 if draw.flag() and math.prod(x.shape[i] for i in axes) > 1 else 0
        keepdim = draw.flag()
        return (x,), lambda x: var(x, dim, correction=correction, keepdim=keepdim)


class Max(Reduction):
    """The largest element; equals share the gradient evenly."""

    def forward(self, xp, x):
        return x.max(axis=self.axes(x), keepdims=self.keepdim)

    def vjp(self, g, x, y):
        hit = raw(x) == raw(self.spread(y))
        count = hit.sum(axis=self.reduced, keepdims=True)
        return where(hit, self.spread(g), 0) / count.astype(raw(g).dtype)

    def samples(draw):
        x = draw.array(draw.shape(), distinct=True)
        dim, keepdim = draw.dims(x.ndim), draw.flag()
        return (x,), lambda x: amax(x, dim, keepdim)


class Min(Max):
    """The smallest element; equals share the gradient evenly."""

    def forward(self, xp, x):
        return x.min(axis=self.axes(x), keepdims=self.keepdim)

    def samples(draw):
        x = draw.array(draw.shape(), distinct=True)
        dim, keepdim = draw.dims(x.ndim), draw.flag()
        return (x,), lambda x: amin(x, dim, keepdim)


class LogSumExp(Reduction):
    """log Σ exp(x), computed as m + log Σ exp(x − m) with m the largest x, which cannot overflow."""

    to_float = quiet = True

    def forward(self, xp, x):
        axes = self.axes(x)
        if not axes:
            return x + 0
        top = x.max(axis=axes, keepdims=True) if x.size else xp.zeros((), dtype=x.dtype)
        top = xp.where(xp.isfinite(top), top, xp.zeros((), dtype=x.dtype))
        total = xp.log(xp.exp(x - top).sum(axis=axes, keepdims=True)) + top
        return total if self.keepdim else total.reshape([n for i, n in enumerate(x.shape) if i not in axes])

    def vjp(self, g, x, y):
        from minidl.ops.unary import exp

        y = self.spread(y)
        return self.spread(g) * exp(x - where(abs(raw(y)) == float("inf"), 0, y))

    def samples(draw):
        x = draw.array(draw.shape())
        dim, keepdim = draw.dims(x.ndim), draw.flag()
        return (x,), lambda x: logsumexp(x, normalize_dims(dim, x.ndim), keepdim)


class Norm2(Reduction):
    """The Euclidean norm √Σx², with gradient 0 where it is 0."""

    def forward(self, xp, x):
        return xp.sqrt((x * x).sum(axis=self.axes(x), keepdims=self.keepdim))

    def vjp(self, g, x, y):
        zero = raw(y) == 0
        return self.spread(where(zero, 0, g) / where(zero, 1, y)) * x

    def samples(draw):
        x = draw.array(draw.shape(0, 4), reals(0.2, 2)) * draw.choice([-1, 1])
        dim, keepdim = draw.dims(x.ndim), draw.flag()
        return (x,), lambda x: norm(x, 2, dim, keepdim)


# -- public functions -------------------------------------------------------------------------------------------------


def sum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The sum of all elements, or over ``dim`` (an int or a tuple). Integers and booleans add up in int64."""
    return Sum(dim, keepdim)(widen(input, dtype))


def widen(input: Any, dtype: Any) -> Any:
    """``input`` in the dtype in which it is to be added up or multiplied: the given one, and int64 for integers."""
    if dtype is None and input.dtype.kind in "biu":
        dtype = dtypes.int64
    return input if dtype is None or input.dtype == dtype else cast(input, np.dtype(dtype))


def nansum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The sum of the elements that are not NaN."""
    return sum(where(raw(input) == raw(input), input, 0), dim, keepdim, dtype=dtype)


def nanmean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The mean of the elements that are not NaN."""
    counts = sum(cast(raw(input) == raw(input), np.dtype(dtype or input.dtype)), dim, keepdim)
    return nansum(input, dim, keepdim, dtype=dtype) / counts


def mean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The mean of all elements, or over ``dim`` (an int or a tuple).

    Raises:
        RuntimeError: for an integer Tensor without ``dtype``, as in PyTorch.
    """
    if dtype is not None:
        input = cast(input, np.dtype(dtype))
    if input.dtype.kind in "biu":
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. "
            f"Got: {input.dtype}"
        )
    return Mean(dim, keepdim)(input)


def _correction(correction: int | None, unbiased: bool | None) -> int:
    if unbiased is not None:
        return int(unbiased)
    return 1 if correction is None else correction


def var(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: int | None = None,
) -> Tensor:
    """The variance of all elements, or over ``dim``; divides by n − correction (default 1; ``unbiased=False``: 0)."""
    if isinstance(dim, bool):  # var(x, unbiased)
        dim, unbiased = None, dim
    if input.dtype.kind != "f":
        raise RuntimeError(f"std and var only support floating point and complex dtypes, got {input.dtype}")
    return Var(dim, _correction(correction, unbiased), keepdim)(input)


def std(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: int | None = None,
) -> Tensor:
    """The standard deviation, the root of ``var``; its gradient is 0 where it is 0."""
    return safe_sqrt(var(input, dim, unbiased, keepdim, correction=correction))


def safe_sqrt(x: Any) -> Any:
    """√x whose gradient at 0 is 0 (and not ∞, which would turn into NaN further back)."""
    from minidl.ops.unary import sqrt

    zero = raw(x) == 0
    return where(zero, 0, sqrt(where(zero, 1, x)))


def var_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Variance and mean; arguments as for ``var``."""
    over = None if isinstance(dim, bool) else dim
    return var(input, dim, unbiased, keepdim, correction=correction), mean(input, over, keepdim)


def std_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean; arguments as for ``std``."""
    over = None if isinstance(dim, bool) else dim
    return std(input, dim, unbiased, keepdim, correction=correction), mean(input, over, keepdim)


def _check_not_empty(name: str, input: Any, dim: Any) -> None:
    if dim in (None, ()) and 0 in input.shape:
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the "
            "'dim' argument."
        )
    for i in normalize_dims(dim, input.ndim):
        if input.shape[i] == 0:
            raise IndexError(
                f"{name}(): Expected reduction dim {i} to have non-zero size, the input has shape {input.shape}"
            )


def amax(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The largest element over ``dim``; equals share the gradient evenly."""
    _check_not_empty("amax", input, dim)
    return Max(dim, keepdim)(input)


def amin(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The smallest element over ``dim``; equals share the gradient evenly."""
    _check_not_empty("amin", input, dim)
    return Min(dim, keepdim)(input)


def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> AMinMax:
    """The smallest and the largest element, over all or along ``dim``: (min, max)."""
    return AMinMax(amin(input, dim, keepdim), amax(input, dim, keepdim))


def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest element; along one ``dim`` a pair (values, indices); with a Tensor, ``maximum``."""
    return _extreme(input, dim, keepdim, "max")


def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest element; along one ``dim`` a pair (values, indices); with a Tensor, ``minimum``."""
    return _extreme(input, dim, keepdim, "min")


def _extreme(input: Tensor, dim: Any, keepdim: bool, which: str) -> Any:
    from minidl.ops.comparison import position
    from minidl.ops.gathering import gather

    if isinstance(dim, Tensor):
        return (maximum if which == "max" else minimum)(input, dim)
    if dim is None:
        if input.numel() == 0:
            raise RuntimeError(
                f"{which}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim "
                "with the 'dim' argument."
            )
        return (amax if which == "max" else amin)(input)
    indices = position(input, "argmax" if which == "max" else "argmin", dim, keepdim=True)
    values = gather(input, dim, indices)
    if not keepdim and input.ndim:
        values, indices = values.squeeze(dim), indices.squeeze(dim)
    return Values(values, indices)


def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of input − other."""
    return norm(input - other, p)


def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """log Σ exp(input) over ``dim``, without overflow."""
    return LogSumExp(dim, keepdim)(input)


def norm(input: Any, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Any:
    """The p-norm of all elements, or over ``dim``: (Σ|x|ᵖ)^(1/p); ``p`` may also be ±inf, 0, or "fro" (2).

    Its gradient is 0 where the norm is 0.
    """
    if input.dtype.kind != "f":
        raise RuntimeError(f"norm(): Expected a floating point or complex tensor as input. Got {input.dtype}")
    if p in (2, "fro", None):
        return Norm2(dim, keepdim)(input)
    size = abs(input)
    if p == float("inf"):
        return amax(size, dim, keepdim)
    if p == -float("inf"):
        return amin(size, dim, keepdim)
    if p == 0:
        return sum(cast(raw(input) != 0, input.dtype), dim, keepdim) + sum(input * 0, dim, keepdim)
    if p == 1:
        return sum(size, dim, keepdim)
    zero = raw(size) == 0
    total = sum(where(zero, 0, where(zero, 1, size) ** p), dim, keepdim)
    zero = raw(total) == 0
    return where(zero, 0, where(zero, 1, total) ** (1 / p))
