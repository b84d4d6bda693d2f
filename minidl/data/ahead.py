"""Loading a batch's files in a second thread, while the first one works on those that are there.

Pillow decodes without holding Python's lock, so two cores share what one would do alone. A dataset offers it by a method
``__getfiles__(indices)``, see ``minidl.data.Dataset``; what it gets from ``load`` is the same with and without.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from minidl.backend import get_num_threads

DEPTH = 4  # files that are loaded and not yet asked for, at most


class _File:
    """What came of loading one file: a value or an exception, once ``done`` is set."""

    def __init__(self, path: Any) -> None:
        self.path = path
        self.done = threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None


class _Ahead:
    """A thread that loads files in the order in which they will be asked for."""

    def __init__(self, loader: Callable[[Any], Any], paths: Sequence[Any]) -> None:
        self.loader = loader
        self.files = [_File(path) for path in paths]
        self.next = 0  # to be asked for
        self.room = threading.Semaphore(DEPTH)
        self.ended = False
        self.thread = threading.Thread(target=self._run, daemon=True, name="minidl-loads-ahead")
        self.thread.start()

    def _run(self) -> None:
        for file in self.files:
            self.room.acquire()
            if self.ended:
                return
            try:
                file.value = self.loader(file.path)
            except BaseException as error:
                file.error = error
            file.done.set()

    def expects(self, loader: Callable[[Any], Any], path: Any) -> bool:
        """Whether this is the file that comes next."""
        return self.next < len(self.files) and self.loader is loader and self.files[self.next].path == path

    def take(self) -> Any:
        """The next file, once it is there; or the exception that loading it raised."""
        file = self.files[self.next]
        file.done.wait()
        self.next += 1
        self.room.release()
        if file.error is not None:
            raise file.error
        value, file.value = file.value, None  # the caller's alone: freed as early as if it had loaded it itself
        return value

    def end(self) -> None:
        """Load no more, and wait until the thread has noticed."""
        self.ended = True
        self.room.release()
        self.thread.join()


_of_thread = threading.local()  # ``current``: the _Ahead of the thread that takes


@contextmanager
def loading(dataset: Any, indices: Sequence[Any]) -> Iterator[None]:
    """While the context lasts, the files of these samples are loaded in another thread, if there is a core for it.

    In DataLoader workers there is none: the other cores belong to the other workers.
    """
    files = getattr(dataset, "__getfiles__", None) if len(indices) > 1 and get_num_threads() > 1 else None
    found = None if files is None else files(indices)
    if found is None:
        yield
        return
    _of_thread.current = ahead = _Ahead(*found)
    try:
        yield
    finally:
        _of_thread.current = None
        ahead.end()


def load(loader: Callable[[Any], Any], path: Any) -> Any:
    """Return ``loader(path)``, from the other thread if that has it next."""
    ahead = getattr(_of_thread, "current", None)
    return ahead.take() if ahead is not None and ahead.expects(loader, path) else loader(path)


def is_loading() -> bool:
    """Whether another thread loads files for this one."""
    return getattr(_of_thread, "current", None) is not None
