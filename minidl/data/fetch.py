"""How a batch is made, wherever it is made: in the calling process or in a worker."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, NamedTuple

import numpy as np

from minidl import random
from minidl.data import ahead, draws
from minidl.data.collate import default_collate, default_convert
from minidl.data.dataset import Dataset, IterableDataset, SkipSample, beside_getitem
from minidl.data.sampler import ordering
from minidl.tensor import Tensor


class Job(NamedTuple):
    """A batch that is to be made.

    Attributes:
        seed, epoch: what the random numbers of its samples are keyed by.
        number: which batch of the epoch.
        indices: its samples; of a stream none.
        repeats: how often each has come before in the epoch.
        batched: False if it is a single sample that is not to be collated; ``entry`` is then what the sampler gave.
        skip: a batch of a stream that is only to be passed over.
    """

    seed: int
    epoch: int
    number: int
    indices: list[Any]
    repeats: list[int]
    batched: bool = True
    entry: Any = None
    skip: bool = False


class EndOfStream:
    """What stands for a batch when the stream has no more samples."""


class NoBatch:
    """What stands for a batch that was only to be passed over, or whose samples were all skipped."""


def order_of(seed: int, epoch: int) -> random.Generator:
    """The generator that samplers, and streams that shuffle, draw from in an epoch."""
    mixed = np.random.SeedSequence([seed % 2**64, epoch]).generate_state(1, np.uint64)
    return random.Generator().manual_seed(int(mixed[0]))


def seed_of_worker(seed: int, epoch: int, worker: int) -> int:
    """What a worker's generators begin an epoch with. As in PyTorch, the next worker's is larger by one."""
    mixed = np.random.SeedSequence([seed % 2**64, epoch, 1]).generate_state(1, np.uint64)  # 1: not that of the order
    return (int(mixed[0]) + worker) % 2**63


class Fetcher:
    """Makes batches of a dataset.

    Args:
        dataset, collate_fn: the loader's.
        batch_size, drop_last: of a stream; ``batch_size`` None means single samples.
        worker, workers: which of how many this is.
        placing: entered while ``default_collate`` makes a batch that is then sent away.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        collate_fn: Callable[[Any], Any],
        batch_size: int | None,
        drop_last: bool,
        worker: int = 0,
        workers: int = 1,
        placing: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.dataset = dataset
        self.collate_fn = collate_fn
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.worker = worker
        self.workers = workers
        self.placing = placing if collate_fn is default_collate else nullcontext
        self.stream: _Stream | None = None

    def fetch(self, job: Job) -> Any:
        """Return the batch, or ``NoBatch``, or ``EndOfStream``. Exceptions carry a note that says which samples were fetched."""
        if isinstance(self.dataset, IterableDataset):
            return self._from_stream(job)
        if not job.batched:
            with draws.fetching(job.seed, job.epoch, job.indices, job.repeats), _noting(job, job.indices):
                sample = self.dataset[job.entry]
            return self._collate(sample, job, job.indices, job.repeats)
        batch: Any = NotImplemented
        if self.collate_fn is default_collate and (fetch := beside_getitem(self.dataset, "__getbatch__")) is not None:
            with (
                draws.fetching(job.seed, job.epoch, job.indices, job.repeats),
                _noting(job, job.indices),
                self.placing(),
            ):
                batch = fetch(job.indices)
        if batch is NotImplemented and (fetch := beside_getitem(self.dataset, "__getitems__")) is not None:
            with draws.fetching(job.seed, job.epoch, job.indices, job.repeats), _noting(job, job.indices):
                batch = fetch(job.indices)
        if batch is NotImplemented:
            batch = []
            with ahead.loading(self.dataset, job.indices):
                for index, repeat in zip(job.indices, job.repeats, strict=True):
                    with draws.fetching(job.seed, job.epoch, [index], [repeat]), _noting(job, [index]):
                        batch.append(self.dataset[index])
        elif isinstance(batch, tuple):
            _check_finished(batch, len(job.indices), type(self.dataset).__name__)
            if self.collate_fn is default_collate:
                return default_convert(batch)
            batch = list(zip(*batch, strict=True))
        return self._collate(batch, job, job.indices, job.repeats)

    def _from_stream(self, job: Job) -> Any:
        """A batch of a dataset without indices; the position in the stream takes their place."""
        if self.stream is None or self.stream.key != (job.seed, job.epoch) or self.stream.next > job.number:
            self.stream = _Stream(self.dataset, job, self.batch_size or 1, self.worker, self.workers)
        samples, positions, taken = self.stream.take(job)
        if not taken or (self.drop_last and self.batch_size is not None and taken < self.batch_size):
            return EndOfStream
        if job.skip or not samples:
            return NoBatch
        return self._collate(samples if self.batch_size is not None else samples[0], job, positions, None)

    def _collate(self, samples: Any, job: Job, indices: Sequence[Any], repeats: list[int] | None) -> Any:
        with (
            draws.fetching(job.seed, job.epoch, indices, repeats, draws.COLLATE_STREAM),
            _noting(job, indices),
            self.placing(),
        ):
            return self.collate_fn(samples)


class _Stream:
    """One epoch of an ``IterableDataset``.

    If the dataset has ``iter_lazily``, all workers go through one and the same stream, and each computes the samples of its own
    batches only. Else each worker has its own ``iter(dataset)``, as in PyTorch, and the dataset sees to it that they differ
    (``get_worker_info``).
    """

    def __init__(self, dataset: Any, job: Job, size: int, worker: int, workers: int) -> None:
        self.key = job.seed, job.epoch
        self.order = order_of(job.seed, job.epoch)
        self.size = size
        self.lazy = hasattr(dataset, "iter_lazily")
        self.worker, self.workers = (0, 1) if self.lazy else (worker, workers)
        with ordering(self.order):
            self.samples: Iterator[Any] = iter(dataset.iter_lazily() if self.lazy else dataset)
        self.next = job.number if not self.lazy else 0  # the batch that begins where the stream stands
        self.position = 0  # of this worker's samples

    def take(self, job: Job) -> tuple[list[Any], list[int], int]:
        """The samples of a batch (functions that were not called, if it is to be passed over), their positions, and how many
        there were with those that were skipped."""
        if self.lazy:
            while self.next < job.number:
                self._read(job, call=False)
        return self._read(job, call=not job.skip)

    def _read(self, job: Job, call: bool) -> tuple[list[Any], list[int], int]:
        samples: list[Any] = []
        positions: list[int] = []
        taken = 0
        while taken < self.size:
            position = self.position * self.workers + self.worker
            with ordering(self.order), draws.fetching(job.seed, job.epoch, [position]), _noting(job, [position]):
                try:
                    sample = next(self.samples)
                except StopIteration:
                    break
                taken += 1
                self.position += 1
                with suppress(SkipSample):
                    samples.append(sample() if self.lazy and call else sample)
                    positions.append(position)
        self.next = job.number + 1 if not self.lazy else self.next + 1
        return samples, positions, taken


class _noting:  # noqa: N801  (a context manager, cheaper than a generator)
    """Adds to an exception which samples were being fetched.

    A StopIteration becomes a RuntimeError, as in a generator: it would pass for the end of the epoch.
    """

    def __init__(self, job: Job, indices: Sequence[Any]) -> None:
        self.job = job
        self.indices = indices

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, Exception):
            which = f"sample {self.indices[0]!r}" if len(self.indices) == 1 else f"samples {_listed(self.indices)}"
            note = f"minidl: while fetching {which} (batch {self.job.number} of epoch {self.job.epoch})"
            if isinstance(error, StopIteration):
                raise RuntimeError(f"the dataset or collate_fn raised {error!r}; {note}") from error
            if not any(n.startswith("minidl: while fetching") for n in getattr(error, "__notes__", ())):
                error.add_note(note)


def _listed(indices: Sequence[Any]) -> str:
    shown = ", ".join(map(repr, indices[:8]))
    return f"{shown}, …" if len(indices) > 8 else shown


COUNTED = 1 << 24  # indices below are counted in an array, in memory that is there once they come


class Repeats:
    """How often each index has come before: a sample that is drawn again in the same epoch shall be augmented anew.

    Args:
        size: numbers below it, and below ``COUNTED``, are counted in an array, in a fraction of a dict's memory; all else
            in a dict.

    Example:
        >>> repeats = Repeats(10)
        >>> repeats.count([3, 4, 3]), repeats.count([3, (1, 2), (1, 2)])
        ([0, 0, 1], [2, 0, 1])
    """

    def __init__(self, size: int) -> None:
        self._size = min(size, COUNTED)
        self._numbers = np.zeros(self._size, np.uint32).data  # a memoryview gives single elements as Python's numbers
        self._others: dict[Any, int] = {}

    def count(self, indices: Sequence[Any]) -> list[int]:
        """For each index how often it has come, before it is counted itself."""
        repeats = []
        for index in indices:
            if isinstance(index, (int, np.integer)) and 0 <= index < self._size:
                before = self._numbers[index]
                self._numbers[index] = before + 1
            elif isinstance(index, Hashable):
                before = self._others.get(index, 0)
                self._others[index] = before + 1
            else:  # a slice, say, is not counted
                before = 0
            repeats.append(before)
        return repeats


def _check_finished(batch: tuple[Any, ...], n: int, name: str) -> None:
    for i, part in enumerate(batch):
        if not isinstance(part, (Tensor, np.ndarray)) or part.shape[:1] != (n,):
            got = f"shape {part.shape}" if hasattr(part, "shape") else type(part).__name__
            raise ValueError(
                f"{name}.__getitems__ returned a tuple, which means a finished batch: each part must be a Tensor or "
                f"array of length {n}, but part {i} is {got}. To return samples, return a list."
            )
