"""Adam and AdamW."""

from __future__ import annotations

from typing import Any

from minidl.optim.optimizer import Optimizer, Params, by_backend, require
from minidl.tensor import Tensor


class Adam(Optimizer):
    """Adam: steps along the running mean of the gradient, scaled by the root of the running mean of its square.

    Algorithm 1 of Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization"; at step t, with
    ``g = gradient + weight_decay · p``, ::

        m ← β₁ · m + (1 − β₁) · g
        v ← β₂ · v + (1 − β₂) · g²
        p ← p − lr · m / (1 − β₁ᵗ) / (√(v / (1 − β₂ᵗ)) + eps)

    Args:
        params: the parameters or groups, as in :class:`Optimizer`.
        lr: learning rate, at least 0.
        betas: (β₁, β₂), each at least 0 and below 1.
        eps: keeps the denominator above 0.
        weight_decay: factor of the L2 penalty ``weight_decay / 2 · p²``, at least 0.
        amsgrad: use the largest ``v`` so far (Reddi et al. 2018, "On the Convergence of Adam and Beyond", Algorithm 2).
        maximize: climb instead of descending.
        decoupled_weight_decay: shrink the parameters by ``1 − lr · weight_decay`` instead: :class:`AdamW`.

    Raises:
        ValueError: if an option is out of range.

    Example:
        >>> w = minidl.tensor([1.0], requires_grad=True)
        >>> optimizer = minidl.optim.Adam([w], lr=0.25)
        >>> (100 * w).sum().backward()
        >>> optimizer.step()
        >>> w.tolist()  # the first step is lr long, however large the gradient
        [0.75]
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def _check_options(self, options: dict[str, Any]) -> None:
        require(options["lr"] >= 0, "learning rate", options["lr"])
        require(options["eps"] >= 0, "epsilon value", options["eps"])
        betas = options["betas"]
        require(hasattr(betas, "__len__") and len(betas) == 2, "betas, which should be two numbers", betas)
        for i, beta in enumerate(betas):
            require(0 <= beta < 1, f"beta parameter at index {i}", beta)
        require(options["weight_decay"] >= 0, "weight_decay value", options["weight_decay"])

    def _update_all(self, params: list[Tensor], grads: list[Any], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        for backend, chosen in by_backend(params):
            some = [params[i] for i in chosen]
            backend.adam_steps(
                [p.array for p in some],
                [grads[i] for i in chosen],
                [self._buffer(p, "exp_avg") for p in some],
                [self._buffer(p, "exp_avg_sq") for p in some],
                [self._buffer(p, "max_exp_avg_sq") if group["amsgrad"] else None for p in some],
                [self._count_step(p) for p in some],
                lr=float(group["lr"]),
                beta1=beta1,
                beta2=beta2,
                eps=group["eps"],
                weight_decay=group["weight_decay"],
                decoupled_weight_decay=group["decoupled_weight_decay"],
                maximize=group["maximize"],
            )


class AdamW(Adam):
    """Adam with decoupled weight decay: ``p ← (1 − lr · weight_decay) · p`` before Adam's step without a penalty.

    Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", Algorithm 2; like PyTorch's, the decay is
    multiplied by ``lr``. The arguments are those of :class:`Adam`; only the default of ``weight_decay``, 0.01, differs.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True  # even if the state was Adam's
