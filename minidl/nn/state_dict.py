"""Saving and loading a module's state: what stands behind ``Module.state_dict`` and ``Module.load_state_dict``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import minidl
from minidl.autograd.mode import no_grad
from minidl.nn.parameter import Parameter
from minidl.tensor import Tensor

if TYPE_CHECKING:
    from minidl.nn.module import Module


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` could not match: paths the model wanted and did not get, and paths it does not have."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class _Slot(NamedTuple):
    """One entry of a state dict, seen from the model: where a value lives."""

    module: Module
    registry: dict[str, Any]
    name: str

    @property
    def tensor(self) -> Tensor:
        value: Tensor = self.registry[self.name]
        return value


def _slots(module: Module, prefix: str = "") -> Iterator[tuple[str, _Slot]]:
    """Every parameter and persistent buffer with its path. A shared module appears under each of its paths."""
    for name, param in module._parameters.items():
        if param is not None:
            yield prefix + name, _Slot(module, module._parameters, name)
    for name, buffer in module._buffers.items():
        if buffer is not None and name not in module._non_persistent_buffers_set:
            yield prefix + name, _Slot(module, module._buffers, name)
    for name, child in module._modules.items():
        if child is not None:
            yield from _slots(child, f"{prefix}{name}.")


def state_dict(module: Module, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
    """See `Module.state_dict`."""
    return {path: slot.tensor if keep_vars else slot.tensor.detach() for path, slot in _slots(module, prefix)}


def load_state_dict(module: Module, state: Mapping[str, Any], strict: bool, assign: bool) -> IncompatibleKeys:
    """See `Module.load_state_dict`."""
    if not isinstance(state, Mapping):
        raise TypeError(f"Expected state_dict to be dict-like, got {type(state)}.")
    slots = dict(_slots(module))
    missing = [
        path
        for path, slot in slots.items()
        if path not in state and slot.name not in slot.module._optional_in_state_dict
    ]
    unexpected = [path for path in state if path not in slots]
    present = {path: slot for path, slot in slots.items() if path in state}

    problems = [problem for path, slot in present.items() if (problem := _problem(path, slot.tensor, state[path]))]
    if strict and unexpected:
        problems.insert(0, f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
    if strict and missing:
        problems.insert(0, f"Missing key(s) in state_dict: {_quoted(missing)}. ")
    if problems:
        raise RuntimeError(f"Error(s) in loading state_dict for {type(module).__name__}:\n\t" + "\n\t".join(problems))

    with no_grad():
        for path, slot in present.items():
            if assign:
                _assign(slot, minidl.as_tensor(state[path]))
            else:
                slot.tensor.copy_(minidl.as_tensor(state[path]))
    return IncompatibleKeys(missing, unexpected)


def _quoted(paths: list[str]) -> str:
    return ", ".join(f'"{path}"' for path in paths)


def _problem(path: str, target: Tensor, value: Any) -> str | None:
    """Why ``value`` cannot be loaded into ``target``, or None if it can."""
    if not isinstance(value, (Tensor, np.ndarray, np.generic)):
        return (
            f'While copying the parameter named "{path}", expected a Tensor or a NumPy array from checkpoint '
            f"but received {type(value)}"
        )
    if tuple(value.shape) != target.shape:
        return (
            f"size mismatch for {path}: copying a param with shape {tuple(value.shape)} from checkpoint, "
            f"the shape in current model is {target.shape}."
        )
    return None


def _assign(slot: _Slot, value: Tensor) -> None:
    old = slot.tensor
    if isinstance(old, Parameter):
        value = Parameter(value.detach(), requires_grad=old.requires_grad)
    slot.registry[slot.name] = value
