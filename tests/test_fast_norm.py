"""The compiled kernels of normalisation: what they round, on the shapes of real networks and on odd ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl.backend import Backend, backend_for
from minidl.backend.cpu.compiled import fast_kernels

cpu, reference = backend_for("cpu"), Backend("cpu", np, np.ndarray)
compiled = pytest.mark.skipif(fast_kernels() is None, reason="no compiled kernels here")


def error(actual: Any, expected: Any) -> float:
    """Relative to the norm of what was expected."""
    return float(np.linalg.norm(actual - expected) / (np.linalg.norm(expected) or 1.0))


@compiled
@pytest.mark.parametrize(
    "shape", [(3, 2, 3, 5, 7), (1, 1, 40, 8, 8), (5, 8, 8, 4, 6), (2, 3, 1, 1, 1), (4, 99, 1, 3, 1)], ids=str
)
@pytest.mark.parametrize("affine", ["both", "weight", "bias", "none"])
def test_groups_are_normalized(shape: tuple[int, ...], affine: str) -> None:
    """Channels first and last, in both precisions, far from 0 too."""
    rng = np.random.default_rng(0)
    x, g = 2 * rng.standard_normal(shape) + 30, rng.standard_normal(shape)
    vector, axes = (1, *shape[1:3], 1, 1), (2, 3, 4)
    weight = rng.standard_normal(vector) if affine in ("both", "weight") else None
    bias = rng.standard_normal(vector) if affine in ("both", "bias") else None
    y, mean, invstd = reference.normalize_batch(x, weight, bias, axes, 0.1)
    shapes = (shape[1] * shape[2],), vector
    grads = reference.normalize_grad(g, x, weight, mean, invstd, axes, vector, *shapes)
    for dtype, bound in (np.float32, 1e-5), (np.float64, 1e-12):
        xs, gs, ws, bs = (None if a is None else a.astype(dtype) for a in (x, g, weight, bias))
        last = np.ascontiguousarray(xs.transpose(0, 3, 4, 1, 2)).transpose(0, 3, 4, 1, 2)
        for images in xs, last:
            results = cpu.normalize_batch(images, ws, bs, axes, 0.1)
            assert images is xs or results[0].transpose(0, 3, 4, 1, 2).flags.c_contiguous
            back = cpu.normalize_grad(gs, images, ws, *results[1:], axes, vector, *shapes)
            for a, b in zip((*results, *back), (y, mean, invstd, *grads), strict=True):
                assert a.dtype == dtype and a.shape == b.shape and error(a, b) < bound


@compiled
@pytest.mark.parametrize("shape", [(1, 1), (7, 16), (3, 5, 17), (130, 2, 40), (2, 20_001), (4000, 3)], ids=str)
@pytest.mark.parametrize("affine", ["both", "weight", "bias", "none"])
def test_rows_are_normalized(shape: tuple[int, ...], affine: str) -> None:
    """Layer norm over the last axis and over all but the first, in both precisions, far from 0 too."""
    rng = np.random.default_rng(0)
    for axes in {(len(shape) - 1,), tuple(range(1, len(shape)))}:
        x, g = 2 * rng.standard_normal(shape) + 30, rng.standard_normal(shape)
        row = shape[axes[0] :]
        weight = rng.standard_normal(row) if affine in ("both", "weight") else None
        bias = rng.standard_normal(row) if affine in ("both", "bias") else None
        y, mean, invstd = reference.normalize_batch(x, weight, bias, axes, 0.1)
        grads = reference.normalize_grad(g, x, weight, mean, invstd, axes, row, row, row)
        for dtype, bound in (np.float32, 1e-5), (np.float64, 1e-12):
            xs, gs, ws, bs = (None if a is None else a.astype(dtype) for a in (x, g, weight, bias))
            results = cpu.normalize_batch(xs, ws, bs, axes, 0.1)
            back = cpu.normalize_grad(gs, xs, ws, *results[1:], axes, row, row, row)
            for a, b in zip((*results, *back), (y, mean, invstd, *grads), strict=True):
                assert a.dtype == dtype and a.shape == b.shape and error(a, b) < bound


@compiled
@pytest.mark.parametrize("shape", [(3, 5), (60, 100), (2, 3, 1, 2), (8, 16, 9, 7), (4, 600)], ids=str)
def test_running_statistics_follow_those_of_the_batch(shape: tuple[int, ...]) -> None:
    """Few rows, whose variance depends on the divisor, and many; rows of several positions, and wide ones."""
    rng = np.random.default_rng(0)
    for dtype, bound in (np.float32, 1e-6), (np.float64, 1e-14):
        x = rng.standard_normal((shape[0], *shape[2:], shape[1])).astype(dtype)
        x = x if x.ndim == 2 else x.transpose(0, 3, 1, 2)
        ours = rng.standard_normal(shape[1]).astype(dtype), rng.random(shape[1]).astype(dtype), 0.3
        theirs = ours[0].astype(float), ours[1].astype(float), 0.3
        axes = (0, *range(2, x.ndim))
        results = cpu.normalize_batch(x, None, None, axes, 0.1, ours)
        expected = reference.normalize_batch(x.astype(float), None, None, axes, 0.1, theirs)
        for a, b in zip((*results, *ours[:2]), (*expected, *theirs[:2]), strict=True):
            assert a.dtype == dtype and error(a, b) < bound
