"""Calibration: whether of the samples called 80 % sure, 80 % are right; and one number that helps."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

import minidl
from minidl import nn
from minidl.ensemble.arrays import read_labels, read_scores
from minidl.io import atomic_write
from minidl.nn import Module
from minidl.tensor import Tensor

COLDEST, HOTTEST = 0.01, 100.0  # temperatures to look for one in


class TemperatureScaling(Module):
    """Divides scores by a temperature T, which ``fit`` finds from held-out samples. It changes no decision, only its sureness.

    Put it behind a model: ``nn.Sequential(model, scaling)``.

    Shapes: logits or log-probabilities (N, C) to logits (N, C); ``temperature`` is a parameter (1,), at first 1.

    Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017, section 4.2.

    Example:
        >>> scores, labels = minidl.tensor([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [4.0, 0.0]]), minidl.tensor([0, 0, 0, 1])
        >>> scaling = TemperatureScaling().fit(scores, labels)  # 98 % sure, right in 3 of 4
        >>> (scores / scaling.temperature).softmax(1)[0, 0].item().__round__(4)
        0.75
    """

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(minidl.ones(1))

    def forward(self, logits: Tensor) -> Tensor:
        return logits / self.temperature

    def fit(self, logits: Any, labels: Any) -> TemperatureScaling:
        """Find the temperature with the least mean negative log-likelihood.

        The loss is a convex function of 1/T, so there is one minimum; Newton's method finds it, within a bracket that is halved
        where a step would leave it.

        Args:
            logits: scores (N, C) of samples that the model has not learned from.
            labels: their classes (N,).

        Raises:
            ValueError: if the shapes do not fit, or a number is not finite.

        Warns:
            if the best temperature lies beyond 0.01 or 100, which is then taken: every sample is right, or the scores are no
            better than guessing.
        """
        scores = read_scores(logits, "TemperatureScaling")
        target = read_labels(labels, len(scores), scores.shape[1], "TemperatureScaling")
        inverse, inside = best_inverse_temperature(scores, target)
        if not inside:
            reason = "all of them are right" if inverse > 1 else "the scores are no better than guessing"
            warnings.warn(
                f"TemperatureScaling: no best temperature between {COLDEST:g} and {HOTTEST:g} for these {len(target)} samples, "
                f"as it seems because {reason}; {1 / inverse:g} is taken",
                stacklevel=2,
            )
        with minidl.no_grad():
            self.temperature.fill_(1 / inverse)
        return self

    def extra_repr(self) -> str:
        return f"temperature={self.temperature.item():.4g}"


def best_inverse_temperature(scores: np.ndarray, labels: np.ndarray) -> tuple[float, bool]:
    """The b > 0 that minimises mean(log Σ exp(b z) − b z[label]), and whether it lies within the bounds.

    Its derivative is the mean of E[z] − z[label], and its second derivative the mean of Var[z], both under softmax(b z).
    """
    rows = np.arange(len(labels))

    def slopes(b: float) -> tuple[float, float]:
        p = np.exp(b * (scores - scores.max(1, keepdims=True)))
        p /= p.sum(1, keepdims=True)
        mean = (p * scores).sum(1)
        return float(np.mean(mean - scores[rows, labels])), float(np.mean((p * scores**2).sum(1) - mean**2))

    low, high = 1 / HOTTEST, 1 / COLDEST
    if slopes(low)[0] >= 0:
        return low, False
    if slopes(high)[0] <= 0:
        return high, False
    b = 1.0
    for _ in range(100):
        first, second = slopes(b)
        low, high = (b, high) if first < 0 else (low, b)
        new = b - first / second if second > 0 else low
        if not low < new < high:
            new = (low * high) ** 0.5
        if abs(new - b) <= 1e-12 * b:
            break
        b = new
    return b, True


class Reliability(NamedTuple):
    """What a reliability diagram shows: samples sorted by confidence into bins of equal width.

    Attributes:
        edges: of the bins, (n_bins + 1), from 0 to 1. A bin holds its right edge.
        counts: samples in each.
        confidence, accuracy: means in each; NaN where there are none.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def ece(self) -> float:
        """The expected calibration error: Σ counts/N · |accuracy − confidence|."""
        there = self.counts > 0
        gaps = np.abs(self.accuracy - self.confidence)[there]
        return float(np.sum(self.counts[there] * gaps) / self.counts.sum())


def reliability_diagram(probabilities: Any, labels: Any, n_bins: int = 15) -> Reliability:
    """Sort samples by the probability of their likeliest class, and count how many are right.

    Args:
        probabilities: (N, C), rows that sum to 1. (An ensemble gives their logarithms: ``.exp()``.)
        labels: the true classes (N,).
        n_bins: of equal width.

    Raises:
        ValueError: if the shapes do not fit, the rows are no probabilities, or ``n_bins`` is below 1.

    Source: Guo et al. 2017, section 2.
    """
    p = read_scores(probabilities, "reliability_diagram")
    target = read_labels(labels, len(p), p.shape[1], "reliability_diagram")
    if isinstance(n_bins, bool) or not isinstance(n_bins, int) or n_bins < 1:
        raise ValueError(f"reliability_diagram: n_bins should be an integer of at least 1, got {n_bins!r}")
    sums = p.sum(1)
    if p.min() < 0 or np.abs(sums - 1).max() > 1e-3:
        raise ValueError(
            f"reliability_diagram: expected probabilities, got numbers from {p.min():.4g} to {p.max():.4g} whose rows sum to "
            f"{sums.min():.4g} to {sums.max():.4g}; take the softmax of logits, or exp of log-probabilities"
        )
    sure, right = p.max(1), p.argmax(1) == target
    edges = np.linspace(0, 1, n_bins + 1)
    place = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, n_bins - 1)
    counts = np.bincount(place, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        confidence, accuracy = (np.bincount(place, v, n_bins) / counts for v in (sure, right))
    return Reliability(edges, counts, confidence, accuracy)


def expected_calibration_error(probabilities: Any, labels: Any, n_bins: int = 15) -> float:
    """The mean distance between confidence and accuracy over bins of confidence (Guo et al. 2017, equation 3).

    Args and raises: as ``reliability_diagram``.

    Example:
        >>> p = np.array([[0.8, 0.2]] * 10)
        >>> round(expected_calibration_error(p, np.array([0] * 7 + [1] * 3)), 4)  # 80 % sure, 70 % right
        0.1
    """
    return reliability_diagram(probabilities, labels, n_bins).ece


def plot_reliability(diagrams: Mapping[str, Reliability], path: str | os.PathLike[str]) -> bool:
    """Draw reliability diagrams side by side: accuracy over confidence, and below how many samples. Returns whether it could.

    Args:
        diagrams: by their titles.
        path: of the PNG.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print(f"{os.fspath(path)} is not drawn: it needs matplotlib (pip install 'minidl[viz]')", file=sys.stderr)
        return False
    figure = Figure(figsize=(3.6 * len(diagrams), 4.6), layout="constrained")
    axes = figure.subplots(2, len(diagrams), squeeze=False, sharex=True, sharey="row", height_ratios=[3, 1])
    for (upper, lower), (title, d) in zip(axes.T, diagrams.items(), strict=True):
        width = d.edges[1] - d.edges[0]
        upper.bar(d.edges[:-1], d.accuracy, width, align="edge", color="C0", edgecolor="white", label="accuracy")
        there = d.counts > 0
        upper.plot(d.confidence[there], d.accuracy[there], "k.", label="at the bin's mean confidence")
        upper.plot([0, 1], [0, 1], "--", color="0.4", linewidth=1, label="calibrated")
        upper.set_title(f"{title}\nECE {100 * d.ece:.1f} %", fontsize=10)
        lower.bar(d.edges[:-1], d.counts, width, align="edge", color="0.6", edgecolor="white")
        lower.set_xlabel("confidence")
        lower.set_xlim(0, 1)
        upper.set_ylim(0, 1.02)
    axes[0][0].set_ylabel("accuracy")
    axes[1][0].set_ylabel("samples")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return True
