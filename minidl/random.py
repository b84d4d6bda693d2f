"""Random Tensors, and the generator that they are drawn from.

Numbers are always drawn on the CPU and then moved to the device, so that a seed gives the same numbers everywhere:
CuPy's own generators have other streams than NumPy's, and a run that changes when it moves to a GPU cannot be compared
with the run it came from. What this costs is small, because a training step draws little (dropout masks) or nothing.

The generator is Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), as NumPy provides it. A
seed gives the same numbers on every platform, but not the numbers that PyTorch would give.
"""

from __future__ import annotations

import operator
import secrets
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from minidl import dtypes
from minidl.backend import backend_for
from minidl.backend import device as Device
from minidl.tensor import Tensor

__all__ = [
    "Generator",
    "bernoulli",
    "default_generator",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "multinomial",
    "normal",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "set_rng_state",
]

_DEFAULT_SEED = 67280421310721  # PyTorch's: an unseeded program is reproducible too
_STATE_WORDS = 14


class Generator:
    """A stream of random numbers with a state that can be saved and restored.

    Args:
        device: accepted as in PyTorch; the numbers are drawn on the CPU for every device (see the module's text).

    Attributes:
        numpy: the ``numpy.random.Generator`` that draws. It stays the same object for the Generator's life.

    Example:
        >>> g = Generator().manual_seed(0)
        >>> state = g.get_state()
        >>> first = rand(3, generator=g).tolist()
        >>> rand(3, generator=g.set_state(state)).tolist() == first
        True
    """

    def __init__(self, device: Device | str = "cpu") -> None:
        self.device = Device(device)
        self.numpy = np.random.Generator(np.random.Philox(0))
        self.manual_seed(_DEFAULT_SEED)

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream that belongs to ``seed``, any integer of 64 bits (a negative one counts from 2**64). Returns
        self.

        Raises:
            ValueError: if the seed does not fit into 64 bits.
        """
        seed = int(seed)
        if not -(2**63) <= seed < 2**64:
            raise ValueError(f"manual_seed: expected a seed from -2**63 to 2**64 - 1, got {seed}")
        self._seed = seed % 2**64
        self.numpy.bit_generator.state = np.random.Philox(self._seed).state
        return self

    def seed(self) -> int:
        """Seed with a number from the operating system's entropy, and return that number."""
        self.manual_seed(secrets.randbits(64))
        return self._seed

    def initial_seed(self) -> int:
        """Return the seed that the stream was started with."""
        return self._seed

    def bits32(self, count: int) -> np.ndarray:
        """Return ``count`` random integers of 32 bits, uint32: the cheapest numbers there are, two from each step."""
        steps: Any = self.numpy.bit_generator.random_raw((count + 1) // 2)
        return np.asarray(steps).astype("<u8", copy=False).view("<u4")[:count].astype(np.uint32, copy=False)

    def get_state(self) -> Tensor:
        """Return the whole state, a uint8 Tensor of 112 bytes; ``set_state`` goes on exactly from there."""
        s = self.numpy.bit_generator.state
        rest = [s["buffer_pos"], s["has_uint32"], s["uinteger"]]
        words = [self._seed, *s["state"]["counter"], *s["state"]["key"], *s["buffer"], *rest]
        return Tensor.wrap(np.array(words, dtype="<u8").view(np.uint8))

    def set_state(self, new_state: Tensor) -> Generator:
        """Go on from a state that ``get_state`` returned. Returns self.

        Raises:
            TypeError: if it is not a uint8 Tensor.
            RuntimeError: if it has another size.
        """
        if not isinstance(new_state, Tensor) or new_state.dtype != np.uint8:
            raise TypeError(
                f"RNG state must be a uint8 Tensor, got {getattr(new_state, 'dtype', type(new_state).__name__)}"
            )
        if new_state.shape != (8 * _STATE_WORDS,):
            raise RuntimeError(f"expected an RNG state of shape ({8 * _STATE_WORDS},), got {new_state.shape}")
        words = new_state.numpy().copy().view("<u8").astype(np.uint64)
        self.numpy.bit_generator.state = {
            "bit_generator": "Philox",
            "state": {"counter": words[1:5], "key": words[5:7]},
            "buffer": words[7:11],
            "buffer_pos": int(words[11]),
            "has_uint32": int(words[12]),
            "uinteger": int(words[13]),
        }
        self._seed = int(words[0])
        return self


default_generator = Generator()

# While a DataLoader fetches a sample this gives the generator that belongs to it (see ``minidl.data.draws``), and while it
# makes the order that of the order (see ``minidl.data.sampler.ordering``).
generator_of_sample: ContextVar[Callable[[], Generator] | None] = ContextVar("minidl_generator_of_sample", default=None)


def manual_seed(seed: int) -> Generator:
    """Seed the generator that everything random in minidl draws from by default, and return it."""
    return default_generator.manual_seed(seed)


def initial_seed() -> int:
    """Return the seed that the default generator was started with."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """Return the state of the default generator (see ``Generator.get_state``)."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Let the default generator go on from a state that ``get_rng_state`` returned."""
    default_generator.set_state(new_state)


# -- uniform and normal numbers of a given shape ----------------------------------------------------------------------


def rand(
    *size: Any,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Device | str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return a Tensor of numbers drawn uniformly from [0, 1).

    Args:
        size: the shape, as integers or as one tuple.
        generator: where the numbers come from (default: ``minidl.default_generator``).
        dtype: a floating point dtype (default: the default dtype, float32).
        device: where the Tensor shall live (default: the CPU).
        requires_grad: whether autograd shall follow it.

    Raises:
        TypeError: if the dtype is not floating point, or no size is given.
        RuntimeError: if a length is negative.

    Example:
        >>> rand(2, 3).shape
        (2, 3)
    """
    return _on(device, _uniform(_numpy(generator), _shape("rand", size), _floating("rand", dtype)), requires_grad)


def randn(
    *size: Any,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Device | str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return a Tensor of numbers from the normal distribution of mean 0 and variance 1; arguments as in ``rand``."""
    return _on(device, _gaussian(_numpy(generator), _shape("randn", size), _floating("randn", dtype)), requires_grad)


def rand_like(
    input: Tensor,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Device | str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return ``rand`` of the shape, and unless told otherwise the dtype and the device, of ``input``."""
    dtype, place = dtype or input.dtype, device or input.device
    return rand(input.shape, generator=generator, dtype=dtype, device=place, requires_grad=requires_grad)


def randn_like(
    input: Tensor,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Device | str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return ``randn`` of the shape, and unless told otherwise the dtype and the device, of ``input``."""
    dtype, place = dtype or input.dtype, device or input.device
    return randn(input.shape, generator=generator, dtype=dtype, device=place, requires_grad=requires_grad)


def normal(
    mean: float | Tensor = 0.0,
    std: float | Tensor = 1.0,
    size: Sequence[int] | None = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Device | str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return numbers from normal distributions: ``normal(mean, std, size)``, or one for each element of Tensors.

    If ``mean`` or ``std`` is a Tensor, the result has their broadcast shape, and their dtype and device; no gradient
    flows back to them.

    Raises:
        RuntimeError: if a standard deviation is negative.
        TypeError: if both are numbers and ``size`` is missing, or one is a Tensor and ``size`` is given.
    """
    tensors = [x for x in (mean, std) if isinstance(x, Tensor)]
    if bool(tensors) == (size is not None):
        raise TypeError(
            "normal(): give mean and std as numbers together with size, or at least one of them as a Tensor alone"
        )
    raw_mean: Any = mean.array if isinstance(mean, Tensor) else mean
    raw_std: Any = std.array if isinstance(std, Tensor) else std
    if bool((raw_std < 0).any() if isinstance(std, Tensor) else raw_std < 0):
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    if size is not None:
        z = _gaussian(_numpy(generator), _shape("normal", (size,)), _floating("normal", dtype))
        return _on(device, z, requires_grad, lambda noise: noise * z.dtype.type(raw_std) + z.dtype.type(raw_mean))
    shape = np.broadcast_shapes(*(x.shape for x in tensors))
    z = _gaussian(_numpy(generator), shape, _floating("normal", dtypes.result_type(*tensors)))
    return _on(tensors[0].device, z, False, lambda noise: noise * raw_std + raw_mean)


def bernoulli(input: Tensor, p: float | None = None, *, generator: Generator | None = None) -> Tensor:
    """Return ones and zeros of the shape, dtype and device of ``input``: 1 with the probability that the element
    states.

    Args:
        input: probabilities, a floating point Tensor.
        p: one probability for all; then only the shape, dtype and device of ``input`` matter.

    Raises:
        RuntimeError: if a probability lies outside [0, 1].
        TypeError: if ``input`` states the probabilities and is not floating point.
    """
    if p is None and not input.is_floating_point():
        raise TypeError(f"bernoulli: expected probabilities of a floating point dtype, got {input.dtype}")
    chance: Any = input.array if p is None else p
    inside: Any = (chance >= 0) & (chance <= 1)
    if not bool(inside.all() if p is None else inside):
        raise RuntimeError("bernoulli expects p to be in [0, 1]" + ("" if p is None else f", but got p={p}"))
    u = _uniform(_numpy(generator), input.shape, input.dtype if p is None else np.dtype(np.float64))
    return _on(input.device, u, False, lambda u: (u < chance).astype(input.dtype))


# -- integers ---------------------------------------------------------------------------------------------------------


def randint(
    low: int = 0,
    high: Any = None,
    size: Sequence[int] | None = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Device | str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """``randint(low=0, high, size)``: return integers drawn uniformly from low, …, high - 1, by default of dtype int64.

    Raises:
        RuntimeError: if there is no integer from ``low`` to ``high - 1``.
        TypeError: if ``size`` is missing.

    Example:
        >>> randint(10, (2, 3)).shape
        (2, 3)
    """
    if size is None and isinstance(high, Sequence):
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    if size is None:
        raise TypeError(
            "randint(): expected randint(high, size) or randint(low, high, size), with size a tuple of ints"
        )
    if low >= high:
        raise RuntimeError(f"randint expects low to be less than high, but got low={low} >= high={high}")
    dtype = np.dtype(np.int64 if dtype is None else dtype)
    drawn = _numpy(generator).integers(
        low, high, _shape("randint", (size,)), dtype if dtype.kind in "biu" else np.int64
    )
    return _on(device, np.asarray(drawn).astype(dtype, copy=False), requires_grad)


def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Device | str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return the integers 0, …, n - 1 in random order, of dtype int64 by default.

    Raises:
        RuntimeError: if ``n`` is negative.
    """
    (n,) = _shape("randperm", (n,))
    order = _numpy(generator).permutation(n)
    return _on(device, order.astype(np.int64 if dtype is None else dtype, copy=False), requires_grad)


def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Draw indices with the given weights from each row.

    Args:
        input: weights >= 0, of shape (n,) or (rows, n); a row need not sum to one.
        num_samples: how many indices to draw from each row.
        replacement: whether an index may be drawn again.

    Returns:
        An int64 Tensor of shape (num_samples,) or (rows, num_samples), on the device of ``input``.

    Raises:
        RuntimeError: for weights of an integer dtype, of another number of dimensions, negative, not finite or all
            zero; or if more is to be drawn than there is.

    Without replacement, every index gets an arrival time from the exponential distribution of the rate that is its
    weight, and the first ``num_samples`` win (Efraimidis and Spirakis, "Weighted random sampling with a reservoir",
    2006).
    """
    if not input.is_floating_point():
        raise RuntimeError(f"multinomial only supports floating-point dtypes for input, got: {input.dtype}")
    if input.ndim not in (1, 2):
        raise RuntimeError(f"multinomial: prob_dist must be 1 or 2 dim, got shape {input.shape}")
    if num_samples <= 0:
        raise RuntimeError(f"multinomial: cannot sample n_sample <= 0 samples, got num_samples={num_samples}")
    if not replacement and num_samples > input.shape[-1]:
        raise RuntimeError(
            f"multinomial: cannot sample n_sample > prob_dist.size(-1) samples without replacement, "
            f"got num_samples={num_samples} of {input.shape[-1]}"
        )
    weights = input.backend.to_numpy(input.array).astype(np.float64)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise RuntimeError("multinomial: probability tensor contains either `inf`, `nan` or element < 0")
    if not weights.any(axis=-1).all():
        raise RuntimeError("multinomial: invalid multinomial distribution (sum of probabilities <= 0)")
    draw = _numpy(generator)
    if replacement:
        rows = [_inverse_cdf(row, draw.random(num_samples)) for row in np.atleast_2d(weights)]
        indices = np.stack(rows).reshape(*weights.shape[:-1], num_samples)
    else:
        with np.errstate(divide="ignore"):  # weight 0 arrives at infinity
            arrival = draw.standard_exponential(weights.shape) / weights
        indices = np.argsort(arrival, axis=-1, kind="stable")[..., :num_samples]
    return _on(input.device, indices, False)


def _inverse_cdf(weights: np.ndarray, u: np.ndarray) -> np.ndarray:
    cdf = np.cumsum(weights)
    return np.searchsorted(cdf / cdf[-1], u, side="right")  # "right" steps over indices of weight 0


# -- shared pieces ----------------------------------------------------------------------------------------------------


def _numpy(generator: Generator | None) -> np.random.Generator:
    if generator is None:
        of_sample = generator_of_sample.get()
        generator = default_generator if of_sample is None else of_sample()
    return generator.numpy


def _shape(name: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    if not size:
        raise TypeError(f"{name}(): expected a size, as integers or as one tuple")
    try:
        shape = tuple([operator.index(n) for n in (size[0] if isinstance(size[0], Sequence) else size)])
    except TypeError as error:
        raise TypeError(f"{name}(): expected whole numbers as sizes, got {size}") from error
    for n in shape:
        if n < 0:
            raise RuntimeError(f"{name}: trying to create a Tensor with negative dimension {n}: {shape}")
    return shape


def _floating(name: str, dtype: Any) -> np.dtype:
    dtype = dtypes.get_default_dtype() if dtype is None else np.dtype(dtype)
    if not dtypes.is_floating(dtype):
        raise TypeError(f"{name}: expected a floating point dtype, got {dtype}")
    return dtype


def _uniform(draw: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if dtype in (np.float32, np.float64):
        return np.asarray(draw.random(shape, dtype.type))
    # Rounding a float32 to a narrower type could give 1.0, which lies outside; multiples of the type's own step cannot.
    steps = 2**11 if dtype == np.float16 else 2**8
    return np.asarray(draw.integers(0, steps, shape) / steps).astype(dtype)


def _gaussian(draw: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    wide = dtype.type if dtype in (np.float32, np.float64) else np.float32
    return np.asarray(draw.standard_normal(shape, wide)).astype(dtype, copy=False)


def _on(device: Device | str | None, array: np.ndarray, requires_grad: bool, finish: Any = None) -> Tensor:
    """Move drawn numbers to the device and there let ``finish`` make the result of them."""
    backend = backend_for(device)
    moved = backend.from_numpy(array)
    t = Tensor.wrap(moved if finish is None else backend.asarray(finish(moved)))  # NumPy makes a 0-d result a number
    return t.requires_grad_() if requires_grad else t
