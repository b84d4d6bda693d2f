"""Dual coordinate descent for linear support vector machines, which stops by the duality gap.

A machine's dual problem has a variable αᵢ (one number, or one for each class) for every sample, and its weights are a sum over
samples, w = Σᵢ αᵢ xᵢ. Each step takes one sample and puts its variable where the dual objective is best with all others held
still, which has a formula; the weights follow. Passes over the samples, in random order, repeat this.

Whatever the dual variables are, the dual objective is not above the smallest primal one, and the primal objective of w not below
it. So their difference, the gap, says how far w is from the optimum at most, and it goes to zero.

Near the optimum, where from pass to pass the same variables are at their bounds, single steps may become slow. So after every
tenth pass all variables that are not at a bound take a Newton step together, cut off where the first of them meets a bound; that
one is left out, and the others go on. This, too, makes the dual objective better and never worse. Without it the optimum is the
same.

Sources: Hsieh, Chang, Lin, Keerthi and Sundararajan, "A dual coordinate descent method for large-scale linear SVM", ICML 2008,
algorithm 1; Keerthi, Sundararajan, Chang, Hsieh and Lin, "A sequential dual method for large scale multi-class linear SVMs", KDD
2008, section 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

EVERY = 10  # passes between Newton steps
STEPS = 20  # Newton steps in turn, at most
LARGEST = 2000  # free variables, beyond which there are no Newton steps: they take the third power of their number of operations


@dataclass
class Solution:
    """Weights, one row for each class or machine; what they reach; how far that is from the optimum at most."""

    weights: np.ndarray
    objective: np.ndarray
    gap: np.ndarray
    passes: int
    converged: bool


def one_vs_rest(
    X: np.ndarray, signs: np.ndarray, *, C: float, squared: bool, tol: float, max_iter: int, seed: int = 0
) -> Solution:
    """Minimise ½ |wₖ|² + C Σᵢ max(0, 1 − sᵢₖ wₖ·xᵢ)ᵖ for each k; p = 2 if ``squared``, else 1.

    The dual of one machine: maximise Σᵢ αᵢ − ½ |Σᵢ αᵢ sᵢ xᵢ|² − ½ D Σᵢ αᵢ² over 0 ≤ αᵢ ≤ U, where D = 0 and U = C, or if squared
    D = 1 / 2C and U = ∞. The machines are independent of each other; steps of the same sample are taken for all of them at once.

    Args:
        X: samples (N, D), float64.
        signs: (N, K), 1 or −1.
        tol: stop when each machine's gap is at most this share of its objective.
        max_iter: passes, at most.
        seed: of the order of the samples.
    """
    n, machines = signs.shape
    diagonal, upper = (0.5 / C, np.inf) if squared else (0.0, C)
    curvature = np.maximum((X * X).sum(1) + diagonal, 1e-300)  # a sample of zeros has none: its step goes to the bound
    alpha, W = np.zeros((n, machines)), np.zeros((machines, X.shape[1]))

    def visit(i: int) -> None:
        slope = signs[i] * (W @ X[i]) - 1 + diagonal * alpha[i]
        new = np.minimum(np.maximum(alpha[i] - slope / curvature[i], 0.0), upper)
        step = new - alpha[i]
        if step.any():
            alpha[i] = new
            W[...] += np.outer(step * signs[i], X[i])

    def jump() -> bool:
        cut = False
        for k in range(machines):
            free = np.flatnonzero((alpha[:, k] > 0) & (alpha[:, k] < upper))
            if 0 < len(free) <= LARGEST:
                rows, now = signs[free, k, None] * X[free], alpha[free, k]
                step = newton(rows @ rows.T + diagonal * np.eye(len(free)), rows @ W[k] - 1 + diagonal * now)
                alpha[free, k], stopped = move(now, step, 0.0, upper)
                W[k] += (alpha[free, k] - now) @ rows
                cut = cut or stopped
        return cut

    def bounds() -> tuple[np.ndarray, np.ndarray]:
        excess = np.maximum(1 - signs * (X @ W.T), 0.0)
        penalty = 0.5 * (W * W).sum(1)
        primal = penalty + C * (excess**2 if squared else excess).sum(0)
        return primal, alpha.sum(0) - penalty - 0.5 * diagonal * (alpha * alpha).sum(0)

    return _passes(n, W, visit, jump, bounds, tol, max_iter, seed)


def crammer_singer(
    X: np.ndarray, labels: np.ndarray, *, C: float, tol: float, max_iter: int, seed: int = 0
) -> Solution:
    """Minimise ½ Σₖ |wₖ|² + C Σᵢ max(0, 1 + max_{k ≠ yᵢ} wₖ·xᵢ − w_{yᵢ}·xᵢ).

    The dual: maximise −½ Σₖ |wₖ|² − Σᵢₖ eᵢₖ αᵢₖ with wₖ = Σᵢ αᵢₖ xᵢ, where eᵢₖ is 0 for the right class and 1 for the others,
    over Σₖ αᵢₖ = 0 and αᵢₖ ≤ Cᵢₖ, which is C for the right class and 0 for the others. For one sample, the best αᵢ is Cᵢ − u,
    where u is the point of the simplex {u ≥ 0, Σ u = C} that is nearest to a certain one.

    Args:
        X: samples (N, D), float64.
        labels: (N), 0 … K − 1; all classes occur.
        tol, max_iter, seed: as in ``one_vs_rest``.
    """
    n = len(X)
    right = labels[:, None] == np.arange(labels.max() + 1)
    cost, upper = np.where(right, 0.0, 1.0), np.where(right, C, 0.0)
    curvature = (X * X).sum(1)
    alpha, W = np.zeros(right.shape), np.zeros((right.shape[1], X.shape[1]))
    zeros = curvature == 0  # such a sample loses 1 whatever the weights are; this is its best variable
    alpha[zeros] = np.where(right, C, -C / (right.shape[1] - 1))[zeros]

    def visit(i: int) -> None:
        if zeros[i]:
            return
        rest = (W @ X[i] + cost[i]) / curvature[i] - alpha[i]
        new = upper[i] - project(upper[i] + rest, C)
        step = new - alpha[i]
        if step.any():
            alpha[i] = new
            W[...] += np.outer(step, X[i])

    def jump() -> bool:
        free = (alpha < upper) & ~zeros[:, None]
        i, k = np.nonzero(free)
        first = free.argmax(1)[i]  # what another free variable of a sample gains, its first one loses: the sum stays
        i, k, first = i[k != first], k[k != first], first[k != first]
        if not 0 < len(i) <= LARGEST:
            return False
        pairs = np.eye(len(W))[k] - np.eye(len(W))[first]
        slope = ((X[i] @ W.T + cost[i]) * pairs).sum(1)
        steps = newton((X[i] @ X[i].T) * (pairs @ pairs.T), slope)
        step, now = np.zeros_like(alpha), alpha.copy()
        np.add.at(step, i, steps[:, None] * pairs)
        alpha[...], cut = move(now, step, -np.inf, upper)
        W[...] += (alpha - now).T @ X
        return cut

    def bounds() -> tuple[np.ndarray, np.ndarray]:
        scores = X @ W.T
        loss = (scores + cost - (scores * right).sum(1, keepdims=True)).max(1).sum()
        penalty = 0.5 * (W * W).sum()
        return penalty + C * loss, -penalty - (cost * alpha).sum()

    return _passes(n, W, visit, jump, bounds, tol, max_iter, seed)


def project(v: np.ndarray, total: float) -> np.ndarray:
    """The point of the simplex {u ≥ 0, Σ u = total} that is nearest to v: u = max(v − θ, 0), where θ makes the sum right.

    Source: Held, Wolfe and Crowder, "Validation of subgradient optimization", Mathematical Programming 1974.
    """
    falling = np.sort(v)[::-1]
    thresholds = (np.cumsum(falling) - total) / np.arange(1, len(v) + 1)  # θ if the 1, 2, … largest stay above 0
    return np.maximum(v - thresholds[np.flatnonzero(falling > thresholds)[-1]], 0.0)


def newton(hessian: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """The step to where a convex quadratic function is least; on the way there it only falls. (A tiny ridge, for Hessians that
    are singular, makes the step a little shorter.)"""
    ridge = 1e-10 * np.trace(hessian) / len(slope)
    return np.linalg.solve(hessian + ridge * np.eye(len(slope)), -slope)


def move(now: np.ndarray, step: np.ndarray, lower: float, upper: np.ndarray | float) -> tuple[np.ndarray, bool]:
    """Go from ``now`` as far on the way of ``step`` as the bounds allow; whether one of them stopped it."""
    bound = np.where(step > 0, upper, lower)
    with np.errstate(divide="ignore", invalid="ignore"):
        room = np.where(step == 0, np.inf, (bound - now) / step)
    share = float(room.min())
    if share >= 1:
        return now + step, False
    return np.where(room <= share, bound, now + share * step), True


def _passes(
    n: int,
    W: np.ndarray,
    visit: Callable[[int], None],
    jump: Callable[[], bool],
    bounds: Callable[[], tuple[np.ndarray, np.ndarray]],
    tol: float,
    max_iter: int,
    seed: int,
) -> Solution:
    """Visit all samples in random order, again and again, until the bounds (primal, dual) are near enough to each other."""
    order = np.random.default_rng(seed)
    done, converged = 0, False
    while not converged and done < max_iter:
        for i in order.permutation(n):
            visit(i)
        done += 1
        for _ in range(STEPS if done % EVERY == 0 else 0):
            if not jump():
                break
        primal, dual = bounds()
        gap = np.maximum(primal - dual, 0.0)  # at the optimum it is 0 up to rounding
        converged = bool((gap <= tol * primal).all())
    return Solution(W, np.asarray(primal), np.asarray(gap), done, converged)
