"""Group normalisation: every sample's groups of channels by their own mean and variance. Threads share the samples.

A sample is a matrix (positions × channels), whose columns are treated as in batch normalisation (``norm.py``, also for
``repeats``); what is found of each column is then joined to what is known of its group.
"""

from __future__ import annotations

import numpy as np

from minidl.backend.cpu.fast.jit import inner, kernel
from minidl.backend.cpu.fast.norm import _back as _columns_back
from minidl.backend.cpu.fast.norm import _moments, _normalize, _sums
from minidl.backend.cpu.fast.team import address_of, job_of, run


@inner
def _forward(who, part, first, last, x, weight, bias, eps, y, mean, invstd):
    _, rows, width = x.shape
    groups, channels = mean.shape[1], weight.size
    size = channels // groups
    means, squares = np.empty((1, width)), np.empty((1, width))
    middle, scale, shift = np.empty(width, x.dtype), np.empty(width, x.dtype), np.empty(width, x.dtype)
    for n in range(first, last):
        _moments(0, 0, 0, rows, x[n], means, squares)
        for group in range(groups):
            exact, m2, count = 0.0, 0.0, 0
            for start in range(group * size, width, channels):
                for k in range(start, start + size):  # joined as in ``_moments``
                    delta = means[0, k] - exact
                    exact += delta / (count + 1)
                    m2 += squares[0, k] + delta * delta * rows * count / (count + 1)
                    count += 1
            mean[n, group], invstd[n, group] = exact, 1 / np.sqrt(m2 / (count * rows) + eps)
        for k in range(width):
            channel = k % channels
            middle[k] = mean[n, channel // size]
            scale[k], shift[k] = invstd[n, channel // size] * weight[channel], bias[channel]
        _normalize(0, 0, 0, rows, x[n], middle, scale, shift, 0, y[n])


@inner
def _back(who, part, first, last, g, x, weight, mean, invstd, dx, dweights, dbiases):
    """dx of some samples; what each of them gives to the gradients of weight and bias: into dweights[n], dbiases[n]."""
    _, rows, width = x.shape
    groups, channels = mean.shape[1], weight.size
    size = channels // groups
    count = rows * (width // channels) * size  # of numbers in a group
    totals, products, middle = np.empty((1, width)), np.empty((1, width)), np.empty(width, x.dtype)
    a, b, c = np.empty(width, x.dtype), np.empty(width, x.dtype), np.empty(width, x.dtype)
    for n in range(first, last):
        for k in range(width):
            middle[k] = mean[n, k % channels // size]
        _sums(0, 0, 0, rows, g[n], x[n], middle, 0, dx[n], dx[n], totals, products)
        dweight, dbias = dweights[n], dbiases[n]
        for k in range(channels):
            dweight[k] = dbias[k] = 0
        for group in range(groups):
            inverse, total, product = np.float64(invstd[n, group]), 0.0, 0.0
            for start in range(group * size, width, channels):
                for k in range(start, start + size):
                    channel = k % channels
                    total += totals[0, k] * weight[channel]
                    product += products[0, k] * weight[channel]
                    dbias[channel] += totals[0, k]
                    dweight[channel] += products[0, k] * inverse
            for start in range(group * size, width, channels):
                for k in range(start, start + size):
                    a[k], c[k] = inverse * weight[k % channels], -inverse * total / count
                    b[k] = -inverse * inverse * inverse * product / count
        _columns_back(0, 0, 0, rows, g[n], x[n], middle, a, b, c, dx[n])


_forward_job, _back_job = job_of(_forward), job_of(_back)


@kernel
def normalize_groups(team, *arguments):
    """y = (x − mean) · invstd · weight + bias, where mean and invstd = 1 / √(variance + eps) are those of a sample's group.

    Args:
        x, y: (N, positions / repeats, repeats · C).
        weight, bias: (C).
        eps: a number.
        mean, invstd: (N, groups), to be filled.
    """
    run(team, _forward_job(arguments), address_of(arguments))


@kernel
def normalize_groups_back(team, *arguments):
    """The gradients for x, and what each sample gives to those for weight and bias.

    Args:
        g, x, dx: (N, positions / repeats, repeats · C).
        weight: (C). mean, invstd: (N, groups).
        dweights, dbiases: (N, C), float64, to be filled.
    """
    run(team, _back_job(arguments), address_of(arguments))
