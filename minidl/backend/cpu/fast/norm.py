"""Batch normalisation over the columns of a matrix (positions × channels), in as few passes over memory as there can be.

Short rows make slow loops. So several positions may be taken as one wide row, of ``repeats`` · channels numbers; what belongs to
a channel is then repeated along it, and sums over columns are added up at the end.
"""

from __future__ import annotations

import numpy as np

from minidl.backend.cpu.fast.elementwise import above_zero, between
from minidl.backend.cpu.fast.functions import sigmoid_of
from minidl.backend.cpu.fast.jit import data, inner, kernel
from minidl.backend.cpu.fast.team import address_of, hold, job_of, run

BLOCK = 64  # rows at a time: they stay in the first-level cache


@inner
def _moments(who, part, first, last, x, means, squares):
    """Mean and summed squared deviation of every column over some rows: into means[part], squares[part] (float64).

    One pass over memory: every block is read once, and its own mean and deviations are joined with those of the blocks
    before it (Chan, Golub & LeVeque 1983, equations 2.1), so nothing cancels as in E[x²] − E[x]².
    """
    width = x.shape[1]
    mean, m2 = means[part], squares[part]
    total, square = np.empty(width, x.dtype), np.empty(width, x.dtype)
    for k in range(width):
        mean[k] = m2[k] = 0
    for start in range(first, last, BLOCK):
        stop = min(start + BLOCK, last)
        count, before = stop - start, start - first
        share = x.dtype.type(1 / count)
        for k in range(width):
            total[k] = square[k] = 0
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
        piece, both = count / (before + count), before * count / (before + count)
        for k in range(width):
            delta = total[k] - mean[k]
            mean[k] += delta * piece
            m2[k] += square[k] + delta * delta * both


@inner
def _normalize(who, part, first, last, x, mean, scale, shift, then, y):
    """y = (x − mean) · scale + shift, and of that the rectified (``then`` is 1), the sigmoid (2; of float32) or ReLU6 (3)."""
    width = x.shape[1]
    for start in range(first, last, BLOCK):
        stop = min(start + BLOCK, last)
        for i in range(start, stop):
            row, target = x[i], y[i]
            for k in range(width):
                target[k] = (row[k] - mean[k]) * scale[k] + shift[k]
        block = y[start:stop].reshape(-1)  # row by row, the last vector of each would not be full
        if then == 1:
            for k in range(block.size):
                block[k] = above_zero(block[k])
        elif then == 2:
            for k in range(block.size):
                block[k] = sigmoid_of(block[k])
        elif then == 3:
            for k in range(block.size):
                block[k] = between(block[k], y.dtype.type(0), y.dtype.type(6))


@inner
def _through(then, g, y, line):
    """The cotangent of what became y by ``then`` (see ``_normalize``; not 0), for the cotangent g of y: into ``line``."""
    zero, one = g.dtype.type(0), g.dtype.type(1)
    if then == 2:
        for k in range(line.size):
            line[k] = g[k] * (y[k] * (one - y[k]))
        return line
    most = g.dtype.type(6 if then == 3 else np.nan)  # nothing is above that
    for k in range(line.size):
        line[k] = zero if (y[k] <= zero) | (y[k] >= most) else g[k]
    return line


@inner
def _sums(who, part, first, last, g, x, mean, then, y, dx, totals, products):
    """Σ g and Σ g · (x − mean) of every column over some rows: into totals[part], products[part] (float64).

    With ``then`` g is first taken back through what made y (see ``_through``), and is left in dx.
    """
    width = x.shape[1]
    total, product = totals[part], products[part]
    sum_g, sum_gx = np.empty(width, x.dtype), np.empty(width, x.dtype)
    for k in range(width):
        total[k] = product[k] = 0
    for start in range(first, last, BLOCK):
        for k in range(width):
            sum_g[k] = sum_gx[k] = 0
        for i in range(start, min(start + BLOCK, last)):
            row, cotangent = x[i], g[i]
            if then:
                cotangent = _through(then, cotangent, y[i], dx[i])
            for k in range(width):
                sum_g[k] += cotangent[k]
                sum_gx[k] += cotangent[k] * (row[k] - mean[k])
        for k in range(width):
            total[k] += sum_g[k]
            product[k] += sum_gx[k]


@inner
def _back(who, part, first, last, g, x, mean, a, b, c, dx):
    """dx = a · g + b · (x − mean) + c; g may be dx."""
    width = x.shape[1]
    in_place = data(g) == data(dx)
    for i in range(first, last):
        row, cotangent, target = x[i], g[i], dx[i]
        if in_place:
            for k in range(width):
                target[k] = a[k] * target[k] + (b[k] * (row[k] - mean[k]) + c[k])
            continue
        for k in range(width):
            target[k] = a[k] * cotangent[k] + (b[k] * (row[k] - mean[k]) + c[k])


@inner
def _totals(who, part, first, last, x, totals):
    """Σ x of every column over some rows: into totals[part] (float64)."""
    width, total = x.shape[1], totals[part]
    sum_x = np.empty(width, x.dtype)
    for k in range(width):
        total[k] = 0
    for start in range(first, last, BLOCK):
        for k in range(width):
            sum_x[k] = 0
        for i in range(start, min(start + BLOCK, last)):
            row = x[i]
            for k in range(width):
                sum_x[k] += row[k]
        for k in range(width):
            total[k] += sum_x[k]


_moments_job, _normalize_job, _sums_job, _back_job = job_of(_moments), job_of(_normalize), job_of(_sums), job_of(_back)
_totals_job = job_of(_totals)


@inner
def _repeat(v, repeats):
    """v, ``repeats`` times in a row."""
    if repeats == 1:
        return v
    out = np.empty(repeats * v.size, v.dtype)
    for i in range(repeats):
        line = out[i * v.size :]
        for k in range(v.size):
            line[k] = v[k]
    return out


@inner
def _normalize_all(team, x, repeats, mean, scale, shift, then, y):
    """y = (x − mean) · scale + shift, for mean, scale and shift of every channel; for ``then`` see ``_normalize``."""
    arguments = (x, _repeat(mean, repeats), _repeat(scale, repeats), _repeat(shift, repeats), then, y)
    run(team, _normalize_job(arguments), address_of(arguments))
    hold(arguments)


@inner
def _normalize_by(team, x, repeats, weight, bias, mean, variance, eps, then, y, invstd):
    """Normalisation by given statistics (C); weight and bias may be empty. Fills y and invstd; ``then`` as in ``_normalize``."""
    scale, shift = np.empty(mean.size, x.dtype), np.empty(mean.size, x.dtype)
    for k in range(mean.size):
        invstd[k] = 1 / np.sqrt(variance[k] + x.dtype.type(eps))
        scale[k] = invstd[k] * weight[k] if weight.size else invstd[k]
        shift[k] = bias[k] if bias.size else 0
    _normalize_all(team, x, repeats, mean, scale, shift, then, y)


@kernel
def normalize(team, *arguments):  # see _normalize_all
    _normalize_all(team, *arguments)


@kernel
def normalize_by(team, *arguments):  # see _normalize_by
    _normalize_by(team, *arguments)


@kernel
def normalize_batch(
    team, x, repeats, weight, bias, eps, running_mean, running_variance, momentum, then, y, mean, invstd
):  # fmt: skip
    """Batch normalisation, and the statistics of every channel.

    Args:
        x, y: (positions / repeats, repeats · C).
        weight, bias: (C), or empty.
        running_mean, running_variance: (C), moved towards the batch's by ``momentum``; or empty.
        then: what is done to y in the same pass, see ``_normalize``.
        mean, invstd: (C), to be filled.
    """
    _, _, length, parts = team
    channels = mean.size
    means, squares = np.empty((parts, x.shape[1])), np.empty((parts, x.shape[1]))
    arguments = (x, means, squares)
    run(team, _moments_job(arguments), address_of(arguments))
    exact, m2, count = np.zeros(channels), np.zeros(channels), 0
    for part in range(parts):
        more = length * (part + 1) // parts - length * part // parts
        for r in range(repeats):  # joined as in ``_moments``
            piece, both = more / (count + more), count * more / (count + more)
            for k in range(channels):
                delta = means[part, r * channels + k] - exact[k]
                exact[k] += delta * piece
                m2[k] += squares[part, r * channels + k] + delta * delta * both
            count += more
    variance = np.empty(channels, x.dtype)
    for k in range(channels):
        mean[k], variance[k] = exact[k], m2[k] / count
    if running_mean.size:
        kind = x.dtype.type
        keep, fresh, unbiased = kind(1 - momentum), kind(momentum), kind(momentum * count / max(count - 1, 1))
        for k in range(channels):
            running_mean[k] = keep * running_mean[k] + fresh * mean[k]
            running_variance[k] = keep * running_variance[k] + unbiased * variance[k]
    _normalize_by(team, x, repeats, weight, bias, mean, variance, eps, then, y, invstd)


@inner
def _add_up(found, sums):
    """For every channel, what was found of it in every part and repetition, (parts, repeats · C)."""
    exact = np.zeros(sums.size)
    for part in range(len(found)):
        for first in range(0, found.shape[1], sums.size):
            for k in range(sums.size):
                exact[k] += found[part, first + k]
    for k in range(sums.size):
        sums[k] = exact[k]


@kernel
def channel_sums(team, x, sums):
    """The sums over the rows of x (positions / repeats, repeats · C), for every channel."""
    _, _, _, parts = team
    totals = np.empty((parts, x.shape[1]))
    arguments = (x, totals)
    run(team, _totals_job(arguments), address_of(arguments))
    _add_up(totals, sums)


@kernel
def channel_products(team, g, x, repeats, mean, sums):
    """Σ g · (x − mean) over the rows of x (positions / repeats, repeats · C), for every channel; mean is (C)."""
    _, _, _, parts = team
    totals, products = np.empty((parts, x.shape[1])), np.empty((parts, x.shape[1]))
    arguments = (g, x, _repeat(mean, repeats), 0, g, g, totals, products)
    run(team, _sums_job(arguments), address_of(arguments))
    _add_up(products, sums)
    hold(arguments)


@kernel
def normalize_back(team, g, x, repeats, weight, mean, invstd, then, y, dx, dweight, dbias):
    """The gradients of batch normalisation: dx, and those of weight and bias, (C) each; weight may be empty.

    ``then`` is what was done to the result (see ``_normalize``), y what came of it (empty if nothing), and g its cotangent.
    """
    _, _, _, parts = team
    channels = mean.size
    totals, products = np.empty((parts, x.shape[1])), np.empty((parts, x.shape[1]))
    middle = _repeat(mean, repeats)
    arguments = (g, x, middle, then, y, dx, totals, products)
    run(team, _sums_job(arguments), address_of(arguments))
    total, product, count = np.empty(channels), np.empty(channels), len(x) * repeats
    _add_up(totals, total)
    _add_up(products, product)
    a, b, c = np.empty(channels, x.dtype), np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    for k in range(channels):
        inverse = np.float64(invstd[k])
        factor = inverse * weight[k] if weight.size else inverse
        a[k], b[k], c[k] = factor, -factor * inverse * inverse * product[k] / count, -factor * total[k] / count
        dweight[k], dbias[k] = product[k] * inverse, total[k]
    factors = (dx if then else g, x, middle, _repeat(a, repeats), _repeat(b, repeats), _repeat(c, repeats), dx)
    run(team, _back_job(factors), address_of(factors))
    hold(factors)
