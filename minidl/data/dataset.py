"""Datasets: where samples come from."""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from minidl import random
from minidl.tensor import Tensor

T = TypeVar("T")


class Dataset(Generic[T]):
    """A collection of samples by index. A subclass defines ``__getitem__(index)`` and, for most samplers,
    ``__len__()``.

    A dataset that is faster at fetching a whole batch also defines ``__getitems__(indices)``, and returns one of these:

    - a *tuple*: the finished batch. Each part is a Tensor or NumPy array whose dimension 0 runs over ``indices`` in
      order. The loader does not collate it (NumPy arrays become Tensors that share their memory). This is minidl's own.
    - a *list*: one sample for each index, which the loader collates. This is PyTorch's form.
    - ``NotImplemented``: the loader asks for the samples one by one.

    In a derived class that defines ``__getitem__`` anew, and not ``__getitems__``, the inherited one is left alone.

    A transform that draws random numbers works in the first and the third case (see ``minidl.data.draws.uniform``).

    In the third case a dataset whose samples lie in files may also define ``__getfiles__(indices)``, which returns a function
    and the argument that it takes for each sample, or None. The function may then be called in another thread, ahead of
    ``__getitem__``, which gets the same by ``minidl.data.ahead.load(function, argument)``.

    A dataset that can make what its samples would become by ``default_collate``, only faster, defines ``__getbatch__(indices)``.
    It is asked first, where the loader collates so, and returns a finished batch or NotImplemented; its memory may come from
    ``minidl.data.shared.new_batch``, and then belongs to the loader.

    A dataset with indices may define ``__keyed__()``, which says whether a sample is the same whoever makes it and whatever was
    made before, so that nothing matters but its index and the random numbers that are keyed by it. A DataLoader then lets
    whichever worker is free make the next batch. Else, as in PyTorch, workers take turns, so that even a dataset that draws from
    a generator of its own gives the same from run to run. minidl's own are keyed if their transforms are minidl's too.
    """

    def __getitem__(self, index: Any) -> T:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__(index)")

    def __add__(self, other: Dataset[T]) -> ConcatDataset[T]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T], Iterable[T]):
    """A stream of samples. A subclass defines ``__iter__()``, and ``__len__()`` if the length is known.

    It may also define ``iter_lazily()``, an iterator over functions that return the samples when they are called. All workers
    of a DataLoader then go through the same stream, and call the functions of their own batches only: the batches are the same
    for any number of workers. Without it each worker has its own ``iter(dataset)``, as in PyTorch, and the dataset divides the
    stream by ``get_worker_info()``. Such a function may raise ``SkipSample``.
    """

    def __iter__(self) -> Iterator[T]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__()")


class SkipSample(Exception):  # noqa: N818  (no error)
    """Raised by a function of ``iter_lazily``: there is no sample here. The batch becomes smaller by it."""


def beside_getitem(dataset: Any, name: str) -> Any:
    """``dataset.__getitems__``, ``__getbatch__`` or ``__keyed__``: what tells more of the samples than ``__getitem__``.

    None if there is none; or if a derived class has a ``__getitem__`` (or ``__getitems__``; or ``__getbatch__`` and not
    ``__keyed__``) of its own and not this: what it returns is what counts.
    """
    samples = {"__getitem__", "__getitems__"} | ({"__getbatch__"} if name == "__keyed__" else set())
    for kind in type(dataset).__mro__:
        if name in vars(kind):
            break
        if samples & vars(kind).keys():
            return None
    return getattr(dataset, name, None)


def is_keyed(dataset: Any) -> bool:
    """What ``dataset.__keyed__()`` says; False if there is none."""
    says = beside_getitem(dataset, "__keyed__")
    return says is not None and bool(says())


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Tensors of equal length; sample ``i`` is the tuple of their ``i``-th rows.

    Raises:
        ValueError: if the lengths (dimension 0) differ, or there is no Tensor.
        TypeError: if one is something else, such as a NumPy array.

    Example:
        >>> dataset = TensorDataset(minidl.zeros(5, 3), minidl.arange(5))
        >>> len(dataset), dataset[1]
        (5, (tensor([0., 0., 0.]), tensor(1)))
    """

    tensors: tuple[Tensor, ...]

    def __init__(self, *tensors: Tensor) -> None:
        for i, tensor in enumerate(tensors):
            if not isinstance(tensor, Tensor):
                raise TypeError(f"TensorDataset: expected Tensors, got {type(tensor).__name__} at position {i}")
        if not tensors or len({t.shape[:1] for t in tensors}) != 1 or not tensors[0].shape:
            raise ValueError(
                f"TensorDataset: expected Tensors of equal length (dimension 0), got {[t.shape for t in tensors]}"
            )
        self.tensors = tensors

    def __keyed__(self) -> bool:
        return True

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        rows = np.asarray(indices)
        return tuple(t[Tensor.wrap(t.backend.from_numpy(rows))] for t in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])


class ConcatDataset(Dataset[T]):
    """Datasets one after the other.

    Raises:
        ValueError: if there is none.
        TypeError: if one is an IterableDataset, which has no indices.
    """

    datasets: list[Dataset[T]]
    cumulative_sizes: list[int]

    def __init__(self, datasets: Iterable[Dataset[T]]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: datasets should not be an empty iterable")
        if any(isinstance(d, IterableDataset) for d in self.datasets):
            raise TypeError("ConcatDataset does not support IterableDataset")
        self.cumulative_sizes = list(itertools.accumulate(len(d) for d in self.datasets))  # type: ignore[arg-type]

    def __keyed__(self) -> bool:
        return all(map(is_keyed, self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> T:
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"ConcatDataset: index {index} is out of range for {n} samples")
        index %= n
        which = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]


class Subset(Dataset[T]):
    """The samples of ``dataset`` at ``indices``."""

    def __init__(self, dataset: Dataset[T], indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __keyed__(self) -> bool:
        return is_keyed(self.dataset)

    def __getitem__(self, index: Any) -> T:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: Sequence[int]) -> Any:
        return self._from_below("__getitems__", indices)

    def __getbatch__(self, indices: Sequence[int]) -> Any:
        return self._from_below("__getbatch__", indices)

    def _from_below(self, name: str, indices: Sequence[int]) -> Any:
        fetch = beside_getitem(self.dataset, name)
        return NotImplemented if fetch is None else fetch([self.indices[i] for i in indices])

    def __getfiles__(self, indices: Sequence[int]) -> Any:
        found = getattr(self.dataset, "__getfiles__", None)
        return None if found is None else found([self.indices[i] for i in indices])

    def __len__(self) -> int:
        return len(self.indices)


def random_split(
    dataset: Dataset[T], lengths: Sequence[int | float], generator: random.Generator | None = None
) -> list[Subset[T]]:
    """Split a dataset at random into Subsets that do not overlap.

    Args:
        dataset: what to split.
        lengths: how many samples each part gets, whole numbers; or fractions that add up to 1. A fraction is rounded
            down, and samples left over go to the first parts, one each.
        generator: where the permutation comes from (default: ``minidl.default_generator``).

    Raises:
        ValueError: if the lengths do not add up to the dataset's, or one is no whole number, or a fraction lies outside [0, 1].

    Example:
        >>> [len(part) for part in random_split(range(10), [0.75, 0.25])]
        [8, 2]
    """
    n = len(dataset)  # type: ignore[arg-type]
    total = sum(lengths)
    if math.isclose(total, 1) and total <= 1:
        for i, fraction in enumerate(lengths):
            if not 0 <= fraction <= 1:
                raise ValueError(f"random_split: fraction at index {i} is not between 0 and 1: {fraction}")
        counts = [math.floor(n * fraction) for fraction in lengths]
        for i in range(n - sum(counts)):
            counts[i % len(counts)] += 1
        for i, count in enumerate(counts):
            if count == 0:
                warnings.warn(f"random_split: length of split at index {i} is 0", stacklevel=2)
    else:
        if total != n:
            raise ValueError(f"random_split: sum of input lengths, {total}, does not equal the dataset's length, {n}")
        for i, length in enumerate(lengths):
            if length != int(length) or length < 0:
                raise ValueError(
                    f"random_split: length at index {i} is {length}, but lengths are whole numbers >= 0, or fractions that add "
                    "up to 1"
                )
        counts = [int(length) for length in lengths]
    order = random.randperm(n, generator=generator).tolist()
    return [
        Subset(dataset, order[end - count : end])
        for end, count in zip(itertools.accumulate(counts), counts, strict=True)
    ]
