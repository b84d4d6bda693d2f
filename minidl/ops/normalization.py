"""Batch, layer, group and local response normalisation."""

from __future__ import annotations

import math
from typing import Any

from minidl.autograd.mode import mode
from minidl.backend import backend_of
from minidl.ops.activation import HardtanhGrad, ReLUGrad, relu, relu6
from minidl.ops.base import Op, at_place, raw, same_dtype, sum_to
from minidl.ops.reduction import mean, norm, var
from minidl.ops.samples import reals
from minidl.ops.shape import broadcast_to, reshape
from minidl.ops.unary import rsqrt, sigmoid
from minidl.tensor import Tensor


class Normalize(Op):
    """(x − mean) / √(variance + ε) · weight + bias, with mean and variance taken over ``axes`` of x itself.

    ``weight`` and ``bias`` have a shape that can be viewed as ``affine``, which broadcasts against x, or are None.
    ``running``, if given, follows the statistics (see the kernel ``normalize_batch``).
    """

    quiet = True
    frees = ("mean", "invstd")
    then: tuple[str, ...] = ()  # what is done to the result in the same pass

    def __init__(self, axes, eps, affine, running=None):
        self.axes, self.eps, self.affine, self.running = axes, eps, affine, running

    def forward(self, xp, x, weight, bias):
        self.shapes = getattr(weight, "shape", None), getattr(bias, "shape", None)
        weight, bias = self._fit(weight), self._fit(bias)
        y, self.mean, self.invstd = xp.normalize_batch(x, weight, bias, self.axes, self.eps, self.running, *self.then)
        return y

    def vjp(self, g, x, weight):
        return self._vjp(g, x, weight)

    def _vjp(self, g, x, weight, *made):
        """The gradients; ``made`` is what ``then`` made of the result, if there is such a thing."""
        x_needed, weight_needed, bias_needed = self.needs
        weight_shape, bias_shape = self.shapes
        if isinstance(g, Tensor):
            gx, gw = self.plain_gradient(g, x, None if weight is None else reshape(weight, self.affine))
            return (
                gx if x_needed else None,
                reshape(sum_to(gw, self.affine), weight_shape) if weight_needed else None,
                reshape(sum_to(g, self.affine), bias_shape) if bias_needed else None,
            )
        shapes = weight_shape if weight_needed else None, bias_shape if bias_needed else None
        given = g, x, self._fit(weight), self.mean, self.invstd, self.axes, self.affine
        dx, dw, db = backend_of(g).normalize_grad(*given, *shapes, *self.then, *made)
        return dx if x_needed else None, dw, db

    def _fit(self, t):
        """A weight or bias in a shape that broadcasts against x: (C) does against (N, C) as it is."""
        return t if t is None or self.affine in ((1, *t.shape), t.shape) else t.reshape(self.affine)

    def plain_gradient(self, g, x, weight):
        """The plain twin of the kernel ``normalize_grad``, in minidl's operators, so that it can be differentiated again."""
        invstd = rsqrt(var(x, self.axes, correction=0, keepdim=True) + self.eps)
        xhat = (x - mean(x, self.axes, True)) * invstd
        h = g if weight is None else g * weight
        gx = invstd * (h - mean(h, self.axes, True) - xhat * mean(h * xhat, self.axes, True))
        return gx, g * xhat

    def samples(draw):
        x = draw.array((draw.integer(2, 3), draw.integer(1, 3), *draw.shape(0, 2, 3)))
        axes = draw.choice([(0, *range(2, x.ndim)), tuple(range(1, x.ndim)) if x[0].size > 1 else (0,)])
        affine = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        x = x + 0.5 * draw.array(x.shape, distinct=True)  # so that no variance is near zero
        shape = draw.choice([affine, tuple(n for n in affine if n > 1)])
        arrays = (x, draw.array(shape), draw.array(shape))
        return arrays[: draw.integer(1, 3)], lambda x, w=None, b=None: Normalize(axes, 0.1, affine)(x, w, b)


class NormalizeThen(Normalize):
    """``Normalize`` and then an activation, "relu", "relu6" or "sigmoid", in fewer passes over the memory."""

    def __init__(self, then, *normalize):
        super().__init__(*normalize)
        self.then = (then,)

    def forward(self, xp, x, weight, bias):
        return super().forward(xp, x, weight, bias)

    def vjp(self, g, x, weight, y):
        if not isinstance(g, Tensor):
            return self._vjp(g, x, weight, y)
        (then,) = self.then
        if then == "sigmoid":
            g = g * (y * (1 - y))
        else:
            g = ReLUGrad(raw(y))(g) if then == "relu" else HardtanhGrad(raw(y), 0.0, 6.0)(g)
        return self._vjp(g, x, weight)

    def samples(draw):
        x = draw.array((draw.integer(2, 3), draw.integer(1, 3), *draw.shape(0, 2, 3)))
        x = x + 0.5 * draw.array(x.shape, distinct=True)  # so that no variance is near zero
        axes, affine = (0, *range(2, x.ndim)), tuple(n if i == 1 else 1 for i, n in enumerate(x.shape))
        then = draw.choice(["relu", "relu6", "sigmoid"])
        # Small deviations from where no limit is near: a kink has no derivative.
        weight = 0.05 + 0.02 * draw.array(affine, reals(-1, 1))
        bias = draw.generator().choice([-1.0, 1.0, 5.0, 7.0] if then != "sigmoid" else [-1.0, 0.5], affine)
        return (x, weight, bias), lambda x, w, b: NormalizeThen(then, axes, 0.1, affine)(x, w, b)


class NormalizeBy(Op):
    """(x − mean) / √(variance + ε) · weight + bias for every channel of x (dimension 1), with a given mean and variance.

    These are arrays (C), held constant; weight and bias are (C) or None.
    """

    quiet = True
    promotes = False

    def __init__(self, mean, variance, eps, then=None):
        self.mean, self.variance, self.eps = mean, variance, eps
        self.then = then  # an activation of the result; the gradients are those without

    def forward(self, xp, x, weight, bias):
        assert self.then is None or not mode.recording
        y, self.invstd = xp.normalize_by(x, weight, bias, self.mean, self.variance, self.eps, self.then)
        if mode.recording:
            self.mean = self.mean.copy()  # the running mean may move on before the gradient is asked for
        return y

    def vjp_x(self, g, weight):
        scale = self.invstd if weight is None else weight * self.invstd
        return g * _per_channel(scale, g) if isinstance(g, Tensor) else backend_of(g).scale_channels(g, scale)

    def vjp_weight(self, g, x):
        mean = self.mean.astype(x.dtype, copy=False)
        if isinstance(g, Tensor):
            return _channel_sums(g * ((x - _per_channel(mean, x)) * _per_channel(self.invstd, x)))
        return backend_of(g).channel_products(g, x, mean) * self.invstd

    def vjp_bias(self, g):
        return _channel_sums(g) if isinstance(g, Tensor) else backend_of(g).channel_sums(g)

    def samples(draw):
        x = draw.array((draw.integer(1, 3), draw.integer(1, 3), *draw.shape(0, 2, 3)))
        channels = (x.shape[1],)
        statistics = draw.array(channels), draw.array(channels) ** 2

        def apply(x, w=None, b=None):
            mean, variance = (backend_of(raw(x)).from_numpy(a) for a in statistics)
            return NormalizeBy(mean, variance, 0.1)(x, w, b)

        return (x, draw.array(channels), draw.array(channels))[: draw.integer(1, 3)], apply


def _per_channel(v: Any, like: Any) -> Any:
    """A vector (C) in a shape that broadcasts against (N, C, …)."""
    return reshape(v, (1, -1) + (1,) * (like.ndim - 2))


def _channel_sums(x: Any) -> Any:
    """(N, C, …) summed over all but the channels."""
    return reshape(sum_to(x, (1, x.shape[1]) + (1,) * (x.ndim - 2)), (-1,))


def batch_norm(
    input: Any,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    then: str | None = None,
) -> Any:
    """Normalise every channel (dimension 1) over the batch and all positions (Ioffe & Szegedy 2015, algorithm 1).

    In training the statistics are those of the batch, and the running ones, if given, are moved towards them in place:
    running ← (1 − momentum) · running + momentum · batch, the variance with n − 1 as its divisor. Otherwise the running
    statistics are used.

    Args:
        input: (N, C, …).
        running_mean, running_var, weight, bias: (C) each, or None.
        then: an activation that is applied to the result ("relu", "relu6" or "sigmoid"); in training, or where nothing is
            recorded, in the same pass.

    Raises:
        ValueError: in training, if there is only one value per channel, or eps is not positive; for another ``then``.
        RuntimeError: if the sizes do not fit.
    """
    shape = tuple(input.shape)
    if len(shape) < 2:
        raise RuntimeError(f"batch_norm: expected at least 2D input (N, C, ...), got shape {shape}{at_place()}")
    if then is not None and then not in ACTIVATIONS:
        raise ValueError(f"batch_norm: then={then!r} is none of {', '.join(map(repr, ACTIVATIONS))}{at_place()}")
    if training and not eps > 0:
        raise ValueError(f"batch_norm eps must be positive during training, but got {eps}{at_place()}")
    channels = shape[1]
    line = (channels,)
    for name, t in (("running_mean", running_mean), ("running_var", running_var), ("weight", weight), ("bias", bias)):
        if t is not None and t.array.shape != line:
            raise RuntimeError(
                f"batch_norm: {name} should contain {channels} elements not {t.numel()} (input shape {shape}){at_place()}"
            )
    same_dtype("batch_norm", input, weight, bias)
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError("batch_norm: Expected running_mean and running_var to be defined when training=False")
        statistics = raw(running_mean), raw(running_var), eps
        if not mode.recording:
            return NormalizeBy(*statistics, then)(input, weight, bias)
        y = NormalizeBy(*statistics)(input, weight, bias)
        return y if then is None else ACTIVATIONS[then](y)
    count = math.prod(shape) // channels if channels else 0
    if count == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {list(shape)}{at_place()}"
        )
    axes, affine = (0, *range(2, len(shape))), (1, channels) + (1,) * (len(shape) - 2)
    if running_mean is None or running_var is None or not count:
        return _normalize(then, axes, eps, affine)(input, weight, bias)
    running = running_mean.array, running_var.array, float(momentum)
    y = _normalize(then, axes, eps, affine, running)(input, weight, bias)
    running_mean.bump_version("batch_norm")
    running_var.bump_version("batch_norm")
    return y


ACTIVATIONS = {"relu": relu, "relu6": relu6, "sigmoid": sigmoid}


def _normalize(then: str | None, *arguments: Any) -> Normalize:
    return Normalize(*arguments) if then is None else NormalizeThen(then, *arguments)


def layer_norm(
    input: Any, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Any:
    """Normalise over the last dimensions, ``normalized_shape`` (Ba et al. 2016)."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or tuple(input.shape[-len(shape) :]) != shape:
        raise RuntimeError(
            f"layer_norm: Given normalized_shape={list(shape)}, expected input with shape [*, {', '.join(map(str, shape))}], "
            f"but got input of size {list(input.shape)}{at_place()}"
        )
    same_dtype("layer_norm", input, weight, bias)
    return Normalize(tuple(range(input.ndim - len(shape), input.ndim)), eps, shape)(input, weight, bias)


def group_norm(
    input: Any, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Any:
    """Normalise each sample over groups of channels (Wu & He 2018)."""
    if input.ndim < 2:
        raise RuntimeError(
            f"group_norm: Expected at least 2 dimensions for input tensor but received {input.ndim}{at_place()}"
        )
    n, channels = input.shape[:2]
    if channels % num_groups:
        raise RuntimeError(
            f"group_norm: Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={num_groups}{at_place()}"
        )
    same_dtype("group_norm", input, weight, bias)
    for name, t in (("weight", weight), ("bias", bias)):
        if t is not None and tuple(t.shape) != (channels,):
            raise RuntimeError(
                f"group_norm: Expected {name} to be a vector of size equal to the number of channels in input, but got {name} of "
                f"shape {list(t.shape)} and input of shape {list(input.shape)}{at_place()}"
            )
    grouped = reshape(input, (n, num_groups, channels // num_groups, *input.shape[2:]))
    axes, affine = tuple(range(2, grouped.ndim)), (1, *grouped.shape[1:3]) + (1,) * (input.ndim - 2)
    return reshape(Normalize(axes, eps, affine)(grouped, weight, bias), tuple(input.shape))


def local_response_norm(input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Any:
    """x / (k + α · mean of x² over ``size`` neighbouring channels)^β (Krizhevsky et al. 2012, section 3.3).

    As in PyTorch the squares are averaged over the window (zeros beyond the ends); the paper sums them.
    """
    from minidl.ops.padding import pad
    from minidl.ops.pool import avg_pool2d

    if input.ndim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {input.ndim} dimensions)")
    n, channels = input.shape[:2]
    squares = reshape(input * input, (n, 1, channels, -1) if input.numel() else (n, 1, channels, 0))
    squares = pad(squares, (0, 0, size // 2, (size - 1) // 2))
    average = reshape(avg_pool2d(squares, (size, 1), stride=1), tuple(input.shape))
    return input / (average * alpha + k) ** beta


def normalize(input: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Any:
    """``input`` divided by its p-norm along ``dim`` (or by ``eps`` where the norm is smaller)."""
    from minidl.ops.selection import clamp

    return input / broadcast_to(clamp(norm(input, p, dim, keepdim=True), min=eps), tuple(input.shape))
