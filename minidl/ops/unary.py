"""Elementary functions of one variable: exponentials, logarithms, roots, trigonometry, and the error function."""

from __future__ import annotations

import math

from minidl import dtypes
from minidl.backend import backend_of
from minidl.ops.base import Elementwise, Op, as_function, cast, raw
from minidl.ops.samples import reals
from minidl.ops.selection import where
from minidl.tensor import Tensor


class Unary(Elementwise, abstract=True):
    """A function of one real variable; integers become floats."""

    to_float = quiet = True


class Square(Elementwise):
    """x²."""

    samples = reals(-3, 3)

    def forward(self, xp, x):
        return x * x

    def vjp(self, g, x):
        return g * 2 * x


class Exp(Unary):
    """eˣ."""

    compiled = "exponential"
    samples = reals(-3, 3)

    def forward(self, xp, x):
        return xp.exp(x)

    def vjp(self, g, y):
        return g * y


class Exp2(Unary):
    """2ˣ."""

    samples = reals(-3, 3)

    def forward(self, xp, x):
        return xp.exp2(x)

    def vjp(self, g, y):
        return g * y * math.log(2.0)


class Expm1(Unary):
    """eˣ − 1, accurate near 0."""

    samples = reals(-3, 3)

    def forward(self, xp, x):
        return xp.expm1(x)

    def vjp(self, g, y):
        return g * (y + 1)


class Log(Unary):
    """The natural logarithm."""

    samples = reals(0.3, 4)

    def forward(self, xp, x):
        return xp.log(x)

    def vjp(self, g, x):
        return g / x


class Log2(Unary):
    """The logarithm to base 2."""

    samples = reals(0.3, 4)

    def forward(self, xp, x):
        return xp.log2(x)

    def vjp(self, g, x):
        return g / (x * math.log(2.0))


class Log10(Unary):
    """The logarithm to base 10."""

    samples = reals(0.3, 4)

    def forward(self, xp, x):
        return xp.log10(x)

    def vjp(self, g, x):
        return g / (x * math.log(10.0))


class Log1p(Unary):
    """log(1 + x), accurate near 0."""

    samples = reals(-0.5, 4)

    def forward(self, xp, x):
        return xp.log1p(x)

    def vjp(self, g, x):
        return g / (x + 1)


class Sqrt(Unary):
    """√x."""

    ufunc = "sqrt"
    samples = reals(0.3, 4)

    def forward(self, xp, x):
        return xp.sqrt(x)

    def vjp(self, g, y):
        return g / (y * 2)


class Rsqrt(Unary):
    """1 / √x."""

    samples = reals(0.3, 4)

    def forward(self, xp, x):
        return 1 / xp.sqrt(x)

    def vjp(self, g, y):
        return g * -0.5 * (y * y * y)


class Reciprocal(Unary):
    """1 / x."""

    samples = reals(-3, 3, kinks=[0], margin=0.3)

    def forward(self, xp, x):
        return 1 / x

    def vjp(self, g, y):
        return -g * (y * y)


class Sin(Unary):
    """sin x."""

    samples = reals(-4, 4)

    def forward(self, xp, x):
        return xp.sin(x)

    def vjp(self, g, x):
        return g * cos(x)


class Cos(Unary):
    """cos x."""

    samples = reals(-4, 4)

    def forward(self, xp, x):
        return xp.cos(x)

    def vjp(self, g, x):
        return -g * sin(x)


class Tan(Unary):
    """tan x."""

    samples = reals(-1.2, 1.2)

    def forward(self, xp, x):
        return xp.tan(x)

    def vjp(self, g, y):
        return g * (y * y + 1)


class Asin(Unary):
    """arcsin x."""

    samples = reals(-0.9, 0.9)

    def forward(self, xp, x):
        return xp.arcsin(x)

    def vjp(self, g, x):
        return g / sqrt(1 - x * x)


class Acos(Unary):
    """arccos x."""

    samples = reals(-0.9, 0.9)

    def forward(self, xp, x):
        return xp.arccos(x)

    def vjp(self, g, x):
        return -g / sqrt(1 - x * x)


class Atan(Unary):
    """arctan x."""

    samples = reals(-3, 3)

    def forward(self, xp, x):
        return xp.arctan(x)

    def vjp(self, g, x):
        return g / (x * x + 1)


class Atan2(Unary):
    """The angle of the point (b, a): arctan(a / b) in the right quadrant."""

    samples = reals(0.3, 3), reals(-3, 3)

    def forward(self, xp, a, b):
        return xp.arctan2(a, b)

    def vjp_a(self, g, a, b):
        return g * b / _squared_length(a, b)

    def vjp_b(self, g, a, b):
        return -g * a / _squared_length(a, b)


def _squared_length(a, b):
    """a² + b², and 1 at the origin, where the angle has no slope: the gradient there is 0, as in PyTorch."""
    total = a * a + b * b
    return where(raw(total) == 0, 1, total)


class Sinh(Unary):
    """sinh x."""

    samples = reals(-2, 2)

    def forward(self, xp, x):
        return xp.sinh(x)

    def vjp(self, g, x):
        return g * cosh(x)


class Cosh(Unary):
    """cosh x."""

    samples = reals(-2, 2)

    def forward(self, xp, x):
        return xp.cosh(x)

    def vjp(self, g, x):
        return g * sinh(x)


class Tanh(Unary):
    """tanh x."""

    compiled = "tanh"
    samples = reals(-2, 2)

    def forward(self, xp, x):
        return xp.tanh(x)

    def vjp(self, g, y):
        return g * (1 - y * y)


class Asinh(Unary):
    """arsinh x."""

    samples = reals(-3, 3)

    def forward(self, xp, x):
        return xp.arcsinh(x)

    def vjp(self, g, x):
        return g / sqrt(x * x + 1)


class Acosh(Unary):
    """arcosh x."""

    samples = reals(1.3, 4)

    def forward(self, xp, x):
        return xp.arccosh(x)

    def vjp(self, g, x):
        return g / sqrt(x * x - 1)


class Atanh(Unary):
    """artanh x."""

    samples = reals(-0.8, 0.8)

    def forward(self, xp, x):
        return xp.arctanh(x)

    def vjp(self, g, x):
        return g / (1 - x * x)


class Erf(Unary):
    """The error function, 2/√π ∫₀ˣ exp(−t²) dt."""

    samples = reals(-3, 3)

    def forward(self, xp, x):
        return xp.erf(x)

    def vjp(self, g, x):
        return g * (2 / math.sqrt(math.pi)) * exp(-x * x)


class Sigmoid(Unary):
    """1 / (1 + e⁻ˣ)."""

    pointwise = False  # the backends have kernels for it
    samples = reals(-4, 4)

    def forward(self, xp, x):
        return xp.sigmoid(x)

    def vjp(self, g, y):
        return g * (y * (1 - y)) if isinstance(g, Tensor) else backend_of(g).sigmoid_grad(g, y)


class Softplus(Op):
    """log(1 + exp(βx)) / β; the identity where βx > threshold."""

    to_float = quiet = pointwise = True
    compiled = "softplus"

    def __init__(self, beta=1.0, threshold=20.0):
        self.beta, self.threshold = self.numbers = float(beta), float(threshold)

    def forward(self, xp, x):
        scaled = x * self.beta
        soft = (xp.maximum(scaled, 0) + xp.log1p(xp.exp(-xp.abs(scaled)))) / self.beta
        return xp.where(scaled > self.threshold, x, soft)

    def vjp(self, g, x):
        return g * where(raw(x) * self.beta > self.threshold, 1.0, sigmoid(x * self.beta))

    def samples(draw):
        beta, threshold = draw.choice([(1.0, 20.0), (2.0, 1.0), (0.5, 20.0)])
        x = draw.array(draw.shape(), reals(-3, 3, kinks=[threshold / beta]))
        return (x,), lambda x: softplus(x, beta, threshold)


def square(input: Tensor) -> Tensor:
    """input²."""
    return Square()(cast(input, dtypes.int64) if input.dtype.kind == "b" else input)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta · input)) / beta, a smooth ReLU; the identity where beta · input > threshold."""
    return Softplus(beta, threshold)(input)


def atan2(input: Tensor, other: Tensor) -> Tensor:
    """arctan(input / other) in the right quadrant."""
    return Atan2()(input, other)


exp = as_function(Exp, "exp")
exp2 = as_function(Exp2, "exp2")
expm1 = as_function(Expm1, "expm1")
log = as_function(Log, "log")
log2 = as_function(Log2, "log2")
log10 = as_function(Log10, "log10")
log1p = as_function(Log1p, "log1p")
sqrt = as_function(Sqrt, "sqrt")
rsqrt = as_function(Rsqrt, "rsqrt")
reciprocal = as_function(Reciprocal, "reciprocal")
sin = as_function(Sin, "sin")
cos = as_function(Cos, "cos")
tan = as_function(Tan, "tan")
asin = as_function(Asin, "asin")
acos = as_function(Acos, "acos")
atan = as_function(Atan, "atan")
sinh = as_function(Sinh, "sinh")
cosh = as_function(Cosh, "cosh")
tanh = as_function(Tanh, "tanh")
asinh = as_function(Asinh, "asinh")
acosh = as_function(Acosh, "acosh")
atanh = as_function(Atanh, "atanh")
erf = as_function(Erf, "erf")
sigmoid = as_function(Sigmoid, "sigmoid")
