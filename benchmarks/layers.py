"""Layers under PyTorch's names for engines that have only functions (JAX, MyGrad), so that ``nets.py`` serves them too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np


class Functions(Protocol):
    """What an engine must offer. Images are (N, C, H, W), weights are (out, in, …)."""

    def array(self, values: np.ndarray) -> Any: ...
    def linear(self, x: Any, weight: Any, bias: Any) -> Any: ...
    def conv2d(self, x: Any, weight: Any, stride: int, padding: int, groups: int) -> Any: ...
    def channels(self, vector: Any) -> Any: ...  # (C,) as (C, 1, 1), to be added to images
    def max_pool2d(self, x: Any, size: int) -> Any: ...
    def mean_pool(self, x: Any) -> Any: ...  # (N, C, H, W) to (N, C, 1, 1)
    def relu(self, x: Any) -> Any: ...
    def relu6(self, x: Any) -> Any: ...
    def sigmoid(self, x: Any) -> Any: ...
    def batch_norm(self, x: Any, weight: Any, bias: Any, state: dict[str, Any], training: bool) -> Any: ...


class Module:
    """Something with a ``forward``, which may hold others as attributes."""

    training = True

    def __call__(self, x: Any) -> Any:
        return self.forward(x)

    def forward(self, x: Any) -> Any:
        raise NotImplementedError

    def layers(self) -> Iterator[Layer]:
        """All layers inside, in a fixed order."""
        for child in vars(self).values():
            for one in child if isinstance(child, (list, tuple)) else [child]:
                if isinstance(one, Module):
                    yield from one.layers()


class Layer(Module):
    """A function with its weights (``arrays``) and what it keeps from step to step (``state``)."""

    def __init__(self, function: Callable[[Layer, Any], Any], arrays: dict[str, Any] | None = None) -> None:
        self.function = function
        self.arrays = arrays or {}
        self.state: dict[str, Any] = {}

    def forward(self, x: Any) -> Any:
        return self.function(self, x)

    def layers(self) -> Iterator[Layer]:
        yield self


class Sequential(Module):
    """One after the other."""

    def __init__(self, *modules: Module) -> None:
        self.modules = modules

    def forward(self, x: Any) -> Any:
        for module in self.modules:
            x = module(x)
        return x


class Layers:
    """A stand-in for ``torch.nn`` made of an engine's functions. Weights are drawn as PyTorch draws them, by NumPy."""

    Module, Sequential = Module, Sequential

    def __init__(self, functions: Functions) -> None:
        self.f = functions
        self.random = np.random.default_rng(0)

    def _uniform(self, shape: tuple[int, ...], fan_in: int) -> Any:
        return self.f.array(self.random.uniform(-1, 1, shape).astype(np.float32) / np.float32(fan_in**0.5))

    def Linear(self, n_in: int, n_out: int) -> Layer:  # noqa: N802
        arrays = {"weight": self._uniform((n_out, n_in), n_in), "bias": self._uniform((n_out,), n_in)}
        return Layer(lambda layer, x: self.f.linear(x, layer.arrays["weight"], layer.arrays["bias"]), arrays)

    def Conv2d(  # noqa: N802
        self, c_in: int, c_out: int, size: int, stride: int = 1, padding: int = 0, groups: int = 1, bias: bool = True
    ) -> Layer:
        fan_in = c_in // groups * size * size
        arrays = {"weight": self._uniform((c_out, c_in // groups, size, size), fan_in)}
        if bias:
            arrays["bias"] = self._uniform((c_out,), fan_in)

        def convolve(layer: Layer, x: Any) -> Any:
            y = self.f.conv2d(x, layer.arrays["weight"], stride, padding, groups)
            return y + self.f.channels(layer.arrays["bias"]) if bias else y

        return Layer(convolve, arrays)

    def BatchNorm2d(self, width: int) -> Layer:  # noqa: N802
        def normalize(layer: Layer, x: Any) -> Any:
            return self.f.batch_norm(x, layer.arrays["weight"], layer.arrays["bias"], layer.state, layer.training)

        ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
        layer = Layer(normalize, {"weight": self.f.array(ones), "bias": self.f.array(zeros)})
        layer.state = {"mean": self.f.array(zeros.copy()), "variance": self.f.array(ones.copy())}
        return layer

    BatchNorm1d = BatchNorm2d

    def MaxPool2d(self, size: int) -> Layer:  # noqa: N802
        return Layer(lambda layer, x: self.f.max_pool2d(x, size))

    def AdaptiveAvgPool2d(self, size: int) -> Layer:  # noqa: N802
        if size != 1:
            raise ValueError(f"benchmarks.layers: AdaptiveAvgPool2d is there for size 1 only, got {size}")
        return Layer(lambda layer, x: self.f.mean_pool(x))

    def Flatten(self) -> Layer:  # noqa: N802
        return Layer(lambda layer, x: x.reshape(x.shape[0], -1))

    def ReLU(self, inplace: bool = False) -> Layer:  # noqa: N802
        return Layer(lambda layer, x: self.f.relu(x))

    def ReLU6(self, inplace: bool = False) -> Layer:  # noqa: N802
        return Layer(lambda layer, x: self.f.relu6(x))

    def Sigmoid(self) -> Layer:  # noqa: N802
        return Layer(lambda layer, x: self.f.sigmoid(x))
