"""Gradients of limited linear functions, in one pass over flat memory."""

from __future__ import annotations

from minidl.backend.cpu.fast.jit import kernel


@kernel
def relu_back(g, y, out):
    """out = g where y is above 0, else 0."""
    zero = g.dtype.type(0)
    for k in range(g.size):
        out[k] = zero if y[k] <= zero else g[k]


@kernel
def hardtanh_flat(x, low, high, out):
    """out = x limited to [low, high]; NaN stays."""
    least, most = x.dtype.type(low), x.dtype.type(high)
    for k in range(x.size):
        v = x[k]
        v = least if v < least else v
        out[k] = most if v > most else v


@kernel
def hardtanh_back(g, y, low, high, out):
    """out = g where y is strictly between the limits, else 0."""
    zero, least, most = g.dtype.type(0), g.dtype.type(low), g.dtype.type(high)
    for k in range(g.size):
        out[k] = zero if (y[k] <= least) | (y[k] >= most) else g[k]
