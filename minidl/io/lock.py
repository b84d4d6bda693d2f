"""One process at a time: a lock that the system lets go of when its process ends, however that ends."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOOK_AGAIN = 0.1  # seconds
_TAKEN = {errno.EACCES, errno.EAGAIN, errno.EDEADLK, getattr(errno, "EDEADLOCK", errno.EDEADLK)}


@contextmanager
def locked(path: str | os.PathLike[str], waits: Callable[[], None]) -> Iterator[None]:
    """While the context lasts, nobody else is inside for the same ``path``, no thread and no process of this machine.

    The lock is on a file of this name, which is removed afterwards. Where a file system has no locks, nobody waits.

    Args:
        waits: called once if somebody else is inside.

    Raises:
        OSError: if the file cannot be written.
    """
    path = Path(path)
    descriptor, told = _take(path), False
    while descriptor is None:
        if not told:
            told = True
            waits()
        time.sleep(LOOK_AGAIN)
        descriptor = _take(path)
    try:
        yield
    finally:
        with suppress(OSError):  # Windows does not remove what is open, others what is somebody else's by now
            os.unlink(path)
        os.close(descriptor)
        with suppress(OSError):
            if os.name == "nt":
                os.unlink(path)


def _take(path: Path) -> int | None:
    """The open file, locked; None if somebody else has it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        if not path.exists():
            raise
        if os.name == "nt":  # somebody is removing it
            return None
        descriptor = os.open(path, os.O_RDONLY)  # it is another user's
    try:
        _lock(descriptor)
        # Who had it before may have removed this file, so that the next one makes, and locks, a new one.
        if os.path.exists(path) and os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return descriptor
    except OSError as error:
        if error.errno not in _TAKEN and not isinstance(error, FileNotFoundError):
            return descriptor
    os.close(descriptor)
    return None


if os.name == "nt":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
