"""Activation functions and their gradients, in one pass over flat memory."""

from __future__ import annotations

from minidl.backend.cpu.fast.jit import kernel


@kernel
def relu_grad(g, y, out):  # type: ignore[no-untyped-def]
    """out = g where y is above 0, else 0."""
    zero = g.dtype.type(0)
    for k in range(g.size):
        out[k] = zero if y[k] <= zero else g[k]
