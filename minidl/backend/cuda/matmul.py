"""Matrix products on the GPU: cuBLAS, and one kernel for what follows."""

from __future__ import annotations

from typing import Any

from minidl.backend.reference.matmul import MatmulKernels


class CudaMatmul(MatmulKernels):
    """Products of two float matrices; whatever has more or fewer dimensions goes to the reference."""

    _with_bias: Any

    def matmul(self, a: Any, b: Any, bias: Any = None, then: str | None = None) -> Any:
        if a.ndim != 2 or b.ndim != 2 or a.dtype.char not in "fd" or a.dtype != b.dtype:
            return super().matmul(a, b, bias, then)
        return self._with_bias(a.dot(b), bias, then)  # ``matmul`` takes twice as long to get to cuBLAS
