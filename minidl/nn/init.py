"""Initialisation: functions that fill a Tensor, in place, and return it.

Numbers are drawn on the CPU, from ``generator`` or from the one that ``minidl.manual_seed`` seeds, and copied to where
the Tensor lives: a seed gives the same model on every device.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from minidl import random
from minidl.tensor import Tensor

Generator = random.Generator


def _numpy_generator(generator: Generator | None) -> np.random.Generator:
    return (random.default_generator if generator is None else generator).numpy


def _working_dtype(tensor: Tensor) -> Any:
    """The dtype to draw in: float64 for float64, else float32."""
    return np.float64 if tensor.dtype == np.float64 else np.float32


def _write(tensor: Tensor, values: Any, name: str) -> Tensor:
    """Put a NumPy array (or a number) into the Tensor's memory, past autograd."""
    if isinstance(values, np.ndarray):
        values = tensor.backend.from_numpy(values.astype(tensor.dtype, copy=False))
    tensor.array[...] = values
    tensor.bump_version(name)
    return tensor


def fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """How many inputs each output of a weight has, and how many outputs each input.

    For a weight of shape (out, in, *kernel) that is in · |kernel| and out · |kernel|.
    """
    if tensor.ndim < 2:
        raise ValueError(
            f"Fan in and fan out can not be computed for tensor with fewer than 2 dimensions, got shape {tensor.shape}"
        )
    kernel = math.prod(tensor.shape[2:])
    return tensor.shape[1] * kernel, tensor.shape[0] * kernel


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor on a layer's standard deviation that suits the function after it.

    1 for "linear", "conv1d", "conv2d", "conv_transpose2d" (and their likes) and "sigmoid"; 5/3 for "tanh"; √2 for
    "relu"; √(2 / (1 + param²)) for "leaky_relu" (``param``: the negative slope, 0.01 by default); 3/4 for "selu".
    """
    if nonlinearity in ("linear", "sigmoid") or nonlinearity.rstrip("d123") in ("conv", "conv_transpose"):
        return 1.0
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 3.0 / 4
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}")


# -- given values ------------------------------------------------------------------------------------------------------


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with ``val``."""
    return _write(tensor, val, "constant_")


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    return _write(tensor, 1, "ones_")


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    return _write(tensor, 0, "zeros_")


def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with ones on the diagonal and zeros elsewhere: a Linear layer that passes its input on."""
    if tensor.ndim != 2:
        raise ValueError(f"Only tensors with 2 dimensions are supported, got shape {tensor.shape}")
    return _write(tensor, np.eye(tensor.shape[0], tensor.shape[1]), "eye_")


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill a convolution's weight so that output channel i is input channel i, as far as there are channels.

    Args:
        tensor: (out, in / groups, *kernel) with one to three kernel axes.
        groups: do so within each of this many groups of output channels.
    """
    if tensor.ndim not in (3, 4, 5):
        raise ValueError(f"Only tensors with 3, 4, or 5 dimensions are supported, got shape {tensor.shape}")
    if tensor.shape[0] % groups:
        raise ValueError(f"dim 0 must be divisible by groups, got {tensor.shape[0]} and {groups} groups")
    per_group = tensor.shape[0] // groups
    centre = tuple(size // 2 for size in tensor.shape[2:])
    values = np.zeros(tensor.shape)
    for group in range(groups):
        for channel in range(min(per_group, tensor.shape[1])):
            values[(group * per_group + channel, channel, *centre)] = 1
    return _write(tensor, values, "dirac_")


# -- drawn values ------------------------------------------------------------------------------------------------------


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill from the uniform distribution over [a, b).

    Raises:
        RuntimeError: if a > b.
    """
    if a > b:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={a} > to={b}")
    values = _numpy_generator(generator).random(tensor.shape, dtype=_working_dtype(tensor))
    return _write(tensor, np.asarray(values * (b - a) + a), "uniform_")


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill from the normal distribution N(mean, std²).

    Raises:
        RuntimeError: if std is negative.
    """
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    values = _numpy_generator(generator).standard_normal(tensor.shape, dtype=_working_dtype(tensor))
    return _write(tensor, np.asarray(values * std + mean), "normal_")


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Fill from the normal distribution N(mean, std²) restricted to [a, b] (absolute bounds, not multiples of std).

    By rejection: of the normal distribution where most of its mass lies within the bounds, of the uniform one
    otherwise.
    """
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. "
            "The distribution of values may be incorrect.",
            stacklevel=2,
        )
    inside = 0.5 * (math.erf((b - mean) / std / math.sqrt(2)) - math.erf((a - mean) / std / math.sqrt(2)))
    peak = max(a, min(mean, b))  # where the density is largest within the bounds
    rng = _numpy_generator(generator)
    values = np.empty(tensor.numel())
    open_ = np.arange(values.size)  # positions still to be filled
    while open_.size:
        if inside > 0.3:
            drawn = rng.normal(mean, std, open_.size)
            accepted = (drawn >= a) & (drawn <= b)
        else:
            drawn = rng.uniform(a, b, open_.size)
            log_density = -0.5 * ((drawn - mean) / std) ** 2 + 0.5 * ((peak - mean) / std) ** 2
            accepted = np.log1p(-rng.random(open_.size)) <= log_density
        values[open_[accepted]] = drawn[accepted]
        open_ = open_[~accepted]
    return _write(tensor, values.reshape(tensor.shape), "trunc_normal_")


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill from U(−a, a) with a = gain · √(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 16)."""
    bound = gain * math.sqrt(6.0 / sum(fan_in_and_fan_out(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill from N(0, gain² · 2 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 12)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(fan_in_and_fan_out(tensor))), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode.lower() not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    fan_in, fan_out = fan_in_and_fan_out(tensor)
    fan = fan_in if mode.lower() == "fan_in" else fan_out
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill from U(−b, b) with the standard deviation of `kaiming_normal_`: b = √3 · gain / √fan."""
    if tensor.numel() == 0:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill from N(0, gain² / fan) (He et al. 2015, eq. 15: ½ (1 + a²) · fan · Var = 1).

    Args:
        tensor: (out, in, *kernel).
        a: the slope for negative inputs of the rectifier that follows; used with "leaky_relu" only.
        mode: "fan_in" keeps the variance of the activations from layer to layer (eq. 10), "fan_out" that of the
            gradients (eq. 14).
        nonlinearity: what follows the layer; see `calculate_gain`.
        generator: draw from this one instead of the default.
    """
    if tensor.numel() == 0:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """Fill with a (semi-)orthogonal matrix times ``gain`` (Saxe et al. 2014, §3).

    A Tensor of shape (rows, *rest) counts as a matrix of rows × prod(rest); its shorter side becomes orthonormal. The
    matrix is the Q of a QR decomposition of normal numbers, with signs chosen so that R has a positive diagonal: only
    then is Q uniformly distributed (Mezzadri 2007, §5).
    """
    if tensor.ndim < 2:
        raise ValueError(f"Only tensors with 2 or more dimensions are supported, got shape {tensor.shape}")
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    cols = tensor.numel() // rows
    tall = (max(rows, cols), min(rows, cols))
    q, r = np.linalg.qr(_numpy_generator(generator).standard_normal(tall, dtype=_working_dtype(tensor)))
    q *= np.where(np.diagonal(r) < 0, -gain, gain).astype(q.dtype)
    return _write(tensor, (q if rows >= cols else q.T).reshape(tensor.shape), "orthogonal_")


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """Fill a matrix from N(0, std²), then set the fraction ``sparsity`` of each column to zero (Martens 2010)."""
    if tensor.ndim != 2:
        raise ValueError(f"Only tensors with 2 dimensions are supported, got shape {tensor.shape}")
    rows, cols = tensor.shape
    rng = _numpy_generator(generator)
    values = rng.normal(0.0, std, (rows, cols))
    for col in range(cols):
        values[rng.permutation(rows)[: math.ceil(sparsity * rows)], col] = 0
    return _write(tensor, values, "sparse_")
