"""ReduceLROnPlateau."""

from __future__ import annotations

import math
from typing import Any, Literal

from minidl.optim.lr_scheduler.base import LRScheduler, get_lrs, require_optimizer
from minidl.optim.optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """Reduce the rate when a metric has stopped improving. Unlike the others, ``step`` is given the metric.

    Args:
        optimizer: the optimizer.
        mode: ``"min"`` if lower is better, ``"max"`` if higher is.
        factor: each reduction multiplies the rate by this, below 1.
        patience: so many epochs in a row without improvement are allowed; the next one reduces the rate.
        threshold: how much better than the best so far a value must be to count as an improvement.
        threshold_mode: ``"rel"`` if ``threshold`` is a share of the best, ``"abs"`` if it is a difference.
        cooldown: so many epochs after a reduction are not counted.
        min_lr: the lowest rate, or one for each group.
        eps: a reduction by less than this is not made.

    Attributes:
        best: the best value so far.
        num_bad_epochs: the epochs without improvement so far.
        last_epoch: how often ``step`` was called.

    Raises:
        ValueError: if ``factor`` is 1 or more, ``mode`` or ``threshold_mode`` is unknown, or the number of ``min_lr``
            is not that of the groups.

    Example:
        >>> optimizer = minidl.optim.SGD([minidl.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = minidl.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
        >>> for loss in (3.0, 2.0, 2.0, 2.0):
        ...     scheduler.step(loss)
        ...     print(scheduler.get_last_lr()[0], end=" ")
        1.0 1.0 1.0 0.5
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        require_optimizer(optimizer)
        if factor >= 1.0:
            raise ValueError(f"Factor should be < 1.0, got {factor}.")
        if mode not in ("min", "max"):
            raise ValueError(f"mode {mode} is unknown!")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold mode {threshold_mode} is unknown!")
        if isinstance(min_lr, (list, tuple)) and len(min_lr) != len(optimizer.param_groups):
            raise ValueError(f"expected {len(optimizer.param_groups)} min_lrs, got {len(min_lr)}")
        self.optimizer = optimizer
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.default_min_lr = None if isinstance(min_lr, (list, tuple)) else min_lr
        self.min_lrs = list(min_lr) if isinstance(min_lr, (list, tuple)) else [min_lr] * len(optimizer.param_groups)
        self.eps = eps
        self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter = 0
        self.num_bad_epochs = 0
        self.last_epoch = 0
        self._last_lr = get_lrs(optimizer)

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Note the metric of one epoch, and reduce the rates if it is time.

        Args:
            metrics: the value: a number, or a Tensor with one element.
        """
        current = float(metrics)
        self.last_epoch += 1
        if self._is_better(current):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce_lr()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = get_lrs(self.optimizer)

    @property
    def in_cooldown(self) -> bool:
        """Whether a reduction was so recent that bad epochs are not counted."""
        return self.cooldown_counter > 0

    def _is_better(self, value: float) -> bool:
        if self.threshold_mode == "rel":
            margin = 1 - self.threshold if self.mode == "min" else 1 + self.threshold
            bound = self.best * margin
        else:
            bound = self.best - self.threshold if self.mode == "min" else self.best + self.threshold
        return value < bound if self.mode == "min" else value > bound

    def _reduce_lr(self) -> None:
        groups = self.optimizer.param_groups
        if len(self.min_lrs) != len(groups):  # a group was added
            if self.default_min_lr is None:
                raise RuntimeError(
                    f"The number of param groups in the optimizer ({len(groups)}) differs from when ReduceLROnPlateau "
                    f"was initialized ({len(self.min_lrs)}): set `min_lrs` to one value for each group."
                )
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, lowest in zip(groups, self.min_lrs, strict=True):
            reduced = max(group["lr"] * self.factor, lowest)
            if group["lr"] - reduced > self.eps:
                group["lr"] = reduced
