"""Gradient clipping and the vector of parameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl
from minidl import nn
from minidl.nn.utils import (
    clip_grad_norm_,
    clip_grad_value_,
    get_total_norm,
    parameters_to_vector,
    vector_to_parameters,
)


def parameters(seed: int = 0, scale: float = 1.0) -> tuple[list[nn.Parameter], np.ndarray]:
    """Parameters with gradients (one in Fortran order, one without), and the gradients as one float64 vector."""
    rng = np.random.default_rng(seed)
    params = [nn.Parameter(minidl.zeros(*shape)) for shape in [(3, 4), (5,), (2, 3, 2), ()]]
    flat = []
    for i, p in enumerate(params):
        g = np.asarray(scale * rng.standard_normal(p.shape), dtype=np.float32)
        p.grad = minidl.from_numpy(np.asfortranarray(g) if i == 2 else g)
        flat.append(g.ravel().astype(np.float64))
    return [*params, nn.Parameter(minidl.zeros(2))], np.concatenate(flat)


def gradients(params: list[nn.Parameter]) -> np.ndarray:
    return np.concatenate([p.grad.numpy().ravel() for p in params if p.grad is not None])


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3, 0.5, math.inf, "inf"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), max_norm=st.floats(0.01, 50))
def test_clip_grad_norm(norm_type: Any, seed: int, max_norm: float) -> None:
    params, flat = parameters(seed)
    p = float(norm_type)
    norm = np.abs(flat).max() if math.isinf(p) else (np.abs(flat) ** p).sum() ** (1 / p)
    arrays = [q.grad.array for q in params if q.grad is not None]
    total = clip_grad_norm_(iter(params), max_norm, norm_type)
    assert total.shape == () and total.dtype == np.float32
    np.testing.assert_allclose(total.item(), norm, rtol=2e-6)
    np.testing.assert_allclose(gradients(params), flat * min(1.0, max_norm / (norm + 1e-6)), rtol=5e-6)
    assert all(a is q.grad.array for a, q in zip(arrays, params, strict=False))  # in place


def test_small_gradients_stay_exactly() -> None:
    params, flat = parameters()
    clip_grad_norm_(params, 1e6)
    np.testing.assert_array_equal(gradients(params), flat.astype(np.float32))


def test_nonfinite_norms() -> None:
    params, flat = parameters()
    params[1].grad.array[0] = np.inf
    with pytest.raises(RuntimeError, match=r"total norm of order 2\.0 for gradients .* is non-finite"):
        clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(params[0].grad.numpy().ravel(), flat[:12].astype(np.float32))  # untouched
    assert clip_grad_norm_(params, 1.0).item() == math.inf
    assert (params[0].grad.numpy() == 0).all()
    params[1].grad.array[0] = np.nan
    assert math.isnan(clip_grad_norm_(params, 1.0).item())
    assert np.isnan(params[0].grad.numpy()).all()


def test_no_gradients() -> None:
    assert clip_grad_norm_([nn.Parameter(minidl.zeros(2))], 1.0).item() == 0
    assert get_total_norm([]).item() == 0
    with pytest.warns(UserWarning, match="empty generator"):
        clip_grad_norm_((p for p in list[nn.Parameter]()), 1.0)


def test_a_single_tensor_and_other_dtypes() -> None:
    p = nn.Parameter(minidl.zeros(2, dtype=minidl.float64))
    p.grad = minidl.tensor([3.0, 4.0], dtype=minidl.float64)
    assert clip_grad_norm_(p, 1.0).item() == 5.0
    np.testing.assert_allclose(p.grad.numpy(), [0.6, 0.8], rtol=1e-6)
    assert p.grad.dtype == np.float64
    assert get_total_norm(minidl.tensor([3.0, 4.0])).item() == 5.0
    half = nn.Parameter(minidl.zeros(2, dtype=minidl.float16))
    half.grad = minidl.tensor([300.0, 400.0], dtype=minidl.float16)  # the squares overflow float16
    assert clip_grad_norm_(half, 1.0).item() == 500.0
    assert half.grad.dtype == np.float16
    np.testing.assert_allclose(half.grad.numpy(), [0.6, 0.8], rtol=2e-3)


def test_clipping_tells_autograd() -> None:
    params, _ = parameters()
    before = params[0].grad.version.count
    clip_grad_norm_(params, 1.0)
    clip_grad_value_(params, 1.0)
    assert params[0].grad.version.count == before + 2


def test_clip_grad_value() -> None:
    params, flat = parameters(scale=2.0)
    clip_grad_value_(params, 0.7)
    np.testing.assert_array_equal(
        gradients(params), np.clip(flat.astype(np.float32), np.float32(-0.7), np.float32(0.7))
    )


def test_parameter_vector_round_trip() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    vector = parameters_to_vector(net.parameters())
    assert vector.shape == (14,)
    np.testing.assert_array_equal(vector.detach().numpy()[:6], net[0].weight.detach().numpy().ravel())
    (vector * minidl.arange(14)).sum().backward()
    assert net[0].bias.grad.tolist() == [6.0, 7.0]

    weight = net[0].weight
    vector_to_parameters(minidl.arange(14), net.parameters())
    assert net[0].weight is weight and weight.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert weight.requires_grad and weight.is_leaf and weight.dtype == np.float32
    assert parameters_to_vector(net.parameters()).tolist() == list(range(14))
    with pytest.raises(ValueError, match=r"vector of shape \(14,\), got \(13,\)"):
        vector_to_parameters(minidl.zeros(13), net.parameters())
    with pytest.raises(TypeError, match="expected a Tensor"):
        vector_to_parameters(np.zeros(14), net.parameters())  # type: ignore[arg-type]
