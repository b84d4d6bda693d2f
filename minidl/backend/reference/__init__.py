"""The reference kernels: the textbook form of each, in plain array code that runs on any backend's arrays."""

from minidl.backend.reference.blocks import BlockKernels
from minidl.backend.reference.conv import ConvKernels
from minidl.backend.reference.copying import CopyKernels
from minidl.backend.reference.elementwise import ElementwiseKernels
from minidl.backend.reference.indexing import IndexKernels
from minidl.backend.reference.loss import LossKernels
from minidl.backend.reference.matmul import MatmulKernels
from minidl.backend.reference.norm import NormKernels
from minidl.backend.reference.optim import OptimKernels
from minidl.backend.reference.pool import PoolKernels
from minidl.backend.reference.reduction import ReductionKernels
from minidl.backend.reference.softmax import SoftmaxKernels
from minidl.backend.reference.special import SpecialKernels

__all__ = [
    "BlockKernels",
    "ConvKernels",
    "CopyKernels",
    "ElementwiseKernels",
    "IndexKernels",
    "LossKernels",
    "MatmulKernels",
    "NormKernels",
    "OptimKernels",
    "PoolKernels",
    "ReductionKernels",
    "SoftmaxKernels",
    "SpecialKernels",
]
