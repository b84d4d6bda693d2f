"""Compiled functions of single elements: how exact they are, and that an array may be written over itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
import minidl.nn.functional as F
from minidl.backend import Backend
from minidl.backend.cpu import CpuBackend
from minidl.backend.cpu.compiled import fast_kernels
from minidl.ops.base import registry

if fast_kernels() is None:
    pytest.skip("no compiled kernels here", allow_module_level=True)

from minidl.backend.cpu.fast.functions import exp
from minidl.backend.cpu.fast.jit import kernel

cpu, reference = CpuBackend(), Backend("cpu", np, np.ndarray)


@kernel
def exponentials(x, out):
    for k in range(x.size):
        out[k] = exp(x[k])


def distance(found: np.ndarray, exact: np.ndarray) -> float:
    """The largest distance from the exact numbers (float64), in units of the last place of a float32."""
    return float((np.abs(found - exact) / np.spacing(exact.astype(np.float32)).astype(float)).max())


def everywhere(low: float, high: float) -> np.ndarray:
    """A million floats between these, evenly, and as many of every size near 0."""
    small = np.exp(np.random.default_rng(0).uniform(-80, math.log(high), 500_000))
    return np.concatenate([np.linspace(low, high, 1_000_000), small, np.maximum(-small, low)]).astype(np.float32)


def test_exp_is_within_two_units_of_the_last_place() -> None:
    x = everywhere(-103, 88.72)
    out = np.empty_like(x)
    exponentials(x, out)
    assert distance(out, np.exp(x.astype(float))) < 2
    ends = np.array([np.nan, np.inf, -np.inf, 89, -104, 1e30, -1e30, 0, -0.0], np.float32)
    exponentials(ends, out)
    np.testing.assert_array_equal(out[: ends.size], np.float32([np.nan, np.inf, 0, np.inf, 0, np.inf, 0, 1, 1]))


def test_sigmoid_is_within_three_units_of_the_last_place() -> None:
    x = everywhere(-88.7, 100)  # below, e⁻ˣ is infinite and the result 0, as the reference's
    assert distance(cpu.sigmoid(x), 1 / (1 + np.exp(-x.astype(float)))) < 3
    ends = np.array([np.nan, np.inf, -np.inf, 200, -200, 0], np.float32)
    np.testing.assert_array_equal(cpu.sigmoid(ends), np.float32([np.nan, 1, 0, 1, 0, 0.5]))


# By the name of the compiled function: what uses it, and how far its values may be from the exact ones, in ε of them.
ONE_PASS: dict[str, tuple[tuple[Callable[[Any], Any], ...], float]] = {
    "elu": ((F.elu, lambda x: F.elu(x, 0.3), F.selu, lambda x: F.celu(x, 0.7)), 3),
    "exponential": ((minidl.exp,), 2),
    "gelu": ((F.gelu,), 4),
    "gelu_tanh": ((lambda x: F.gelu(x, "tanh"),), 4),
    "hardsigmoid": ((F.hardsigmoid,), 3),
    "hardswish": ((F.hardswish,), 4),
    "leaky_relu": ((F.leaky_relu, lambda x: F.leaky_relu(x, -0.2)), 2),
    "mish": ((F.mish,), 6),
    "silu": ((F.silu,), 4),
    "softplus": ((F.softplus, lambda x: F.softplus(x, 2.0, 9.0)), 5),
    "tanh": ((minidl.tanh,), 4),
}
EPSILON = 2.0**-24


def value_and_gradient(function: Callable[[Any], Any], x: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    t = minidl.tensor(x, requires_grad=True)
    y = function(t)
    y.backward(minidl.tensor(g))
    return y.detach().numpy(), t.grad.numpy()


def test_every_compiled_function_of_an_op_is_tested_here() -> None:
    assert {op.compiled for op in registry.values()} == {"", *ONE_PASS}


@pytest.mark.parametrize("name", ONE_PASS)
def test_functions_in_one_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and gradients in float32 against the plain ones in float64: of ordinary numbers, tiny ones, infinities and NaN."""
    called = []
    one_pass = CpuBackend.in_one_pass

    def spy(self: CpuBackend, name: str, arrays: Any, numbers: Any) -> Any:
        result = one_pass(self, name, arrays, numbers)
        if result is not None:
            called.append(name)
        return result

    monkeypatch.setattr(CpuBackend, "in_one_pass", spy)
    random = np.random.default_rng(0)
    small = np.exp(random.uniform(-60, 0, 20_000))
    x = np.concatenate([np.linspace(-20, 20, 50_001), random.normal(size=30_000), small, -small]).astype(np.float32)
    g = random.normal(size=x.size).astype(np.float32)
    ends = np.tile(np.float32([np.nan, np.inf, -np.inf, 1e30, -1e30, 0, -0.0, 95, -95]), 1000)
    functions, bound = ONE_PASS[name]
    for function in functions:
        y, dx = value_and_gradient(function, x, g)
        exact, slope = value_and_gradient(function, x.astype(float), np.ones(x.size))
        assert y.dtype == dx.dtype == np.float32
        # Where an activation of large negative numbers is near 0, what it is worth is what it is made of.
        worth = np.maximum(np.abs(exact), np.abs(x)) if "gelu" in name else np.abs(exact)
        assert (np.abs(y - exact) <= bound * EPSILON * np.maximum(worth, 1e-30)).all()
        assert (np.abs(dx - g * slope) <= 20 * EPSILON * np.abs(g) * np.maximum(np.abs(slope), 1)).all()
        with np.errstate(all="ignore"):
            (y, dx), (exact, slope) = (
                value_and_gradient(function, e, np.ones_like(e)) for e in (ends, ends.astype(float))
            )
            np.testing.assert_allclose(y, exact.astype(np.float32), rtol=1e-5, atol=1e-37)
            far = np.abs(ends) > 1e20 if name in ("gelu_tanh", "mish") else np.zeros(ends.size, bool)  # x³, ∞ · 0
            np.testing.assert_allclose(dx[~far], slope[~far].astype(np.float32), rtol=1e-5, atol=1e-37)
    assert called == [name, f"{name}_back"] * 2 * len(functions)


def test_only_arrays_of_float32_that_lie_alike_are_done_in_one_pass() -> None:
    x = np.random.default_rng(0).normal(size=(70, 90)).astype(np.float32)
    assert cpu.in_one_pass("silu", (x.astype(float),), ()) is None
    assert cpu.in_one_pass("silu", (x[:, ::2],), ()) is None
    for lying in (x.T, x.reshape(7, 10, 9, 10).transpose(0, 3, 1, 2)):
        y = cpu.in_one_pass("silu", (lying,), ())
        assert y.strides == lying.strides
        np.testing.assert_allclose(y, lying / (1 + np.exp(-lying)), rtol=1e-5)
        dx = cpu.in_one_pass("tanh_back", (np.ascontiguousarray(lying), lying), ())
        np.testing.assert_allclose(dx, lying * (1 - lying * lying), rtol=1e-4, atol=1e-6)


IN_PLACE: dict[str, Callable[[Any, Any], Any]] = {
    "relu": lambda x, out: cpu.relu(x, out=out),
    "hardtanh": lambda x, out: cpu.hardtanh(x, -0.5, 0.7, out=out),
    "sigmoid": lambda x, out: cpu.sigmoid(x, out=out),
}


@pytest.mark.parametrize("size", [1, 7, 5_003, 300_001])
@pytest.mark.parametrize("name", IN_PLACE)
def test_over_itself_as_into_another_array(name: str, size: int) -> None:
    x = np.random.default_rng(0).normal(size=size).astype(np.float32)
    x[:: max(1, size // 3)] = np.nan
    expected = IN_PLACE[name](x, np.empty_like(x))
    assert IN_PLACE[name](x, x) is x
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("size", [1, 7, 5_003, 300_001])
def test_adding_to_an_array(size: int) -> None:
    a, b = np.random.default_rng(0).normal(size=(2, size)).astype(np.float32)
    expected = a + b
    cpu.add_into(a, b)
    np.testing.assert_array_equal(a, expected)
    cpu.add_into(a, a)
    np.testing.assert_array_equal(a, 2 * expected)


SPECIAL = -np.inf, np.inf, np.nan, 3e38, -3e38, 1e4


@pytest.mark.parametrize("classes", [1, 3, 16, 17, 32, 40])
def test_cross_entropy_of_infinite_and_huge_numbers(classes: int) -> None:
    random = np.random.default_rng(classes)
    rows = [random.standard_normal(classes) for _ in range(3 * len(SPECIAL))]
    for k, value in enumerate(SPECIAL):
        for row, place in zip(rows[3 * k :], (0, classes // 2, classes - 1), strict=False):
            row[place] = value
    x = np.array([*rows, *[np.full(classes, value) for value in SPECIAL]], np.float32)
    for label in {0, classes // 2, classes - 1}:
        for row in x:  # one by one: a sum would hide what is beside a NaN
            arguments = row[np.newaxis], np.array([label]), -100
            with np.errstate(all="ignore"):
                (loss, count, p), (loss_there, _, p_there) = (xp.cross_entropy(*arguments) for xp in (cpu, reference))
            assert count == 1
            np.testing.assert_allclose(loss, loss_there, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(p, p_there, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("classes", [1, 3, 16, 17, 40, 1000])
def test_softmax_and_its_logarithm(classes: int) -> None:
    """Against the reference in float64; and infinities, NaN and huge numbers where that has them."""
    random = np.random.default_rng(classes)
    x = (5 * random.standard_normal((2, 150, classes))).astype(np.float32)
    g = random.standard_normal(x.shape).astype(np.float32)
    x64, g64 = x.astype(float), g.astype(float)
    np.testing.assert_allclose(cpu.softmax(x, -1), reference.softmax(x64, 2), rtol=3e-6, atol=1e-30)
    np.testing.assert_allclose(cpu.log_softmax(x, 2), reference.log_softmax(x64, 2), rtol=1e-6, atol=2e-6)
    y, logs = reference.softmax(x64, 2), reference.log_softmax(x64, 2)
    dx, dlogs = reference.softmax_grad(g64, y, 2), reference.log_softmax_grad(g64, logs, 2)
    np.testing.assert_allclose(cpu.softmax_grad(g, y.astype(np.float32), 2), dx, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(cpu.log_softmax_grad(g, logs.astype(np.float32), 2), dlogs, rtol=1e-5, atol=1e-5)
    for value in SPECIAL:
        row = x[0, :1].copy()
        row[0, classes // 2] = value
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(cpu.softmax(row, 1), reference.softmax(row, 1), rtol=1e-5, atol=1e-30)
            np.testing.assert_allclose(cpu.log_softmax(row, 1), reference.log_softmax(row, 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("rows", "classes"), [(1, 1), (7, 10), (1000, 33), (64, 1000)])
def test_cross_entropy_where_some_rows_are_ignored(rows: int, classes: int) -> None:
    random = np.random.default_rng(rows)
    x = (3 * random.standard_normal((rows, classes))).astype(np.float32)
    labels = random.integers(0, classes, rows)
    for ignored in -100, int(labels[0]):
        (loss, count, p), (loss_there, count_there, p_there) = (
            xp.cross_entropy(x, labels, ignored) for xp in (cpu, reference)
        )
        assert count == count_there < rows + (ignored < 0)
        np.testing.assert_allclose(loss, loss_there, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(p, p_there, rtol=5e-6, atol=1e-8)
        dx, dx_there = (xp.cross_entropy_grad(p_there, labels, ignored, 0.3) for xp in (cpu, reference))
        np.testing.assert_allclose(dx, dx_there, rtol=1e-6, atol=1e-8)
