"""``cupyx.scatter_add``, ``scatter_max`` and ``scatter_min``: writing through indices that may occur twice."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import guards

UFUNCS = {"add": np.add, "max": np.maximum, "min": np.minimum}
# what CUDA's atomic operations, as CuPy calls them, can do
DTYPES = {
    "add": ("int32", "float16", "float32", "float64", "uint32", "uint64"),
    "max": ("int32", "float32", "float64", "uint32", "uint64"),
    "min": ("int32", "float32", "float64", "uint32", "uint64"),
}


def scatter(operation: str, target: Any, index: Any, value: Any) -> None:
    """Apply the operation to ``target[index]`` and ``value``, once for every index.

    Raises:
        TypeError: if the indices are integers and the dtype of ``target`` has no atomic operation.
        IndexError: if an index is out of range (CuPy would wrap it around).
    """
    if not isinstance(target, guards.Wrapped):
        raise TypeError(f"Unsupported type {type(target)}")
    index, sort = guards.unwrap_index(index)
    if sort == "integers" and target._array.dtype.name not in DTYPES[operation]:
        raise TypeError(f"scatter_{operation} only supports {', '.join(DTYPES[operation])}, as data type")
    if sort == "mask":
        guards.sync("mask")
    if isinstance(value, (list, np.ndarray)) and sort != "basic":
        guards.upload("scatter")
        value = np.asarray(value)
    else:
        value = guards.unwrap(value)
    if sort == "basic":
        target._array[index] = UFUNCS[operation](target._array[index], value)  # a slice names nothing twice
        return
    with np.errstate(all="ignore"):
        UFUNCS[operation].at(target._array, index, np.asarray(value).astype(target._array.dtype))


class StrictCupyx:
    """Stands in for the module ``cupyx``; of it, minidl may use these three functions."""

    @staticmethod
    def scatter_add(a: Any, slices: Any, value: Any) -> None:
        scatter("add", a, slices, value)

    @staticmethod
    def scatter_max(a: Any, slices: Any, value: Any) -> None:
        scatter("max", a, slices, value)

    @staticmethod
    def scatter_min(a: Any, slices: Any, value: Any) -> None:
        scatter("min", a, slices, value)


cupyx = StrictCupyx()
