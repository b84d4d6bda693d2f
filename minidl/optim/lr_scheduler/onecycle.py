"""The one-cycle policy."""

from __future__ import annotations

import math
from typing import Literal

from minidl.optim.lr_scheduler.base import LRScheduler, per_group, require_optimizer
from minidl.optim.optimizer import Optimizer


class OneCycleLR(LRScheduler):
    """Up to ``max_lr``, then down to almost nothing, and the momentum the other way. Stepped after every batch.

    Smith and Topin 2019, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates"; by
    default in fastai's two phases, as in PyTorch.

    Args:
        optimizer: the optimizer.
        max_lr: the highest rate, or one for each group.
        total_steps: the number of steps of the cycle; or give ``epochs`` and ``steps_per_epoch``.
        epochs: the number of epochs.
        steps_per_epoch: the number of batches in one.
        pct_start: the share of the cycle in which the rate rises, a float from 0 to 1.
        anneal_strategy: the shape of each phase, ``"cos"`` or ``"linear"``.
        cycle_momentum: whether the momentum (Adam: β₁) falls from ``max_momentum`` to ``base_momentum`` as the rate
            rises, and rises as it falls.
        base_momentum: the lowest momentum, or one for each group.
        max_momentum: the highest momentum, or one for each group.
        div_factor: the initial rate is ``max_lr / div_factor``.
        final_div_factor: the last rate is the initial one divided by this.
        three_phase: fall to the initial rate in as many steps as the rise took, then to the last one; otherwise at
            once.
        last_epoch: as in :class:`LRScheduler`.

    Raises:
        ValueError: if an argument is out of range, if ``cycle_momentum`` is set and the optimizer has no momentum, or
            if it is stepped more than ``total_steps`` times.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        require_optimizer(optimizer)
        if total_steps is not None:
            self.total_steps = _positive("total_steps", total_steps)
        elif epochs is not None and steps_per_epoch is not None:
            self.total_steps = _positive("epochs", epochs) * _positive("steps_per_epoch", steps_per_epoch)
        else:
            raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        if cycle_momentum and "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
            raise ValueError("optimizer must support momentum or beta1 with `cycle_momentum` option enabled")
        self.pct_start = pct_start
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        self.three_phase = three_phase

        if last_epoch == -1:
            max_lrs = per_group("max_lr", optimizer, max_lr)
            base_momentums = per_group("base_momentum", optimizer, base_momentum)
            max_momentums = per_group("max_momentum", optimizer, max_momentum)
            for i, group in enumerate(optimizer.param_groups):
                group["initial_lr"] = max_lrs[i] / div_factor
                group["max_lr"] = max_lrs[i]
                group["min_lr"] = group["initial_lr"] / final_div_factor
                if cycle_momentum:
                    group["max_momentum"] = max_momentums[i]
                    group["base_momentum"] = base_momentums[i]
        super().__init__(optimizer, last_epoch)

    def _phases(self) -> list[tuple[float, tuple[str, str], tuple[str, str]]]:
        """The last step of each phase, and the group's entries between which rate and momentum go."""
        top = self.pct_start * self.total_steps - 1
        up = (top, ("initial_lr", "max_lr"), ("max_momentum", "base_momentum"))
        end = self.total_steps - 1
        if not self.three_phase:
            return [up, (end, ("max_lr", "min_lr"), ("base_momentum", "max_momentum"))]
        down = (2 * top, ("max_lr", "initial_lr"), ("base_momentum", "max_momentum"))
        return [up, down, (end, ("initial_lr", "min_lr"), ("max_momentum", "max_momentum"))]

    def _place(self) -> tuple[float, tuple[str, str], tuple[str, str]]:
        """How much of the present phase is over, and the entries between which rate and momentum go."""
        if self.last_epoch > self.total_steps:
            raise ValueError(
                f"Tried to step {self.last_epoch} times. The specified number of total steps is {self.total_steps}"
            )
        phases = self._phases()
        i = next((i for i, (end, _, _) in enumerate(phases) if self.last_epoch <= end), len(phases) - 1)
        end, lr, momentum = phases[i]
        start = phases[i - 1][0] if i > 0 else 0
        return ((self.last_epoch - start) / (end - start) if end != start else 1.0), lr, momentum

    def _anneal(self, start: float, end: float, done: float) -> float:
        if self.anneal_strategy == "cos":
            return end + (start - end) / 2.0 * (math.cos(math.pi * done) + 1)
        return (end - start) * done + start

    def get_lr(self) -> list[float]:
        done, (start, end), _ = self._place()
        return [self._anneal(group[start], group[end], done) for group in self.optimizer.param_groups]

    def step(self) -> None:
        """Go on to the next step of the cycle and set its rates and momenta."""
        super().step()
        if not self.cycle_momentum:
            return
        done, _, (start, end) = self._place()
        for group in self.optimizer.param_groups:
            momentum = self._anneal(group[start], group[end], done)
            if "betas" in self.optimizer.defaults:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum


def _positive(name: str, value: int) -> int:
    if not isinstance(value, int) or value <= 0:
        raise ValueError(f"Expected positive integer {name}, but got {value}")
    return value
