"""The main process's side of the workers: starts them, hands out jobs, takes batches, notices when one dies, ends them."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
import time
import warnings
import weakref
from collections import deque
from collections.abc import Iterator
from multiprocessing import connection
from typing import Any

from minidl.data import skipped, worker
from minidl.data.fetch import EndOfStream, Job, NoBatch
from minidl.data.shared import Message, Receiver, make_folder, remove_folder

PATIENCE = 2.0  # seconds that a worker gets to end by itself, and then by SIGTERM


class Pool:
    """Worker processes. ``close`` ends them; so does the end of the program, or of the last reference to the pool.

    Args:
        setups: what each worker is started with; ``folder`` is filled in.
        context: from ``multiprocessing``, or the name of a start method, or None for the system's default.
        timeout: seconds that a batch may take, 0 for any time.
    """

    def __init__(self, setups: list[worker.Setup], context: Any, timeout: float) -> None:
        if context is None or isinstance(context, str):
            context = multiprocessing.get_context(context)
        self.timeout = timeout
        self.dataset = setups[0].dataset
        self.serial = 0  # of the iteration that the workers serve
        self.busy = False
        self.folder = make_folder()
        self.channels: list[Any] = []
        self.processes: list[Any] = []
        self.receivers = [Receiver() for _ in setups]
        self._end = weakref.finalize(self, _end, self.channels, self.processes, self.folder)
        try:
            for setup in setups:
                ours, theirs = context.Pipe()
                self.channels.append(ours)
                others = self.channels if context.get_start_method() == "fork" else []
                process = context.Process(
                    target=worker.run,
                    args=(theirs, list(others), setup._replace(folder=self.folder)),
                    name=f"minidl-worker-{setup.worker}",
                    daemon=True,
                )
                with warnings.catch_warnings():
                    # Python warns of forks in a process with threads. The engine's start anew in the child.
                    warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)
                    process.start()
                theirs.close()
                self.processes.append(process)
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether it can still be used."""
        return self._end.alive

    def close(self) -> None:
        """End the workers, and delete what they left."""
        self._end()

    def send(self, number: int, job: Job) -> None:
        """Give a job to worker ``number``."""
        try:
            self.channels[number].send((self.serial, job, self.receivers[number].take_freed()))
        except OSError:  # its end is closed: it has died, which ``receive`` reports
            pass
        except Exception as error:  # indices that cannot be pickled
            self.close()
            raise TypeError(f"DataLoader: the sampler's indices cannot be sent to a worker: {error}") from error

    def deadline(self) -> float | None:
        """When a batch that is waited for from now on comes too late, by ``time.monotonic``."""
        return time.monotonic() + self.timeout if self.timeout > 0 else None

    def receive(
        self, wanted: list[int], awaited: list[int], jobs: dict[int, Job], deadline: float | None
    ) -> tuple[int, Any]:
        """Wait for a batch of one of the workers ``wanted``.

        Args:
            awaited: for the message of an error, those of which nothing else will do.
            jobs: for the message of an error, the oldest job of each worker.
            deadline: as ``deadline()`` says.

        Returns:
            The worker, and the batch or ``NoBatch`` or ``EndOfStream`` or a ``worker.Failure``.

        Raises:
            RuntimeError: if a worker has died, or the time is over.
        """
        sentinels = {process.sentinel: i for i, process in enumerate(self.processes)}
        while True:
            channels = {self.channels[i]: i for i in wanted}
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = connection.wait([*channels, *sentinels], left)
            if not ready:
                raise self._broken(self._late(awaited, jobs))
            for channel in ready:
                if channel not in channels:
                    continue
                number = channels[channel]
                try:
                    serial, answer, news = self.channels[number].recv()
                except (EOFError, OSError):
                    raise self._broken(self._died(number, jobs)) from None
                if news is not None:
                    skipped.add(self.dataset, news)
                if isinstance(answer, Message):
                    answer = self.receivers[number].unpack(answer)
                if serial == self.serial:  # else of an iteration that was given up
                    return number, answer
            for sentinel in ready:
                if sentinel in sentinels:
                    number = sentinels[sentinel]
                    if number in wanted and self._has_answer(number):
                        continue  # it was sent before the worker died
                    raise self._broken(self._died(number, jobs))

    def _has_answer(self, number: int) -> bool:
        try:
            return self.channels[number].poll()
        except OSError:
            return False

    def _broken(self, error: RuntimeError) -> RuntimeError:
        self.close()
        return error

    def _late(self, awaited: list[int], jobs: dict[int, Job]) -> RuntimeError:
        workers = ", ".join(f"{i} (pid {self.processes[i].pid}) on {_describe(jobs.get(i))}" for i in awaited)
        return RuntimeError(
            f"DataLoader timed out after {self.timeout:g} seconds, waiting for worker {workers}. Either it hangs, or a batch "
            "takes longer than that (timeout=)."
        )

    def _died(self, number: int, jobs: dict[int, Job]) -> RuntimeError:
        process = self.processes[number]
        process.join(PATIENCE)
        code = process.exitcode
        if code is not None and code < 0:
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = str(-code)
            how = f"was killed by signal {name}"
            if name == "SIGKILL":
                how += (
                    " (the system does that when memory runs out; fewer workers, smaller batches or a smaller prefetch_factor "
                    "need less)"
                )
            elif name == "SIGBUS":
                how += " (shared memory may be full)"
        else:
            how = f"ended with exit code {code}"
            if multiprocessing.get_start_method(allow_none=True) != "fork":
                how += (
                    "; its message is above. (A script that starts workers needs `if __name__ == '__main__':` where they are "
                    "not forked, and the dataset must be picklable.)"
                )
        return RuntimeError(
            f"DataLoader worker {number} (pid {process.pid}) {how}, while it worked on {_describe(jobs.get(number))}"
        )


def _describe(job: Job | None) -> str:
    if job is None:
        return "nothing"
    shown = ", ".join(map(repr, job.indices[:8])) + (", …" if len(job.indices) > 8 else "")
    return f"batch {job.number} of epoch {job.epoch}" + (f" (samples {shown})" if job.indices else "")


def _end(channels: list[Any], processes: list[Any], folder: str | None) -> None:
    """End the processes, by ever stronger means; whatever happens, delete the folder."""
    try:
        for channel in channels:
            with contextlib.suppress(OSError):
                channel.close()  # a worker that waits for a job sees the end
        for process in processes:
            if process.is_alive():
                process.terminate()  # one in the middle of a batch
        for means in ("terminate", "kill"):
            deadline = time.monotonic() + PATIENCE
            for process in processes:
                process.join(max(0.0, deadline - time.monotonic()))
                if process.is_alive():
                    getattr(process, means)()
        for process in processes:
            process.join()
            process.close()
    finally:
        remove_folder(folder)


class Epoch(Iterator[tuple[int, Any]]):
    """The batches of an epoch, made by a pool of workers; each with the number of batches that have been handed out with it.

    Args:
        jobs: what is to be done, in order.
        prefetch: jobs that each worker has at a time.
        in_order: hand the batches out in the order of the jobs; else as they come.
        in_turn: give the jobs to one worker after the other, so that it is always the same one that makes a batch; else to the
            one that has the fewest. If one worker is slower than another, as they are on most machines, the others need not wait.
        keep: whether the pool lives on afterwards.
        whole: whether the first end of a stream is the end of all (they go through the same one).
    """

    def __init__(
        self, pool: Pool, jobs: Iterator[Job], prefetch: int, in_order: bool, in_turn: bool, keep: bool, whole: bool
    ) -> None:
        self.pool = pool
        self.jobs = jobs
        self.prefetch = prefetch
        self.in_order = in_order
        self.in_turn = in_turn
        self.whole = whole
        self.given: list[deque[Job]] = [deque() for _ in pool.processes]  # to each worker, and not yet back
        self.turn = 0
        self.open = set(range(len(pool.processes)))  # workers whose stream goes on
        self.order: deque[tuple[int, int]] = deque()  # (job, worker) of the batches that are to be handed out, in order
        self.early: dict[int, Any] = {}  # those that are here before their turn, by job
        self.last = False
        self.handed_out = 0
        pool.serial += 1
        pool.busy = True
        self._end = weakref.finalize(self, _release if keep else Pool.close, pool)
        self._hand_out()

    def _hand_out(self) -> None:
        """Give jobs to the workers as long as there is room."""
        while not self.last and (number := self._next_worker()) is not None:
            job = next(self.jobs, None)
            if job is None:
                self.last = True
                return
            self.turn = number + 1
            self.given[number].append(job)
            self.order.append((job.number, number))
            self.pool.send(number, job)

    def _next_worker(self) -> int | None:
        """Who gets the next job: the one whose turn it is, or the one with the fewest; None if there is enough to do."""
        n = len(self.given)
        following = [i % n for i in range(self.turn, self.turn + n) if i % n in self.open]
        if not self.in_turn:  # memory for batches is each worker's own: none makes many more than the others
            made = [number for _, number in self.order]
            following = [i for i in following if made.count(i) <= self.prefetch]
        if not following or len(self.order) >= n * self.prefetch:
            return None
        number = following[0] if self.in_turn else min(following, key=lambda i: len(self.given[i]))
        return number if len(self.given[number]) < self.prefetch else None

    def _receive(self) -> tuple[int, int, Any]:
        """The batch that is to be handed out next, once it is here: (job, worker, batch)."""
        deadline = self.pool.deadline()
        while True:
            first, number = self.order[0]
            if first in self.early:
                self.order.popleft()
                return first, number, self.early.pop(first)
            wanted = [number] if self.in_turn else [i for i, given in enumerate(self.given) if given]
            oldest = {i: given[0] for i, given in enumerate(self.given) if given}
            number, batch = self.pool.receive(wanted, [number] if self.in_order else wanted, oldest, deadline)
            job = self.given[number].popleft().number
            if not self.in_order:
                self.order.remove((job, number))
                return job, number, batch
            self.early[job] = batch

    def __next__(self) -> tuple[int, Any]:
        if not self._end.alive:
            raise StopIteration
        try:
            while True:
                if not self.order:
                    raise StopIteration
                job, number, batch = self._receive()
                if isinstance(batch, worker.Failure):
                    raise batch.as_error()
                if batch is EndOfStream:
                    self.open.discard(number)
                    if self.whole:
                        self.last = True
                    if not self.open or self.whole:
                        self.order.clear()  # what is on its way is the end too
                        continue
                self._hand_out()
                if batch is not EndOfStream and batch is not NoBatch:
                    self.handed_out = job + 1 if self.in_order else self.handed_out + 1
                    return self.handed_out, batch
        except Exception:
            self.close()
            raise
        except BaseException:  # Ctrl-C, perhaps in the middle of a message: what comes after it would make no sense
            self.close()
            self.pool.close()
            raise

    def close(self) -> None:
        """Give the pool back, or end it."""
        self.early.clear()
        self._end()

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self._end()


def _release(pool: Pool) -> None:
    pool.busy = False
