"""The operators of StrictArray: which operands they take, and whom they leave the rest to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import guards
from .guards import Wrapped, fresh, unwrap

ARRAY_PRIORITY = 100  # CuPy's


def defer(other: Any) -> Any:
    """For an operand that is no array and no number: NotImplemented if its own reflected operator is to have a go.

    Raises:
        TypeError: for lists, NumPy arrays, None and the like.
    """
    if not isinstance(other, (np.ndarray, list, tuple, str, bytes, dict, type(None))):
        try:
            own_turn = other.__array_ufunc__ is None
        except AttributeError:
            own_turn = getattr(other, "__array_priority__", 0) > ARRAY_PRIORITY
        if own_turn:
            return NotImplemented
    raise TypeError(f"Unsupported type {type(other)}")


def _binary(ufunc: np.ufunc, reflected: bool = False) -> Callable[[Any, Any], Any]:
    def operate(self: Any, other: Any) -> Any:
        if isinstance(other, Wrapped):
            value = other._array
        elif guards.is_scalar(other):
            value = other
        else:
            return defer(other)
        with np.errstate(all="ignore"):  # a GPU does not warn
            return fresh(ufunc(value, self._array) if reflected else ufunc(self._array, value))

    return operate


def _in_place(ufunc: np.ufunc) -> Callable[[Any, Any], Any]:
    def operate(self: Any, other: Any) -> Any:
        value = unwrap(other)
        with np.errstate(all="ignore"):
            ufunc(self._array, value, out=self._array)
        return self

    return operate


def _unary(ufunc: np.ufunc) -> Callable[[Any], Any]:
    def operate(self: Any) -> Any:
        with np.errstate(all="ignore"):
            return fresh(ufunc(self._array))

    return operate


BINARY: dict[str, np.ufunc] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide, "floordiv": np.floor_divide,
    "mod": np.remainder, "pow": np.power, "lshift": np.left_shift, "rshift": np.right_shift, "and": np.bitwise_and,
    "or": np.bitwise_or, "xor": np.bitwise_xor,
}  # fmt: skip
COMPARISONS: dict[str, np.ufunc] = {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
}  # fmt: skip
UNARY: dict[str, np.ufunc] = {"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert}


def _matmul(self: Any, other: Any) -> Any:
    return fresh(np.matmul(self._array, other._array)) if isinstance(other, Wrapped) else defer(other)


def _divmod(self: Any, other: Any) -> Any:
    return self // other, self % other


def install_operators(cls: type) -> None:
    """Give the class every operator that ``cupy.ndarray`` has."""
    for name, ufunc in BINARY.items():
        setattr(cls, f"__{name}__", _binary(ufunc))
        setattr(cls, f"__r{name}__", _binary(ufunc, reflected=True))
        setattr(cls, f"__i{name}__", _in_place(ufunc))
    for name, ufunc in COMPARISONS.items():
        setattr(cls, f"__{name}__", _binary(ufunc))
    for name, ufunc in UNARY.items():
        setattr(cls, f"__{name}__", _unary(ufunc))
    for name, operate in {"matmul": _matmul, "divmod": _divmod}.items():
        setattr(cls, f"__{name}__", operate)
