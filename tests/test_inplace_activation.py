"""Activations that write over their input."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.nn import functional as F

ACTIVATIONS = [
    lambda x, inplace: F.relu(x, inplace=inplace),
    lambda x, inplace: F.relu6(x, inplace=inplace),
    lambda x, inplace: F.hardtanh(x, -0.5, 0.7, inplace=inplace),
]


def grads(function, inplace, shape):
    minidl.manual_seed(0)
    x, w = minidl.randn(shape, requires_grad=True), minidl.randn(shape)
    h = x * 2
    y = function(h, inplace)
    assert (y is h) == inplace
    (y * w).sum().backward()
    return y.detach().numpy(), x.grad.numpy()


@pytest.mark.parametrize("function", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(), (3, 4), (2, 64, 40, 40)])
def test_the_same_as_out_of_place(function, shape):
    for a, b in zip(grads(function, True, shape), grads(function, False, shape), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("function", ACTIVATIONS)
def test_a_leaf_that_requires_a_gradient_is_refused(function):
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"):
        function(minidl.randn(3, requires_grad=True), True)


def test_what_another_operation_has_saved_is_missed():
    x = minidl.randn(3, requires_grad=True)
    h = x.exp()  # saves its result
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation.*relu_"):
        F.relu(h, inplace=True).sum().backward()


def test_a_residual_block_in_place():
    """y += x, then an activation in place: the gradients are those of the plain form."""

    def run(inplace):
        minidl.manual_seed(1)
        conv, norm = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
        x = minidl.randn(4, 16, 32, 32, requires_grad=True)
        h = x * 1
        y = norm(conv(h))
        if inplace:
            y += h
            z = F.relu(y, inplace=True)
        else:
            z = F.relu(y + h)
        (z * z).sum().backward()
        return [x.grad.numpy(), conv.weight.grad.numpy(), norm.weight.grad.numpy()]

    for a, b in zip(run(True), run(False), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())


def test_adding_in_place_to_memory_that_overlaps():
    base = minidl.arange(300_000, dtype=minidl.float32)
    expected = base.numpy()[1:] + base.numpy()[:-1]
    view = base[1:]
    view += base[:-1]
    np.testing.assert_array_equal(view.numpy(), expected)
