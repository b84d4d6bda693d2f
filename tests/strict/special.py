"""The functions of ``xp`` that NumPy's own cannot stand in for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import guards
from .guards import Wrapped, fresh, make, unwrap, wrap
from .manifest import NAMES, Parameters, names_in


def array(
    obj: Any, dtype: Any = None, copy: bool | None = True, order: Any = "K", subok: bool = False, ndmin: int = 0, *,
    blocking: bool = False,
) -> Any:  # fmt: skip
    """``cupy.array``: takes lists, numbers and NumPy arrays (which it copies to the GPU) as well as StrictArrays."""
    if dtype is not None:
        dtype = guards.check_dtype(np.dtype(dtype))
    if isinstance(obj, Wrapped):
        result = np.array(obj._array, dtype=dtype, copy=True if copy else None, order=order, ndmin=ndmin)
        return wrap(result, (obj,), keep_order=True)
    guards.upload("array")
    result = np.array(guards.to_host(obj), dtype=dtype, copy=True, order=order or "K", ndmin=ndmin)
    guards.check_dtype(result.dtype)
    return make(result)


def asarray(a: Any, dtype: Any = None, order: Any = None, *, copy: bool | None = None, blocking: bool = False) -> Any:
    return array(a, dtype, copy, order or "K")


def ascontiguousarray(a: Any, dtype: Any = None) -> Any:
    return array(a, dtype, None, "C")


def asfortranarray(a: Any, dtype: Any = None) -> Any:
    return array(a, dtype, None, "F")


def asnumpy(a: Any, stream: None = None, order: Any = "C", out: Any = None, *, blocking: bool = True) -> np.ndarray:
    if isinstance(a, Wrapped):
        return a.get(order=order, out=out)  # type: ignore[attr-defined]
    return np.asarray(a, order=order)


def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if (x is None) != (y is None):
        raise ValueError("Must provide both 'x' and 'y' or neither.")
    if not isinstance(condition, Wrapped):
        raise TypeError(f"where(): Unsupported type {type(condition)}")
    if x is None:
        return condition.nonzero()  # type: ignore[attr-defined]
    return fresh(np.where(condition._array, unwrap(x), unwrap(y)))


def matmul(x1: Any, x2: Any, out: Any = None, *, dtype: Any = None, casting: Any = "same_kind") -> Any:
    for x in (x1, x2):
        if not isinstance(x, Wrapped):
            raise TypeError(f"matmul(): Unsupported type {type(x)}")
    with np.errstate(all="ignore"):
        if out is None:
            return fresh(np.matmul(x1._array, x2._array, dtype=dtype, casting=casting))
        np.matmul(x1._array, x2._array, out=out._array, dtype=dtype, casting=casting)
        return out


def take(a: Any, indices: Any, axis: int | None = None, out: Any = None) -> Any:
    return a.take(indices, axis, out)


def repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    return a.repeat(repeats, axis)


def put(a: Any, ind: Any, v: Any, mode: str = "wrap") -> None:
    a.put(ind, v, mode)


def nonzero(a: Any) -> Any:
    return a.nonzero()


def copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = None) -> None:
    if not isinstance(dst, Wrapped):
        raise TypeError(f"copyto(): Unsupported type {type(dst)}")
    if isinstance(src, np.ndarray):
        if src.size != 1:
            raise ValueError("non-scalar numpy.ndarray cannot be used for copyto")
        src = src.squeeze()[()]
    np.copyto(dst._array, unwrap(src), casting, True if where is None else unwrap(where))


def put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None) -> None:
    for x in (arr, indices):
        if not isinstance(x, Wrapped):
            raise TypeError(f"put_along_axis(): Unsupported type {type(x)}")
    values = unwrap(values)
    if isinstance(values, np.ndarray) and values.size > 1:
        places = np.take_along_axis(np.arange(arr.size).reshape(arr.shape), indices._array, axis)  # type: ignore[attr-defined]
        if np.unique(places).size != places.size:
            raise guards.UndefinedOnGPU(
                "put_along_axis: an index occurs twice, so CuPy leaves open which value is stored"
            )
    np.put_along_axis(arr._array, indices._array, values, axis)


def get_array_module(*args: Any) -> Any:
    from .strict_module import xp

    return xp if any(isinstance(a, Wrapped) for a in args) else np


def isscalar(element: Any) -> bool:
    return not isinstance(element, Wrapped) and np.isscalar(element)


SPECIAL: dict[str, Any] = {
    f.__name__: f
    for f in (
        array, asarray, ascontiguousarray, asfortranarray, asnumpy, where, matmul, take, repeat, put, nonzero, copyto,
        put_along_axis, get_array_module, isscalar,
    )
}  # fmt: skip
SPECIAL |= {"asanyarray": asarray, "is_available": lambda: False}


class StrictGenerator:
    """``cupy.random.Generator``: has none of NumPy's normal, choice, permutation and shuffle. Its stream is NumPy's."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator

    def __getattr__(self, name: str) -> Callable[..., Any]:
        from .strict_module import StrictFunction

        entry = NAMES.get(f"cupy.random.Generator.{name}")
        if entry is None:
            raise AttributeError(f"'Generator' object has no attribute '{name}'")
        value = StrictFunction(name, getattr(self._generator, name), Parameters.parse(entry.rest), random=True)
        self.__dict__[name] = value
        return value

    def __dir__(self) -> list[str]:
        return names_in("cupy.random.Generator")


def make_random_special() -> dict[str, Any]:
    return {"Generator": StrictGenerator, "default_rng": lambda seed=None: StrictGenerator(np.random.default_rng(seed))}
