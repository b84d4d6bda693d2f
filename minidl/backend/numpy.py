"""The CPU backend: NumPy and the reference kernels."""

from __future__ import annotations

import numpy

from minidl.backend.base import Backend


class NumpyBackend(Backend):
    """Arrays in main memory."""

    def __init__(self) -> None:
        super().__init__("cpu", numpy, numpy.ndarray)

    def scatter_add(self, target, index, values) -> None:  # type: ignore[no-untyped-def]
        """``target[index] += values`` in which an index that comes twice adds twice."""
        numpy.add.at(target, index, values)
