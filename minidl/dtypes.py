"""Data types. A minidl dtype *is* a NumPy dtype; this file names them and states how they mix."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

float16 = half = np.dtype("float16")
float32 = float = np.dtype("float32")
float64 = double = np.dtype("float64")
uint8 = np.dtype("uint8")
int8 = np.dtype("int8")
int16 = short = np.dtype("int16")
int32 = int = np.dtype("int32")
int64 = long = np.dtype("int64")
bool = np.dtype("bool")

_default = [float32]
_RANK = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}  # bool < integer < floating < complex
_OF_PYTHON = {builtins.bool: bool, builtins.int: int64}


def get_default_dtype() -> np.dtype:
    """Return the dtype that Python floats become (float32 unless changed)."""
    return _default[0]


def set_default_dtype(dtype: Any) -> None:
    """Set the dtype that Python floats become.

    Raises:
        TypeError: if it is not a floating point dtype.
    """
    dtype = np.dtype(dtype)
    if dtype.kind != "f":
        raise TypeError(f"only floating-point types are supported as the default type, got {dtype}")
    _default[0] = dtype


def is_floating(dtype: np.dtype) -> Any:
    """True for float16, float32, float64 (and extension floats such as bfloat16)."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def promote_types(a: np.dtype, b: np.dtype) -> np.dtype:
    """The dtype that holds both: the larger of one kind, and the floating one of a float and an integer."""
    if a == b:
        return a
    if a.kind == "f" and b.kind in "biu":
        return a
    if b.kind == "f" and a.kind in "biu":
        return b
    return np.promote_types(a, b)


def result_type(*operands: Any) -> np.dtype:
    """The dtype of an operation on these Tensors, arrays and Python numbers, by PyTorch's rule.

    Operands with dimensions decide; a 0-d Tensor changes the outcome only by being of a higher kind (a float among
    integers), and a Python number only by being of a higher kind than all Tensors.
    """
    by_priority: list[np.dtype | None] = [None, None, None]  # with dimensions, 0-d, Python numbers
    for x in operands:
        if hasattr(x, "dtype"):
            priority, dtype = (0 if x.ndim else 1), x.dtype
        else:
            priority, dtype = 2, _OF_PYTHON.get(type(x), _default[0])
        known = by_priority[priority]
        by_priority[priority] = dtype if known is None else promote_types(known, dtype)
    result: np.dtype | None = None
    for known in by_priority:
        if known is not None and (result is None or _RANK[known.kind] > _RANK[result.kind]):
            result = known
    assert result is not None, "result_type needs an operand"
    return result
