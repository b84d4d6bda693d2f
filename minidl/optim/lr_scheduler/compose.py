"""Schedulers made of schedulers: SequentialLR, ChainedScheduler."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from minidl.optim.lr_scheduler.base import LRScheduler, get_lrs, set_lrs
from minidl.optim.lr_scheduler.plateau import ReduceLROnPlateau
from minidl.optim.optimizer import Optimizer


class _ComposedLR(LRScheduler):
    """Several schedulers of one optimizer."""

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer) -> None:
        name = type(self).__name__
        for i, scheduler in enumerate(schedulers):
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(
                    f"{name} does not support `ReduceLROnPlateau`, whose `step` needs the metric, "
                    f"but got one at index {i}"
                )
            if scheduler.optimizer is not optimizer:
                raise ValueError(
                    f"{name} expects all schedulers to belong to the same optimizer, "
                    f"but the {type(scheduler).__name__} at index {i} belongs to another one"
                )
        self.optimizer = optimizer
        self.base_lrs = schedulers[0].base_lrs
        self._schedulers = list(schedulers)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "_schedulers": self._schedulers})
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)


class SequentialLR(_ComposedLR):
    """One scheduler after the other, each beginning at its own epoch 0.

    Args:
        optimizer: the optimizer.
        schedulers: the schedulers, of this optimizer.
        milestones: the epochs at which the second, the third, … take over.
        last_epoch: -1; to resume, use ``load_state_dict``.

    Raises:
        ValueError: if there is no scheduler, one is of another optimizer or a ReduceLROnPlateau, or the number of
            milestones is not one less than that of schedulers.

    Example:
        >>> optimizer = minidl.optim.SGD([minidl.zeros(1, requires_grad=True)], lr=1.0)
        >>> schedulers = minidl.optim.lr_scheduler
        >>> warmup = schedulers.LinearLR(optimizer, start_factor=0.5, total_iters=2)
        >>> decay = schedulers.ExponentialLR(optimizer, gamma=0.5)
        >>> scheduler = schedulers.SequentialLR(optimizer, [warmup, decay], milestones=[2])
        >>> for _ in range(5):
        ...     print(scheduler.get_last_lr()[0], end=" ")
        ...     optimizer.step()
        ...     scheduler.step()
        0.5 0.75 1.0 0.5 0.25
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: list[LRScheduler], milestones: list[int], last_epoch: int = -1
    ) -> None:
        if len(schedulers) < 1:
            raise ValueError("SequentialLR expects at least one scheduler, but got no scheduler.")
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                "Sequential Schedulers expects number of schedulers provided to be one more than the number of "
                f"milestone points, but got number of schedulers {len(schedulers)} and the number of milestones to be "
                f"equal to {len(milestones)}"
            )
        super().__init__(schedulers, optimizer)
        self._milestones = list(milestones)
        self._begin([group["initial_lr"] for group in optimizer.param_groups])
        self.last_epoch = last_epoch + 1

    def _begin(self, lrs: list[float]) -> None:
        self.last_epoch = 0
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._begin(lrs)
        self._last_lr = get_lrs(self.optimizer)

    def step(self) -> None:
        """Go on to the next epoch, and to the next scheduler if it is its turn."""
        self.last_epoch += 1
        i = bisect_right(self._milestones, self.last_epoch)
        if i > 0 and self._milestones[i - 1] == self.last_epoch:
            self._schedulers[i]._take_over()
        else:
            self._schedulers[i].step()
        self._last_lr = get_lrs(self.optimizer)


class ChainedScheduler(_ComposedLR):
    """Several schedulers at once: each changes the rate that the one before it left.

    Args:
        schedulers: the schedulers, all of the same optimizer.
        optimizer: their optimizer; by default that of the first.

    Raises:
        ValueError: if there is no scheduler, or one is of another optimizer or a ReduceLROnPlateau.
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        if len(schedulers) < 1:
            raise ValueError("ChainedScheduler expects at least one scheduler to be chained, but got no scheduler.")
        super().__init__(schedulers, optimizer or schedulers[0].optimizer)
        self.last_epoch = schedulers[0].last_epoch
        self._last_lr = get_lrs(self.optimizer)

    def _begin(self, lrs: list[float]) -> None:
        set_lrs(self.optimizer, lrs)
        for scheduler in self._schedulers:
            scheduler._begin(get_lrs(self.optimizer))
        self.last_epoch = 0
        self._last_lr = get_lrs(self.optimizer)

    def step(self) -> None:
        """Step every scheduler, in order."""
        for scheduler in self._schedulers:
            scheduler.step()
        self.last_epoch += 1
        self._last_lr = get_lrs(self.optimizer)
