"""Softmax, its logarithm and their gradients, row by row. Threads share the rows."""

from __future__ import annotations

import numpy as np

from minidl.backend.cpu.fast.emit import LANES
from minidl.backend.cpu.fast.functions import exp
from minidl.backend.cpu.fast.jit import in_any_order, inner, kernel
from minidl.backend.cpu.fast.team import address_of, job_of, run


@inner
def _largest(row, lanes):
    """The largest number of a row, collected in 16 places that lie in a vector: in one, every step would wait for the last."""
    largest, whole = row[0], row.size - row.size % LANES
    if whole:
        for j in range(LANES):
            lanes[j] = row[j]
        for k in range(LANES, whole, LANES):
            piece = row[k : k + LANES]
            for j in range(LANES):
                lanes[j] = piece[j] if piece[j] > lanes[j] else lanes[j]
        largest = lanes[0]
        for j in range(1, LANES):
            largest = lanes[j] if lanes[j] > largest else largest
    for k in range(max(1, whole), row.size):
        largest = row[k] if row[k] > largest else largest
    return largest


@in_any_order
def sum_of(row):
    total = row.dtype.type(0)
    for k in range(row.size):
        total += row[k]
    return total


@inner
def softmax_of(row, target, lanes):
    """The softmax of a row into ``target``; returns its largest number, and Σ exp(row − largest). ``lanes``: room for 16."""
    largest = _largest(row, lanes)
    for k in range(row.size):
        target[k] = exp(row[k] - largest)
    total = sum_of(target)
    share = row.dtype.type(1) / total
    for k in range(row.size):
        target[k] *= share
    return largest, total


@inner
def _softmax(who, part, first, last, x, y):
    lanes = np.empty(LANES, x.dtype)
    for i in range(first, last):
        softmax_of(x[i], y[i], lanes)


@inner
def _log_softmax(who, part, first, last, x, y):
    lanes = np.empty(LANES, x.dtype)
    for i in range(first, last):
        row, target = x[i], y[i]
        largest = _largest(row, lanes)
        for k in range(row.size):
            target[k] = exp(row[k] - largest)
        log_total = np.log(sum_of(target))
        for k in range(row.size):
            target[k] = (row[k] - largest) - log_total


@inner
def _softmax_back(who, part, first, last, g, y, dx):
    """dx = y · (g − Σ g · y)."""
    for i in range(first, last):
        cotangent, row, target = g[i], y[i], dx[i]
        for k in range(row.size):
            target[k] = cotangent[k] * row[k]
        total = sum_of(target)
        for k in range(row.size):
            target[k] -= row[k] * total


@inner
def _log_softmax_back(who, part, first, last, g, y, dx):
    """dx = g − exp(y) · Σ g."""
    for i in range(first, last):
        cotangent, row, target = g[i], y[i], dx[i]
        total = sum_of(cotangent)
        for k in range(row.size):
            target[k] = cotangent[k] - exp(row[k]) * total


_softmax_job, _softmax_back_job = job_of(_softmax), job_of(_softmax_back)
_log_softmax_job, _log_softmax_back_job = job_of(_log_softmax), job_of(_log_softmax_back)


@kernel
def softmax_rows(team, *arguments):  # x (N, C), y
    run(team, _softmax_job(arguments), address_of(arguments))


@kernel
def softmax_back(team, *arguments):  # g, y (N, C), dx
    run(team, _softmax_back_job(arguments), address_of(arguments))


@kernel
def log_softmax_rows(team, *arguments):  # x (N, C), y
    run(team, _log_softmax_job(arguments), address_of(arguments))


@kernel
def log_softmax_back(team, *arguments):  # g, y (N, C), dx
    run(team, _log_softmax_back_job(arguments), address_of(arguments))
