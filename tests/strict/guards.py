"""What the stand-in shares: errors, counters, and the way between a StrictArray and the NumPy array inside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

NO_IMPLICIT_CONVERSION = (
    "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly."
)

# np.generic has many subclasses; asking for the exact type first is faster than isinstance.
PYTHON_SCALARS = frozenset({int, float, bool, complex})


class UndefinedOnGPU(RuntimeError):
    """CuPy would go on with whatever comes out here; no test should depend on it."""


def is_scalar(value: Any) -> bool:
    """True for what CuPy takes beside arrays: Python's numbers and NumPy's scalars."""
    return type(value) in PYTHON_SCALARS or isinstance(value, (np.generic, int, float, complex))


def check_dtype(dtype: np.dtype) -> np.dtype:
    """Return the dtype; ValueError if CuPy has no such arrays."""
    if dtype.kind not in "biufc" or dtype.char in "gG":
        raise ValueError(f"Unsupported dtype {dtype}")
    return dtype


# -- counters --------------------------------------------------------------------------------------------------------

_sync_counters: list[Counter[str]] = []
_upload_counters: list[Counter[str]] = []


def sync(cause: str) -> None:
    """Note that the CPU would have waited for the GPU here."""
    for counter in _sync_counters:
        counter[cause] += 1


def upload(cause: str) -> None:
    """Note that data would have been copied from the CPU to the GPU here."""
    for counter in _upload_counters:
        counter[cause] += 1


@contextmanager
def _counting(counters: list[Counter[str]]) -> Iterator[Counter[str]]:
    counter: Counter[str] = Counter()
    counters.append(counter)
    try:
        yield counter
    finally:
        # by identity: list.remove would take out another counter that happens to hold the same counts
        del counters[next(i for i, c in enumerate(counters) if c is counter)]


def count_syncs() -> Any:
    """Count in a ``with`` block how often the CPU would have waited for the GPU, by cause.

    Example:
        >>> with count_syncs() as syncs:
        ...     float(xp.ones(3).sum())
        3.0
        >>> syncs
        Counter({'float': 1})
    """
    return _counting(_sync_counters)


def count_uploads() -> Any:
    """Count in a ``with`` block the copies from the CPU to the GPU, by cause (lists used as an index are such, too)."""
    return _counting(_upload_counters)


# -- wrapping --------------------------------------------------------------------------------------------------------


class Wrapped:
    """The two slots of a StrictArray. The class proper, in strict_array.py, adds what a user sees."""

    __slots__ = ("__weakref__", "_array", "base")
    _array: np.ndarray
    base: Any


# strict_array.py puts its class here: functions below make StrictArrays, and its methods call those functions
array_class: list[type] = []


def make(array: np.ndarray, base: Any = None) -> Any:
    """Return a StrictArray around this very array."""
    new: Any = object.__new__(array_class[0])
    new._array = array
    new.base = base
    return new


def fresh(result: Any) -> Any:
    """Wrap a newly computed result.

    A NumPy scalar becomes a 0-d array, and the memory row-major: CuPy's ufuncs, reductions and copies return C order
    whatever order their operands have.
    """
    if type(result) is not np.ndarray:
        result = np.asarray(result)
    elif not result.flags.c_contiguous:
        result = result.copy("C")
    return make(result)


def owner(array: Any) -> Any:
    """Return the object that owns the array's memory."""
    while (base := getattr(array, "base", None)) is not None:
        array = base
    return array


def wrap(result: np.ndarray, parents: tuple[Any, ...], keep_order: bool = False) -> Any:
    """Wrap what NumPy made from the StrictArrays ``parents``: a view's base is the parent's root, a copy's is None."""
    for parent in parents:
        if parent._array is result:
            return parent
    if result.base is not None:
        memory = owner(result)
        for parent in parents:
            if owner(parent._array) is memory:
                return make(result, parent if parent.base is None else parent.base)
    return make(result) if keep_order else fresh(result)


def wrap_any(result: Any, parents: tuple[Any, ...], keep_order: bool = False) -> Any:
    """Wrap arrays and NumPy scalars, also inside tuples and lists; leave everything else as it is."""
    if isinstance(result, np.ndarray):
        return wrap(result, parents, keep_order)
    if isinstance(result, np.generic):
        return make(np.asarray(result))
    if isinstance(result, (tuple, list)):  # also NumPy's named tuples: CuPy's have other types
        return (list if isinstance(result, list) else tuple)(wrap_any(r, parents, keep_order) for r in result)
    return result


def unwrap(value: Any) -> Any:
    """Return the operand for NumPy.

    Raises:
        TypeError: for NumPy arrays, lists and everything else that CuPy's kernels refuse.
    """
    if isinstance(value, Wrapped):
        return value._array
    if is_scalar(value):
        return value
    raise TypeError(f"Unsupported type {type(value)}")


# -- indices ---------------------------------------------------------------------------------------------------------


def unwrap_index(index: Any) -> tuple[Any, str]:
    """Return the index for NumPy, and its sort: ``"basic"``, ``"mask"`` or ``"integers"``.

    Lists and NumPy arrays are let through, as CuPy lets them, but counted: each is copied to the GPU.

    Raises:
        IndexError: if an index array is neither of integers nor of booleans.
    """
    sort = "basic"
    parts = []
    for part in index if type(index) is tuple else (index,):
        if isinstance(part, Wrapped):
            part = part._array
        elif isinstance(part, (list, tuple, np.ndarray)):
            upload("index")
            part = to_host(part)
            if part.size == 0 and part.dtype.kind == "f":
                part = part.astype(np.int32)
        elif isinstance(part, (bool, np.bool_)):
            part = np.asarray(part)
        else:
            parts.append(part)
            continue
        if part.dtype.kind not in "biu":
            raise IndexError(f"arrays used as indices must be of integer or boolean type. (actual: {part.dtype.type})")
        if part.dtype.kind != "b":
            sort = "integers"
        elif sort == "basic":
            sort = "mask"
        parts.append(part)
    return tuple(parts) if type(index) is tuple else parts[0], sort


def to_host(data: Any) -> np.ndarray:
    """Return nested lists, which may hold StrictArrays, as a NumPy array."""
    if isinstance(data, Wrapped):
        return data._array
    if isinstance(data, (list, tuple)):
        return np.array([to_host(d) if isinstance(d, (Wrapped, list, tuple)) else d for d in data])
    return np.asarray(data)


def check_writes_once(target: np.ndarray, index: Any, value: Any) -> None:
    """Refuse ``target[index] = value`` where two different values may be meant for one place.

    Raises:
        UndefinedOnGPU: if integer indices name a place twice and ``value`` is more than one number.
    """
    if not isinstance(value, np.ndarray) or value.size <= 1:
        return
    places = np.arange(target.size).reshape(target.shape)[index]
    if np.unique(places).size != places.size:
        raise UndefinedOnGPU("a[i] = v: an index occurs twice in i, so CuPy leaves open which value is stored")
