"""The nets in JAX on the CPU: one jitted function that trains, one that infers. Its first step includes the compilation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.layers import Layers

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 1e-4


class JaxFunctions:
    """``benchmarks.layers.Functions`` in JAX."""

    def array(self, values: np.ndarray) -> Any:
        return jnp.asarray(values)

    def linear(self, x: Any, weight: Any, bias: Any) -> Any:
        return x @ weight.T + bias

    def conv2d(self, x: Any, weight: Any, stride: int, padding: int, groups: int) -> Any:
        return lax.conv_general_dilated(
            x,
            weight,
            (stride, stride),
            [(padding, padding)] * 2,
            dimension_numbers=("NCHW", "OIHW", "NCHW"),
            feature_group_count=groups,
        )

    def channels(self, vector: Any) -> Any:
        return vector[:, None, None]

    def max_pool2d(self, x: Any, size: int) -> Any:
        window = (1, 1, size, size)
        return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")

    def mean_pool(self, x: Any) -> Any:
        return x.mean((2, 3), keepdims=True)

    def relu(self, x: Any) -> Any:
        return jax.nn.relu(x)

    def relu6(self, x: Any) -> Any:
        return jax.nn.relu6(x)

    def sigmoid(self, x: Any) -> Any:
        return jax.nn.sigmoid(x)

    def batch_norm(self, x: Any, weight: Any, bias: Any, state: dict[str, Any], training: bool) -> Any:
        axes, shape = ((0,), (-1,)) if x.ndim == 2 else ((0, 2, 3), (-1, 1, 1))
        mean, variance = state["mean"], state["variance"]
        if training:
            mean, variance = x.mean(axes), x.var(axes)
            count = x.size // x.shape[1]
            state["mean"] = 0.9 * state["mean"] + 0.1 * lax.stop_gradient(mean)
            state["variance"] = 0.9 * state["variance"] + 0.1 * lax.stop_gradient(variance) * count / (count - 1)
        scale = weight * lax.rsqrt(variance + 1e-5)
        return (x - mean.reshape(shape)) * scale.reshape(shape) + bias.reshape(shape)


def make_step(build: Callable[[Any], Any], images: np.ndarray, labels: np.ndarray, mode: str) -> Callable[[], Any]:
    """A function that trains (or infers) on one batch and waits for the result."""
    model = build(Layers(JaxFunctions()))
    layers = list(model.layers())
    x, y = jnp.asarray(images), jnp.asarray(labels)

    def apply(params: Any, state: Any, x: Any) -> tuple[Any, Any]:
        """The logits, and the layers' state afterwards. JAX wants a function; the layers are only its notation."""
        for layer, arrays, kept in zip(layers, params, state, strict=True):
            layer.arrays, layer.state = arrays, dict(kept)
        return model(x), [layer.state for layer in layers]

    params = [layer.arrays for layer in layers]
    state = [layer.state for layer in layers]
    if mode == "infer":
        for layer in layers:
            layer.training = False
        infer = jax.jit(lambda params, state, x: apply(params, state, x)[0])
        return lambda: infer(params, state, x).block_until_ready()

    def loss_of(params: Any, state: Any, x: Any, y: Any) -> tuple[Any, Any]:
        logits, state = apply(params, state, x)
        picked = jnp.take_along_axis(logits, y[:, None], axis=1)[:, 0]
        return (jax.nn.logsumexp(logits, axis=1) - picked).mean(), state

    def update(params: Any, momentum: Any, state: Any, x: Any, y: Any) -> tuple[Any, Any, Any, Any]:
        (loss, state), grads = jax.value_and_grad(loss_of, has_aux=True)(params, state, x, y)
        momentum = jax.tree.map(lambda m, g, p: MOMENTUM * m + g + WEIGHT_DECAY * p, momentum, grads, params)
        params = jax.tree.map(lambda p, m: p - LEARNING_RATE * m, params, momentum)
        return params, momentum, state, loss

    jitted = jax.jit(update, donate_argnums=(0, 1, 2))
    momentum = jax.tree.map(jnp.zeros_like, params)

    def train() -> Any:
        nonlocal params, momentum, state
        params, momentum, state, loss = jitted(params, momentum, state, x, y)
        jax.block_until_ready(params)
        return loss

    return train
