"""Depthwise convolution: every channel has a kernel of its own, so a window's products are summed tap by tap.

On NHWC arrays with their border in place; ``taps`` lists what each kernel position meets (see ``reference/conv.py``).
"""

from __future__ import annotations

from typing import Any


def forward(x: Any, weight: Any, taps: Any, y: Any) -> None:
    """Write into y (N, OH, OW, C) the convolution of x with weight (C, 1, KH, KW)."""
    y[...] = 0
    for i, j, rows, columns in taps:
        y += x[:, rows, columns] * weight[:, 0, i, j]


def input_grad(g: Any, weight: Any, taps: Any, x: Any) -> None:
    """Add to x what its pixels contributed, for the cotangent g (N, OH, OW, C)."""
    for i, j, rows, columns in taps:
        x[:, rows, columns] += g * weight[:, 0, i, j]


def weight_grad(g: Any, x: Any, taps: Any, weight: Any) -> None:
    """Write the gradient for the weight (C, 1, KH, KW)."""
    for i, j, rows, columns in taps:
        weight[:, 0, i, j] = (g * x[:, rows, columns]).sum((0, 1, 2))
