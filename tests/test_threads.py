"""Threads: right results for any number of them, the same bits from run to run, and nothing that hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl
from minidl import nn
from minidl.backend.cpu import CpuBackend, matmul, threads
from minidl.backend.cpu.compiled import without
from minidl.backend.cpu.workspace import workspace
from minidl.nn import functional as F
from tests.processes import python


@pytest.fixture(autouse=True)
def usual_count():
    before = minidl.get_num_threads()
    yield
    minidl.set_num_threads(before)


def gradients(seed: int = 0, smooth: bool = False) -> list[np.ndarray]:
    """Of a small network of every kind of layer that shares its work, large enough that it does.

    A ``smooth`` one has no limits, at which a last bit could decide whether a gradient passes or not.
    """
    minidl.manual_seed(seed)
    first, second, pool = (
        (nn.Tanh(), nn.Sigmoid(), nn.AvgPool2d(2)) if smooth else (nn.ReLU(), nn.ReLU6(), nn.MaxPool2d(2))
    )
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), first, nn.Conv2d(16, 64, 3, padding=1), second,
        pool, nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 64, 3, groups=64), nn.Flatten(),
        nn.Linear(64 * 6 * 6, 10),
    )  # fmt: skip
    x = minidl.randn(24, 3, 16, 16)
    F.cross_entropy(model(x), minidl.randint(0, 10, (24,))).backward()
    return [p.grad.numpy().copy() for p in model.parameters()]


@given(
    st.integers(0, 500), st.integers(1, 50), st.integers(1, 5), st.integers(1, 9), st.sampled_from([0, 0.5, 7, 30, 999])
)
def test_spans_cover_everything_once(length, least, pieces, count, ahead):
    minidl.set_num_threads(count)
    spans = threads.spans(length, least, pieces, ahead)
    assert [i for a, b in spans for i in range(a, b)] == list(range(length))
    assert len(spans) == threads.count_parts(length, least, pieces) <= max(1, count * pieces)
    first, *others = [b - a for a, b in spans]
    if others:
        assert min(others) >= least and max(others) - min(others) <= 1
        assert -1 <= first - max(others) - min(int(ahead), length // len(spans) // 2) <= 1 or min(others) == least


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_results_do_not_depend_on_the_number_of_threads_beyond_rounding(count):
    minidl.set_num_threads(1)
    expected = gradients(smooth=True)
    minidl.set_num_threads(count)
    for a, b in zip(gradients(smooth=True), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max())
    for a, b in zip(gradients(), gradients(), strict=True):
        np.testing.assert_array_equal(a, b)  # and the same bits again


@pytest.mark.parametrize("kernels", ["compiled", "NumPy"])
def test_limits_and_pooling_give_the_same_bits_for_any_number_of_threads(kernels):
    rng = np.random.default_rng(0)
    data, cotangent = rng.standard_normal((2, 9, 40, 30, 20), dtype=np.float32)

    def results(count):
        minidl.set_num_threads(count)
        found = []
        for function in (F.relu, F.relu6, lambda x: F.max_pool2d(x, 3, 2, 1), lambda x: x + x):
            x = minidl.tensor(data, requires_grad=True)
            y = function(x)
            y.backward(minidl.tensor(cotangent.reshape(-1)[: y.numel()].reshape(y.shape)))
            found += [y.detach().numpy(), x.grad.numpy()]
        return found

    with without() if kernels == "NumPy" else nullcontext():
        expected = results(1)
        for count in (2, 3, 4):
            for a, b in zip(results(count), expected, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_numpy_alone_computes_the_same(count):
    minidl.set_num_threads(count)
    expected = gradients(smooth=True)
    with without():
        actual, once, again = gradients(smooth=True), gradients(), gradients()
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max())
    for a, b in zip(once, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_several_threads_may_call_the_engine_at_once():
    expected = [gradients(seed) for seed in range(4)]
    found: list[object] = [None] * 4
    lock = threading.Lock()

    def call(seed):
        # manual_seed is one for all threads, so the drawing is done one after the other, the computing at once
        rng = np.random.default_rng(seed)
        x, w = (minidl.tensor(rng.standard_normal(s, dtype=np.float32)) for s in ((16, 16, 20, 20), (32, 16, 3, 3)))
        w.requires_grad_()
        F.conv2d(x, w, padding=1).sum().backward()
        with lock:
            found[seed] = w.grad.numpy()

    alone = []
    for seed in range(4):
        call(seed)
        alone.append(found[seed])
    workers = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()
    for a, b in zip(found, alone, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(expected) == 4
    for seed, gradient in enumerate(expected):  # and the engine is as it was
        for a, b in zip(gradients(seed), gradient, strict=True):
            np.testing.assert_array_equal(a, b)


def test_an_error_in_a_part_reaches_the_caller_and_the_pool_goes_on():
    minidl.set_num_threads(3)

    def part(i):
        if i == 5:
            raise ValueError("part 5")
        return i

    for _ in range(20):
        with pytest.raises(ValueError, match="part 5"):
            threads.share(part, range(8))
        assert threads.share(lambda i: i * i, range(8)) == [i * i for i in range(8)]


def test_a_part_that_shares_its_own_work_does_it_alone():
    minidl.set_num_threads(2)
    assert threads.share(lambda i: sum(threads.share(lambda j: j, range(i))), range(6)) == [0, 0, 1, 3, 6, 10]


def test_scratch_memory_is_used_again_and_no_thread_gets_that_of_another():
    small = workspace("test", (3, 5), np.float32)
    small[...] = 7
    assert small.flags.c_contiguous and small.ctypes.data % 64 == 0
    assert workspace("test", (3, 5), np.float32) is small and workspace("test other", (3, 5), np.float32) is not small
    assert (workspace("test", (15,), np.float32) == 7).all() and workspace("test", (2, 5), np.float64).shape == (2, 5)
    large = workspace("test", (1000,), np.float32)  # there is not enough
    large[...] = 8
    assert (workspace("test", (3, 5), np.float32) == 8).all() and (small == 7).all()
    alive = weakref.ref(small)
    del small
    assert alive() is None, "the smaller memory is kept by nobody else"
    for n in range(2000):  # one for each size of a batch, say
        assert workspace("test", (n,), np.uint8).shape == (n,)
    found: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: found.append(workspace("test", (1000,), np.float32)))
    thread.start()
    thread.join()
    assert not np.shares_memory(found[0], large)


@pytest.mark.parametrize(
    "shape",
    [(64, 400, 600), (600, 400, 64), (1, 4000, 2000), (2000, 4000, 1), (300, 300, 300), (600, 100, 700)],
    ids=str,
)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_product_by_blas_is_cut_where_it_is_long(shape, biased, count, monkeypatch):
    rows, inner, columns = shape
    rng = np.random.default_rng(0)
    a, b, bias = (
        rng.standard_normal((rows, inner)),
        rng.standard_normal((columns, inner)).T,
        rng.standard_normal(columns),
    )
    cut, alone = [], []
    share = matmul.share

    def watch(function, parts):
        cut.append(len(parts))
        alone.append(threads.single_blas.inside)
        return share(function, parts)

    monkeypatch.setattr(matmul, "share", watch)
    minidl.set_num_threads(count)
    y = CpuBackend().matmul(a, b, bias if biased else None)
    np.testing.assert_allclose(y, a @ b + (bias if biased else 0), rtol=1e-10, atol=1e-10)
    assert cut == [count] and alone == [1]
    assert (CpuBackend().matmul(a, b, bias if biased else None, "relu") == np.maximum(y, 0)).all()


def test_blas_is_held_to_one_thread_and_let_go_again():
    libraries = threads.single_blas.find()
    before = [lib.get_num_threads() for lib in libraries]
    with threads.single_blas, threads.single_blas:
        assert all(lib.get_num_threads() == 1 for lib in libraries)
    assert [lib.get_num_threads() for lib in libraries] == before


def test_whichever_thread_leaves_last_lets_blas_go():
    """Not only the thread that limited it first."""
    libraries = threads.single_blas.find()
    before = [lib.get_num_threads() for lib in libraries]
    entered, leave, left, end = (threading.Event() for _ in range(4))

    def other():
        with threads.single_blas:
            entered.set()
            leave.wait(60)
        left.set()
        end.wait(60)

    worker = threading.Thread(target=other)
    worker.start()
    entered.wait(60)
    with threads.single_blas:
        leave.set()
        left.wait(60)
        assert all(lib.get_num_threads() == 1 for lib in libraries)
    assert [lib.get_num_threads() for lib in libraries] == before  # while the first one lives
    with threads.single_blas:
        assert all(lib.get_num_threads() == 1 for lib in libraries)
    end.set()
    worker.join()
    assert [lib.get_num_threads() for lib in libraries] == before


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", True, None])
def test_a_number_of_threads_that_is_none(count):
    with pytest.raises(ValueError, match="positive whole number"):
        minidl.set_num_threads(count)


# -- in processes of their own -----------------------------------------------------------------------------------------

HEAD = "import os, sys\nimport numpy as np\nimport minidl\nfrom tests.test_threads import gradients\n"


def run(code: str, **environment: str) -> str:
    return python(HEAD + code, 120, **environment).stdout.strip()


def test_the_environment_sets_the_number():
    assert run("print(minidl.get_num_threads())", MINIDL_NUM_THREADS="3") == "3"


def test_a_bad_number_in_the_environment_is_refused():
    done = subprocess.run(
        [sys.executable, "-c", "import minidl"],
        env={**os.environ, "MINIDL_NUM_THREADS": "two"},
        capture_output=True,
        text=True,
    )
    assert done.returncode and "MINIDL_NUM_THREADS must be a positive whole number, got 'two'" in done.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot limit a process to a core")
def test_a_process_limited_to_one_core():
    code = "a = gradients(); print(minidl.get_num_threads(), float(sum(np.abs(g).sum() for g in a)) > 0)"
    limit = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\n"
    environment = {k: v for k, v in os.environ.items() if k != "MINIDL_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", limit + HEAD + code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "1 True", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_computes_too():
    """The child has none of the parent's threads; also not when another thread was computing during the fork."""
    code = """
import threading, time
expected = gradients()
stop = False
def busy():
    x = minidl.randn(16, 16, 24, 24); w = minidl.randn(16, 16, 3, 3)
    while not stop:
        minidl.nn.functional.conv2d(x, w, padding=1)
worker = threading.Thread(target=busy); worker.start()
time.sleep(0.1)
for _ in range(3):
    child = os.fork()
    if child == 0:
        same = all(np.array_equal(a, b) for a, b in zip(gradients(), expected))
        os._exit(0 if same else 3)
    for _ in range(600):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    else:
        os.kill(child, 9); stop = True; worker.join(); sys.exit("the child hangs")
    assert os.waitstatus_to_exitcode(status) == 0, status
stop = True; worker.join()
print("right")
"""
    assert run(code) == "right"


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise on Windows")
def test_ctrl_c_ends_a_computation_and_leaves_the_engine_usable():
    code = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
gradients()
print("go", flush=True)
try:
    while True:
        gradients()
except KeyboardInterrupt:
    a, b = gradients(), gradients()
    print("interrupted", all(np.array_equal(x, y) for x, y in zip(a, b)))
"""
    process = subprocess.Popen([sys.executable, "-c", HEAD + code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline().strip() == "go"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0].strip() == "interrupted True"
