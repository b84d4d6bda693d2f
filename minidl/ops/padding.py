"""Borders around images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.ops.base import Op, backend_of_any
from minidl.ops.indexing import getitem
from minidl.tensor import Tensor


class Pad(Op):
    """A border of a constant; ``widths`` holds (before, after) for each dimension; negative widths crop."""

    promotes = False

    def __init__(self, widths, value):
        self.widths, self.value = widths, value

    def forward(self, xp, x):
        out = tuple([n + before + after for n, (before, after) in zip(x.shape, self.widths, strict=True)])
        y = xp.empty_in_order(out, x)
        for axis, (before, after) in enumerate(self.widths):
            lead = (slice(None),) * axis
            if before > 0:
                y[(*lead, slice(before))] = self.value
            if after > 0:
                y[(*lead, slice(max(out[axis] - after, 0), None))] = self.value
        xp.copy_into(y[_within(out, self.widths)], x[_within(x.shape, self._turned)])
        return y

    @property
    def _turned(self):
        return tuple([(-before, -after) for before, after in self.widths])

    def vjp(self, g):
        if not isinstance(g, Tensor) and all([n >= 0 for pair in self.widths for n in pair]):
            return g[_within(g.shape, self.widths)]
        return Pad(self._turned, 0)(g)

    def samples(draw):
        x = draw.array(draw.shape(1, 3))
        widths = [draw.integer(-1 if x.shape[-1] > 2 else 0, 2) for _ in range(2)]
        return (x,), lambda x: pad(x, widths, value=0.7)


def _within(shape: Sequence[int], widths: Sequence[tuple[int, int]]) -> tuple[slice, ...]:
    """The index of what lies inside borders, of which only those of positive widths count."""
    return tuple([slice(max(b, 0), max(n - max(a, 0), 0)) for n, (b, a) in zip(shape, widths, strict=True)])


def pad(input: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """Add a border: ``pad`` lists (before, after) pairs, the last dimension first; negative numbers crop.

    Args:
        mode: ``"constant"``, or ``"reflect"`` (mirror without repeating the edge), ``"replicate"`` (repeat the edge),
            ``"circular"`` (continue at the other side).
        value: of the border, for ``"constant"`` (default 0).

    Raises:
        RuntimeError / ValueError: if there are more pairs than dimensions, or the border is too wide for the mode.
    """
    pairs = list(pad)
    if len(pairs) % 2:
        raise RuntimeError(f"Padding length must be divisible by 2, got {pairs}")
    if len(pairs) // 2 > input.ndim:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(pairs)} and input of dimension {input.ndim}"
        )
    widths = [(0, 0)] * input.ndim
    for i in range(len(pairs) // 2):
        widths[-1 - i] = (int(pairs[2 * i]), int(pairs[2 * i + 1]))
    for n, (before, after) in zip(input.shape, widths, strict=True):
        if n + before + after < 0:
            raise RuntimeError(f"pad: widths {pairs} leave nothing of shape {tuple(input.shape)}")
    if mode == "constant":
        return Pad(tuple(widths), value or 0)(input)
    if mode == "circular" and any(
        n < 0 for pair in widths for n in pair
    ):  # cut first: what is cut off does not come back
        input = Pad(tuple((min(before, 0), min(after, 0)) for before, after in widths), 0)(input)
        widths = [(max(before, 0), max(after, 0)) for before, after in widths]
    xp = backend_of_any(input)
    for dim, (before, after) in enumerate(widths):
        if (before, after) != (0, 0):
            index = xp.from_numpy(_border_index(input.shape[dim], before, after, mode))
            input = getitem(input, (slice(None),) * dim + (index,))
    return input


def _border_index(size: int, before: int, after: int, mode: str) -> np.ndarray:
    """Which old position each new position along a dimension repeats."""
    positions = np.arange(-before, size + after)
    if mode == "replicate":
        return np.clip(positions, 0, size - 1)
    if mode == "circular":
        if max(before, after) > size:
            raise RuntimeError(
                f"Padding value causes wrapping around more than once: {before}, {after} for size {size}"
            )
        return positions % size
    if mode == "reflect":
        if max(before, after) >= size:
            raise RuntimeError(
                f"Padding size should be less than the corresponding input dimension, but got: padding ({before}, {after}) "
                f"at dimension of size {size}"
            )
        return (size - 1) - np.abs((size - 1) - np.abs(positions))
    raise NotImplementedError(f"Unrecognised padding mode {mode}")
