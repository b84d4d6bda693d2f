"""Schedules that multiply the rate now and then: StepLR, MultiStepLR, ConstantLR, ExponentialLR."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from minidl.optim.lr_scheduler.base import LRScheduler, get_lrs
from minidl.optim.optimizer import Optimizer


class StepLR(LRScheduler):
    """Multiply the rate by ``gamma`` every ``step_size`` epochs.

    Args:
        optimizer: the optimizer.
        step_size: the number of epochs with the same rate.
        gamma: the factor.
        last_epoch: as in :class:`LRScheduler`.

    Example:
        >>> optimizer = minidl.optim.SGD([minidl.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = minidl.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
        >>> for _ in range(5):
        ...     print(scheduler.get_last_lr()[0], end=" ")
        ...     optimizer.step()
        ...     scheduler.step()
        1.0 1.0 0.5 0.5 0.25
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        lrs = get_lrs(self.optimizer)
        if self.last_epoch == 0 or self.last_epoch % self.step_size != 0:
            return lrs
        return [lr * self.gamma for lr in lrs]


class MultiStepLR(LRScheduler):
    """Multiply the rate by ``gamma`` at each of the given epochs.

    Args:
        optimizer: the optimizer.
        milestones: the epochs; one that comes twice counts twice.
        gamma: the factor.
        last_epoch: as in :class:`LRScheduler`.
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones = sorted(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        # Counter also takes the Counter that a state from PyTorch has in place of the list.
        times = Counter(self.milestones)[self.last_epoch]
        return [lr * self.gamma**times for lr in get_lrs(self.optimizer)]


class ConstantLR(LRScheduler):
    """Multiply the rate by ``factor`` until epoch ``total_iters``.

    Args:
        optimizer: the optimizer.
        factor: from 0 to 1.
        total_iters: the epoch from which on the rate is the initial one again.
        last_epoch: as in :class:`LRScheduler`.

    Raises:
        ValueError: if ``factor`` is not between 0 and 1.
    """

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        if factor > 1.0 or factor < 0:
            raise ValueError(f"Constant multiplicative factor expected to be between 0 and 1, got {factor}.")
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        lrs = get_lrs(self.optimizer)
        if self.last_epoch == 0:
            return [lr * self.factor for lr in lrs]
        if self.last_epoch != self.total_iters:
            return lrs
        if self.factor == 0:  # multiplying cannot bring the rate back
            return list(self.base_lrs)
        return [lr * (1.0 / self.factor) for lr in lrs]


class ExponentialLR(LRScheduler):
    """Multiply the rate by ``gamma`` every epoch.

    Args:
        optimizer: the optimizer.
        gamma: the factor.
        last_epoch: as in :class:`LRScheduler`.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        lrs = get_lrs(self.optimizer)
        return lrs if self._is_initial else [lr * self.gamma for lr in lrs]
