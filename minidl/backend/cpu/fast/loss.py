"""Softmax and cross entropy in one pass over each row. Threads share the rows."""

from __future__ import annotations

import numpy as np

from minidl.backend.cpu.fast.emit import LANES
from minidl.backend.cpu.fast.jit import inner, kernel
from minidl.backend.cpu.fast.softmax import softmax_of
from minidl.backend.cpu.fast.team import address_of, hold, job_of, run


@inner
def _rows(who, part, first, last, x, labels, ignore_index, p, losses):
    """The softmax of the rows ``first`` to ``last`` of x (N, C) into p; −log of it at each label into losses (N), or 0."""
    lanes = np.empty(LANES, x.dtype)
    for i in range(first, last):
        row, label = x[i], labels[i]
        largest, total = softmax_of(row, p[i], lanes)
        losses[i] = 0 if label == ignore_index else np.log(total) - (row[label] - largest)


@inner
def _back(who, part, first, last, p, labels, ignore_index, share, dx):
    """dx = (p − onehot(label)) · share for the rows ``first`` to ``last``; 0 where the label is ignored."""
    for i in range(first, last):
        factor = share if labels[i] != ignore_index else p.dtype.type(0)
        row, target = p[i], dx[i]
        for k in range(row.size):
            target[k] = row[k] * factor
        if labels[i] != ignore_index:
            target[labels[i]] -= factor


_rows_job, _back_job = job_of(_rows), job_of(_back)


@kernel
def cross_entropy_rows(team, x, labels, ignore_index, p):
    """The softmax of x (N, C; float32) into p; the sum of the losses, and how many rows count.

    If a label is not a class, its row and −1 are returned instead.
    """
    count = 0
    for i in range(labels.size):
        if labels[i] != ignore_index:
            count += 1
            if labels[i] < 0 or labels[i] >= x.shape[1]:
                return float(i), -1
    losses = np.empty(labels.size, x.dtype)
    arguments = (x, labels, ignore_index, p, losses)
    run(team, _rows_job(arguments), address_of(arguments))
    summed = 0.0
    for i in range(labels.size):
        summed += losses[i]
    hold(arguments)
    return summed, count


@kernel
def cross_entropy_back(team, p, labels, ignore_index, scale, dx):
    """dx = (p − onehot(label)) · scale for every row; 0 where the label is ignored. ``scale`` is a number."""
    arguments = (p, labels, ignore_index, p.dtype.type(scale), dx)
    run(team, _back_job(arguments), address_of(arguments))
