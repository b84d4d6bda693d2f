"""Softmax and cross entropy in one pass over each row."""

from __future__ import annotations

import numpy as np

from minidl.backend.cpu.fast.jit import kernel


@kernel
def cross_entropy_rows(x, labels, ignore_index, first, last, losses, p):  # type: ignore[no-untyped-def]
    """The rows ``first`` to ``last`` of x (N, C): losses (N) and softmax p (N, C).

    Returns the first row whose label is not a class, or −1.
    """
    classes = x.shape[1]
    for i in range(first, last):
        row, target = x[i], p[i]
        label = labels[i]
        ignored = label == ignore_index
        if not ignored and (label < 0 or label >= classes):
            return i
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
        losses[i] = x.dtype.type(0) if ignored else np.log(total) - (row[label] - largest)
    return -1


@kernel
def cross_entropy_back(p, labels, ignore_index, scale, dx):  # type: ignore[no-untyped-def]
    """dx = (p − onehot(label)) · scale for every row; 0 where the label is ignored. ``scale`` is (N) or (1)."""
    zero = p.dtype.type(0)
    for i in range(len(p)):
        factor = scale[i % len(scale)] if labels[i] != ignore_index else zero
        row, target = p[i], dx[i]
        for k in range(p.shape[1]):
            target[k] = row[k] * factor
        if labels[i] != ignore_index:
            target[labels[i]] -= factor
