"""Convolution of groups of channels, each by its own kernels: as one convolution for every few groups, by the other algorithms.

Groups are often so narrow that they would leave vectors half empty. So neighbours are taken together, as a convolution whose
weight is 0 wherever a channel of one group would meet a kernel of another. (What is infinite or no number in a group reaches
those beside it, 0 · ∞ being no number, as in Winograd's algorithm it reaches the pixels beside it.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from types import ModuleType
from typing import Any

import numpy as np

from minidl.backend.cpu.conv import direct, im2col, winograd
from minidl.backend.cpu.conv.select import choose
from minidl.backend.cpu.conv.shape import KEPT, Convolution
from minidl.backend.cpu.layout import PART, empty_nhwc
from minidl.backend.cpu.threads import row_team

DENSE = {"direct": direct, "im2col": im2col, "winograd": winograd}
WIDE = 16  # channels in and out, at least, of what is done at a time


def forward(fast: Any, conv: Convolution, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """y (N, OH, OW, O) from x (N, H, W, C)."""
    piece, how = _piece(conv, "forward")
    kernels, biases = _kernels(weight, piece), bias.reshape(-1, piece.o)
    images = zip(_split(fast, x, piece.c), kernels, biases, strict=True)
    return _joined(fast, (how.forward(fast, piece, *arguments) for arguments in images), len(kernels))


def input_grad(fast: Any, conv: Convolution, g: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The gradient for x (N, H, W, C)."""
    piece, how = _piece(conv, "input_grad")
    kernels = _kernels(weight, piece)
    cotangents = zip(_split(fast, g, piece.o), kernels, strict=True)
    return _joined(fast, (how.input_grad(fast, piece, *arguments) for arguments in cotangents), len(kernels))


def weight_grad(fast: Any, conv: Convolution, g: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The gradient for the weight (O, C / groups, KH, KW)."""
    piece, how = _piece(conv, "weight_grad")
    together = piece.c * conv.groups // conv.c
    pairs = zip(_split(fast, g, piece.o), _split(fast, x, piece.c), strict=True)
    dense = [how.weight_grad(fast, piece, *arguments) for arguments in pairs]
    return np.concatenate([part for weight in dense for part in _diagonal(weight, together)])


@lru_cache(maxsize=3 * KEPT)
def _piece(conv: Convolution, use: str) -> tuple[Convolution, ModuleType]:
    """The convolution of so many groups that all vectors are full, if there are so many, and its algorithm."""
    width, outputs = conv.c // conv.groups, conv.o // conv.groups
    divisors = (n for n in range(1, conv.groups + 1) if conv.groups % n == 0)
    together = next(n for n in divisors if n == conv.groups or n * min(width, outputs) >= WIDE)
    piece = replace(conv, c=together * width, o=together * outputs, groups=1)
    return piece, DENSE[choose(piece, use)[0]]


def _kernels(weight: np.ndarray, piece: Convolution) -> np.ndarray:
    """(O, C / groups, KH, KW) as (pieces, O, C, KH, KW), of all the outputs and channels of a piece."""
    width = weight.shape[1]
    kernels = weight.reshape(-1, piece.o, width, *piece.kernel)
    together = piece.c // width
    if together == 1:
        return kernels
    dense = np.zeros((len(kernels), piece.o, piece.c, *piece.kernel), weight.dtype)
    for target, source in zip(dense, kernels, strict=True):
        for part, group in zip(_diagonal(target, together), np.split(source, together), strict=True):
            part[...] = group
    return dense


def _diagonal(dense: np.ndarray, together: int) -> list[np.ndarray]:
    """Where the kernels of each group meet its own channels: views of a weight (O, C, KH, KW)."""
    o, c = dense.shape[0] // together, dense.shape[1] // together
    return [dense[i * o : (i + 1) * o, i * c : (i + 1) * c] for i in range(together)]


def _split(fast: Any, x: np.ndarray, width: int) -> np.ndarray:
    """(N, H, W, C) as (pieces, N, H, W, width)."""
    n, h, w, c = x.shape
    if width == c:
        return x[np.newaxis]
    pieces = np.empty((c // width, n, h, w, width), x.dtype)
    fast.split_channels(row_team(x, PART), x.reshape(n, h * w, c), pieces.reshape(-1, n, h * w, width))
    return pieces


def _joined(fast: Any, pieces: Iterator[np.ndarray], count: int) -> np.ndarray:
    """So many arrays (N, H, W, width) as one, (N, H, W, C)."""
    first = next(pieces)
    if count == 1:
        return first
    n, h, w, width = first.shape
    x = empty_nhwc((n, h, w, count * width), first.dtype)
    for i, piece in enumerate(chain([first], pieces)):
        fast.join_channels(row_team(piece, PART), piece.reshape(n, h * w, width), i * width, x.reshape(n, h * w, -1))
    return x
