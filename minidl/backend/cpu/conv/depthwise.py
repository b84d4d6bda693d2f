"""Depthwise convolution by the compiled loops of ``fast/depthwise.py``, rows shared among threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend.cpu.conv.im2col import summed
from minidl.backend.cpu.conv.shape import Convolution
from minidl.backend.cpu.layout import empty_nhwc
from minidl.backend.cpu.threads import Team, team

PART = 1 << 12  # elements that a thread should have to itself


def forward(fast: Any, conv: Convolution, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """y (N, OH, OW, C) from x (N, H, W, C)."""
    y, taps = empty_nhwc((conv.n, *conv.out, conv.o), x.dtype), _taps(weight)
    fast.depthwise(_rows(conv.n, *conv.out, conv.o), x, taps, bias, *conv.geometry, y)
    return y


def input_grad(fast: Any, conv: Convolution, g: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The gradient for x."""
    x, taps = empty_nhwc((conv.n, *conv.size, conv.c), g.dtype), _taps(weight)
    fast.depthwise_input_grad(_rows(conv.n, *conv.size, conv.c), g, taps, *conv.geometry, x)
    return x


def weight_grad(fast: Any, conv: Convolution, g: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The gradient for the weight (C, 1, KH, KW)."""

    crew = _rows(conv.n, *conv.out, conv.o)
    sums = np.zeros((crew[-1], *conv.kernel, conv.c), g.dtype)
    fast.depthwise_weight_grad(crew, g, x, *conv.geometry, sums)
    return summed(fast, sums.reshape(len(sums), -1, conv.o), 1).reshape(conv.o, 1, *conv.kernel)


def _rows(images: int, height: int, width: int, channels: int) -> Team:
    return team(images * height, PART / max(1, width * channels))


def _taps(weight: np.ndarray) -> np.ndarray:
    """(C, 1, KH, KW) by tap: (KH, KW, C)."""
    return np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0))
