"""Functions of single elements on large arrays: cut into pieces for the cache and for the threads, the same numbers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import minidl
from minidl.nn import functional as F
from minidl.ops import base

FUNCTIONS = {
    "sigmoid": minidl.sigmoid,
    "tanh": minidl.tanh,
    "erf": minidl.erf,
    "log1p": lambda x: minidl.log1p(x * x),
    "pow": lambda x: (x * x + 0.1) ** 1.5,
    "mul": lambda x: x * (x + 1) / (x * x + 2),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "softplus": F.softplus,
    "clamp": lambda x: minidl.clamp(x, -0.5, 0.5),
    "maximum": lambda x: minidl.maximum(x, x * 0.5),
    "hypot": lambda x: minidl.hypot(x, x + 1),
    "atan2": lambda x: minidl.atan2(x, x * x + 1),
    "floor": minidl.floor,
    "isnan": minidl.isnan,
}
LAYOUTS = {
    "plain": lambda a: a,
    "channels last": lambda a: np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "turned": lambda a: np.ascontiguousarray(a.T).T,
    "with gaps": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
}


def both(function, array, grad, monkeypatch):
    """Value and gradient with arrays cut, and not cut, into pieces."""
    found = []
    for least in (base.MANY, array.size + 1):
        monkeypatch.setattr(base, "MANY", least)
        x = minidl.tensor(array)
        x.array = array  # in its layout
        x.requires_grad_(True)
        y = function(x)
        if y.requires_grad:
            y.backward(minidl.tensor(grad))
        found.append((y.detach().numpy(), None if x.grad is None else x.grad.numpy()))
        monkeypatch.undo()
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_pieces_give_the_same_numbers(name, layout, monkeypatch):
    draw = np.random.default_rng(0)
    shape = (3, 7, 83, 101)  # of a size that no piece divides
    array = LAYOUTS[layout](draw.normal(size=shape).astype(np.float32))
    grad = draw.normal(size=shape).astype(np.float32)
    assert array.size > base.MANY
    (cut, cut_grad), (whole, whole_grad) = both(FUNCTIONS[name], array, grad, monkeypatch)
    assert cut.dtype == whole.dtype and cut.strides == whole.strides
    assert np.array_equal(cut, whole, equal_nan=True)
    assert (cut_grad is None) == (whole_grad is None)
    if whole_grad is not None:
        assert np.array_equal(cut_grad, whole_grad)


def test_the_result_does_not_depend_on_the_number_of_threads():
    x = minidl.randn(5, 100_003)
    before = minidl.get_num_threads()
    try:
        minidl.set_num_threads(1)
        one = F.gelu(x).numpy()
        minidl.set_num_threads(3)
        assert F.gelu(x).numpy().tobytes() == one.tobytes()
    finally:
        minidl.set_num_threads(before)


def test_large_arrays_that_broadcast_and_numbers():
    draw = np.random.default_rng(1)
    a, b = draw.normal(size=(400, 500)).astype(np.float32), draw.normal(size=(1, 500)).astype(np.float32)
    x, y = (minidl.tensor(v, requires_grad=True) for v in (a, b))
    z = (x * y / 3.0) ** 2
    np.testing.assert_allclose(z.detach().numpy(), (a * b / 3) ** 2, rtol=1e-6)
    z.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * a * b * b / 9, rtol=1e-5)
    np.testing.assert_allclose(y.grad.numpy(), (2 * a * b * a / 9).sum(0, keepdims=True), rtol=1e-3)


def test_second_derivatives_of_large_arrays():
    x = minidl.randn(1 << 18, dtype=minidl.float64, requires_grad=True)
    (first,) = minidl.autograd.grad(minidl.sigmoid(x).sum(), x, create_graph=True)
    (second,) = minidl.autograd.grad(first.sum(), x)
    s = 1 / (1 + np.exp(-x.detach().numpy()))
    np.testing.assert_allclose(second.numpy(), s * (1 - s) * (1 - 2 * s), atol=1e-12)


def test_no_thread_warns_where_the_op_is_quiet_and_errors_reach_the_caller():
    x = minidl.full((1 << 19,), -1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert minidl.log(x).isnan().all()
        assert not (minidl.sigmoid(x * 1000) > 0).any()
    with np.errstate(invalid="raise"), pytest.raises(FloatingPointError):
        minidl.zeros(1 << 19) * minidl.full((1 << 19,), float("inf"))
