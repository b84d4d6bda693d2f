"""The DataLoader's worker processes: the same batches as without them, and an end in every situation."""

from __future__ import annotations

import errno
import gc
import glob
import multiprocessing
import os
import random as python_random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl
from minidl.data import DataLoader, Dataset, IterableDataset, SkipSample, TensorDataset, draws, get_worker_info, shared

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
METHODS = multiprocessing.get_all_start_methods()
fork = pytest.mark.skipif(
    "fork" not in METHODS, reason="the dataset is made in the test, and reaches workers by a fork"
)


def left_behind() -> list[str]:
    """Shared memory and processes of loaders that are still there."""
    gc.collect()
    children = [p.name for p in multiprocessing.active_children() if p.name.startswith("minidl-worker")]
    return glob.glob(f"/dev/shm/minidl-{os.getpid()}-*") + children


@pytest.fixture(autouse=True)
def _nothing_is_left_behind():
    yield
    assert left_behind() == []


class Numbers(Dataset):
    """Sample i: an array and numbers drawn in three ways, the index, and a text."""

    def __init__(self, n: int, size: int = 400) -> None:
        self.n = n
        self.size = size

    def __getitem__(self, index):
        drawn = draws.uniform(1, 3)[0]
        return np.full(self.size, index, np.float32) + drawn[0], index, {"of": f"sample {index}", "own": minidl.rand(2)}

    def __len__(self):
        return self.n


class WholeBatches(Numbers):
    def __getitems__(self, indices):
        images = np.full((len(indices), 3, 8, 8), 1.0) * np.array(indices)[:, None, None, None]
        images += draws.uniform(len(indices), 1)[:, :, None, None]
        return np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2), np.array(indices)


class Keyed(Numbers):
    """Any worker may make any batch."""

    def __getitem__(self, index):
        return super().__getitem__(index)

    def __keyed__(self):
        return True


class Lazy(IterableDataset):
    """A stream whose samples are functions."""

    def __init__(self, n: int) -> None:
        self.n = n

    def iter_lazily(self):
        for i in range(self.n):
            yield lambda i=i: (np.full(100, i), draws.uniform(1, 2)[0])

    def __iter__(self):
        return (sample() for sample in self.iter_lazily())


class Divided(IterableDataset):
    """A stream of which each worker takes its part, as in PyTorch."""

    def __iter__(self):
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(first, 23, step))


def plain(x):
    """A batch as something that can be compared, and that shares no memory with it."""
    if isinstance(x, (minidl.Tensor, np.ndarray)):
        array = np.asarray(x)
        return array.dtype.str, array.shape, array.tobytes()
    if isinstance(x, (list, tuple)):
        return [plain(part) for part in x]
    return {key: plain(part) for key, part in x.items()} if isinstance(x, dict) else x


def epochs(loader, n=2):
    return [[plain(batch) for batch in loader] for _ in range(n)]


# -- the same data, always ---------------------------------------------------------------------------------------------


@fork
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_the_number_of_workers_changes_nothing(data) -> None:
    draw = data.draw
    kind = draw(st.sampled_from([Numbers, WholeBatches, Keyed, Lazy]))
    options = {
        "batch_size": draw(st.integers(1, 9)),
        "drop_last": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**63)),
        "shuffle": draw(st.booleans()) if kind is not Lazy else None,
    }
    dataset = kind(draw(st.integers(1, 40)))
    expected = epochs(DataLoader(dataset, **options))
    for workers in (1, 2, 4):
        more = {"persistent_workers": draw(st.booleans()), "prefetch_factor": draw(st.sampled_from([None, 1, 3]))}
        loader = DataLoader(dataset, num_workers=workers, multiprocessing_context="fork", **options, **more)
        assert epochs(loader) == expected


@fork
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_a_loader_continues_in_the_middle_of_an_epoch(data) -> None:
    draw = data.draw
    dataset = draw(st.sampled_from([Numbers, WholeBatches, Keyed, Lazy]))(draw(st.integers(5, 40)))
    options = {"batch_size": draw(st.integers(1, 5)), "shuffle": None if isinstance(dataset, Lazy) else True}
    workers, others = draw(st.sampled_from([0, 1, 3])), draw(st.sampled_from([0, 2]))

    def load(workers: int, **more: int) -> DataLoader:
        return DataLoader(
            dataset, num_workers=workers, multiprocessing_context="fork" if workers else None, **options, **more
        )

    expected = epochs(load(0, seed=5), 3)
    loader = load(workers, seed=5)
    list(loader)
    batches = iter(loader)
    taken = draw(st.integers(0, len(expected[1]) - 1))
    for i in range(taken):
        assert plain(next(batches)) == expected[1][i]
    state = loader.state_dict()
    assert state == {"seed": 5, "epoch": 1, "batch": taken}
    other = load(others)
    other.load_state_dict(state)
    assert other.state_dict() == state
    assert [plain(batch) for batch in other] == expected[1][taken:]
    assert other.state_dict() == {"seed": 5, "epoch": 2, "batch": 0}
    assert [plain(batch) for batch in other] == expected[2]
    assert [plain(batch) for batch in batches] == expected[1][taken:]  # the first loader was not disturbed


@pytest.mark.parametrize("method", METHODS)
def test_every_way_to_start_workers(method: str) -> None:
    """After the engine's own threads have worked."""
    (minidl.rand(256, 256) @ minidl.rand(256, 256)).sum()
    expected = epochs(DataLoader(Numbers(21), 4, shuffle=True, seed=3))
    loader = DataLoader(
        Numbers(21), 4, shuffle=True, seed=3, num_workers=2, multiprocessing_context=method, persistent_workers=True
    )
    assert epochs(loader) == expected


@fork
def test_a_stream_that_workers_divide_among_themselves() -> None:
    def batches(workers: int, **more: object) -> list[list[int]]:
        return [b.tolist() for b in DataLoader(Divided(), 4, num_workers=workers, **more)]  # type: ignore[arg-type]

    assert batches(2) == [[0, 2, 4, 6], [1, 3, 5, 7], [8, 10, 12, 14], [9, 11, 13, 15], [16, 18, 20, 22], [17, 19, 21]]
    assert sorted(sum(batches(3, in_order=False), [])) == list(range(23))
    loader = DataLoader(Divided(), 4, num_workers=2)
    first = iter(loader)
    next(first), next(first), next(first)
    again = DataLoader(Divided(), 4, num_workers=2)
    again.load_state_dict(loader.state_dict())
    assert [b.tolist() for b in again] == batches(2)[3:]


@fork
def test_out_of_order_nothing_is_lost_and_a_slow_worker_holds_up_nobody() -> None:
    class Slow(Numbers):
        def __getitem__(self, index):
            if index == 0:
                time.sleep(0.7)
            return index

    loader = DataLoader(Slow(12), 1, num_workers=2, in_order=False)
    order = [int(batch[0]) for batch in loader]
    assert sorted(order) == list(range(12)) and order[-2:] == [0, 2]  # worker 0 had both
    assert [int(b[0]) for b in DataLoader(Slow(12), 1, num_workers=2)] == list(range(12))


@fork
def test_out_of_order_there_is_no_state_in_the_middle_of_an_epoch() -> None:
    loader = DataLoader(Divided(), 4, num_workers=2, in_order=False, seed=1)
    assert loader.state_dict() == {"seed": 1, "epoch": 0, "batch": 0}
    batches = iter(loader)
    next(batches)
    with pytest.raises(RuntimeError, match="epoch 0 has begun and not ended, and with in_order=False"):
        loader.state_dict()
    list(batches)
    assert loader.state_dict() == {"seed": 1, "epoch": 1, "batch": 0}


@fork
def test_two_iterators_of_one_loader_do_not_disturb_each_other() -> None:
    expected = epochs(DataLoader(Numbers(9), 2, shuffle=True, seed=0))
    for persistent in (False, True):
        loader = DataLoader(Numbers(9), 2, shuffle=True, seed=0, num_workers=2, persistent_workers=persistent)
        both = list(zip(loader, loader, strict=True))
        assert [[plain(a) for a, _ in both], [plain(b) for _, b in both]] == expected


@fork
def test_an_abandoned_epoch_leaves_nothing_to_the_next_one() -> None:
    expected = epochs(DataLoader(Numbers(30), 2, shuffle=True, seed=0), 4)
    loader = DataLoader(Numbers(30), 2, shuffle=True, seed=0, num_workers=2, persistent_workers=True)
    for epoch in range(3):
        batches = iter(loader)
        assert [plain(next(batches)) for _ in range(epoch + 1)] == expected[epoch][: epoch + 1]
        del batches
    assert [plain(batch) for batch in loader] == expected[3]


@fork
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_skipped_samples_are_missing_and_nothing_else_changes(workers: int) -> None:
    class Holes(Lazy):
        def iter_lazily(self):
            def sample(i):
                if i in (1, 4, 5, 6, 7):
                    raise SkipSample
                return i

            return ((lambda i=i: sample(i)) for i in range(self.n))

    context = "fork" if workers else None
    loader = DataLoader(Holes(14), 4, num_workers=workers, multiprocessing_context=context)
    assert [b.tolist() for b in loader] == [[0, 2, 3], [8, 9, 10, 11], [12, 13]]
    assert [b.tolist() for b in DataLoader(Holes(14), 4, drop_last=True)] == [[0, 2, 3], [8, 9, 10, 11]]
    batches = iter(loader)
    next(batches), next(batches)
    state = loader.state_dict()
    assert state["batch"] == 3  # the empty one counts
    loader.load_state_dict(state)
    assert [b.tolist() for b in loader] == [[12, 13]]


# -- memory ------------------------------------------------------------------------------------------------------------


@fork
def test_batches_may_be_kept_and_written_to() -> None:
    loader = DataLoader(Numbers(64, size=5000), 4, num_workers=2, seed=0)
    kept = list(loader)
    for i, (x, _, _) in enumerate(kept):
        x += i
    expected = [x.numpy() + i for i, (x, _, _) in enumerate(DataLoader(Numbers(64, size=5000), 4, seed=0))]
    assert all((a.numpy() == b).all() for (a, _, _), b in zip(kept, expected, strict=True))
    assert left_behind() == []  # the batches are still there, and no name of their memory


@fork
@pytest.mark.parametrize("persistent", [False, True])
def test_memory_and_files_stay_flat_over_fifty_epochs(persistent: bool) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc here")
    loader = DataLoader(Numbers(16, size=1 << 16), 4, num_workers=2, persistent_workers=persistent)  # 1 MiB a batch
    for epoch in range(50):
        for x, _, _ in loader:
            float(x.array[0, 0])
        if epoch == 9:
            memory, files = resident(), len(os.listdir("/proc/self/fd"))
    assert resident() - memory < 4 << 20 and len(os.listdir("/proc/self/fd")) <= files
    del loader


def test_memory_that_has_become_too_small_is_given_up() -> None:
    folder = shared.make_folder()
    sender, receiver = shared.Sender(folder, "0"), shared.Receiver()
    for size in (1 << 12, 1 << 14, 1 << 16, 1 << 13):
        batch = receiver.unpack(sender.pack([np.full(size, size), "text"]))
        assert (batch[0] == size).all() and batch[1] == "text"
        assert list(sender.blocks) == list(receiver.blocks) and len(sender.blocks) == 1
        del batch
        sender.take_back(receiver.take_freed())
    assert [len(block) for block in sender.blocks.values()] == [8 << 16]
    shared.remove_folder(folder)


def test_a_batch_that_failed_or_did_not_fit_costs_no_memory() -> None:
    folder = shared.make_folder()
    sender, receiver = shared.Sender(folder, "0"), shared.Receiver()

    def build(*sizes: int) -> list[np.ndarray]:
        with sender.placing():
            return [shared.new_batch((n,), np.dtype("f8")) for n in sizes]

    build(1000)  # and is never sent
    arrays = build(1000, 100_000)  # the second one has no room beside the first
    arrays[0][:], arrays[1][:] = 1, 2
    first, second = receiver.unpack(sender.pack(arrays))
    assert (first == 1).all() and (second == 2).all()
    assert len(sender.blocks) == 1 and list(receiver.blocks) == list(sender.blocks)
    del first, second
    sender.take_back(receiver.take_freed())
    arrays = build(1000, 100_000)
    assert sender.begun is not None and all(map(sender.begun.holds, arrays))  # now there is room for both
    for i, array in enumerate(arrays):
        array[:] = i
    message = sender.pack(arrays)
    assert message.name is None and [array[-1] for array in receiver.unpack(message)] == [0, 1]
    assert folder is None or os.listdir(folder) == []
    shared.remove_folder(folder)


@fork
def test_what_is_no_array_travels_too_however_large() -> None:
    class Texts(Numbers):
        def __getitem__(self, index):
            return "x" * 50_000 + str(index), np.float64(index), np.zeros(0), None if index < 0 else (index, "y")

    (batch,) = DataLoader(Texts(3), 3, num_workers=1)
    assert batch[0][2] == "x" * 50_000 + "2" and batch[1].tolist() == [0, 1, 2] and batch[2].shape == (3, 0)
    dates = DataLoader(Numbers(3), 3, num_workers=1, collate_fn=lambda samples: {"n": len(samples), "a": samples[0][0]})
    (other,) = dates
    assert other["n"] == 3 and type(other["a"]) is np.ndarray


@fork
def test_the_layout_in_memory_is_kept() -> None:
    """Convolutions want the channels last in memory."""
    (images, _), *_ = DataLoader(WholeBatches(8), 8, num_workers=1)
    assert images.shape == (8, 3, 8, 8) and images.array.transpose(0, 2, 3, 1).flags.c_contiguous


@fork
def test_a_collate_function_may_keep_what_it_has_collated() -> None:
    """Only what ``default_collate`` itself hands to the loader is built in memory that is used again."""
    kept = []

    def collate(samples):
        kept.append(minidl.data.default_collate([sample[0] for sample in samples]))
        return kept[-1], np.array([float(k.array[0, 0]) for k in kept])

    firsts = [float(x.array[0, 0]) for x, _ in DataLoader(Numbers(20), 2, seed=0, collate_fn=collate)]
    kept.clear()
    for _, seen in DataLoader(Numbers(20), 2, seed=0, collate_fn=collate, num_workers=1):
        last = np.asarray(seen).tolist()  # the batch before is gone by now, and its memory is used again
    assert last == firsts


@fork
def test_a_full_dev_shm_is_no_obstacle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    create = shared._create_file

    def full(path: str, size: int):
        if "/shm/" in path:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        return create(path, size)

    monkeypatch.setattr(shared, "_create_file", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert epochs(DataLoader(Numbers(9), 2, num_workers=2, seed=0)) == epochs(DataLoader(Numbers(9), 2, seed=0))
    assert list(tmp_path.iterdir()) == []


# -- when things break -------------------------------------------------------------------------------------------------


class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(one, two)


class Failing(Numbers):
    """Does something bad at sample 5."""

    def __init__(self, action) -> None:
        super().__init__(40)
        self.action = action

    def __getitem__(self, index):
        if index == 5:
            self.action()
        return index


def run_through(dataset: Dataset, **options: object) -> float:
    """Seconds until the loader with two workers has raised."""
    begin = time.monotonic()
    try:
        for _ in DataLoader(dataset, 2, num_workers=2, **options):  # type: ignore[arg-type]
            pass
    finally:
        took = time.monotonic() - begin
        assert left_behind() == []  # at once, though the exception holds the frames
    return took


def fail(error: Exception):
    def guilty_function():
        raise error

    return guilty_function


@fork
@pytest.mark.parametrize("error", [ValueError("seven is no number"), KeyError("left"), ZeroDivisionError(), Odd(1, 2)])
@pytest.mark.parametrize("persistent", [False, True])
def test_an_exception_arrives_with_its_traceback_sample_and_worker(error: Exception, persistent: bool) -> None:
    loader = DataLoader(Failing(fail(error)), 2, num_workers=2, persistent_workers=persistent)
    expected = RuntimeError if isinstance(error, Odd) else type(error)
    with pytest.raises(expected) as caught:
        list(loader)
    message = str(caught.value)
    assert f"Caught {type(error).__name__} in DataLoader worker process 0." in message  # batch 2 is worker 0's
    assert "in guilty_function\n" in message and str(error) in message
    assert "minidl: while fetching sample 5 (batch 2 of epoch 0)" in message
    del caught, loader


def test_without_workers_the_exception_itself_says_which_sample() -> None:
    with pytest.raises(ValueError, match="no number") as caught:
        list(DataLoader(Failing(fail(ValueError("no number"))), 2))
    assert caught.value.__notes__ == ["minidl: while fetching sample 5 (batch 2 of epoch 0)"]


@fork
def test_an_exception_keeps_its_attributes() -> None:
    error = LookupError("no such file")
    error.path, error.lock = "a.png", threading.Lock()  # type: ignore[attr-defined]  (and a lock cannot be sent)
    with pytest.raises(LookupError) as caught:
        run_through(Failing(fail(error)))
    assert vars(caught.value) == {"path": "a.png"}


@fork
@pytest.mark.parametrize("workers", [0, 2])
def test_stop_iteration_does_not_pass_for_the_end(workers: int) -> None:
    def collate(samples):
        return next(index for _, index, _ in samples if index < 4)

    message = r"while fetching sample{} \(batch 2 of epoch 0\)"
    with pytest.raises(RuntimeError, match=message.format(" 5")):
        list(DataLoader(Failing(fail(StopIteration())), 2, num_workers=workers))
    with pytest.raises(RuntimeError, match=message.format("s 4, 5")):
        list(DataLoader(Numbers(6), 2, num_workers=workers, collate_fn=collate))


@fork
def test_an_exception_that_is_no_module_s_is_one_that_it_is_derived_from() -> None:
    class Local(LookupError):
        pass

    class Alone(Exception):
        pass

    for error, expected in ((Local("here"), LookupError), (Alone("here"), RuntimeError)):
        with pytest.raises(expected, match=rf"in DataLoader worker process 0(.|\n)*{type(error).__name__}: here"):
            run_through(Failing(fail(error)))


@fork
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by signal SIGKILL .*memory runs out"),
        (lambda: os.kill(os.getpid(), signal.SIGUSR1), "was killed by signal SIGUSR1"),
        (lambda: os._exit(7), "ended with exit code 7"),
        (lambda: sys.exit(3), "ended with exit code 3"),
    ],
)
def test_a_worker_that_dies_is_reported_at_once(action, message: str) -> None:
    pattern = rf"DataLoader worker 0 \(pid \d+\) {message}.*batch 2 of epoch 0 \(samples 4, 5\)"
    with pytest.raises(RuntimeError, match=pattern):
        run_through(Failing(action), persistent_workers=True)
    begin = time.monotonic()
    with pytest.raises(RuntimeError, match=pattern):
        run_through(Failing(action))
    assert time.monotonic() - begin < 5


@fork
def test_a_worker_that_is_not_waited_for_is_noticed_too() -> None:
    """Worker 1 dies, while worker 0 has the next batch and takes its time."""

    class Dying(Numbers):
        def __getitem__(self, index):
            if index == 2:
                os._exit(1)
            if index == 0:
                time.sleep(30)
            return index

    begin = time.monotonic()
    with pytest.raises(RuntimeError, match=r"DataLoader worker 1 \(pid \d+\) ended with exit code 1"):
        run_through(Dying(8))
    assert time.monotonic() - begin < 5


@fork
@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space")
def test_a_worker_that_runs_out_of_memory_is_reported() -> None:
    import resource

    def limit(worker: int) -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), used + (64 << 20)))

    with pytest.raises(MemoryError, match="worker process 0(.|\n)*sample 5"):
        run_through(Failing(lambda: np.ones(1 << 28)), worker_init_fn=limit)


@fork
@pytest.mark.parametrize("stubborn", [False, True])
def test_a_worker_that_hangs_is_given_up_after_the_timeout(stubborn: bool) -> None:
    def hang() -> None:
        if stubborn:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)

    begin = time.monotonic()
    with pytest.raises(
        RuntimeError, match=r"timed out after 0.5 seconds, waiting for worker 0 \(pid \d+\) on batch 2 of epoch 0"
    ):
        run_through(Failing(hang), timeout=0.5)
    assert time.monotonic() - begin < 6


@fork
def test_a_failing_worker_init_fn_is_reported() -> None:
    with pytest.raises(ZeroDivisionError, match=r"worker process 0(.|\n)*1 / 0"):
        run_through(Numbers(8), worker_init_fn=lambda worker: 1 / 0)
    with pytest.raises(RuntimeError, match="Caught StopIteration in DataLoader worker process 0"):
        run_through(Numbers(8), worker_init_fn=lambda worker: next(iter(())))


@fork
def test_what_a_worker_knows_of_itself() -> None:
    class Telling(Numbers):
        def __getitem__(self, index):
            info = get_worker_info()
            return info.id, info.num_workers, info.seed, info.dataset is self, self.told, minidl.get_num_threads()

    def tell(worker: int) -> None:
        get_worker_info().dataset.told = 10 + worker

    assert get_worker_info() is None
    loader = DataLoader(Telling(4), 1, num_workers=2, worker_init_fn=tell)
    rows = [[part.item() for part in batch] for batch in loader]
    first = rows[0][2]
    assert rows == [[w, 2, first + w, True, 10 + w, 1] for w in (0, 1, 0, 1)]


class DrawingElsewhere(Numbers):
    """Sample i: the worker's seed, and numbers that a dataset may draw without a loader's knowledge."""

    def __getitem__(self, index):
        return get_worker_info().seed, python_random.random(), np.random.rand(), minidl.default_generator.numpy.random()


class Permuting(IterableDataset):
    """Draws the order when it is begun."""

    def __iter__(self):
        return iter(minidl.randperm(8).tolist())


@fork
@pytest.mark.parametrize("dataset", [DrawingElsewhere(3), Permuting()])
def test_workers_draw_anew_in_each_epoch_whether_they_are_kept_or_not(dataset: Dataset) -> None:
    def drawn(persistent: bool) -> list[object]:
        loader = DataLoader(dataset, None, num_workers=2, persistent_workers=persistent, seed=5)
        epochs = []
        for epoch in (0, 1, 1, 2):
            loader.set_epoch(epoch)
            epochs.append(list(loader))
        return epochs

    zero, one, again, two = fresh = drawn(persistent=False)
    assert drawn(persistent=True) == fresh
    assert zero != one == again != two != zero


@fork
def test_workers_differ_in_what_they_draw_by_other_means() -> None:
    class Other(Numbers):
        def __getitem__(self, index):
            return np.random.rand(), python_random.random()

    values = [v.item() for batch in DataLoader(Other(2), 1, num_workers=2, seed=0) for v in batch]
    assert len(set(values)) == 4
    assert values == [v.item() for batch in DataLoader(Other(2), 1, num_workers=2, seed=0) for v in batch]


def test_a_dataset_that_cannot_be_pickled_is_refused_where_it_must_be() -> None:
    dataset = TensorDataset(minidl.arange(4))
    dataset.bad = lambda: 0  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="pickle"):
        list(DataLoader(dataset, num_workers=1, multiprocessing_context="spawn"))


SCRIPT = """
import os, signal, sys, time
from minidl.data import DataLoader, Dataset
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
class Slow(Dataset):
    def __len__(self): return 1000
    def __getitem__(self, index):
        if index == 9: time.sleep({sleep})
        return index
if __name__ == "__main__":
    loader = DataLoader(Slow(), 3, num_workers=2, persistent_workers={persistent})
    batches = iter(loader)
    next(batches)
    pool = batches.batches.pool
    print(pool.folder, *[p.pid for p in pool.processes], flush=True)
    {then}
"""


def end_of(
    code: str, send: signal.Signals | None, group: bool
) -> tuple[subprocess.CompletedProcess, float, list[int], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    folder, *pids = process.stdout.readline().split()
    begin = time.monotonic()
    if send is not None:
        time.sleep(0.3)
        (os.killpg if group else os.kill)(process.pid, send)
    out, err = process.communicate(timeout=30)
    took = time.monotonic() - begin
    return subprocess.CompletedProcess([], process.returncode, out, err), took, list(map(int, pids)), folder


def gone(pids: list[int]) -> bool:
    for _ in range(50):
        if not any(_exists(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False


def _exists(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@linux
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("group", [True, False])
def test_ctrl_c_ends_everything_at_once(persistent: bool, group: bool) -> None:
    """The terminal sends it to the workers too; a notebook only to the main process."""
    code = SCRIPT.format(sleep=60, persistent=persistent, then="for batch in batches: pass")
    done, took, pids, folder = end_of(code, signal.SIGINT, group)
    assert took < 4 and gone(pids) and not Path(folder).exists()
    assert done.stderr.count("Traceback") == 1 and done.stderr.rstrip().endswith("KeyboardInterrupt")


@linux
@pytest.mark.parametrize("then", ["sys.exit(0)", "raise ValueError('mine')", "del batches, loader; sys.exit(0)"])
def test_a_program_that_ends_in_the_middle_ends_its_workers(then: str) -> None:
    done, took, pids, folder = end_of(SCRIPT.format(sleep=60, persistent=True, then=then), None, False)
    assert took < 4 and gone(pids) and not Path(folder).exists()
    assert "mine" in done.stderr if "mine" in then else done.stderr == ""


@linux
def test_workers_do_not_outlive_a_killed_main_process() -> None:
    code = SCRIPT.format(sleep=60, persistent=False, then="time.sleep(60)")
    _, _, pids, folder = end_of(code, signal.SIGKILL, False)
    assert gone(pids) and not Path(folder).exists()
