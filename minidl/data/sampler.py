"""Samplers: in which order a DataLoader fetches the samples."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

import numpy as np

from minidl import random
from minidl.tensor import Tensor

T_co = TypeVar("T_co", covariant=True)

_order: ContextVar[random.Generator | None] = ContextVar("minidl_generator_of_the_order", default=None)


@contextmanager
def ordering(generator: random.Generator) -> Iterator[None]:
    """While the block runs, samplers without a generator of their own draw from this one, as do ``minidl.randperm`` and its like.

    The DataLoader enters it with the generator of (seed, epoch). That way the order depends on nothing else, also for
    a sampler that the user made.
    """
    token, of_sample = _order.set(generator), random.generator_of_sample.set(lambda: generator)
    try:
        yield
    finally:
        random.generator_of_sample.reset(of_sample)
        _order.reset(token)


def current_generator() -> random.Generator:
    """Where an order is drawn from: within a DataLoader the loader's (seed, epoch), else ``minidl.default_generator``."""
    return _order.get() or random.default_generator


def _generator(own: random.Generator | None) -> random.Generator:
    return own or current_generator()


def _one_by_one(numbers: Tensor) -> Iterator[Any]:
    """The numbers of a row, as Python's: some thousands at a time, for all of them take four times the memory of the array."""
    row = numbers.numpy()
    for start in range(0, len(row), 4096):
        yield from row[start : start + 4096].tolist()


def _check_num_samples(num_samples: Any) -> None:
    if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples <= 0:
        raise ValueError(f"num_samples should be a positive integer value, but got num_samples={num_samples}")


def _check_replacement(replacement: Any) -> None:
    if not isinstance(replacement, bool):
        raise TypeError(f"replacement should be a boolean value, but got replacement={replacement}")


class Sampler(Generic[T_co]):
    """An order of samples. A subclass defines ``__len__()``, and ``__iter__()``, to give indices or lists of them."""

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__()")


class SequentialSampler(Sampler[int]):
    """0, 1, 2, …"""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """The samples in random order.

    Args:
        data_source: anything with a length.
        replacement: draw every index anew, instead of going through a permutation.
        num_samples: how many to draw (default: the length). Without replacement, more than the length means that
            a further permutation begins.
        generator: where the order comes from (default: within a DataLoader the loader's seed and epoch, otherwise
            ``minidl.default_generator``).

    Raises:
        ValueError: if there is nothing to draw, as from an empty dataset.
        TypeError: if ``replacement`` is not a bool.
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: random.Generator | None = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        _check_replacement(replacement)
        _check_num_samples(self.num_samples)

    @property
    def num_samples(self) -> int:
        return len(self.data_source) if self._num_samples is None else self._num_samples  # the dataset may grow

    def __iter__(self) -> Iterator[int]:
        generator, n = _generator(self.generator), len(self.data_source)
        if self.replacement:
            yield from _one_by_one(random.randint(n, (self.num_samples,), generator=generator))
            return
        for start in range(0, self.num_samples, n):
            yield from _one_by_one(random.randperm(n, generator=generator)[: self.num_samples - start])

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The given indices in random order."""

    def __init__(self, indices: Sequence[int], generator: random.Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        for i in _one_by_one(random.randperm(len(self.indices), generator=_generator(self.generator))):
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Indices 0, …, len(weights) - 1, drawn with the given weights.

    Args:
        weights: a weight >= 0 for each sample; they need not sum to one.
        num_samples: how many to draw.
        replacement: whether an index may be drawn again.
        generator: as in ``RandomSampler``.

    Raises:
        ValueError: if ``num_samples`` is not a positive integer, or the weights are not one-dimensional.
        TypeError: if ``replacement`` is not a bool.
    """

    def __init__(
        self,
        weights: Sequence[float] | Tensor,
        num_samples: int,
        replacement: bool = True,
        generator: random.Generator | None = None,
    ) -> None:
        _check_num_samples(num_samples)
        _check_replacement(replacement)
        raw = np.asarray(weights.tolist() if isinstance(weights, Tensor) else weights, dtype=np.float64)
        if raw.ndim != 1:
            raise ValueError(f"weights should be a 1d sequence but given weights have shape {raw.shape}")
        self.weights = Tensor.wrap(raw)
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        generator = _generator(self.generator)
        yield from _one_by_one(
            random.multinomial(self.weights, self.num_samples, self.replacement, generator=generator)
        )

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Lists of ``batch_size`` indices from ``sampler``.

    Args:
        sampler: any iterable of indices.
        batch_size: how many make a list.
        drop_last: leave out the last list if it is shorter.

    Raises:
        ValueError: if ``batch_size`` is not a positive integer, or ``drop_last`` is not a bool.

    Example:
        >>> list(BatchSampler(range(5), batch_size=2, drop_last=False))
        [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Sampler[int] | Iterable[int], batch_size: int, drop_last: bool) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        n = len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
