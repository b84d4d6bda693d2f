"""Adagrad."""

from __future__ import annotations

from typing import Any

from minidl.backend import backend_of
from minidl.optim.optimizer import Optimizer, Params, require
from minidl.tensor import Tensor


class Adagrad(Optimizer):
    """Adagrad: the gradient over the root of the sum of all its squares.

    Duchi, Hazan and Singer 2011, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization", the
    diagonal form; at step t, with ``g = gradient + weight_decay · p``, ::

        sum ← sum + g²
        p   ← p − lr / (1 + (t − 1) · lr_decay) · g / (√sum + eps)

    Args:
        params: the parameters or groups, as in :class:`Optimizer`.
        lr: learning rate, at least 0.
        lr_decay: how fast the learning rate falls, at least 0.
        weight_decay: factor of the L2 penalty ``weight_decay / 2 · p²``, at least 0.
        initial_accumulator_value: where ``sum`` starts, at least 0.
        eps: keeps the denominator above 0.
        maximize: climb instead of descending.

    Raises:
        ValueError: if an option is out of range.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "eps": eps,
                "maximize": maximize,
            },
        )

    def _check_options(self, options: dict[str, Any]) -> None:
        require(options["lr"] >= 0, "learning rate", options["lr"])
        for name in ("lr_decay", "weight_decay", "initial_accumulator_value"):
            require(options[name] >= 0, f"{name} value", options[name])
        require(options["eps"] >= 0, "epsilon value", options["eps"])

    def _update(self, param: Tensor, grad: Any, group: dict[str, Any]) -> None:
        step = self._count_step(param)
        backend_of(param.array).adagrad_step(
            param.array,
            grad,
            self._buffer(param, "sum", fill=group["initial_accumulator_value"]),
            lr=float(group["lr"]) / (1 + (step - 1) * group["lr_decay"]),
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            maximize=group["maximize"],
        )
