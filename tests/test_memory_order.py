"""What an operation makes lies in memory as what it was given does, as in PyTorch: images keep their channels last."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

import minidl
from minidl.backend import Backend, backend_for
from minidl.nn import functional as F


def images(last: bool) -> minidl.Tensor:
    x = minidl.rand(2, 6, 7, 5) if last else minidl.rand(2, 5, 6, 7)
    return x.permute(0, 3, 1, 2) if last else x


def is_last(x: minidl.Tensor) -> bool:
    return bool(x.numpy().transpose(0, 2, 3, 1).flags.c_contiguous)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    "function",
    [
        minidl.zeros_like, minidl.ones_like, minidl.empty_like, lambda x: minidl.full_like(x, 2.5),
        lambda x: minidl.ones_like(x, dtype=minidl.float64), lambda x: F.pad(x, (1, 2, 0, 3)),
        lambda x: F.pad(x, (-1, 2, -1, -1)),
        lambda x: minidl.cat([x, x[:, :2], x], 1), lambda x: minidl.cat([x, x], 0), lambda x: minidl.cat([x] * 700, 1),
        lambda x: x * 2 + x, lambda x: x.clone(),
    ],
)  # fmt: skip
def test_the_order_is_kept(function: Callable[[minidl.Tensor], minidl.Tensor], last: bool) -> None:
    assert is_last(function(images(last))) == last


@pytest.mark.parametrize("last", [True, False])
def test_the_gradient_of_a_leaf_lies_as_the_leaf_does(last: bool) -> None:
    x = images(last).detach().requires_grad_()
    (x.permute(1, 0, 2, 3) * minidl.rand(5, 2, 6, 7)).sum().backward()
    assert x.grad.stride() == x.stride()


def test_like_gives_what_it_says() -> None:
    x = minidl.tensor(np.arange(6).reshape(2, 3)).T
    for y, number in ((minidl.zeros_like(x), 0), (minidl.ones_like(x), 1), (minidl.full_like(x, 7), 7)):
        assert y.dtype == x.dtype and y.shape == x.shape and (y == number).all()
    assert minidl.full_like(x, 2.5, dtype=minidl.float32)[0, 0] == 2.5
    assert minidl.zeros_like(x, device="cpu").stride() == x.stride()
    assert minidl.zeros_like(minidl.tensor(3.0)).shape == ()
    assert minidl.ones_like(x, dtype=minidl.float32, requires_grad=True).requires_grad


@pytest.mark.parametrize("backend", [backend_for("cpu"), Backend("reference", np, np.ndarray)])
def test_empty_arrays_in_the_order_of_another(backend: Backend) -> None:
    x = np.zeros((3, 4, 5, 6))
    for order in itertools.permutations(range(4)):
        like = x.transpose(order)[:, ::2]
        made = backend.empty_in_order((2, 7, 9, 4), like)
        assert made.shape == (2, 7, 9, 4) and made.dtype == like.dtype
        assert np.argsort(made.strides).tolist() == np.argsort(like.strides).tolist()
    assert backend.empty_in_order((), np.zeros(())).shape == ()


@pytest.mark.parametrize("length", [1, 3, 4])
@pytest.mark.parametrize("widths", [(4, -5), (-5, 4), (2, -1), (-1, 2), (-1, -0), (0, 0), (3, 2)], ids=str)
def test_a_border_wider_than_what_is_left(length: int, widths: tuple[int, int]) -> None:
    """Both numbers of a pair count, whatever their order: what is cut off may be more than there is."""
    before, after = widths
    if length + before + after < 0:
        return
    x = minidl.arange(1.0, 1.0 + length).requires_grad_()
    expected = [i - before + 1.0 if 0 <= i - before < length else 9.0 for i in range(length + before + after)]
    y = F.pad(x, widths, value=9.0)
    assert y.tolist() == expected
    y.sum().backward()
    assert x.grad.tolist() == [float(0 <= i + before < len(expected)) for i in range(length)]
