"""The base of the learning rate schedulers."""

from __future__ import annotations

import warnings
from typing import Any

from minidl.optim.optimizer import Optimizer


class LRScheduler:
    """Sets the learning rate of each parameter group. Subclasses define ``get_lr``, the rates for ``last_epoch``.

    Making a scheduler sets the rates for epoch 0; each ``step()``, called after ``optimizer.step()``, sets those for
    the next one. Whether an "epoch" is an epoch or a batch is up to the caller.

    Most schedules are written as in PyTorch: the next rate from the present one (``group["lr"]``), not from the epoch
    alone. That lets several schedulers multiply (``ChainedScheduler``) and respects a rate that was changed by hand.

    Args:
        optimizer: the optimizer whose ``param_groups`` are changed.
        last_epoch: the last epoch that is over; -1 to begin. Otherwise each group needs an ``"initial_lr"``, as the
            groups of an optimizer have once a scheduler was made for it.

    Attributes:
        base_lrs: the rate of each group at the beginning.
        last_epoch: the epoch whose rates are set.

    Raises:
        TypeError: if ``optimizer`` is no Optimizer.
        KeyError: if ``last_epoch`` is given and a group has no ``"initial_lr"``.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        require_optimizer(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with "
                    f"last_epoch={last_epoch}: load the optimizer's state first"
                )
        self.optimizer = optimizer
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        self.step()
        self._is_initial = False

    def _begin(self, lrs: list[float]) -> None:
        """Begin (anew) at epoch 0, where the groups' rates are ``lrs``."""
        set_lrs(self.optimizer, lrs)
        self.last_epoch = -1
        self._initial_step()

    def _take_over(self) -> None:
        """Begin at epoch 0 because it is this scheduler's turn in a SequentialLR."""
        self._begin(self.base_lrs)

    def get_lr(self) -> list[float]:
        """Compute the rate of each group for ``last_epoch``, for ``step``. To see the rates use ``get_last_lr``."""
        raise NotImplementedError(f"{type(self).__name__} defines no get_lr")

    def get_last_lr(self) -> list[float]:
        """Return the rate of each group that the last ``step`` set."""
        return self._last_lr

    def step(self) -> None:
        """Go on to the next epoch and set its rates."""
        if self._step_count == 1 and not self.optimizer._has_stepped and type(self.optimizer).step is Optimizer.step:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`: the first learning rate of the "
                "schedule is never used. Call `optimizer.step()` first.",
                UserWarning,
                stacklevel=2,
            )
        self._step_count += 1
        self.last_epoch += 1
        set_lrs(self.optimizer, self.get_lr())
        self._last_lr = get_lrs(self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimizer. The rates themselves are part of the optimizer's state."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state of another scheduler; the optimizer's state, with the rates, is loaded separately."""
        self.__dict__.update(state_dict)


def get_lrs(optimizer: Optimizer) -> list[float]:
    """Return the present rate of each group."""
    return [group["lr"] for group in optimizer.param_groups]


def set_lrs(optimizer: Optimizer, lrs: list[float]) -> None:
    """Set the rate of each group."""
    for group, lr in zip(optimizer.param_groups, lrs, strict=True):
        group["lr"] = lr


def per_group(name: str, optimizer: Optimizer, value: float | list[float] | tuple[float, ...]) -> list[float]:
    """Return one value per group: the given ones, or the given one for each."""
    if not isinstance(value, (list, tuple)):
        return [value] * len(optimizer.param_groups)
    if len(value) != len(optimizer.param_groups):
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups. "
            f"{name} has {len(value)} values, param_groups has {len(optimizer.param_groups)}."
        )
    return list(value)


def require_optimizer(optimizer: Optimizer) -> None:
    """Raise TypeError if ``optimizer`` is none."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
