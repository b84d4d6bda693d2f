"""Where a user's own code joins the training loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minidl.training.trainer import Trainer


class Callback:
    """Override what is needed; every method gets the trainer.

    Example:
        >>> class StopWhenGood(Callback):
        ...     def on_epoch_end(self, trainer, row):
        ...         trainer.should_stop = row["val_accuracy"] > 0.95
    """

    def on_fit_start(self, trainer: Trainer) -> None:
        """Before the first epoch."""

    def on_batch_end(self, trainer: Trainer, loss: float) -> None:
        """After each update of the parameters."""

    def on_epoch_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        """After each epoch; ``row`` is its line of the metrics (epoch, lr, train_loss, …, val_loss, …).

        Metrics and checkpoint are written after this: numbers added to ``row`` are in both, and a learning rate that is
        changed here is also that of a resumed run. If this raises, the epoch is kept as it then is.
        """

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last epoch."""
