"""``xp``: stands in for the module ``cupy``. It has CuPy's functions with CuPy's parameters, no others."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from . import guards, strict_array
from .guards import Wrapped, fresh, make, unwrap, wrap_any
from .manifest import NAMES, Entry, Parameters, names_in
from .scatter import scatter
from .special import SPECIAL, make_random_special
from .strict_array import StrictArray

# Parameters by what they take. Whatever is not listed takes a StrictArray or a number.
PLAIN = frozenset(
    "axis axes axis1 axis2 axisa axisb axisc dtype order keepdims ddof shape newshape new_shape "
    "window_shape size copy subok casting mode kind k indices_or_sections decimals reps shift pad_width "
    "source destination side ndmin offset num endpoint retstep n N M assume_unique invert equal_nan rtol "
    "atol overwrite_input method dims dimensions strides writeable blocking ord full_matrices compute_uv "
    "UPLO minlength density range kth bitorder increasing rcond include_initial replace seed return_index "
    "return_inverse return_counts return_indices returned rowvar bias trim type requirements from_ to".split()
)
ARRAY_SEQUENCES = frozenset({"tup", "condlist", "choicelist"})
ARRAYS_OR_LISTS = frozenset({"indices", "repeats", "q", "bins"})  # CuPy copies a list to the GPU itself

# Functions whose first operand need not be an array.
SCALARS_WELCOME = frozenset(
    "ndim shape size isscalar iscomplexobj isrealobj result_type can_cast min_scalar_type common_type "
    "linspace logspace arange full zeros ones empty eye identity tri indices isclose allclose atleast_1d "
    "atleast_2d atleast_3d meshgrid ix_ promote_types fromfunction broadcast_shapes bartlett blackman "
    "hamming hanning kaiser nan_to_num issubdtype tril_indices triu_indices mask_indices diag_indices "
    "unravel_index".split()
)
KEEP_ORDER = frozenset(
    "empty_like zeros_like ones_like full_like empty zeros ones full copy require asfortranarray".split()
)
# NumPy answers these with a Python value, CuPy with a 0-d array.
ZERO_DIMENSIONAL = frozenset("allclose array_equal array_equiv count_nonzero".split())
# The shape of the result, or an error to be raised, depends on data: the CPU waits for the GPU.
SYNCHRONISING = frozenset(
    "nonzero argwhere flatnonzero unique extract compress bincount trim_zeros intersect1d union1d "
    "setdiff1d setxor1d delete histogram cholesky solve inv pinv qr svd eigh eigvalsh slogdet det lstsq "
    "matrix_rank".split()
)


def convert(function: str, parameter: str, value: Any) -> Any:
    """Return an argument for NumPy.

    Raises:
        TypeError: if the parameter takes arrays and this is a NumPy array or a list, or the other way round.
    """
    if value is None or isinstance(value, (str, bool, type, np.dtype)):
        return value
    if parameter in PLAIN:
        if isinstance(value, (Wrapped, np.ndarray)):
            raise TypeError(
                f"{function}(): {parameter} must be given on the CPU, as numbers, not as {type(value).__name__}"
            )
        return value
    if parameter in ARRAY_SEQUENCES:
        if isinstance(value, Wrapped):
            return value._array
        if not all(isinstance(v, Wrapped) for v in value):
            raise TypeError(f"{function}(): Only cupy arrays can be concatenated")
        return [v._array for v in value]
    if parameter in ARRAYS_OR_LISTS and isinstance(value, (list, tuple)):
        guards.upload(function)
        return guards.to_host(value)
    if callable(value) and not isinstance(value, Wrapped):
        return value
    return unwrap(value)


def numpy_names(function: Any, parameters: Parameters) -> dict[str, str | None]:
    """Map CuPy's parameter names to NumPy's; None where NumPy has no such parameter."""
    try:
        named = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    theirs = [p for p in named.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    mapping: dict[str, str | None] = {}
    for i, name in enumerate(parameters.positional):
        if name in named:
            mapping[name] = name
        else:
            slot = theirs[i].name if i < len(theirs) else None
            mapping[name] = slot if slot not in parameters.named else None
    return mapping


class StrictFunction:
    """One function of CuPy's, carried out by NumPy's function of that name."""

    def __init__(
        self, name: str, numpy_function: Callable[..., Any], parameters: Parameters, random: bool = False
    ) -> None:
        self.__name__ = self._name = name
        self._function = numpy_function
        self._parameters = parameters
        self._names = numpy_names(numpy_function, parameters)
        self._keep_order = name in KEEP_ORDER
        # by position as far as both modules have the same parameter in that place
        self._by_position = 0
        try:
            slots = list(inspect.signature(numpy_function).parameters)
        except (TypeError, ValueError):
            slots = list(parameters.positional)
        for ours, theirs in zip(parameters.positional, slots, strict=False):
            if self._names.get(ours, ours) != theirs:
                break
            self._by_position += 1
        first = parameters.positional[0] if parameters.positional else ""
        takes_array = bool(first) and first not in PLAIN | ARRAY_SEQUENCES
        self._first_is_array = takes_array and name not in SCALARS_WELCOME and not random

    def __repr__(self) -> str:
        return f"<strict function {self._name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name, parameters = self._name, self._parameters
        parameters.check(name, args, kwargs)
        positional = parameters.positional
        if self._first_is_array:
            first = args[0] if args else kwargs.get(positional[0])
            if not isinstance(first, Wrapped):
                raise TypeError(f"{name}(): Unsupported type {type(first)}")
        by_position: list[Any] = []
        by_name: dict[str, Any] = {}
        for i, value in enumerate(args):
            parameter = positional[i] if i < len(positional) else "*"
            if not (name == "einsum" and isinstance(value, (list, tuple))):  # lists are its subscripts
                value = convert(name, parameter, value)
            if parameter == "*" or i < self._by_position:
                by_position.append(value)
            else:
                self._add(by_name, parameter, value)
        for parameter, value in kwargs.items():
            if parameter in positional[: self._by_position] and positional.index(parameter) == len(by_position):
                by_position.append(convert(name, parameter, value))  # NumPy may take it by position only
            else:
                self._add(by_name, parameter, convert(name, parameter, value))
        if name in SYNCHRONISING:
            guards.sync(name)
        with np.errstate(all="ignore"):
            result = self._function(*by_position, **by_name)
        if name in ZERO_DIMENSIONAL:
            return make(np.asarray(result))
        return wrap_any(result, _arrays_in((*args, *kwargs.values())), self._keep_order)

    def _add(self, by_name: dict[str, Any], parameter: str, value: Any) -> None:
        theirs = self._names.get(parameter, parameter)
        if theirs is not None:
            by_name[theirs] = value
        elif value is not None:
            raise TypeError(f"{self._name}(): {parameter} is CuPy's only; NumPy does not know it")


def _arrays_in(values: Any) -> tuple[Any, ...]:
    arrays: list[Any] = []
    for value in values:
        if isinstance(value, Wrapped):
            arrays.append(value)
        elif isinstance(value, (list, tuple)):
            arrays.extend(v for v in value if isinstance(v, Wrapped))
    return tuple(arrays)


class StrictUfunc:
    """A ufunc with the methods that CuPy has: ``reduce``, ``accumulate`` for add and multiply, ``at`` for a few."""

    def __init__(self, name: str, ufunc: np.ufunc, has_at: bool = False) -> None:
        self.__name__ = self.name = name
        self.nin, self.nout, self.nargs = ufunc.nin, ufunc.nout, ufunc.nargs
        self._ufunc = ufunc
        self._has_at = has_at

    def __repr__(self) -> str:
        return f"<ufunc 'cupy_{self.name}'>"

    def __call__(
        self, *args: Any, out: Any = None, dtype: Any = None, casting: str = "same_kind", **unknown: Any
    ) -> Any:
        if unknown:
            raise TypeError(f"Wrong arguments {unknown}")
        if not self.nin <= len(args) <= self.nargs:
            raise TypeError(
                f"Wrong number of arguments for 'cupy_{self.name}'. It must be either {self.nin} or {self.nargs} (with "
                f"outputs), but given {len(args)}."
            )
        operands = [unwrap(a) for a in args[: self.nin]]
        outs = args[self.nin :] if out is None else out if isinstance(out, tuple) else (out,)
        if any(o is not None for o in outs):
            if not all(o is None or isinstance(o, Wrapped) for o in outs):
                raise TypeError("Output arguments type must be cupy.ndarray")
            with np.errstate(all="ignore"):
                result = self._ufunc(
                    *operands, out=tuple(None if o is None else o._array for o in outs), dtype=dtype, casting=casting
                )
            return wrap_any(result, tuple(o for o in outs if o is not None))
        with np.errstate(all="ignore"):
            result = self._ufunc(*operands, dtype=dtype, casting=casting)
        return tuple(fresh(r) for r in result) if self.nout > 1 else fresh(result)

    def reduce(self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        if self.name not in ("add", "multiply"):
            raise NotImplementedError(f"`cupy_{self.name}.reduce` is not supported yet")
        return (array.sum if self.name == "add" else array.prod)(axis, dtype, out, keepdims)

    def accumulate(self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None) -> Any:
        if self.name not in ("add", "multiply"):
            raise NotImplementedError(f"`cupy_{self.name}.accumulate` is not supported yet")
        return (array.cumsum if self.name == "add" else array.cumprod)(axis, dtype, out)

    def at(self, a: Any, indices: Any, b: Any = None) -> None:
        operation = {"add": "add", "maximum": "max", "minimum": "min"}.get(self.name)
        if not self._has_at or operation is None:
            raise NotImplementedError(f"`cupy_{self.name}.at` is not supported yet")
        scatter(operation, a, indices, b)

    def outer(self, a: Any, b: Any, **kwargs: Any) -> Any:
        return self(a.reshape(a.shape + (1,) * b.ndim), b, **kwargs)


class StrictNamespace:
    """A module of CuPy's. Each name is made when it is first asked for."""

    def __init__(self, path: str, numpy_module: Any, special: dict[str, Any]) -> None:
        self.__name__ = path
        self._numpy = numpy_module
        self.__dict__.update(special)

    def __getattr__(self, name: str) -> Any:
        entry = NAMES.get(f"{self.__name__}.{name}")
        if entry is None or name.startswith("_"):
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
        theirs = getattr(self._numpy, name, self)
        if theirs is self or entry.kind in ("module", "attribute"):
            raise AttributeError(f"'{self.__name__}.{name}' is in CuPy but not in its stand-in, which runs on NumPy")
        value = self.__dict__[name] = self._build(name, entry, theirs)
        return value

    def _build(self, name: str, entry: Entry, theirs: Any) -> Any:
        if entry.kind == "ufunc" and isinstance(theirs, np.ufunc):
            return StrictUfunc(name, theirs, entry.rest.endswith(" at"))
        if entry.kind in ("ufunc", "function"):
            parameters = Parameters.parse("x" if entry.kind == "ufunc" else entry.rest)
            return StrictFunction(name, theirs, parameters, random=self.__name__ == "cupy.random")
        return theirs  # dtypes and constants

    def __dir__(self) -> list[str]:
        return names_in(self.__name__)


def _find_function(module: str, name: str) -> Any:
    """The stand-in for ``numpy.<name>`` or ``numpy.linalg.<name>``, or None."""
    space = {"numpy": xp, "numpy.linalg": xp.linalg, "numpy.lib.stride_tricks": xp.lib.stride_tricks}.get(module)
    return None if space is None else getattr(space, name, None)


class _Lib:
    stride_tricks = StrictNamespace("cupy.lib.stride_tricks", np.lib.stride_tricks, {})


xp = StrictNamespace(
    "cupy",
    np,
    {
        **SPECIAL,
        "ndarray": StrictArray,
        "ufunc": StrictUfunc,
        "lib": _Lib(),
        "linalg": StrictNamespace("cupy.linalg", np.linalg, {}),
        "random": StrictNamespace("cupy.random", np.random, make_random_special()),
    },
)
strict_array.find_function = _find_function
