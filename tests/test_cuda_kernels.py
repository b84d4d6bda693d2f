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


def close(actual: Any, expected: Any) -> None:
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12 * float(np.nanmax(np.abs(b), initial=0)))


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
    arguments = g, x, weight, *plain[1:], axes, column, column
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
        "gradient_sums": True, "input_gradient": False,
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
