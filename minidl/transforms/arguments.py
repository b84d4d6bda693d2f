"""Checks of arguments that several transforms take: sizes, paddings, fills, probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

PADDING_MODES = ("constant", "edge", "reflect", "symmetric")


def height_width(size: int | Sequence[int], name: str) -> tuple[int, int]:
    """``size`` as (height, width); one number stands for both.

    Raises:
        ValueError: if it is something else, or not positive.
    """
    pair = _whole_numbers(size)
    if len(pair) == 1:
        pair *= 2
    if len(pair) != 2 or min(pair) <= 0:
        raise ValueError(f"{name}: size should be one or two positive numbers (height, width), got {size}")
    return pair[0], pair[1]


def four_sides(padding: int | Sequence[int], name: str) -> tuple[int, int, int, int]:
    """``padding`` as (left, top, right, bottom); one number stands for all, two for left and right, top and bottom.

    Raises:
        ValueError: if there are not 1, 2 or 4 numbers, or one is negative.
    """
    sides = _whole_numbers(padding)
    if len(sides) not in (1, 2, 4) or min(sides) < 0:
        raise ValueError(f"{name}: padding should be 1, 2 or 4 numbers >= 0, got {padding}")
    left, top, right, bottom = sides * (4 // len(sides))
    return left, top, right, bottom


def check_fill(fill: Any, name: str) -> Any:
    """Return the fill, if it may be one: a number, a sequence with one for each channel, or None.

    Raises:
        TypeError: if it is something else.
    """
    if fill is not None and not isinstance(fill, (Real, list, tuple, np.ndarray)):
        raise TypeError(f"{name}: fill should be a number, or a sequence with one for each channel, got {fill!r}")
    return fill


def check_padding_mode(mode: str, name: str) -> str:
    """Return the mode, if it is one.

    Raises:
        ValueError: if it is not.
    """
    if mode not in PADDING_MODES:
        raise ValueError(f"{name}: padding_mode should be one of {', '.join(PADDING_MODES)}, got {mode!r}")
    return mode


def check_probability(p: float, name: str) -> float:
    """Return the probability, if it is one.

    Raises:
        ValueError: if it lies outside [0, 1].
    """
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p should be a number in [0, 1], got {p}")
    return p


def check_transforms(transforms: Any, name: str) -> Sequence[Callable[[Any], Any]]:
    """Return the sequence of transforms, if it is one.

    Raises:
        TypeError: if it is not a sequence of callables.
        ValueError: if it is empty.
    """
    if not isinstance(transforms, Sequence) or not all(callable(t) for t in transforms):
        raise TypeError(f"{name}: expected a sequence of callables, got {transforms!r}")
    if not transforms:
        raise ValueError(f"{name}: pass at least one transform")
    return transforms


def _whole_numbers(value: Any) -> tuple[int, ...]:
    """A number, or a sequence of them, as a tuple; empty if they are not whole."""
    numbers = (value,) if isinstance(value, (Integral, str)) or not hasattr(value, "__iter__") else tuple(value)
    return tuple(int(n) for n in numbers) if all(isinstance(n, Integral) for n in numbers) else ()
