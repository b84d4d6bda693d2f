"""Normalisation over chosen axes, with its gradient in one piece."""

from __future__ import annotations

from typing import Any


class NormKernels:
    """Reference kernels for batch, layer and group normalisation.

    ``axes`` are the axes that share one mean and variance; ``weight`` and ``bias`` broadcast against x, or are None.
    """

    xp: Any

    def normalize(self, x: Any, weight: Any, bias: Any, mean: Any, invstd: Any) -> Any:
        """y = (x − mean) · invstd · weight + bias, as one scale and one shift per channel."""
        scale = invstd if weight is None else invstd * weight
        if scale.size == x.size:
            y = (x - mean) * scale
            return y if bias is None else y + bias
        y = x * scale
        y += -mean * scale if bias is None else bias - mean * scale
        return y

    def moments(self, x: Any, axes: tuple[int, ...]) -> tuple[Any, Any]:
        """Return mean and biased variance over ``axes`` (kept as axes of size 1)."""
        mean = x.mean(axis=axes, keepdims=True)
        centred = x - mean
        centred *= centred
        return mean, centred.mean(axis=axes, keepdims=True)

    def normalize_grad(
        self, g: Any, x: Any, weight: Any, mean: Any, invstd: Any, axes: tuple[int, ...]
    ) -> tuple[Any, Any]:
        """Gradient of ``normalize(x, …, *moments(x))`` with respect to x, and g · x̂ (which the weight's gradient sums).

        With x̂ = (x − mean) · invstd and h = g · weight (Ioffe & Szegedy 2015, section 3):
        dL/dx = invstd · (h − mean(h) − x̂ · mean(h · x̂)).
        """
        xhat = (x - mean) * invstd
        gx = g * xhat
        h, hx = (g, gx) if weight is None else (g * weight, gx * weight)
        xhat *= hx.mean(axis=axes, keepdims=True)
        dx = h - xhat
        dx -= h.mean(axis=axes, keepdims=True)
        dx *= invstd
        return dx, gx
