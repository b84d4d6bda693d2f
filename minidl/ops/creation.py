"""Making Tensors from numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import dtypes
from minidl.backend import backend_for, backend_of
from minidl.ops.shape import sizes
from minidl.tensor import Tensor, native, to_array


def _finish(array: Any, requires_grad: bool) -> Tensor:
    t = Tensor.wrap(array)
    return t.requires_grad_() if requires_grad else t


def _dtype(dtype: Any) -> np.dtype:
    return dtypes.get_default_dtype() if dtype is None else np.dtype(dtype)


def _sizes(name: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    shape = sizes(size)
    if any(n < 0 for n in shape):
        raise RuntimeError(f"{name}: Dimension size must be non-negative, got {shape}")
    return shape


def tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Make a Tensor with a copy of ``data``: a number, nested lists of numbers, or an array.

    Python floats become float32 (see ``set_default_dtype``), integers int64; NumPy arrays keep their dtype.

    Example:
        >>> minidl.tensor([[1, 2], [3, 4.5]])
        tensor([[1.0000, 2.0000],
                [3.0000, 4.5000]])
    """
    return _finish(to_array(data, None if dtype is None else np.dtype(dtype), backend_for(device)), requires_grad)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """As ``tensor``, but without a copy where ``data`` already is a Tensor or array of that dtype and device."""
    if isinstance(data, np.ndarray):
        data = Tensor.wrap(data.astype(native(data.dtype), copy=False))
    if isinstance(data, Tensor):
        return data.to(device=device, dtype=dtype)
    return tensor(data, dtype, device)


def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A Tensor that shares the memory of a NumPy array.

    Raises:
        TypeError: if it is not a NumPy array of numbers or booleans.
        ValueError: if its numbers are in another byte order than this machine's.
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    if ndarray.dtype.kind not in "biuf":
        raise TypeError(f"can't convert np.ndarray of type {ndarray.dtype}")
    if not ndarray.dtype.isnative:
        raise ValueError(
            f"given numpy array has byte order different from the native byte order (dtype {ndarray.dtype}). "
            "minidl.tensor() copies and converts it."
        )
    return Tensor.wrap(ndarray)


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros: ``zeros(2, 3)`` or ``zeros((2, 3))``."""
    return _finish(backend_for(device).zeros(_sizes("zeros", size), dtype=_dtype(dtype)), requires_grad)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones."""
    return _finish(backend_for(device).ones(_sizes("ones", size), dtype=_dtype(dtype)), requires_grad)


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Memory as it comes, not set to anything."""
    return _finish(backend_for(device).empty(_sizes("empty", size), dtype=_dtype(dtype)), requires_grad)


def full(size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """One number everywhere; its kind (bool, int or float) decides the dtype unless given."""
    if dtype is None:
        dtype = {bool: dtypes.bool, int: dtypes.int64}.get(type(fill_value), dtypes.get_default_dtype())
    return _finish(
        backend_for(device).full(
            sizes((size,)), float(fill_value) if np.dtype(dtype).kind == "f" else fill_value, dtype=np.dtype(dtype)
        ),
        requires_grad,
    )


def _like(name: str, input: Tensor, device: Any, dtype: Any, *value: Any) -> Any:
    """An array of ``input``'s shape, from the array module's function ``<name>_like``: its memory is in the same order."""
    pattern = input.array
    if device is not None and backend_for(device) is not input.backend:
        pattern = backend_for(device).empty(input.shape, dtype=input.dtype)
    return getattr(backend_of(pattern), f"{name}_like")(pattern, *value, dtype=dtype or input.dtype)


def zeros_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape, dtype, device and memory order of ``input``."""
    return _finish(_like("zeros", input, device, dtype), requires_grad)


def ones_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of the shape, dtype, device and memory order of ``input``."""
    return _finish(_like("ones", input, device, dtype), requires_grad)


def empty_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Unset memory of the shape, dtype, device and memory order of ``input``."""
    return _finish(_like("empty", input, device, dtype), requires_grad)


def full_like(
    input: Tensor, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """One number everywhere, in the shape, dtype, device and memory order of ``input``."""
    return _finish(_like("full", input, device, dtype, fill_value), requires_grad)


def arange(
    start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """start, start + step, … below ``end``: int64 from integers, else the default float dtype.

    Raises:
        RuntimeError: if ``step`` leads away from ``end``.
    """
    if end is None:
        start, end = 0, start
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError(f"upper bound and lower bound inconsistent with step sign: from {start} to {end} by {step}")
    if dtype is None:
        dtype = dtypes.int64 if all(isinstance(v, int) for v in (start, end, step)) else dtypes.get_default_dtype()
    xp = backend_for(device)
    if np.dtype(dtype).kind in "iu" and not all(isinstance(v, int) for v in (start, end, step)):
        # As in PyTorch: the fractions decide how many numbers there are, and are then cut off.
        count = math.ceil((float(end) - float(start)) / float(step))
        return _finish((int(start) + xp.arange(count) * int(step)).astype(dtype), requires_grad)
    return _finish(xp.arange(start, end, step).astype(dtype), requires_grad)


def linspace(
    start: Any, end: Any, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """``steps`` numbers from ``start`` to ``end``, both included, evenly spaced."""
    return _finish(_between(start, end, steps, dtype, device).astype(_dtype(dtype)), requires_grad)


def _between(start: Any, end: Any, steps: int, dtype: Any, device: Any) -> Any:
    if steps < 0:
        raise RuntimeError(f"number of steps must be non-negative, got {steps}")
    if _dtype(dtype).kind in "iu":  # the ends lose their fractions first, as in PyTorch
        start, end = int(start), int(end)
    return backend_for(device).linspace(float(start), float(end), steps)


def logspace(
    start: float, end: float, steps: int, base: float = 10.0, *, dtype: Any = None, device: Any = None
) -> Tensor:
    """``base`` to the powers of ``linspace(start, end, steps)``."""
    return Tensor.wrap((base ** _between(start, end, steps, dtype, device)).astype(_dtype(dtype)))


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones on the diagonal of an n × m matrix, zeros elsewhere."""
    if n < 0 or (m is not None and m < 0):
        raise RuntimeError(f"eye: n and m must be greater or equal to 0, got {n} and {m}")
    return _finish(backend_for(device).eye(n, n if m is None else m, dtype=_dtype(dtype)), requires_grad)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinates of a grid: one Tensor for each given vector, all of the grid's shape."""
    vectors = list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else list(tensors)
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    swap = indexing == "xy" and len(vectors) > 1
    if swap:
        vectors[0], vectors[1] = vectors[1], vectors[0]
    shape = tuple(v.numel() for v in vectors)
    grids = [v.reshape([-1 if i == d else 1 for i in range(len(vectors))]).expand(shape) for d, v in enumerate(vectors)]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = dtypes.int64, device: Any = None) -> Tensor:
    """The row and column numbers (2, n) of the lower triangle of a row × col matrix."""
    return Tensor.wrap(backend_for(device).from_numpy(np.stack(np.tril_indices(row, offset, col)).astype(dtype)))


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = dtypes.int64, device: Any = None) -> Tensor:
    """The row and column numbers (2, n) of the upper triangle of a row × col matrix."""
    return Tensor.wrap(backend_for(device).from_numpy(np.stack(np.triu_indices(row, offset, col)).astype(dtype)))


def is_tensor(obj: Any) -> bool:
    """Whether an object is a Tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    """Whether a Tensor's dtype is a floating point type."""
    return input.is_floating_point()


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.numel()
