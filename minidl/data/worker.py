"""A worker process: receives jobs, makes batches, sends them back."""

from __future__ import annotations

import gc
import os
import pickle
import random as python_random
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import connection, parent_process
from typing import Any, NamedTuple

import numpy as np

from minidl import random
from minidl.backend import set_num_threads
from minidl.data.dataset import Dataset
from minidl.data.fetch import EndOfStream, Fetcher, Job, NoBatch, seed_of_worker
from minidl.data.shared import Sender, remove_folder
from minidl.data.skipped import Watch

TOO_LONG = 20_000  # characters of a traceback: what comes before the last ones is left out


class WorkerInfo(NamedTuple):
    """What ``get_worker_info`` tells in a worker.

    Attributes:
        id: the worker's number, from 0.
        num_workers: how many there are.
        seed: what this worker's ``minidl.default_generator``, ``random`` and ``numpy.random`` began the epoch with; another one
            in each epoch. (Transforms do not draw from them, see ``minidl.data.draws``.)
        dataset: the worker's copy of the dataset.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Dataset[Any]


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """Which DataLoader worker the calling code runs in; None in the main process.

    An ``IterableDataset`` uses it to give each worker another part of the stream:

        >>> class Lines(minidl.data.IterableDataset):
        ...     def __iter__(self):
        ...         info = get_worker_info()
        ...         first, step = (0, 1) if info is None else (info.id, info.num_workers)
        ...         return iter(range(first, 10, step))
    """
    return _info


class Setup(NamedTuple):
    """What a worker is started with."""

    dataset: Dataset[Any]
    collate_fn: Callable[[Any], Any]
    batch_size: int | None
    drop_last: bool
    worker: int
    workers: int
    seed: int
    folder: str | None
    init: Callable[[int], None] | None


class Failure(NamedTuple):
    """An exception on its way to the main process."""

    worker: int
    kind: type[Any]
    text: str  # the traceback, with the notes
    attributes: dict[str, bytes]  # of the exception, pickled

    def as_error(self) -> BaseException:
        """An exception of the same class, with the worker and the traceback as its message.

        Of the nearest class above that can be made of a message, or else a RuntimeError.
        """
        error = self._of_class_nearby()
        for name, pickled in self.attributes.items():
            if name not in error.__dict__:  # else what is made of the message already
                error.__dict__[name] = pickle.loads(pickled)
        return error

    def _of_class_nearby(self) -> BaseException:
        """Without the attributes."""
        message = f"Caught {self.kind.__name__} in DataLoader worker process {self.worker}.\nOriginal {self.text}"
        ends = issubclass(self.kind, StopIteration)  # it would pass for the end of the epoch
        for kind in () if ends else self.kind.__mro__:
            if kind is Exception:
                break
            if kind is KeyError:  # it would print the message's repr
                return _WorkerKeyError(message)
            try:
                return kind(message)
            except Exception:  # one that is made of something else
                continue
        return RuntimeError(message)


class _WorkerKeyError(KeyError):
    def __str__(self) -> str:
        return str(self.args[0])


def run(channel: connection.Connection, others: list[connection.Connection], setup: Setup) -> None:
    """The worker's life.

    Args:
        channel: jobs come and batches go here.
        others: the main process's ends, which a forked child inherits. It closes them, or no worker would notice the end
            of the main process.
        setup: what to work on.
    """
    global _info
    gc.freeze()  # what a fork has inherited stays shared: a collection would write to every object of it
    for other in others:
        other.close()
    with suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's business; it ends the workers
    _end_with_parent(setup.folder)
    set_num_threads(1)  # the other cores belong to the other workers
    _info = WorkerInfo(setup.worker, setup.workers, setup.seed, setup.dataset)
    _seed(setup.seed)
    sender = Sender(setup.folder, f"{setup.worker}")
    fetcher = Fetcher(
        setup.dataset, setup.collate_fn, setup.batch_size, setup.drop_last, setup.worker, setup.workers, sender.placing
    )
    begun: Failure | None = None
    try:
        if setup.init is not None:
            setup.init(setup.worker)
    except Exception as error:
        begun = _failure(setup.worker, error)
    try:
        _serve(channel, setup.worker, fetcher, sender, begun)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the main process is gone, or has lost interest
    finally:
        channel.close()


def _seed(seed: int) -> None:
    """Seed all that the dataset may draw from, and let ``get_worker_info`` tell of it."""
    global _info
    assert _info is not None
    _info = _info._replace(seed=seed)
    random.manual_seed(seed)
    python_random.seed(seed)
    np.random.seed(seed % 2**32)


def _serve(channel: Any, worker: int, fetcher: Fetcher, sender: Sender, begun: Failure | None) -> None:
    skipped = Watch(fetcher.dataset)
    served = 1  # the iteration that it works for: it was started and seeded for the pool's first
    while True:
        order = channel.recv()
        if order is None:
            return
        serial, job, freed = order
        assert isinstance(job, Job)
        if serial != served:  # a further epoch: it draws what a worker draws that is started for it
            _seed(seed_of_worker(job.seed, job.epoch, worker))
        served = serial
        sender.take_back(freed)
        answer: Any = begun
        if begun is None:
            try:
                batch = fetcher.fetch(job)
                answer = batch if batch is EndOfStream or batch is NoBatch else sender.pack(batch)
                del batch
            except Exception as error:
                answer = _failure(worker, error)
        channel.send((serial, answer, skipped.news()))


def _failure(worker: int, error: Exception) -> Failure:
    text = traceback.format_exc()
    if len(text) > TOO_LONG:
        text = f"Traceback (the end of it):\n{text[-TOO_LONG:]}"
    # A class that was made in a function cannot be sent; one of those it is derived from can.
    kind = next(c for c in type(error).__mro__ if getattr(sys.modules.get(c.__module__), c.__qualname__, None) is c)
    return Failure(worker, kind, text, {name: sent for name, x in vars(error).items() if (sent := _pickled(name, x))})


def _pickled(name: str, attribute: Any) -> bytes | None:
    """An exception's attribute, if it can be sent; the notes are in the text."""
    if name == "__notes__":
        return None
    try:
        pickled = pickle.dumps(attribute)
        pickle.loads(pickled)
    except Exception:  # whatever a class does to be pickled
        return None
    return pickled


def _end_with_parent(folder: str | None) -> None:
    """End this process when the main process ends, even in the middle of a batch; and clear up, if that could not."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        remove_folder(folder)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="minidl-watches-parent").start()
