"""Trainer: the training loop, with what everybody adds to it."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minidl import random
from minidl.autograd.mode import no_grad
from minidl.data import DataLoader
from minidl.io.atomic import atomic_write
from minidl.nn import CrossEntropyLoss, Module
from minidl.nn import functional as F
from minidl.ops.joining import cat
from minidl.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau
from minidl.tensor import Tensor
from minidl.training.callbacks import Callback
from minidl.training.checkpoint import load_checkpoint, save_checkpoint
from minidl.training.metrics import accuracy
from minidl.training.pictures import plot_curves
from minidl.training.progress import Progress

Metric = Callable[[Tensor, Tensor], float]


class Trainer:
    """Fits a model to the batches of a loader, measures it, and keeps what comes out.

    Args:
        model: takes the inputs of a batch, returns the outputs.
        optimizer: over the model's parameters.
        loss: takes outputs and targets, returns the mean loss of the batch.
        scheduler: of the learning rate. ``OneCycleLR`` steps after every batch, ``ReduceLROnPlateau`` after every epoch
            with the validation loss (without validation: the training loss), any other after every epoch.
        metrics: name → function of outputs and targets, which returns one number (default: accuracy if the loss is cross
            entropy).
        device: where to compute; the model is moved there.
        run_dir: folder for ``metrics.csv``, ``checkpoint.safetensors`` (both rewritten atomically after every epoch and its
            callbacks) and ``curves.png``; nothing is written without it.
        seed: of everything random that has no seed of its own, set when ``fit`` begins.
        callbacks: see ``Callback``.

    Loaders give batches (inputs, targets) of Tensors; for ``predict``, or a loss that needs no targets, also inputs only.

    Attributes:
        history: one dict per epoch: epoch, lr, train_loss, train_accuracy, …, val_loss, val_accuracy, …
        should_stop: a callback sets it to end training after the current epoch.

    Raises:
        ValueError: if a metric has the name of the loss.

    Example:
        >>> trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1))
        >>> trainer.fit(train_loader, val_loader, epochs=3)
        >>> trainer.evaluate(test_loader)["accuracy"]
    """

    def __init__(
        self,
        model: Module,
        optimizer: Any,
        loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
        scheduler: Any = None,
        metrics: Mapping[str, Metric] | None = None,
        device: Any = None,
        run_dir: str | os.PathLike[str] | None = None,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.model = model if device is None else model.to(device)
        self.optimizer = optimizer
        self.loss = loss
        self.scheduler = scheduler
        if metrics is None:
            metrics = {"accuracy": accuracy} if loss is F.cross_entropy or isinstance(loss, CrossEntropyLoss) else {}
        if "loss" in metrics:
            raise ValueError("Trainer: a metric may not be named 'loss': the history has the loss under that name")
        self.metrics = dict(metrics)
        self.device = device
        self.run_dir = None if run_dir is None else Path(run_dir)
        self.seed = seed
        self.callbacks = list(callbacks)
        self.history: list[dict[str, float]] = []
        self.should_stop = False

    def fit(
        self, train_loader: Any, val_loader: Any = None, epochs: int = 1, *, resume: bool = False, title: str = ""
    ) -> list[dict[str, float]]:
        """Train until ``epochs`` epochs are done, validating after each; return the history.

        Args:
            resume: go on from the checkpoint in ``run_dir``, if there is one, to the same result, bit for bit, that a run
                without interruption would have had (the loaders must be made as they were then).
            title: put before every line of progress.

        Raises:
            RuntimeError: if the loss becomes NaN or infinite; the checkpoint of the last good epoch stays.
            TypeError: if a loader gives something else than batches of Tensors, or a metric returns no number.
            ValueError: if a loader has no batches; if ``resume`` finds the checkpoint of a run with another kind of optimizer,
                scheduler or loader, or a damaged one.
        """
        random.manual_seed(self.seed)
        self.history, self.should_stop = [], False
        if resume:
            self._resume(train_loader, val_loader)
        for callback in self.callbacks:
            callback.on_fit_start(self)
        with Progress(_images(train_loader, epochs - len(self.history)), title) as progress:
            for epoch in range(len(self.history) + 1, epochs + 1):
                progress.epoch(epoch, epochs)
                start = time.perf_counter()
                row: dict[str, float] = {"epoch": epoch, "lr": float(self.optimizer.param_groups[0]["lr"])}
                trained, count = self._train_epoch(train_loader, epoch, progress)
                speed = count / (time.perf_counter() - start)
                row.update({f"train_{name}": value for name, value in trained.items()})
                if val_loader is not None:
                    row.update({f"val_{name}": value for name, value in self.evaluate(val_loader).items()})
                self._step_scheduler_after_epoch(row)
                self.history.append(row)
                progress.report(epoch, epochs, {k: v for k, v in row.items() if k not in ("epoch", "lr")}, speed)
                try:
                    for callback in self.callbacks:
                        callback.on_epoch_end(self, row)
                finally:  # after the callbacks, for what they changed; and if one raises, the epoch is not lost
                    self._keep(train_loader, val_loader)
                if self.should_stop:
                    break
        for callback in self.callbacks:
            callback.on_fit_end(self)
        if self.run_dir is not None and self.history:
            plot_curves(self.history, self.run_dir / "curves.png")
        return self.history

    def _train_epoch(self, loader: Any, epoch: int, progress: Progress) -> tuple[dict[str, float], int]:
        self.model.train()
        means = _Means()
        for i, (x, target) in enumerate(self._batches(loader)):
            output = self.model(x)
            loss = self._loss(output, target)
            value = loss.item()
            if not math.isfinite(value):
                raise RuntimeError(
                    f"the loss is {value} in epoch {epoch}, batch {i} (learning rate "
                    f"{self.optimizer.param_groups[0]['lr']:g}). Common causes: a learning rate that is too high (try a tenth, "
                    "or nn.utils.clip_grad_norm_), NaN in the data, or log or division at 0. "
                    "`with minidl.autograd.detect_anomaly():` around fit names the operation."
                )
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if isinstance(self.scheduler, OneCycleLR):
                self.scheduler.step()
            means.add(len(x), {"loss": value, **self._measure(output, target)})
            progress.advance(len(x), means.values())
            for callback in self.callbacks:
                callback.on_batch_end(self, value)
        if not means.count:
            raise ValueError(
                "the loader has no batches: is the dataset empty, or smaller than a batch with drop_last=True?"
            )
        return means.values(), means.count

    @no_grad()
    def evaluate(self, loader: Any) -> dict[str, float]:
        """Return the mean loss and metrics over a loader; the model's mode (training or not) is put back afterwards.

        Raises:
            TypeError: if the loader gives something else than batches of Tensors, or a metric returns no number.
            ValueError: if the loader has no batches.
        """
        means = _Means()
        for output, target in self._outputs(loader):
            means.add(len(output), {"loss": self._loss(output, target).item(), **self._measure(output, target)})
        if not means.count:
            raise ValueError("evaluate: the loader has no batches")
        return means.values()

    @no_grad()
    def predict(self, loader: Any) -> Tensor:
        """Return the model's outputs for all batches of a loader, one after another, on the CPU."""
        outputs = [output.cpu() for output, _ in self._outputs(loader)]
        if not outputs:
            raise ValueError("predict: the loader has no batches")
        return cat(outputs)

    def _outputs(self, loader: Any) -> Iterable[tuple[Tensor, Any]]:
        was_training = self.model.training
        self.model.eval()
        try:
            for x, target in self._batches(loader):
                yield self.model(x), target
        finally:
            self.model.train(was_training)

    def _batches(self, loader: Any) -> Iterable[tuple[Tensor, Any]]:
        """Pairs (inputs, targets) on the device; targets are None where the loader gives inputs only."""
        for batch in loader:
            parts = tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
            if len(parts) not in (1, 2) or any(isinstance(part, np.ndarray) for part in parts):
                kinds = ", ".join(type(part).__name__ for part in parts)
                raise TypeError(
                    f"Trainer: a loader should give batches (inputs, targets) of two Tensors, got ({kinds})"
                )
            x, target = parts if len(parts) == 2 else (batch, None)
            if isinstance(x, (tuple, list)) and len(x) == 1:
                x = x[0]
            if self.device is not None:
                x, target = x.to(self.device), None if target is None else target.to(self.device)
            yield x, target

    def _loss(self, output: Tensor, target: Tensor) -> Tensor:
        try:
            return self.loss(output, target)
        except (AttributeError, TypeError) as error:
            if target is None:
                raise TypeError(
                    "Trainer: the loss needs targets, and the loader gives inputs only; it should give batches "
                    "(inputs, targets)"
                ) from error
            raise

    def _measure(self, output: Tensor, target: Tensor) -> dict[str, float]:
        measured = {}
        for name, metric in self.metrics.items():
            value = metric(output, target)
            try:
                measured[name] = float(value.item() if hasattr(value, "item") else value)
            except (TypeError, ValueError, RuntimeError):
                kind = f"shape {tuple(value.shape)}" if hasattr(value, "shape") else f"{value!r}"
                raise TypeError(
                    f"Trainer: the metric {name!r} should return one number, the mean of the batch, "
                    f"got a {type(value).__name__} ({kind})"
                ) from None
        return measured

    def _step_scheduler_after_epoch(self, row: dict[str, float]) -> None:
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(row.get("val_loss", row["train_loss"]))
        elif self.scheduler is not None and not isinstance(self.scheduler, OneCycleLR):
            self.scheduler.step()

    # -- files --------------------------------------------------------------------------------------------------------

    def _keep(self, train_loader: Any, val_loader: Any) -> None:
        """Write metrics and checkpoint."""
        if self.run_dir is None:
            return
        with atomic_write(self.run_dir / "metrics.csv") as path, open(path, "w", newline="") as file:
            names = dict.fromkeys(name for row in self.history for name in row)  # callbacks may add some later
            writer = csv.DictWriter(file, fieldnames=list(names))
            writer.writeheader()
            writer.writerows(self.history)
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "random": random.get_rng_state(),
            "loader": _standing(train_loader),
            "val_loader": _standing(val_loader),
            "history": self.history,
            "classes": self._classes(),
        }
        save_checkpoint(state, self.run_dir / "checkpoint.safetensors")

    def _resume(self, train_loader: Any, val_loader: Any) -> None:
        path = None if self.run_dir is None else self.run_dir / "checkpoint.safetensors"
        if path is None or not path.exists():
            return
        state = load_checkpoint(path)
        now = self._classes()
        then = state.get("classes", now)  # older checkpoints do not name them
        if state["scheduler"] is None:
            then = {**then, "scheduler": None}
        if then != now:
            raise ValueError(
                f"resume: {path} is of a run with the optimizer {then['optimizer']} and the scheduler {then['scheduler']}, this "
                f"Trainer has {now['optimizer']} and {now['scheduler']}; make it as it was, or begin anew with another run_dir"
            )
        for name, loader in (("loader", train_loader), ("val_loader", val_loader)):
            if loader is None or state.get(name) is None:  # older checkpoints have no val_loader
                continue
            if not hasattr(loader, "load_state_dict"):
                raise ValueError(
                    f"resume: {path} has the state of a {'training' if name == 'loader' else 'validation'} loader, and a "
                    f"{type(loader).__name__} cannot take it (it has no load_state_dict); give a loader like the one before"
                )
            loader.load_state_dict(state[name])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        random.set_rng_state(state["random"])
        self.history = state["history"]

    def _classes(self) -> dict[str, str | None]:
        parts = {"optimizer": self.optimizer, "scheduler": self.scheduler}
        return {name: None if part is None else type(part).__name__ for name, part in parts.items()}


class _Means:
    """Means over samples, from means over batches."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: dict[str, float] = {}

    def add(self, count: int, values: dict[str, float]) -> None:
        self.count += count
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + count * value

    def values(self) -> dict[str, float]:
        return {name: total / self.count for name, total in self.sums.items()}


def _standing(loader: Any) -> Any:
    """The state of a loader between two epochs, or None if it has none."""
    if not hasattr(loader, "state_dict"):
        return None
    state = loader.state_dict()
    # A callback may have left the loader in the middle of its data. Here too the next iteration is a new epoch.
    return {**state, "epoch": loader.epoch, "batch": 0} if isinstance(loader, DataLoader) else state


def _images(loader: Any, epochs: int) -> int | None:
    """How many samples ``epochs`` epochs have, if that can be known."""
    try:
        if loader.drop_last:
            return len(loader) * loader.batch_size * epochs
        return len(loader.sampler) * epochs
    except (TypeError, AttributeError, NotImplementedError):
        return None
