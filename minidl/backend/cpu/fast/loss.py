"""Softmax and cross entropy in one pass over each row."""

from __future__ import annotations

import numpy as np

from minidl.backend.cpu.fast.jit import kernel


@kernel
def cross_entropy_rows(x, labels, ignore_index, p):
    """The softmax of x (N, C) into p; the sum of the losses, and how many rows count.

    If a label is not a class, its row and −1 are returned instead.
    """
    n, classes = x.shape
    summed, count = 0.0, 0
    for i in range(n):
        row, target = x[i], p[i]
        label = labels[i]
        ignored = label == ignore_index
        if not ignored and (label < 0 or label >= classes):
            return float(i), -1
        largest = row[0]
        for k in range(1, classes):
            largest = max(largest, row[k])
        total = x.dtype.type(0)
        for k in range(classes):
            e = np.exp(row[k] - largest)
            target[k] = e
            total += e
        share = 1 / total
        for k in range(classes):
            target[k] *= share
        if not ignored:
            summed += np.log(total) - (row[label] - largest)
            count += 1
    return summed, count


@kernel
def cross_entropy_back(p, labels, ignore_index, scale, dx):
    """dx = (p − onehot(label)) · scale for every row; 0 where the label is ignored. ``scale`` is a number."""
    share = p.dtype.type(scale)
    for i in range(len(p)):
        factor = share if labels[i] != ignore_index else p.dtype.type(0)
        row, target = p[i], dx[i]
        for k in range(p.shape[1]):
            target[k] = row[k] * factor
        if labels[i] != ignore_index:
            target[labels[i]] -= factor
