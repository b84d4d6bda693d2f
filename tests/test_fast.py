"""The compiled kernels: what they round, who picks them, when they are compiled, and what happens without them."""

from __future__ import annotations

import gc
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl
from minidl import backend
from minidl.backend import Backend, backend_for
from minidl.backend.cpu import layout
from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.cpu.conv import select
from minidl.nn import functional as F
from minidl.ops.samples import Draw
from tests.drawing import Hypothesis

cpu, reference = backend_for("cpu"), Backend("cpu", np, np.ndarray)
compiled = pytest.mark.skipif(fast_kernels() is None, reason="no compiled kernels here")
PACKAGE = Path(minidl.__file__).parent


def error(actual: Any, expected: Any) -> float:
    """Relative to the norm of what was expected."""
    return float(np.linalg.norm(actual - expected) / (np.linalg.norm(expected) or 1.0))


def picks(function: Any) -> set[str]:
    return {choice.picked for choice in backend.explain(function).choices}


# -- convolution -------------------------------------------------------------------------------------------------------


@compiled
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_winograd_errs_by_less_than_a_hundred_thousandth(data: st.DataObject) -> None:
    """Forward and both gradients, on any size and border; against float64, relative to the norm."""
    draw = Draw(Hypothesis(data))
    rng = draw.generator()
    r = draw.choice([3, 3, 5])
    c, o = draw.choice([16, 32, 64, 128]), draw.choice([16, 48, 64, 128])
    padding = (draw.integer(0, r - 1), draw.integer(0, r - 1))
    size = [r + draw.integer(0, 14) for _ in range(2)]
    n = draw.choice([1, 2, 7])
    x, w = rng.standard_normal((n, c, *size)), rng.standard_normal((o, c, r, r))
    x += draw.choice([0.0, 1.0])
    geometry = (1, 1), tuple((p, p) for p in padding), (1, 1), 1
    y = reference.conv2d(x, w, *geometry)
    g = rng.standard_normal(y.shape)
    before = select.DIRECT_PRODUCT
    select.DIRECT_PRODUCT = 0  # so that few channels too come here
    select.choose.cache_clear()
    try:
        x32, w32, g32 = (a.astype(np.float32) for a in (x, w, g))
        names = picks(lambda: cpu.conv2d(x32, w32, *geometry))
        assert len(names) == 1 and names.pop().startswith("winograd")
        assert error(cpu.conv2d(x32, w32, *geometry), y) < 1e-5
        dx = reference.conv2d_input_grad(g, w, tuple(size), *geometry)
        assert error(cpu.conv2d_input_grad(g32, w32, tuple(size), *geometry), dx) < 1e-5
        dw = reference.conv2d_weight_grad(g, x, (r, r), *geometry)
        assert error(cpu.conv2d_weight_grad(g32, x32, (r, r), *geometry), dw) < 1e-5
    finally:
        select.DIRECT_PRODUCT = before
        select.choose.cache_clear()


@compiled
@pytest.mark.parametrize(
    "shape", [(2, 64, 8, 8), (3, 3, 40, 41), (5, 40, 7, 9), (1, 17, 1, 300), (9, 500, 1, 1)], ids=str
)
@pytest.mark.parametrize("threads", [1, 3])
def test_images_are_turned(shape: tuple[int, ...], threads: int) -> None:
    """From channels first to channels last and back, bit for bit; what can be a view is one."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    before = minidl.get_num_threads()
    minidl.set_num_threads(threads)
    try:
        last = layout.nhwc(x)
        assert last.flags.c_contiguous
        np.testing.assert_array_equal(last, x.transpose(0, 2, 3, 1))
        images = last.transpose(0, 3, 1, 2)
        for target in (len(x), x[0].size), (len(x), -1):
            np.testing.assert_array_equal(cpu.reshaped(images, target), x.reshape(target))
        if min(shape[1], shape[2] * shape[3]) > 1:
            assert layout.in_rows(images).flags.c_contiguous and layout.in_rows(x) is None
        view = cpu.reshaped(images, (*shape[:2], -1))
        assert np.shares_memory(view, images) and np.array_equal(view, x.reshape(view.shape))
    finally:
        minidl.set_num_threads(before)


@compiled
@pytest.mark.parametrize("shape", [(1, 1), (7, 16), (3, 5, 17), (130, 2, 40), (2, 20_001), (4000, 3)], ids=str)
@pytest.mark.parametrize("affine", ["both", "weight", "bias", "none"])
def test_rows_are_normalized(shape: tuple[int, ...], affine: str) -> None:
    """Layer norm over the last axis and over all but the first, in both precisions, far from 0 too."""
    rng = np.random.default_rng(0)
    for axes in {(len(shape) - 1,), tuple(range(1, len(shape)))}:
        x, g = 2 * rng.standard_normal(shape) + 30, rng.standard_normal(shape)
        row = shape[axes[0] :]
        weight = rng.standard_normal(row) if affine in ("both", "weight") else None
        bias = rng.standard_normal(row) if affine in ("both", "bias") else None
        y, mean, invstd = reference.normalize_batch(x, weight, bias, axes, 0.1)
        grads = reference.normalize_grad(g, x, weight, mean, invstd, axes, row, row, row)
        for dtype, bound in (np.float32, 1e-5), (np.float64, 1e-12):
            xs, gs, ws, bs = (None if a is None else a.astype(dtype) for a in (x, g, weight, bias))
            results = cpu.normalize_batch(xs, ws, bs, axes, 0.1)
            back = cpu.normalize_grad(gs, xs, ws, *results[1:], axes, row, row, row)
            for a, b in zip((*results, *back), (y, mean, invstd, *grads), strict=True):
                assert a.dtype == dtype and a.shape == b.shape and error(a, b) < bound


@compiled
@pytest.mark.parametrize("shape", [(3, 5), (60, 100), (2, 3, 1, 2), (8, 16, 9, 7), (4, 600)], ids=str)
def test_running_statistics_follow_those_of_the_batch(shape: tuple[int, ...]) -> None:
    """Few rows, whose variance depends on the divisor, and many; rows of several positions, and wide ones."""
    rng = np.random.default_rng(0)
    for dtype, bound in (np.float32, 1e-6), (np.float64, 1e-14):
        x = rng.standard_normal((shape[0], *shape[2:], shape[1])).astype(dtype)
        x = x if x.ndim == 2 else x.transpose(0, 3, 1, 2)
        ours = rng.standard_normal(shape[1]).astype(dtype), rng.random(shape[1]).astype(dtype), 0.3
        theirs = ours[0].astype(float), ours[1].astype(float), 0.3
        axes = (0, *range(2, x.ndim))
        results = cpu.normalize_batch(x, None, None, axes, 0.1, ours)
        expected = reference.normalize_batch(x.astype(float), None, None, axes, 0.1, theirs)
        for a, b in zip((*results, *ours[:2]), (*expected, *theirs[:2]), strict=True):
            assert a.dtype == dtype and error(a, b) < bound


@compiled
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_algorithm_computes_the_convolution(data: st.DataObject) -> None:
    """Sizes, channels, strides and groups of real networks, in both precisions, with and without a bias."""
    draw = Draw(Hypothesis(data))
    rng = draw.generator()
    dtype = draw.choice([np.float32, np.float32, np.float64])
    depthwise = draw.integer(0, 3) == 0
    c = draw.choice([1, 3, 8, 16, 24, 32, 64])
    o = c if depthwise else draw.choice([5, 8, 16, 24, 32, 64])
    groups = c if depthwise else 1
    k = draw.choice([1, 3, 3, 5, 7])
    stride = (draw.integer(1, 2), draw.integer(1, 2))
    dilation = (draw.integer(1, 2),) * 2 if draw.integer(0, 3) == 0 else (1, 1)
    padding = tuple((draw.integer(0, k // 2 + 1), draw.integer(0, k // 2)) for _ in range(2))
    size = tuple(max(1, dilation[0] * (k - 1) + 1 + draw.integer(0, 18) - sum(p)) for p in padding)
    if any(n + sum(p) < dilation[0] * (k - 1) + 1 for n, p in zip(size, padding, strict=True)):
        return
    n = draw.choice([1, 2, 5])
    x, w = rng.standard_normal((n, c, *size)), rng.standard_normal((o, c // groups, k, k))
    bias = rng.standard_normal(o) if draw.flag() else None
    geometry = stride, padding, dilation, groups
    y = reference.conv2d(x, w, *geometry, bias)
    g = rng.standard_normal(y.shape)
    if draw.flag():  # channels-last, as it comes from another convolution
        x, g = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for a in (x, g))
    xs, ws, gs = (a.astype(dtype) for a in (x, w, g))
    limit = 1e-5 if dtype is np.float32 else 1e-13
    assert error(cpu.conv2d(xs, ws, *geometry, None if bias is None else bias.astype(dtype)), y) < limit
    dx = reference.conv2d_input_grad(g, w, size, *geometry)
    assert error(cpu.conv2d_input_grad(gs, ws, size, *geometry), dx) < limit
    dw = reference.conv2d_weight_grad(g, x, (k, k), *geometry)
    assert error(cpu.conv2d_weight_grad(gs, xs, (k, k), *geometry), dw) < limit


@compiled
@settings(max_examples=150, deadline=None)
@given(
    c=st.sampled_from([16, 32, 48, 17, 40, 8, 1, 27]), kernel=st.sampled_from([(3, 3)] * 3 + [(5, 5), (2, 7), (1, 4), (6, 1)]),
    stride=st.tuples(*[st.integers(1, 3)] * 2), dilation=st.tuples(*[st.integers(1, 3)] * 2),
    padding=st.tuples(*[st.tuples(*[st.integers(0, 4)] * 2)] * 2), more=st.tuples(*[st.integers(0, 9)] * 2),
    threads=st.integers(1, 3), seed=st.integers(0, 99),
)  # fmt: skip
def test_depthwise_convolution_some_pixels_at_a_time(
    c, kernel, stride, dilation, padding, more, threads, seed
) -> None:  # fmt: skip
    """All pixels, some and none with all taps inside; a NaN reaches the pixels that see it and no others."""
    rng = np.random.default_rng(seed)
    around = zip(kernel, dilation, padding, more, strict=True)
    size = tuple(max(1, (k - 1) * d + 1 - sum(p) + m) for k, d, p, m in around)
    n = 3
    x, w, bias = rng.standard_normal((n, c, *size)), rng.standard_normal((c, 1, *kernel)), rng.standard_normal(c)
    geometry = stride, padding, dilation, c
    y = reference.conv2d(x, w, *geometry, bias)
    g = rng.standard_normal(y.shape)
    xs, ws, gs, bs = (a.astype(np.float32) for a in (x, w, g, bias))
    dw = reference.conv2d_weight_grad(g, x, kernel, *geometry)
    before = minidl.get_num_threads()
    minidl.set_num_threads(threads)
    try:
        assert error(cpu.conv2d(xs, ws, *geometry, bs), y) < 1e-6
        assert error(cpu.conv2d_weight_grad(gs, xs, kernel, *geometry), dw) < 1e-6
        dx = reference.conv2d_input_grad(g, w, size, *geometry)
        assert error(cpu.conv2d_input_grad(gs, ws, size, *geometry), dx) < 1e-6
        xs[1, c // 2, size[0] // 2, size[1] // 2] = np.nan
        seen = np.isnan(reference.conv2d(xs, ws, *geometry, bs))
        assert np.array_equal(np.isnan(cpu.conv2d(xs, ws, *geometry, bs)), seen)
    finally:
        minidl.set_num_threads(before)


@compiled
def test_columns_that_do_not_fill_their_strips_get_room() -> None:
    """Also where as many columns as the strips have happen to be a window's size."""
    rng = np.random.default_rng(0)
    for c, o, k in ((32, 24, 1), (24, 32, 1), (32, 20, 1), (16, 30, 1), (16, 40, 2), (12, 40, 2), (4, 30, 3)):
        x, w = rng.standard_normal((3, c, 9, 11), dtype=np.float32), rng.standard_normal((o, c, k, k), dtype=np.float32)
        geometry = (1, 1), ((0, 0), (0, 0)), (2, 2) if k > 1 else (1, 1), 1
        for _ in range(5):
            y = cpu.conv2d(x, w, *geometry)
            dx = cpu.conv2d_input_grad(y, w, (9, 11), *geometry)
            dw = cpu.conv2d_weight_grad(y, x, (k, k), *geometry)
        assert error(y, reference.conv2d(x, w, *geometry)) < 1e-5
        assert error(dx, reference.conv2d_input_grad(y, w, (9, 11), *geometry)) < 1e-5
        assert error(dw, reference.conv2d_weight_grad(y, x, (k, k), *geometry)) < 1e-5


@compiled
def test_who_is_picked() -> None:
    def conv(c: int, o: int, k: int = 3, dtype: Any = None, **options: Any) -> str:
        x = minidl.zeros(16, c, 16, 16, dtype=dtype)
        w = minidl.zeros(o, c // options.get("groups", 1), k, k, dtype=dtype)
        (choice,) = backend.explain(lambda: F.conv2d(x, w, **options)).choices
        assert choice.kernel == "conv2d" and choice.because
        return choice.picked

    assert conv(64, 64, padding=1) == "winograd F(4×4, 3×3)"
    assert conv(64, 64, 5, padding=2) == "winograd F(2×2, 5×5)"
    assert conv(16, 16, padding=1) == "direct"
    assert conv(3, 64, 7, stride=2, padding=3) == "direct"
    assert conv(64, 64, 1) == "im2col"
    assert conv(32, 32, groups=32) == "depthwise"
    assert conv(64, 64, padding=1, dtype=minidl.float64) == "im2col"  # never Winograd
    backend.use_winograd(False)
    try:
        assert "winograd" not in conv(256, 256, padding=1)
    finally:
        backend.use_winograd(True)
    table = str(backend.explain(F.conv2d, minidl.zeros(16, 64, 16, 16), minidl.zeros(64, 64, 3, 3)))
    assert "16×64×16×16 by 64×64×3×3, stride 1" in table and "winograd F(4×4, 3×3)" in table
    assert "no kernel" in str(backend.explain(lambda: None))


# -- with Numba missing, old, broken, or its cache cold ----------------------------------------------------------------

STEP = """
import sys, time
import numpy as np
import minidl
from minidl import nn
from minidl.nn import functional as F
minidl.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10))
loss = F.cross_entropy(model(minidl.randn(8, 3, 8, 8)), minidl.randint(0, 10, (8,)))
loss.backward()
print(f"{loss.item():.5f}")
minidl.show_config()
"""


def run(code: str, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    lead = f"import sys; sys.path.insert(0, {str(path)!r})\n" if path else ""
    done = subprocess.run(
        [sys.executable, "-c", lead + code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done


EXPECTED: list[str] = []


def usual_loss() -> str:
    if not EXPECTED:
        EXPECTED.append(run(STEP).stdout.split()[0])
    return EXPECTED[0]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "raise ImportError('No module named numba', name='numba')",
            "Numba is not installed (pip install 'minidl[fast]')",
        ),
        ("__version__ = '0.43.1'", "Numba 0.43.1 is too old, 0.61 is needed"),
        ("raise OSError('libLLVM is gone')", "Numba cannot be imported (OSError: libLLVM is gone)"),
        ("__version__ = '0.70.0'\nclass config: DISABLE_JIT = 0", "Numba 0.70.0 cannot compile here"),
    ],
)
def test_without_a_numba_that_works_numpy_serves_and_says_so_when_asked(
    source: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "numba.py").write_text(source)
    done = run(STEP, tmp_path)
    assert done.stderr == ""  # not unasked
    assert abs(float(done.stdout.split()[0]) - float(usual_loss())) < 1e-4
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("compiled kernels")]
    assert "off: " in line and reason in line


def test_the_switch_turns_the_compiled_kernels_off() -> None:
    assert "off: MINIDL_FAST=0" in run(STEP, MINIDL_FAST="0").stdout


@compiled
def test_a_cold_cache_is_announced_once_and_a_warm_one_is_silent(tmp_path: Path) -> None:
    cold = run(STEP, NUMBA_CACHE_DIR=str(tmp_path))
    assert cold.stderr.count("minidl: compiling kernels") == 1 == len(cold.stderr.splitlines())
    assert list(tmp_path.rglob("*.nbc"))
    assert run(STEP, NUMBA_CACHE_DIR=str(tmp_path)).stderr == ""


ONE_PIECE = """
import itertools
import numpy as np
from numba.core.bytecode import FunctionIdentity
from minidl.backend import backend_for
from minidl.backend.cpu.compiled import fast_kernels
fast_kernels()
cpu, x = backend_for("cpu"), np.linspace(-3, 3, 5000, dtype=np.float32)
assert hasattr(FunctionIdentity, "_unique_ids")
FunctionIdentity._unique_ids = itertools.count(1000)  # as if both processes had compiled as many functions before
"""


@compiled
def test_pieces_that_two_processes_compiled_are_not_taken_for_each_other(tmp_path: Path) -> None:
    """Both kernels have a body made by ``elementwise.each``, with arguments of the same types."""
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "MINIDL_COMPILE_AHEAD": "0"}
    run(ONE_PIECE + "cpu.relu(x)", **environment)
    run(ONE_PIECE + "cpu.sigmoid(x)", **environment)
    both = "print(np.abs(cpu.relu(x) - np.maximum(x, 0)).max(), np.abs(cpu.sigmoid(x) - 1 / (1 + np.exp(-x))).max())"
    assert all(float(error) < 1e-6 for error in run(ONE_PIECE + both, **environment).stdout.split())


@compiled
def test_machine_code_from_disk_needs_no_compiler(tmp_path: Path) -> None:
    """What Numba knows of Python and NumPy takes half a second to import: it is only needed to compile."""
    code = ONE_PIECE + "print('numba.np.arraymath' in __import__('sys').modules, cpu.relu(x).sum() > 0)"
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "MINIDL_COMPILE_AHEAD": "0"}
    assert run(code, **environment).stdout.split() == ["True", "True"]
    assert run(code, **environment).stdout.split() == ["False", "True"]


@compiled
@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_rests_while_a_kernel_is_compiled(enabled: bool) -> None:
    """And then does as before, also if the compiler fails."""
    import numba
    from numba.core import event

    class Listener(event.Listener):
        seen: ClassVar[list[bool]] = []

        def on_start(self, event: Any) -> None:
            self.seen.append(gc.isenabled())

        def on_end(self, event: Any) -> None:
            pass

    listener = Listener()
    event.register("numba:compile", listener)
    try:
        if not enabled:
            gc.disable()
        piece = numba.njit(lambda x: x + 1)
        assert numba.njit(lambda x: piece(x) * 2)(1) == 4
        assert gc.isenabled() == enabled
        with pytest.raises(numba.TypingError):
            numba.njit(lambda x: x.nothing_of_that_name)(1)
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
        event.unregister("numba:compile", listener)
    assert listener.seen == [False] * 3


@compiled
def test_what_kernels_call_by_name_is_compiled_anew_when_any_file_changes() -> None:
    """Numba itself would only ask for the file that it stands in, and not for those that it is made of."""
    from minidl.backend.cpu.fast import jit

    assert len(jit._kept) >= 3
    for compiled in jit._kept:
        assert compiled._cache._cache_file._source_stamp == jit._STAMP


@compiled
def test_a_piece_needs_a_name_of_its_own() -> None:
    from minidl.backend.cpu.fast.jit import inner

    def twice(k: int) -> Any:
        return inner(lambda x: k * x, str(k))

    twice(2), twice(3)
    with pytest.raises(ValueError, match="there is a piece .*<lambda>_3 already"):
        twice(3)


RESNET_STEP = """
from numba.core import event
class Listener(event.Listener):
    depth = 0
    def on_start(self, event):
        self.depth += 1
        if self.depth == 1:
            print(event.data["dispatcher"].py_func.__name__)
    def on_end(self, event):
        self.depth -= 1
event.register("numba:compile", Listener())
from benchmarks.worker import make_step
make_step("minidl", "ResNet-20", "train")()
"""


@compiled
def test_a_second_process_compiles_what_the_first_one_needs_last(tmp_path: Path) -> None:
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "MINIDL_COMPILE_AHEAD": "0"}
    run("import runpy; runpy.run_module('minidl.backend.cpu.ahead', run_name='__main__')", **environment)
    here = run(RESNET_STEP, Path(__file__).parents[1], **environment).stdout.split()
    # All else was there, and no more than that.
    assert here == ["turn", "direct_conv", "normalize_batch", "relu", "add"]


@compiled
def test_the_second_process_is_started_where_it_helps_and_ends_with_the_first(tmp_path: Path) -> None:
    code = """
from minidl.backend.cpu import ahead, compiled
started = []
start = ahead.start
ahead.start = lambda: started.append(start())
compiled.fast_kernels()
process = started[0] if started else None
print("no" if process is None else process.pid, process is None or process.poll())
"""
    cold = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert run(code, **cold, MINIDL_COMPILE_AHEAD="0").stdout.split()[0] == "no"
    if len(os.sched_getaffinity(0)) > 1 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) > 1:
        pid, state = run(code, **cold, MINIDL_COMPILE_AHEAD="1").stdout.split()
        assert pid.isdecimal() and state == "None"  # it was running …
        if os.name == "posix":
            with pytest.raises(ProcessLookupError):  # … and is no more
                os.kill(int(pid), 0)
    assert run(code, MINIDL_COMPILE_AHEAD="1").stdout.split()[0] == "no" or not warm()


def warm() -> bool:
    """Whether this installation has compiled an optimizer's kernel, so that nothing needs to be compiled ahead."""
    fast = fast_kernels()
    return fast is not None and fast.is_kept(fast.sgd_update)


@compiled
def test_a_change_in_any_file_compiles_again_what_holds_its_code(tmp_path: Path) -> None:
    """The kernel is in ``norm.py``, the change in ``team.py``, whose code the kernel contains."""
    site, environment = tmp_path / "site", {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "MINIDL_COMPILE_AHEAD": "0"}
    shutil.copytree(PACKAGE, site / "minidl", ignore=shutil.ignore_patterns("__pycache__"))
    code = """
import numpy as np
from minidl.backend import backend_for
x, one = np.ones((60, 20), np.float32), np.ones((1, 20), np.float32)
backend_for("cpu").normalize_batch(x, one, one, (0,), 1e-5)
"""
    assert "compiling" in run(code, site, **environment).stderr
    assert run(code, site, **environment).stderr == ""
    changed = site / "minidl" / "backend" / "cpu" / "fast" / "team.py"
    changed.write_text(changed.read_text() + "\n# changed\n")
    assert "compiling" in run(code, site, **environment).stderr


@compiled
def test_a_numba_that_is_not_known_yet_compiles_pieces_by_itself(tmp_path: Path) -> None:
    """Ours are linked without machine code of their own, which takes less time, and knows Numba's inside."""
    code = """
import numba, numpy as np
if {unknown}: numba.version_info = numba.version_info._replace(short=(99, 0))
from minidl.backend.cpu.fast import elementwise, jit
from minidl.backend.cpu.threads import team
x = np.arange(-3, 4, dtype=np.float32)
elementwise.relu(team(len(x)), x, x)
print(x.tolist(), "pipeline_class" in jit._PIECES)
(piece,) = elementwise.above_zero.overloads.values()
print(bool(piece.library._codegen._engine.is_symbol_defined(piece.fndesc.llvm_func_name)))
"""
    for unknown in False, True:
        environment = {"NUMBA_CACHE_DIR": str(tmp_path / str(unknown)), "MINIDL_COMPILE_AHEAD": "0"}
        done = run(code.format(unknown=unknown), **environment)
        assert done.stdout.split("\n")[:2] == [f"[0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0] {not unknown}", str(unknown)]


@compiled
def test_processes_that_fill_the_cache_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "MINIDL_COMPILE_AHEAD": "0"}
    code = ONE_PIECE + "print(cpu.relu(x).sum(), cpu.sigmoid(x).sum(), cpu.add(x, x).sum())"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in processes:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert out == run(code).stdout
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path)).stderr == ""


@compiled
@pytest.mark.skipif(sys.platform == "win32", reason="folders are made read-only otherwise on Windows")
def test_a_read_only_installation_keeps_its_cache_with_the_user(tmp_path: Path) -> None:
    """As root every folder can be written, so the copy's ``__pycache__`` is a file there: no cache fits beside the source."""
    site, home = tmp_path / "site", tmp_path / "home"
    shutil.copytree(PACKAGE, site / "minidl", ignore=shutil.ignore_patterns("__pycache__"))
    home.mkdir()
    blocked = [path for path in site.rglob("*") if path.is_dir()]
    for folder in blocked:
        (folder / "__pycache__").write_text("")
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    environment = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"MINIDL_COMPILE_AHEAD": "0"}
    try:
        code = ONE_PIECE + "print(cpu.relu(x).sum())"
        first = run(code, site, **environment)
        assert "compiling" in first.stderr and first.stdout == run(code).stdout
        assert run(code, site, **environment).stderr == ""
        assert list(home.rglob("*.nbc"))
    finally:
        for folder in blocked:
            folder.chmod(stat.S_IRWXU)
