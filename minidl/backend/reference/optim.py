"""The update rules of the optimizers: one step for one parameter.

Every kernel writes into ``param`` and into its running averages in place, only reads ``grad``, and needs at most two
temporary arrays of the parameter's size. Rates and factors are plain Python numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class OptimKernels:
    """Reference kernels for one optimization step."""

    xp: Any

    def _step_gradient(self, param: Any, grad: Any, weight_decay: float, maximize: bool) -> Any:
        """``±grad + weight_decay · param``: the gradient with that of the L2 penalty. May be ``grad`` itself."""
        if weight_decay == 0:
            return -grad if maximize else grad
        total = param * weight_decay
        if maximize:
            total -= grad
        else:
            total += grad
        return total

    def sgd_step(
        self,
        param: Any,
        grad: Any,
        buf: Any,
        *,
        lr: float,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        maximize: bool = False,
    ) -> None:
        """``buf ← momentum · buf + (1 − dampening) · g``, then ``param ← param − lr · buf``.

        With ``nesterov`` the step goes along ``g + momentum · buf`` instead; without momentum along ``g``, and ``buf``
        may be None.
        """
        g = self._step_gradient(param, grad, weight_decay, maximize)
        if momentum != 0:
            buf *= momentum
            buf += g if dampening == 0 else g * (1 - dampening)
            if nesterov:
                ahead = buf * momentum
                ahead += g
                g = ahead
            else:
                g = buf
        param -= g * lr

    def adam_step(
        self,
        param: Any,
        grad: Any,
        exp_avg: Any,
        exp_avg_sq: Any,
        max_exp_avg_sq: Any,
        step: float,
        *,
        lr: float,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        maximize: bool = False,
    ) -> None:
        """``m ← β₁m + (1−β₁)g``, ``v ← β₂v + (1−β₂)g²``, ``param ← param − lr · m̂ / (√v̂ + eps)``.

        ``m̂ = m / (1−β₁ᵗ)`` and ``v̂ = v / (1−β₂ᵗ)``, where ``t = step`` counts from 1. With ``max_exp_avg_sq``
        (AMSGrad) the largest ``v`` so far stands for ``v`` in the last formula. ``decoupled_weight_decay`` (AdamW)
        shrinks ``param`` itself instead of adding the penalty to ``g``.
        """
        xp = self.xp
        if decoupled_weight_decay:
            param *= 1 - lr * weight_decay
            weight_decay = 0
        g = self._step_gradient(param, grad, weight_decay, maximize)

        scratch = xp.empty_like(param)
        exp_avg *= beta1
        exp_avg += xp.multiply(g, 1 - beta1, out=scratch)

        xp.multiply(g, g, out=scratch)
        scratch *= 1 - beta2
        exp_avg_sq *= beta2
        exp_avg_sq += scratch

        v = exp_avg_sq
        if max_exp_avg_sq is not None:
            v = xp.maximum(max_exp_avg_sq, exp_avg_sq, out=max_exp_avg_sq)

        denominator = xp.sqrt(v, out=scratch)
        denominator /= (1 - beta2**step) ** 0.5
        denominator += eps
        update = xp.divide(exp_avg, denominator, out=scratch)
        update *= lr / (1 - beta1**step)
        param -= update

    def sgd_steps(self, params: Sequence[Any], grads: Sequence[Any], bufs: Sequence[Any], **options: Any) -> None:
        """``sgd_step`` of several parameters, with the same options."""
        for param, grad, buf in zip(params, grads, bufs, strict=True):
            self.sgd_step(param, grad, buf, **options)

    def adam_steps(
        self,
        params: Sequence[Any],
        grads: Sequence[Any],
        exp_avgs: Sequence[Any],
        exp_avg_sqs: Sequence[Any],
        max_exp_avg_sqs: Sequence[Any],
        steps: Sequence[float],
        **options: Any,
    ) -> None:
        """``adam_step`` of several parameters, with the same options."""
        for arguments in zip(params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps, strict=True):
            self.adam_step(*arguments, **options)

    def rmsprop_step(
        self,
        param: Any,
        grad: Any,
        square_avg: Any,
        grad_avg: Any,
        buf: Any,
        *,
        lr: float,
        alpha: float,
        eps: float,
        momentum: float = 0,
        weight_decay: float = 0,
        maximize: bool = False,
    ) -> None:
        """``v ← αv + (1−α)g²``, ``param ← param − lr · g / (√v + eps)``.

        With ``grad_avg`` (the centered form) the mean gradient is tracked too, and ``v − mean²`` stands for ``v`` under
        the root. With momentum, ``buf ← momentum · buf + g / (√v + eps)`` and the step goes along ``buf``.
        """
        xp = self.xp
        g = self._step_gradient(param, grad, weight_decay, maximize)

        scratch = xp.multiply(g, g, out=xp.empty_like(param))
        scratch *= 1 - alpha
        square_avg *= alpha
        square_avg += scratch

        variance = square_avg
        if grad_avg is not None:
            grad_avg *= alpha
            grad_avg += xp.multiply(g, 1 - alpha, out=scratch)
            xp.multiply(grad_avg, grad_avg, out=scratch)
            variance = xp.subtract(square_avg, scratch, out=scratch)

        denominator = xp.sqrt(variance, out=scratch)
        denominator += eps
        update = xp.divide(g, denominator, out=scratch)
        if momentum > 0:
            buf *= momentum
            buf += update
            xp.multiply(buf, lr, out=update)
        else:
            update *= lr
        param -= update

    def adagrad_step(
        self,
        param: Any,
        grad: Any,
        total: Any,
        *,
        lr: float,
        eps: float,
        weight_decay: float = 0,
        maximize: bool = False,
    ) -> None:
        """``total ← total + g²``, ``param ← param − lr · g / (√total + eps)``."""
        xp = self.xp
        g = self._step_gradient(param, grad, weight_decay, maximize)
        scratch = xp.empty_like(param)
        total += xp.multiply(g, g, out=scratch)
        denominator = xp.sqrt(total, out=scratch)
        denominator += eps
        update = xp.divide(g, denominator, out=scratch)
        update *= lr
        param -= update
