"""The CPU backend: NumPy, the reference kernels, and what is done faster."""

from __future__ import annotations

import numpy

from minidl.backend.base import Backend
from minidl.backend.cpu.blocks import CpuBlocks
from minidl.backend.cpu.conv import CpuConv
from minidl.backend.cpu.copying import CpuCopy
from minidl.backend.cpu.elementwise import CpuElementwise
from minidl.backend.cpu.indexing import CpuIndex
from minidl.backend.cpu.loss import CpuLoss
from minidl.backend.cpu.matmul import CpuMatmul
from minidl.backend.cpu.norm import CpuNorm
from minidl.backend.cpu.optim import CpuOptim
from minidl.backend.cpu.pool import CpuPool
from minidl.backend.cpu.reduction import CpuReduction
from minidl.backend.cpu.softmax import CpuSoftmax


class CpuBackend(
    CpuBlocks,
    CpuConv,
    CpuCopy,
    CpuElementwise,
    CpuIndex,
    CpuLoss,
    CpuMatmul,
    CpuNorm,
    CpuOptim,
    CpuPool,
    CpuReduction,
    CpuSoftmax,
    Backend,
):
    """Arrays in main memory."""

    def __init__(self) -> None:
        super().__init__("cpu", numpy, numpy.ndarray)
