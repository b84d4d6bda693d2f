"""Convolution by cuDNN: what it is given and told (by a stand-in on the CPU), and its own check of the graphs (without a GPU)."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl
from minidl.backend.cuda.cudnn import Problem, describe
from minidl.backends import cudnn
from minidl.nn import functional as F
from minidl.ops.conv import _draw_convolution, _geometry
from minidl.ops.samples import Draw
from tests.cuda_on_cpu import CudaOnCpu
from tests.cudnn_on_cpu import Graph, cudnn_on_cpu, reference
from tests.drawing import Hypothesis

on_a_gpu = pytest.mark.skipif(
    not (minidl.cuda.is_available() and cudnn.is_available()), reason="no GPU with CuPy and cuDNN here"
)


@pytest.fixture
def backend() -> Any:
    return cudnn_on_cpu()


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "enabled", "allow_tf32", "deterministic":
        monkeypatch.setattr(cudnn, name, getattr(cudnn, name))
    monkeypatch.setattr(Graph, "made", [])


def some(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def three(backend: Any, x: np.ndarray, weight: np.ndarray, g: np.ndarray, geometry: Any) -> list[np.ndarray]:
    bias = some(len(weight), seed=9)
    return [
        backend.conv2d(x, weight, *geometry),
        backend.conv2d(x, weight, *geometry, bias, "relu"),
        backend.conv2d_input_grad(g, weight, x.shape[2:], *geometry),
        backend.conv2d_weight_grad(g, x, weight.shape[2:], *geometry),
    ]


@pytest.mark.skipif(
    not CudaOnCpu.compiler, reason="needs a C++ compiler (g++ or clang++), for what follows a convolution"
)
@settings(max_examples=100, deadline=None)
@given(st.data())
def test_cudnn_is_given_the_right_geometry(data: st.DataObject) -> None:
    """The stand-in computes, from shapes, steps and addresses, what the reference does; whatever the arrays' layout."""
    draw = Draw(Hypothesis(data))
    x, weight, g, (stride, padding, dilation, groups) = _draw_convolution(draw)
    geometry = _geometry(weight.shape, stride, padding, dilation, groups)
    arrays = [a.astype(np.float32) for a in (x, weight, g)]
    if draw.flag():  # channels last
        arrays = [np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for a in arrays]
    backend = cudnn_on_cpu()
    depthwise = weight.shape[1] == 1 and groups == len(weight) > 1
    if depthwise or not x.size:
        return
    Graph.made.clear()
    for ours, theirs in zip(three(backend, *arrays, geometry), three(reference, *arrays, geometry), strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert {graph.kind for graph in Graph.made} == {"fprop", "dgrad", "wgrad"}


ORDINARY = (1, 1), ((1, 1), (1, 1)), (1, 1), 1


def test_a_plan_is_made_once_for_each_problem(backend: Any) -> None:
    cudnn.allow_tf32 = True
    x, weight = some(2, 3, 5, 6), some(4, 3, 3, 3)
    for _ in range(3):
        backend.conv2d(x, weight, *ORDINARY)
    assert len(Graph.made) == 1 and Graph.made[0].unwanted == ["nondeterministic"]
    backend.conv2d(some(3, 3, 5, 6), weight, *ORDINARY)
    assert len(Graph.made) == 2
    cudnn.allow_tf32 = False
    backend.conv2d(x, weight, *ORDINARY)
    cudnn.deterministic = False
    backend.conv2d(x, weight, *ORDINARY)
    assert [graph.unwanted for graph in Graph.made[2:]] == [["tensor core", "nondeterministic"], ["tensor core"]]


def test_what_cudnn_is_not_asked(backend: Any) -> None:
    """Another dtype, nothing at all, depthwise, pixels that no window reaches, and everything once it is turned off."""
    backend.launch = lambda *arguments: arguments[-1].fill(0)
    x, weight = some(2, 4, 5, 6), some(4, 4, 3, 3)
    backend.conv2d(x.astype(float), weight.astype(float), *ORDINARY)
    backend.conv2d(x[:0], weight, *ORDINARY)
    backend.conv2d(x, some(4, 1, 3, 3), *ORDINARY[:3], 4)
    g = some(2, 4, 2, 2)
    backend.conv2d_input_grad(g, weight, (9, 9), (2, 2), *ORDINARY[1:])
    cudnn.enabled = False
    backend.conv2d(x, weight, *ORDINARY)
    assert not Graph.made


def test_where_it_has_no_plan_the_kernels_serve_and_it_says_so_once(
    backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Graph, "refuses", "fprop")
    backend.launch = lambda *arguments: arguments[-1].fill(0)
    x, weight = some(2, 3, 5, 6), some(4, 3, 3, 3)
    with pytest.warns(
        RuntimeWarning, match=r"no plan for a convolution \(fprop, images \(2, 3, 5, 6\).*no engine for this"
    ):
        backend.conv2d(x, weight, *ORDINARY)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backend.conv2d(x, weight, *ORDINARY)


def test_where_memory_runs_out_it_is_asked_again(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = some(2, 3, 5, 6), some(4, 3, 3, 3)
    with monkeypatch.context() as short:
        short.setattr(Graph, "check_support", lambda graph: (_ for _ in ()).throw(MemoryError("no room")))
        with pytest.raises(MemoryError, match="no room"):
            backend.conv2d(x, weight, *ORDINARY)
    np.testing.assert_allclose(backend.conv2d(x, weight, *ORDINARY), reference.conv2d(x, weight, *ORDINARY), rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 3, 5, 5), (3, 1, 5, 5)], ids=str)
def test_slices_that_begin_anywhere(shape: Any, backend: Any) -> None:
    """cuDNN wants addresses that 16 divides (the stand-in asserts it)."""
    x, weight = some(*shape), some(2, 5, shape[1], 3, 3)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    g = reference.conv2d(x[1:], weight[1], *ORDINARY)
    for images in x[1:], last[1:]:
        for ours, theirs in zip(
            three(backend, images, weight[1], g, ORDINARY),
            three(reference, images, weight[1], g, ORDINARY),
            strict=True,
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("error", [ImportError("no", name="torch"), OSError("file too short"), AssertionError("two")])
def test_a_frontend_that_cannot_be_imported_is_no_error(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, *rest: Any) -> None:
            if name == "cudnn":
                raise error

    monkeypatch.delitem(sys.modules, "cudnn", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    found, why = cudnn.library.__wrapped__()
    assert found is None and why == f"cannot be imported ({type(error).__name__}: {error})"


def test_what_is_installed_is_said() -> None:
    found, why = cudnn.library()
    assert cudnn.is_available() == (found is not None) == (cudnn.version() is not None)
    assert why.startswith("cuDNN 9.") if found else "pip install 'minidl[cudnn13]'" in why


@pytest.mark.skipif(not cudnn.is_available(), reason="cuDNN's library is not installed")
@pytest.mark.parametrize("kind", ["fprop", "dgrad", "wgrad"])
@pytest.mark.parametrize(
    ("image", "weight", "stride", "padding", "dilation"),
    [
        ((2, 3, 8, 9), (4, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
        ((2, 4, 8, 9), (6, 2, 3, 2), (2, 1), ((1, 2), (0, 1)), (1, 2)),
        ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    ],
)
def test_cudnn_itself_finds_the_graphs_in_order(
    kind: str, image: Any, weight: Any, stride: Any, padding: Any, dilation: Any
) -> None:
    out = reference.conv2d(np.zeros(image), np.zeros(weight), stride, padding, dilation, image[1] // weight[1]).shape
    problem = Problem(kind, image, weight, out, stride, padding, dilation, True, True, 0)
    _, tensors = describe(cudnn.library()[0], problem)
    made = {"fprop": out, "dgrad": image, "wgrad": weight}[kind]
    assert tuple(tensors[2].get_dim()) == made


@on_a_gpu
@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize(
    ("image", "weight", "stride", "padding", "dilation"),
    [
        ((8, 3, 32, 32), (16, 3, 3, 3), 1, 1, 1),
        ((8, 16, 32, 32), (32, 16, 3, 3), 2, 1, 1),
        ((8, 16, 32, 32), (32, 16, 1, 1), 2, 0, 1),
        ((4, 64, 9, 7), (64, 64, 3, 3), 1, 1, 1),
        ((4, 12, 19, 17), (21, 4, 5, 3), (2, 1), (2, 1), (1, 2)),
        ((2, 7, 6, 5), (3, 7, 3, 3), 1, 0, 1),
    ],
)
def test_on_a_gpu(image: Any, weight: Any, stride: Any, padding: Any, dilation: Any, tf32: bool) -> None:
    """As on the CPU in float64, the same bits each time, and none of it by minidl's own kernels."""
    cudnn.allow_tf32 = tf32
    minidl.manual_seed(0)
    x, w, b = minidl.randn(*image), minidl.randn(*weight), minidl.randn(weight[0])
    found = []
    for dtype, device in (minidl.float64, "cpu"), (minidl.float32, "cuda"), (minidl.float32, "cuda"):
        inputs = [t.to(dtype).to(device).requires_grad_() for t in (x, w, b)]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            y = F.conv2d(*inputs, stride, padding, dilation, image[1] // weight[1])
            y.backward(minidl.linspace(-1, 2, y.numel(), dtype=dtype).reshape(*y.shape).to(device))
        found.append([t.detach().cpu().numpy() for t in (y, *[t.grad for t in inputs])])
    for exact, once, again in zip(*found, strict=True):
        assert once.dtype == np.float32 and np.array_equal(once, again)
        assert np.linalg.norm(once - exact) < (3e-3 if tf32 else 3e-5) * np.linalg.norm(exact)
    plans = minidl.backend.backend_for("cuda")._plans
    kinds = {p.kind for p, plan in plans.items() if p.image == image and p.weight == weight and p.tf32 is tf32 and plan}
    assert kinds == {"fprop", "dgrad", "wgrad"}
