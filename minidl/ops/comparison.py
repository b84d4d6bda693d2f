"""Comparison, logic and tests: results are booleans (or integers), and nothing here has a gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.ops.base import Elementwise, raw
from minidl.tensor import Tensor


class Constant(Elementwise):
    """An elementwise function of the array module whose result has no gradient."""

    quiet = True

    def __init__(self, name: str) -> None:
        self.function = name

    def forward(self, xp: Any, *inputs: Any) -> Any:
        return getattr(xp, self.function)(*inputs)

    @property
    def label(self) -> str:
        return self.function


def _binary(name: str, numpy_name: str, doc: str) -> Callable[[Any, Any], Tensor]:
    def function(input: Any, other: Any) -> Tensor:
        return Constant(numpy_name)(input, other)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def _unary(name: str, numpy_name: str, doc: str) -> Callable[[Any], Tensor]:
    def function(input: Any) -> Tensor:
        return Constant(numpy_name)(input)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


eq = _binary("eq", "equal", "input == other.")
ne = _binary("ne", "not_equal", "input != other.")
lt = _binary("lt", "less", "input < other.")
le = _binary("le", "less_equal", "input <= other.")
gt = _binary("gt", "greater", "input > other.")
ge = _binary("ge", "greater_equal", "input >= other.")
logical_and = _binary("logical_and", "logical_and", "Both are non-zero.")
logical_or = _binary("logical_or", "logical_or", "One or both are non-zero.")
logical_xor = _binary("logical_xor", "logical_xor", "Exactly one is non-zero.")
logical_not = _unary("logical_not", "logical_not", "The element is zero.")
bitwise_and = _binary("bitwise_and", "bitwise_and", "Bit by bit and (of booleans or integers).")
bitwise_or = _binary("bitwise_or", "bitwise_or", "Bit by bit or (of booleans or integers).")
bitwise_xor = _binary("bitwise_xor", "bitwise_xor", "Bit by bit exclusive or (of booleans or integers).")
bitwise_left_shift = _binary("bitwise_left_shift", "left_shift", "The bits moved up by ``other`` places (of integers).")
bitwise_right_shift = _binary("bitwise_right_shift", "right_shift", "The bits moved down by ``other`` places.")
bitwise_not = _unary("bitwise_not", "invert", "All bits turned (of booleans or integers).")
isnan = _unary("isnan", "isnan", "The element is not a number.")
isinf = _unary("isinf", "isinf", "The element is +∞ or −∞.")
isfinite = _unary("isfinite", "isfinite", "The element is neither infinite nor NaN.")


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """|input − other| ≤ atol + rtol · |other|."""
    if rtol < 0 or atol < 0:
        raise RuntimeError(f"isclose: rtol and atol must be greater than or equal to zero, but got {rtol} and {atol}")
    a, b = raw(input), raw(other)
    if a.dtype != b.dtype:
        raise RuntimeError(f"isclose: {a.dtype} did not match {b.dtype}")
    if a.dtype.kind == "b":
        return eq(input, other)
    xp = input.backend
    with np.errstate(all="ignore"):
        close = (a == b) | (xp.isfinite(b) & (xp.abs(a - b) <= atol + rtol * xp.abs(b)))
        return Tensor.wrap(xp.asarray(close | ((a != a) & (b != b)) if equal_nan else close))


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether ``isclose`` holds everywhere."""
    return bool(isclose(input, other, rtol, atol, equal_nan).array.all())


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two Tensors have the same shape and the same elements."""
    return input.shape == other.shape and bool((input.array == other.array).all())


def position(input: Tensor, name: str, dim: int | None, keepdim: bool) -> Tensor:
    """``argmax`` or ``argmin``, of booleans too."""
    from minidl.ops.shape import normalize_dim

    array, xp = input.array, input.backend
    if array.size == 0 and (dim is None or array.shape[normalize_dim(dim, array.ndim)] == 0):
        raise IndexError(f"{name}(): Expected reduction dim to have non-zero size, the input has shape {input.shape}")
    if dim is None:
        index = getattr(xp, name)(array.reshape(-1), axis=0)
        return Tensor.wrap(xp.asarray(index).reshape((1,) * array.ndim if keepdim else ()))
    if array.ndim == 0:
        normalize_dim(dim, 0)
        return Tensor.wrap(xp.zeros((), dtype=xp.int64))
    dim = normalize_dim(dim, array.ndim)
    index = xp.asarray(getattr(xp, name)(array, axis=dim))
    return Tensor.wrap(xp.expand_dims(index, dim) if keepdim else index)


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index (int64) of the largest element, the first of equals: along ``dim``, or in the flattened Tensor."""
    if input.dtype.kind == "b":
        raise RuntimeError("argmax(): does not support bool input")
    return position(input, "argmax", dim, keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index (int64) of the smallest element, the first of equals: along ``dim``, or in the flattened Tensor."""
    if input.dtype.kind == "b":
        raise RuntimeError("argmin(): does not support bool input")
    return position(input, "argmin", dim, keepdim)


def _test(input: Tensor, name: str, dim: Any, keepdim: bool) -> Tensor:
    from minidl.ops.shape import normalize_dims

    xp = input.backend
    axes = () if dim == () else None if dim is None else normalize_dims(dim, input.ndim)
    result = xp.asarray(getattr(xp, name)(input.array, axis=axes, keepdims=keepdim))
    return Tensor.wrap(result.astype(input.dtype) if input.dtype == np.uint8 else result)  # as in PyTorch


def all(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether all elements (along ``dim``) are non-zero."""
    return _test(input, "all", dim, keepdim)


def any(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether any element (along ``dim``) is non-zero."""
    return _test(input, "any", dim, keepdim)


def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """The number of elements (along ``dim``) that are not zero, int64."""
    from minidl.ops.reduction import sum

    return sum(ne(input, 0), dim)


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """For every element, whether it is among ``test_elements``."""
    xp = (elements if isinstance(elements, Tensor) else test_elements).backend
    found = xp.isin(xp.asarray(raw(elements)), xp.asarray(raw(test_elements)))
    return Tensor.wrap(xp.asarray(~found if invert else found))


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each integer from 0 to the largest comes in a vector; with ``weights``, the sum of their weights.

    Raises:
        RuntimeError: if ``input`` is not a vector of non-negative integers.
    """
    array, xp = input.array, input.backend
    if array.ndim != 1 or array.dtype.kind not in "iu" or (array.size and int(array.min()) < 0):
        raise RuntimeError(
            f"bincount only supports 1-d non-negative integral inputs, got {array.dtype} of shape {array.shape}"
        )
    counts = xp.bincount(array, None if weights is None else weights.array, minlength)
    if weights is None:
        return Tensor.wrap(counts.astype(xp.int64))
    return Tensor.wrap(counts.astype(weights.dtype if weights.dtype.kind == "f" else xp.float64))


def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The different elements in rising order (or slices along ``dim``), and on request where they went and how often."""
    xp = input.backend
    found = xp.unique(input.array, return_inverse=return_inverse, return_counts=return_counts, axis=dim)
    if not (return_inverse or return_counts):
        return Tensor.wrap(found)
    parts = list(found)
    if return_inverse:
        parts[1] = parts[1].reshape(-1 if dim is not None else input.shape)
    return tuple(Tensor.wrap(part) for part in parts)
