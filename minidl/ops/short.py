"""The short way of sums, differences and products.

What ``Op.__call__`` has to find out about its inputs takes longer than to add a few numbers. But operators are most often given a
Tensor and another one of its floating point dtype, or a number, all small and on the CPU: then there is nothing to find out. The
result and the graph are the same (``tests/test_short.py`` holds both ways together). Whatever else they are given goes the
ordinary way, and so does what NumPy cannot do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy import asarray, ndarray

from minidl.autograd.mode import mode
from minidl.ops.base import Op, new
from minidl.tensor import Tensor

SMALL = 1 << 12  # elements: for more, the ordinary way may have more than one thread


def short(op: type[Op], compute: Callable[[Any, Any], Any], a: Any, b: Any) -> Tensor:
    """``op()(a, b)`` for a Tensor a; ``compute`` is what ``op.forward`` does to two arrays, or an array and a number."""
    p = a.array
    q = b.array if isinstance(b, Tensor) else b
    kind, result = type(q), None
    if (
        type(p) is ndarray
        and p.size < SMALL
        and p.dtype.kind == "f"
        and (q.dtype is p.dtype and q.size < SMALL if kind is ndarray else kind is float or kind is int)
    ):
        try:
            result = compute(p, q)
        except Exception:
            result = None  # the ordinary way raises it again, and says where
    if result is None:
        return op()(a, b)
    y = new(Tensor)
    y.array = result if type(result) is ndarray else asarray(result)  # NumPy makes scalars of 0-d results
    if mode.recording:
        op()._record((a, b), y)
    return y
