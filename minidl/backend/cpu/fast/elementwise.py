"""Sums, limited linear functions and their gradients, in one pass over flat memory.

The bodies take their slice of each array first: in a loop from 0 on Numba knows that no index is negative, and uses vectors.
"""

from __future__ import annotations

from minidl.backend.cpu.fast.jit import inner, kernel
from minidl.backend.cpu.fast.team import address_of, job_of, run


@inner
def _add(who, part, first, last, a, b, out):
    """out = a + b."""
    a, b, out = a[first:last], b[first:last], out[first:last]
    for k in range(out.size):
        out[k] = a[k] + b[k]


@inner
def _relu(who, part, first, last, x, out):
    """out = x where it is above 0, else 0; NaN stays."""
    zero = x.dtype.type(0)
    x, out = x[first:last], out[first:last]
    for k in range(out.size):
        out[k] = zero if x[k] <= zero else x[k]


@inner
def _relu_back(who, part, first, last, g, y, out):
    """out = g where y is above 0, else 0."""
    zero = g.dtype.type(0)
    g, y, out = g[first:last], y[first:last], out[first:last]
    for k in range(out.size):
        out[k] = zero if y[k] <= zero else g[k]


@inner
def _hardtanh(who, part, first, last, x, low, high, out):
    """out = x limited to [low, high]; NaN stays."""
    least, most = x.dtype.type(low), x.dtype.type(high)
    x, out = x[first:last], out[first:last]
    for k in range(out.size):
        v = x[k]
        v = least if v < least else v
        out[k] = most if v > most else v


@inner
def _hardtanh_back(who, part, first, last, g, y, low, high, out):
    """out = g where y is strictly between the limits, else 0."""
    zero, least, most = g.dtype.type(0), g.dtype.type(low), g.dtype.type(high)
    g, y, out = g[first:last], y[first:last], out[first:last]
    for k in range(out.size):
        out[k] = zero if (y[k] <= least) | (y[k] >= most) else g[k]


_add_job, _relu_job, _relu_back_job = job_of(_add), job_of(_relu), job_of(_relu_back)
_hardtanh_job, _hardtanh_back_job = job_of(_hardtanh), job_of(_hardtanh_back)


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
def hardtanh(team, *arguments):  # x, low, high, out
    run(team, _hardtanh_job(arguments), address_of(arguments))


@kernel
def hardtanh_back(team, *arguments):  # g, y, low, high, out
    run(team, _hardtanh_back_job(arguments), address_of(arguments))
