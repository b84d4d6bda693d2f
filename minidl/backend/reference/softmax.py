"""Softmax and its logarithm, with their gradients."""

from __future__ import annotations

from typing import Any


class SoftmaxKernels:
    """Reference kernels for softmax along an axis."""

    xp: Any

    def softmax(self, x: Any, axis: int) -> Any:
        """exp(x) / Σ exp(x) along ``axis``, without overflow."""
        e = self.xp.exp(x - x.max(axis=axis, keepdims=True)) if x.size else self.xp.exp(x)
        e /= e.sum(axis=axis, keepdims=True)
        return e

    def softmax_grad(self, g: Any, y: Any, axis: int) -> Any:
        """y · (g − Σ g · y), for the output y."""
        gy = g * y
        return gy - y * gy.sum(axis=axis, keepdims=True)

    def log_softmax(self, x: Any, axis: int) -> Any:
        """x − log Σ exp(x) along ``axis``, without overflow."""
        x = x - x.max(axis=axis, keepdims=True) if x.size else x + 0
        x -= self.xp.log(self.xp.exp(x).sum(axis=axis, keepdims=True))
        return x

    def log_softmax_grad(self, g: Any, y: Any, axis: int) -> Any:
        """g − exp(y) · Σ g, for the output y."""
        return g - self.xp.exp(y) * g.sum(axis=axis, keepdims=True)
