"""DataLoader: fetches samples in the calling process and hands them out as batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from minidl import random
from minidl.data import draws
from minidl.data.collate import default_collate, default_convert
from minidl.data.dataset import Dataset, IterableDataset
from minidl.data.sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, ordering
from minidl.tensor import Tensor

T = TypeVar("T")


class DataLoader(Generic[T]):
    """Iterates over a dataset in batches.

    What comes out depends on ``(seed, epoch)`` only: the order, and the numbers that random transforms draw. Each
    ``iter(loader)`` begins a new epoch, beginning with epoch 0; ``set_epoch(e)`` says which one comes next.

    Args:
        dataset: samples by index (``Dataset`` or anything with ``__getitem__``), or an ``IterableDataset``.
        batch_size: samples to a batch; None hands out single samples, uncollated.
        shuffle: whether to visit the samples in random order.
        sampler: an iterable of indices, instead of ``shuffle``.
        batch_sampler: an iterable of lists of indices, instead of ``batch_size``, ``shuffle``, ``sampler`` and
            ``drop_last``.
        num_workers: 0. (Worker processes are yet to come.)
        collate_fn: makes a batch of a list of samples (default: ``default_collate``).
        pin_memory, pin_memory_device, timeout, worker_init_fn, multiprocessing_context, prefetch_factor,
            persistent_workers, in_order: accepted as in PyTorch; without worker processes they change nothing.
        drop_last: leave out the last batch if it is shorter.
        generator: where the seed is drawn from if none is given (default: ``minidl.default_generator``). Unlike in
            PyTorch it is drawn from once, when the first epoch begins, and the order of later epochs follows from that
            seed.
        seed: an integer of 64 bits.

    Raises:
        ValueError: if arguments exclude each other, or a random order of an empty dataset is asked for.
        NotImplementedError: if ``num_workers`` is not 0.

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
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        if seed is not None and generator is not None:
            raise ValueError("seed option is mutually exclusive with generator, which a seed is drawn from")
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
        self.generator = generator
        self.epoch = 0
        self._iterable = iterable
        self._seed = seed

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
        if not isinstance(epoch, int) or not 0 <= epoch < 2**32:
            raise ValueError(f"set_epoch: expected an integer from 0 to 2**32 - 1, got {epoch!r}")
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """Return what fixes the coming epochs: the seed and the number of the next epoch."""
        return {"seed": self.seed, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue as the loader did whose ``state_dict()`` this is."""
        self._seed = state_dict["seed"]
        self.set_epoch(state_dict["epoch"])

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        if not self._iterable:
            return len(self.sampler if self.batch_sampler is None else self.batch_sampler)  # type: ignore[arg-type]
        n = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self._stream(self.seed, epoch) if self._iterable else self._fetch_all(self.seed, epoch)

    def _fetch_all(self, seed: int, epoch: int) -> Iterator[Any]:
        """The batches of a dataset with indices."""
        mixed = np.random.SeedSequence([seed % 2**64, epoch]).generate_state(1, np.uint64)
        order = random.Generator().manual_seed(int(mixed[0]))
        batched = self.batch_sampler is not None
        entries: Iterator[Any] = iter(self.batch_sampler if batched else self.sampler)  # type: ignore[arg-type]
        seen: dict[Any, int] = {}
        while True:
            with ordering(order):
                entry = next(entries, None)
            if entry is None:
                return
            indices = list(entry) if batched or isinstance(entry, (list, np.ndarray)) else [entry]
            repeats = _count_repeats(indices, seen)
            if batched:
                yield self._fetch_batch(indices, repeats, seed, epoch)
            else:
                with draws.fetching(seed, epoch, indices, repeats):
                    sample = self.dataset[entry]
                yield self._collate(sample, indices, repeats, seed, epoch)

    def _fetch_batch(self, indices: list[Any], repeats: list[int], seed: int, epoch: int) -> Any:
        batch: Any = NotImplemented
        if hasattr(self.dataset, "__getitems__"):
            with draws.fetching(seed, epoch, indices, repeats):
                batch = self.dataset.__getitems__(indices)
        if batch is NotImplemented:
            batch = []
            for index, repeat in zip(indices, repeats, strict=True):
                with draws.fetching(seed, epoch, [index], [repeat]):
                    batch.append(self.dataset[index])
        elif isinstance(batch, tuple):
            _check_finished(batch, len(indices), type(self.dataset).__name__)
            if self.collate_fn is default_collate:
                return default_convert(batch)
            batch = list(zip(*batch, strict=True))
        return self._collate(batch, indices, repeats, seed, epoch)

    def _stream(self, seed: int, epoch: int) -> Iterator[Any]:
        """The batches of a dataset without indices; the position in the stream takes their place."""
        samples: Iterator[Any] = iter(self.dataset)
        position, more = 0, True
        while more:
            batch: list[Any] = []
            while len(batch) < (self.batch_size or 1):
                with draws.fetching(seed, epoch, [position + len(batch)]):
                    try:
                        batch.append(next(samples))
                    except StopIteration:
                        more = False
                        break
            if not batch or (not more and self.drop_last):
                return
            indices = list(range(position, position + len(batch)))
            position += len(batch)
            yield self._collate(batch[0] if self.batch_size is None else batch, indices, None, seed, epoch)

    def _collate(self, samples: Any, indices: Sequence[Any], repeats: list[int] | None, seed: int, epoch: int) -> Any:
        with draws.fetching(seed, epoch, indices, repeats, draws.COLLATE_STREAM):
            return self.collate_fn(samples)


def _check_workers(num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool) -> None:
    if num_workers < 0:
        raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
    if num_workers > 0:
        raise NotImplementedError(
            f"DataLoader: num_workers={num_workers} asks for worker processes, which minidl does not have yet. "
            "Use num_workers=0; the batches will be the same."
        )
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if prefetch_factor is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing; leave it None with num_workers=0."
        )
    if persistent_workers:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _count_repeats(indices: list[Any], seen: dict[Any, int]) -> list[int]:
    """How often each index has come before: a sample that is drawn again in the same epoch shall be augmented anew."""
    repeats = []
    for index in indices:
        if isinstance(index, Hashable):  # a slice, say, is not counted
            repeats.append(seen.get(index, 0))
            seen[index] = repeats[-1] + 1
        else:
            repeats.append(0)
    return repeats


def _check_finished(batch: tuple[Any, ...], n: int, name: str) -> None:
    for i, part in enumerate(batch):
        if not isinstance(part, (Tensor, np.ndarray)) or part.shape[:1] != (n,):
            got = f"shape {part.shape}" if hasattr(part, "shape") else type(part).__name__
            raise ValueError(
                f"{name}.__getitems__ returned a tuple, which means a finished batch: each part must be a Tensor or "
                f"array of length {n}, but part {i} is {got}. To return samples, return a list."
            )
