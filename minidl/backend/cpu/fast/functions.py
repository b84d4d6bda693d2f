"""Functions that are more than arithmetic, in float32, so that LLVM makes vectors of them (a call of libm's it cannot).

How far they are from the exact numbers, in units of the last place, is tested (``tests/test_fast_elementwise.py``).
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minidl.backend.cpu.fast.elementwise import each
from minidl.backend.cpu.fast.jit import inner, kernel
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


@inner
def exp(x):
    """eˣ, within 2 units of the last place.

    With n = round(x / ln 2) and r = x − n ln 2 it is 2ⁿ eʳ, and eʳ, |r| ≤ 0.35, a polynomial (Cody & Waite 1980, chapter 6;
    coefficients of Moshier's Cephes library, expf).
    """
    t = x if x < MOST else MOST  # NaN, too: it has to give some n
    t = t if t > LEAST else LEAST
    n = _floor(t * LOG2_E + f(0.5))
    r = (t - n * LN2_HIGH) - n * LN2_LOW
    p = f(1.9875691500e-4)
    p = p * r + f(1.3981999507e-3)
    p = p * r + f(8.3334519073e-3)
    p = p * r + f(4.1665795894e-2)
    p = p * r + f(1.6666665459e-1)
    p = p * r + f(5.0000001201e-1)
    half = _floor(n * f(0.5))  # 2ⁿ itself may be too large or too small where the product is not
    y = (p * r * r + r + f(1)) * _power_of_two(half) * _power_of_two(n - half)
    return y if x == x else x


@inner
def sigmoid_of(v):
    """1 / (1 + e⁻ᵛ) of a float32. (Of other numbers it is not called, but compiled.)"""
    return f(1) / (f(1) + exp(-v))


_sigmoid_job = job_of(each(sigmoid_of))


@kernel
def sigmoid(team, *arguments):  # x, out
    run(team, _sigmoid_job(arguments), address_of(arguments))
