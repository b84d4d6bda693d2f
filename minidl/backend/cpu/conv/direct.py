"""Convolution by the compiled loops of ``fast/direct.py``: images shared among threads, each padded in a scratch."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend.cpu.conv.shape import Convolution
from minidl.backend.cpu.layout import empty_nhwc
from minidl.backend.cpu.threads import members, team
from minidl.backend.cpu.workspace import workspace


def forward(fast: Any, conv: Convolution, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """y (N, OH, OW, O) from x (N, H, W, C)."""
    return _convolve(fast, conv, x, weight.transpose(2, 3, 1, 0), bias)


def input_grad(fast: Any, conv: Convolution, g: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The gradient for x, a convolution with the kernel turned by 180 degrees."""
    turned = weight[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)
    return _convolve(fast, conv.turned, g, turned, np.zeros(conv.c, g.dtype))


def _convolve(fast: Any, conv: Convolution, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Convolve with a weight (KH, KW, C, O)."""
    y = empty_nhwc((conv.n, *conv.out, conv.o), x.dtype)
    strips = np.ascontiguousarray(weight.reshape(-1, conv.o // 16, 16).transpose(1, 0, 2))

    crew = team(conv.n)
    padded = workspace("padded", (members(crew), *conv.padded, conv.c), x.dtype)
    padded[...] = 0
    fast.direct_conv(crew, x, strips, bias, conv.kernel, conv.stride, conv.corner, padded, y)
    return y


def weight_grad(fast: Any, conv: Convolution, g: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The gradient for the weight (O, C, KH, KW)."""
    (kh, kw), run = conv.kernel, -(-conv.kernel[1] * conv.c // fast.MULTIPLE) * fast.MULTIPLE
    crew = team(conv.n)
    threads = members(crew)
    size = threads * conv.padded[0] * conv.padded[1] * conv.c
    spare = workspace("padded", (size + fast.MULTIPLE,), x.dtype)
    spare[...] = 0
    padded = spare[:size].reshape(threads, *conv.padded, conv.c)
    by_taps = fast.correlates(kw, conv.c, conv.stride[1], conv.out[1])
    bordered = workspace(
        "bordered", (threads, conv.out[0], conv.out[1] + 2 * (kw - 1), conv.o) if by_taps else (0,) * 4, x.dtype
    )
    bordered[...] = 0
    ones, totals = workspace("one", (threads, kh, run, conv.o), x.dtype), np.zeros((crew[-1], kh, run, conv.o), x.dtype)
    fast.direct_weight_grad(crew, g, x, conv.stride, conv.corner, padded, bordered, ones, totals)
    total = totals.sum(0)[:, : kw * conv.c].reshape(kh, kw, conv.c, conv.o)
    return np.ascontiguousarray(total.transpose(3, 2, 0, 1))
