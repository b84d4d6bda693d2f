"""Products on the matrix unit: float32 numbers in three pieces, whatever is left over from tiles, and who may not go there."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl
from minidl import backend
from minidl.backend.cpu import CpuBackend, amx, threads
from minidl.backend.cpu.compiled import fast_kernels

if fast_kernels() is None or not fast_kernels().HAS_AMX:
    pytest.skip("this processor has no matrix unit, or nothing is compiled", allow_module_level=True)

from minidl.backend.cpu.fast import amx as unit
from minidl.backend.cpu.fast.jit import data, kernel

cpu = CpuBackend()
NOTHING, NO_FLOOR = np.zeros(0, np.float32), np.float32(-np.inf)
LARGE = 128, 512, 256  # rows, depth and columns that are worth it


@pytest.fixture(autouse=True)
def as_it_was() -> Any:
    count, own = threads.get_num_threads(), amx.ITS_OWN
    yield
    threads.set_num_threads(count)
    amx.ITS_OWN = own
    amx.use_amx(True)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def product(a: np.ndarray, b: np.ndarray, bias: np.ndarray = NOTHING, floor: np.float32 = NO_FLOOR) -> Any:
    return amx.product(fast_kernels(), a, b, bias, floor)


def by_tiles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    amx.use_amx(False)
    try:
        return cpu.matmul(a, b)
    finally:
        amx.use_amx(True)


def error(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """The largest one, relative to the sum of the magnitudes that were added up."""
    exact, magnitudes = a.astype(float) @ b.astype(float), np.abs(a).astype(float) @ np.abs(b)
    return float(np.max(np.abs(y - exact) / magnitudes, initial=0))


@settings(max_examples=80, deadline=None)
@given(
    m=st.integers(1, 150), k=st.integers(1, 90), n=st.integers(1, 150), long=st.booleans(), a_turned=st.booleans(),
    b_turned=st.booleans(), biased=st.booleans(), number=st.integers(1, 3), own=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_the_product_errs_no_more_than_one_in_float32(
    m: int, k: int, n: int, long: bool, a_turned: bool, b_turned: bool, biased: bool, number: int, own: bool, seed: int
) -> None:
    """Sizes that leave something over from tiles and threads, sums that are cut because they are long, every layout."""
    threads.set_num_threads(number)
    amx.ITS_OWN = 1 << 20 if own else 0
    k = 30 * k if long else k
    a, b = (
        normal(seed, k, m).T if a_turned else normal(seed, m, k),
        normal(seed + 1, n, k).T if b_turned else normal(seed + 1, k, n),
    )
    y, plain = product(a, b), by_tiles(a, b)
    assert y.dtype == np.float32 and y.flags.c_contiguous
    assert error(y, a, b) < max(3e-7, 1.5 * error(plain, a, b))
    if biased:
        bias = normal(seed + 2, n)
        np.testing.assert_allclose(product(a, b, bias), y + bias, rtol=1e-5, atol=1e-5 * np.sqrt(k))
        assert (product(a, b, bias, np.float32(0)) == np.maximum(product(a, b, bias), 0)).all()


def test_whole_numbers_are_exact() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-999, 999, (70, 100)), rng.integers(-99, 99, (100, 40))
    assert (product(a.astype(np.float32), b.astype(np.float32)) == a @ b).all()


@kernel
def _split_tile(near, far, tiles):
    return unit.split_tile(data(near), data(far), near.strides[0], data(tiles))


def test_the_pieces_of_a_number_are_its_digits() -> None:
    """The plain twin: round to 8 binary digits, take away, and again. Together they are the number."""
    rng = np.random.default_rng(0)
    numbers = (rng.standard_normal((2, 16, 16)) * 2.0 ** rng.integers(-60, 60, (2, 16, 16))).astype(np.float32)
    numbers[0, 0, :4] = 0, -0.0, 1, 255.5
    tiles = np.zeros((3, 16, 16, 2), np.uint16)
    largest = _split_tile(numbers[0], numbers[1], tiles.view(np.uint8).reshape(-1))
    pieces = (tiles.astype(np.uint32) << 16).view(np.float32)
    left = np.stack(tuple(numbers), -1)
    for i in range(3):
        mantissa, exponent = np.frexp(left.astype(float))
        rounded = np.ldexp(np.sign(mantissa) * np.floor(np.abs(mantissa) * 256 + 0.5) / 256, exponent)
        assert (pieces[i] == rounded).all()
        left = left - pieces[i]
    assert (left == 0).all()
    assert np.uint32(largest).view(np.float32) == np.abs(pieces[0]).max()


@pytest.mark.parametrize("special", [np.inf, -np.inf, 3.4028235e38], ids=str)
def test_numbers_that_have_no_pieces_take_the_other_way(special: float) -> None:
    for where in "ab":
        a, b = normal(0, 128, 512), normal(1, 512, 256)
        (a if where == "a" else b)[7, 5] = special
        assert product(a, b) is None
        np.testing.assert_array_equal(cpu.matmul(a, b), by_tiles(a, b))


def test_products_that_are_no_numbers_any_more_take_the_other_way() -> None:
    """The pieces' products might be infinite both ways, and together no number, where the product is infinite."""
    a, b = normal(0, 128, 512), normal(1, 512, 256)
    a[7, 5] = 1.2345e25
    assert error(product(a, b), a, b) < 3e-7
    b[5, 7] = 1.2345e25
    assert product(a, b) is None
    y = cpu.matmul(a, b)
    assert y[7, 7] == np.inf and np.isfinite(y).sum() == y.size - 1


@pytest.mark.parametrize("scale", [1e-25, 1e-30, 1e-38])
def test_numbers_whose_pieces_would_vanish_take_the_other_way(scale: float) -> None:
    a, b = normal(0, 128, 512), normal(1, 512, 256)
    small = (a * np.float32(scale)).astype(np.float32)
    assert product(small, small.T.copy()) is None
    expected = by_tiles(small, b)
    np.testing.assert_allclose(cpu.matmul(small, b), expected, rtol=1e-4, atol=np.abs(expected).max() * 1e-6)


def test_zeros_may_go_there() -> None:
    assert (product(np.zeros((32, 64), np.float32), normal(0, 64, 32)) == 0).all()


@pytest.mark.parametrize("number", [np.nan, np.float32(np.nan), np.uint32(0x7FFFFFFF).view(np.float32)], ids=str)
def test_what_is_not_a_number_stays_where_it_belongs(number: Any) -> None:
    a, b = normal(0, 128, 512), normal(1, 512, 256)
    a[7, 5] = number
    y = cpu.matmul(a, b)
    assert np.isnan(y[7]).all() and np.isfinite(np.delete(y, 7, 0)).all()
    relu = cpu.matmul(a, b, None, "relu")
    assert np.isnan(relu[7]).all() and (np.delete(relu, 7, 0) >= 0).all()


def picked(function: Any) -> set[str]:
    return {choice.picked for choice in backend.explain(function).choices}


def test_who_is_picked() -> None:
    m, k, n = LARGE
    a, b = normal(0, m, k), normal(1, k, n)
    assert picked(lambda: cpu.matmul(a, b)) == {"matrix unit"}
    assert picked(lambda: cpu.matmul(a, normal(1, n, k).T)) == {"matrix unit"}
    assert picked(lambda: cpu.matmul(normal(0, k, m).T, b)) == {"matrix unit"}
    assert picked(lambda: cpu.matmul(a, normal(1, k, 2 * n)[:, ::2])) == {"BLAS"}
    assert picked(lambda: cpu.matmul(normal(0, m, 2 * k)[:, ::2], b)) == {"register tiles"}
    assert picked(lambda: cpu.matmul(a, b[:, :10])) != {"matrix unit"}  # ten columns do not pay for splitting a
    assert picked(lambda: cpu.matmul(normal(0, 20, k), b)) == {"register tiles"}
    assert picked(lambda: cpu.matmul(a.astype(float), b.astype(float))) == {"BLAS"}
    backend.use_amx(False)
    assert picked(lambda: cpu.matmul(a, b)) == {"register tiles"}


def test_a_layer_and_its_gradients(capsys: pytest.CaptureFixture[str]) -> None:
    """As a user meets it; against float64."""
    minidl.manual_seed(0)
    layer, x = minidl.nn.Linear(512, 256), minidl.randn(128, 512, requires_grad=True)
    g = minidl.randn(128, 256)
    layer(x).backward(g)
    w, x64, g64 = (t.detach().numpy().astype(float) for t in (layer.weight, x, g))
    for ours, exact in (x.grad, g64 @ w), (layer.weight.grad, g64.T @ x64), (layer.bias.grad, g64.sum(0)):
        assert np.linalg.norm(ours.numpy() - exact) < 5e-7 * np.linalg.norm(exact)
    minidl.show_config()
    assert "matrix unit       on (MINIDL_AMX=0" in capsys.readouterr().out
    backend.use_amx(False)
    minidl.show_config()
    assert "matrix unit       off\n" in capsys.readouterr().out


PRODUCT = r"""
import os, numpy as np
from minidl.backend import backend_for
from minidl.backend.cpu import amx
rng = np.random.default_rng(0)
a, b = (rng.standard_normal(shape).astype("f") for shape in ((128, 512), (512, 256)))
def say():
    os.write(1, f"{amx.describe()[:3]} {hash(backend_for('cpu').matmul(a, b).tobytes())}\n".encode())  # in one piece
say()
if hasattr(os, "fork"):
    child = os.fork()
    say()
    if child:
        os.waitpid(child, 0)
"""


def test_the_same_bits_from_run_to_run_in_a_forked_child_and_none_with_the_switch() -> None:
    def lines(**environment: str) -> list[str]:
        environment = {**os.environ, "PYTHONHASHSEED": "0", "MINIDL_NUM_THREADS": "2", **environment}
        done = subprocess.run(
            [sys.executable, "-c", PRODUCT], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    first = lines()
    assert len(first) == 3 and len({*first, *lines()}) == 1 and first[0].startswith("on ")
    off = lines(MINIDL_AMX="0")
    assert len({*off}) == 1 and off[0].startswith("off") and off[0].split()[1] != first[0].split()[1]
