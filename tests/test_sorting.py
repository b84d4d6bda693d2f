"""Sorting, and the largest and smallest elements."""

import numpy as np
import pytest

import minidl


@pytest.mark.parametrize("k", [1, 3, 20])
@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_some_of_many_are_the_first_in_order(k, largest, dim):
    random = np.random.default_rng(k)
    x = random.integers(-60, 60, (90, 5, 100)).astype(np.float32)  # with ties
    x[3, 2, 50], x[4, 1, 7:9] = np.nan, (np.inf, -np.inf)
    if dim == 1:
        x = x.swapaxes(1, 2).copy()
    values, indices = minidl.topk(minidl.tensor(x), k, dim, largest)
    expected = np.take(minidl.sort(minidl.tensor(x), dim, descending=largest).values.numpy(), range(k), dim)
    np.testing.assert_array_equal(values.numpy(), expected)
    np.testing.assert_array_equal(np.take_along_axis(x, indices.numpy(), dim), expected)
    in_order = np.sort(indices.numpy(), dim)
    assert (np.diff(in_order, axis=dim) > 0).all()  # no index twice


def test_the_gradient_reaches_the_largest():
    x = minidl.tensor(np.random.default_rng(0).permutation(60).astype(np.float32), requires_grad=True)
    values, indices = x.topk(4)
    values.backward(minidl.tensor([1.0, 2.0, 3.0, 4.0]))
    assert x.grad[indices].tolist() == [1, 2, 3, 4] and x.grad.count_nonzero() == 4


def test_an_index_out_of_range_adds_nothing():
    """Also where there is much to add, which a compiled kernel does."""
    backend = minidl.backend.backend_for("cpu")
    target, values = np.zeros((10, 64), np.float32), np.ones((50, 64), np.float32)
    for wrong in 10, -11:
        index = np.full(50, 3)
        index[-1] = wrong
        with pytest.raises(IndexError, match=f"index {wrong} is out of bounds for axis 0 with size 10"):
            backend.scatter_add(target, index, values)
    index[-1] = -10
    backend.scatter_add(target, index, values)
    assert target[3, 0] == 49 and target[0, 5] == 1 and target.sum() == 50 * 64
