"""Dropout (Srivastava et al. 2014): in training, zero elements at random and scale up the rest, so that the mean stays."""

from __future__ import annotations

import math
from typing import Any

from minidl.ops.base import at_place, raw
from minidl.tensor import Tensor


def _mask(shape: tuple[int, ...], input: Tensor, p: float) -> Tensor:
    """Zeros with probability p, else 1 / (1 − p). Drawn on the CPU, so that a seed means the same on every device."""
    from minidl.random import default_generator

    # 32 random bits for an element, compared as an integer: floats would take twice as long to draw.
    bits = default_generator.bits32(math.prod(shape)).reshape(shape)
    keep = bits >= round(p * 2**32)  # a p of 1 is more than 32 bits hold
    scale = input.dtype.type(1 / (1 - p) if p < 1 else 0.0)
    mask = input.backend.from_numpy(keep * scale)
    if mask.shape == input.shape and not input.is_contiguous():
        # In memory like the input, with which it is multiplied, and its gradient.
        mask = input.backend.copy_in_order(mask, raw(input))
    return Tensor.wrap(mask)


def _check(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Zero each element with probability ``p`` and multiply the rest by 1 / (1 − p); nothing when not ``training``."""
    _check(p)
    if not training or p == 0.0:
        return input
    return input * _mask(tuple(input.shape), input, p)


def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Zero whole channels of (N, C, H, W) or (C, H, W) (Tompson et al. 2015)."""
    _check(p)
    if input.ndim not in (3, 4):
        raise RuntimeError(f"dropout2d: Expected 3D or 4D input, got shape {tuple(input.shape)}{at_place()}")
    if not training or p == 0.0:
        return input
    return input * _mask((*input.shape[:-2], 1, 1), input, p)


def dropout1d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Zero whole channels of (N, C, L) or (C, L)."""
    _check(p)
    if input.ndim not in (2, 3):
        raise RuntimeError(f"dropout1d: Expected 2D or 3D input, got shape {tuple(input.shape)}{at_place()}")
    if not training or p == 0.0:
        return input
    return input * _mask((*input.shape[:-1], 1), input, p)
