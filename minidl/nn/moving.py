"""Moving a module to another device or dtype: what stands behind ``Module.to``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.dtypes import is_floating
from minidl.tensor import Tensor

if TYPE_CHECKING:
    from minidl.nn.module import Module


def move(module: Module, device: Any, dtype: np.dtype | None) -> None:
    """Move every parameter (the same object, with other memory), its gradient, and every buffer (a new Tensor)."""
    if dtype is not None and not is_floating(dtype):
        raise TypeError(f"nn.Module.to only accepts floating point dtypes, but got desired dtype={dtype}")

    def convert(tensor: Tensor) -> Tensor:
        if device is not None:
            tensor = tensor.to(device)
        return tensor.to(dtype) if dtype is not None and is_floating(tensor.dtype) else tensor

    for part in module.modules():
        for param in part._parameters.values():
            if param is not None:
                param.data = convert(param.data)
                if param.grad is not None:
                    param.grad = convert(param.grad.detach())
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = convert(buffer)
