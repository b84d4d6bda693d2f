"""What threads share of plain NumPy work, on arrays large enough for it: the same numbers as NumPy gives, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import minidl
from minidl.backend import backend_for

cpu = backend_for("cpu")
SHAPES = [(300, 1000), (9, 40, 33, 35), (400_000,)]


@pytest.fixture(params=[1, 3], autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = minidl.get_num_threads()
    minidl.set_num_threads(request.param)
    yield
    minidl.set_num_threads(before)


def lying(x: np.ndarray, how: str) -> np.ndarray:
    """The same numbers in row-major order, column-major order, with channels last, or with gaps."""
    if how == "last" and x.ndim == 4:
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    if how == "gaps":
        return np.repeat(x, 2, axis=-1)[..., ::2]
    return np.asarray(x, order="F" if how == "F" else "C")


def drawn(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("how", ["C", "F", "last", "gaps"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_arithmetic_of_arrays_that_broadcast(shape: tuple[int, ...], how: str) -> None:
    x = lying(drawn(shape), how)
    row, channels = drawn(shape[-1:], 1), drawn((*shape[1:2], *(1,) * (len(shape) - 2)), 2)
    others: list[Any] = [
        drawn(shape, 3),
        lying(drawn(shape, 3), how),
        row,
        channels,
        2.5,
        np.float32(2.5),
        drawn((), 4),
    ]
    for function in np.multiply, np.subtract, np.divide:
        for other in others if len(shape) > 1 else others[:3] + others[4:]:
            for pair in ((x, other), (other, x)):
                expected = function(*pair)
                actual = cpu.by_pieces(function, *pair)
                assert actual.dtype == expected.dtype
                np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(cpu.by_pieces(np.negative, x), -x)
    np.testing.assert_array_equal(cpu.add(x, row), x + row)


@pytest.mark.parametrize("how", ["C", "F", "last", "gaps"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_arrays_side_by_side(shape: tuple[int, ...], how: str) -> None:
    for axis in range(len(shape)):
        others = [drawn(tuple(n if i == axis else m for i, m in enumerate(shape))) for n in (1, 0, 7)]
        arrays = [lying(x, how) for x in (drawn(shape, 1), *others, drawn(shape, 2))]
        joined = cpu.concatenate(arrays, axis)
        np.testing.assert_array_equal(joined, np.concatenate(arrays, axis))
        np.testing.assert_array_equal(cpu.concatenate(arrays, axis - len(shape)), joined)
        mixed = cpu.concatenate([arrays[0].astype(np.uint8), arrays[-1]], axis)
        np.testing.assert_array_equal(mixed, np.concatenate([arrays[0].astype(np.uint8), arrays[-1]], axis))
        assert how != "last" or len(shape) < 4 or joined.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("to", ["C", "F", "last"])
@pytest.mark.parametrize("how", ["C", "F", "last", "gaps"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_copies(shape: tuple[int, ...], how: str, to: str) -> None:
    x = lying(drawn(shape), how)
    target = lying(np.zeros(shape, np.float32), to)
    cpu.copy_into(target, x)
    np.testing.assert_array_equal(target, x)


@pytest.mark.parametrize("how", ["C", "F", "last", "gaps"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums(shape: tuple[int, ...], how: str) -> None:
    """By the exact sum, to what float32 can hold."""
    each = 1e-5 if how == "F" else 3e-6  # along the wrong axis NumPy adds numbers one by one, not in pairs
    x = lying(drawn(shape), how)
    for wanted in range(2 ** len(shape)):
        axes = tuple(i for i in range(len(shape)) if wanted >> i & 1)
        for keepdims in (True, False):
            expected = x.astype(float).sum(axis=axes, keepdims=keepdims)
            actual = cpu.sum_over(x, axes, keepdims)
            assert actual.dtype == np.float32 and actual.shape == expected.shape
            count = x.size // max(1, expected.size)
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=each * count**0.5)
