"""Sharing work among threads: a kernel cuts its batch into as many parts as there are threads, and each part runs alone.

NumPy's loops, BLAS and Numba's kernels all release Python's global lock, so plain Python threads run side by side. While
they do, BLAS is held to one thread: two shards that each start threads of their own would only wait for each other.

Results do not depend on who runs what: the cut depends on the number of threads alone, and sums over shards are added in
the order of the shards. The number is ``MINIDL_NUM_THREADS``, else the number of cores that this process may use.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

Span = tuple[int, int]  # start and stop


def _default_count() -> int:
    given = os.environ.get("MINIDL_NUM_THREADS", "").strip()
    if given:
        try:
            count = int(given)
        except ValueError:
            count = 0
        if count < 1:
            raise ValueError(f"MINIDL_NUM_THREADS must be a positive whole number, got {given!r}")
        return count
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


_count = _default_count()


def get_num_threads() -> int:
    """Return how many threads share the work of one kernel."""
    return _count


def set_num_threads(count: int) -> None:
    """Let ``count`` threads share the work of one kernel (default: ``MINIDL_NUM_THREADS``, else the cores at hand).

    Results may differ between counts by rounding; with one count they are the same bit for bit.

    Raises:
        ValueError: if ``count`` is not a positive whole number.
    """
    global _count
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"set_num_threads expects a positive whole number, got {count!r}")
    _count = count


def spans(length: int, least: int = 1) -> list[Span]:
    """Cut ``range(length)`` into as many even spans as there are threads, none shorter than ``least``."""
    parts = max(1, min(_count, length // max(1, least)))
    bounds = [length * i // parts for i in range(parts + 1)]
    return list(zip(bounds[:-1], bounds[1:], strict=True))


# -- the pool ----------------------------------------------------------------------------------------------------------


class _Task:
    """One call for the pool, and how its caller learns that it is done."""

    __slots__ = ("argument", "done", "error", "function", "result")

    def __init__(self, function: Callable[[Any], Any], argument: Any) -> None:
        self.function, self.argument = function, argument
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()

    def run(self) -> None:
        try:
            self.result = self.function(self.argument)
        except BaseException as error:  # handed to the caller, who raises it
            self.error = error
        finally:
            self.done.release()


class _Role(threading.local):
    in_shard = False  # true where a shard runs: what it calls does not share out its own work again


_role = _Role()
_tasks: queue.SimpleQueue[_Task] = queue.SimpleQueue()
_workers = 0
_lock = threading.Lock()


def _work(tasks: queue.SimpleQueue[_Task]) -> None:
    _role.in_shard = True
    while True:
        task = tasks.get()
        task.run()
        del task  # or its arrays would live until the next one comes


def _need_workers(count: int) -> None:
    global _workers
    with _lock:
        while _workers < count:
            threading.Thread(target=_work, args=(_tasks,), name=f"minidl-{_workers}", daemon=True).start()
            _workers += 1


def _after_fork() -> None:
    """A forked child has the parent's memory, but none of its threads: start afresh."""
    global _tasks, _workers, _lock
    _tasks, _workers, _lock = queue.SimpleQueue(), 0, threading.Lock()
    _role.in_shard = False
    single_blas.after_fork()


def share(function: Callable[[Any], Any], parts: Sequence[Any]) -> list[Any]:
    """Call ``function`` with every part, each in a thread of its own, and return the results in the order of the parts.

    The calling thread takes the first part. An error in any part is raised here, after all have ended.
    """
    if len(parts) == 1 or _role.in_shard:
        with single_blas:
            return [function(part) for part in parts]
    if _workers < len(parts) - 1:
        _need_workers(len(parts) - 1)
    with single_blas:
        tasks = [_Task(function, part) for part in parts[1:]]
        for task in tasks:
            _tasks.put(task)
        _role.in_shard = True
        try:
            results = [function(parts[0])]
        finally:
            _role.in_shard = False
            for task in tasks:  # also after an error or Ctrl-C: the others still write to arrays that are in use here
                task.done.acquire()
    for task in tasks:
        if task.error is not None:
            raise task.error
        results.append(task.result)
    return results


# -- BLAS --------------------------------------------------------------------------------------------------------------


class _SingleBlas:
    """``with single_blas:`` holds BLAS to one thread; it may be entered again and from several threads at once."""

    def __init__(self) -> None:
        self.inside = 0
        self.lock = threading.Lock()
        self.libraries: list[Any] | None = None
        self.before: list[int] = []

    def find(self) -> list[Any]:
        if self.libraries is None:
            from threadpoolctl import ThreadpoolController

            self.libraries = [lib for lib in ThreadpoolController().lib_controllers if lib.user_api == "blas"]
        return self.libraries

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                libraries = self.find()
                self.before = [lib.get_num_threads() for lib in libraries]
                for lib in libraries:
                    lib.set_num_threads(1)

    def __exit__(self, *exc: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                for lib, count in zip(self.libraries or (), self.before, strict=True):
                    lib.set_num_threads(count)

    def after_fork(self) -> None:
        """The fork may have come while another thread was inside: that thread is gone, what it changed is not."""
        self.lock = threading.Lock()
        if self.inside:
            self.inside = 0
            for lib, count in zip(self.libraries or (), self.before, strict=True):
                lib.set_num_threads(count)


single_blas = _SingleBlas()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
