"""What a majority of M members promises, and what its members' errors having much in common does to the promise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.ensemble.arrays import as_numpy, read_labels


def majority_error(members: int, error: Any, *, correlation: float = 0.0, ties: str = "right") -> Any:
    """The probability that a majority of the members errs, each of which errs with probability e.

    For independent members the number of those that err is binomial, and the majority errs with probability
    Σ_{k > M/2} C(M, k) e^k (1 − e)^{M−k} (Condorcet 1785; Hansen and Salamon, "Neural network ensembles", PAMI 1990).

    With a correlation ρ between the errors of any two members (the same for every pair) the number is beta-binomial: each
    sample has a difficulty of its own, a probability to err drawn from a beta distribution with mean e, and given that, members
    err independently (Skellam 1948; Prentice, "Binary regression using an extended beta-binomial distribution", JASA 1986,
    whose product form is used here: it holds for ρ = 0 too). P(k err) is

        C(M, k) · Π_{i<k} (e(1−ρ) + iρ) · Π_{j<M−k} ((1−e)(1−ρ) + jρ) / Π_{l<M} ((1−ρ) + lρ).

    ρ = 0 is the binomial; with ρ = 1 all err together, and the majority errs as often as one member.

    With more than two classes this counts too much, as wrong members need not agree with each other: they may lose to a right
    minority.

    Args:
        members: M, at least 1.
        error: e, a number or an array of numbers from 0 to 1.
        correlation: ρ, from 0 to 1.
        ties: how half of an even number of members counts: "right" (as in the sum above), "wrong", or "half", as if a coin were
            thrown.

    Returns:
        A float, or an array of the shape of ``error``. Sums are taken over logarithms: tiny results and large M are fine (within
        1e-9 of the value for M up to 100,000 and ρ = 0).

    Raises:
        ValueError: if an argument is out of its range.
        TypeError: if ``members`` is no integer.

    Example:
        >>> round(majority_error(3, 0.01), 6), round(majority_error(3, 0.02), 6)
        (0.000298, 0.001184)
        >>> round(majority_error(3, 0.1, correlation=0.5), 4)
        0.088
    """
    if isinstance(members, bool) or not isinstance(members, (int, np.integer)):
        raise TypeError(f"majority_error: members should be an integer, got {type(members).__name__}")
    if members < 1:
        raise ValueError(f"majority_error: members should be at least 1, got {members}")
    if ties not in ("right", "wrong", "half"):
        raise ValueError(f"majority_error: ties should be 'right', 'wrong' or 'half', got {ties!r}")
    if not 0 <= correlation <= 1:
        raise ValueError(f"majority_error: correlation should be from 0 to 1, got {correlation}")
    e = np.asarray(as_numpy(error), dtype=np.float64)
    if not ((e >= 0) & (e <= 1)).all():
        raise ValueError(f"majority_error: error should be from 0 to 1, got {error}")
    counts = np.arange(members // 2 + (1 if members % 2 else 0), members + 1)  # from M/2, or the first above it
    weights = np.ones(len(counts))
    if members % 2 == 0:
        weights[0] = {"right": 0.0, "half": 0.5, "wrong": 1.0}[ties]
    found = [
        _sum_of_exp(_log_probabilities(int(members), float(x), float(correlation), counts), weights) for x in e.flat
    ]
    return found[0] if e.ndim == 0 else np.array(found).reshape(e.shape)


def _log_probabilities(members: int, e: float, rho: float, counts: np.ndarray) -> np.ndarray:
    """log P(k of the members err), for each k."""
    if rho == 1:
        with np.errstate(divide="ignore"):
            return np.where(counts == members, np.log(e), -np.inf)
    log_factorial = np.array([math.lgamma(n + 1) for n in range(members + 1)])
    choose = log_factorial[members] - log_factorial[counts] - log_factorial[members - counts]
    wrong, right = (_log_products(p * (1 - rho), rho, members) for p in (e, 1 - e))
    return choose + wrong[counts] + right[members - counts] - _log_products(1 - rho, rho, members)[members]


def _log_products(first: float, step: float, count: int) -> np.ndarray:
    """log Π_{i<n} (first + i · step), for n from 0 to ``count``."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if step == 0:  # as a multiple, which rounds once
            return np.append(0.0, np.arange(1, count + 1) * np.log(first))
        return np.append(0.0, np.cumsum(np.log(first + step * np.arange(count))))


def _sum_of_exp(logs: np.ndarray, weights: np.ndarray) -> float:
    most = logs.max()
    if most == -np.inf:
        return 0.0
    return min(1.0, math.exp(most) * math.fsum(weights * np.exp(logs - most)))


# -- what members have in common ---------------------------------------------------------------------------------------


def disagreement(predictions: Any) -> np.ndarray:
    """The share of samples on which two members predict different classes, for each pair.

    Args:
        predictions: class labels (M, N), an integer array or Tensor.

    Returns:
        (M, M), symmetric, zeros on the diagonal.

    Raises:
        ValueError: if the shape is another, or there are no samples.

    Example:
        >>> disagreement(np.array([[0, 1, 2], [0, 1, 1]]))[0, 1].round(4)
        np.float64(0.3333)
    """
    p = _read_predictions(predictions, "disagreement")
    return np.array([[np.mean(a != b) for b in p] for a in p])


def error_correlation(predictions: Any, labels: Any) -> np.ndarray:
    """Pearson's correlation between being wrong of one member and of another, for each pair.

    Args:
        predictions: class labels (M, N).
        labels: the true ones (N,).

    Returns:
        (M, M). NaN in the rows and columns of a member that is always right, or always wrong.

    Raises:
        ValueError: if the shapes do not fit, or there are no samples.
    """
    wrong = _wrong(predictions, labels, "error_correlation").astype(np.float64)
    centred = wrong - wrong.mean(1, keepdims=True)
    covariance = centred @ centred.T / wrong.shape[1]
    deviation = np.sqrt(np.diag(covariance))
    with np.errstate(invalid="ignore"):
        return covariance / np.outer(deviation, deviation)


def intraclass_correlation(predictions: Any, labels: Any) -> float:
    """One correlation for all pairs, as ``majority_error`` takes it: (P(both err) − e²) / (e (1 − e)).

    P is the mean over all pairs of members and all samples, e the mean error of the members. (The estimate may come out a little
    below 0.)

    Args and raises: as ``error_correlation``; ValueError too if there is one member alone.

    Returns:
        A float; NaN if no member errs, or all of them always do.
    """
    wrong = _wrong(predictions, labels, "intraclass_correlation")
    members = len(wrong)
    if members < 2:
        raise ValueError("intraclass_correlation: expected at least 2 members, got 1")
    count = wrong.sum(0).astype(np.float64)
    both = np.mean(count * (count - 1)) / (members * (members - 1))
    e = float(wrong.mean())
    return float((both - e**2) / (e * (1 - e))) if 0 < e < 1 else math.nan


def q_statistic(predictions: Any, labels: Any) -> np.ndarray:
    """Yule's Q for each pair: (ad − bc) / (ad + bc), where a samples are right in both, d wrong in both, b and c in one only.

    0 for independent errors, 1 if they fall on the same samples, −1 if never (Kuncheva and Whitaker, "Measures of diversity in
    classifier ensembles", Machine Learning 2003).

    Args and raises: as ``error_correlation``.

    Returns:
        (M, M); NaN where ad + bc is 0.
    """
    wrong = _wrong(predictions, labels, "q_statistic").astype(np.float64)
    right = 1 - wrong
    a, d, b = right @ right.T, wrong @ wrong.T, right @ wrong.T
    with np.errstate(invalid="ignore"):
        return (a * d - b * b.T) / (a * d + b * b.T)


def _wrong(predictions: Any, labels: Any, name: str) -> np.ndarray:
    p = _read_predictions(predictions, name)
    return p != read_labels(labels, p.shape[1], None, name)


def _read_predictions(predictions: Any, name: str) -> np.ndarray:
    p = as_numpy(predictions)
    if p.ndim != 2 or 0 in p.shape or p.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected predictions as integers of shape (M, N), got {p.dtype} of shape {p.shape}")
    return p
