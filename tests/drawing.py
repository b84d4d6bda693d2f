"""Where the choices of ``minidl.ops.samples.Draw`` come from in the tests, and the memory layouts of inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from minidl.ops.samples import Draw


class Hypothesis:
    """A source of choices that hypothesis makes, and shrinks: ``@given(st.data())`` gives the data."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data

    def integer(self, low: int, high: int) -> int:
        return self.data.draw(st.integers(low, high))


class Random:
    """A source that follows from a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high, endpoint=True))


def lay_out(array: np.ndarray, order: Any, steps: Any) -> np.ndarray:
    """The same values as a view of a larger array that is NaN elsewhere.

    Args:
        order: the axes from the slowest to the fastest in memory.
        steps: for each axis the distance of neighbours in the larger array; negative: from the end.
    """
    spread = [abs(s) * n + 1 for n, s in zip(array.shape, steps, strict=True)]
    memory = np.full([spread[axis] for axis in order], np.nan, array.dtype).transpose(np.argsort(order))
    view = memory[(*(slice(1, None, abs(s)) for s in steps), ...)]
    view = view[(*(slice(None, None, 1 if s > 0 else -1) for s in steps), ...)]
    view[...] = array
    return view


def _strided(draw: Draw, array: np.ndarray) -> np.ndarray:
    rng = draw.generator()
    return lay_out(array, rng.permutation(array.ndim), rng.choice([-2, -1, 1, 2], array.ndim))


def _channels_last(draw: Draw, array: np.ndarray) -> np.ndarray:
    return array if array.ndim < 3 else np.moveaxis(np.moveaxis(array, 1, -1).copy(), -1, 1)


LAYOUTS: dict[str, Callable[[Draw, np.ndarray], np.ndarray]] = {
    "C order": lambda draw, array: array.copy("C"),
    "Fortran order": lambda draw, array: array.copy("F"),
    "channels last": _channels_last,
    "strided": _strided,
}


def present(draw: Draw, array: np.ndarray) -> np.ndarray:
    """The same values in a drawn memory layout."""
    shown = LAYOUTS[draw.choice(list(LAYOUTS))](draw, array)
    assert shown.dtype == array.dtype and np.array_equal(shown, array)
    return shown


def memory_of(array: np.ndarray) -> np.ndarray:
    """The whole block of memory that an array looks at."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
