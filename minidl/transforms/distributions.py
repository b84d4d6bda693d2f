"""Gamma, Beta and Dirichlet numbers out of a fixed count of uniform ones.

The usual ways to draw them throw numbers away, as many as it takes. Here each Gamma number comes from one uniform number, by the
inverse of its distribution function, so that a sample's draws stay where they are (see ``minidl.data.draws``). A Dirichlet vector
is a vector of Gamma numbers divided by its sum (Devroye, "Non-Uniform Random Variate Generation", 1986, section XI.4.1).
"""

from __future__ import annotations

import math

import numpy as np

SMALLEST = 2.0**-33  # half a step of the uniform numbers


def dirichlet(u: np.ndarray, alpha: float) -> np.ndarray:
    """Dirichlet(alpha, …, alpha) vectors from uniform numbers of shape (…, k); each sums to 1.

    Example:
        >>> dirichlet(np.array([0.5, 0.5]), alpha=0.3).tolist()
        [0.5, 0.5]
    """
    logs = log_gamma_quantile(u, alpha)  # for a small alpha the numbers themselves may be too small for a float
    weights = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def beta(u: np.ndarray, alpha: float) -> np.ndarray:
    """Beta(alpha, alpha) numbers, of shape (…), from uniform numbers of shape (…, 2)."""
    return dirichlet(u, alpha)[..., 0]


def log_gamma_quantile(u: np.ndarray, alpha: float) -> np.ndarray:
    """The logarithm of the x below which Gamma(alpha) numbers (of scale 1) lie with probability u.

    For alpha = 1, the exponential distribution, x is −log(1 − u). For others y = log x is found by Newton's method on
    log P(alpha, exp y) = log u, with P the regularised incomplete gamma function. log P is concave in y, and from the left
    of the solution, where y starts, Newton's steps never pass it.
    """
    u = np.clip(u, SMALLEST, 1 - SMALLEST)
    if alpha == 1:
        return np.log(-np.log1p(-u))
    log_u, log_factor = np.log(u), math.lgamma(alpha + 1)
    y = (log_u + log_factor) / alpha  # from P(alpha, x) <= x ** alpha / gamma(alpha + 1)
    largest = alpha + 7 * math.sqrt(alpha) + 25  # more than any x for these u
    ratios = 1 / (alpha + np.arange(1, int(2 * largest) + 60))
    for _ in range(200):
        x = np.exp(y)
        # P = x ** alpha · exp(−x) / gamma(alpha + 1) · (1 + x / (alpha + 1) + x ** 2 / ((alpha + 1) (alpha + 2)) + …)
        series = 1 + np.cumprod(x[..., None] * ratios, axis=-1).sum(axis=-1)
        log_p = alpha * y - x - log_factor + np.log(series)
        step = (log_u - log_p) * series / alpha  # d log P / dy = alpha / series
        y = y + np.maximum(step, 0)
        if step.size == 0 or step.max() < 1e-10:
            break
    return y
