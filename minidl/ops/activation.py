"""Activation functions."""

from __future__ import annotations

import math
from typing import Any

from minidl.autograd.node import OUTPUT
from minidl.backend import backend_of
from minidl.ops.base import Elementwise, Op, backend_of_any, raw
from minidl.ops.inplace import apply_in_place
from minidl.ops.samples import reals
from minidl.ops.selection import clamp, where
from minidl.ops.shape import reshape
from minidl.ops.unary import erf, exp, sigmoid, softplus, tanh
from minidl.tensor import Tensor


class ReLU(Elementwise):
    """max(x, 0), with slope 0 at 0."""

    label = "relu"
    pointwise = False  # the backends have kernels for it

    samples = reals(-3, 3, kinks=[0])

    def forward(self, xp, x):
        return xp.relu(x)

    def vjp(self, g, y):
        return ReLUGrad(raw(y))(g) if isinstance(g, Tensor) else backend_of(g).relu_grad(g, y)


class ThenReLU(Op, abstract=True):
    """What ops have in common that end with a ReLU in the same pass: their gradients are those of the op without it, for the
    cotangent of the ReLU's input."""

    @classmethod
    def _plan(cls, needs):
        steps, needs, saves = super()._plan(needs)
        return steps, needs, tuple(sorted({OUTPUT, *saves}))

    def pull(self, cotangents, create_graph):
        return super().pull([ReLU.vjp(self, cotangents[0], self.restore(OUTPUT, create_graph))], create_graph)


class ReLUGrad(Op):
    """g where ``ReLU``'s output (an array) is above 0, else 0."""

    def __init__(self, output):
        self.output = output

    def forward(self, xp, g):
        return xp.relu_grad(g, self.output)

    def vjp(self, ct):
        return ReLUGrad(self.output)(ct)

    def samples(draw):
        g = draw.array(draw.shape())
        y = draw.array(g.shape)
        return (g,), lambda g: ReLUGrad(backend_of_any(g).from_numpy(y))(g)


class Hardtanh(Elementwise):
    """x limited to [low, high]; outside, and on the limits, the slope is 0."""

    pointwise = False  # the backends have kernels for it

    def __init__(self, low, high):
        self.low, self.high = low, high

    def forward(self, xp, x):
        return xp.hardtanh(x, self.low, self.high)

    def vjp(self, g, y):
        if isinstance(g, Tensor):
            return HardtanhGrad(raw(y), self.low, self.high)(g)
        return backend_of(g).hardtanh_grad(g, y, self.low, self.high)

    def samples(draw):
        low, high = draw.choice([(-1.0, 1.0), (0.0, 1.5)])
        return (draw.array(draw.shape(), reals(-2, 2, kinks=[low, high])),), lambda x: hardtanh(x, low, high)


class HardtanhGrad(Op):
    """g where ``Hardtanh``'s output (an array) is strictly between the limits, else 0."""

    def __init__(self, output, low, high):
        self.output, self.low, self.high = output, low, high

    def forward(self, xp, g):
        return xp.hardtanh_grad(g, self.output, self.low, self.high)

    def vjp(self, ct):
        return HardtanhGrad(self.output, self.low, self.high)(ct)

    def samples(draw):
        g = draw.array(draw.shape())
        y = draw.array(g.shape, reals(-2, 2)).clip(-1, 1)
        return (g,), lambda g: HardtanhGrad(backend_of_any(g).from_numpy(y), -1.0, 1.0)(g)


class LeakyReLU(Elementwise):
    """x where x > 0, else slope · x."""

    compiled = "leaky_relu"

    def __init__(self, negative_slope):
        self.slope, self.numbers = negative_slope, (float(negative_slope),)

    def forward(self, xp, x):
        return xp.where(x > 0, x, x * self.slope)

    def vjp(self, g, x):
        return where(raw(x) > 0, g, g * self.slope)

    def samples(draw):
        slope = draw.choice([0.01, 0.3, -0.2])
        return (draw.array(draw.shape(), reals(-3, 3, kinks=[0])),), lambda x: leaky_relu(x, slope)


class ELU(Elementwise):
    """scale · x where x > 0, else scale · α · (exp(x · input_scale) − 1)."""

    quiet = True
    compiled = "elu"

    def __init__(self, alpha, scale, input_scale):
        self.alpha, self.scale, self.input_scale = self.numbers = float(alpha), float(scale), float(input_scale)

    def forward(self, xp, x):
        below = xp.expm1(xp.minimum(x, 0) * self.input_scale) * (self.alpha * self.scale)
        return xp.where(x > 0, x * self.scale, below)

    def vjp(self, g, x):
        positive = raw(x) > 0
        below = exp(where(positive, 0, x) * self.input_scale) * (self.alpha * self.scale * self.input_scale)
        return g * where(positive, self.scale, below)

    def samples(draw):
        alpha = draw.choice([1.0, 0.5, 1.7])
        x = draw.array(draw.shape(), reals(-3, 3, kinks=[0]))
        return (x,), draw.choice([lambda x: elu(x, alpha), selu, lambda x: celu(x, alpha)])


class GELU(Elementwise):
    """x · Φ(x), with Φ the normal distribution function."""

    quiet = True
    compiled = "gelu"
    samples = reals(-3, 3)

    def forward(self, xp, x):
        return x * 0.5 * (1 + xp.erf(x * math.sqrt(0.5)))

    def vjp(self, g, x):
        normal = (erf(x * math.sqrt(0.5)) + 1) * 0.5
        return g * (normal + x * exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi)))


class GELUTanh(Elementwise):
    """0.5 · x · (1 + tanh(√(2/π) · (x + 0.044715 x³)))."""

    quiet = True
    compiled = "gelu_tanh"
    samples = reals(-3, 3)

    def forward(self, xp, x):
        return x * 0.5 * (1 + xp.tanh((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)))

    def vjp(self, g, x):
        t = tanh((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi))
        inner = (x * x * (3 * 0.044715) + 1) * math.sqrt(2 / math.pi)
        return g * 0.5 * ((t + 1) + x * (1 - t * t) * inner)


class SiLU(Elementwise):
    """x · sigmoid(x)."""

    quiet = True
    compiled = "silu"
    samples = reals(-4, 4)

    def forward(self, xp, x):
        return x / (1 + xp.exp(-x))

    def vjp(self, g, x):
        s = sigmoid(x)
        return g * s * (x * (1 - s) + 1)


class Mish(Elementwise):
    """x · tanh(softplus(x))."""

    quiet = True
    compiled = "mish"
    samples = reals(-4, 4)

    def forward(self, xp, x):
        e = xp.exp(xp.minimum(x, 20))
        return x * (e * (e + 2) / (e * (e + 2) + 2))

    def vjp(self, g, x):
        t = tanh(softplus(x))
        return g * (t + x * (1 - t * t) * sigmoid(x))


class Hardswish(Elementwise):
    """x · min(max(x + 3, 0), 6) / 6; the slope at −3 is 0, and at 3 it is 1."""

    compiled = "hardswish"
    samples = reals(-5, 5, kinks=[-3, 3])

    def forward(self, xp, x):
        return x * xp.clip(x + 3, 0, 6) * (1 / 6)

    def vjp(self, g, x):
        low, high = raw(x) <= -3, raw(x) >= 3
        return where(low, 0, where(high, g, g * (x * (1 / 3) + 0.5)))


class Hardsigmoid(Elementwise):
    """min(max(x + 3, 0), 6) / 6; outside, and on the limits, the slope is 0."""

    compiled = "hardsigmoid"
    samples = reals(-5, 5, kinks=[-3, 3])

    def forward(self, xp, x):
        return xp.clip(x + 3, 0, 6) * (1 / 6)

    def vjp(self, g, x):
        x = raw(x)
        return where((x <= -3) | (x >= 3), 0, g * (1 / 6))


# -- public functions -------------------------------------------------------------------------------------------------


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(input, 0); with ``inplace`` written over ``input``."""
    if inplace and _can_be_overwritten(input):
        return apply_in_place(ReLU(), input, (), lambda x: input.backend.relu(x, out=x), "relu_")
    return ReLU()(input)


def _can_be_overwritten(x: Any) -> bool:
    """Whether the fast way of an in-place activation is open: a float Tensor of its own memory (else a new one is made)."""
    return (
        isinstance(x, Tensor) and x._base is None and x.dtype.kind == "f" and getattr(x.array.flags, "writeable", True)
    )


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``input`` where it is positive, else ``negative_slope`` · ``input`` (Maas et al. 2013)."""
    return LeakyReLU(negative_slope)(input)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """As ``leaky_relu`` with learned slopes, one or one per channel (He et al. 2015, "Delving deep")."""
    if weight.ndim > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}")
    if weight.numel() != 1 and input.ndim == 0:
        raise RuntimeError(f"prelu: {weight.numel()} slopes do not fit a 0-d input")
    if weight.numel() == 1:
        weight = reshape(weight, ())
    elif input.ndim > 1:
        weight = reshape(weight, (-1, *[1] * (input.ndim - 2)))
    return where(raw(input) > 0, input, weight * input)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(input, 0), 6)."""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """``input`` limited to [min_val, max_val]; outside, and on the limits, the slope is 0."""
    if min_val > max_val:
        raise ValueError(f"min_val cannot be greater than max_val, got {min_val} and {max_val}")
    if input.dtype.kind in "iu":
        return clamp(input, int(min_val), int(max_val))
    if inplace and _can_be_overwritten(input):

        def write(x: Any) -> None:
            input.backend.hardtanh(x, min_val, max_val, out=x)

        return apply_in_place(Hardtanh(min_val, max_val), input, (), write, "hardtanh_")
    return Hardtanh(min_val, max_val)(input)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``input`` where it is positive, else alpha · (exp(input) − 1) (Clevert et al. 2015)."""
    return ELU(alpha, 1.0, 1.0)(input)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """ELU scaled so that activations keep mean 0 and variance 1 (Klambauer et al. 2017)."""
    return ELU(1.6732632423543772848170429916717, 1.0507009873554804934193349852946, 1.0)(input)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``input`` where it is positive, else alpha · (exp(input / alpha) − 1) (Barron 2017)."""
    return ELU(alpha, 1.0, 1.0 / alpha)(input)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """``input`` · Φ(``input``), with Φ the normal distribution function (Hendrycks & Gimpel 2016).

    Args:
        approximate: ``"none"``, or ``"tanh"`` for their approximation by tanh.
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"approximate argument must be either none or tanh, got {approximate!r}")
    return (GELU() if approximate == "none" else GELUTanh())(input)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """``input`` · sigmoid(``input``), also called swish."""
    return SiLU()(input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """``input`` · tanh(softplus(``input``)) (Misra 2019)."""
    return Mish()(input)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """``input`` · relu6(``input`` + 3) / 6 (Howard et al. 2019)."""
    return Hardswish()(input)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(``input`` + 3) / 6."""
    return Hardsigmoid()(input)


def softsign(input: Tensor) -> Tensor:
    """``input`` / (1 + |``input``|)."""
    return input / (abs(input) + 1)


def tanhshrink(input: Tensor) -> Tensor:
    """``input`` − tanh(``input``)."""
    return input - tanh(input)


def logsigmoid(input: Tensor) -> Tensor:
    """log sigmoid(``input``), without overflow."""
    return -softplus(-input, threshold=float("inf"))


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """``input`` where it is above ``threshold``, else ``value``."""
    return where(raw(input) > threshold, input, value)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along ``dim`` times the sigmoid of the second (Dauphin et al. 2016)."""
    if input.shape[dim] % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {input.shape[dim]}")
    a, b = input.chunk(2, dim)
    return a * sigmoid(b)
