"""Linear layers, and the layers that only change the shape."""

from __future__ import annotations

import math
from typing import Any

import minidl
from minidl.nn import functional as F
from minidl.nn import init
from minidl.nn.module import Module
from minidl.nn.parameter import Parameter, tensors_of
from minidl.tensor import Tensor


def reset_weight_and_bias(weight: Parameter, bias: Parameter | None) -> None:
    """PyTorch's default for linear and convolutional layers: both uniform in ±1/sqrt(fan_in).

    For the weight this is `init.kaiming_uniform_` with ``a=sqrt(5)``, with bound √(6 / ((1 + a²) · fan_in)).
    """
    init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        fan_in, _ = init.fan_in_and_fan_out(weight)
        bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0.0
        init.uniform_(bias, -bound, bound)


class Linear(Module):
    """y = x Wᵀ + b.

    Shapes: input (*, in_features), output (*, out_features); ``weight`` (out_features, in_features), ``bias``
    (out_features,).

    >>> Linear(20, 30)(minidl.zeros(128, 20)).shape
    (128, 30)
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(minidl.empty(out_features, in_features, device=device, dtype=dtype))
        self.register_parameter(
            "bias", Parameter(minidl.empty(out_features, device=device, dtype=dtype)) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values, see `reset_weight_and_bias`."""
        reset_weight_and_bias(self.weight, self.bias)

    def forward(self, input: Tensor, then: str | None = None) -> Tensor:
        """``then``: "relu", to have that applied to the result, which a `Sequential` asks for."""
        weight, bias = tensors_of(self, "weight", "bias")
        return F.linear(input, weight, bias) if then is None else F.linear(input, weight, bias, then=then)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Identity(Module):
    """Gives back its input. Any arguments are taken and ignored, so that it can stand in for any layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        return input


class Flatten(Module):
    """Joins the dimensions ``start_dim`` to ``end_dim`` (inclusive) into one; by default all but the batch.

    >>> Flatten()(minidl.zeros(8, 16, 5, 5)).shape
    (8, 400)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        return minidl.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Splits dimension ``dim`` into the sizes ``unflattened_size``, one of which may be -1: the reverse of `Flatten`.

    >>> Unflatten(1, (16, 5, 5))(minidl.zeros(8, 400)).shape
    (8, 16, 5, 5)
    """

    def __init__(self, dim: int, unflattened_size: tuple[int, ...] | list[int]) -> None:
        super().__init__()
        if not isinstance(dim, int):
            raise TypeError(f"unflatten dim must be int, got {type(dim).__name__}")
        for i, size in enumerate(unflattened_size):
            if not isinstance(size, int):
                raise TypeError(f"unflattened_size must be a tuple of ints, but found {type(size).__name__} at pos {i}")
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, input: Tensor) -> Tensor:
        return minidl.unflatten(input, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
