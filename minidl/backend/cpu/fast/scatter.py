"""Adding rows to the rows of a matrix that an index names, one after the other: what comes twice is added twice."""

from __future__ import annotations

from minidl.backend.cpu.fast.jit import kernel


@kernel
def add_rows(index, values, target):
    """target[index[i]] += values[i] for every i; target (N, C), values (len(index), C). Negative indices count from the end.

    Returns the first i whose index is out of range, before anything is added, or −1.
    """
    n, width = target.shape
    for i in range(index.size):
        if index[i] < -n or index[i] >= n:
            return i
    if width == 1:
        for i in range(index.size):
            target[index[i] + n if index[i] < 0 else index[i], 0] += values[i, 0]
        return -1
    for i in range(index.size):
        row, added = target[index[i] + n if index[i] < 0 else index[i]], values[i]
        for k in range(row.size):
            row[k] += added[k]
    return -1
