"""The GPU backend: CuPy and the reference kernels. Its own fast kernels are yet to come (see ARCHITECTURE.md)."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend.base import Backend

INSTALL = (
    "minidl reaches a GPU through CuPy. Install the extra that fits the driver, "
    "`pip install 'minidl[cuda13]'` (driver 580 or newer) or `pip install 'minidl[cuda12]'`, on a machine with an NVIDIA GPU."
)


class CupyBackend(Backend):
    """Arrays in GPU memory."""

    def __init__(self, cupy: Any, cupyx: Any) -> None:
        super().__init__("cuda", cupy, cupy.ndarray)
        self._cupyx = cupyx

    def from_numpy(self, array: np.ndarray) -> Any:
        return self.xp.asarray(array)

    def to_numpy(self, array: Any) -> np.ndarray:
        return self.xp.asnumpy(array)

    def scatter_add(self, target: Any, index: Any, values: Any) -> None:
        """``target[index] += values`` in which an index that comes twice adds twice (in no fixed order)."""
        self._cupyx.scatter_add(target, index, values)


def make_cupy_backend() -> CupyBackend:
    """Return the GPU backend.

    Raises:
        RuntimeError: if CuPy is not installed or finds no GPU.
    """
    try:
        import cupy
        import cupyx
    except ImportError as error:
        raise RuntimeError(f"device 'cuda' was asked for, but CuPy is not installed. {INSTALL}") from error
    if not cupy.is_available():
        raise RuntimeError(f"device 'cuda' was asked for, but CuPy finds no GPU here. {INSTALL}")
    return CupyBackend(cupy, cupyx)
