"""Random numbers that belong to a sample: keyed by (seed, epoch, sample index) and by nothing else.

A random transform draws its numbers here. While a ``DataLoader`` fetches a batch, it states which samples it fetches,
and the numbers are computed from that statement with a counter-based generator: number k of draw s for sample i in
epoch e is a fixed function of (seed, e, i, s, k). So a sample is augmented in the same way whatever batch it lands in,
whoever fetches it, and after a resume. ``minidl.rand`` and the other functions of ``minidl.random`` have the same key
where a dataset calls them. (What it draws from ``random`` or ``numpy.random`` depends on the worker that runs it.)

Outside a loader there is no key, and the numbers come from ``minidl.default_generator``. (A dataset that transforms in
threads of its own has to run them in ``contextvars.copy_context()``; they know of no loader otherwise.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl import random

_M = np.array([[0xD2511F53], [0xCD9E8D57]], dtype=np.uint64)  # the multipliers and key increments of Philox 4x32
_W = np.array([[0x9E3779B9], [0xBB67AE85]], dtype=np.uint64)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


def philox4x32(counter: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Philox 4x32-10: ten rounds of mixing turn a counter and a key into four random words.

    Args:
        counter: shape (4, n), unsigned integers below 2**32; one column for each block of four numbers.
        key: shape (2,), likewise.

    Returns:
        Array of shape (4, n), dtype uint64, values below 2**32.

    Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3. Words 0
    and 2 of the counter go through a round together, as do words 1 and 3, so that a round is five array operations.
    """
    counter = np.asarray(counter, dtype=np.uint64)
    even, odd = counter[0::2], counter[1::2]
    k = np.asarray(key, dtype=np.uint64).reshape(2, 1)
    for _ in range(10):
        product = even * _M  # 32 by 32 bits: 64 bits hold it
        even, odd = (product >> _32)[::-1] ^ odd ^ k, (product & _LOW)[::-1]
        k = (k + _W) & _LOW
    return np.stack([even[0], odd[0], even[1], odd[1]])


FEW = 6  # blocks: for fewer the overhead of array operations is longer than the plain computation


def philox_block(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """``philox4x32`` of a single counter, in plain integers."""
    a, b, c, d = counter
    k, m = key
    for _ in range(10):
        p, q = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (q >> 32) ^ b ^ k, q & 0xFFFFFFFF, (p >> 32) ^ d ^ m, p & 0xFFFFFFFF
        k, m = (k + 0x9E3779B9) & 0xFFFFFFFF, (m + 0xBB67AE85) & 0xFFFFFFFF
    return a, b, c, d


def uniform_for(
    seed: int, epoch: int, indices: Sequence[int] | np.ndarray, count: int, stream: int = 0, repeats: Any = 0
) -> np.ndarray:
    """Return ``count`` numbers from [0, 1) for each sample; a pure function of its arguments.

    Args:
        seed: 64 bits.
        epoch: 32 bits.
        indices: the samples, shape (n,), 48 bits each.
        count: how many numbers for each sample, up to 2**18.
        stream: 16 bits; different draws for the same sample use different streams.
        repeats: 16 bits, a number or shape (n,): how often the sample has come in this epoch before.

    Returns:
        Array of shape (n, count), dtype float64, multiples of 2**-32.

    Every argument has bits of its own in Philox's counter or key, so no two combinations share their numbers.

    Example:
        >>> both = uniform_for(seed=0, epoch=3, indices=[7, 8], count=2)
        >>> bool((uniform_for(seed=0, epoch=3, indices=[8], count=2) == both[1]).all())
        True
    """
    blocks = -(-count // 4)
    if len(indices) * blocks <= FEW:
        return _few(seed, epoch, indices, count, blocks, stream, repeats)
    index = np.asarray(indices, dtype=np.int64).astype(np.uint64)
    counter = np.empty((4, index.size, blocks), dtype=np.uint64)
    again = np.asarray(repeats, dtype=np.uint64).reshape(-1, 1) & np.uint64(0xFFFF)
    counter[0] = np.arange(blocks, dtype=np.uint64) | again << np.uint64(16)
    counter[1] = (index & _LOW)[:, None]
    counter[2] = (index >> _32 & np.uint64(0xFFFF))[:, None] | np.uint64(stream << 16)
    counter[3] = np.uint64(epoch)
    key = np.array([seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF], dtype=np.uint64)
    words = philox4x32(counter.reshape(4, -1), key)
    return words.reshape(4, index.size, blocks).transpose(1, 2, 0).reshape(index.size, 4 * blocks)[:, :count] * 2.0**-32


def _few(seed: int, epoch: int, indices: Any, count: int, blocks: int, stream: int, repeats: Any) -> np.ndarray:
    """``uniform_for`` without arrays."""
    rows = []
    again = [repeats] * len(indices) if isinstance(repeats, int) else repeats
    for i, r in zip(indices, again, strict=True):
        key, (zero, a, b, c) = _key_and_counter(seed, epoch, i, stream, r)
        rows.append([word for block in range(blocks) for word in philox_block((block | zero, a, b, c), key)][:count])
    return np.array(rows, np.float64).reshape(len(rows), count) * 2.0**-32


def _key_and_counter(
    seed: int, epoch: int, index: Any, stream: int, repeat: Any
) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """Philox's key and the counter of a sample's first block; the number of another block is added to its first word."""
    i = int(index)
    counter = (int(repeat) & 0xFFFF) << 16, i & 0xFFFFFFFF, i >> 32 & 0xFFFF | stream << 16, epoch
    return (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF), counter


@dataclass
class _Fetch:
    """The samples that are being fetched, and the stream that the next draw for them uses."""

    seed: int
    epoch: int
    indices: Sequence[Any]
    repeats: Sequence[int]
    stream: int
    own: random.Generator | None = None
    whole: _Fetch | None = None  # of one sample: the fetch that it is a part of, and where it stands there
    row: int = 0
    blocks: dict[int, list[list[float]]] = field(default_factory=dict)

    def first_four(self, stream: int) -> list[float] | None:
        """The first four numbers of one sample. Those of all samples fetched with it are computed at once, when the first wants
        them: one after the other takes four times as long. None if it is fetched alone, or not by a number."""
        whole = self.whole
        if whole is None:
            return None
        if stream not in whole.blocks:
            numbers = uniform_for(whole.seed, whole.epoch, _integers(whole.indices), 4, stream, whole.repeats)
            whole.blocks[stream] = numbers.tolist()
        return whole.blocks[stream][self.row]

    def generator(self) -> random.Generator:
        """What ``minidl.rand`` and its like draw from while these samples are fetched: keyed as everything else is."""
        if self.own is None:
            kinds = all(isinstance(i, (int, np.integer)) for i in self.indices)
            samples = [int(i) % 2**64 for i in self.indices] if kinds else list(repr(self.indices).encode())
            stage = self.stream // COLLATE_STREAM
            key = np.random.SeedSequence([self.seed % 2**64, self.epoch, stage, *samples, *self.repeats])
            self.own = random.Generator().manual_seed(int(key.generate_state(1, np.uint64)[0]))
        return self.own


_current: ContextVar[_Fetch | None] = ContextVar("minidl_samples_being_fetched", default=None)

COLLATE_STREAM = 1 << 15  # draws in collate_fn start here, away from those that the same samples' transforms made


@contextmanager
def fetching(
    seed: int, epoch: int, indices: Sequence[Any], repeats: Sequence[int] | None = None, stream: int = 0
) -> Iterator[_Fetch]:
    """While the block runs, ``uniform`` draws for these samples. The DataLoader enters it around each fetch."""
    fetch = _Fetch(seed, epoch, indices, [0] * len(indices) if repeats is None else repeats, stream)
    token, of_sample = _current.set(fetch), random.generator_of_sample.set(fetch.generator)
    try:
        yield fetch
    finally:
        random.generator_of_sample.reset(of_sample)
        _current.reset(token)


@contextmanager
def only(row: int) -> Iterator[None]:
    """While the block runs, ``uniform`` draws for one of the samples that are being fetched, as if it were fetched alone."""
    fetch = _current.get()
    if fetch is None:
        yield
    else:
        with fetching(fetch.seed, fetch.epoch, [fetch.indices[row]], [fetch.repeats[row]]) as one:
            one.whole, one.row = fetch, row
            yield


def keyed() -> bool:
    """Whether ``uniform`` computes its numbers for samples that a loader fetches, and takes them from no generator."""
    return _current.get() is not None


def uniform(rows: int, count: int) -> np.ndarray:
    """Return ``count`` numbers from [0, 1) for each of ``rows`` samples: what a random transform calls.

    Within a loader the rows are the samples being fetched, in their order, and each call uses the next stream: the
    first random transform of a pipeline draws from stream 0, the second from stream 1. For this to be the same for one
    image and for a batch, a transform calls once for each image or batch and draws as many numbers whatever they turn
    out to be. (A call for no numbers costs little, and uses its stream all the same.)

    Returns:
        Array of shape (rows, count), dtype float64.

    Raises:
        RuntimeError: if a loader is fetching another number of samples, or its sampler gives indices that are no
            integers.
    """
    fetch = _current.get()
    if fetch is None:
        return random.default_generator.numpy.random((rows, count))
    indices, stream = _next_stream(fetch, rows)
    if 0 < count <= 4 and (first := fetch.first_four(stream)) is not None:
        return np.array([first[:count]])
    return uniform_for(fetch.seed, fetch.epoch, indices, count, stream, fetch.repeats)


def fours(count: int) -> Iterator[list[float]]:
    """The numbers of ``uniform(1, 4 * count)``, four at a time. Those of a loader's sample are computed when asked for."""
    fetch = _current.get()
    if fetch is None:
        return iter(random.default_generator.numpy.random((count, 4)).tolist())
    (index,), stream = _next_stream(fetch, 1)
    if count == 1 and (first := fetch.first_four(stream)) is not None:
        return iter([first])
    key, counter = _key_and_counter(fetch.seed, fetch.epoch, index, stream, fetch.repeats[0])
    return (
        [word * 2.0**-32 for word in philox_block((block | counter[0], *counter[1:]), key)] for block in range(count)
    )


def _next_stream(fetch: _Fetch, rows: int) -> tuple[Sequence[int] | np.ndarray, int]:
    if rows != len(fetch.indices):
        raise RuntimeError(
            f"a transform drew numbers for {rows} image(s) while the DataLoader fetches {len(fetch.indices)} sample(s) "
            "at once, so it is unknown which sample each image belongs to. Let the dataset's __getitems__ transform "
            "the whole batch, or return NotImplemented there, so that the loader fetches one sample at a time."
        )
    indices = _integers(fetch.indices)
    stream, fetch.stream = fetch.stream, fetch.stream + 1
    return indices, stream


def _integers(indices: Sequence[Any]) -> Sequence[int] | np.ndarray:
    if len(indices) == 1 and type(indices[0]) is int:
        return indices
    numbers = np.asarray(indices)
    if numbers.dtype.kind not in "iu":
        raise RuntimeError(
            f"random transforms are keyed by the sample's index, an integer, but the sampler gave {indices[0]!r}"
        )
    return numbers
