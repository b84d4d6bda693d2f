"""Snapshot ensembles: several members from one run, whose learning rate falls again and again."""

from __future__ import annotations

import copy
import math
from typing import Any

from minidl.ensemble.voting import VotingEnsemble
from minidl.nn import Module


class Snapshots:
    """A callback for ``Trainer`` that drives the learning rate through cosine cycles and keeps a copy at the end of each.

    In step t of training (t = 1, 2, …) the learning rate is, with α₀ the rate the optimizer came with and T steps in a cycle,

        α(t) = α₀/2 · (cos(π · mod(t − 1, T) / T) + 1).

    Near the end of a cycle it is near 0, and the model in a minimum; then it jumps back to α₀, and leaves for another one.

    Args:
        steps_per_cycle: T: updates of the parameters; ``epochs_per_cycle * len(loader)``.

    Attributes:
        models: the copies, oldest first.
        step: updates so far.

    The trainer needs no scheduler. It may be any object with ``model``, ``optimizer``, ``scheduler`` and ``history`` that calls
    ``on_fit_start(trainer)``, and ``on_batch_end(trainer, loss)`` after each update.

    Source: Huang, Li, Pleiss, Liu, Hopcroft and Weinberger, "Snapshot ensembles: train 1, get M for free", ICLR 2017, equation 2.

    Raises:
        ValueError: if ``steps_per_cycle`` is no integer of at least 1; when fitting begins, if the trainer has a scheduler.
        RuntimeError: when fitting begins, if it resumes a run: the copies made before are not in its checkpoint.

    Example:
        >>> snapshots = Snapshots(steps_per_cycle=2 * len(loader))  # doctest: +SKIP
        >>> Trainer(model, optimizer, callbacks=[snapshots]).fit(loader, epochs=10)  # doctest: +SKIP
        >>> ensemble = snapshots.ensemble(last=3)  # of the five  # doctest: +SKIP
    """

    def __init__(self, steps_per_cycle: int) -> None:
        if isinstance(steps_per_cycle, bool) or not isinstance(steps_per_cycle, int) or steps_per_cycle < 1:
            raise ValueError(f"Snapshots: steps_per_cycle should be an integer of at least 1, got {steps_per_cycle!r}")
        self.steps_per_cycle = steps_per_cycle
        self.models: list[Module] = []
        self.step = 0
        self._highest: list[float] = []

    def factor(self, step: int) -> float:
        """α(t) / α₀ for the update after ``step`` others (t = step + 1)."""
        return (math.cos(math.pi * (step % self.steps_per_cycle) / self.steps_per_cycle) + 1) / 2

    def ensemble(self, last: int | None = None, **options: Any) -> VotingEnsemble:
        """The copies as a ``VotingEnsemble`` in evaluation mode.

        Args:
            last: take only so many, the latest: later ones are better, as a rule.
            options: for ``VotingEnsemble``.

        Raises:
            ValueError: if there are not so many, or none.
        """
        if not self.models or (last is not None and not 1 <= last <= len(self.models)):
            raise ValueError(
                f"Snapshots: {'at least one was' if last is None else f'{last} were'} asked for, and there are "
                f"{len(self.models)}, after {self.step} steps in cycles of {self.steps_per_cycle}"
            )
        ensemble = VotingEnsemble(self.models if last is None else self.models[-last:], **options)
        return ensemble.eval()

    def on_fit_start(self, trainer: Any) -> None:
        """Begin afresh, at the highest rate."""
        if trainer.scheduler is not None:
            kind = type(trainer.scheduler).__name__
            raise ValueError(
                f"Snapshots sets the learning rate itself; make the Trainer without a scheduler (it has a {kind})"
            )
        if trainer.history:
            raise RuntimeError(
                f"Snapshots cannot resume: what was kept in the first {len(trainer.history)} epochs is not in the checkpoint"
            )
        if not self._highest:
            self._highest = [group["lr"] for group in trainer.optimizer.param_groups]
        self.models, self.step = [], 0
        self._set_rate(trainer)

    def on_batch_end(self, trainer: Any, loss: float) -> None:
        """Keep a copy where a cycle ends, and set the rate of the next update."""
        self.step += 1
        if self.step % self.steps_per_cycle == 0:
            model = copy.deepcopy(trainer.model)
            model.zero_grad()
            self.models.append(model)
        self._set_rate(trainer)

    def on_epoch_end(self, trainer: Any, row: dict[str, float]) -> None:
        """Nothing: cycles are counted in steps."""

    def on_fit_end(self, trainer: Any) -> None:
        """Nothing."""

    def _set_rate(self, trainer: Any) -> None:
        for group, highest in zip(trainer.optimizer.param_groups, self._highest, strict=True):
            group["lr"] = highest * self.factor(self.step)
