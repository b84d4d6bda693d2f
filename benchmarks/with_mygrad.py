"""The smaller nets in MyGrad. Its batch normalisation keeps no running statistics, so inference uses the initial ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mygrad as mg
import numpy as np
from mygrad.nnet import activations
from mygrad.nnet import layers as mygrad_layers
from mygrad.nnet.losses import softmax_crossentropy

from benchmarks.layers import Layers

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 1e-4


class MyGradFunctions:
    """``benchmarks.layers.Functions`` in MyGrad."""

    def array(self, values: np.ndarray) -> Any:
        return mg.tensor(values)

    def linear(self, x: Any, weight: Any, bias: Any) -> Any:
        return mg.matmul(x, weight.T) + bias

    def conv2d(self, x: Any, weight: Any, stride: int, padding: int, groups: int) -> Any:
        if groups != 1:
            raise ValueError(f"MyGrad has no grouped convolution, got groups={groups}")
        return mygrad_layers.conv_nd(x, weight, stride=stride, padding=padding)

    def channels(self, vector: Any) -> Any:
        return vector.reshape(-1, 1, 1)

    def max_pool2d(self, x: Any, size: int) -> Any:
        return mygrad_layers.max_pool(x, (size, size), size)

    def mean_pool(self, x: Any) -> Any:
        return x.mean((2, 3), keepdims=True)

    def relu(self, x: Any) -> Any:
        return activations.relu(x)

    def relu6(self, x: Any) -> Any:
        return mg.clip(x, 0, 6)

    def sigmoid(self, x: Any) -> Any:
        return activations.sigmoid(x)

    def batch_norm(self, x: Any, weight: Any, bias: Any, state: dict[str, Any], training: bool) -> Any:
        if training:
            return mygrad_layers.batchnorm(x, gamma=weight, beta=bias, eps=1e-5)
        shape = (1, -1) if x.ndim == 2 else (1, -1, 1, 1)
        scale = weight.data / np.sqrt(state["variance"].data + 1e-5)
        return (x - state["mean"].data.reshape(shape)) * scale.reshape(shape) + bias.data.reshape(shape)


def make_step(build: Callable[[Any], Any], images: np.ndarray, labels: np.ndarray, mode: str) -> Callable[[], Any]:
    """A function that trains (or infers) on one batch."""
    model = build(Layers(MyGradFunctions()))
    if mode == "infer":
        for layer in model.layers():
            layer.training = False

        def infer() -> Any:
            with mg.no_autodiff:
                return model(images)

        return infer
    params = [array for layer in model.layers() for array in layer.arrays.values()]
    momentum = [np.zeros_like(p.data) for p in params]

    def train() -> Any:
        loss = softmax_crossentropy(model(images), labels)
        loss.backward()
        for p, m in zip(params, momentum, strict=True):
            m *= MOMENTUM
            m += p.grad
            m += WEIGHT_DECAY * p.data
            p.data -= LEARNING_RATE * m
            p.null_grad()
        return loss

    return train
