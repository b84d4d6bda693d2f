"""A row of layers: where nothing is recorded, arrays go straight from one kernel to the next.

In training, batch normalisation does the activation that follows it in the same pass (``JOINED``).

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
    row = list(modules)
    if mode.recording:
        return _recorded(row, input)
    array = None  # what stands for ``input`` between two steps
    done = -1  # the last module that another one has done with itself
    for i, module in enumerate(row):
        if i == done:
            continue
        if (array is not None or type(input) is Tensor) and (step := _step(module)):
            given = input.array if array is None else array
            backend = by_array_type.get(type(given))
            if backend is not None and given.ndim == 2 and given.dtype.kind == "f":
                then = _then(module, row[i + 1]) if i + 1 < len(row) else None
                try:
                    result = step(module, backend, given, array is not None, then)
                except Exception:
                    result = None  # the ordinary way raises it again, and says where
                if result is not None:
                    array, done = result, i if then is None else i + 1
                    continue
        input = module(input if array is None else Tensor.wrap(array))
        array = None
    return input if array is None else Tensor.wrap(array)


def _recorded(row: list[Module], input: Any) -> Any:
    done = False  # whether the last module has done the following one, too
    for module, following in zip(row, [*row[1:], None], strict=False):
        if done:
            done = False
            continue
        known = JOINED.get(type(module))
        then = known.get(type(following)) if known and module.training and not anomaly.on else None
        pair = module, following
        if then is not None and all(_is_plain(m, FORWARD[type(m)]) for m in pair if m is not None):
            input, done = module(input, then), True
        else:
            input = module(input)
    return input


def _is_plain(module: Module, forward: Any) -> bool:
    """Whether calling the module is to call this ``forward`` and nothing else."""
    hooked = module._forward_pre_hooks or module._forward_hooks or module._backward_hooks
    return type(module).forward is forward and not hooked and "forward" not in module.__dict__


def _step(module: Module) -> Step | None:
    """The step that stands for a module's ``forward``, if calling the module is to call that and nothing else."""
    known = STEPS.get(type(module))
    return known[0] if known and _is_plain(module, known[1]) else None


def _then(module: Module, following: Module) -> str | None:
    """The name of the kernel that is all that the following module does, if this one can do that, too."""
    known = THEN.get(type(module))
    return known.get(type(following)) if known and _step(following) else None


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


THEN: dict[type, dict[type, str]] = {
    Linear: {ReLU: "relu"},
    BatchNorm1d: {ReLU: "relu", Sigmoid: "sigmoid"},
}
JOINED: dict[type, dict[type, str]] = {
    layer: {ReLU: "relu", ReLU6: "relu6", Sigmoid: "sigmoid"} for layer in (BatchNorm1d, BatchNorm2d)
}
FORWARD: dict[type, Any] = {layer: layer.forward for layer in (BatchNorm1d, BatchNorm2d, ReLU, ReLU6, Sigmoid)}
STEPS: dict[type, tuple[Step, Any]] = {
    Linear: (_linear, Linear.forward),
    BatchNorm1d: (_batch_norm, BatchNorm1d.forward),
    ReLU: (_relu, ReLU.forward),
    Sigmoid: (_sigmoid, Sigmoid.forward),
    Dropout: (_same, Dropout.forward),
    Identity: (_same, Identity.forward),
}
