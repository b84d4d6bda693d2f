"""Stacking: a linear classifier that learns how to combine the members' outputs.

Source: Wolpert, "Stacked generalization", Neural Networks 1992; with class probabilities as its inputs, Ting and Witten, "Issues
in stacked generalization", JAIR 1999.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minidl
from minidl import nn
from minidl.ensemble.arrays import as_numpy, read_labels, read_scores
from minidl.nn import Module
from minidl.nn import functional as F
from minidl.tensor import Tensor

FLOOR = -10.0  # log-probabilities below this count as this: how sure a member is of what it excludes says little


class Stacker(Module):
    """Linear scores of the members' log-probabilities. Before ``fit`` it is their mean: the geometric mean of probabilities.

    Args:
        members, classes: M and C.

    Shapes: the members' scores (M, N, C) to log-probabilities (N, C).
    """

    def __init__(self, members: int, classes: int) -> None:
        super().__init__()
        if not isinstance(classes, int) or classes < 2:
            raise ValueError(f"stacked voting: num_classes should be an integer of at least 2, got {classes!r}")
        self.members, self.classes = members, classes
        self.linear = nn.Linear(members * classes, classes)
        with minidl.no_grad():
            self.linear.weight.copy_(minidl.from_numpy(self.mean_weights().astype(np.float32)))
            assert self.linear.bias is not None
            self.linear.bias.zero_()

    def mean_weights(self) -> np.ndarray:
        """The weights (C, M·C) with which the scores are the mean of the members'."""
        return np.tile(np.eye(self.classes) / self.members, self.members)

    def features(self, outputs: Tensor) -> Tensor:
        """What the linear layer sees, (N, M·C)."""
        if tuple(outputs.shape[::2]) != (self.members, self.classes):
            raise ValueError(
                f"stacked voting: expected outputs (M, N, C) of {self.members} members for {self.classes} classes, got shape "
                f"{tuple(outputs.shape)}"
            )
        logs = minidl.clamp(F.log_softmax(outputs, 2), min=FLOOR)
        return logs.transpose(0, 1).reshape(outputs.shape[1], self.members * self.classes)

    def forward(self, outputs: Tensor) -> Tensor:
        return F.log_softmax(self.linear(self.features(outputs)), 1)

    def fit(self, outputs: Tensor, labels: Any, l2: float) -> None:
        """Learn from the members' scores (M, N, C) for held-out samples, and their labels (N,)."""
        features = read_scores(self.features(outputs), "stacked voting")
        found = read_labels(labels, len(features), self.classes, "stacked voting")
        weight, bias = fit_softmax(features, found, self.mean_weights(), l2)
        with minidl.no_grad():
            assert self.linear.bias is not None
            for parameter, value in ((self.linear.weight, weight), (self.linear.bias, bias)):
                parameter.copy_(minidl.from_numpy(value.astype(as_numpy(parameter).dtype)))


def fit_softmax(
    x: np.ndarray, labels: np.ndarray, start: np.ndarray, l2: float, tolerance: float = 1e-5, most: int = 2000
) -> tuple[np.ndarray, np.ndarray]:
    """Multinomial logistic regression: minimise mean(−log softmax(x Wᵀ + b)[label]) + l2/2 · ‖W − start‖².

    Every step minimises a quadratic function that lies above the loss and touches it: the Hessian of the softmax's loss is
    nowhere above ½ · X'X / N for each class, so one matrix, factored once, serves all steps, and no step can overshoot
    (Böhning, "Multinomial logistic regression algorithm", Annals of the Institute of Statistical Mathematics 1992). Nesterov's
    momentum makes them few; it starts again whenever it leads uphill.

    Args:
        x: inputs (N, D), float64.
        labels: integers (N,), 0 to C − 1.
        start: the weights (C, D) to begin with, and to stay near.
        l2: at least 0; the more, the nearer to ``start``.
        tolerance: the largest entry of the gradient at the end.
        most: steps.

    Returns:
        W (C, D) and b (C,).

    Raises:
        ValueError: if ``l2`` is negative or not finite.
    """
    if not (np.isfinite(l2) and l2 >= 0):
        raise ValueError(f"l2 should be a finite number >= 0, got {l2}")
    count, width = x.shape
    x = np.hstack([x, np.ones((count, 1))])
    penalty = np.append(np.full(width, l2), 0.0)[:, None]  # none on the bias
    middle = np.vstack([start.T, np.zeros(len(start))])
    target = np.eye(len(start))[labels]
    # With a little on the diagonal, for inputs that depend on each other where l2 is 0.
    above = 0.5 * x.T @ x / count + np.diag(penalty[:, 0] + 1e-9)
    inverse = np.linalg.inv(above)
    w = ahead = middle
    pace = 1.0
    for _ in range(most):
        scores = x @ ahead
        p = np.exp(scores - scores.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        gradient = x.T @ (p - target) / count + penalty * (ahead - middle)
        if np.abs(gradient).max() < tolerance:
            w = ahead
            break
        new = ahead - inverse @ gradient
        if np.sum(gradient * (new - w)) > 0:  # uphill since the last step: momentum has gone too far
            pace = 1.0
        faster = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        w, ahead = new, new + (pace - 1) / faster * (new - w)
        pace = faster
    return w[:-1].T, w[-1]
