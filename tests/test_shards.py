"""Streams of samples out of tar archives."""

from __future__ import annotations

import gc
import gzip
import io
import itertools
import json
import os
import pickle
import re
import sys
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minidl.data import DataLoader, SkipSample, draws, sampler, shards
from minidl.data.fetch import EndOfStream, Fetcher, Job
from minidl.data.shard_list import expand_braces, find_shards
from minidl.data.shards import ShardDataset, shuffled, split_name
from minidl.random import Generator
from tests.test_tar import archive

# -- the convention ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("000017.jpg", ("000017", "jpg")),
        ("000017.JPG", ("000017", "jpg")),
        ("a/b.c/01.left.jpg", ("a/b.c/01", "left.jpg")),
        ("./01.cls", ("./01", "cls")),
        ("README", ("README", "")),
        (".hidden.jpg", ("", "")),
        ("a/._01.jpg", ("", "")),
        ("__info__.json", ("__info__", "json")),
        ("__info__", ("", "")),
        ("__a__/01.jpg", ("", "")),
        ("a/__b__/01.jpg", ("a/__b__/01", "jpg")),
        ("__01.jpg", ("__01", "jpg")),
    ],
)
def test_names_are_keys_and_fields(name, expected):
    assert split_name(name) == expected


def jpeg(value: int, mode: str = "RGB", kind: str = "JPEG") -> bytes:
    out = io.BytesIO()
    Image.new(mode, (4, 3), (value,) * len(mode) if len(mode) > 1 else value).save(out, kind)
    return out.getvalue()


def write_shard(path: Path, files, compress: bool = False) -> str:
    content = archive(files)
    path.write_bytes(gzip.compress(content, 1) if compress else content)
    return str(path)


def write_numbers(folder: Path, lengths, index: bool = False, compress: bool = False) -> list[str]:
    """Shards of samples 0, 1, 2, …, which have a field "cls" and a field "txt" with the number times ten."""
    numbers, entries, paths = itertools.count(), [], []
    for i, length in enumerate(lengths):
        files = []
        for n in itertools.islice(numbers, length):
            files += [(f"{n:04d}.cls", str(n).encode()), (f"{n:04d}.txt", str(10 * n).encode())]
        name = f"n-{i:03d}.tar{'.gz' * compress}"
        paths.append(write_shard(folder / name, files, compress))
        entries.append({"url": name, "nsamples": length})
    if index:
        (folder / "shards.json").write_text(json.dumps({"shardlist": entries}))
    return paths


NUMBERS = ("cls", "txt")


def test_samples_of_images(tmp_path):
    files = [
        ("dir", "5"),
        (".DS_Store", b"x"),
        ("b.CLS", b"7\n"),
        ("b.jpg", jpeg(200)),
        ("__meta__/x.jpg", b""),
        ("a.png", jpeg(10, "L", "PNG")),
        ("a.json", b'{"x": [1]}'),
        ("a.cls", b"3"),
        ("README", b"x"),
    ]
    dataset = ShardDataset(write_shard(tmp_path / "x.tar", files))
    (b, label_b), (a, label_a) = dataset
    assert (label_b, label_a) == (7, 3)
    assert b.mode == a.mode == "RGB" and a.getpixel((0, 0)) == (10, 10, 10) and b.size == (4, 3)
    ((image,), _) = ShardDataset(tmp_path / "x.tar", keys=["png;jpg"], decode="pill")
    assert image.mode == "L" and abs(image.getpixel((0, 0)) - 200) <= 1


def test_what_fields_become(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    out = io.BytesIO()
    np.save(out, array)
    fields = {
        "txt": "ä".encode(),
        "json": b"[1, 2]",
        "cls": b"5",
        "ID": b"-7",
        "npy": out.getvalue(),
        "pkl": pickle.dumps(os.getcwd),
        "left.png": jpeg(9, "RGBA", "PNG"),
        "seg.cls": b"4",
    }
    path = write_shard(tmp_path / "x.tar", [(f"d/k.{field}", content) for field, content in fields.items()])
    (sample,) = ShardDataset(path, keys=None)
    assert sample["__key__"] == "d/k" and sample["__url__"] == path
    assert sample["txt"] == "ä" and sample["json"] == [1, 2] and sample["cls"] == 5 and sample["id"] == -7
    assert (sample["npy"] == array).all() and sample["npy"].dtype == np.float32
    assert sample["pkl"] == fields["pkl"]  # never unpickled
    assert sample["left.png"].mode == "RGB" and sample["seg.cls"] == 4
    assert list(ShardDataset(path, keys=("CLS", "__key__"))) == [(5, "d/k")]
    (raw,) = ShardDataset(path, keys=None, decode=None)
    assert {**raw, "ID": raw["id"]} == {**fields, "id": b"-7", "__key__": "d/k", "__url__": path}
    keys = ("cls", "seg.cls", "txt")
    assert list(ShardDataset(path, keys=keys, decode={"cls": len})) == [(1, 1, "ä")]
    assert list(ShardDataset(path, keys=keys, decode={"seg.cls": len})) == [(5, 1, "ä")]
    own = ShardDataset(path, keys=keys, decode=lambda field, content: 0 if field == "cls" else None)
    assert list(own) == [(0, 4, "ä")]
    with pytest.raises(ValueError, match=r"decode should be one of \['pil'"):
        ShardDataset(path, decode="torch")
    with pytest.raises(ValueError, match="decode should be"):
        ShardDataset(path, decode=3)


def test_objects_in_npy_files_are_not_unpickled(tmp_path):
    out = io.BytesIO()
    np.save(out, np.array([{}]), allow_pickle=True)
    path = write_shard(tmp_path / "x.tar", [("a.npy", out.getvalue())])
    with pytest.raises(ValueError, match=r"x.tar!a: cannot decode field 'npy'.*allow_pickle"):
        list(ShardDataset(path, keys=("npy",)))


def test_transforms(tmp_path):
    (path,) = write_numbers(tmp_path, [2])
    dataset = ShardDataset(path, keys=NUMBERS, transform=lambda x: x + 0.5, target_transform=len)
    assert list(dataset) == [(0.5, 1), (1.5, 2)]
    assert list(ShardDataset(path, keys=("cls",), transform=float)) == [(0.0,), (1.0,)]
    assert list(ShardDataset(path, keys=None, transform=lambda d: d["__key__"])) == ["0000", "0001"]
    with pytest.raises(ValueError, match="second field"):
        ShardDataset(path, keys=("cls",), target_transform=len)
    with pytest.raises(TypeError) as caught:
        list(ShardDataset(path, keys=NUMBERS, transform=len))
    assert f"the sample was {path}!0000" in caught.value.__notes__


# -- the order --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 60), st.integers(0, 25), st.integers(0, 3))
def test_the_buffer_gives_everything_once_and_nothing_far_too_early(n, size, seed):
    with sampler.ordering(Generator().manual_seed(seed)):
        out = list(shuffled(iter(range(n)), size))
    assert sorted(out) == list(range(n))
    assert all(value - place < max(size, 1) for place, value in enumerate(out))
    if size < 2:
        assert out == list(range(n))


def test_every_order_of_a_small_buffer_is_as_likely():
    counts = {}
    with sampler.ordering(Generator().manual_seed(0)):
        for _ in range(3000):
            order = tuple(shuffled(iter(range(3)), 5))
            counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6 and min(counts.values()) > 400


def through_fetchers(dataset, workers: int, batch_size: int, seed: int, epoch: int) -> list:
    """The batches of an epoch, as workers beside each other make them, each with its own copy of the dataset."""
    fetchers = [
        Fetcher(pickle.loads(pickle.dumps(dataset)), list, batch_size, False, worker, workers)
        for worker in range(workers)
    ]
    batches = []
    for number in itertools.count():
        batch = fetchers[number % workers].fetch(Job(seed, epoch, number, [], []))
        if batch is EndOfStream:
            return batches
        batches.append(batch)
    raise AssertionError


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(sum),
    st.integers(0, 12),
    st.integers(1, 7),
    st.integers(1, 5),
    st.integers(0, 2**40),
    st.booleans(),
)
def test_any_number_of_workers_makes_the_same_batches(
    tmp_path_factory, lengths, size, batch_size, workers, seed, packed
):
    paths = write_numbers(tmp_path_factory.mktemp("s"), lengths, compress=packed)
    dataset = ShardDataset(paths, shuffle=size, keys=NUMBERS)
    batches = through_fetchers(dataset, workers, batch_size, seed, epoch=3)
    assert batches == through_fetchers(dataset, 1, batch_size, seed, epoch=3)
    samples = [sample for batch in batches for sample in batch]
    assert sorted(samples) == [(n, str(10 * n)) for n in range(sum(lengths))]
    if size == 0:
        assert samples == sorted(samples)
    assert all(len(batch) == batch_size for batch in batches[:-1])


def epochs(dataset, count=2, **arguments) -> list:
    loader = DataLoader(dataset, batch_size=7, **arguments)
    return [[x.tolist() for x, _ in loader] for _ in range(count)]


def test_the_order_follows_from_seed_and_epoch(tmp_path):
    dataset = ShardDataset(write_numbers(tmp_path, [10] * 5), shuffle=12, keys=NUMBERS)
    first, second = epochs(dataset, seed=0)
    assert epochs(dataset, seed=0) == [first, second]
    assert first != second and epochs(dataset, 1, seed=1) != [first]
    flat = [n for batch in first for n in batch]
    assert sorted(flat) == list(range(50))
    tens = [n // 10 for n in flat]
    assert sorted(tens) != tens and sorted(tens)[::-1] != tens  # the shards are shuffled too
    shards_only = ShardDataset(dataset.shards, shuffle=1, keys=NUMBERS)
    flat = [n for batch in epochs(shards_only, 1, seed=0)[0] for n in batch]
    assert flat != sorted(flat) and all(b == a + 1 for a, b in itertools.pairwise(flat) if b % 10)


def test_workers_of_a_loader(tmp_path):
    dataset = ShardDataset(write_numbers(tmp_path, [9] * 5), shuffle=12, keys=NUMBERS, transform=Noisy())
    expected = epochs(dataset, seed=4)
    assert len(expected[0]) == 7
    for workers in (1, 2, 4):
        assert epochs(dataset, seed=4, num_workers=workers) == expected


class Noisy:
    """Adds a random number that belongs to the sample."""

    def __call__(self, x):
        return x + draws.uniform(1, 1)[0, 0]


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_in_the_middle(tmp_path, workers):
    dataset = ShardDataset(write_numbers(tmp_path, [9] * 3), shuffle=8, keys=NUMBERS, transform=Noisy())
    loader = DataLoader(dataset, batch_size=4, seed=2, num_workers=workers)
    loader.set_epoch(1)
    states, batches = [], []
    for x, _ in loader:
        states.append(loader.state_dict())
        batches.append(x.tolist())
    assert [state["batch"] for state in states] == list(range(1, 8))
    for state in states if workers == 0 else states[2:3]:
        other = DataLoader(dataset, batch_size=4, num_workers=workers)
        other.load_state_dict(state)
        assert [x.tolist() for x, _ in other] == batches[state["batch"] :]


def test_passing_over_reads_nothing(tmp_path, monkeypatch):
    dataset = ShardDataset(write_numbers(tmp_path, [20, 20]), shuffle=10, keys=NUMBERS)
    read = []
    original = shards.read_content
    monkeypatch.setattr(shards, "read_content", lambda f, m, p: read.append(m.name) or original(f, m, p))
    functions = list(dataset.iter_lazily())
    assert len(functions) == 40 and read == []
    functions[3]()
    assert len(read) == 2  # its two fields
    loader = DataLoader(dataset, batch_size=10, seed=0)
    loader.load_state_dict({"seed": 0, "epoch": 0, "batch": 3})
    read.clear()
    assert len(list(loader)) == 1 and len(read) == 20


def test_functions_may_be_called_in_threads_and_later(tmp_path):
    dataset = ShardDataset(write_numbers(tmp_path, [40] * 12), keys=NUMBERS)
    functions = list(dataset.iter_lazily())
    expected = [(n, str(10 * n)) for n in range(480)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda f: f(), functions)) == expected


def test_a_large_buffer_is_drawn_from_everywhere():
    firsts = [set(), set()]
    for seed in range(300):
        with sampler.ordering(Generator().manual_seed(seed)):
            for seen, value in zip(firsts, shuffled(iter(range(100)), 5), strict=False):
                seen.add(value)
    assert firsts == [set(range(5)), set(range(6))]


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks Linux for the open files")
@pytest.mark.parametrize("compress", [False, True])
def test_few_files_are_open_at_a_time(tmp_path, compress):
    dataset = ShardDataset(write_numbers(tmp_path, [3] * 50, compress=compress), shuffle=60, keys=NUMBERS)
    before, most = open_files(), 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # of files that nobody closed
        for _ in dataset:
            most = max(most, open_files() - before)
        assert open_files() == before
        stream = iter(dataset)
        next(stream)
        stream.close()
        assert open_files() == before
        functions = list(dataset.iter_lazily())
        for function in functions:
            function()
        del functions, function
        gc.collect()
        assert open_files() == before
    assert 0 < most <= 9 and not caught


def test_memory_does_not_grow_with_the_stream(tmp_path):
    path = write_shard(tmp_path / "x.tar", [(f"{n}.txt", b"x" * 2000) for n in range(2000)])  # 4 MB

    def peak(times: int) -> int:
        dataset = ShardDataset([path] * times, keys=("txt",), shuffle=50)
        tracemalloc.start()
        for function in itertools.islice(dataset.iter_lazily(), 300 * times):
            function()
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(1)  # what is imported and compiled when it is first used
    once, often = peak(1), peak(4)
    assert often < once + 20_000 and often < 200_000


# -- lengths ----------------------------------------------------------------------------------------------------------


def test_the_length_is_known_from_an_index(tmp_path):
    paths = write_numbers(tmp_path, [4, 5], index=True)
    dataset = ShardDataset(tmp_path, keys=NUMBERS)
    assert dataset.shards == paths and len(dataset) == 9 == len(list(dataset)) and dataset.classes is None
    assert len(ShardDataset(paths[1:] * 2, keys=NUMBERS)) == 10
    assert len(DataLoader(dataset, batch_size=2)) == 5
    index = json.loads((tmp_path / "shards.json").read_text())
    (tmp_path / "shards.json").write_text(json.dumps(index | {"classes": ["a", "b"]}))
    assert ShardDataset(tmp_path).classes == ["a", "b"]
    index["shardlist"][1]["nsamples"] = 6
    (tmp_path / "shards.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"n-001.tar has 5 samples, but shards.json beside it says 6"):
        list(ShardDataset(tmp_path, keys=NUMBERS))
    for text in ("[]", "{", '{"shardlist": [3]}', '{"shardlist": [{"url": "x"}]}'):
        (tmp_path / "shards.json").write_text(text)
        with pytest.raises(ValueError, match=r"shards.json is no index of shards"):
            ShardDataset(paths)


def test_without_an_index_there_is_no_length(tmp_path):
    paths = write_numbers(tmp_path, [4, 5])
    dataset = ShardDataset(paths, keys=NUMBERS)
    with pytest.raises(TypeError, match=r"no shards.json says how many samples .*n-000.tar has"):
        len(dataset)
    assert len(list(dataset)) == 9  # list() asks for a length, too
    with pytest.raises(TypeError):
        len(DataLoader(dataset))
    (tmp_path / "shards.json").write_text('{"shardlist": [{"url": "n-000.tar", "nsamples": 4}]}')
    with pytest.raises(TypeError, match="n-001.tar"):
        len(ShardDataset(paths))
    other = tmp_path / "other"
    other.mkdir()
    elsewhere = write_numbers(other, [4])  # of the same name as one that the index knows
    with pytest.raises(TypeError, match=r"other.*n-000.tar"):
        len(ShardDataset([paths[0], *elsewhere]))


# -- which shards -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("x.tar", ["x.tar"]),
        ("x-{0..2}", ["x-0", "x-1", "x-2"]),
        ("x-{08..11}", ["x-08", "x-09", "x-10", "x-11"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{000..001}{a,b}", ["000a", "000b", "001a", "001b"]),
        ("{a,b{1..2}}", ["a", "b1", "b2"]),
        ("{a}{b,c}{}", ["{a}b{}", "{a}c{}"]),
        ("{a{b,c}}{", ["{ab}{", "{ac}{"]),
        ("{x{1..2},y-{a,b}}.tar", ["x1.tar", "x2.tar", "y-a.tar", "y-b.tar"]),
        ("{a..c}", ["{a..c}"]),
    ],
)
def test_braces(pattern, expected):
    assert expand_braces(pattern) == expected


def test_where_shards_are_found(tmp_path, monkeypatch):
    names = ["t-0.tar", "t-1.tar", "t-2.tar", "odd{1}.tar"]
    paths = [str(tmp_path / name) for name in names]
    for path in paths:
        Path(path).write_bytes(b"")
    t = paths[:3]
    assert find_shards(paths[0]) == t[:1] == find_shards(Path(paths[0]))
    assert find_shards(str(tmp_path / "t-{0..2}.tar")) == t == find_shards(str(tmp_path / "t-*.tar"))
    assert find_shards(paths[3]) == paths[3:]
    assert find_shards([tmp_path / "t-2.tar", str(tmp_path / "t-{0,1}.tar")]) == [t[2], t[0], t[1]]
    assert find_shards(tmp_path) == sorted(paths)
    monkeypatch.chdir(tmp_path)
    assert find_shards("t-?.tar") == names[:3]
    for urls, message in [
        ("t-{0..4}.tar", r"no such shard: t-3.tar \(and 1 others\)"),
        ("u-*.tar", r"no file matches u-\*.tar"),
        ([], "the list of shards is empty"),
    ]:
        with pytest.raises(FileNotFoundError, match=message):
            ShardDataset(urls)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(FileNotFoundError, match="no .tar file in folder nothing"):
        ShardDataset("nothing")
    for url in ("https://host/x-{0..3}.tar", "pipe:cat x.tar"):
        with pytest.raises(ValueError, match="local files only"):
            ShardDataset(url)


# -- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True])
def test_a_truncated_shard(tmp_path, compress):
    (path,) = write_numbers(tmp_path, [6], compress=compress)
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2 if compress else 3 * 2048 + 1024 + 512])
    dataset = ShardDataset(path, keys=NUMBERS)
    seen = []
    with pytest.raises(
        ValueError, match=rf"{re.escape(path)} is truncated.*\(\d samples of this shard were read\)"
    ) as caught:
        for sample in dataset:
            seen.append(sample)
    assert f"({len(seen)} samples" in str(caught.value)
    assert seen == [(n, str(10 * n)) for n in range(len(seen))] and (compress or len(seen) == 3)
    with pytest.raises(ValueError, match="is truncated"):
        list(DataLoader(dataset, batch_size=2, num_workers=2))


def test_a_shard_that_shrinks_while_it_is_read(tmp_path):
    (path,) = write_numbers(tmp_path, [3])
    *_, last = ShardDataset(path, keys=NUMBERS).iter_lazily()
    Path(path).write_bytes(Path(path).read_bytes()[:1000])
    with pytest.raises(ValueError, match=rf"{re.escape(path)} is truncated: '0002.cls' has 0 bytes of 1"):
        last()


def test_a_missing_shard(tmp_path):
    paths = write_numbers(tmp_path, [3, 3])
    dataset = ShardDataset(paths, keys=NUMBERS)
    os.remove(paths[1])
    with pytest.raises(FileNotFoundError, match="n-001.tar"):
        list(dataset)


def test_fields_that_are_missing_or_come_twice(tmp_path):
    path = write_shard(tmp_path / "x.tar", [("d/a.txt", b"1"), ("d/a.json", b"1"), ("d/b.cls", b"1")])
    for on_error in ("raise", "skip"):
        dataset = ShardDataset(path, keys=("cls;id", "txt"), on_error=on_error)
        with pytest.raises(
            ValueError, match=rf"{re.escape(path)}!d/a: there is no field cls or id; it has \['json', 'txt'\]"
        ):
            list(dataset)
    path = write_shard(tmp_path / "x.tar", [("a.txt", b"1"), ("a.TXT", b"2")])
    with pytest.raises(ValueError, match=rf"{re.escape(path)}!a: field 'txt' comes twice \(0 samples"):
        list(ShardDataset(path, keys=("txt",)))
    path = write_shard(tmp_path / "x.tar", [("README", b"1")])
    with pytest.raises(ValueError, match=rf"there is no sample in 1 shards; the first is {re.escape(path)}"):
        list(ShardDataset(path, keys=("txt",)))


def damaged_images(tmp_path) -> str:
    files = []
    for n in range(12):
        content = jpeg(n)
        if n in (4, 5, 9):
            content = [content[:100], b"", b"hello"][n % 3]
        files += [(f"{n}.jpg", content), (f"{n}.cls", str(n).encode())]
    return write_shard(tmp_path / "x.tar", files)


def test_an_image_that_cannot_be_decoded(tmp_path):
    path = damaged_images(tmp_path)
    with pytest.raises(ValueError, match=rf"{re.escape(path)}!4: cannot decode field 'jpg' of 0 bytes"):
        list(ShardDataset(path))
    path = write_shard(tmp_path / "x.tar", [("a.cls", b"cat")])
    with pytest.raises(
        ValueError, match=rf"{re.escape(path)}!a: cannot decode field 'cls' of 3 bytes: invalid literal.*b'cat'"
    ):
        list(ShardDataset(path, keys=("cls",)))


def test_samples_that_cannot_be_decoded_may_be_left_out(tmp_path):
    dataset = ShardDataset(damaged_images(tmp_path), on_error="skip")
    with pytest.warns(UserWarning, match=r"leaves out .*x.tar!4: cannot decode field 'jpg'") as caught:
        labels = [label for _, label in dataset]
    assert labels == [0, 1, 2, 3, 6, 7, 8, 10, 11] and dataset.skipped == 3 and len(caught) == 1
    for workers, skipped in ((0, 6), (2, 9)):
        loader = DataLoader(dataset, 4, num_workers=workers, collate_fn=lambda samples: [label for _, label in samples])
        assert list(loader) == [[0, 1, 2, 3], [6, 7], [8, 10, 11]]
        assert dataset.skipped == skipped  # workers tell of theirs
    with pytest.raises(SkipSample, match="x.tar!4"):
        list(dataset.iter_lazily())[4]()
    with pytest.raises(ValueError, match='"raise" or "skip"'):
        ShardDataset(dataset.shards, on_error="ignore")


@pytest.mark.parametrize("shuffle", [-1, True, 1.5])
def test_the_size_of_the_buffer_is_checked(tmp_path, shuffle):
    with pytest.raises(ValueError, match="shuffle should be a number of samples"):
        ShardDataset(write_numbers(tmp_path, [1]), shuffle=shuffle)


@pytest.mark.parametrize("keys", ["jpg cls", ()])
def test_keys_are_checked(tmp_path, keys):
    with pytest.raises(ValueError, match="keys should be a sequence of fields"):
        ShardDataset(write_numbers(tmp_path, [1]), keys=keys)


def test_it_can_be_pickled(tmp_path):
    dataset = ShardDataset(write_numbers(tmp_path, [3]), keys=NUMBERS, shuffle=2)
    list(dataset)
    content = pickle.dumps(dataset)
    assert len(content) < 1000 and len(list(pickle.loads(content))) == 3
    assert "1 shards" in repr(dataset) and sys.getsizeof(content)
