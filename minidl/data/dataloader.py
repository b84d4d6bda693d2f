"""DataLoader: hands out a dataset in batches, which the calling process makes, or workers beside it."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from minidl import random
from minidl.data.collate import default_collate, default_convert
from minidl.data.dataset import Dataset, IterableDataset, is_keyed
from minidl.data.fetch import EndOfStream, Fetcher, Job, NoBatch, Repeats, order_of, seed_of_worker
from minidl.data.pool import Epoch, Pool
from minidl.data.sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, ordering
from minidl.data.worker import Setup

T = TypeVar("T")


class DataLoader(Generic[T]):
    """Iterates over a dataset in batches.

    What comes out depends on ``(seed, epoch)`` only, not on the number of workers: the order, and the numbers that random
    transforms draw. Each ``iter(loader)`` begins a new epoch, beginning with epoch 0; ``set_epoch(e)`` says which one comes next.

    Args:
        dataset: samples by index (``Dataset`` or anything with ``__getitem__``), or an ``IterableDataset``.
        batch_size: samples to a batch; None hands out single samples, uncollated.
        shuffle: whether to visit the samples in random order.
        sampler: an iterable of indices, instead of ``shuffle``.
        batch_sampler: an iterable of lists of indices, instead of ``batch_size``, ``shuffle``, ``sampler`` and
            ``drop_last``.
        num_workers: processes that make batches while the calling one computes; 0 makes them in the calling process. Batches come
            through shared memory, and may be kept and written to. Workers use one thread each. They take turns, or, if
            it does not matter who makes a batch (see ``Dataset``; and there are no functions of yours), the next one goes to
            the one with the least to do.
        collate_fn: makes a batch of a list of samples (default: ``default_collate``).
        pin_memory, pin_memory_device: accepted as in PyTorch; they change nothing.
        drop_last: leave out the last batch if it is shorter.
        timeout: seconds that the loader waits for a batch of a worker before it gives up; 0 for ever.
        worker_init_fn: called in each worker with its number, before it makes anything.
        multiprocessing_context: how workers are started: "fork", "spawn", "forkserver", or a context of ``multiprocessing``
            (default: what Python does on the system). Where they are not forked, the dataset is pickled.
        generator: where the seed is drawn from if none is given (default: ``minidl.default_generator``). Unlike in
            PyTorch it is drawn from once, when the first epoch begins, and the order of later epochs follows from that
            seed.
        prefetch_factor: batches that each worker makes ahead (default 2).
        persistent_workers: keep the workers from epoch to epoch. ``random``, ``numpy.random`` and minidl's generator are seeded
            anew in each, as in workers that are started for it; ``worker_init_fn`` is called once.
        in_order: False hands batches out as they are finished, in an order that is not reproducible, so that nobody can go on
            in the middle of an epoch.
        seed: an integer of 64 bits.

    Raises:
        ValueError: if arguments exclude each other, or ``seed`` is not an integer of 64 bits, or a random order of an empty
            dataset is asked for.
        TypeError: if ``num_workers`` is not an integer, or ``generator`` not a Generator.
        RuntimeError: while iterating, if a worker dies or does not answer within ``timeout``; the message names the worker
            and what it worked on.

    An exception in a worker arrives with its own class and attributes (those that can be pickled), the worker's number, the
    traceback there and the sample's index.

    A dataset that fetches whole batches (``__getitems__``, see ``Dataset``) is asked for them. If it returns a finished
    batch (a tuple) and there is a ``collate_fn``, that gets a list of the batch's rows, each a tuple.

    Example:
        >>> dataset = minidl.data.TensorDataset(minidl.arange(5))
        >>> loader = DataLoader(dataset, batch_size=2)
        >>> [x.tolist() for (x,) in loader]
        [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        dataset: Dataset[T],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler[Any] | Iterable[Any] | None = None,
        batch_sampler: Sampler[list[Any]] | Iterable[list[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[T]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: random.Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        seed: int | None = None,
    ) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers, multiprocessing_context)
        if seed is not None and generator is not None:
            raise ValueError("seed option is mutually exclusive with generator, which a seed is drawn from")
        if not isinstance(generator, random.Generator | None):
            raise TypeError(f"generator option should be a minidl.Generator, got {generator!r}")
        iterable = isinstance(dataset, IterableDataset)
        if iterable:
            for name, value in {"shuffle": shuffle or None, "sampler": sampler, "batch_sampler": batch_sampler}.items():
                if value is not None:
                    raise ValueError(
                        f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={value}"
                    )
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
                )
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")
        if sampler is None:
            if iterable:
                sampler = itertools.count()  # positions in the stream stand in for indices
            elif shuffle:
                sampler = RandomSampler(dataset)  # type: ignore[arg-type]
            else:
                sampler = SequentialSampler(dataset)  # type: ignore[arg-type]
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)

        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.collate_fn = collate_fn or (default_convert if batch_sampler is None else default_collate)
        self.pin_memory = pin_memory
        self.drop_last = drop_last
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.generator = generator
        self.prefetch_factor = 2 if prefetch_factor is None and num_workers > 0 else prefetch_factor
        self.persistent_workers = persistent_workers
        self.in_order = in_order
        self.epoch = 0
        self._iterable = iterable
        self._seed = None if seed is None else _seed_of("seed option", seed)
        self._done = 0  # batches of the coming epoch that have been handed out before
        self._running: _Progress | None = None
        self._pool: Pool | None = None

    @property
    def seed(self) -> int:
        """The seed; drawn the first time that it is needed if none was given."""
        if self._seed is None:
            self._seed = int(random.randint(2**63 - 1, (), generator=self.generator).item())
        return self._seed

    def set_epoch(self, epoch: int) -> None:
        """Let the next ``iter(loader)`` be the epoch of this number.

        Raises:
            ValueError: if it is not an integer from 0 to 2**32 - 1.
        """
        epoch = _integer("set_epoch", epoch, 0, 32)
        if epoch != self.epoch:
            self._done = 0
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """Return where the loader stands: the seed, the epoch, and how many of its batches have been handed out.

        In the middle of an epoch this is the epoch that the newest iterator is in, and after it the next one. A sampler or
        dataset with a state of its own (other than the seed) has to be saved beside it.

        Raises:
            RuntimeError: in the middle of an epoch, if workers hand out batches as they come (``in_order=False``).
        """
        if self._running is not None:
            if self.num_workers > 0 and not self.in_order:
                raise RuntimeError(
                    f"state_dict: epoch {self._running.epoch} has begun and not ended, and with in_order=False it is unknown "
                    "which of its batches come first. Ask after the epoch, or use in_order=True."
                )
            return {"seed": self.seed, "epoch": self._running.epoch, "batch": self._running.batches}
        return {"seed": self.seed, "epoch": self.epoch, "batch": self._done}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue as the loader did whose ``state_dict()`` this is: the next iteration begins with the batch that came next
        there.

        Raises:
            KeyError, ValueError: if it is no such dict.
        """
        seed = _seed_of("load_state_dict: seed", state_dict["seed"])
        batch = _integer("load_state_dict: batch", state_dict.get("batch", 0), 0, 63)
        self.set_epoch(_integer("load_state_dict: epoch", state_dict["epoch"], 0, 32))
        self._seed, self._done, self._running = seed, batch, None

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        if not self._iterable:
            return len(self.sampler if self.batch_sampler is None else self.batch_sampler)  # type: ignore[arg-type]
        n = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        epoch, done = self.epoch, self._done
        self.epoch, self._done = epoch + 1, 0
        progress = self._running = _Progress(epoch, done)
        jobs = self._stream_jobs(epoch, done) if self._iterable else self._jobs(epoch, done)
        if self.num_workers == 0:
            return _Iteration(self, self._fetch_here(jobs), progress)
        pool = self._pool
        keep = self.persistent_workers
        if not keep or pool is None or not pool.alive or pool.busy:  # or else another iterator uses it
            pool = Pool(self._setups(epoch), self.multiprocessing_context, self.timeout)
            if keep:
                self._pool = pool
        assert self.prefetch_factor is not None
        whole = hasattr(self.dataset, "iter_lazily")
        batches = Epoch(pool, jobs, max(1, self.prefetch_factor), self.in_order, self._in_turn(), keep, whole)
        return _Iteration(self, batches, progress)

    def _in_turn(self) -> bool:
        """Whether workers take turns: it may matter who makes a batch."""
        own = self.worker_init_fn is None and self.collate_fn in (default_collate, default_convert)
        return self.in_order and (self._iterable or not (own and is_keyed(self.dataset)))

    def _fetch_here(self, jobs: Iterator[Job]) -> Iterator[tuple[int, Any]]:
        """As ``pool.Epoch``: the number of batches handed out with this one, and the batch."""
        fetcher = Fetcher(self.dataset, self.collate_fn, self.batch_size, self.drop_last)
        for job in jobs:
            batch = fetcher.fetch(job)
            if batch is EndOfStream:
                return
            if batch is not NoBatch:
                made = [batch]
                del batch  # else it would live until the next one is there
                yield job.number + 1, made.pop()

    def _setups(self, epoch: int) -> list[Setup]:
        n = self.num_workers
        common = self.dataset, self.collate_fn, self.batch_size, self.drop_last
        seeds = [seed_of_worker(self.seed, epoch, i) for i in range(n)]
        return [Setup(*common, i, n, seeds[i], None, self.worker_init_fn) for i in range(n)]

    def _jobs(self, epoch: int, done: int) -> Iterator[Job]:
        """What is to be fetched by indices, from batch ``done`` on."""
        order = order_of(self.seed, epoch)
        batched = self.batch_sampler is not None
        with ordering(order):
            entries: Iterator[Any] = iter(self.batch_sampler if batched else self.sampler)  # type: ignore[arg-type]
        length = 0
        with contextlib.suppress(NotImplementedError):  # a sampler of one's own can do without a length
            length = operator.length_hint(self.dataset)
        repeats = Repeats(length)
        for number in itertools.count():
            with ordering(order):
                entry = next(entries, None)
            if entry is None:
                return
            indices = list(entry) if batched or isinstance(entry, (list, np.ndarray)) else [entry]
            before = repeats.count(indices)
            if number >= done:
                yield Job(self.seed, epoch, number, indices, before, batched, None if batched else entry)

    def _stream_jobs(self, epoch: int, done: int) -> Iterator[Job]:
        """Batch after batch of a stream, without an end. Those before ``done`` are passed over."""
        for number in itertools.count():
            yield Job(self.seed, epoch, number, [], [], skip=number < done)


@dataclass
class _Progress:
    """How far an iteration has come. (The loader knows this much of it, so that what is given up is not kept alive.)"""

    epoch: int
    batches: int


class _Iteration(Iterator[Any]):
    """The batches of an epoch. At their end the loader stands before the next one."""

    def __init__(self, loader: DataLoader[Any], batches: Iterator[tuple[int, Any]], progress: _Progress) -> None:
        self.loader = loader
        self.batches = batches
        self.progress = progress

    def __next__(self) -> Any:
        try:
            self.progress.batches, batch = next(self.batches)
        except StopIteration:
            if self.loader._running is self.progress:
                self.loader._running = None
            raise
        return batch


def _integer(what: str, value: Any, least: int, bits: int) -> int:
    """``value`` as Python's integer, NumPy's too."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if not least <= number < 2**bits:
        raise ValueError(f"{what}: expected an integer from {least} to 2**{bits} - 1, got {value!r}")
    return number


def _seed_of(what: str, value: Any) -> int:
    return _integer(what, value, -(2**63), 64)


def _check_workers(
    num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool, context: Any
) -> None:
    if not isinstance(num_workers, int) or isinstance(num_workers, bool):
        raise TypeError(f"num_workers option should be an integer, got {num_workers!r}")
    if num_workers < 0:
        raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if prefetch_factor is not None and prefetch_factor < 0:
        raise ValueError("prefetch_factor option should be non-negative")
    if num_workers > 0:
        methods = multiprocessing.get_all_start_methods()
        if isinstance(context, str) and context not in methods:
            raise ValueError(
                f"multiprocessing_context option should specify a valid start method in {methods}, but got {context!r}"
            )
        return
    if prefetch_factor is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing; leave it None with num_workers=0."
        )
    if persistent_workers:
        raise ValueError("persistent_workers option needs num_workers > 0")
    if context is not None:
        raise ValueError(
            "multiprocessing_context can only be used with multi-process loading (num_workers > 0), but got num_workers=0"
        )
