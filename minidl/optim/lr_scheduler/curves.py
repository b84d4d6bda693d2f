"""Schedules that follow a curve: LinearLR, PolynomialLR, CosineAnnealingLR, CosineAnnealingWarmRestarts."""

from __future__ import annotations

import math

from minidl.optim.lr_scheduler.base import LRScheduler, get_lrs, set_lrs
from minidl.optim.optimizer import Optimizer


class LinearLR(LRScheduler):
    """Multiply the initial rate by a factor that goes evenly from ``start_factor`` to ``end_factor``.

    Args:
        optimizer: the optimizer.
        start_factor: the factor in epoch 0, above 0 and at most 1.
        end_factor: the factor from epoch ``total_iters`` on, from 0 to 1.
        total_iters: the number of epochs it takes.
        last_epoch: as in :class:`LRScheduler`.

    Raises:
        ValueError: if a factor is out of range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if start_factor > 1.0 or start_factor <= 0:
            raise ValueError(
                "Starting multiplicative factor expected to be greater than 0 and less or equal to 1, "
                f"got {start_factor}."
            )
        if end_factor > 1.0 or end_factor < 0:
            raise ValueError(f"Ending multiplicative factor expected to be between 0 and 1, got {end_factor}.")
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        lrs = get_lrs(self.optimizer)
        if self.last_epoch == 0:
            return [lr * self.start_factor for lr in lrs]
        if self._is_initial or self.last_epoch > self.total_iters:
            return lrs
        rise = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * rise
        return [lr * (1.0 + rise / before) for lr in lrs]


class PolynomialLR(LRScheduler):
    """The initial rate times ``(1 − epoch / total_iters) ** power``, and 0 from epoch ``total_iters`` on.

    Args:
        optimizer: the optimizer.
        total_iters: the number of epochs until the rate is 0.
        power: the exponent.
        last_epoch: as in :class:`LRScheduler`.
    """

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        lrs = get_lrs(self.optimizer)
        if self._is_initial or self.last_epoch > self.total_iters:
            return lrs
        left = 1.0 - self.last_epoch / self.total_iters
        left_before = 1.0 - (self.last_epoch - 1) / self.total_iters
        return [lr * (left / left_before) ** self.power for lr in lrs]


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the initial rate down to ``eta_min`` in ``T_max`` epochs, then up again, and so on.

    ``eta_min + (initial − eta_min) · (1 + cos(π · epoch / T_max)) / 2``: equation 5 of Loshchilov and Hutter 2017,
    "SGDR: Stochastic Gradient Descent with Warm Restarts", without the restarts.

    Args:
        optimizer: the optimizer.
        T_max: the number of epochs down.
        eta_min: the lowest rate.
        last_epoch: as in :class:`LRScheduler`.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        lrs = get_lrs(self.optimizer)
        if self._is_initial:
            return lrs
        before = 1 + math.cos(math.pi * (self.last_epoch - 1) / self.T_max)
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # from the lowest point, where `before` is 0
            rise = (1 - math.cos(math.pi / self.T_max)) / 2
            return [lr + (base - self.eta_min) * rise for lr, base in zip(lrs, self.base_lrs, strict=True)]
        now = 1 + math.cos(math.pi * self.last_epoch / self.T_max)
        return [now / before * (lr - self.eta_min) + self.eta_min for lr in lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine from the initial rate down to ``eta_min``, again and again, each time ``T_mult`` times as long.

    Equation 5 of Loshchilov and Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts".

    Args:
        optimizer: the optimizer.
        T_0: the length of the first cycle in epochs, at least 1.
        T_mult: the factor from one length to the next, at least 1.
        eta_min: the lowest rate.
        last_epoch: as in :class:`LRScheduler`.

    Attributes:
        T_cur: the epochs since the last restart.
        T_i: the length of the present cycle.

    Raises:
        ValueError: if ``T_0`` or ``T_mult`` is no integer or too small.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        if not isinstance(T_0, int) or T_0 <= 0:
            raise ValueError(f"Expected positive integer T_0, but got {T_0}")
        if not isinstance(T_mult, int) or T_mult < 1:
            raise ValueError(f"Expected integer T_mult >= 1, but got {T_mult}")
        if not isinstance(eta_min, (float, int)):
            raise ValueError(f"Expected float or int eta_min, but got {eta_min} of type {type(eta_min)}")
        self.T_0 = T_0
        self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        factor = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * factor for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Go on by one epoch, or to ``epoch``, which may be a fraction: ``epoch + batch / batches``.

        Raises:
            ValueError: if ``epoch`` is negative.
        """
        if epoch is None:
            epoch = self.last_epoch + self.T_cur % 1 + 1  # last_epoch has no fraction; T_cur has it
        if epoch < 0:
            raise ValueError(f"Expected non-negative epoch, but got {epoch}")
        self.last_epoch = math.floor(epoch)
        self.T_i, self.T_cur = self.T_0, epoch
        if self.T_mult == 1:
            self.T_cur %= self.T_0
        else:
            while self.T_cur >= self.T_i:
                self.T_cur -= self.T_i
                self.T_i *= self.T_mult
        set_lrs(self.optimizer, self.get_lr())
        self._last_lr = get_lrs(self.optimizer)
