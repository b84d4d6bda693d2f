"""Layers of several members as one: what stands in for each layer when members are evaluated together.

A joint layer gets the members' samples one member after another, (M·N, …), and gives the same. It holds the members' own layers,
and reads their parameters anew in every call in which gradients are recorded, so that these flow to the members. Otherwise it
keeps what it made of the parameters until one of them changes. The plain twin of every joint layer is ``OneByOne``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import minidl
from minidl import nn
from minidl.autograd.mode import is_grad_enabled
from minidl.nn import Module
from minidl.nn import functional as F
from minidl.ops.base import Op
from minidl.ops.linalg import MatMul
from minidl.ops.reduction import sum
from minidl.ops.shape import reshape, transpose
from minidl.tensor import Tensor

# Of one member: for fewer rows or multiplications, minidl's kernels leave a product to NumPy, which takes a stack of them too.
FEW_ROWS, LITTLE_WORK = 16, 1 << 17


class MembersLinear(Op):
    """x_m · W_mᵀ + b_m for every member m, for x (M·N, in), W (M, out, in), b (M, out) or None, to (M·N, out)."""

    def forward(self, xp: Any, x: Any, weight: Any, bias: Any) -> Any:
        members, outputs, inputs = weight.shape
        self.shapes = (members, -1, inputs), (members, -1, outputs), x.shape
        x, weight = x.reshape(self.shapes[0]), weight.transpose(0, 2, 1)
        rows = x.shape[1]
        if rows < FEW_ROWS or rows * inputs * outputs < LITTLE_WORK:
            y = xp.matmul(x, weight, None if bias is None else bias[:, None])
        else:  # each product is large enough for the fastest kernels, which take two matrices
            y = xp.empty((members, rows, outputs), x.dtype)
            for m in range(members):
                y[m] = xp.matmul(x[m], weight[m], None if bias is None else bias[m])
        return y.reshape(-1, outputs)

    def vjp_x(self, g: Any, weight: Any) -> Any:
        return reshape(MatMul()(reshape(g, self.shapes[1]), weight), self.shapes[2])

    def vjp_weight(self, g: Any, x: Any) -> Any:
        return MatMul()(transpose(reshape(g, self.shapes[1]), 1, 2), reshape(x, self.shapes[0]))

    def vjp_bias(self, g: Any) -> Any:
        return sum(reshape(g, self.shapes[1]), 1)

    def samples(draw: Any) -> Any:  # noqa: N805  (called on the class, see minidl.ops.samples)
        members, inputs, outputs = (draw.integer(1, 3) for _ in range(3))
        x = draw.array((members * draw.integer(1, 3), inputs))
        arrays = (x, draw.array((members, outputs, inputs)), draw.array((members, outputs)))
        return arrays[: draw.integer(2, 3)], lambda x, w, b=None: MembersLinear()(x, w, b)


class OneByOne(Module):
    """Each member's own layer for each member's own samples, one after another. Right for every layer, and never faster.

    Args:
        layers: one layer of each member.
    """

    def __init__(self, layers: Sequence[Module]) -> None:
        super().__init__()
        self.layers = tuple(layers)  # a tuple, so that they stay the members' children alone

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        samples = x.shape[0] // len(self.layers)
        parts = (x[m * samples : (m + 1) * samples] for m in range(len(self.layers)))
        return minidl.cat([layer(part, *args, **kwargs) for layer, part in zip(self.layers, parts, strict=True)])


class Joint(Module):
    """Base class of joint layers. A subclass defines ``prepare`` and ``forward``.

    Args:
        layers: one layer of each member, with the same settings.
    """

    def __init__(self, layers: Sequence[Module]) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self._made_of: list[tuple[Any, int]] = []  # the arrays of the members' tensors, and their versions
        self._prepared: tuple[Any, ...] = ()

    def prepare(self) -> tuple[Any, ...]:
        """Return what ``forward`` needs, made of the members' parameters and buffers."""
        raise NotImplementedError(f"{type(self).__name__} must define prepare()")

    def prepared(self) -> tuple[Any, ...]:
        """What ``prepare`` returns: recorded for the way back where gradients are wanted, else as kept from before."""
        tensors = [
            t
            for layer in self.layers
            for registry in (layer._parameters, layer._buffers)
            for t in registry.values()
            if t is not None
        ]
        if is_grad_enabled() and any(t.requires_grad for t in tensors):
            return self.prepare()
        made_of = self._made_of
        same = len(made_of) == len(tensors) and all(
            array is t.array and version == t.version.count
            for (array, version), t in zip(made_of, tensors, strict=True)
        )
        if not same:
            self._prepared = self.prepare()
            self._made_of = [(t.array, t.version.count) for t in tensors]
        return self._prepared

    def stack(self, name: str) -> Tensor | None:
        """The members' tensors of this name as one Tensor (M, …), if they have it."""
        tensors = [getattr(layer, name) for layer in self.layers]
        return None if tensors[0] is None else minidl.stack(tensors)


class JointLinear(Joint):
    """``Linear``, by ``MembersLinear``."""

    def prepare(self) -> tuple[Any, ...]:
        return self.stack("weight"), self.stack("bias")

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.prepared()
        if x.ndim == 2:
            return MembersLinear()(x, weight, bias)
        return MembersLinear()(x.reshape(-1, x.shape[-1]), weight, bias).reshape(*x.shape[:-1], weight.shape[1])


class JointBatchNorm(Joint):
    """``BatchNorm1d``, ``BatchNorm2d`` in evaluation mode: x · scale + shift, with scale = weight / √(var + eps) and
    shift = bias − mean · scale, both (M, C). Without running estimates the batch's own count, member after member."""

    def prepare(self) -> tuple[Any, ...]:
        first: Any = self.layers[0]
        mean, var, weight, bias = (self.stack(name) for name in ("running_mean", "running_var", "weight", "bias"))
        if mean is None or var is None:
            return (None, None)
        scale = (var + first.eps).rsqrt()
        scale = scale if weight is None else scale * weight
        shift = -mean * scale
        return scale, shift if bias is None else shift + bias

    def forward(self, x: Tensor) -> Tensor:
        first: Any = self.layers[0]
        first._check_input_dim(x)
        scale, shift = self.prepared()
        if scale is None:
            return OneByOne(self.layers)(x)
        members, channels = scale.shape
        ones = (1,) * (x.ndim - 2)
        y = x.reshape(members, -1, *x.shape[1:]) * scale.reshape(members, 1, channels, *ones)
        return (y + shift.reshape(members, 1, channels, *ones)).reshape(*x.shape)


class JointLayerNorm(Joint):
    """``LayerNorm``: the normalisation acts on each sample by itself; then each member's own scale and shift."""

    def prepare(self) -> tuple[Any, ...]:
        return self.stack("weight"), self.stack("bias")

    def forward(self, x: Tensor) -> Tensor:
        first: Any = self.layers[0]
        members, shape = len(self.layers), first.normalized_shape
        y = F.layer_norm(x, shape, None, None, first.eps).reshape(members, -1, *x.shape[1:])
        weight, bias = (
            t if t is None else t.reshape(members, *(1,) * (x.ndim - len(shape)), *shape) for t in self.prepared()
        )
        y = y if weight is None else y * weight
        y = y if bias is None else y + bias
        return y.reshape(*x.shape)


class JointPReLU(Joint):
    """``PReLU``: x where x > 0, else each member's own slopes times x."""

    def prepare(self) -> tuple[Any, ...]:
        return (self.stack("weight"),)

    def forward(self, x: Tensor) -> Tensor:
        (weight,) = self.prepared()
        members, slopes = weight.shape
        y = x.reshape(members, -1, *x.shape[1:])
        weight = weight.reshape(members, 1, slopes, *(1,) * (x.ndim - 2)) if x.ndim > 1 else weight
        return minidl.where(y.detach() > 0, y, weight * y).reshape(*x.shape)


JOINT: dict[type[Module], type[Joint]] = {
    nn.Linear: JointLinear,
    nn.BatchNorm1d: JointBatchNorm,
    nn.BatchNorm2d: JointBatchNorm,
    nn.LayerNorm: JointLayerNorm,
    nn.PReLU: JointPReLU,
}
