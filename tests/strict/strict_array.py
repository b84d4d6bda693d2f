"""StrictArray: behaves like ``cupy.ndarray`` on a machine without a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import guards
from .guards import Wrapped, fresh, make, unwrap, unwrap_index, wrap, wrap_any
from .manifest import NAMES, Parameters
from .operators import ARRAY_PRIORITY, install_operators
from .scatter import scatter


class StrictFlags:
    """The three flags that CuPy's arrays have."""

    __slots__ = ("c_contiguous", "f_contiguous", "owndata")

    def __init__(self, array: StrictArray) -> None:
        self.c_contiguous = array._array.flags.c_contiguous
        self.f_contiguous = array._array.flags.f_contiguous
        self.owndata = array.base is None

    @property
    def fnc(self) -> bool:
        return self.f_contiguous and not self.c_contiguous

    @property
    def forc(self) -> bool:
        return self.f_contiguous or self.c_contiguous

    def __getitem__(self, name: str) -> bool:
        if name not in ("C_CONTIGUOUS", "F_CONTIGUOUS", "OWNDATA"):
            raise KeyError(f"{name} is not defined for cupy.ndarray.flags")
        return getattr(self, name.lower())


class _Device:
    """The GPU that the array would be on."""

    id = 0


class StrictArray(Wrapped):
    """A NumPy array behind CuPy's manners.

    Attributes:
        base: of a view, the array that owns the memory; of any other array, None.

    ``StrictArray(shape, dtype, order=…)`` makes an array without set values, as ``cupy.ndarray(…)`` does.
    """

    __slots__ = ()
    __array_priority__ = ARRAY_PRIORITY
    __hash__ = None  # type: ignore[assignment]
    device = _Device()

    def __init__(
        self, shape: Any, dtype: Any = float, memptr: None = None, strides: None = None, order: str = "C"
    ) -> None:
        if memptr is not None or strides is not None:
            raise NotImplementedError("StrictArray: memptr and strides")
        self._array = np.empty(shape, guards.check_dtype(np.dtype(dtype)), order=order)  # type: ignore[call-overload]
        self.base = None

    # -- attributes ---------------------------------------------------------------------------------------------------

    shape = property(lambda self: self._array.shape)
    dtype = property(lambda self: self._array.dtype)
    ndim = property(lambda self: self._array.ndim)
    size = property(lambda self: self._array.size)
    strides = property(lambda self: self._array.strides)
    nbytes = property(lambda self: self._array.nbytes)
    itemsize = property(lambda self: self._array.itemsize)
    flags = property(StrictFlags)
    mT = property(lambda self: wrap(self._array.mT, (self,)))  # noqa: N815

    @property
    def T(self) -> StrictArray:  # noqa: N802
        return self if self._array.ndim < 2 else wrap(self._array.T, (self,))

    @property
    def real(self) -> StrictArray:
        return wrap(self._array.real, (self,))

    @real.setter
    def real(self, value: Any) -> None:
        self._array.real = unwrap(value)

    @property
    def imag(self) -> StrictArray:
        return wrap(self._array.imag, (self,))

    @imag.setter
    def imag(self, value: Any) -> None:
        self._array.imag = unwrap(value)

    # -- ways to the CPU ----------------------------------------------------------------------------------------------

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError(guards.NO_IMPLICIT_CONVERSION)

    def get(
        self, stream: None = None, order: Any = "C", out: np.ndarray | None = None, blocking: bool = True
    ) -> np.ndarray:
        """Return a copy as a NumPy array."""
        guards.sync("get")
        if out is None:
            return np.array(self._array, order=order, copy=True)
        if not isinstance(out, np.ndarray):
            raise TypeError("Only numpy.ndarray can be obtained from cupy.ndarray")
        if out.dtype != self.dtype:
            raise TypeError(f"{out.dtype} array cannot be obtained from {self.dtype} array")
        if out.shape != self.shape:
            raise ValueError(f"Shape mismatch. Expected shape: {self.shape}, actual shape: {out.shape}")
        out[...] = self._array
        return out

    def set(self, arr: np.ndarray, stream: None = None) -> None:
        """Fill the array from a NumPy array of the same shape and dtype."""
        guards.upload("set")
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        self._array[...] = arr

    def item(self) -> Any:
        guards.sync("item")
        return self._array.item()

    def tolist(self) -> Any:
        guards.sync("tolist")
        return self._array.tolist()

    def tobytes(self, order: Any = "C") -> bytes:
        guards.sync("tobytes")
        return self._array.tobytes(order)

    def __bool__(self) -> bool:
        guards.sync("bool")
        return bool(self._array)

    def __int__(self) -> int:
        guards.sync("int")
        return int(self._array)

    def __float__(self) -> float:
        guards.sync("float")
        return float(self._array)

    def __complex__(self) -> complex:
        guards.sync("complex")
        return complex(self._array)

    def __repr__(self) -> str:
        guards.sync("repr")
        return repr(self._array)

    def __str__(self) -> str:
        guards.sync("str")
        return str(self._array)

    def __format__(self, format_spec: str) -> str:
        guards.sync("format")
        return format(self._array[()], format_spec)

    def __reduce__(self) -> Any:
        return _unpickle, (self.get(),)

    # -- indexing -----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[StrictArray]:
        if self._array.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(self._array.shape[0]))

    def __getitem__(self, index: Any) -> StrictArray:
        index, sort = unwrap_index(index)
        if sort != "basic":
            if sort == "mask":
                guards.sync("mask")  # the shape of the result depends on the data
            return fresh(self._array[index])
        result = self._array[index]
        if not isinstance(result, np.ndarray):  # all axes are given; with an ellipsis NumPy gives a view, not a scalar
            result = self._array[(*index, ...) if type(index) is tuple else (index, ...)]
        # a basic index always gives a view, so there is no need to compare owners as wrap() does
        return make(result, self if self.base is None else self.base)

    def __setitem__(self, index: Any, value: Any) -> None:
        index, sort = unwrap_index(index)
        if sort == "mask":
            guards.sync("mask")
        if isinstance(value, Wrapped):
            value = value._array
        elif isinstance(value, np.ndarray) and value.ndim and sort == "basic":
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        elif isinstance(value, np.ndarray) or (isinstance(value, (list, tuple)) and sort != "basic"):
            guards.upload("setitem")
            value = guards.to_host(value)
        else:
            value = unwrap(value)
        if sort == "integers":
            guards.check_writes_once(self._array, index, value)
        with np.errstate(all="ignore"):
            self._array[index] = value

    # -- methods whose behaviour is not just NumPy's ------------------------------------------------------------------

    def astype(
        self, dtype: Any, order: Any = "K", casting: None = None, subok: None = None, copy: bool = True
    ) -> StrictArray:
        if casting is not None or subok is not None:
            raise TypeError("astype(): casting and subok are not supported yet")
        dtype = guards.check_dtype(np.dtype(dtype))
        with np.errstate(all="ignore"):
            return wrap(self._array.astype(dtype, order=order, copy=copy), (self,), keep_order=True)

    def copy(self, order: Any = "C") -> StrictArray:
        return make(self._array.copy(order))

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> StrictArray:
        return self.copy()

    def fill(self, value: Any) -> None:
        if isinstance(value, np.ndarray):
            if value.shape != ():
                raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
            value = value.item()
        self._array[...] = unwrap(value)

    def view(self, dtype: Any = None, type: None = None) -> StrictArray:
        if type is not None:
            raise NotImplementedError("StrictArray.view: type")
        return wrap(self._array.view() if dtype is None else self._array.view(dtype), (self,))

    def take(self, indices: Any, axis: int | None = None, out: Any = None) -> StrictArray:
        if isinstance(indices, (list, tuple, np.ndarray)):
            guards.upload("index")
            indices = guards.to_host(indices).astype(int)
        else:
            indices = unwrap(indices)
        result = fresh(np.take(self._array, indices, axis))
        if out is None:
            return result
        if out.dtype != self.dtype:
            raise TypeError("Output dtype mismatch")
        if out.shape != result.shape:
            raise ValueError("Output shape mismatch")
        out._array[...] = result._array
        return out

    def put(self, indices: Any, values: Any, mode: Any = "wrap") -> None:
        where, what = guards.to_host(indices), guards.to_host(values)
        if mode == "wrap" and where.size and not -self.size <= where.min() <= where.max() < self.size:
            raise guards.UndefinedOnGPU("put: an index is out of range, which only mode='wrap' of CuPy lets pass")
        guards.check_writes_once(self._array.reshape(-1), where, what)
        self._array.put(where, what, mode=mode)

    def sort(self, axis: int = -1, kind: Any = None) -> None:
        if not self._array.flags.c_contiguous:
            raise NotImplementedError("Sorting non-contiguous array is not supported.")
        self._array.sort(axis, kind="stable")

    def nonzero(self) -> tuple[StrictArray, ...]:
        guards.sync("nonzero")
        return tuple(fresh(i) for i in self._array.nonzero())

    def repeat(self, repeats: Any, axis: int | None = None) -> StrictArray:
        if isinstance(repeats, Wrapped):
            guards.sync("repeat")
            repeats = repeats._array
        return fresh(self._array.repeat(repeats, axis))

    def scatter_add(self, slices: Any, value: Any) -> None:
        scatter("add", self, slices, value)

    def scatter_max(self, slices: Any, value: Any) -> None:
        scatter("max", self, slices, value)

    def scatter_min(self, slices: Any, value: Any) -> None:
        scatter("min", self, slices, value)

    # -- NumPy's functions called with a StrictArray: CuPy answers in their place -------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        function = find_function("numpy", ufunc.__name__)
        if method != "__call__" or function is None:
            return NotImplemented
        for x in (*inputs, *kwargs.get("out", ())):
            if not isinstance(x, (Wrapped, np.ndarray)) and not guards.is_scalar(x):
                return NotImplemented
        return function(*inputs, **kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        function = find_function(func.__module__, func.__name__)
        return NotImplemented if function is None else function(*args, **kwargs)


# strict_module.py sets this: the stand-in for the function that has this place and name in NumPy, or None
find_function: Callable[[str, str], Any] = lambda module, name: None  # noqa: E731


def _unpickle(array: np.ndarray) -> StrictArray:
    return make(array)


def _method(name: str, parameters: Parameters) -> Callable[..., Any]:
    """A method that is NumPy's but for its parameters, its operands and its result."""

    def call(self: StrictArray, *args: Any, **kwargs: Any) -> Any:
        parameters.check(name, args, kwargs)
        parents = (self, *(a for a in (*args, *kwargs.values()) if isinstance(a, Wrapped)))
        for a in (*args, *kwargs.values()):
            if isinstance(a, np.ndarray):
                raise TypeError(f"Unsupported type {type(a)}")
        args = tuple(a._array if isinstance(a, Wrapped) else a for a in args)
        kwargs = {k: a._array if isinstance(a, Wrapped) else a for k, a in kwargs.items()}
        with np.errstate(all="ignore"):
            return wrap_any(getattr(self._array, name)(*args, **kwargs), parents)

    call.__name__ = name
    return call


def _complete() -> None:
    """Give the class its operators, and those of CuPy's methods that are not written out above."""
    install_operators(StrictArray)
    for full_name, entry in NAMES.items():
        owner, _, name = full_name.rpartition(".")
        if (
            owner == "cupy.ndarray"
            and entry.kind == "function"
            and name not in vars(StrictArray)
            and hasattr(np.ndarray, name)
        ):
            setattr(StrictArray, name, _method(name, Parameters.parse(entry.rest)))


guards.array_class.append(StrictArray)
_complete()
