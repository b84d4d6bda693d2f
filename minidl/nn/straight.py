"""A row of layers: some do the activation that follows them in the same pass (``JOINED``), and where nothing is recorded, arrays
go straight from one kernel to the next.

Between small layers most of the time goes into what a Tensor, a record and a module's call cost. Where a network only predicts,
the layers named here need none of them: they do to an array what their ``forward`` does to a Tensor, by the same kernels, so that
the numbers are the same bit for bit (``tests/test_straight.py`` holds both ways together). Whatever is not as simple as
they expect (hooks, another shape or dtype, a layer in training, an error) goes the ordinary way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minidl.autograd.anomaly import state as anomaly
from minidl.autograd.mode import mode
from minidl.backend import by_array_type
from minidl.nn.activation import ReLU, ReLU6, Sigmoid
from minidl.nn.conv import Conv2d
from minidl.nn.dropout import Dropout
from minidl.nn.linear import Identity, Linear
from minidl.nn.module import Module
from minidl.nn.normalization import BatchNorm1d, BatchNorm2d
from minidl.tensor import Tensor

# A layer's module, the backend, an array (N, C) of floats, whether that may be written over, and the name of what comes after the
# layer, if it may do that, too. Returns the result, or None: go the ordinary way.
Step = Callable[[Any, Any, Any, bool, "str | None"], Any]


def straight(modules: Iterable[Module], input: Any) -> Any:
    """The modules one after another, ``input`` given to the first."""
    array = None  # what stands for ``input`` between two steps
    done = False  # whether the last module has done the following one, too
    row = list(modules)
    for module, following in zip(row, [*row[1:], None], strict=False):
        if done:
            done = False
            continue
        plain = _is_plain(module)
        then = _then(module, following) if plain and following is not None else None
        step = STEPS.get(type(module)) if plain and not mode.recording else None
        if step is not None and (array is not None or type(input) is Tensor):
            given = input.array if array is None else array
            backend = by_array_type.get(type(given))
            if backend is not None and given.ndim == 2 and given.dtype.kind == "f":
                try:
                    result = step(module, backend, given, array is not None, then)
                except Exception:
                    result = None  # the ordinary way raises it again, and says where
                if result is not None:
                    array, done = result, then is not None
                    continue
        if array is not None:
            input, array = Tensor.wrap(array), None
        input, done = module(input) if then is None else module(input, then), then is not None
    return input if array is None else Tensor.wrap(array)


def _is_plain(module: Module) -> bool:
    """Whether calling the module is to call the ``forward`` that is known here and nothing else."""
    kind = type(module)
    known = FORWARD.get(kind)
    if known is None or kind.forward is not known or kind.__call__ is not CALL or "forward" in module.__dict__:
        return False
    return not (module._forward_pre_hooks or module._forward_hooks or module._backward_hooks)


def _then(module: Module, following: Module) -> str | None:
    """The name of the kernel that is all that the following module does, if this one, which is plain, can do that, too."""
    known = JOINED.get(type(module))
    then = known.get(type(following)) if known else None
    return then if then is not None and _is_plain(following) and not anomaly.on else None


def _linear(module: Any, backend: Any, x: Any, own: bool, then: str | None) -> Any:
    parameters = module._parameters
    weight, bias = parameters["weight"].array, parameters["bias"]
    if weight.dtype is not x.dtype or type(weight) is not type(x):
        return None
    if bias is None:
        return backend.matmul(x, weight.T, None, then)
    return backend.matmul(x, weight.T, bias.array, then) if bias.dtype is x.dtype else None


def _batch_norm(module: Any, backend: Any, x: Any, own: bool, then: str | None) -> Any:
    parameters, buffers = module._parameters, module._buffers
    tensors = parameters["weight"], parameters["bias"], buffers["running_mean"], buffers["running_var"]
    if module.training or any([t is None for t in tensors]):
        return None
    w, b, mean, var = [t.array for t in tensors]
    if not (
        w.dtype is b.dtype is mean.dtype is var.dtype is x.dtype
        and type(w) is type(mean) is type(x)
        and w.size == x.shape[1]
    ):
        return None
    with np.errstate(all="ignore"):
        return backend.normalize_by(x, w, b, mean, var, module.eps, then)[0]


def _relu(module: Any, backend: Any, x: Any, own: bool, then: str | None) -> Any:
    if own:
        return backend.relu(x, out=x)
    return None if module.inplace else backend.relu(x)


def _sigmoid(module: Any, backend: Any, x: Any, own: bool, then: str | None) -> Any:
    with np.errstate(all="ignore"):
        return backend.sigmoid(x, out=x if own else None)


def _same(module: Any, backend: Any, x: Any, own: bool, then: str | None) -> Any:
    return x if own and not module.training else None


JOINED: dict[type, dict[type, str]] = {
    **{layer: {ReLU: "relu"} for layer in (Linear, Conv2d)},
    **{layer: {ReLU: "relu", ReLU6: "relu6", Sigmoid: "sigmoid"} for layer in (BatchNorm1d, BatchNorm2d)},
}
STEPS: dict[type, Step] = {
    Linear: _linear,
    BatchNorm1d: _batch_norm,
    ReLU: _relu,
    Sigmoid: _sigmoid,
    Dropout: _same,
    Identity: _same,
}
CALL = Module.__call__
_known: list[Any] = [*JOINED, *STEPS, ReLU6]
FORWARD: dict[type, Any] = {layer: layer.forward for layer in _known}
