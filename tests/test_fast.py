"""The compiled kernels: what they round, and who picks them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    common = [n for n in range(2, c + 1) if c % n == o % n == 0]
    groups = c if depthwise else draw.choice(common) if common and draw.flag() else 1
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
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize(
    "sizes", [(64, 64, 4), (32, 64, 8), (40, 80, 5), (128, 96, 32), (12, 24, 12), (66, 33, 3)], ids=str
)
def test_groups_of_channels(sizes: tuple[int, int, int], k: int, dtype: Any) -> None:
    """Several pieces of one group or of some, narrower and wider than a vector."""
    c, o, groups = sizes
    rng = np.random.default_rng(0)
    x, w, bias = (rng.standard_normal(s) for s in ((3, c, 9, 10), (o, c // groups, k, k), (o,)))
    geometry = (1, 1), ((k // 2, 0), (1, k // 2)), (1, 1), groups
    y = reference.conv2d(x, w, *geometry, bias)
    g = rng.standard_normal(y.shape)
    dx, dw = (
        reference.conv2d_input_grad(g, w, x.shape[2:], *geometry), reference.conv2d_weight_grad(g, x, (k, k), *geometry)
    )  # fmt: skip
    xs, ws, gs, bs = (a.astype(dtype) for a in (x, w, g, bias))
    limit = 1e-5 if dtype is np.float32 else 1e-13
    assert error(cpu.conv2d(xs, ws, *geometry, bs), y) < limit
    assert error(cpu.conv2d_input_grad(gs, ws, x.shape[2:], *geometry), dx) < limit
    assert error(cpu.conv2d_weight_grad(gs, xs, (k, k), *geometry), dw) < limit


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
    assert conv(32, 64, groups=32) == conv(64, 64, groups=2) == "grouped"
    assert conv(64, 64, padding=1, dtype=minidl.float64) == "im2col"  # never Winograd
    backend.use_winograd(False)
    try:
        assert "winograd" not in conv(256, 256, padding=1)
    finally:
        backend.use_winograd(True)
    table = str(backend.explain(F.conv2d, minidl.zeros(16, 64, 16, 16), minidl.zeros(64, 64, 3, 3)))
    assert "16×64×16×16 by 64×64×3×3, stride 1" in table and "winograd F(4×4, 3×3)" in table
    assert "no kernel" in str(backend.explain(lambda: None))
