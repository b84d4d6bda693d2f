"""Activations and their gradients, each in one pass over flat memory, in float32.

A function gives the value for a number v and the activation's own ``numbers``; its twin ``…_back`` the gradient for a cotangent g
and what the op keeps (``ops/activation.py``): its input v or its output y.
"""

from __future__ import annotations

import numpy as np

from minidl.backend.cpu.fast.functions import erf, exp, expm1, log1p, sigmoid_of, tanh_of
from minidl.backend.cpu.fast.jit import inline, inner, kernel
from minidl.backend.cpu.fast.team import address_of, job_of, run

f = np.float32
ROOT_HALF, ROOT_TWO_PI = f(0.5**0.5), f((2 * np.pi) ** 0.5)
TANH_SCALE, TANH_CUBE = f((2 / np.pi) ** 0.5), f(0.044715)


def _values(function):
    """The body of a kernel that makes out = function(x, numbers), element by element."""

    def body(who, part, first, last, x, numbers, out):
        x, out = x[first:last], out[first:last]
        for k in range(out.size):
            out[k] = function(x[k], numbers)

    return job_of(inner(body, function.__name__))


def _gradients(function):
    """The body of a kernel that makes out = function(g, x, numbers), element by element."""

    def body(who, part, first, last, g, x, numbers, out):
        g, x, out = g[first:last], x[first:last], out[first:last]
        for k in range(out.size):
            out[k] = function(g[k], x[k], numbers)

    return job_of(inner(body, function.__name__))


@inline
def _exp(v, numbers):
    return exp(v)


@inline
def _exp_back(g, y, numbers):
    return g * y


@inline
def _tanh(v, numbers):
    return tanh_of(v)


@inline
def _tanh_back(g, y, numbers):
    return g * (f(1) - y * y)


@inline
def _leaky_relu(v, numbers):
    return v if v > f(0) else v * f(numbers[0])


@inline
def _leaky_relu_back(g, v, numbers):
    return g if v > f(0) else g * f(numbers[0])


@inline
def _elu(v, numbers):
    alpha, scale, input_scale = f(numbers[0]), f(numbers[1]), f(numbers[2])
    below = expm1((v if v <= f(0) else f(0)) * input_scale) * (alpha * scale)
    return v * scale if v > f(0) else (below if v == v else v)


@inline
def _elu_back(g, v, numbers):
    alpha, scale, input_scale = f(numbers[0]), f(numbers[1]), f(numbers[2])
    below = exp((v if v <= f(0) else f(0)) * input_scale) * (alpha * scale * input_scale)
    return g * (scale if v > f(0) else (below if v == v else v))


@inline
def _gelu(v, numbers):
    return v * f(0.5) * (f(1) + erf(v * ROOT_HALF))


@inline
def _gelu_back(g, v, numbers):
    normal = (erf(v * ROOT_HALF) + f(1)) * f(0.5)
    return g * (normal + v * exp(v * v * f(-0.5)) / ROOT_TWO_PI)


@inline
def _gelu_tanh(v, numbers):
    return v * f(0.5) * (f(1) + tanh_of((v + v * v * v * TANH_CUBE) * TANH_SCALE))


@inline
def _gelu_tanh_back(g, v, numbers):
    t = tanh_of((v + v * v * v * TANH_CUBE) * TANH_SCALE)
    slope = (v * v * (f(3) * TANH_CUBE) + f(1)) * TANH_SCALE
    return g * f(0.5) * ((t + f(1)) + v * (f(1) - t * t) * slope)


@inline
def _silu(v, numbers):
    return v / (f(1) + exp(-v))


@inline
def _silu_back(g, v, numbers):
    s = sigmoid_of(v)
    return g * s * (v * (f(1) - s) + f(1))


@inline
def _softplus(v, numbers):
    beta, threshold = f(numbers[0]), f(numbers[1])
    scaled = v * beta
    soft = ((f(0) if scaled < f(0) else scaled) + log1p(exp(-abs(scaled)))) / beta
    return v if scaled > threshold else soft


@inline
def _softplus_back(g, v, numbers):
    scaled = v * f(numbers[0])
    return g if scaled > f(numbers[1]) else g * sigmoid_of(scaled)


@inline
def _mish(v, numbers):
    e = exp(v if v < f(20) else f(20))
    n = e * (e + f(2))  # tanh(log(1 + eᵛ)) = n / (n + 2)
    return v * (n / (n + f(2))) if v == v else v


@inline
def _mish_back(g, v, numbers):
    w = v if v < f(20) else f(20)  # from there on the slope is 1
    e = exp(w)
    n = e * (e + f(2))
    t, share = n / (n + f(2)), f(2) / (n + f(2))
    slope = t + w * (share * (t + f(1))) * sigmoid_of(w)  # 1 − t² = (1 − t)(1 + t)
    return g * slope if v == v else v


@inline
def _hardswish(v, numbers):
    w = v + f(3)
    w = f(0) if w < f(0) else w
    return v * (f(6) if w > f(6) else w) * f(1 / 6)


@inline
def _hardswish_back(g, v, numbers):
    inside = g * (v * f(1 / 3) + f(0.5))
    return f(0) if v <= f(-3) else (g if v >= f(3) else inside)


@inline
def _hardsigmoid(v, numbers):
    w = v + f(3)
    w = f(0) if w < f(0) else w
    return (f(6) if w > f(6) else w) * f(1 / 6)


@inline
def _hardsigmoid_back(g, v, numbers):
    return f(0) if (v <= f(-3)) | (v >= f(3)) else g * f(1 / 6)


_exp_job, _exp_back_job = _values(_exp), _gradients(_exp_back)
_tanh_job, _tanh_back_job = _values(_tanh), _gradients(_tanh_back)
_leaky_relu_job, _leaky_relu_back_job = _values(_leaky_relu), _gradients(_leaky_relu_back)
_elu_job, _elu_back_job = _values(_elu), _gradients(_elu_back)
_gelu_job, _gelu_back_job = _values(_gelu), _gradients(_gelu_back)
_gelu_tanh_job, _gelu_tanh_back_job = _values(_gelu_tanh), _gradients(_gelu_tanh_back)
_silu_job, _silu_back_job = _values(_silu), _gradients(_silu_back)
_softplus_job, _softplus_back_job = _values(_softplus), _gradients(_softplus_back)
_mish_job, _mish_back_job = _values(_mish), _gradients(_mish_back)
_hardswish_job, _hardswish_back_job = _values(_hardswish), _gradients(_hardswish_back)
_hardsigmoid_job, _hardsigmoid_back_job = _values(_hardsigmoid), _gradients(_hardsigmoid_back)


@kernel
def exponential(team, *arguments):
    run(team, _exp_job(arguments), address_of(arguments))


@kernel
def exponential_back(team, *arguments):
    run(team, _exp_back_job(arguments), address_of(arguments))


@kernel
def tanh(team, *arguments):
    run(team, _tanh_job(arguments), address_of(arguments))


@kernel
def tanh_back(team, *arguments):
    run(team, _tanh_back_job(arguments), address_of(arguments))


@kernel
def leaky_relu(team, *arguments):
    run(team, _leaky_relu_job(arguments), address_of(arguments))


@kernel
def leaky_relu_back(team, *arguments):
    run(team, _leaky_relu_back_job(arguments), address_of(arguments))


@kernel
def elu(team, *arguments):
    run(team, _elu_job(arguments), address_of(arguments))


@kernel
def elu_back(team, *arguments):
    run(team, _elu_back_job(arguments), address_of(arguments))


@kernel
def gelu(team, *arguments):
    run(team, _gelu_job(arguments), address_of(arguments))


@kernel
def gelu_back(team, *arguments):
    run(team, _gelu_back_job(arguments), address_of(arguments))


@kernel
def gelu_tanh(team, *arguments):
    run(team, _gelu_tanh_job(arguments), address_of(arguments))


@kernel
def gelu_tanh_back(team, *arguments):
    run(team, _gelu_tanh_back_job(arguments), address_of(arguments))


@kernel
def silu(team, *arguments):
    run(team, _silu_job(arguments), address_of(arguments))


@kernel
def silu_back(team, *arguments):
    run(team, _silu_back_job(arguments), address_of(arguments))


@kernel
def softplus(team, *arguments):
    run(team, _softplus_job(arguments), address_of(arguments))


@kernel
def softplus_back(team, *arguments):
    run(team, _softplus_back_job(arguments), address_of(arguments))


@kernel
def mish(team, *arguments):
    run(team, _mish_job(arguments), address_of(arguments))


@kernel
def mish_back(team, *arguments):
    run(team, _mish_back_job(arguments), address_of(arguments))


@kernel
def hardswish(team, *arguments):
    run(team, _hardswish_job(arguments), address_of(arguments))


@kernel
def hardswish_back(team, *arguments):
    run(team, _hardswish_back_job(arguments), address_of(arguments))


@kernel
def hardsigmoid(team, *arguments):
    run(team, _hardsigmoid_job(arguments), address_of(arguments))


@kernel
def hardsigmoid_back(team, *arguments):
    run(team, _hardsigmoid_back_job(arguments), address_of(arguments))
