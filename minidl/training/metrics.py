"""What is measured beside the loss. A metric takes outputs and targets of a batch and returns their mean score."""

from __future__ import annotations

from minidl.ops.sorting import topk
from minidl.tensor import Tensor


def accuracy(output: Tensor, target: Tensor) -> float:
    """The share of samples whose largest score is at the right class.

    Args:
        output: scores (N, C).
        target: class labels (N).
    """
    return float((output.array.argmax(axis=1) == target.array).mean())


def top_k_accuracy(output: Tensor, target: Tensor, k: int = 5) -> float:
    """The share of samples whose right class is among the ``k`` largest scores. Arguments as for ``accuracy``."""
    best = topk(output.detach(), k, dim=1).indices.array
    return float((best == target.array[:, None]).any(axis=1).mean())
