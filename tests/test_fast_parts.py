"""The parts that the compiled kernels are made of, each against its plain twin; and how threads share them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.backend.cpu import CpuBackend, matmul, threads
from minidl.backend.cpu.amx import use_amx
from minidl.backend.cpu.compiled import fast_kernels

if fast_kernels() is None:
    pytest.skip("no compiled kernels here", allow_module_level=True)

from minidl.backend.cpu.fast import gemm, taps, transform, winograd
from minidl.backend.cpu.fast.jit import data, inner, kernel
from minidl.backend.cpu.fast.team import _add, _read, address_of, job_of, run

BYTES = 4


@pytest.fixture(autouse=True)
def usual_count():
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


@kernel
def call_product(n):  # a symbol is called from kernels only
    a, ar, asg, ast, b, bl, bs, bst, segments, r, rows, lanes, start, sr, out, outr = n
    gemm.product(a, ar, asg, ast, b, bl, bs, bst, segments, r, rows, lanes, start, sr, out, outr)


@kernel
def call_convolve_row(n):
    a, ap, asg, b, bl, bs, bt, segments, channels, width, lanes, start, out, outp = n
    taps.convolve_row(a, ap, asg, b, bl, bs, bt, segments, channels, width, lanes, start, out, outp)


@kernel
def call_correlate_rows(n):
    a, ap, asg, g, gp, gs, segments, width, channels, lanes, out, outt, outc = n
    taps.correlate_rows(a, ap, asg, g, gp, gs, segments, width, channels, lanes, out, outt, outc)


@kernel
def call_transform(which, source, at, target, to, length):
    transform.apply_transform(which, source.ctypes.data, at.ctypes.data, target.ctypes.data, to.ctypes.data, length)


def addresses(*values):
    return tuple(v.ctypes.data if isinstance(v, np.ndarray) else int(v) for v in values)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def close(actual, expected):
    limit = 1e-5 * max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=limit)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 40), lanes=st.integers(1, 9), segments=st.integers(0, 3), length=st.integers(1, 40),
    adds=st.booleans(), long=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_product(rows, lanes, segments, length, adds, long, seed):
    """Whatever is left over from tiles, sums that are cut because they are long, and both ways to begin."""
    if long:
        segments, length = 1, 40 * length
    a, b = normal(seed, rows, segments, length), normal(seed + 1, lanes, segments, length, 16)
    out, start = normal(seed + 2, rows, lanes * 16), normal(seed + 3, lanes * 16)
    summed = np.einsum("rsi,lsin->rln", a.astype(float), b.astype(float)).reshape(rows, -1)
    expected = summed + (out if adds else start)
    a_row, strip = segments * length * BYTES, length * 64
    call_product(
        addresses(
            a, a_row, length * BYTES, BYTES, b, segments * strip, strip, 64, segments, length, rows, lanes,
            out if adds else start, lanes * 64 if adds else 0, out, lanes * 64,
        )
    )  # fmt: skip
    close(out / np.sqrt(length), expected / np.sqrt(length))


@settings(max_examples=60, deadline=None)
@given(
    m=st.integers(1, 250), k=st.integers(1, 90), n=st.integers(1, 220), a_turned=st.booleans(), b_turned=st.booleans(),
    packed=st.booleans(), biased=st.booleans(), number=st.integers(1, 3), seed=st.integers(0, 99),
)  # fmt: skip
def test_the_product_of_any_matrices(m, k, n, a_turned, b_turned, packed, biased, number, seed):
    """By rows and by columns, a factor that is packed or taken as it lies, columns that do not fill a vector."""
    threads.set_num_threads(number)
    k = 20 * k if seed % 10 == 0 else k  # a sum that is cut because it is long
    a = normal(seed, k, m).T if a_turned else normal(seed, m, k)
    b, bias = normal(seed + 1, *((n, k) if b_turned else (k, n))), normal(seed + 2, n if biased else 0)
    expected = a.astype(float) @ (b.T if b_turned else b) + (bias if biased else 0)
    lanes = -(-n // 16)
    strips = np.full((lanes if packed or b_turned else 1, k, 16), np.nan, np.float32)
    crew = threads.team(lanes, 1)
    for small in False, True:
        memory = np.full(m * n + 32, np.nan, np.float32)
        memory[:16] = memory[-16:] = 7
        out = memory[16:-16].reshape(m, n)
        if small:
            gemm.matmul_small(a, b, b_turned, bias, False, out)
        else:
            gemm.matmul(crew, 5, a, b, b_turned, bias, False, strips, out)
        close(out / np.sqrt(k), expected / np.sqrt(k))
        assert (memory[:16] == 7).all() and (memory[-16:] == 7).all()


@settings(max_examples=60, deadline=None)
@given(
    m=st.integers(1, 70), k=st.integers(1, 90), n=st.integers(1, 150), turned=st.booleans(), biased=st.booleans(),
    number=st.integers(1, 3), shared=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_the_transposed_product_is_the_product(m, k, n, turned, biased, number, shared, seed):
    threads.set_num_threads(number)
    a, b = normal(seed, m, k), normal(seed + 1, *((n, k) if turned else (k, n)))
    bias, out = normal(seed + 2, n if biased else 0), np.full((m, n), np.nan, np.float32)
    lanes, unit = -(-m // 16), 48
    crew = threads.team(-(-n // unit), 1)
    copies = np.full((1 if shared else threads.members(crew), lanes, k, 16), np.nan, np.float32)
    blocks = np.empty((threads.members(crew), unit, 16 * lanes), np.float32)
    if number == 1:  # it makes them itself
        copies, blocks = copies[:0, :0, :0, :0], blocks[:0, :0, :0]
    gemm.matmul_transposed(crew, threads.team(lanes, 1), unit, a, b, turned, bias, False, copies, blocks, out)
    expected = a.astype(float) @ (b.T if turned else b) + (bias if biased else 0)
    close(out, expected)


@pytest.mark.parametrize("shape", [(32, 60, 200), (61, 200, 100), (60, 784, 100)])
@pytest.mark.parametrize("turned", [False, True])
def test_few_rows_take_the_transposed_product(shape, turned, monkeypatch):
    m, k, n = shape
    taken = []
    kept = matmul.fast_kernels().matmul_transposed
    monkeypatch.setattr(matmul.fast_kernels(), "matmul_transposed", lambda *a: (taken.append(1), kept(*a)))
    a, bias = normal(0, m, k), normal(1, n)
    b = normal(2, n, k).T if turned else normal(2, k, n)
    y = CpuBackend().matmul(a, b, bias)
    assert taken
    close(y, a.astype(float) @ b + bias)


@pytest.mark.parametrize(
    "shape", [(20, 40, 30), (300, 200, 50), (300, 200, 64), (90, 300, 400), (60, 784, 100), (60, 90, 100)]
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_product_may_be_rectified_in_the_same_pass(shape, turned):
    """Small, by rows, by columns, transposed, and with columns that only fill the last strip; NaN stays, and only where it is."""
    m, k, n = shape
    a, bias, b = normal(0, m, k), normal(1, n), normal(2, n, k).T if turned else normal(2, k, n)
    a[-1, -1] = np.nan
    kernels = CpuBackend()
    use_amx(False)
    try:
        y, plain = kernels.matmul(a, b, bias, "relu"), kernels.matmul(a, b, bias)
    finally:
        use_amx(True)
    assert np.isnan(y[-1]).all() and np.array_equal(y, np.maximum(plain, 0), equal_nan=True)
    assert (y == 0).any() and (y > 0).any()


@pytest.mark.skipif(not taps.USED, reason="this processor has too few registers")
@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(taps.PIXELS, 50), lanes=st.integers(1, 5), segments=st.integers(0, 4), c=st.integers(1, 20),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_convolve_row(width, lanes, segments, c, seed):
    a, b, start = (
        normal(seed, segments, width + 2, c),
        normal(seed + 1, lanes, segments, 3, c, 16),
        normal(seed + 2, lanes * 16),
    )
    windows = (
        np.stack([a[:, t : t + width] for t in range(3)], 2) if segments else np.zeros((0, width, 3, c), np.float32)
    )
    expected = start + np.einsum("sptc,lstck->plk", windows, b).reshape(width, -1)
    out = np.empty((width, lanes * 16), np.float32)
    tap = c * 64
    call_convolve_row(
        addresses(
            a, c * BYTES, (width + 2) * c * BYTES, b, segments * 3 * tap, 3 * tap, tap, segments, c, width, lanes, start, out,
            lanes * 64,
        )
    )  # fmt: skip
    close(out, expected)


@pytest.mark.skipif(not taps.USED, reason="this processor has too few registers")
@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(1, 40), lanes=st.integers(1, 3), segments=st.integers(0, 4), groups=st.integers(1, 4),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_correlate_rows(width, lanes, segments, groups, seed):
    c, o = groups * taps.CHANNELS, lanes * 16
    a, g = normal(seed, segments, width + 2, c), np.zeros((segments, width + 4, o), np.float32)
    g[:, 2:-2] = normal(seed + 1, segments, width, o)
    out = normal(seed + 2, 3, c, o)
    expected = out + [np.einsum("spc,spk->ck", a[:, t : t + width], g[:, 2:-2]) for t in range(3)]
    start = g.ctypes.data + 2 * o * BYTES
    call_correlate_rows(
        addresses(
            a, c * BYTES, (width + 2) * c * BYTES, start, o * BYTES, (width + 4) * o * BYTES, segments, width, c, lanes, out,
            c * o * BYTES, o * BYTES,
        )
    )  # fmt: skip
    close(out, expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(transform.TRANSFORMS) - 1), st.integers(0, 70), st.integers(0, 99))
def test_a_transform_on_vectors_is_the_one_on_arrays(which, length, seed):
    function = transform.TRANSFORMS[which]
    inputs = list(normal(seed, function.__code__.co_argcount, length))
    expected = np.array(function(*inputs))
    order = np.random.default_rng(seed).permutation(8)  # rows may lie anywhere
    source, target = np.zeros((8, length), np.float32), np.full((8, length), 7, np.float32)
    source[order[: len(inputs)]] = inputs
    call_transform(which, source.reshape(-1), order * length, target.reshape(-1), order[::-1] * length, length)
    close(target[order[::-1][: len(expected)]], expected)
    assert np.all(target[order[::-1][len(expected) :]] == 7)


def test_winograds_transforms_convolve():
    """Aᵀ [(G w Gᵀ) ⊙ (Bᵀ d B)] A is the correlation of a tile with a kernel, for all three pairs of m and r."""
    rng = np.random.default_rng(0)

    def both_ways(function, x):
        down = np.array(function(*x))
        return np.array(function(*down.T)).T

    for m, r, bt, at, a in (
        (4, 3, transform.bt6, transform.at64, transform.a46),
        (2, 5, transform.bt6, transform.at62, transform.a26),
        (2, 3, transform.bt4, transform.at42, transform.a24),
    ):
        p = m + r - 1
        d, w = rng.standard_normal((p, p)), rng.standard_normal((r, r))
        points = (winograd.kernel_matrix(m, r) @ w.reshape(-1)).reshape(p, p) * both_ways(bt, d)
        expected = [[np.sum(d[i : i + r, j : j + r] * w) for j in range(m)] for i in range(m)]
        np.testing.assert_allclose(both_ways(at, points), expected, atol=1e-6)
        g, products = rng.standard_normal(m), rng.standard_normal(p)
        np.testing.assert_allclose(np.dot(a(*g), products), np.dot(g, at(*products)))  # A and Aᵀ are transposes


@kernel
def call_gather_taps(weight, at, c_step, o_step, pairs, count, taps):
    winograd._gather_taps(weight, at, c_step, o_step, pairs, count, taps)


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.integers(1, 32), more=st.integers(0, 3), strips=st.integers(1, 3), r=st.sampled_from([2, 3, 5]),
    turned=st.booleans(), drawn=st.data(),
)  # fmt: skip
def test_the_taps_of_a_weight_are_gathered(pairs, more, strips, r, turned, drawn):
    """Those of a run of channels, for sixteen of the others, up to the end of the weight; beside them nothing but room for it."""
    c, o, count = pairs + more, 16 * strips, r * r
    weight = normal(0, *((c, o) if turned else (o, c)), count)
    first, strip = drawn.draw(st.integers(0, more)), drawn.draw(st.integers(0, strips - 1))
    c_step, o_step = (o * count, count) if turned else (count, c * count)
    taps = np.full((pairs * count + 17, 16), 7, np.float32)
    at = first * c_step + 16 * strip * o_step
    call_gather_taps(weight.reshape(-1), at, c_step, o_step, pairs, count, taps)
    channels = weight if turned else weight.transpose(1, 0, 2)
    expected = channels[first : first + pairs, 16 * strip : 16 * strip + 16].transpose(0, 2, 1)
    assert (taps[: pairs * count].reshape(pairs, count, 16) == expected).all() and (taps[-1] == 7).all()


@pytest.mark.parametrize("on_the_unit", [False, True])
def test_what_a_kernel_makes_for_its_threads_lives_as_long_as_they_do(on_the_unit):
    """A bias so long that memory which is freed goes back to the system: whoever reads it then does not live, either."""
    if on_the_unit and not matmul.fast_kernels().permitted():
        pytest.skip("no matrix unit")
    m, k, n = 64, 64, 300_001
    program = f"""
import numpy as np
from minidl.backend import backend_for
y = backend_for("cpu").matmul(np.ones(({m}, {k}), "f"), np.ones(({k}, {n}), "f"), np.ones({n}, "f"))
assert (y == {k + 1}).all()
"""
    memory = {"MINIDL_KEEP_MEMORY": "0", "MALLOC_MMAP_THRESHOLD_": "65536"}  # the second is glibc's
    environment = {**os.environ, **memory, "MINIDL_AMX": str(int(on_the_unit))}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# -- sharing -----------------------------------------------------------------------------------------------------------


@kernel
def _count(who, part, first, last, seen, parts):
    parts[part] += 1
    for i in range(first, last):
        seen[i] += 1


_count_job = job_of(_count)


@kernel
def count(team, *arguments):
    run(team, _count_job(arguments), address_of(arguments))


@given(st.integers(0, 300), st.integers(1, 40), st.integers(1, 5), st.integers(1, 5))
@settings(deadline=None)
def test_every_part_is_done_once(length, least, pieces, number):
    threads.set_num_threads(number)
    team = threads.team(length, least, pieces)
    seen, parts = np.zeros(length, np.int64), np.zeros(64, np.int64)
    count(team, seen, parts)
    assert np.all(seen == 1)
    assert parts.tolist() == [1] * team[-1] + [0] * (64 - team[-1])
    assert team[-1] == len(threads.spans(length, least, pieces))


@inner
def _in_turn(who, part, first, last, seen, whose, begun):
    """In its first part the caller waits until a helper has begun one, and a helper until the caller has begun a second one."""
    for i in range(first, last):
        seen[i] += 1
    whose[part] = who
    mine, others = data(begun) + (8 if who else 0), data(begun) + (0 if who else 8)
    if _add(mine, 1) == 0:
        looks = 0
        while _read(others) < (2 if who else 1) and looks < 20_000_000:
            looks += 1


_in_turn_job = job_of(_in_turn)


@kernel
def count_in_turn(team, *arguments):
    run(team, _in_turn_job(arguments), address_of(arguments))


@pytest.mark.parametrize("number", [2, 3])
def test_the_caller_takes_parts_from_the_front_and_helpers_from_the_end(number):
    threads.set_num_threads(number)
    end, shared = time.monotonic() + 30, 0
    while shared < 3:
        assert time.monotonic() < end, "no helper takes part"
        seen, whose, begun = np.zeros(97, np.int64), np.full(12, -1), np.zeros(2, np.int64)
        count_in_turn(threads.team(97, 1, 12 // number), seen, whose, begun)
        helped = whose > 0
        assert np.all(seen == 1) and whose.min() >= 0
        assert not np.any(helped[:-1] & ~helped[1:]), whose
        shared += begun.min() > 1


def test_fewer_helpers_than_there_are_threads():
    """Any of the threads that there have been before may be awake: whichever it is, it helps."""
    threads.set_num_threads(8)
    for _ in range(50):
        seen, parts = np.zeros(5000, np.int64), np.zeros(64, np.int64)
        count(threads.team(5000, 1, 4), seen, parts)
    assert threads._workers >= 7
    threads.set_num_threads(2)
    end, helped = time.monotonic() + 30, 0
    while helped < 20:
        assert time.monotonic() < end, "no helper takes part"
        seen, whose, begun = np.zeros(97, np.int64), np.full(12, -1), np.zeros(2, np.int64)
        count_in_turn(threads.team(97, 1, 6), seen, whose, begun)
        assert np.all(seen == 1) and whose.min() >= 0 and whose.max() <= 1
        helped += begun.min() > 1


def test_many_callers_at_once_each_get_their_own_parts_done():
    threads.set_num_threads(3)
    wrong = []

    def call(seed):
        rng = np.random.default_rng(seed)
        for _ in range(300):
            length = int(rng.integers(1, 2000))
            seen, parts = np.zeros(length, np.int64), np.zeros(64, np.int64)
            count(threads.team(length, 1, 4), seen, parts)
            if not np.all(seen == 1):
                wrong.append(length)

    callers = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
        assert not caller.is_alive()
    assert not wrong


def test_threads_that_wait_go_to_sleep_and_are_woken_again():
    threads.set_num_threads(2)
    seen, parts = np.zeros(100, np.int64), np.zeros(64, np.int64)
    for _ in range(3):
        count(threads.team(100), seen, parts)
        end = time.monotonic() + 30
        while threads._board[threads.WAITING] and time.monotonic() < end:  # a millisecond, if the machine is not busy
            time.sleep(0.01)
        assert not threads._board[threads.WAITING]
        end = time.monotonic() + 30
        while not threads._board[threads.WAITING] and time.monotonic() < end:
            count(threads.team(100), seen, parts)
        assert time.monotonic() < end, "the helper does not wake up"


def test_a_small_kernel_wakes_nobody_unless_others_came_just_before():
    threads.set_num_threads(2)
    seen, parts = np.zeros(100, np.int64), np.zeros(64, np.int64)
    count(threads.team(100), seen, parts)  # now there is a helper
    end = time.monotonic() + 30
    while (threads._board[threads.WAITING] or threads._jobs.qsize()) and time.monotonic() < end:
        time.sleep(0.01)
    for least in (100 / threads.WORTH_WAKING * 1.5, 2.5):
        time.sleep(10 * threads.CLOSELY)
        assert threads.team(100, least)[1] == 1 and not threads._jobs.qsize()  # it may help if it is awake, and is not
        count(threads.team(100, least), seen, parts)
    assert not threads._board[threads.WAITING]
    end = time.monotonic() + 30
    while not threads._board[threads.WAITING] and time.monotonic() < end:
        count(threads.team(100, 2.5), seen, parts)
    assert threads._board[threads.WAITING], "one after the other, they wake the helper"


def test_python_functions_and_kernels_share_the_same_threads():
    threads.set_num_threads(2)
    seen, parts = np.zeros(100, np.int64), np.zeros(64, np.int64)
    for i in range(1, 50):
        count(threads.team(100), seen, parts)
        assert threads.share(lambda n: n + 1, range(5)) == [1, 2, 3, 4, 5]
        assert np.all(seen == i)
