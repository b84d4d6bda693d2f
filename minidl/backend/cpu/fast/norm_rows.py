"""Layer normalisation: every row of a matrix by its own mean and variance. Threads share the rows."""

from __future__ import annotations

import numpy as np

from minidl.backend.cpu.fast.emit import LANES
from minidl.backend.cpu.fast.jit import inner, kernel
from minidl.backend.cpu.fast.softmax import sum_of
from minidl.backend.cpu.fast.team import address_of, job_of, run

BLOCK = 4096  # numbers that are summed in x's own precision, before the sums of such blocks in float64


@inner
def _sum(row, lanes):
    total = 0.0
    for start in range(0, row.size, BLOCK):
        total += sum_of(row[start : start + BLOCK], lanes)
    return total


@inner
def _sum_of_products(a, b, lanes):
    total = 0.0
    for start in range(0, a.size, BLOCK):
        total += _dot(a[start : start + BLOCK], b[start : start + BLOCK], lanes)
    return total


@inner
def _dot(a, b, lanes):
    """Σ a · b, collected in 16 places (see ``softmax.py``)."""
    whole = a.size - a.size % LANES
    for j in range(LANES):
        lanes[j] = 0
    for k in range(0, whole, LANES):
        left, right = a[k : k + LANES], b[k : k + LANES]
        for j in range(LANES):
            lanes[j] += left[j] * right[j]
    total = lanes[0]
    for j in range(1, LANES):
        total += lanes[j]
    for k in range(whole, a.size):
        total += a[k] * b[k]
    return total


@inner
def _rows(who, part, first, last, x, weight, bias, eps, y, mean, invstd):
    lanes, kind = np.empty(LANES, x.dtype), x.dtype.type
    for i in range(first, last):
        row, target = x[i], y[i]
        middle = kind(_sum(row, lanes) / row.size)
        for k in range(row.size):
            target[k] = row[k] - middle
        scale = kind(1 / np.sqrt(_sum_of_products(target, target, lanes) / row.size + eps))
        mean[i], invstd[i] = middle, scale
        if weight.size and bias.size:
            for k in range(row.size):
                target[k] = target[k] * (scale * weight[k]) + bias[k]
            continue
        for k in range(row.size):
            target[k] *= scale * weight[k] if weight.size else scale
        for k in range(bias.size):
            target[k] += bias[k]


@inner
def _back(who, part, first, last, g, x, weight, mean, invstd, dx, dweights, dbiases):
    """dx of the rows ``first`` to ``last``; what they give to weight's and bias's into dweights[part], dbiases[part]."""
    lanes, centred = np.empty(LANES, x.dtype), np.empty(x.shape[1], x.dtype)
    kind, dweight, dbias = x.dtype.type, dweights[part], dbiases[part]
    for k in range(centred.size):
        dweight[k] = dbias[k] = 0
    for i in range(first, last):
        cotangent, row, target = g[i], x[i], dx[i]
        scale, middle = invstd[i], mean[i]
        for k in range(row.size):
            centred[k] = (row[k] - middle) * scale
        for k in range(row.size):
            dweight[k] += cotangent[k] * centred[k]
            dbias[k] += cotangent[k]
        if weight.size:
            for k in range(row.size):
                target[k] = cotangent[k] * weight[k]
        else:
            for k in range(row.size):
                target[k] = cotangent[k]
        a, b = kind(_sum(target, lanes) / row.size), kind(_sum_of_products(target, centred, lanes) / row.size)
        for k in range(row.size):
            target[k] = (target[k] - a - centred[k] * b) * scale


_rows_job, _back_job = job_of(_rows), job_of(_back)


@kernel
def normalize_rows(team, *arguments):
    """y = (x − mean) / √(variance + eps) · weight + bias for every row of x (R, D), and both statistics.

    Arguments: x, weight, bias (D, or empty), eps, y, mean, 1 / √(variance + eps) (R).
    """
    run(team, _rows_job(arguments), address_of(arguments))


@kernel
def normalize_rows_back(team, *arguments):
    """The gradients: dx, and for every part of the team those of weight and bias, (parts, D).

    Arguments: g, x (R, D), weight (D, or empty), mean, invstd (R), dx, dweights, dbiases.
    """
    run(team, _back_job(arguments), address_of(arguments))
