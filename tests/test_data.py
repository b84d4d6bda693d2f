"""Datasets, samplers, collation and the DataLoader."""

from __future__ import annotations

from collections import Counter, OrderedDict, namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl import random
from minidl.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    draws,
    random_split,
)
from minidl.data.fetch import Repeats
from minidl.random import Generator
from minidl.tensor import Tensor


class Numbers(Dataset):
    """Sample i is i."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __getitem__(self, index):
        return index

    def __len__(self):
        return self.n


class Drawing(Numbers):
    """Sample i is (i, two numbers drawn for it)."""

    def __getitem__(self, index):
        return index, draws.uniform(1, 2)[0]


class DrawingBatches(Drawing):
    """The same in whole batches."""

    def __getitems__(self, indices):
        return np.array(indices), draws.uniform(len(indices), 2)


class Stream(IterableDataset):
    """0, …, n - 1, each with a number drawn for it."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self):
        for i in range(self.n):
            yield i, draws.uniform(1, 1)[0, 0]


def epoch_of(loader: DataLoader) -> list:
    return [batch.tolist() for batch in loader]


def drawn(loader: DataLoader) -> dict:
    """For each sample of an epoch its numbers, in the order that it came in."""
    result: dict = {}
    for indices, numbers in loader:
        for index, row in zip(indices.tolist(), numbers.tolist(), strict=True):
            result.setdefault(index, []).append(row)
    return result


# -- datasets ---------------------------------------------------------------------------------------------------------


def test_tensor_dataset():
    x, y = Tensor(np.arange(12.0).reshape(4, 3)), Tensor(np.arange(4))
    dataset = TensorDataset(x, y)
    assert len(dataset) == 4 and [t.tolist() for t in dataset[2]] == [[6, 7, 8], 2]
    assert [t.tolist() for t in dataset.__getitems__([3, 0])] == [[[9, 10, 11], [0, 1, 2]], [3, 0]]
    with pytest.raises(IndexError):
        dataset[4]
    with pytest.raises(ValueError, match=r"\(4, 3\), \(3,\)"):
        TensorDataset(x, Tensor(np.arange(3)))
    with pytest.raises(ValueError, match="equal length"):
        TensorDataset()


def test_tensor_dataset_takes_tensors_only():
    with pytest.raises(TypeError, match="TensorDataset: expected Tensors, got ndarray at position 1"):
        TensorDataset(Tensor(np.zeros(3)), np.zeros(3))


def test_concat_dataset():
    dataset = Numbers(3) + Numbers(0) + Subset(Numbers(9), [7, 5])
    assert isinstance(dataset, ConcatDataset) and len(dataset) == 5
    assert [dataset[i] for i in range(-5, 5)] == [0, 1, 2, 7, 5] * 2
    for wrong in (5, -6):
        with pytest.raises(IndexError, match=f"index {wrong} is out of range for 5 samples"):
            dataset[wrong]
    with pytest.raises(ValueError, match="empty"):
        ConcatDataset([])
    with pytest.raises(TypeError, match="IterableDataset"):
        ConcatDataset([Stream(3)])


def test_subset_hands_batches_on():
    assert [Subset(Numbers(9), [7, 5])[i] for i in range(2)] == [7, 5]
    assert Subset(Numbers(9), [7, 5]).__getitems__([1, 0]) is NotImplemented
    inner = TensorDataset(Tensor(np.arange(10)))
    assert Subset(Subset(inner, [9, 8, 7]), [2, 0]).__getitems__([0, 1])[0].tolist() == [7, 9]


def test_base_classes_say_what_is_missing():
    class Empty(Dataset):
        pass

    with pytest.raises(NotImplementedError, match="Empty must define __getitem__"):
        Empty()[0]


@given(n=st.integers(1, 60), cuts=st.lists(st.floats(0, 1), max_size=4))
@pytest.mark.filterwarnings("ignore:random_split")
def test_random_split_into_fractions(n, cuts):
    edges = [0.0, *sorted(cuts), 1.0]
    fractions = [b - a for a, b in zip(edges, edges[1:], strict=False)]
    if sum(fractions) > 1:
        return
    parts = random_split(Numbers(n), fractions)
    assert sorted(i for part in parts for i in part) == list(range(n))
    for part, fraction in zip(parts, fractions, strict=True):
        assert n * fraction - 1 < len(part) <= n * fraction + len(fractions)


def test_random_split_into_lengths():
    a, b = (random_split(Numbers(10), [3, 7], generator=Generator().manual_seed(42)) for _ in range(2))
    assert [len(part) for part in a] == [3, 7] and [list(part) for part in a] == [list(part) for part in b]
    assert sorted([*a[0], *a[1]]) == list(range(10)) and list(a[1]) != sorted(a[1])
    assert [len(part) for part in random_split(Numbers(10), [0.33, 0.33, 0.34])] == [4, 3, 3]
    with pytest.raises(ValueError, match="sum of input lengths, 9, does not equal the dataset's length, 10"):
        random_split(Numbers(10), [3, 6])
    with pytest.raises(ValueError, match="index 0 is not between 0 and 1"):
        random_split(Numbers(10), [1.5, -0.5])
    for wrong in ([4.5, 5.5], [12, -2]):
        with pytest.raises(ValueError, match=r"length at index [01] is (4\.5|-2)"):
            random_split(Numbers(10), wrong)
    with pytest.warns(UserWarning, match="index 1 is 0"):
        random_split(Numbers(1), [0.5, 0.5])


# -- samplers ---------------------------------------------------------------------------------------------------------


def test_random_sampler():
    data = Numbers(20)
    order = list(RandomSampler(data))
    assert sorted(order) == list(range(20)) and order != list(RandomSampler(data))
    more = list(RandomSampler(data, num_samples=50))
    assert len(more) == 50 and max(Counter(more).values()) == 3 and min(Counter(more).values()) == 2
    again = list(RandomSampler(data, replacement=True, num_samples=1000))
    assert len(again) == 1000 and set(again) == set(range(20)) and len(set(again[:20])) < 20
    with pytest.raises(TypeError, match="replacement=1"):
        RandomSampler(data, replacement=1)
    for wrong in (0, -1, 2.5):
        with pytest.raises(ValueError, match=f"positive integer value, but got num_samples={wrong}"):
            RandomSampler(data, num_samples=wrong)


def test_subset_and_weighted_samplers():
    assert sorted(SubsetRandomSampler([5, 3, 9])) == [3, 5, 9]
    drawn = list(WeightedRandomSampler([0, 1, 3], 4000))
    assert len(drawn) == 4000 and set(drawn) == {1, 2} and abs(drawn.count(1) - 1000) < 4 * 750**0.5
    assert sorted(WeightedRandomSampler(Tensor(np.array([2.0, 1.0, 3.0])), 3, replacement=False)) == [0, 1, 2]
    with pytest.raises(ValueError, match="num_samples=0"):
        WeightedRandomSampler([1.0], 0)
    with pytest.raises(ValueError, match=r"shape \(1, 2\)"):
        WeightedRandomSampler([[1.0, 2.0]], 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda g: RandomSampler(Numbers(50), generator=g),
        lambda g: RandomSampler(Numbers(50), True, 60, g),
        lambda g: SubsetRandomSampler(range(50), g),
        lambda g: WeightedRandomSampler([1.0] * 50, 30, generator=g),
    ],
)
def test_a_samplers_generator_fixes_its_order(make):
    a, b = (make(Generator().manual_seed(1)) for _ in range(2))
    first = list(a)
    assert first == list(b) and list(a) != first and len(a) == len(first)


@given(n=st.integers(0, 30), size=st.integers(1, 8), drop=st.booleans())
def test_batch_sampler(n, size, drop):
    sampler = BatchSampler(SequentialSampler(range(n)), size, drop)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert [i for batch in batches for i in batch] == list(range(n - n % size if drop else n))
    assert all(len(batch) == size for batch in batches[:-1])


def test_batch_sampler_refuses():
    for wrong in (0, -1, True, 1.5):
        with pytest.raises(ValueError, match=f"batch_size={wrong}"):
            BatchSampler(range(3), wrong, False)
    with pytest.raises(ValueError, match="drop_last=1"):
        BatchSampler(range(3), 1, 1)


# -- collation --------------------------------------------------------------------------------------------------------


def test_collate_numbers_and_arrays():
    for batch, dtype in (
        ([1, 2], np.int64),
        ([1.0, 2.5], np.float64),
        ([1, 2.5], np.float64),
        ([True, False], np.bool_),
        ([True, 2], np.int64),
        ([np.int32(1), 2], np.int64),
        ([np.float32(1), 1.5], np.float64),
        ([1, Tensor(np.array(2))], np.int64),
        ([np.float32(1), np.float32(2)], np.float32),
        ([np.zeros(3, np.uint8), np.ones(3, np.uint8)], np.uint8),
        ([Tensor(np.zeros((2, 2), np.float16))] * 3, np.float16),
    ):
        got = default_collate(batch)
        assert isinstance(got, Tensor) and got.dtype == dtype and got.shape == (len(batch), *np.shape(batch[0]))
        assert got.tolist() == [np.asarray(sample).tolist() for sample in batch]


def test_collate_structures():
    Point = namedtuple("Point", "x y")
    batch = [OrderedDict(a=(1, "u"), b=Point(1.0, [3, 4])), OrderedDict(a=(2, "v"), b=Point(2.0, [5, 6]))]
    got = default_collate(batch)
    assert type(got) is OrderedDict and type(got["a"]) is list and type(got["b"]) is Point
    assert got["a"][0].tolist() == [1, 2] and got["a"][1] == ["u", "v"]
    assert got["b"].x.tolist() == [1.0, 2.0] and [t.tolist() for t in got["b"].y] == [[3, 5], [4, 6]]
    assert default_collate([b"x", b"y"]) == [b"x", b"y"]
    assert default_collate([np.str_("a"), np.str_("b")]) == ["a", "b"]


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ([1.0, None], TypeError, "float in sample 0 and NoneType in sample 1"),
        ([1.0, "2"], TypeError, "float in sample 0 and str in sample 1"),
        ([1, None], TypeError, "int in sample 0 and NoneType in sample 1"),
        ([(1,), ("a",)], TypeError, "int in sample 0 and str in sample 1 of the batch at position 0"),
        ([np.zeros(2), None], TypeError, "ndarray in sample 0 and NoneType in sample 1"),
        ([Tensor(1.0), 2.0], TypeError, "Tensor in sample 0 and float in sample 1"),
        ([1, np.datetime64("2020")], TypeError, "dtype datetime64"),
        ([np.int64(1), 2**70], TypeError, "dtype object"),
        ([2**70], OverflowError, "1180591620717411303424 is too large for int64"),
        ([{"n": 2**63}, {"n": 1}], OverflowError, "9223372036854775808 is too large for int64 at key 'n'"),
    ],
)
def test_collate_makes_no_tensor_of_what_is_not_numbers(batch, error, message):
    with pytest.raises(error, match=message):
        default_collate(batch)


def test_collate_says_which_samples_differ_and_where():
    samples = [{"image": (np.zeros((3, 4)), 0)}, {"image": (np.zeros((3, 4)), 0)}, {"image": (np.zeros((3, 5)), 0)}]
    message = (
        r"equal shape, but got \(3, 4\) in sample 0 and \(3, 5\) in sample 2 of the batch at key 'image' at position 0"
    )
    with pytest.raises(RuntimeError, match=message):
        default_collate(samples)
    with pytest.raises(RuntimeError, match=r"\(2,\) in sample 0 and \(3,\) in sample 1"):
        default_collate([Tensor(np.zeros(2)), Tensor(np.zeros(3))])
    with pytest.raises(RuntimeError, match="equal length, but got 1 in sample 0 and 2 in sample 1"):
        default_collate([(1,), (1, 2)])
    with pytest.raises(RuntimeError, match="equal keys"):
        default_collate([{"a": 1}, {"b": 1}])
    with pytest.raises(TypeError, match=r"found builtins\.NoneType at position 1.*collate_fn"):
        default_collate([(1, None)])
    with pytest.raises(TypeError, match="dtype <U1"):
        default_collate([np.array("a")])


def test_convert_shares_memory():
    array = np.zeros(3)
    got = default_convert({"a": (array, "text", 5)})
    assert got["a"][0].array is array and got["a"][1:] == ["text", 5]


# -- loader: what a batch is ------------------------------------------------------------------------------------------


def test_loader_defaults():
    loader = DataLoader(Numbers(3))
    assert loader.batch_size == 1 and len(loader) == 3
    assert epoch_of(loader) == epoch_of(loader) == [[0], [1], [2]]


@given(n=st.integers(0, 20), size=st.integers(1, 7), drop=st.booleans(), streaming=st.booleans())
def test_loader_cuts_batches(n, size, drop, streaming):
    class Counting(IterableDataset):
        def __iter__(self):
            return iter(range(n))

        def __len__(self):
            return n

    loader = DataLoader(Counting() if streaming else Numbers(n), batch_size=size, drop_last=drop)
    batches = epoch_of(loader)
    assert batches == [list(range(i, min(i + size, n))) for i in range(0, n - n % size if drop else n, size)]
    assert len(batches) == len(loader)


def test_without_batches_samples_come_as_they_are():
    assert list(DataLoader(["a", "b"], batch_size=None)) == ["a", "b"]
    assert [x for x, _ in DataLoader(Stream(3), batch_size=None)] == [0, 1, 2]
    (x,) = next(iter(DataLoader([(np.zeros(2),)], batch_size=None)))
    assert isinstance(x, Tensor) and x.shape == (2,)
    # PyTorch's way to fetch in bulk: a sampler of lists, and a dataset that takes them
    bulk = DataLoader(TensorDataset(Tensor(np.arange(5))), batch_size=None, sampler=BatchSampler(range(5), 2, False))
    assert [x.tolist() for (x,) in bulk] == [[0, 1], [2, 3], [4]]


def test_samplers_batch_samplers_and_collate_fn_of_ones_own():
    assert epoch_of(DataLoader(Numbers(9), batch_size=2, sampler=[8, 1, 1])) == [[8, 1], [1]]
    assert epoch_of(DataLoader(Numbers(9), batch_sampler=[[8, 1], [2]])) == [[8, 1], [2]]
    assert len(DataLoader(Numbers(9), batch_sampler=[[8, 1], [2]])) == 2
    assert list(DataLoader(Numbers(4), batch_size=2, collate_fn=tuple)) == [(0, 1), (2, 3)]


def test_a_sampler_can_do_without_a_length():
    class Endless(Numbers):
        def __len__(self):
            raise NotImplementedError

    assert epoch_of(DataLoader(Endless(0), sampler=[1, 2, 1])) == [[1], [2], [1]]


def test_getitems_may_return_a_finished_batch():
    class Finished(Numbers):
        def __getitem__(self, index):
            raise AssertionError("the loader should ask for batches")

        def __getitems__(self, indices):
            return self.images[indices], Tensor(np.array(indices))

    dataset = Finished(5)
    dataset.images = np.arange(10.0).reshape(5, 2)
    x, y = next(iter(DataLoader(dataset, batch_size=3)))
    assert isinstance(x, Tensor) and x.tolist() == [[0, 1], [2, 3], [4, 5]] and y.tolist() == [0, 1, 2]
    rows = next(iter(DataLoader(dataset, batch_size=3, collate_fn=list)))
    assert [(x.tolist(), y.item()) for x, y in rows] == [([0, 1], 0), ([2, 3], 1), ([4, 5], 2)]


def test_getitems_may_return_a_list_of_samples_or_decline():
    class Listing(Numbers):
        def __getitems__(self, indices):
            return [(i, 10 * i) for i in indices]

    class Declining(Numbers):
        def __getitems__(self, indices):
            return NotImplemented

    assert [[t.tolist() for t in batch] for batch in DataLoader(Listing(3), 2)] == [[[0, 1], [0, 10]], [[2], [20]]]
    assert list(DataLoader(Listing(2), 2, collate_fn=tuple)) == [((0, 0), (1, 10))]
    assert epoch_of(DataLoader(Declining(3), 2)) == [[0, 1], [2]]


@pytest.mark.parametrize(("part", "got"), [(np.zeros((2, 3)), r"shape \(2, 3\)"), ([1, 2, 3], "list"), (5, "int")])
def test_a_finished_batch_of_the_wrong_length_is_refused(part, got):
    class Wrong(Numbers):
        def __getitems__(self, indices):
            return np.zeros(len(indices)), part

    with pytest.raises(ValueError, match=f"Wrong.__getitems__ .* length 3, but part 1 is {got}"):
        next(iter(DataLoader(Wrong(3), 3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shuffle": True, "sampler": [0]}, "sampler option is mutually exclusive with shuffle"),
        ({"batch_sampler": [[0]], "batch_size": 2}, "batch_sampler option is mutually exclusive"),
        ({"batch_sampler": [[0]], "drop_last": True}, "batch_sampler option is mutually exclusive"),
        ({"batch_size": None, "drop_last": True}, "batch_size=None option disables auto-batching"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"num_workers": -1}, "num_workers option should be non-negative"),
        ({"timeout": -1}, "timeout option should be non-negative"),
        ({"prefetch_factor": 2}, "prefetch_factor"),
        ({"persistent_workers": True}, "persistent_workers"),
        ({"multiprocessing_context": "fork"}, "multiprocessing_context can only be used with multi-process loading"),
        ({"num_workers": 1, "multiprocessing_context": "threads"}, "valid start method in .*, but got 'threads'"),
        ({"num_workers": 1, "prefetch_factor": -1}, "prefetch_factor option should be non-negative"),
        ({"seed": 1, "generator": Generator()}, "mutually exclusive with generator"),
        ({"seed": 1.5}, r"seed option: expected an integer from .*, got 1\.5"),
        ({"seed": "5"}, "seed option: expected an integer from .*, got '5'"),
        ({"seed": 2**64}, "seed option: expected an integer from .*, got 18446744073709551616"),
    ],
)
def test_loader_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        DataLoader(Numbers(3), **arguments)


def test_loader_takes_numpys_integers_and_no_other_generators():
    wanted = DataLoader(Numbers(20), 4, shuffle=True, seed=5)
    got = DataLoader(Numbers(20), 4, shuffle=True, seed=np.int64(5))
    for loader, epoch in ((wanted, 2), (got, np.int64(2))):
        loader.set_epoch(epoch)
    assert got.state_dict() == wanted.state_dict() and epoch_of(got) == epoch_of(wanted)
    got.load_state_dict({"seed": np.uint64(5), "epoch": np.int32(3), "batch": np.int64(1)})
    assert epoch_of(got) == epoch_of(wanted)[1:]
    for name, wrong in (("seed", "x"), ("epoch", 0.5), ("batch", -1)):
        with pytest.raises(ValueError, match=f"load_state_dict: {name}: expected an integer from .*, got {wrong!r}"):
            got.load_state_dict({"seed": 1, "epoch": 0, "batch": 0, name: wrong})
    with pytest.raises(TypeError, match="generator option should be a minidl.Generator, got 5"):
        DataLoader(Numbers(3), generator=5)


def test_streams_have_no_order():
    for arguments in ({"shuffle": True}, {"sampler": [0]}, {"batch_sampler": [[0]]}):
        with pytest.raises(ValueError, match=f"expected unspecified {next(iter(arguments))} option"):
            DataLoader(Stream(3), **arguments)
    DataLoader(Stream(3), shuffle=False)
    with pytest.raises(TypeError):
        len(DataLoader(Stream(3)))


def test_an_empty_dataset():
    with pytest.raises(ValueError, match="num_samples should be a positive integer value, but got num_samples=0"):
        DataLoader(Numbers(0), shuffle=True)
    assert list(DataLoader(Numbers(0))) == []


# -- loader: what it depends on ---------------------------------------------------------------------------------------


def test_the_order_depends_on_seed_and_epoch_only():
    loader = DataLoader(Numbers(50), 8, shuffle=True, seed=7)
    first, second = epoch_of(loader), epoch_of(loader)
    assert first != second and sorted(sum(first, [])) == list(range(50))
    random.manual_seed(123)
    other = DataLoader(Numbers(50), 8, shuffle=True, seed=7)
    other.set_epoch(1)
    assert epoch_of(other) == second
    other.set_epoch(0)
    assert epoch_of(other) == first
    assert sum(epoch_of(DataLoader(Numbers(50), 5, shuffle=True, seed=7)), []) == sum(first, [])
    assert epoch_of(DataLoader(Numbers(50), 8, shuffle=True, seed=8)) != first


def test_the_epoch_advances_when_an_iteration_begins():
    loader = DataLoader(Numbers(50), shuffle=True, seed=0)
    a, b = iter(loader), iter(loader)
    interleaved = [(next(a).item(), next(b).item()) for _ in range(50)]
    again = DataLoader(Numbers(50), shuffle=True, seed=0)
    assert [x for x, _ in interleaved] == sum(epoch_of(again), []) and loader.epoch == 2
    assert [y for _, y in interleaved] == sum(epoch_of(again), [])
    for wrong in (-1, 1.5, 2**32):
        with pytest.raises(ValueError, match="set_epoch"):
            loader.set_epoch(wrong)


def test_without_a_seed_manual_seed_fixes_it():
    orders = []
    for _ in range(2):
        loader = DataLoader(Drawing(30), shuffle=True)
        random.manual_seed(5)  # after the loader was made, as long as it is before the first epoch
        orders.append((drawn(loader), drawn(loader)))
    assert orders[0] == orders[1] and orders[0][0] != orders[0][1]
    assert list(orders[0][0]) != list(orders[0][1])
    assert DataLoader(Numbers(3)).seed != DataLoader(Numbers(3)).seed


def test_without_a_seed_a_generator_fixes_it():
    a, b = (DataLoader(Numbers(30), shuffle=True, generator=Generator().manual_seed(9)) for _ in range(2))
    assert epoch_of(a) == epoch_of(b) and epoch_of(a) == epoch_of(b)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomSampler(Numbers(40), replacement=True),
        lambda: SubsetRandomSampler(range(40)),
        lambda: WeightedRandomSampler([1.0] * 40, 40),
        lambda: BatchSampler(RandomSampler(Numbers(40)), 4, False),
    ],
)
def test_a_sampler_of_ones_own_follows_the_loaders_seed_too(make):
    def loader():
        name = "batch_sampler" if isinstance(make(), BatchSampler) else "sampler"
        return DataLoader(Numbers(40), **{name: make()}, seed=3)

    a = loader()
    orders = [epoch_of(a), epoch_of(a)]
    b = loader()
    b.set_epoch(1)
    assert epoch_of(b) == orders[1] != orders[0]


class Eager(Sampler):
    """Draws its order when it is begun, with what is there to draw with."""

    def __init__(self, draw):
        self.draw = draw

    def __iter__(self):
        return iter(self.draw())


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("sampler", lambda: list(RandomSampler(Numbers(40)))),
        ("sampler", lambda: random.randperm(40).tolist()),
        ("sampler", lambda: (i for i in random.randperm(40).tolist())),
        ("batch_sampler", lambda: list(BatchSampler(RandomSampler(Numbers(40)), 4, False))),
        ("batch_sampler", lambda: random.randperm(40).reshape(10, 4).tolist()),
    ],
)
def test_an_order_that_is_drawn_at_once_follows_the_loaders_seed_too(name, draw):
    def orders(unrelated):
        random.manual_seed(unrelated)
        loader = DataLoader(Numbers(40), **{name: Eager(draw)}, seed=3)
        return epoch_of(loader), epoch_of(loader)

    assert orders(1) == orders(2) and orders(1)[0] != orders(1)[1]


def test_a_stream_that_shuffles_when_it_is_begun_follows_the_loaders_seed_too():
    class Shuffled(IterableDataset):
        def __iter__(self):
            return iter(random.randperm(40).tolist())

    def orders(unrelated):
        random.manual_seed(unrelated)
        loader = DataLoader(Shuffled(), 4, seed=3)
        return epoch_of(loader), epoch_of(loader)

    assert orders(1) == orders(2) and orders(1)[0] != orders(1)[1]


def test_a_loader_resumes_from_its_state():
    random.manual_seed(0)
    loader = DataLoader(Drawing(20), 3, shuffle=True)
    drawn(loader)
    other = DataLoader(Drawing(20), 3, shuffle=True)
    other.load_state_dict(loader.state_dict())
    for _ in range(2):
        a, b = drawn(loader), drawn(other)
        assert list(a) == list(b) and a == b


@given(
    size=st.integers(1, 20),
    shuffle=st.booleans(),
    dataset=st.sampled_from([Drawing, DrawingBatches]),
    epoch=st.integers(0, 5),
)
def test_a_samples_numbers_depend_on_neither_batch_nor_order_nor_who_fetches(size, shuffle, dataset, epoch):
    loader = DataLoader(dataset(20), size, shuffle=shuffle, seed=11)
    loader.set_epoch(epoch)
    want = draws.uniform_for(11, epoch, np.arange(20), 2).tolist()
    assert drawn(loader) == {i: [row] for i, row in enumerate(want)}


def test_a_subset_draws_for_the_index_that_the_loader_asks_for():
    want = draws.uniform_for(1, 0, np.arange(2), 2).tolist()
    for dataset in (Drawing(9), DrawingBatches(9)):
        assert drawn(DataLoader(Subset(dataset, [7, 5]), 2, seed=1)) == {7: [want[0]], 5: [want[1]]}


def test_a_sample_that_comes_again_in_an_epoch_gets_new_numbers():
    want = [draws.uniform_for(1, 0, [4], 2, repeats=k)[0].tolist() for k in range(3)]
    for dataset, size in ((Drawing(9), 1), (Drawing(9), 2), (DrawingBatches(9), 3)):
        assert drawn(DataLoader(dataset, size, sampler=[4, 4, 2, 4], seed=1))[4] == want


@given(st.integers(0, 6), st.lists(st.lists(st.one_of(st.integers(-3, 9), st.text("ab", max_size=1))), max_size=6))
def test_repeats_are_counted_as_by_a_dict(size, batches):
    repeats, seen = Repeats(size), Counter()
    for batch in batches:
        expected = []
        for index in batch:
            expected.append(seen[index])
            seen[index] += 1
        mixed = [np.int64(i) if isinstance(i, int) and i % 2 else i for i in batch]
        assert repeats.count([*mixed, [0]]) == [*expected, 0]  # what has no hash is not counted


def test_repeats_take_no_memory_for_a_length_that_is_only_claimed():
    repeats = Repeats(2**60)
    assert [repeats.count([i]) for i in (3, 2**50, 3, 2**50)] == [[0], [0], [1], [1]]


@pytest.mark.parametrize("n", [4095, 4096, 10_000])
def test_a_long_order_has_every_index_once(n):
    assert sorted(RandomSampler(Numbers(n))) == list(range(n))
    order = list(RandomSampler(Numbers(n), num_samples=2 * n - 1))
    assert sorted(order[:n]) == list(range(n)) and len(set(order[n:])) == n - 1


def test_draws_in_collate_fn_are_not_those_of_the_samples():
    seen = []

    def collate(batch):
        seen.append(draws.uniform(len(batch), 2))
        return default_collate(batch)

    _, numbers = next(iter(DataLoader(Drawing(4), 4, collate_fn=collate, seed=0)))
    assert not (numbers.array == seen[0]).any()
    assert (seen[0] == draws.uniform_for(0, 0, range(4), 2, stream=draws.COLLATE_STREAM)).all()


def test_a_stream_is_keyed_by_position():
    want = draws.uniform_for(6, 0, range(7), 1)[:, 0].tolist()
    for size in (1, 3, 7):
        assert [x for _, numbers in DataLoader(Stream(7), size, seed=6) for x in numbers.tolist()] == want
    assert [x for _, x in DataLoader(Stream(7), None, seed=6)] == want


def test_between_batches_no_loader_is_at_work():
    loader = iter(DataLoader(Drawing(4), seed=0))
    next(loader)
    random.manual_seed(0)
    a = draws.uniform(3, 1)
    order = list(RandomSampler(range(30)))
    random.manual_seed(0)
    assert (a == random.default_generator.numpy.random((3, 1))).all()
    assert order == random.randperm(30).tolist()


def test_indices_that_cannot_be_counted():
    rows = DataLoader(np.arange(10), batch_size=None, sampler=[slice(0, 2), slice(5, 6)])
    assert [x.tolist() for x in rows] == [[0, 1], [5]]
