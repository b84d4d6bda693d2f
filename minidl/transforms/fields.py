"""Random numbers for every pixel of an image, more than one draw may give."""

from __future__ import annotations

import numpy as np

from minidl.data import draws

MOST = 2**18  # numbers that one draw gives for a sample (see draws.uniform_for)


def uniform_field(rows: int, count: int) -> np.ndarray:
    """Return ``count`` numbers from [0, 1) for each of ``rows`` samples, by as many draws as that takes.

    Returns:
        Array of shape (rows, count), dtype float64.

    Raises:
        RuntimeError: as ``draws.uniform``.
    """
    return np.concatenate([draws.uniform(rows, min(MOST, count - k)) for k in range(0, max(count, 1), MOST)], axis=1)


def normal_field(rows: int, count: int) -> np.ndarray:
    """Return ``count`` numbers from the standard normal distribution for each of ``rows`` samples.

    They are made of as many uniform numbers, or one more if ``count`` is odd.

    Returns:
        Array of shape (rows, count), dtype float32.

    Raises:
        RuntimeError: as ``draws.uniform``.
    """
    return to_normal(uniform_field(rows, count + count % 2))[:, :count]


def to_normal(u: np.ndarray) -> np.ndarray:
    """Turn uniform numbers from [0, 1) into standard normal ones, two into two.

    Args:
        u: shape (rows, an even number).

    Returns:
        Array of the same shape, dtype float32.

    Source: Box and Muller, "A note on the generation of random normal deviates", 1958.
    """
    half = u.shape[1] // 2
    radius = np.sqrt(-2.0 * np.log1p(-u[:, :half]))  # of 1 − u, which is never 0
    angle = 2.0 * np.pi * u[:, half:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)
