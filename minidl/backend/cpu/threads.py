"""Sharing work among threads: a kernel cuts its batch into parts, and whichever thread is free takes the next.

NumPy's loops, BLAS and Numba's kernels all release Python's global lock, so plain Python threads run side by side. Where
they call BLAS, it is held to one thread: two that each start threads of their own would only wait for each other.

There are two ways to the same threads. ``share`` calls any Python function with every part. Compiled kernels take their parts
without Python, from a board (``fast/team.py``), which costs far less time; ``team`` says who shall take part.

Results do not depend on who runs what: the cut depends on the number of threads alone, and sums over parts are added in
the order of the parts. The number is ``MINIDL_NUM_THREADS``, else the number of cores that this process may use.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.backend.cpu.compiled import fast_if_loaded

Span = tuple[int, int]  # start and stop
Team = tuple[int, int, int, int]  # see ``team``


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
    return cores()


def cores() -> int:
    """How many cores this process may use."""
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


PIECES = 2  # for each thread: one that is held up for a while then leaves more of them to the others


def spans(length: int, least: float = 1, pieces: int = PIECES, ahead: float = 0) -> list[Span]:
    """Cut ``range(length)`` into even spans, ``pieces`` for each thread, none shorter than ``least``.

    But ``ahead`` is how much the caller does while the others wake up: the first span, which is the caller's, is that much
    longer, as far as the others stay long enough, and at most half as long again.
    """
    parts = count_parts(length, least, pieces)
    first = 0 if parts == 1 else int(min(ahead, 0.5 * length / parts, length - parts * max(1, least)))
    even = length - first
    return [(first * (i > 0) + even * i // parts, first + even * (i + 1) // parts) for i in range(parts)]


def count_parts(length: int, least: float = 1, pieces: int = PIECES) -> int:
    """How many spans ``spans`` makes."""
    return 1 if _count == 1 else max(1, min(_count * pieces, int(length / max(1, least))))


def cut(span: Span, step: int) -> list[Span]:
    """Cut a span into runs of ``step``, the last as long as is left: what one thread does at a time."""
    return [(a, min(a + step, span[1])) for a in range(*span, step)]


# -- the pool ----------------------------------------------------------------------------------------------------------


class _Job:
    """One kernel's parts, to be taken by whoever is free."""

    def __init__(self, function: Callable[[Any], Any], parts: Sequence[Any]) -> None:
        self.function, self.parts = function, parts
        self.results: list[Any] = [None] * len(parts)
        self.errors: dict[int, BaseException] = {}
        self.lock, self.done = threading.Lock(), threading.Lock()
        self.left, self.running = deque(range(len(parts))), 0
        self.done.acquire()
        self.awaited = False

    def work(self, helper: int = 1) -> None:
        """Do parts until none is left. The caller itself (``helper=0``) is not waited for, wherever Ctrl-C may find it."""
        while True:
            with self.lock:
                if not self.left:
                    return
                # From both ends: so each thread tends to get the part whose numbers it made last, and finds them in its cache.
                i = self.left.pop() if helper else self.left.popleft()
                self.running += helper
            try:
                self.results[i] = self.function(self.parts[i])
            except BaseException as error:  # kept for the caller, who raises it
                self.errors[i] = error
            with self.lock:
                self.running -= helper
                if self.errors:
                    self.left.clear()  # the rest is not wanted any more
                if self.awaited and not self.running:
                    self.done.release()

    def wait(self) -> None:
        """Until every part that was begun has ended. A thread of the pool that comes too late finds nothing to do."""
        with self.lock:
            self.left.clear()
            self.awaited = self.running > 0
        if self.awaited:
            self.done.acquire()


class _Role(threading.local):
    in_shard = False  # true where a part runs: what it calls does not share out its own work again


_role = _Role()
_jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()  # None: nothing but to wake up
_workers = 0
_lock = threading.Lock()


def _work(jobs: queue.SimpleQueue[_Job | None], board: int) -> None:
    _role.in_shard = True
    while True:
        job = jobs.get()
        if job is not None:
            job.work()
        del job  # or its arrays would live until the next one comes
        fast = fast_if_loaded()
        if fast is not None and jobs.empty():
            fast.serve(board, PATIENCE)


def _need_workers(count: int) -> None:
    global _workers
    with _lock:
        while _workers < count:
            name = f"minidl-{_workers + 1}"
            threading.Thread(target=_work, args=(_jobs, _board_address), name=name, daemon=True).start()
            _workers += 1


def _after_fork() -> None:
    """A forked child has the parent's memory, but none of its threads: start afresh."""
    global _jobs, _workers, _lock, _board, _board_address
    _jobs, _workers, _lock = queue.SimpleQueue(), 0, threading.Lock()
    _board, _board_address = _new_board()
    _role.in_shard = False
    single_blas.after_fork()


def share(function: Callable[[Any], Any], parts: Sequence[Any]) -> list[Any]:
    """Call ``function`` with every part, in as many threads as there are, and return the results in the order of the parts.

    The calling thread takes part. An error is raised here, after all that was begun has ended; so is Ctrl-C. If the function
    multiplies matrices with NumPy, call it ``with single_blas``.
    """
    if len(parts) == 1 or _count == 1 or _role.in_shard:
        return [function(part) for part in parts]
    helpers = min(_count, len(parts)) - 1
    if _workers < helpers:
        _need_workers(helpers)
    job = _Job(function, parts)
    for _ in range(helpers):
        _jobs.put(job)
    _board[CALLED] += 1  # whoever waits at the board comes to the queue
    _role.in_shard = True
    try:
        job.work(helper=0)
    finally:
        _role.in_shard = False
        job.wait()  # also after Ctrl-C: the others still write to arrays that are in use here
    if job.errors:
        raise job.errors[min(job.errors)]
    return job.results


# -- the board of the compiled kernels -----------------------------------------------------------------------------------

LINE = 64  # bytes from one word to the next: in one cache line they would hinder each other
BOARD = 12  # words
WAITING, CALLED = 0, LINE // 8  # where Python finds two of them: threads that are awake, and calls to the queue of jobs
PATIENCE = 20_000  # looks at the board before a thread goes to sleep: 0.3 to 1 ms, as long as the processor pauses
# To wake a thread costs the caller more time than a small kernel takes, and it goes to sleep again if no other one follows.
WORTH_WAKING = 64  # pieces, of the size that is worth handing to a thread that is awake
CLOSELY = 5e-4  # seconds from one small kernel to the next
IN_A_ROW = 8  # small kernels that followed each other closely: then the next one will, too


def _new_board() -> tuple[memoryview, int]:
    raw = np.zeros(BOARD * LINE // 8 + 7, np.int64)
    board = raw[-raw.ctypes.data % LINE // 8 :]
    return memoryview(board), board.ctypes.data  # type: ignore[arg-type]


_board, _board_address = _new_board()


def team(length: int, least: float = 0, pieces: int = PIECES) -> Team:
    """Who shares the work on ``range(length)``, cut as by ``spans`` (into even ones): the first argument of a compiled kernel.

    Args:
        least: how much of the length is worth handing to a thread that is awake, be it a fraction. One that sleeps is woken
            if there is ``WORTH_WAKING`` times as much, or if such kernels follow closely on each other.

    Returns:
        The address of the board, the number of helpers, the length, and the number of parts.
    """
    if length < 2 * least or length < 2:
        return _board_address, 0, length, 1
    # As ``count_parts``, in line: all this stands before every kernel, however small.
    parts = 1 if _count == 1 else max(1, min(_count * pieces, int(length / least) if least > 1 else length))
    helpers = min(_count, parts) - 1
    asleep = helpers and not _role.in_shard and _board[WAITING] < helpers
    if asleep and (length >= WORTH_WAKING * least or _small.follow_closely()):
        if _workers < helpers:
            _need_workers(helpers)
        if _jobs.qsize() < helpers:
            _jobs.put(None)
    return _board_address, helpers, length, parts


ROW_PART = 1 << 12  # numbers that a thread should have to itself, if it is awake and goes over each a few times


def row_team(x: np.ndarray, part: int = ROW_PART) -> Team:
    """``team`` on the first axis of an array: rows, images or samples; ``part`` numbers are worth handing to a thread."""
    return team(len(x), part * len(x) / max(1, x.size))


class _SmallKernels:
    """Those that found nobody awake: when the last one came, and how many have followed each other closely."""

    last, in_a_row = 0.0, 0

    def follow_closely(self) -> bool:
        now = time.perf_counter()
        self.in_a_row = self.in_a_row + 1 if now - self.last < CLOSELY else 0
        self.last = now
        return self.in_a_row >= IN_A_ROW


_small = _SmallKernels()


def members(team: Team) -> int:
    """How many threads may take part: for so many there must be scratch memory."""
    return team[1] + 1


# -- BLAS --------------------------------------------------------------------------------------------------------------


def _switch(library: Any) -> tuple[Callable[[], int], Callable[[int], Any]]:
    """The functions that read and set a library's number of threads.

    OpenBLAS's own: threadpoolctl lets only one thread of the process set them, the first that did, and ignores the others
    as long as that one lives. Here whoever comes last must be able to restore the number; ``_SingleBlas`` sees to the order.
    """
    if library.internal_api == "openblas" and library.threading_layer != "openmp":
        for name in library.check_symbols:  # "openblas_get_num_threads" with the prefixes and suffixes that occur
            get, set_to = (getattr(library.dynlib, n, None) for n in (name, name.replace("_get_", "_set_")))
            if get is not None and set_to is not None:
                return get, set_to
    return library.get_num_threads, library.set_num_threads


class _SingleBlas:
    """``with single_blas:`` holds BLAS to one thread; it may be entered again and from several threads at once."""

    def __init__(self) -> None:
        self.inside = 0
        self.lock = threading.Lock()
        self.libraries: list[Any] | None = None
        self.switches: list[tuple[Callable[[], int], Callable[[int], Any]]] = []  # for each: read and set its threads
        self.before: list[int] = []

    def find(self) -> list[Any]:
        if self.libraries is None:
            from threadpoolctl import ThreadpoolController

            self.libraries = [lib for lib in ThreadpoolController().lib_controllers if lib.user_api == "blas"]
            self.switches = [_switch(lib) for lib in self.libraries]
        return self.libraries

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.find()
                self.before = [get() for get, _ in self.switches]
                for _, set_to in self.switches:
                    set_to(1)

    def __exit__(self, *exc: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.restore()

    def restore(self) -> None:
        for (_, set_to), count in zip(self.switches, self.before, strict=True):
            set_to(count)

    def after_fork(self) -> None:
        """The fork may have come while another thread was inside: that thread is gone, what it changed is not."""
        self.lock = threading.Lock()
        if self.inside:
            self.inside = 0
            self.restore()


single_blas = _SingleBlas()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
