"""Rectification."""

from __future__ import annotations

from typing import Any


class ActivationKernels:
    """Reference kernels for activation functions that are more than one function of the array module."""

    xp: Any

    def relu(self, x: Any) -> Any:
        """max(x, 0)."""
        return self.xp.maximum(x, 0)

    def relu_grad(self, g: Any, y: Any) -> Any:
        """g where y, the output, is above 0 (or not a number), else 0."""
        return self.xp.where(y <= 0, g.dtype.type(0), g)
