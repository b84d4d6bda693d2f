"""The GPU backend: CuPy, the reference kernels, and what is done faster."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend.base import Backend
from minidl.backend.cuda.cudnn import CudnnConv
from minidl.backend.cuda.elementwise import CudaElementwise
from minidl.backend.cuda.loss import CudaLoss
from minidl.backend.cuda.matmul import CudaMatmul
from minidl.backend.cuda.norm import CudaNorm
from minidl.backend.cuda.optim import CudaOptim
from minidl.backend.cuda.pool import CudaPool

INSTALL = (
    "minidl reaches a GPU through CuPy. Install the extra that fits the driver, "
    "`pip install 'minidl[cuda13]'` (driver 580 or newer) or `pip install 'minidl[cuda12]'`, on a machine with an NVIDIA GPU."
)


class CupyBackend(CudnnConv, CudaElementwise, CudaLoss, CudaMatmul, CudaNorm, CudaOptim, CudaPool, Backend):
    """Arrays in GPU memory."""

    block_bytes = 1 << 28  # a kernel of a GPU wants as much at once as there is memory for

    def __init__(self, cupy: Any) -> None:
        super().__init__("cuda", cupy, cupy.ndarray)

    def from_numpy(self, array: np.ndarray) -> Any:
        return self.xp.asarray(array)

    def to_numpy(self, array: Any) -> np.ndarray:
        return self.xp.asnumpy(array)

    def require(self, index: int) -> None:
        current, count = self.xp.cuda.Device().id, self.xp.cuda.runtime.getDeviceCount()
        if index >= count:
            raise RuntimeError(
                f"device 'cuda:{index}' was asked for, but CuPy finds {count} GPU{'s' * (count > 1)} here."
            )
        if index != current:
            raise RuntimeError(
                f"device 'cuda:{index}' was asked for, but minidl computes on CuPy's current GPU, which is {current}. "
                f"Call cupy.cuda.Device({index}).use() first, or set CUDA_VISIBLE_DEVICES={index}."
            )

    def scatter_add(self, target: Any, index: Any, values: Any) -> None:
        """``target[index] += values`` in which an index that comes twice adds twice (in no fixed order).

        CuPy adds atomically in the dtypes for which CUDA can: int32, uint32, uint64 and the floats. The others go the way
        of one that can, and stay exact: int64 has the bits of uint64, and sums of bits do not depend on the sign; small
        integers are added up in int32 and cut off again, as their own sum would be; booleans are true where any addend is.
        """
        kind, size = target.dtype.kind, target.dtype.itemsize
        if kind == "i" and size == 8:
            values = self.xp.asarray(values, dtype=target.dtype)
            self.xp.add.at(target.view("uint64"), index, values.view("uint64"))
        elif kind == "b" or (kind in "iu" and size < 4):
            wide = target.astype("int32")
            self.xp.add.at(wide, index, self.xp.asarray(values).astype("int32"))
            target[...] = wide != 0 if kind == "b" else wide.astype(target.dtype)
        else:
            self.xp.add.at(target, index, values)


def make_cupy_backend() -> CupyBackend:
    """Return the GPU backend.

    Raises:
        RuntimeError: if CuPy is not installed or finds no GPU.
    """
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError(f"device 'cuda' was asked for, but CuPy is not installed. {INSTALL}") from error
    if not cupy.is_available():
        raise RuntimeError(f"device 'cuda' was asked for, but CuPy finds no GPU here. {INSTALL}")
    return CupyBackend(cupy)
