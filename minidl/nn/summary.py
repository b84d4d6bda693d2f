"""A table of a model's layers: what comes out of each, and what it holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import minidl
from minidl import random
from minidl.autograd.mode import no_grad
from minidl.dtypes import is_floating
from minidl.nn.module import Module
from minidl.nn.utils import evaluating
from minidl.tensor import Tensor

MB = 1e6


@dataclass(frozen=True)
class LayerSummary:
    """One row: a module, the shape that it gave out (None if it was not called) and its own parameters' elements."""

    path: str
    type: str
    output_shape: Any
    parameters: int


@dataclass(frozen=True)
class ModelSummary:
    """What `summary` returns. ``str()`` of it is the table; the numbers are here.

    Attributes:
        layers: a `LayerSummary` per module, parents first. A row counts only the parameters that the module itself
            holds, and a shared parameter counts where it appears first, so the column adds up to the total.
        total_parameters, trainable_parameters: numbers of elements.
        parameter_bytes: size of parameters and buffers.
        activation_bytes: size of the outputs of all modules without children: about what a training step keeps.
    """

    layers: tuple[LayerSummary, ...]
    input_size: Any
    total_parameters: int
    trainable_parameters: int
    parameter_bytes: int
    activation_bytes: int

    def __str__(self) -> str:
        header = ("Layer", "Type", "Output shape", "Parameters")
        rows = [
            (
                row.path,
                row.type,
                "not called" if row.output_shape is None else _shape_text(row.output_shape),
                f"{row.parameters:,}" if row.parameters else "-",
            )
            for row in self.layers
        ]
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(4)]
        lines = [
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}".rstrip()
            for a, b, c, d in [header, *rows]
        ]
        rule = "-" * (sum(widths) + 6)
        lines.insert(1, rule)
        frozen = self.total_parameters - self.trainable_parameters
        return "\n".join(
            [
                *lines,
                rule,
                f"Input: {_shape_text(self.input_size)}",
                f"Parameters: {self.total_parameters:,} (trainable {self.trainable_parameters:,}, frozen {frozen:,})",
                f"Memory: parameters and buffers {self.parameter_bytes / MB:.2f} MB, "
                f"layer outputs {self.activation_bytes / MB:.2f} MB",
            ]
        )

    __repr__ = __str__


def summary(model: Module, input_size: Sequence[Any], dtype: Any = None) -> ModelSummary:
    """Run zeros of the given size through the model and tell what each layer made of them.

    Args:
        model: it is run in evaluation mode, and is left as it was found: modes, buffers, hooks, random state.
        input_size: the input's shape with its batch dimension, or a list of shapes for a ``forward`` of several inputs.
        dtype: of the input; by default that of the model's first floating-point parameter. Give ``minidl.int64`` for a
            model that starts with an Embedding.

    Example:
        >>> import minidl.nn as nn
        >>> print(summary(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (1, 4)))
        Layer       Type        Output shape  Parameters
        ------------------------------------------------
        Sequential  Sequential  1×3                    -
        0           Linear      1×3                   15
        1           ReLU        1×3                    -
        ------------------------------------------------
        Input: 1×4
        Parameters: 15 (trainable 15, frozen 0)
        Memory: parameters and buffers 0.00 MB, layer outputs 0.00 MB
    """
    first = next((p for p in model.parameters() if is_floating(p.dtype)), None)
    device = None if first is None else first.device
    dtype = dtype if dtype is not None else None if first is None else first.dtype
    sizes = [tuple(input_size)] if all(isinstance(n, int) for n in input_size) else [tuple(s) for s in input_size]

    shapes: dict[int, Any] = {}
    outputs: dict[int, int] = {}

    def note(module: Module, args: Any, output: Any) -> None:
        shapes[id(module)] = _shapes(output)
        if not module._modules:
            outputs[id(module)] = outputs.get(id(module), 0) + _bytes(output)

    handles = [module.register_forward_hook(note) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    random_state = random.default_generator.get_state()
    try:
        with evaluating(model), no_grad():
            model(*[minidl.zeros(*size, dtype=dtype, device=device) for size in sizes])
    finally:
        for handle in handles:
            handle.remove()
        with no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        random.default_generator.set_state(random_state)

    seen: set[int] = set()
    layers = []
    for path, module in model.named_modules():
        own = [p for p in module.parameters(recurse=False) if id(p) not in seen]
        seen.update(id(p) for p in own)
        layers.append(
            LayerSummary(
                path or type(model).__name__, type(module).__name__, shapes.get(id(module)), sum(p.numel() for p in own)
            )
        )
    parameters = list(model.parameters())
    return ModelSummary(
        layers=tuple(layers),
        input_size=sizes[0] if len(sizes) == 1 else sizes,
        total_parameters=sum(p.numel() for p in parameters),
        trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        parameter_bytes=sum(_bytes(t) for t in [*parameters, *model.buffers()]),
        activation_bytes=sum(outputs.values()),
    )


def _shapes(output: Any) -> Any:
    """The shape of an output, or a list of shapes if it is several Tensors (a tuple, list or dict)."""
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, (tuple, list)):
        return [_shapes(part) for part in output]
    return output.shape if isinstance(output, Tensor) else ()


def _shape_text(shape: Any) -> str:
    if isinstance(shape, list):
        return ", ".join(_shape_text(part) for part in shape)
    return "×".join(map(str, shape)) or "()"


def _bytes(output: Any) -> int:
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, (tuple, list)):
        return sum(_bytes(part) for part in output)
    return math.prod(output.shape) * np.dtype(output.dtype).itemsize if isinstance(output, Tensor) else 0
