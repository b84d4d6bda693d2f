"""Devices and the backends behind them. Knows arrays and nothing of Tensors.

``backend_of(array)`` finds the kernels for an array by its type; ``device("cuda")`` names a place. A further backend
(the tests have one that behaves like CuPy without a GPU) joins with ``register_backend``. ``explain(function)`` tells
which implementation each kernel took.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend.allocator import keep_freed_memory
from minidl.backend.base import Backend
from minidl.backend.cpu import CpuBackend
from minidl.backend.cpu.amx import use_amx
from minidl.backend.cpu.conv.select import use_winograd
from minidl.backend.cpu.explain import explain
from minidl.backend.cpu.threads import get_num_threads, set_num_threads
from minidl.backend.device import device

__all__ = [
    "Backend",
    "backend_for",
    "backend_of",
    "by_array_type",
    "device",
    "explain",
    "get_num_threads",
    "is_array",
    "register_backend",
    "set_num_threads",
    "use_amx",
    "use_winograd",
]

_by_name: dict[str, Backend] = {}
by_array_type: dict[type, Backend] = {}


def register_backend(backend: Backend) -> None:
    """Make ``backend`` the home of the arrays of type ``backend.array_type`` and of the device type ``backend.name``."""
    _by_name[backend.name] = backend
    by_array_type[backend.array_type] = backend


def is_array(x: Any) -> bool:
    """Whether ``x`` is an array of a backend."""
    return type(x) in by_array_type


def backend_of(array: Any) -> Backend:
    """Return the backend that an array belongs to.

    Raises:
        TypeError: if no backend holds arrays of this type.
    """
    try:
        return by_array_type[type(array)]
    except KeyError:
        pass
    for array_type, backend in by_array_type.items():
        if isinstance(array, array_type):
            return backend
    if isinstance(array, (np.generic, int, float, bool, complex)):  # what NumPy gives in place of a 0-d array
        return _by_name["cpu"]
    raise TypeError(f"expected an array of {', '.join(_by_name)}, got {type(array).__module__}.{type(array).__name__}")


def backend_for(place: device | str | None) -> Backend:
    """Return the backend of a device (default: the CPU).

    Raises:
        RuntimeError: if the device is not there; the message says what to install.
    """
    if place is None:
        return _by_name["cpu"]
    place = device(place)
    kind = place.type
    if kind not in _by_name:
        if kind != "cuda":
            known = ", ".join(sorted({*_by_name, "cuda"}))
            raise RuntimeError(f"Expected one of {known} device type at start of device string: {kind}")
        from minidl.backend.cuda import make_cupy_backend

        register_backend(make_cupy_backend())
    backend = _by_name[kind]
    if place.index is not None:
        backend.require(place.index)
    return backend


register_backend(CpuBackend())
keep_freed_memory()
