"""minidl.data.draws: Philox against its published test vectors, and what the numbers may depend on."""

from __future__ import annotations

import contextlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl import random
from minidl.data import draws

# "philox4x32 10" in tests/kat_vectors of Random123, the authors' own implementation: counter, key, result.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> np.ndarray:
    return np.array([int(word, 16) for word in text.split()], dtype=np.uint64)


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN_ANSWERS)
def test_philox_gives_the_published_results(counter, key, result):
    columns = np.stack([words(counter), words("1 2 3 4"), words(counter)], axis=1)
    got = draws.philox4x32(columns, words(key))
    assert (got[:, 0] == words(result)).all() and (got[:, 2] == words(result)).all()
    assert (got[:, 1] == draws.philox4x32(columns[:, 1:2], words(key))[:, 0]).all()


def test_uniform_for_is_philox_with_every_argument_in_its_place():
    got = draws.uniform_for(seed=0x1111111122222222, epoch=3, indices=[0xABCD_00000005], count=6, stream=7, repeats=[2])
    key = words("22222222 11111111")
    blocks = [draws.philox4x32(words(f"2000{b} 00000005 7abcd 3")[:, None], key)[:, 0] for b in (0, 1)]
    assert (got == np.concatenate(blocks)[None, :6] / 2**32).all()


def test_every_argument_changes_every_number():
    base = {"seed": 1, "epoch": 2, "indices": [3], "count": 8, "stream": 4, "repeats": 5}
    results = [draws.uniform_for(**base)]
    for name, others in {
        "seed": [0, 1 + 2**32, -1],
        "epoch": [3, 2**32 - 1],
        "indices": [[4], [3 + 2**32], [-3]],
        "stream": [5, draws.COLLATE_STREAM + 4],
        "repeats": [0, 6],
    }.items():
        results += [draws.uniform_for(**{**base, name: other}) for other in others]
    for a, b in itertools.combinations(results, 2):
        assert not (a == b).any()


@given(
    indices=st.lists(st.integers(0, 10**6), min_size=1, max_size=20),
    count=st.integers(1, 9),
    seed=st.integers(0, 2**64 - 1),
    stream=st.integers(0, 100),
)
def test_a_sample_gets_the_same_numbers_in_any_batch_and_for_any_count(indices, count, seed, stream):
    together = draws.uniform_for(seed, 1, indices, count, stream)
    assert together.shape == (len(indices), count)
    for row, index in zip(together, indices, strict=True):
        alone = draws.uniform_for(seed, 1, [index], count + 3, stream)
        assert (alone[0, :count] == row).all()


def test_numbers_are_uniform_and_neighbours_unrelated():
    u = draws.uniform_for(seed=0, epoch=0, indices=np.arange(50_000), count=2)
    assert u.min() >= 0 and u.max() < 1
    counts = np.histogram2d(u[:, 0], u[:, 1], bins=8, range=((0, 1), (0, 1)))[0]
    assert ((counts - 781.25) ** 2 / 781.25).sum() < 110.9  # chi-squared, 63 degrees, 1 in 10,000 or less
    after = np.histogram2d(u[:-1, 0], u[1:, 0], bins=8, range=((0, 1), (0, 1)))[0]
    expected = 49_999 / 64
    assert ((after - expected) ** 2 / expected).sum() < 110.9


def test_no_sample_and_no_number():
    assert draws.uniform_for(0, 0, [], 3).shape == (0, 3)
    assert draws.uniform_for(0, 0, [1, 2], 0).shape == (2, 0)


def test_outside_a_loader_numbers_come_from_the_default_generator():
    random.manual_seed(0)
    a = draws.uniform(4, 3)
    random.manual_seed(0)
    assert (draws.uniform(4, 3) == a).all() and a.shape == (4, 3)
    assert not (draws.uniform(4, 3) == a).any()


def test_within_a_fetch_each_draw_has_the_next_stream():
    with draws.fetching(seed=1, epoch=2, indices=[10, 20], repeats=[0, 3]):
        first, second = draws.uniform(2, 3), draws.uniform(2, 1)
    assert (first == draws.uniform_for(1, 2, [10, 20], 3, stream=0, repeats=[0, 3])).all()
    assert (second == draws.uniform_for(1, 2, [10, 20], 1, stream=1, repeats=[0, 3])).all()


def test_fetches_nest_and_end():
    with draws.fetching(1, 0, [5]):
        with draws.fetching(1, 0, [6]):
            inner = draws.uniform(1, 2)
        outer = draws.uniform(1, 2)
        with pytest.raises(ZeroDivisionError), draws.fetching(1, 0, [7]):
            raise ZeroDivisionError
        draws.uniform(1, 1)
    assert (inner == draws.uniform_for(1, 0, [6], 2)).all() and (outer == draws.uniform_for(1, 0, [5], 2)).all()
    random.manual_seed(0)
    a = draws.uniform(1, 2)
    random.manual_seed(0)
    assert (a == random.default_generator.numpy.random((1, 2))).all()


def test_a_draw_that_cannot_be_assigned_to_samples_is_refused():
    with draws.fetching(0, 0, [1, 2, 3]), pytest.raises(RuntimeError, match=r"1 image\(s\).*fetches 3 sample"):
        draws.uniform(1, 2)
    with draws.fetching(0, 0, ["a.png"]), pytest.raises(RuntimeError, match=r"'a\.png'"):
        draws.uniform(1, 2)


@given(st.data())
def test_few_numbers_are_computed_in_another_way_and_are_the_same(data):
    words = [data.draw(st.integers(0, 2**32 - 1)) for _ in range(6)]
    counter, key = words[:4], words[4:]
    plain = draws.philox_block(tuple(counter), tuple(key))
    assert list(plain) == draws.philox4x32(np.array([counter]).T, np.array(key))[:, 0].tolist()
    seed, epoch = data.draw(st.integers(0, 2**64 - 1)), data.draw(st.integers(0, 2**32 - 1))
    indices = data.draw(st.lists(st.integers(0, 2**48 - 1), min_size=20, max_size=20))
    many = draws.uniform_for(seed, epoch, indices, 7, stream=3, repeats=list(range(20)))
    for i in range(20):
        assert (draws.uniform_for(seed, epoch, indices[i : i + 1], 7, 3, repeats=[i]) == many[i]).all()


@pytest.mark.parametrize("keyed", [False, True])
def test_fours_are_the_same_numbers_in_turn(keyed):
    def draw(function):
        random.manual_seed(8)
        with draws.fetching(5, 2, [9], [3]) if keyed else contextlib.nullcontext():
            return [*np.asarray(function(3)).ravel(), *draws.uniform(1, 2)[0]]

    def some_fours(count):
        numbers = draws.fours(count)
        return [next(numbers), next(numbers), next(numbers)]

    assert draw(some_fours) == draw(lambda count: draws.uniform(1, 4 * count))
    with draws.fetching(5, 2, [9]):
        draws.fours(3)  # uses its stream even if nobody asks for the numbers
        assert (draws.uniform(1, 2) == draws.uniform_for(5, 2, [9], 2, stream=1)).all()
    with draws.fetching(5, 2, [9, 10]), pytest.raises(RuntimeError, match="drew numbers for 1 image"):
        draws.fours(1)


def test_one_of_the_samples_draws_as_if_it_were_alone():
    with draws.fetching(5, 2, [9, 10], [0, 4]):
        draws.uniform(2, 1)
        with draws.only(1):
            assert (draws.uniform(1, 3) == draws.uniform_for(5, 2, [10], 3, stream=0, repeats=[4])).all()
        assert (draws.uniform(2, 3) == draws.uniform_for(5, 2, [9, 10], 3, stream=1, repeats=[0, 4])).all()
    random.manual_seed(8)
    expected = draws.uniform(1, 3)
    random.manual_seed(8)
    with draws.only(0):
        assert (draws.uniform(1, 3) == expected).all()
