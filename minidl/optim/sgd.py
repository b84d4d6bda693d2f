"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from minidl.optim.optimizer import Optimizer, Params, by_backend, require
from minidl.tensor import Tensor


class SGD(Optimizer):
    """Stochastic gradient descent, plain, with momentum, or with Nesterov's momentum.

    With ``g = gradient + weight_decay · p``, each step computes ::

        buf ← momentum · buf + (1 − dampening) · g        (in the first step: buf ← g)
        p   ← p − lr · buf                                (nesterov: p ← p − lr · (g + momentum · buf))

    This is PyTorch's form (its documentation, ``torch.optim.SGD``). Two things are easily missed:

    - The first buffer is ``g`` itself: the first step is not dampened.
    - ``dampening=momentum`` gives the averaged form ``v ← m·v + (1 − m)·(−lr·g)``, ``p ← p + v``, with
      ``v = −lr · buf`` and a constant ``lr``. It holds from the second step on; the first moves by ``v = −lr·g``, not
      by ``(1 − m)·(−lr·g)``.

    Args:
        params: the parameters or groups, as in :class:`Optimizer`.
        lr: learning rate, at least 0.
        momentum: the share of the buffer that is kept, at least 0. With 0 there is no buffer.
        dampening: the share of the gradient that is held back from the buffer.
        weight_decay: factor of the L2 penalty ``weight_decay / 2 · p²``, at least 0.
        nesterov: look ahead along the buffer (Sutskever et al. 2013, "On the importance of initialization and momentum
            in deep learning", section 2, in PyTorch's variant). Needs ``momentum > 0`` and ``dampening=0``.
        maximize: climb instead of descending.

    Raises:
        ValueError: if an option is out of range.

    Example:
        >>> w = minidl.tensor([1.0], requires_grad=True)
        >>> optimizer = minidl.optim.SGD([w], lr=0.25, momentum=0.5)
        >>> for _ in range(2):
        ...     optimizer.zero_grad()
        ...     (2 * w).sum().backward()
        ...     optimizer.step()
        >>> w.tolist()  # 1 − 0.25·2 − 0.25·(0.5·2 + 2)
        [-0.25]
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def _check_options(self, options: dict[str, Any]) -> None:
        require(options["lr"] >= 0, "learning rate", options["lr"])
        require(options["momentum"] >= 0, "momentum value", options["momentum"])
        require(options["weight_decay"] >= 0, "weight_decay value", options["weight_decay"])
        if options["nesterov"] and (options["momentum"] <= 0 or options["dampening"] != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")

    def _update_all(self, params: list[Tensor], grads: list[Any], group: dict[str, Any]) -> None:
        if group["momentum"] == 0:
            self._steps(params, grads, [None] * len(params), group, group["dampening"])
            return
        if all([self.state[p].get("momentum_buffer") is not None for p in params]):
            bufs = [self.state[p]["momentum_buffer"].array for p in params]
            self._steps(params, grads, bufs, group, group["dampening"])
            return
        for p, g in zip(params, grads, strict=True):  # momentum · 0 + g: the first buffer is the gradient, not dampened
            begun = self.state[p].get("momentum_buffer") is not None
            self._steps([p], [g], [self._buffer(p, "momentum_buffer")], group, group["dampening"] if begun else 0)

    def _steps(
        self, params: list[Tensor], grads: list[Any], bufs: list[Any], group: dict[str, Any], damp: float
    ) -> None:
        for backend, chosen in by_backend(params):
            backend.sgd_steps(
                [params[i].array for i in chosen],
                [grads[i] for i in chosen],
                [bufs[i] for i in chosen],
                lr=float(group["lr"]),
                momentum=float(group["momentum"]),
                dampening=float(damp),
                weight_decay=float(group["weight_decay"]),
                nesterov=group["nesterov"],
                maximize=group["maximize"],
            )
