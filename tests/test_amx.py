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

if fast_kernels() is None or not fast_kernels().permitted():
    pytest.skip("this processor has no matrix unit, or nothing is compiled", allow_module_level=True)

from minidl.backend.cpu.fast import amx as unit
from minidl.backend.cpu.fast.jit import data, kernel

cpu = CpuBackend()
NOTHING = np.zeros(0, np.float32)
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


def product(a: np.ndarray, b: np.ndarray, bias: np.ndarray = NOTHING, rectified: bool = False) -> Any:
    fast = fast_kernels()
    plan = amx.shared_out(fast, *a.shape, b.shape[1])
    return amx.product(fast, plan, a, b, bias, rectified)


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
        assert (product(a, b, bias, True) == np.maximum(product(a, b, bias), 0)).all()


def test_whole_numbers_are_exact() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-999, 999, (70, 100)), rng.integers(-99, 99, (100, 40))
    assert (product(a.astype(np.float32), b.astype(np.float32)) == a @ b).all()


@kernel
def _split_tile(near, far, tiles):
    extremes = np.empty(32, np.uint32)
    unit.begin(extremes)
    unit.split_tile(data(near), data(far), near.strides[0], data(tiles), data(extremes))
    return unit.magnitudes_of(extremes)


def test_the_pieces_of_a_number_are_its_digits() -> None:
    """The plain twin: round to 8 binary digits, take away, and again. Together they are the number."""
    rng = np.random.default_rng(0)
    numbers = (rng.standard_normal((2, 16, 16)) * 2.0 ** rng.integers(-60, 60, (2, 16, 16))).astype(np.float32)
    numbers[0, 0, :4] = 0, -0.0, 1, 255.5
    tiles = np.zeros((3, 16, 16, 2), np.uint16)
    found = _split_tile(numbers[0], numbers[1], tiles.view(np.uint8).reshape(-1))
    pieces = (tiles.astype(np.uint32) << 16).view(np.float32)
    left = np.stack(tuple(numbers), -1)
    for i in range(3):
        mantissa, exponent = np.frexp(left.astype(float))
        rounded = np.ldexp(np.sign(mantissa) * np.floor(np.abs(mantissa) * 256 + 0.5) / 256, exponent)
        assert (pieces[i] == rounded).all()
        left = left - pieces[i]
    assert (left == 0).all()
    magnitudes = np.abs(numbers[numbers != 0])
    assert np.uint32(found >> 32).view(np.float32) == magnitudes.max()
    assert np.uint32((found & 0xFFFFFFFF) + 1).view(np.float32) == magnitudes.min()
    zeros = np.zeros((16, 16), np.float32)
    assert _split_tile(zeros, -zeros, tiles.view(np.uint8).reshape(-1)) == unit.NONE


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
    # Here the first pieces' products are infinite, and the numbers' are not.
    a, b = np.zeros((160, 256), np.float32), np.zeros((256, 160), np.float32)
    a[0, 0] = a[1, 0] = b[0, 0] = b[255, 0] = 1.9975 * 2.0**63
    a[1, 255] = -a[1, 0]
    assert np.isfinite(cpu.matmul(a, b)).all()


@pytest.mark.parametrize("shape", [(64, 16, 65), (65, 40, 64), (300, 70, 33), (20, 2000, 17), (99, 2040, 49)], ids=str)
def test_nothing_is_written_outside(shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of threads for either part of the work; what lies around the workspaces stays as it was."""
    m, k, n = shape
    around: list[np.ndarray] = []

    def fenced(purpose: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        raw = np.full(size + 2 * 4096 + 64, 77, np.uint8)
        start = 4096 - (raw.ctypes.data + 4096) % 64 + 64
        around.extend([raw[:start], raw[start + size :]])
        return raw[start : start + size].view(dtype).reshape(shape)

    kept = fast_kernels().matmul_split

    def has_room(crew: Any, splitters: Any, *rest: Any) -> Any:
        *_, places, _ = rest
        assert len(places) == max(threads.members(crew), threads.members(splitters))
        return kept(crew, splitters, *rest)

    monkeypatch.setattr(fast_kernels(), "matmul_split", has_room)
    monkeypatch.setattr(amx, "workspace", fenced)
    monkeypatch.setattr(amx, "PART", 1)
    for own in 0, 1 << 20:
        amx.ITS_OWN = own
        for number in 1, 2, 3, 4:
            threads.set_num_threads(number)
            for _ in range(3):
                a, b = normal(0, m, k), normal(1, k, n)
                assert error(product(a, b), a, b) < 1e-6
    assert around and all((fence == 77).all() for fence in around)


def test_a_product_that_would_need_too_much_memory_goes_the_other_way() -> None:
    a = np.broadcast_to(np.float32(1), (100_000, 192))
    assert amx.plan(fast_kernels(), np.asfortranarray(a).T, a.copy()) is None


@pytest.mark.parametrize("number", [np.inf, 1e-32, 1e-42], ids=str)
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("place", [(0, 0), (7, 5), (129, 515), (64, 514), (128, 3)], ids=str)
def test_one_such_number_is_seen_wherever_it_is(number: float, own: bool, place: tuple[int, int]) -> None:
    """In either factor, in a tile that is full or not, in factors that are turned, by whoever splits it."""
    amx.ITS_OWN = 1 << 20 if own else 0
    for where in range(2):
        for a_turned in False, True:
            for b_turned in False, True:
                a, b = normal(0, 130, 516), normal(1, 516, 130)
                (a, b.T)[where][place] = number
                a, b = (np.asfortranarray(x) if turned else x for x, turned in ((a, a_turned), (b, b_turned)))
                assert product(a, b) is None


def test_small_numbers_keep_all_their_digits() -> None:
    """Rows of very different magnitude, and factors whose products alone are of ordinary size."""
    a, b = normal(0, 128, 512), normal(1, 512, 256)
    for scale in 1e-10, 1e-20, 1e-25, 1e-30, 1e-33, 1e-36, 1e-38:
        tiny = a.copy()
        tiny[5] *= np.float32(scale)
        large = b * np.float32(1e8)
        assert error(cpu.matmul(tiny, large), tiny, large) < 1e-6
        assert product(tiny, large) is None or scale > 1e-31
    scales = (2.0 ** np.random.default_rng(0).integers(-120, 1, 512)).astype(np.float32)
    assert error(cpu.matmul(a * scales, b / scales[:, None]), a * scales, b / scales[:, None]) < 1e-6
    vanishing = np.full((128, 512), 1e-42, np.float32), np.full((512, 256), 1e38, np.float32)
    assert error(cpu.matmul(*vanishing), *vanishing) < 1e-5  # equal numbers, whose roundings add up


@pytest.mark.parametrize("scale", [1e-13, 1e-20])
def test_products_whose_pieces_would_vanish_take_the_other_way(scale: float) -> None:
    small = normal(0, 128, 512) * np.float32(scale)
    assert product(small, small.T.copy()) is None
    large = normal(1, 512, 256) * np.float32(1 / scale)
    assert error(product(small, large), small, large) < 3e-7


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
    a[3, 3] = np.inf
    (choice,) = backend.explain(lambda: cpu.matmul(a, b)).choices
    assert choice.picked == "register tiles" and "too large or too small" in choice.because
    a[3, 3] = 0
    backend.use_amx(False)
    assert picked(lambda: cpu.matmul(a, b)) == {"register tiles"}


def test_a_processor_without_the_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_kernels(), "permitted", lambda: False)
    m, k, n = LARGE
    assert picked(lambda: cpu.matmul(normal(0, m, k), normal(1, k, n))) == {"register tiles"}
    assert amx.describe().startswith("off: this processor has none")


SIGNALS = """
import ctypes
class Stack(ctypes.Structure):
    _fields_ = [("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
from minidl.backend.cpu import amx
from minidl.backend.cpu.compiled import fast_kernels
fast_kernels()
memory = ctypes.create_string_buffer(8192)
print(amx.describe()[:3], ctypes.CDLL(None).sigaltstack(ctypes.byref(Stack(ctypes.addressof(memory), 0, 8192)), None))
"""


def test_the_system_is_not_asked_where_the_unit_is_not_wanted() -> None:
    """From the permission on it refuses small stacks for signals, which somebody may need."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNALS],
        env={**os.environ, "MINIDL_AMX": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["off", "0"]


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
