"""minidl.random: the generator's state, and the distributions of what is drawn."""

from __future__ import annotations

import copy
import pickle
from math import erf

import numpy as np
import pytest

from minidl import random
from minidl.random import Generator
from minidl.tensor import Tensor
from tests.elsewhere import elsewhere


def g(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def test_a_seed_fixes_the_numbers_for_good():
    # Literal values: a change here changes every experiment that anybody has seeded.
    assert random.randint(1000, (6,), generator=g(0)).tolist() == [135, 14, 937, 257, 386, 471]
    assert random.randperm(6, generator=g(1)).tolist() == [0, 5, 4, 1, 3, 2]
    assert random.rand(2, generator=g(2)).tolist() == [0.8187533020973206, 0.6781078577041626]


def test_equal_seeds_agree_and_others_do_not():
    a, b, c = (random.rand(100, generator=g(seed)).array for seed in (5, 5, 6))
    assert (a == b).all()
    assert not (a == c).any()


def test_manual_seed_seeds_the_default_generator_and_returns_it():
    assert random.manual_seed(3) is random.default_generator
    a = random.randn(5).tolist()
    assert random.randn(5).tolist() != a
    random.manual_seed(3)
    assert random.randn(5).tolist() == a
    assert random.initial_seed() == 3


@pytest.mark.parametrize("seed", [-(2**63), -1, 0, 2**64 - 1])
def test_seeds_of_64_bits_are_taken(seed):
    assert g(seed).initial_seed() == seed % 2**64


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1])
def test_larger_seeds_are_refused(seed):
    with pytest.raises(ValueError, match=str(seed)):
        g(seed)


def test_seed_takes_entropy():
    a, b = Generator(), Generator()
    assert a.initial_seed() == b.initial_seed()
    assert a.seed() == a.initial_seed()
    assert a.seed() != b.seed()


def test_state_resumes_exactly_in_the_middle_of_every_buffer():
    # A uint32 draw leaves half a word behind, and a uint64 draw part of Philox's four: both belong to the state.
    a = g(1)
    for used in range(9):
        random.randint(256, (used,), generator=a, dtype=np.uint8)
        random.rand((1,), generator=a)
        state = a.get_state()
        b = Generator().set_state(state)
        assert b.initial_seed() == 1
        want = [random.rand(7, generator=a).tolist(), random.randint(99, (7,), generator=a).tolist()]
        assert [random.rand(7, generator=b).tolist(), random.randint(99, (7,), generator=b).tolist()] == want


def test_state_is_a_copy_of_bytes():
    a = g(1)
    state = a.get_state()
    assert state.dtype == np.uint8 and state.shape == (112,)
    before = state.tolist()
    random.rand(10, generator=a)
    assert state.tolist() == before


def test_numpy_stays_the_same_object():
    a = g(1)
    inner = a.numpy
    a.set_state(a.manual_seed(2).get_state())
    assert a.numpy is inner


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))])
def test_a_copied_generator_goes_its_own_way(copy_of):
    a = g(1)
    random.rand(3, generator=a)
    b = copy_of(a)
    assert random.rand(3, generator=a).tolist() == random.rand(3, generator=b).tolist()


def test_wrong_states_are_refused():
    with pytest.raises(TypeError, match="float32"):
        g().set_state(Tensor(np.zeros(112, np.float32)))
    with pytest.raises(RuntimeError, match=r"\(3,\)"):
        g().set_state(Tensor(np.zeros(3, np.uint8)))


def test_rng_state_of_the_default_generator():
    random.manual_seed(0)
    state = random.get_rng_state()
    a = random.rand(4).tolist()
    random.set_rng_state(state)
    assert random.rand(4).tolist() == a


def test_shapes_and_dtypes():
    assert random.rand(2, 3).shape == random.rand((2, 3)).shape == random.rand([2, 3]).shape == (2, 3)
    assert random.rand(()).shape == () and random.rand(0).shape == (0,)
    assert random.randn(2).dtype == np.float32 and random.randn(2, dtype=np.float64).dtype == np.float64
    assert random.randint(3, (2,)).dtype == random.randperm(2).dtype == np.int64
    assert random.randint(3, (2,), dtype=np.float32).dtype == np.float32
    assert random.randint(256, (2,), dtype=np.uint8).dtype == np.uint8
    like = Tensor(np.zeros((2, 5), np.float64))
    for draw in (random.rand_like, random.randn_like):
        assert draw(like).shape == (2, 5) and draw(like).dtype == np.float64
        assert draw(like, dtype=np.float32).dtype == np.float32
        assert draw(like).tolist() != draw(like).tolist()
    assert random.rand(2, requires_grad=True).requires_grad and not random.rand(2).requires_grad


def test_a_draw_of_exactly_zero_picks_nothing_of_probability_zero():
    class Zero:
        def random(self, shape, *_):
            return np.zeros(shape)

    zero = g()
    zero.numpy = Zero()
    assert random.bernoulli(Tensor(np.array([0.0, 0.1])), generator=zero).tolist() == [0, 1]
    assert random.multinomial(Tensor(np.array([0.0, 1.0])), 2, True, generator=zero).tolist() == [1, 1]


def test_rand_of_half_precision_has_every_multiple_of_its_step():
    values = np.unique(random.rand(100_000, dtype=np.float16, generator=g()).array)
    assert (values == np.arange(2048) / 2048).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rand_never_reaches_one_and_fills_the_interval(dtype):
    u = random.rand(200_000, dtype=dtype, generator=g()).array
    assert u.dtype == dtype and u.min() >= 0 and u.max() < 1
    counts = np.histogram(u, bins=16, range=(0, 1))[0]
    assert chi2(counts, 200_000 / 16) < 44.3  # the chi-squared distribution of 15 degrees exceeds it once in 10,000


def test_randn_is_standard_normal():
    z = np.sort(random.randn(100_000, dtype=np.float64, generator=g()).array)
    cdf = np.array([0.5 * (1 + erf(x / 2**0.5)) for x in z[::10]])
    assert abs(cdf - np.arange(0, 100_000, 10) / 100_000).max() < 2.23 / 100_000**0.5  # Kolmogorov-Smirnov, 1 in 10,000


def chi2(counts: np.ndarray, expected: object) -> float:
    return float(((counts - expected) ** 2 / expected).sum())


def test_randint_draws_every_integer_of_the_range_equally():
    x = random.randint(-3, 4, (70_000,), generator=g()).array
    values, counts = np.unique(x, return_counts=True)
    assert values.tolist() == [-3, -2, -1, 0, 1, 2, 3]
    assert chi2(counts, 10_000) < 27.9  # 6 degrees, 1 in 10,000


def test_randint_takes_its_arguments_as_pytorch_does():
    want = random.randint(0, 9, (4,), generator=g()).tolist()
    for got in (
        random.randint(9, (4,), generator=g()),
        random.randint(9, size=(4,), generator=g()),
        random.randint(high=9, size=(4,), generator=g()),
        random.randint(0, high=9, size=[4], generator=g()),
    ):
        assert got.tolist() == want
    with pytest.raises(RuntimeError, match="low=5 >= high=5"):
        random.randint(5, 5, (2,))
    for arguments in ((5,), (1, 5)):
        with pytest.raises(TypeError, match="size"):
            random.randint(*arguments)


def test_randperm_is_a_permutation():
    order = random.randperm(1000, generator=g()).array
    assert (np.sort(order) == np.arange(1000)).all() and (order != np.arange(1000)).any()
    assert random.randperm(0).shape == (0,)
    with pytest.raises(RuntimeError, match="negative dimension -1"):
        random.randperm(-1)


def test_normal():
    z = random.randn(5, generator=g()).array
    assert (random.normal(2.0, 3.0, (5,), generator=g()).array == z * np.float32(3) + np.float32(2)).all()
    mean, std = np.array([[1.0], [2.0]], np.float64), np.array([0.0, 1.0, 2.0], np.float64)
    z = random.randn(2, 3, dtype=np.float64, generator=g()).array
    got = random.normal(Tensor(mean), Tensor(std), generator=g())
    assert (got.array == z * std + mean).all() and got.dtype == np.float64
    assert (random.normal(1.0, Tensor(std), generator=g()).array[0]) == 1.0
    for wrong in (-1.0, Tensor(np.array([1.0, -1.0]))):
        with pytest.raises(RuntimeError, match="std >= 0"):
            random.normal(Tensor(np.zeros(2)), wrong)
    with pytest.raises(TypeError, match="size"):
        random.normal(0.0, 1.0)
    with pytest.raises(TypeError, match="size"):
        random.normal(Tensor(np.zeros(2)), 1.0, (2,))


def test_bernoulli():
    p = np.repeat(np.array([0.0, 0.25, 1.0], np.float32), 10_000)
    x = random.bernoulli(Tensor(p), generator=g())
    assert x.dtype == np.float32 and x.shape == p.shape
    zero, quarter, one = x.array.reshape(3, -1).sum(1)
    assert zero == 0 and one == 10_000 and abs(quarter - 2500) < 4 * (10_000 * 0.25 * 0.75) ** 0.5
    counts = random.bernoulli(Tensor(np.zeros((4, 5), np.int64)), 1.0)
    assert counts.dtype == np.int64 and (counts.array == 1).all()
    with pytest.raises(RuntimeError, match="p=1.5"):
        random.bernoulli(Tensor(np.zeros(2)), 1.5)
    for wrong in (2.0, -0.5, float("nan")):
        with pytest.raises(RuntimeError, match=r"\[0, 1\]"):
            random.bernoulli(Tensor(np.array([0.5, wrong])))
    with pytest.raises(TypeError, match="int64"):
        random.bernoulli(Tensor(np.array([1])))


def test_multinomial_with_replacement_follows_the_weights():
    weights = np.array([0.0, 1.0, 0.0, 3.0, 4.0, 0.0])
    x = random.multinomial(Tensor(weights), 40_000, replacement=True, generator=g())
    assert x.dtype == np.int64 and x.shape == (40_000,)
    counts = np.bincount(x.array, minlength=6)
    assert counts[[0, 2, 5]].tolist() == [0, 0, 0]
    assert chi2(counts[[1, 3, 4]], np.array([5_000, 15_000, 20_000])) < 18.4  # 2 degrees, 1 in 10,000


def test_multinomial_without_replacement_follows_the_weights():
    weights = np.array([1.0, 2.0, 3.0])
    x = random.multinomial(Tensor(np.tile(weights, (60_000, 1))), 2, generator=g()).array
    assert x.shape == (60_000, 2) and (x[:, 0] != x[:, 1]).all()
    pairs = np.bincount(x[:, 0] * 3 + x[:, 1], minlength=9).reshape(3, 3)
    p = weights / 6
    expected = 60_000 * p[:, None] * p / (1 - p[:, None])  # the second among those that are left
    off_diagonal = ~np.eye(3, dtype=bool)
    assert chi2(pairs[off_diagonal], expected[off_diagonal]) < 25.7  # 5 degrees, 1 in 10,000


def test_multinomial_takes_weightless_indices_last_and_rows_apart():
    assert random.multinomial(Tensor(np.array([0.0, 5.0, 0.0])), 3).tolist()[0] == 1
    rows = Tensor(np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert random.multinomial(rows, 3, replacement=True).tolist() == [[1, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    ("weights", "n", "message"),
    [
        (np.array([1, 2]), 1, "int64"),
        (np.ones((1, 1, 2)), 1, "1 or 2 dim"),
        (np.ones(2), 0, "n_sample <= 0"),
        (np.ones(2), 3, "without replacement"),
        (np.array([1.0, -1.0]), 1, "element < 0"),
        (np.array([1.0, np.nan]), 1, "nan"),
        (np.array([[1.0, 1.0], [0.0, 0.0]]), 1, "sum of probabilities <= 0"),
    ],
)
def test_multinomial_refuses(weights, n, message):
    with pytest.raises(RuntimeError, match=message):
        random.multinomial(Tensor(weights), n)


def test_wrong_sizes_and_dtypes_are_refused():
    with pytest.raises(RuntimeError, match="rand: .*negative dimension -1"):
        random.rand(2, -1)
    with pytest.raises(TypeError, match=r"randn\(\): expected a size"):
        random.randn()
    with pytest.raises(TypeError, match="rand: .*floating point dtype, got int64"):
        random.rand(2, dtype=np.int64)


def test_a_seed_gives_the_same_numbers_on_every_device():
    p = Tensor(np.array([[0.2, 0.8], [0.5, 0.5]], np.float32))
    there = Tensor.wrap(elsewhere.from_numpy(p.array))
    for draw in (
        lambda p: random.rand(5, generator=g(), device=p.device),
        lambda p: random.rand_like(p, generator=g()),
        lambda p: random.randn_like(p, generator=g()),
        lambda p: random.normal(0.0, p, generator=g()),
        lambda p: random.normal(p, p, generator=g()),
        lambda p: random.normal(1.0, 2.0, (3,), generator=g(), device=p.device),
        lambda p: random.bernoulli(p, generator=g()),
        lambda p: random.bernoulli(p, 0.5, generator=g()),
        lambda p: random.randint(9, (4,), generator=g(), device=p.device),
        lambda p: random.randperm(9, generator=g(), device=p.device),
        lambda p: random.multinomial(p, 5, True, generator=g()),
    ):
        expected, drawn = draw(p), draw(there)
        assert drawn.backend is elsewhere and drawn.dtype == expected.dtype
        assert drawn.tolist() == expected.tolist()


def test_single_numbers_are_tensors_on_arrays():
    for drawn in (
        random.normal(0.0, 1.0, ()),
        random.normal(Tensor(0.0), 1.0),
        random.bernoulli(Tensor(0.5)),
        random.rand(()),
        random.randint(3, ()),
    ):
        assert isinstance(drawn.array, np.ndarray)
        assert drawn.shape == ()


def test_bits32_are_the_halves_of_the_generators_steps() -> None:
    g = Generator().manual_seed(3)
    steps = np.random.Philox(3).random_raw(3)
    bits = g.bits32(5)
    assert (
        bits.dtype == np.uint32 and bits.tolist() == [h for s in steps.tolist() for h in (s & 0xFFFFFFFF, s >> 32)][:5]
    )
    assert g.bits32(0).shape == (0,)
