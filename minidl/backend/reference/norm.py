"""Normalisation over chosen axes, with its gradient in one piece."""

from __future__ import annotations

from typing import Any

Shape = tuple[int, ...]
Running = tuple[Any, Any, float]  # mean and variance, (C) each, and the momentum with which they follow the batch's


class NormKernels:
    """Reference kernels for batch, layer and group normalisation.

    ``axes`` are the axes that share one mean and variance; ``weight`` and ``bias`` broadcast against x, or are None.
    """

    xp: Any
    _after: Any
    _before: Any
    sum_to: Any

    def normalize(self, x: Any, weight: Any, bias: Any, mean: Any, invstd: Any) -> Any:
        """y = (x − mean) · invstd · weight + bias."""
        y = (x - mean) * (invstd if weight is None else invstd * weight)
        return y if bias is None else y + bias

    def normalize_by(
        self, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, eps: float, then: str | None = None
    ) -> tuple[Any, Any]:
        """``normalize`` of every channel by a given mean and variance; all four are (C) or None.

        Returns y and 1 / √(variance + eps), (C). ``then`` names a kernel that is applied to y: "relu", "relu6" or "sigmoid".
        """
        invstd = (1 / self.xp.sqrt(variance + eps)).astype(x.dtype, copy=False)
        mean = mean.astype(x.dtype, copy=False)
        columns = (None if v is None else as_channels(v, x) for v in (weight, bias, mean, invstd))
        y = self.normalize(x, *columns)
        return self._after(then, y), invstd

    def normalize_batch(
        self,
        x: Any,
        weight: Any,
        bias: Any,
        axes: Shape,
        eps: float,
        running: Running | None = None,
        then: str | None = None,
    ) -> tuple[Any, Any, Any]:
        """``normalize`` by the moments of x itself, towards which ``running`` is moved in place.

        Returns y, mean and 1 / √(variance + eps). ``then`` names a kernel that is applied to y: "relu", "relu6" or "sigmoid".
        """
        mean, variance = self.moments(x, axes)
        if running is not None:
            follow(running, mean, variance, x.size // mean.size)
        invstd = 1 / self.xp.sqrt(variance + eps)
        y = self.normalize(x, weight, bias, mean, invstd)
        return self._after(then, y), mean, invstd

    def channel_sums(self, x: Any) -> Any:
        """Sum over all axes but the second: (C)."""
        return x.sum(axis=(0, *range(2, x.ndim)))

    def channel_products(self, g: Any, x: Any, mean: Any) -> Any:
        """Sum of g · (x − mean) over all axes but the second, for mean (C): (C)."""
        return self.channel_sums(g * (x - as_channels(mean, x)))

    def scale_channels(self, x: Any, scale: Any) -> Any:
        """x times a number for each index of its second axis, (C)."""
        return x * as_channels(scale, x)

    def moments(self, x: Any, axes: Shape) -> tuple[Any, Any]:
        """Return mean and biased variance over ``axes`` (kept as axes of size 1)."""
        mean = x.mean(axis=axes, keepdims=True)
        centred = x - mean
        centred *= centred
        return mean, centred.mean(axis=axes, keepdims=True)

    def normalize_grad(
        self,
        g: Any,
        x: Any,
        weight: Any,
        mean: Any,
        invstd: Any,
        axes: Shape,
        affine: Shape,
        weight_shape: Shape | None,
        bias_shape: Shape | None,
        then: str | None = None,
        y: Any = None,
    ) -> tuple[Any, Any, Any]:
        """Gradients of ``normalize(x, …, *moments(x))`` for x, weight and bias (None where no shape is given).

        ``affine`` is the shape in which weight and bias broadcast against x, and the shapes are those that they really have.
        If a kernel was applied to the result (``then``, see ``normalize_batch``), y is what came of it, and g its cotangent.
        With x̂ = (x − mean) · invstd and h = g · weight (Ioffe & Szegedy 2015, section 3):
        dL/dx = invstd · (h − mean(h) − x̂ · mean(h · x̂)).
        """
        g = self._before(then, g, y)
        xhat = (x - mean) * invstd
        gx = g * xhat
        h, hx = (g, gx) if weight is None else (g * weight, gx * weight)
        xhat *= hx.mean(axis=axes, keepdims=True)
        dx = h - xhat
        dx -= h.mean(axis=axes, keepdims=True)
        dx *= invstd
        dw = None if weight_shape is None else self.sum_to(gx, affine).reshape(weight_shape)
        return dx, dw, None if bias_shape is None else self.sum_to(g, affine).reshape(bias_shape)


def follow(running: Running, mean: Any, variance: Any, count: int) -> None:
    """running ← (1 − momentum) · running + momentum · batch, where n − 1 is the divisor of the variance of ``count`` numbers."""
    running_mean, running_variance, momentum = running
    for average, batch, factor in (
        (running_mean, mean, 1.0),
        (running_variance, variance, count / max(count - 1, 1)),
    ):
        average *= 1 - momentum
        average += (batch.reshape(-1) * (momentum * factor)).astype(average.dtype, copy=False)


def as_channels(v: Any, x: Any) -> Any:
    """A vector (C) in a shape that broadcasts against x, (N, C, …)."""
    return v.reshape(1, -1, *(1,) * (x.ndim - 2))


def per_channel(x: Any, *arrays: Any) -> bool:
    """Whether these (or None) hold one number for each channel of x, of its dtype."""
    dtype, shape = x.dtype, (1, x.shape[1], *(1,) * (x.ndim - 2))
    for a in arrays:
        if a is not None and (a.dtype != dtype or (a.shape != shape and a.shape != shape[1:])):
            return False
    return True


def followed(x: Any, running: Running | None) -> bool:
    """Whether there are no running statistics, or a kernel can move them: x's dtype, and without gaps."""
    return running is None or all([a.dtype == x.dtype and a.flags.c_contiguous for a in running[:2]])
