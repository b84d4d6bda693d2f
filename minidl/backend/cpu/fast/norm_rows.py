"""Layer normalisation: every row of a matrix by its own mean and variance. Threads share the rows."""

from __future__ import annotations

import numpy as np

from minidl.backend.cpu.fast.jit import in_any_order, inner, kernel
from minidl.backend.cpu.fast.softmax import sum_of
from minidl.backend.cpu.fast.team import address_of, job_of, run

BLOCK = 4096  # numbers that are summed in x's own precision, before the sums of such blocks in float64


@inner
def _sum(row):
    total = 0.0
    for start in range(0, row.size, BLOCK):
        total += sum_of(row[start : start + BLOCK])
    return total


@in_any_order
def _squares_of(row, middle):
    total = row.dtype.type(0)
    for k in range(row.size):
        total += (row[k] - middle) * (row[k] - middle)
    return total


@inner
def _squares(row, middle):
    total = 0.0
    for start in range(0, row.size, BLOCK):
        total += _squares_of(row[start : start + BLOCK], middle)
    return total


@inner
def _rows(who, part, first, last, x, weight, bias, eps, y, mean, invstd):
    kind = x.dtype.type
    for i in range(first, last):
        row, target = x[i], y[i]
        middle = kind(_sum(row) / row.size)
        scale = kind(1 / np.sqrt(_squares(row, middle) / row.size + eps))
        mean[i], invstd[i] = middle, scale
        if weight.size and bias.size:
            for k in range(row.size):
                target[k] = (row[k] - middle) * (scale * weight[k]) + bias[k]
            continue
        for k in range(row.size):
            target[k] = (row[k] - middle) * (scale * weight[k] if weight.size else scale)
        for k in range(bias.size):
            target[k] += bias[k]


@in_any_order
def _sums_of(h, x, middle, scale):
    """Σ h and Σ h · x̂ of some numbers in a row, for x̂ = (x − middle) · scale."""
    total = product = x.dtype.type(0)
    for k in range(x.size):
        total += h[k]
        product += h[k] * ((x[k] - middle) * scale)
    return total, product


@inner
def _means(h, x, middle, scale):
    """The means of h and h · x̂ over a row."""
    total = product = 0.0
    for start in range(0, x.size, BLOCK):
        some = _sums_of(h[start : start + BLOCK], x[start : start + BLOCK], middle, scale)
        total += some[0]
        product += some[1]
    kind = x.dtype.type
    return kind(total / x.size), kind(product / x.size)


@inner
def _back(who, part, first, last, g, x, weight, mean, invstd, dx, dweights, dbiases):
    """dx of the rows ``first`` to ``last``; what they give to weight's and bias's, if wanted, in ``part`` of both."""
    width, dweight, dbias = x.shape[1], dweights[part], dbiases[part]
    for k in range(dweight.size):
        dweight[k] = dbias[k] = 0
    for i in range(first, last):
        cotangent, row, target = g[i], x[i], dx[i]
        scale, middle = invstd[i], mean[i]
        if weight.size:
            for k in range(width):
                target[k] = cotangent[k] * weight[k]
            a, b = _means(target, row, middle, scale)
            for k in range(width):
                target[k] = (target[k] - a - (row[k] - middle) * scale * b) * scale
        else:
            a, b = _means(cotangent, row, middle, scale)
            for k in range(width):
                target[k] = (cotangent[k] - a - (row[k] - middle) * scale * b) * scale
        for k in range(dweight.size):
            dweight[k] += cotangent[k] * ((row[k] - middle) * scale)
            dbias[k] += cotangent[k]


_rows_job, _back_job = job_of(_rows), job_of(_back)


@kernel
def normalize_rows(team, *arguments):
    """y = (x − mean) / √(variance + eps) · weight + bias for every row of x (R, D), and both statistics.

    Arguments: x, weight, bias (D, or empty), eps, y, mean, 1 / √(variance + eps) (R).
    """
    run(team, _rows_job(arguments), address_of(arguments))


@kernel
def normalize_rows_back(team, *arguments):
    """The gradients: dx, and for every part of the team those of weight and bias, (parts, D), or (parts, 0) if nobody asks.

    Arguments: g, x (R, D), weight (D, or empty), mean, invstd (R), dx, dweights, dbiases.
    """
    run(team, _back_job(arguments), address_of(arguments))
