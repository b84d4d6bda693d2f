"""RMSprop."""

from __future__ import annotations

from typing import Any

from minidl.backend import backend_of
from minidl.optim.optimizer import Optimizer, Params, require
from minidl.tensor import Tensor


class RMSprop(Optimizer):
    """RMSprop: the gradient over the root of the running mean of its square.

    Hinton's lecture 6e of "Neural Networks for Machine Learning" (2012); with ``g = gradient + weight_decay · p``, ::

        v ← alpha · v + (1 − alpha) · g²
        p ← p − lr · g / (√v + eps)

    Args:
        params: the parameters or groups, as in :class:`Optimizer`.
        lr: learning rate, at least 0.
        alpha: the share of ``v`` that is kept, at least 0.
        eps: keeps the denominator above 0.
        weight_decay: factor of the L2 penalty ``weight_decay / 2 · p²``, at least 0.
        momentum: if above 0, ``buf ← momentum · buf + g / (√v + eps)`` and ``p ← p − lr · buf``.
        centered: divide by the root of the estimated variance, ``v − mean(g)²`` (Graves 2013, "Generating Sequences
            With Recurrent Neural Networks", equations 38 to 41).
        maximize: climb instead of descending.

    Raises:
        ValueError: if an option is out of range.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "maximize": maximize,
            },
        )

    def _check_options(self, options: dict[str, Any]) -> None:
        require(options["lr"] >= 0, "learning rate", options["lr"])
        require(options["eps"] >= 0, "epsilon value", options["eps"])
        require(options["momentum"] >= 0, "momentum value", options["momentum"])
        require(options["weight_decay"] >= 0, "weight_decay value", options["weight_decay"])
        require(options["alpha"] >= 0, "alpha value", options["alpha"])

    def _update(self, param: Tensor, grad: Any, group: dict[str, Any]) -> None:
        self._count_step(param)  # not part of the rule, but of PyTorch's state
        backend_of(param.array).rmsprop_step(
            param.array,
            grad,
            square_avg=self._buffer(param, "square_avg"),
            grad_avg=self._buffer(param, "grad_avg") if group["centered"] else None,
            buf=self._buffer(param, "momentum_buffer") if group["momentum"] > 0 else None,
            lr=float(group["lr"]),
            alpha=group["alpha"],
            eps=group["eps"],
            momentum=group["momentum"],
            weight_decay=group["weight_decay"],
            maximize=group["maximize"],
        )
