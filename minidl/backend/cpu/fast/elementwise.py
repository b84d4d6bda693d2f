"""Sums, limited linear functions and their gradients, in one pass over flat memory.

The bodies take their slice of each array first: in a loop from 0 on Numba knows that no index is negative, and uses vectors.
What is written may be what is read. LLVM uses vectors for arrays that lie apart, as it finds out when it gets there, and for one
array under one name; so those that are the same get a loop of their own.
"""

from __future__ import annotations

from minidl.backend.cpu.fast.jit import data, inner, kernel
from minidl.backend.cpu.fast.team import address_of, job_of, run


@inner
def _add(who, part, first, last, a, b, out):
    """out = a + b; out may be a."""
    a, b, out = a[first:last], b[first:last], out[first:last]
    if data(a) == data(out):
        for k in range(out.size):
            out[k] += b[k]
    else:
        for k in range(out.size):
            out[k] = a[k] + b[k]


def each(function):
    """The body of a kernel that makes out = function(x), element by element; out may be x."""

    def body(who, part, first, last, x, out):
        x, out = x[first:last], out[first:last]
        if data(x) == data(out):
            for k in range(out.size):
                out[k] = function(out[k])
        else:
            for k in range(out.size):
                out[k] = function(x[k])

    return inner(body, function.__name__)


@inner
def above_zero(v):
    """v where it is above 0, else 0; NaN stays."""
    zero = type(v)(0)
    return zero if v <= zero else v


@inner
def _relu_back(who, part, first, last, g, y, out):
    """out = g where y is above 0, else 0."""
    zero = g.dtype.type(0)
    g, y, out = g[first:last], y[first:last], out[first:last]
    for k in range(out.size):
        out[k] = zero if y[k] <= zero else g[k]


@inner
def _sigmoid_back(who, part, first, last, g, y, out):
    """out = g · y · (1 − y)."""
    one = g.dtype.type(1)
    g, y, out = g[first:last], y[first:last], out[first:last]
    for k in range(out.size):
        out[k] = g[k] * (y[k] * (one - y[k]))


@inner
def between(v, least, most):
    """v limited to [least, most]; NaN stays."""
    v = least if v < least else v
    return most if v > most else v


@inner
def _hardtanh(who, part, first, last, x, low, high, out):
    """out = x limited to [low, high]; NaN stays. out may be x."""
    least, most = x.dtype.type(low), x.dtype.type(high)
    x, out = x[first:last], out[first:last]
    if data(x) == data(out):
        for k in range(out.size):
            out[k] = between(out[k], least, most)
    else:
        for k in range(out.size):
            out[k] = between(x[k], least, most)


@inner
def _hardtanh_back(who, part, first, last, g, y, low, high, out):
    """out = g where y is strictly between the limits, else 0."""
    zero, least, most = g.dtype.type(0), g.dtype.type(low), g.dtype.type(high)
    g, y, out = g[first:last], y[first:last], out[first:last]
    for k in range(out.size):
        out[k] = zero if (y[k] <= least) | (y[k] >= most) else g[k]


_add_job, _relu_job, _relu_back_job = job_of(_add), job_of(each(above_zero)), job_of(_relu_back)
_hardtanh_job, _hardtanh_back_job = job_of(_hardtanh), job_of(_hardtanh_back)
_sigmoid_back_job = job_of(_sigmoid_back)


@kernel
def add(team, *arguments):  # a, b, out
    run(team, _add_job(arguments), address_of(arguments))


@kernel
def relu(team, *arguments):  # x, out
    run(team, _relu_job(arguments), address_of(arguments))


@kernel
def relu_back(team, *arguments):  # g, y, out
    run(team, _relu_back_job(arguments), address_of(arguments))


@kernel
def sigmoid_back(team, *arguments):  # g, y, out
    run(team, _sigmoid_back_job(arguments), address_of(arguments))


@kernel
def hardtanh(team, *arguments):  # x, low, high, out
    run(team, _hardtanh_job(arguments), address_of(arguments))


@kernel
def hardtanh_back(team, *arguments):  # g, y, low, high, out
    run(team, _hardtanh_back_job(arguments), address_of(arguments))
