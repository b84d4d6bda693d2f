"""Batch normalisation over the columns of a matrix (positions × channels), in as few passes over memory as there can be."""

from __future__ import annotations

import numpy as np

from minidl.backend.cpu.fast.jit import kernel

BLOCK = 64  # rows that are summed up at a time, from the first-level cache


@kernel
def column_moments(x, first, last, mean, m2):
    """Mean and summed squared deviation of every column over the rows ``first`` to ``last``, into float64 arrays.

    One pass over memory: every block is read once, and its own mean and deviations are joined with those of the blocks
    before it (Chan, Golub & LeVeque 1983, equations 2.1), so nothing cancels as in E[x²] − E[x]².
    """
    width = x.shape[1]
    total, square = np.empty(width, x.dtype), np.empty(width, x.dtype)
    mean[:] = 0
    m2[:] = 0
    for start in range(first, last, BLOCK):
        stop = min(start + BLOCK, last)
        count, before = stop - start, start - first
        share = x.dtype.type(1 / count)
        total[:] = 0
        square[:] = 0
        for i in range(start, stop):
            row = x[i]
            for k in range(width):
                total[k] += row[k]
        for k in range(width):
            total[k] *= share
        for i in range(start, stop):
            row = x[i]
            for k in range(width):
                d = row[k] - total[k]
                square[k] += d * d
        part, both = count / (before + count), before * count / (before + count)
        for k in range(width):
            delta = total[k] - mean[k]
            mean[k] += delta * part
            m2[k] += square[k] + delta * delta * both


@kernel
def normalize_columns(x, first, last, mean, scale, shift, y):
    """y = (x − mean) · scale + shift for the rows ``first`` to ``last``."""
    width = x.shape[1]
    for i in range(first, last):
        row, target = x[i], y[i]
        for k in range(width):
            target[k] = (row[k] - mean[k]) * scale[k] + shift[k]


@kernel
def normalize_whole(x, weight, bias, eps, y, mean, variance, invstd):
    """Batch normalisation of a small matrix in one call: y and the statistics of every column; weight or bias may be empty."""
    count, width = x.shape
    exact, m2 = np.empty(width), np.empty(width)
    column_moments(x, 0, count, exact, m2)
    scale, shift = np.ones(width, x.dtype), np.zeros(width, x.dtype)
    for k in range(width):
        mean[k], variance[k] = exact[k], m2[k] / count
        invstd[k] = 1 / np.sqrt(variance[k] + x.dtype.type(eps))
        scale[k] = invstd[k]
    if weight.size:
        for k in range(width):
            scale[k] *= weight[k]
    if bias.size:
        shift[:] = bias
    normalize_columns(x, 0, count, mean, scale, shift, y)


@kernel
def normalize_sums(g, x, first, last, mean, total, product):
    """Σ g and Σ g · (x − mean) of every column over the rows ``first`` to ``last``, into float64 arrays."""
    width = x.shape[1]
    sum_g, sum_gx = np.empty(width, x.dtype), np.empty(width, x.dtype)
    total[:] = 0
    product[:] = 0
    for start in range(first, last, BLOCK):
        sum_g[:] = 0
        sum_gx[:] = 0
        for i in range(start, min(start + BLOCK, last)):
            row, cotangent = x[i], g[i]
            for k in range(width):
                sum_g[k] += cotangent[k]
                sum_gx[k] += cotangent[k] * (row[k] - mean[k])
        for k in range(width):
            total[k] += sum_g[k]
            product[k] += sum_gx[k]


@kernel
def normalize_back(g, x, first, last, mean, a, b, c, dx):
    """dx = a · g + b · (x − mean) + c for the rows ``first`` to ``last``."""
    width = x.shape[1]
    for i in range(first, last):
        row, cotangent, target = x[i], g[i], dx[i]
        for k in range(width):
            target[k] = a[k] * cotangent[k] + (b[k] * (row[k] - mean[k]) + c[k])
