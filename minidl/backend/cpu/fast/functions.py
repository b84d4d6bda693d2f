"""Functions that are more than arithmetic, in float32, so that LLVM makes vectors of them (a call of libm's it cannot).

How far they are from the exact numbers, in units of the last place, is tested (``tests/test_fast_elementwise.py``).
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minidl.backend.cpu.fast.elementwise import each
from minidl.backend.cpu.fast.jit import inline, kernel
from minidl.backend.cpu.fast.team import address_of, job_of, run

f = np.float32
LOG2_E, LN2_HIGH, LN2_LOW = f(1.44269504), f(0.693359375), f(-2.12194440e-4)
LEAST, MOST = f(-104), f(89)  # e to these is 0 and infinity


@intrinsic
def _floor(typing_context, x):
    """The next whole number below, a float32. (``math.floor`` gives an int64.)"""

    def generate(context, builder, signature, arguments):
        return builder.call(builder.module.declare_intrinsic("llvm.floor", [ir.FloatType()]), arguments)

    return types.float32(types.float32), generate


@intrinsic
def _power_of_two(typing_context, n):
    """2ⁿ for a whole number n (a float32) from -126 to 127: put into the exponent's bits."""

    def generate(context, builder, signature, arguments):
        word = ir.IntType(32)
        whole = builder.fptosi(arguments[0], word)
        return builder.bitcast(builder.shl(builder.add(whole, word(127)), word(23)), ir.FloatType())

    return types.float32(types.float32), generate


@inline
def exp(x):
    """eˣ, within 2 units of the last place.

    With n = round(x / ln 2) and r = x − n ln 2 it is 2ⁿ eʳ, and eʳ, |r| ≤ 0.35, a polynomial (Cody & Waite 1980, chapter 6;
    coefficients of Moshier's Cephes library, expf).
    """
    n, r = _reduced(x)
    half = _floor(n * f(0.5))  # 2ⁿ itself may be too large or too small where the product is not
    y = (_exp_near_zero(r) + f(1)) * _power_of_two(half) * _power_of_two(n - half)
    return y if x == x else x


@inline
def _reduced(x):
    t = x if x < MOST else MOST  # NaN, too: it has to give some n
    t = t if t > LEAST else LEAST
    n = _floor(t * LOG2_E + f(0.5))
    return n, (t - n * LN2_HIGH) - n * LN2_LOW


@inline
def _exp_near_zero(r):
    """eʳ − 1."""
    p = f(1.9875691500e-4)
    p = p * r + f(1.3981999507e-3)
    p = p * r + f(8.3334519073e-3)
    p = p * r + f(4.1665795894e-2)
    p = p * r + f(1.6666665459e-1)
    p = p * r + f(5.0000001201e-1)
    return p * r * r + r


@inline
def expm1(x):
    """eˣ − 1 for x ≤ 0: 2ⁿ (eʳ − 1) + (2ⁿ − 1), by the steps of ``exp``."""
    n, r = _reduced(x if x > f(-50) else f(-50))  # below that it is −1
    power = _power_of_two(n)
    y = power * _exp_near_zero(r) + (power - f(1))
    return y if x == x else x


@inline
def log1p(t):
    """log(1 + t) for 0 ≤ t ≤ 1: 2 artanh(s), s = t / (2 + t) ≤ 1/3, by its series to s¹³."""
    s = t / (f(2) + t)
    q = s * s
    p = f(1 / 13)
    p = p * q + f(1 / 11)
    p = p * q + f(1 / 9)
    p = p * q + f(1 / 7)
    p = p * q + f(1 / 5)
    p = p * q + f(1 / 3)
    return f(2) * (p * q * s + s)


@inline
def tanh_of(x):
    """tanh x: near 0 a polynomial (Cody & Waite 1980, chapter 13; Cephes, tanhf), else 1 − 2 / (e²ˣ + 1)."""
    size = abs(x)
    q = x * x
    p = f(-5.70498872745e-3)
    p = p * q + f(2.06390887954e-2)
    p = p * q + f(-5.37397155531e-2)
    p = p * q + f(1.33314422036e-1)
    p = p * q + f(-3.33332819422e-1)
    near = p * q * x + x
    far = f(1) - f(2) / (exp(size + size) + f(1))
    return near if size < f(0.625) else (-far if x < f(0) else far)


@inline
def erf(x):
    """2/√π ∫₀ˣ exp(−t²) dt: up to 1 a polynomial (Cephes, erff), then Abramowitz & Stegun (1964) 7.1.26."""
    size = abs(x)
    q = x * x
    p = f(7.853861353153693e-5)
    p = p * q + f(-8.010193625184903e-4)
    p = p * q + f(5.188327685732524e-3)
    p = p * q + f(-2.685381193529856e-2)
    p = p * q + f(1.128358514861418e-1)
    p = p * q + f(-3.761262582423300e-1)
    p = p * q + f(1.128379165726710)
    t = f(1) / (f(1) + f(0.3275911) * size)
    a = f(1.061405429)
    a = a * t + f(-1.453152027)
    a = a * t + f(1.421413741)
    a = a * t + f(-0.284496736)
    a = a * t + f(0.254829592)
    far = f(1) - a * t * exp(-q)
    return p * x if size < f(1) else (-far if x < f(0) else far)


@inline
def sigmoid_of(v):
    """1 / (1 + e⁻ᵛ) of a float32. (Of other numbers it is not called, but compiled.)"""
    return f(1) / (f(1) + exp(-v))


_sigmoid_job = job_of(each(sigmoid_of))


@kernel
def sigmoid(team, *arguments):  # x, out
    run(team, _sigmoid_job(arguments), address_of(arguments))
