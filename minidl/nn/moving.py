"""Moving a module to another device or dtype: what stands behind ``Module.to``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.backend import device as Device
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


def device_and_dtype(*args: Any, **kwargs: Any) -> tuple[Any, np.dtype | None]:
    """Sort the arguments of ``Module.to`` into a device and a dtype, either of which may be None."""
    device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
    if kwargs:
        raise TypeError(f"to() got an unexpected keyword argument '{next(iter(kwargs))}'")
    for arg in args:
        if isinstance(arg, Tensor):
            device, dtype = arg.device, arg.dtype
        elif isinstance(arg, (np.dtype, type)):
            dtype = arg
        elif isinstance(arg, (str, Device)):
            device = arg
        elif arg is not None:
            raise TypeError(f"to() takes a device, a dtype or a Tensor, got {type(arg).__name__}")
    return device, None if dtype is None else np.dtype(dtype)
