"""The device "strict": minidl's reference kernels on StrictArrays. Importing this module registers it."""

from __future__ import annotations

from minidl.backend import Backend, register_backend
from minidl.backend.cuda import CupyBackend

from .strict_array import StrictArray
from .strict_module import xp


class StrictBackend(Backend):
    """The GPU backend without a GPU.

    The ways in and out and the scattering are CupyBackend's own code, so that the tests run it. Its kernels are not
    inherited: those written in CUDA cannot run here, and the reference kernels take their place.
    """

    from_numpy = CupyBackend.from_numpy
    to_numpy = CupyBackend.to_numpy
    scatter_add = CupyBackend.scatter_add

    def __init__(self) -> None:
        super().__init__("strict", xp, StrictArray)


strict_backend = StrictBackend()
register_backend(strict_backend)
