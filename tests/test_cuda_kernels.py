"""The CUDA sources, compiled as C++ (``cuda_on_cpu``), where the drawn arguments of ``test_kernels.py`` seldom lead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl.backend import Backend
from minidl.backend.cuda.launch import WORK, source
from minidl.backend.reference.pool import Window
from tests.cuda_on_cpu import cuda_on_cpu, kernels

pytestmark = pytest.mark.skipif(
    not cuda_on_cpu.compiler,
    reason="needs a C++ compiler (g++ or clang++), with which the GPU's kernels are run on the CPU",
)
reference = Backend("cpu", np, np.ndarray)


def close(actual: Any, expected: Any, rtol: float = 1e-12) -> None:
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * float(np.nanmax(np.abs(b), initial=0)))


@pytest.mark.parametrize(
    "shape", [(700, 1), (901, 3), (2, 3, 23, 29), (3, 16, 9, 11), (2, 33, 23, 29), (5, 70)], ids=str
)
def test_batch_normalisation(shape: tuple[int, ...], started: set[str]) -> None:
    """Channels that fill a block and that do not, in several parts of the rows and in one, with a large mean."""
    rng = np.random.default_rng(0)
    axes = (0,) if len(shape) == 2 else (0, 2, 3)
    nhwc = shape if len(shape) == 2 else (shape[0], *shape[2:], shape[1])
    x, g = (rng.normal(size=nhwc) for _ in range(2))
    x += 1000 * rng.normal(size=shape[1])
    x, g = (t if len(shape) == 2 else t.transpose(0, 3, 1, 2) for t in (x, g))
    column = (1, shape[1]) + (1,) * (len(shape) - 2)
    weight, bias = (rng.normal(size=column) for _ in range(2))
    here, there = ((rng.normal(size=shape[1]), rng.normal(size=shape[1]) ** 2, 0.3) for _ in range(2))
    for ours, theirs in zip(here[:2], there[:2], strict=True):
        theirs[...] = ours
    y, *moments = cuda_on_cpu.normalize_batch(x, weight, bias, axes, 0.1, here)
    plain = reference.normalize_batch(x, weight, bias, axes, 0.1, there)
    np.testing.assert_allclose(y, plain[0], rtol=1e-9, atol=1e-9)  # the mean's rounding, of 1000
    close(moments, plain[1:])
    close(here[:2], there[:2])
    arguments = g, x, weight, *plain[1:], axes, column, column, column
    close(cuda_on_cpu.normalize_grad(*arguments), reference.normalize_grad(*arguments))
    vectors = weight.reshape(-1), bias.reshape(-1), plain[1].reshape(-1), there[1]
    close(cuda_on_cpu.normalize_by(x, *vectors, 0.1), reference.normalize_by(x, *vectors, 0.1))
    assert started == {
        *(
            "moment_parts",
            "moments",
            "normalize",
            "gradient_parts",
            "gradient_sums",
            "input_gradient",
            "inverse_deviation",
        )
    }


def test_windows_of_which_no_two_sizes_are_the_same(started: set[str]) -> None:
    rng = np.random.default_rng(0)
    size, kernel, stride, padding, dilation, out = (23, 17), (3, 2), (2, 3), ((4, 1), (3, 0)), (2, 3), (12, 6)
    for c in 5, 70:  # channels and taps in one block, and in several
        x = rng.normal(size=(3, c, *size)).transpose(0, 2, 3, 1)
        windows = reference.unfold_nhwc(x, kernel, stride, padding, dilation, out)
        assert windows.shape == (3, *out, *kernel, c)
        close([cuda_on_cpu.unfold_nhwc(x, kernel, stride, padding, dilation, out)], [windows])
        back = windows, size, stride, padding, dilation
        close([cuda_on_cpu.fold_nhwc(*back)], [reference.fold_nhwc(*back)])
    x, window = x.transpose(0, 3, 1, 2), Window(size, out, kernel, stride, padding, dilation)
    y, index = reference.max_pool2d(x, window)
    close(cuda_on_cpu.max_pool2d(x, window), (y, index))
    close([cuda_on_cpu.max_pool2d_scatter(y, index, window)], [reference.max_pool2d_scatter(y, index, window)])
    close([cuda_on_cpu.sum_pool2d(x, window)], [reference.sum_pool2d(x, window)])
    close([cuda_on_cpu.sum_pool2d_grad(y, window)], [reference.sum_pool2d_grad(y, window)])
    assert started == {"unfold", "fold", "max_pool", "sum_pool", "pool_back"}


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((1, 1), (1, 1), ((0, 0), (0, 0))), ((1, 1), (1, 1), ((1, 0), (0, 2))), ((1, 1), (2, 3), ((0, 0), (0, 0)))],
)
def test_pointwise_convolution(kernel: Any, stride: Any, padding: Any, started: set[str]) -> None:
    """Where every pixel is its own window no windows are made."""
    rng = np.random.default_rng(0)
    x, weight, bias = rng.normal(size=(2, 5, 7, 9)), rng.normal(size=(3, 5, *kernel)), rng.normal(size=3)
    geometry = stride, padding, (1, 1), 1
    y = reference.conv2d(x, weight, *geometry, bias)
    g = rng.normal(size=y.shape)
    close([cuda_on_cpu.conv2d(x, weight, *geometry, bias)], [y])
    back, sums = (g, weight, x.shape[2:], *geometry), (g, x, kernel, *geometry)
    close([cuda_on_cpu.conv2d_input_grad(*back)], [reference.conv2d_input_grad(*back)])
    close([cuda_on_cpu.conv2d_weight_grad(*sums)], [reference.conv2d_weight_grad(*sums)])
    is_plain = stride == (1, 1) and padding == ((0, 0), (0, 0))
    assert started == ({"add_bias"} if is_plain else {"unfold", "fold", "add_bias"})


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
def test_bias_and_relu_take_one_kernel(dtype: Any, started: set[str]) -> None:
    rng = np.random.default_rng(0)
    a, b, bias = (rng.normal(size=shape).astype(dtype) for shape in ((300, 7), (5, 7), (5,)))
    a[2, 3] = np.nan
    for more in (bias,), (bias, "relu"), (np.repeat(bias, 2)[::2], "relu"):
        close([cuda_on_cpu.matmul(a, b.T, *more)], [reference.matmul(a, b.T, *more)], rtol=5e-7)
    assert started == {"add_bias"}
    started.clear()
    close([cuda_on_cpu.matmul(a, b.T, None, "relu")], [reference.matmul(a, b.T, None, "relu")], rtol=5e-7)
    close([cuda_on_cpu.matmul(a[:0], b.T, bias, "relu")], [reference.matmul(a[:0], b.T, bias, "relu")], rtol=5e-7)
    close([cuda_on_cpu.matmul(a, b.T, bias[:1])], [reference.matmul(a, b.T, bias[:1])], rtol=5e-7)  # which broadcasts
    close([cuda_on_cpu.matmul(a[None], b.T, bias)], [reference.matmul(a[None], b.T, bias)], rtol=5e-7)
    assert started == {"relu"}
    x, weight = rng.normal(size=(2, 4, 6, 5)).astype(dtype), rng.normal(size=(4, 4, 3, 3)).astype(dtype)
    for w, groups in (weight, 1), (weight[:, :1], 4):
        for more in (None, "relu"), (bias[:4], "relu"):
            geometry = (1, 1), ((1, 1), (1, 1)), (1, 1), groups
            close([cuda_on_cpu.conv2d(x, w, *geometry, *more)], [reference.conv2d(x, w, *geometry, *more)], rtol=5e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
@pytest.mark.parametrize("shape", [(300, 70), (1, 1), (3, 5, 7, 9), (2, 33, 40, 1)], ids=str)
def test_sums_of_channels(shape: tuple[int, ...], dtype: Any, started: set[str]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(dtype) + 100
    if x.ndim == 4:
        assert started == set()
        close([cuda_on_cpu.channel_sums(x)], [reference.channel_sums(x)], rtol=5e-7)
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    close([cuda_on_cpu.channel_sums(x)], [reference.channel_sums(x)], rtol=5e-7)
    assert started == {"sum_parts", "sum_of_parts"}


def test_depthwise_convolution_of_which_no_two_sizes_are_the_same(started: set[str]) -> None:
    rng = np.random.default_rng(0)
    size, kernel, stride, padding, dilation, out = (23, 17), (3, 2), (2, 3), ((4, 1), (3, 0)), (2, 3), (12, 6)
    for n, c in (2, 5), (29, 13):  # the sum over pixels in one part, and in several
        x, g = (rng.normal(size=(n, *s, c)).transpose(0, 3, 1, 2) for s in (size, out))
        weight, bias = rng.normal(size=(c, 1, *kernel)), rng.normal(size=c)
        geometry = stride, padding, dilation, c
        for b in None, bias:
            close([cuda_on_cpu.conv2d(x, weight, *geometry, b)], [reference.conv2d(x, weight, *geometry, b)])
        back = g, weight, size, *geometry
        close([cuda_on_cpu.conv2d_input_grad(*back)], [reference.conv2d_input_grad(*back)])
        sums = g, x, kernel, *geometry
        close([cuda_on_cpu.conv2d_weight_grad(*sums)], [reference.conv2d_weight_grad(*sums)])
    assert started == {"forward", "input_grad", "weight_parts", "weight_grad"}


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (7, 3), (300, 5), (5, 1000)])
def test_cross_entropy(rows: int, columns: int, started: set[str]) -> None:
    """Fewer and more rows and classes than threads, labels that do not count, labels that are no class, no number at all."""
    rng = np.random.default_rng(0)
    x, labels = 30 * rng.normal(size=(rows, columns)), rng.integers(0, columns, rows)
    for ignored in -100, int(labels[0]), columns + 3:
        kept = np.where(rng.random(rows) < 0.3, ignored, labels)
        ours, theirs = (b.cross_entropy(x, kept, ignored) for b in (cuda_on_cpu, reference))
        close([np.asarray(ours[0]), ours[2]], [np.asarray(theirs[0]), theirs[2]])
        assert type(ours[1]) is int and ours[1] == theirs[1]
        short = cuda_on_cpu.cross_entropy(x, kept.astype("int32"), ignored)
        close([np.asarray(short[0]), short[2]], [np.asarray(theirs[0]), theirs[2]])
        for scale in np.array(0.3), 0.7:
            arguments = theirs[2], kept, ignored, scale
            close([cuda_on_cpu.cross_entropy_grad(*arguments)], [reference.cross_entropy_grad(*arguments)])
    for wrong in (columns,), (2**63 - 1,), (columns, columns + 2), (-1, columns), (-1, -3):
        bad = np.append(labels, wrong)
        with pytest.raises(IndexError, match=f"^{min(wrong) if min(wrong) < 0 else max(wrong)}$"):
            cuda_on_cpu.cross_entropy(np.zeros((len(bad), columns)), bad, -100)
    x[0, 0] = np.nan
    loss, _, p = cuda_on_cpu.cross_entropy(x, labels, -100)
    assert np.isnan(loss) and np.isnan(p[0]).all() and not np.isnan(p[1:]).any()
    assert started == {"cross_entropy_rows", "cross_entropy_total", "cross_entropy_grad"}


def elements(lie: str) -> list[Any]:
    """Two arrays of one shape: contiguous, with their channels last, or (those lie too unlike for a kernel) one of each."""
    rng = np.random.default_rng(0)
    x, g = (rng.normal(size=(3, 7, 5, 11)) for _ in range(2))
    x[0, 0, 0, :3] = 0, -0.0, np.nan
    last = [np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for a in (x, g)]
    return {"first": [x, g], "last": last, "unlike": [x, last[1]]}[lie]


@pytest.mark.parametrize("lie", ["first", "last", "unlike"])
def test_functions_of_single_elements(lie: str, started: set[str]) -> None:
    x, g = elements(lie)
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("relu", (x,)), ("hardtanh", (x, -0.5, 0.7)), ("sigmoid", (x,)), ("add", (x, g)), ("relu_grad", (g, x)),
        ("hardtanh_grad", (g, np.clip(x, -0.5, 0.7), -0.5, 0.7)), ("sigmoid_grad", (g, x)),
    ]  # fmt: skip
    for name, arguments in calls:
        ours, theirs = (getattr(b, name)(*arguments) for b in (cuda_on_cpu, reference))
        close([ours], [theirs])
        if lie != "unlike":
            assert ours.strides == arguments[0].strides, name
        if "grad" not in name and name != "add":
            out = np.empty_like(x)
            assert getattr(cuda_on_cpu, name)(*arguments, out=out) is out
            close([out], [theirs])
    close([cuda_on_cpu.add(2.0, x), cuda_on_cpu.add(x, 2.0)], [2 + x, x + 2])
    total, other = x.copy(order="K"), x.copy(order="K")
    cuda_on_cpu.add_into(total, g)
    reference.add_into(other, g)
    close([total], [other])
    assert started >= {"relu", "hardtanh", "sigmoid"}
    assert ({"add", "relu_grad", "hardtanh_grad", "sigmoid_grad"} <= started) == (lie != "unlike")


def test_a_sum_into_memory_that_it_reads_elsewhere_is_not_one_kernel(started: set[str]) -> None:
    line = np.arange(9.0)
    cuda_on_cpu.add_into(line[1:], line[:-1])
    assert line.tolist() == [0, 1, 3, 5, 7, 9, 11, 13, 15] and not started
    cuda_on_cpu.add_into(line[:4], line[4:8])  # side by side
    assert started == {"add"}
    started.clear()
    cuda_on_cpu.add_into(line[:4], line[:4])
    assert line.tolist() == [14, 20, 28, 36, 7, 9, 11, 13, 15] and started == {"add"}


def test_pieces_of_images_keep_their_channels_last() -> None:
    x, g = elements("last")
    column = np.arange(7.0).reshape(1, 7, 1, 1)
    y = cuda_on_cpu.by_pieces(lambda a, b, c: a * b + c, x, column, 2.0)
    close([y], [x * column + 2])
    assert y.strides == x.strides
    assert cuda_on_cpu.by_pieces(lambda a, b: (a, b), x, g)[1] is g
    assert cuda_on_cpu.by_pieces(lambda a: a.ndim, x[0]) == 3


@pytest.mark.parametrize("options", [
    {"lr": 0.1},
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.2},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True},
], ids=str)  # fmt: skip
def test_sgd_of_many_parameters(options: dict[str, Any], started: set[str]) -> None:
    ours, theirs = parameters(3), parameters(3)
    cuda_on_cpu.sgd_steps(*ours, **options)
    reference.sgd_steps(*theirs, **options)
    for a, b in zip(ours, theirs, strict=True):
        close(a, b)
    assert started == {"sgd"}


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("options", [
    {},
    {"weight_decay": 0.2, "maximize": True},
    {"weight_decay": 0.2, "decoupled_weight_decay": True},
], ids=str)  # fmt: skip
def test_adam_of_many_parameters(options: dict[str, Any], largest: bool, started: set[str]) -> None:
    ours, theirs = parameters(5), parameters(5)
    for arrays in ours, theirs:
        arrays[3:] = [[np.array(abs(a)) for a in column] for column in arrays[3:]]
        if largest:
            arrays[4][0][:3] = np.nan, 0, 1e9  # stays, gives way, stays
        else:
            arrays[4] = [None] * len(arrays[0])
    steps = [float(i + 1) for i in range(len(ours[0]))]
    options = {"lr": 0.1, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3} | options
    cuda_on_cpu.adam_steps(*ours, steps, **options)
    reference.adam_steps(*theirs, steps, **options)
    for a, b in zip(ours[: 5 if largest else 4], theirs, strict=False):
        close(a, b)
    assert started == {"adam"}


def parameters(count: int) -> list[list[Any]]:
    """``count`` lists of arrays of the same sizes: whole blocks, parts of one, none; the second's lie transposed."""
    rng = np.random.default_rng(0)
    shapes = [(WORK,), (WORK - 1,), (WORK + 1,), (1,), (0,), (), (3, WORK), (5, 7, 3, 2)]
    columns = [[np.array(rng.normal(size=shape)) for shape in shapes] for _ in range(count)]
    columns[1] = [np.array(a, order="F") for a in columns[1]]
    return columns


def test_which_kernels_there_are_and_which_wait() -> None:
    assert kernels(source("norm")) == {
        "moment_parts": True, "moments": True, "normalize": False, "inverse_deviation": False, "gradient_parts": True,
        "gradient_sums": True, "sum_parts": True, "sum_of_parts": True, "input_gradient": False,
    }  # fmt: skip
    assert kernels(source("loss")) == {
        "cross_entropy_rows": True, "cross_entropy_total": True, "cross_entropy_grad": False,
    }  # fmt: skip
    assert kernels(source("depthwise")) == {
        "forward": False, "input_grad": False, "weight_parts": True, "weight_grad": True,
    }  # fmt: skip
    assert kernels(source("pool")) == {"max_pool": False, "pool_back": False, "sum_pool": False}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the kernels that were started."""
    names: set[str] = set()
    plain = cuda_on_cpu.launch

    def launch(file: str, kernel: str, *rest: Any) -> None:
        names.add(kernel)
        plain(file, kernel, *rest)

    monkeypatch.setattr(cuda_on_cpu, "launch", launch)
    return names
