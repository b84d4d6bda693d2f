"""Kernels: every override does what the reference does, and the reference does what the plainest loops do."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import backend as backends
from minidl.backend import Backend
from minidl.backend.cpu.compiled import without
from minidl.backend.cuda import CupyBackend, make_cupy_backend
from minidl.backend.reference.conv import output_size
from minidl.backend.reference.pool import Window
from minidl.ops import base
from minidl.ops.normalization import Normalize
from minidl.ops.pool import _window
from minidl.ops.samples import Draw, reals
from tests.cuda_on_cpu import cuda_on_cpu
from tests.drawing import Hypothesis, present
from tests.elsewhere import elsewhere
from tests.strict.backend import strict_backend

reference = Backend("cpu", np, np.ndarray)
thorough = settings(max_examples=40, deadline=None, derandomize=False, print_blob=True)

UNCOMPARED = {"blocks"}  # how a batch is cut is each backend's own affair
KERNELS = {
    name: function
    for family in Backend.__mro__[1:-1]
    for name, function in vars(family).items()
    if inspect.isfunction(function) and not name.startswith("_") and name not in UNCOMPARED
}

# -- arguments ---------------------------------------------------------------------------------------------------------

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def _conv(draw: Draw) -> tuple[Any, Any, Any, tuple[Any, ...]]:
    """x, weight, a cotangent and (stride, padding, dilation, groups); sometimes the sizes that networks use."""
    groups = draw.choice([1, 1, 2, 3])
    cg, og = draw.choice([1, 2, 3, 8]), draw.choice([1, 2, 3, 8])
    kernel = draw.choice([(3, 3), (1, 1), (draw.integer(1, 4), draw.integer(1, 4))])
    stride = draw.choice([(1, 1), (2, 2), (draw.integer(1, 3), draw.integer(1, 3))])
    dilation = draw.choice([(1, 1), (1, 1), (draw.integer(1, 2), draw.integer(1, 3))])
    padding = draw.choice([((1, 1), (1, 1)), ((0, 0), (0, 0)), ((draw.integer(0, 2), 1), (0, draw.integer(0, 3)))])
    least = [max(1, d * (k - 1) + 1 - sum(p)) for k, d, p in zip(kernel, dilation, padding, strict=True)]
    size = [n + draw.integer(0, draw.choice([3, 12])) for n in least]
    n = draw.choice([1, 2, 5, 0])
    out = [output_size(size[i], kernel[i], stride[i], padding[i], dilation[i]) for i in range(2)]
    x, w = draw.array((n, groups * cg, *size)), draw.array((groups * og, cg, *kernel))
    return x, w, draw.array((n, groups * og, *out)), (stride, padding, dilation, groups)


def conv2d(draw: Draw) -> Arguments:
    x, w, _, geometry = _conv(draw)
    return (x, w, *geometry), {}


def conv2d_input_grad(draw: Draw) -> Arguments:
    x, w, g, geometry = _conv(draw)
    return (g, w, x.shape[2:], *geometry), {}


def conv2d_weight_grad(draw: Draw) -> Arguments:
    x, w, g, geometry = _conv(draw)
    return (g, x, w.shape[2:], *geometry), {}


def pad_nhwc(draw: Draw) -> Arguments:
    x, _, _, (_, padding, _, _) = _conv(draw)
    return (x.transpose(0, 2, 3, 1), padding, draw.choice([0.0, -1.5])), {}


def unfold_nhwc(draw: Draw) -> Arguments:
    x, w, g, (stride, padding, dilation, _) = _conv(draw)
    return (x.transpose(0, 2, 3, 1), w.shape[2:], stride, padding, dilation, g.shape[2:]), {}


def fold_nhwc(draw: Draw) -> Arguments:
    (x, kernel, stride, padding, dilation, out), _ = unfold_nhwc(draw)
    windows = draw.array((x.shape[0], *out, *kernel, x.shape[3]))
    return (windows, x.shape[1:3], stride, padding, dilation), {}


def each(draw: Draw) -> Arguments:
    seen: list[slice] = []
    return (seen.append, [slice(i, i + 1) for i in range(draw.integer(0, 9))]), {}


def total(draw: Draw) -> Arguments:
    x = draw.array((draw.integer(0, 9), 3))
    return (lambda block: x[block].sum(0), [slice(i, i + 1) for i in range(len(x))], (3,), x.dtype), {}


def _pool(draw: Draw, dilated: bool = True) -> tuple[Any, Window]:
    kernel = draw.choice([(2, 2), (3, 3), (draw.integer(1, 4), draw.integer(1, 4))])
    dilation = (draw.integer(1, 2), draw.integer(1, 2)) if dilated and draw.flag() else (1, 1)
    size = [d * (k - 1) + 1 + draw.integer(0, draw.choice([3, 10])) for k, d in zip(kernel, dilation, strict=True)]
    x = draw.array((draw.choice([1, 2, 3, 0]), draw.choice([1, 2, 8]), *size))
    if draw.flag():
        x = np.round(x)  # so that several are the largest
    stride = draw.choice([None, 1, 2, (3, 1)])
    return x, _window("pool", x, kernel, stride, (kernel[0] // 2, kernel[1] // 2), dilation, draw.flag())


def max_pool2d(draw: Draw) -> Arguments:
    x, window = _pool(draw)
    if draw.integer(0, 3) == 0 and x.size:
        x[np.unravel_index(draw.integer(0, x.size - 1), x.shape)] = np.nan
    return (x, window), {}


def max_pool2d_scatter(draw: Draw) -> Arguments:
    x, window = _pool(draw)
    _, index = reference.max_pool2d(x, window)
    return (draw.array(index.shape), index, window), {}


def max_pool2d_gather(draw: Draw) -> Arguments:
    x, window = _pool(draw)
    return (draw.array(x.shape), reference.max_pool2d(x, window)[1], window), {}


def sum_pool2d(draw: Draw) -> Arguments:
    return _pool(draw), {}


def sum_pool2d_grad(draw: Draw) -> Arguments:
    x, window = _pool(draw)
    return (draw.array((*x.shape[:2], *window.out)), window), {}


def _norm(draw: Draw) -> tuple[Any, Any, Any, tuple[int, ...]]:
    """x, weight, bias and axes, as for batch, layer and group norm."""
    x = draw.array(
        draw.choice(
            [(draw.integer(2, 4), draw.choice([1, 3, 8]), *draw.shape(0, 2, 5)), (2, draw.choice([3, 40]), 23, 29)]
        )
    )
    axes = draw.choice([(0, *range(2, x.ndim)), tuple(range(1, x.ndim)), (x.ndim - 1,)])
    affine = tuple(1 if i in axes else n for i, n in enumerate(x.shape)) if 0 in axes else x.shape[1:]
    return x, *(draw.array(affine) if draw.flag() else None for _ in range(2)), axes


def moments(draw: Draw) -> Arguments:
    x, _, _, axes = _norm(draw)
    return (x + draw.choice([1.0, 30.0]), axes), {}  # around 0 a mean of many is smaller than its rounding errors


def channel_sums(draw: Draw) -> Arguments:
    return (_norm(draw)[0],), {}


def channel_products(draw: Draw) -> Arguments:
    x = _norm(draw)[0]
    return (draw.array(x.shape), x, draw.array(x.shape[1:2])), {}


def scale_channels(draw: Draw) -> Arguments:
    x = _norm(draw)[0]
    return (x, draw.array(x.shape[1:2])), {}


def normalize(draw: Draw) -> Arguments:
    x, weight, bias, axes = _norm(draw)
    mean, variance = reference.moments(x, axes)
    return (x, weight, bias, mean, 1 / np.sqrt(variance + 0.1)), {}


def normalize_by(draw: Draw) -> Arguments:
    x, *_ = _norm(draw)
    weight, bias, mean = (draw.array(x.shape[1:2]) for _ in range(3))
    weight, bias = (t if draw.flag() else None for t in (weight, bias))
    return (
        x,
        weight,
        bias,
        mean,
        draw.array(x.shape[1:2]) ** 2,
        0.1,
        draw.choice([None, "relu", "relu6", "sigmoid"]),
    ), {}


def normalize_batch(draw: Draw) -> Arguments:
    x, weight, bias, axes = _norm(draw)
    shape = np.shape(reference.moments(x, axes)[0]) if 0 in axes else x.shape[1:]
    weight, bias = (None if t is None else t.reshape(shape) for t in (weight, bias))
    running = None
    if axes == (0, *range(2, x.ndim)) and draw.flag():
        running = draw.array(x.shape[1:2]), draw.array(x.shape[1:2]) ** 2, 0.3
    return (x, weight, bias, axes, 0.1, running, draw.choice([None, "relu", "relu6", "sigmoid"])), {}


def normalize_grad(draw: Draw) -> Arguments:
    x, weight, _, axes = _norm(draw)
    mean, variance = reference.moments(x, axes)
    affine = np.shape(mean) if weight is None else weight.shape
    shapes = [draw.choice([None, affine, tuple(n for n in affine if n > 1)]) for _ in range(2)]
    # With the true deviation of two or three numbers all terms of dx would cancel, and only their rounding errors be left.
    then = draw.choice([None, "relu", "relu6", "sigmoid"])
    made = (then, draw.array(x.shape, reals(-2, 8))) if then else ()
    return (draw.array(x.shape), x, weight, mean, 0.7 / np.sqrt(variance + 0.1), axes, affine, *shapes, *made), {}


def matmul(draw: Draw) -> Arguments:
    n, k, m = draw.choice([(3, 4, 5), (1, 2, 0), (70, 96, 48), (129, 80, 40), (40, 17, 512), (140, 128, 300)])
    lead = draw.choice([(), (), (2,)])
    a, b = draw.array((*lead, n, k)), draw.array((k, m))
    return (a, b, draw.choice([None, draw.array((m,))]), draw.choice([None, "relu"])), {}


def add(draw: Draw) -> Arguments:
    a = draw.array(draw.choice([draw.shape(), (2, 64, 32, 34)]))
    return (a, draw.choice([2.0, draw.array(a.shape)])), {}


def add_into(draw: Draw) -> Arguments:
    a = draw.array(draw.choice([draw.shape(1), (2, 64, 32, 34)]))
    return (a, draw.array(draw.choice([a.shape, a.shape[1:]]))), {}


def by_pieces(draw: Draw) -> Arguments:
    a = draw.array(draw.choice([draw.shape(), (2, 64, 32, 34)]))
    b = draw.choice([2.0, draw.array(a.shape), draw.array(a.shape[1:])])
    functions: list[Callable[..., Any]] = [lambda a, b, c: a * b + c, lambda a, b, c: a > b * c, lambda a, b, c: (a, b)]
    return (draw.choice(functions), a, b, 0.5), {}


def hardtanh(draw: Draw) -> Arguments:
    return (draw.array(draw.shape()), -0.5, draw.choice([-0.5, 0.7])), {}


def hardtanh_grad(draw: Draw) -> Arguments:
    g = draw.array(draw.choice([draw.shape(), (2, 64, 32, 34)]))
    return (g, draw.array(g.shape).clip(-0.5, 0.7), -0.5, 0.7), {}


def cross_entropy(draw: Draw) -> Arguments:
    n, classes = draw.choice([(0, 3), (1, 1), (5, 4), (300, 70)])
    return (draw.array((n, classes)), draw.indices((n,), classes), draw.choice([-100, 0])), {}


def cross_entropy_grad(draw: Draw) -> Arguments:
    (x, labels, ignore), _ = cross_entropy(draw)
    return (reference.cross_entropy(x, labels, ignore)[2], labels, ignore, 0.3), {}


def softmax(draw: Draw) -> Arguments:
    x = draw.array(draw.choice([draw.shape(1, 3), (3, 1), (5, 17), (4, 70, 90)]), reals(-9, 9))
    return (x, draw.dim(x.ndim)), {}


def softmax_grad(draw: Draw) -> Arguments:
    (x, axis), _ = softmax(draw)
    # Of a true softmax of two or three numbers all terms of dx may cancel, and only their rounding errors be left.
    return (draw.array(x.shape), draw.array(x.shape, reals(0.1, 0.8)), axis), {}


def log_softmax(draw: Draw) -> Arguments:
    return softmax(draw)


def log_softmax_grad(draw: Draw) -> Arguments:
    (x, axis), _ = softmax(draw)
    return (draw.array(x.shape), reference.log_softmax(x, axis), axis), {}


def sgd_steps(draw: Draw) -> Arguments:
    (*first,), options = sgd_step(draw)
    large = [None if a is None else draw.array((3, 50_000)) for a in first]
    return tuple([a, b] for a, b in zip(first, large, strict=True)), options


def adam_steps(draw: Draw) -> Arguments:
    (*first,), options = adam_step(draw)
    large = [a if a is None or isinstance(a, float) else abs(draw.array((3, 50_000))) for a in first]
    return tuple([a, b] for a, b in zip(first, large, strict=True)), options


def relu(draw: Draw) -> Arguments:
    return (draw.array(draw.choice([draw.shape(), (2, 64, 9, 5)])),), {}


def relu6(draw: Draw) -> Arguments:
    return (draw.array(draw.choice([draw.shape(), (2, 64, 9, 5)]), reals(-2, 8)),), {}


def relu6_grad(draw: Draw) -> Arguments:
    g = draw.array(draw.choice([draw.shape(), (2, 64, 9, 5)]))
    return (g, draw.array(g.shape, reals(-2, 8)).clip(0, 6)), {}


def sigmoid(draw: Draw) -> Arguments:
    return (draw.array(draw.choice([draw.shape(), (2, 64, 9, 5), (2, 64, 32, 34)]), reals(-20, 20)),), {}


def sigmoid_grad(draw: Draw) -> Arguments:
    g = draw.array(draw.choice([draw.shape(), (2, 64, 9, 5), (2, 64, 32, 34)]))
    return (g, draw.array(g.shape, reals(0, 1))), {}


def relu_grad(draw: Draw) -> Arguments:
    g = draw.array(draw.choice([draw.shape(), (2, 64, 9, 5)]))
    return (g, np.maximum(draw.array(g.shape), 0)), {}


def reshaped(draw: Draw) -> Arguments:
    n, c, h, w = draw.choice([(2, 3, 4, 5), (1, 1, 2, 3), (3, 16, 8, 4), (2, 40, 9, 7)])
    x = draw.array((n, c, h, w))
    return (x, draw.choice([(n, c * h * w), (n, -1), (-1,), (n * c, h * w), (n, c, h * w)])), {}


def empty_in_order(draw: Draw) -> Arguments:
    like = draw.array(draw.shape(1))
    return ((0,) * like.ndim, like), {}  # nothing else is always the same


def copy_into(draw: Draw) -> Arguments:
    target = draw.array(draw.choice([draw.shape(), (2, 40, 9, 7), (3, 5, 80, 130), (700, 300)]))
    return (target, draw.array(target.shape)), {}


def copy_in_order(draw: Draw) -> Arguments:
    return copy_into(draw)


def concatenate(draw: Draw) -> Arguments:
    shape = list(draw.choice([draw.shape(1), (2, 8, 9, 7), (3, 40, 33, 32), (3, 9000, 2)]))
    axis, arrays = draw.integer(0, len(shape) - 1), []
    for _ in range(draw.integer(1, 3)):
        shape[axis] = draw.integer(0, 40)
        arrays.append(draw.array(tuple(shape)))
    return (arrays, axis), {}


def sum_over(draw: Draw) -> Arguments:
    x = draw.array(draw.choice([draw.shape(), (3, 40, 33, 35), (400, 400), (5, 300, 100)]))
    return (x, tuple(i for i in range(x.ndim) if draw.flag()), draw.flag()), {}


def sum_to(draw: Draw) -> Arguments:
    x = draw.array(draw.choice([draw.shape(), (3, 40, 33, 35), (400, 400), (5, 300, 100)]))
    target = tuple(1 if draw.flag() else n for n in x.shape)
    return (x, target[draw.integer(0, x.ndim) :]), {}


def scatter_add(draw: Draw) -> Arguments:
    index: Any
    if draw.flag():  # as embeddings, and as gather along a dimension
        target = draw.array(draw.choice([(40, 9), (40, 3, 5), (700,)]))
        index = draw.indices((30, 40), target.shape[0]) - draw.choice([0, target.shape[0]])
        if target.ndim == 2 and draw.flag():
            index = draw.indices((300, 9), 40), np.arange(9)
        return (target, index, draw.array(target[index].shape)), {}
    target = draw.array(draw.shape(1, 3))
    index = draw.indices(draw.shape(1, 2), target.shape[0])
    index = draw.choice([index, (index,), (slice(None),) * (target.ndim - 1) + (index % target.shape[-1],)])
    return (target, index, draw.choice([2.5, draw.array(target[index].shape)])), {}


def erf(draw: Draw) -> Arguments:
    return (draw.array(draw.shape(), reals(-7, 7)),), {}


def _update(draw: Draw, signed: int, positive: int) -> tuple[Any, ...]:
    """A parameter, a gradient, and running averages, ``positive`` of them of squares."""
    shape = draw.choice([draw.shape(0, 3, 5), draw.shape(0, 3, 5), (2, 9000)])  # the last one goes in blocks
    averages = [draw.array(shape) for _ in range(signed)], [draw.array(shape, reals(0.1, 2)) for _ in range(positive)]
    return draw.array(shape), draw.array(shape), *averages[0], *averages[1]


def _options(draw: Draw) -> dict[str, Any]:
    return {"lr": 0.1, "weight_decay": draw.choice([0, 0.3]), "maximize": draw.flag()}


def sgd_step(draw: Draw) -> Arguments:
    more = draw.choice([{}, {}, {"dampening": 0.2}, {"nesterov": True}])
    more = more | {"momentum": 0.9} if more or draw.flag() else more
    param, grad, buf = _update(draw, 1, 0)
    return (param, grad, buf if more else None), _options(draw) | more


def adam_step(draw: Draw) -> Arguments:
    param, grad, m, v, largest = _update(draw, 1, 2)
    more = {"beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "decoupled_weight_decay": draw.flag()}
    return (param, grad, m, v, draw.choice([None, largest]), float(draw.integer(1, 20))), _options(draw) | more


def rmsprop_step(draw: Draw) -> Arguments:
    param, grad, mean, buf, v = _update(draw, 2, 1)
    momentum = draw.choice([0, 0.9])
    more = {"alpha": 0.9, "eps": 1e-3, "momentum": momentum}
    centred = draw.choice([None, mean * 0.1])
    return (param, grad, v, centred, buf if momentum else None), _options(draw) | more


def adagrad_step(draw: Draw) -> Arguments:
    return _update(draw, 0, 1), _options(draw) | {"eps": 1e-3}


DRAWS: dict[str, Callable[[Draw], Arguments]] = {
    f.__name__: f
    for f in (
        conv2d, conv2d_input_grad, conv2d_weight_grad, pad_nhwc, unfold_nhwc, fold_nhwc, each, total, max_pool2d,
        max_pool2d_scatter, max_pool2d_gather, sum_pool2d, sum_pool2d_grad, channel_sums, moments, normalize, normalize_by,
        normalize_batch,
        normalize_grad,
        by_pieces, add, add_into, matmul, relu, relu_grad, hardtanh, hardtanh_grad, relu6, relu6_grad, sigmoid, sigmoid_grad,
        cross_entropy,
        cross_entropy_grad, softmax, softmax_grad, log_softmax, log_softmax_grad,
        channel_products, scale_channels, sum_over, sum_to, scatter_add, reshaped, empty_in_order, copy_into,
        copy_in_order, concatenate,
        erf, sgd_step, sgd_steps, adam_step, adam_steps, rmsprop_step, adagrad_step,
    )
}  # fmt: skip


def test_every_kernel_has_arguments_to_be_tested_with() -> None:
    assert set(DRAWS) == set(KERNELS)


# -- overrides and the reference ---------------------------------------------------------------------------------------


def _subclasses(cls: type) -> Iterator[type]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)


def instance(cls: type) -> Backend:
    """The backend of this class that is in use, or skip the test where it cannot be."""
    found = [b for b in (*backends._by_name.values(), strict_backend, cuda_on_cpu) if type(b) is cls]
    if found:
        if found[0] is cuda_on_cpu and not cuda_on_cpu.compiler:
            pytest.skip("needs a C++ compiler (g++ or clang++), with which the GPU's kernels are run on the CPU")
        return found[0]
    if cls is CupyBackend:
        try:
            return make_cupy_backend()
        except RuntimeError as error:
            pytest.skip(str(error))
    raise AssertionError(f"{cls.__name__} is not registered, so its kernels are not tested")


SUBCLASSES = list(dict.fromkeys(c for c in _subclasses(Backend) if c.__module__.startswith(("minidl.", "tests."))))
OVERRIDES = [(cls, name) for cls in SUBCLASSES for name in KERNELS if getattr(cls, name) is not getattr(Backend, name)]


def test_the_overrides_are_found() -> None:
    assert ("CpuBackend", "scatter_add") in {(cls.__name__, name) for cls, name in OVERRIDES}
    assert {"CpuBackend", "CupyBackend", "StrictBackend"} <= {cls.__name__ for cls in SUBCLASSES}


@pytest.mark.parametrize("cls", SUBCLASSES, ids=lambda cls: cls.__name__)
def test_every_kernel_of_a_backend_has_a_reference(cls: type) -> None:
    """A public method that the base class lacks could not be compared with anything.

    What is done ``in_one_pass`` is compared with the op that asks for it (``test_fast_elementwise.py``).
    """
    own = {n for c in cls.__mro__ for n, f in vars(c).items() if inspect.isfunction(f) and not n.startswith("_")}
    assert own - set(KERNELS) - UNCOMPARED <= {"from_numpy", "to_numpy", "in_one_pass", "require", "launch", "address"}


def travel(value: Any, change: Callable[[Any], Any]) -> Any:
    """Change every array in nested tuples."""
    if isinstance(value, (tuple, list)) and not isinstance(value, Window):
        return type(value)(travel(v, change) for v in value)
    return change(value) if hasattr(value, "dtype") else value


def same(actual: Any, expected: Any, rtol: float) -> None:
    """Equal to rounding, relative to the largest element."""
    if isinstance(expected, (tuple, list)) and not isinstance(expected, Window):
        assert len(actual) == len(expected)
        for a, b in zip(actual, expected, strict=True):
            same(a, b, rtol)
    elif hasattr(expected, "dtype"):
        actual = np.asarray(actual)
        assert actual.dtype == expected.dtype and actual.shape == expected.shape
        largest = float(np.abs(expected[np.isfinite(expected)]).max(initial=0))
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol * largest)
    else:
        assert actual == expected


def shown(draw: Draw, array: np.ndarray) -> np.ndarray:
    """In a drawn layout, where its contents allow that."""
    return present(draw, array) if array.dtype.kind == "f" and not np.isnan(array).any() else array.copy()


@pytest.mark.parametrize(("cls", "name"), OVERRIDES, ids=lambda x: getattr(x, "__name__", x))
@thorough
@given(st.data())
def test_overrides_do_what_the_reference_does(cls: type, name: str, data: st.DataObject) -> None:
    draw = Draw(Hypothesis(data))
    with without() if draw.integer(0, 2) == 0 else nullcontext():  # with and without compiled kernels
        compare(cls, name, draw)


@pytest.mark.parametrize("name", sorted(set(KERNELS) - {"total"}))  # whose argument is a function of NumPy arrays
@settings(thorough, max_examples=20)
@given(st.data())
def test_every_kernel_does_the_same_on_another_device(name: str, data: st.DataObject) -> None:
    compare(type(elsewhere), name, Draw(Hypothesis(data)))


def compare(cls: type, name: str, draw: Draw) -> None:
    backend = instance(cls)
    args, options = DRAWS[name](draw)
    dtype = draw.choice([np.dtype("float64"), np.dtype("float32")])
    args = travel(args, lambda a: np.asarray(a, dtype) if a.dtype.kind == "f" else a)
    ours = travel(args, lambda a: backend.from_numpy(shown(draw, a)))
    theirs = travel(args, lambda a: a.copy())
    expected = KERNELS[name](reference, *theirs, **options)
    result = getattr(backend, name)(*ours, **options)
    rtol = 1e-12 if dtype == np.float64 else 1e-5
    same(travel(result, backend.to_numpy), expected, rtol)
    same(travel(ours, backend.to_numpy), theirs, rtol)  # what it writes in place, and nothing else


# -- the reference and plain loops -------------------------------------------------------------------------------------


def close(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def taps(
    x_shape: Any, w_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Iterator[tuple[Any, Any, Any]]:
    """Which output, input and weight elements meet in a convolution."""
    n, _, h, w = x_shape
    o, cg, kh, kw = w_shape
    oh = (h + sum(padding[0]) - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (w + sum(padding[1]) - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    for image, filter_, i, j, c, u, v in itertools.product(*map(range, (n, o, oh, ow, cg, kh, kw))):
        row = i * stride[0] + u * dilation[0] - padding[0][0]
        column = j * stride[1] + v * dilation[1] - padding[1][0]
        if 0 <= row < h and 0 <= column < w:
            channel = filter_ // (o // groups) * cg + c
            yield (image, filter_, i, j), (image, channel, row, column), (filter_, c, u, v)


def _small_conv(draw: Draw) -> tuple[Any, Any, Any, tuple[Any, ...]]:
    groups, cg, og = draw.integer(1, 2), draw.integer(1, 2), draw.integer(1, 2)
    kernel, stride, dilation = ((draw.integer(1, 3), draw.integer(1, 2)) for _ in range(3))
    padding = ((draw.integer(0, 2), draw.integer(0, 1)), (draw.integer(0, 1), draw.integer(0, 2)))
    size = [max(1, dilation[i] * (kernel[i] - 1) + 1 - sum(padding[i])) + draw.integer(0, 2) for i in range(2)]
    x, w = draw.array((draw.integer(1, 2), groups * cg, *size)), draw.array((groups * og, cg, *kernel))
    out = [output_size(size[i], kernel[i], stride[i], padding[i], dilation[i]) for i in range(2)]
    return x, w, draw.array((x.shape[0], groups * og, *out)), (stride, padding, dilation, groups)


@thorough
@given(st.data())
def test_convolution_by_loops(data: st.DataObject) -> None:
    x, w, g, geometry = _small_conv(Draw(Hypothesis(data)))
    y, gx, gw = np.zeros_like(g), np.zeros_like(x), np.zeros_like(w)
    for out, pixel, tap in taps(x.shape, w.shape, *geometry):
        y[out] += x[pixel] * w[tap]
        gx[pixel] += g[out] * w[tap]
        gw[tap] += g[out] * x[pixel]
    close(reference.conv2d(x, w, *geometry), y)
    close(reference.conv2d_input_grad(g, w, x.shape[2:], *geometry), gx)
    close(reference.conv2d_weight_grad(g, x, w.shape[2:], *geometry), gw)


@thorough
@given(st.data())
def test_windows_by_loops(data: st.DataObject) -> None:
    draw = Draw(Hypothesis(data))
    (x, kernel, stride, padding, dilation, out), _ = unfold_nhwc(draw)
    windows = np.empty((x.shape[0], *out, *kernel, x.shape[3]))
    padded = np.pad(x, ((0, 0), *padding, (0, 0)))
    for i, j, u, v in itertools.product(*map(range, (*out, *kernel))):
        windows[:, i, j, u, v] = padded[:, i * stride[0] + u * dilation[0], j * stride[1] + v * dilation[1]]
    np.testing.assert_array_equal(reference.unfold_nhwc(x, kernel, stride, padding, dilation, out), windows)
    g = draw.array(windows.shape)
    folded = reference.fold_nhwc(g, x.shape[1:3], stride, padding, dilation)
    np.testing.assert_allclose(np.sum(folded * x), np.sum(g * windows), rtol=1e-10, atol=1e-10)  # its transpose


def cells(window: Window) -> Iterator[tuple[int, int, list[tuple[int, int, int]]]]:
    """For every output pixel the pixels of the image in its window, each with its number in the window."""
    for i, j in itertools.product(*map(range, window.out)):
        inside = []
        for u, v in itertools.product(*map(range, window.kernel)):
            row = i * window.stride[0] + u * window.dilation[0] - window.padding[0][0]
            column = j * window.stride[1] + v * window.dilation[1] - window.padding[1][0]
            if 0 <= row < window.size[0] and 0 <= column < window.size[1]:
                inside.append((u * window.kernel[1] + v, row, column))
        yield i, j, inside


@thorough
@given(st.data())
def test_pooling_by_loops(data: st.DataObject) -> None:
    draw = Draw(Hypothesis(data))
    x, window = _pool(draw)
    shape = (*x.shape[:2], *window.out)
    g, z = draw.array(shape), draw.array(x.shape)
    largest, position, total = np.empty(shape), np.empty(shape, int), np.zeros(shape)
    scattered, gathered, spread = np.zeros(x.shape), np.zeros(shape), np.zeros(x.shape)
    for n, c in itertools.product(*map(range, x.shape[:2])):
        for i, j, inside in cells(window):
            at = n, c, i, j
            largest[at] = max(x[n, c, row, column] for _, row, column in inside)
            position[at], row, column = next(cell for cell in inside if x[n, c, cell[1], cell[2]] == largest[at])
            scattered[n, c, row, column] += g[at]
            gathered[at] = z[n, c, row, column]
            for _, row, column in inside:
                total[at] += x[n, c, row, column]
                spread[n, c, row, column] += g[at]
    y, index = reference.max_pool2d(x, window)
    np.testing.assert_array_equal(y, largest)
    np.testing.assert_array_equal(index, position)
    close(reference.max_pool2d_scatter(g, index, window), scattered)
    np.testing.assert_array_equal(reference.max_pool2d_gather(z, index, window), gathered)
    close(reference.sum_pool2d(x, window), total)
    close(reference.sum_pool2d_grad(g, window), spread)


def test_in_max_pooling_a_nan_wins() -> None:
    x = np.array([[[[1.0, np.nan], [3.0, 2.0]]]])
    y, index = reference.max_pool2d(x, Window((2, 2), (1, 1), (2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1)))
    assert np.isnan(y).all() and index.item() == 1


@thorough
@given(st.data())
def test_normalisation_by_its_definition(data: st.DataObject) -> None:
    draw = Draw(Hypothesis(data))
    (g, x, weight, _, _, axes, *_), _ = normalize_grad(draw)
    mean, variances = reference.moments(x, axes)
    invstd, shared = 1 / np.sqrt(variances + 0.1), mean.shape
    for place in itertools.product(*map(range, shared)):
        values = x[tuple(slice(None) if n == 1 else i for n, i in zip(shared, place, strict=True))].ravel()
        close(mean[place], math.fsum(values) / len(values))
        variance = math.fsum((v - mean[place]) ** 2 for v in values) / len(values)
        close(invstd[place], 1 / math.sqrt(variance + 0.1))
    bias = None if weight is None else weight * 2
    expected = (x - mean) * invstd
    expected = expected if weight is None else expected * weight + bias
    close(reference.normalize(x, weight, bias, mean, invstd), expected)
    shape = mean.shape if weight is None else weight.shape
    gx, gw = Normalize(axes, 0.1, shape).plain_gradient(g, x, weight)
    actual = reference.normalize_grad(g, x, weight, mean, invstd, axes, shape, shape, shape)
    np.testing.assert_allclose(actual[0], gx, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(actual[1], base.sum_to(gw, shape), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(actual[2], base.sum_to(g, shape), rtol=1e-10, atol=1e-12)


@thorough
@given(st.data())
def test_writing_through_an_index_by_loops(data: st.DataObject) -> None:
    draw = Draw(Hypothesis(data))
    (target, index, values), _ = scatter_add(draw)
    expected, flat = target.copy(), np.arange(target.size).reshape(target.shape)[index].ravel()
    for place, value in zip(flat, np.broadcast_to(values, target[index].shape).ravel(), strict=True):
        expected.ravel()[place] += value
    reference.scatter_add(target, index, values)
    close(target, expected)


@given(st.floats(-30, 30))
def test_erf(x: float) -> None:
    np.testing.assert_allclose(reference.erf(np.array([x]))[0], math.erf(x), rtol=1e-15, atol=0)


@pytest.mark.parametrize("context", [nullcontext, without], ids=["compiled", "NumPy"])
@pytest.mark.parametrize("size", [3, 200_000])  # a piece for one thread, and pieces for several
def test_rectification_stops_infinite_gradients_and_lets_nan_through(context: Any, size: int) -> None:
    y = np.resize(np.array([0.0, 0.3, np.nan]), size)
    g = np.full(size, np.inf)
    cpu = backends.backend_for("cpu")
    expected = np.resize(np.array([0.0, np.inf, np.inf]), size)
    with context():
        np.testing.assert_array_equal(cpu.relu_grad(g, y), expected)
        np.testing.assert_array_equal(cpu.hardtanh_grad(g, y, 0.0, 1.0), expected)
