"""Activation functions on the CPU: large arrays are shared among threads, in the order of their memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.cpu.layout import LEAST, flat_alike
from minidl.backend.cpu.threads import share, spans
from minidl.backend.reference.activation import ActivationKernels


class CpuActivation(ActivationKernels):
    """Rectification of large arrays; small ones are not worth a thread and go to the reference."""

    def relu(self, x: Any) -> Any:
        if x.size < 2 * LEAST:
            return np.maximum(x, 0)
        y = np.empty_like(x)
        arrays = flat_alike(x, y)
        if arrays is None:
            return np.maximum(x, 0)
        a, b = arrays
        share(lambda part: np.maximum(a[slice(*part)], 0, out=b[slice(*part)]), spans(a.size))
        return y

    def relu_grad(self, g: Any, y: Any) -> Any:
        if g.size < LEAST >> 4:
            return super().relu_grad(g, y)
        out = np.empty_like(y)
        arrays = flat_alike(y, g, out)
        if arrays is None:
            return super().relu_grad(g, y)
        y, g, target = arrays
        fast = fast_kernels()

        def part(span: tuple[int, int]) -> None:
            here = slice(*span)
            if fast is not None and g.dtype.char in "fd":
                fast.relu_grad(g[here], y[here], target[here])
            else:
                np.multiply(g[here], y[here] > 0, out=target[here])

        share(part, spans(g.size, LEAST))
        return out
