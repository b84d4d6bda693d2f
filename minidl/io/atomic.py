"""Writing a file so that nobody ever sees half of it."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the block a temporary path beside ``path``; when it has written there, move the file into place at once.

    If the block fails, ``path`` stays as it was and the temporary file is removed. Missing folders are made. A file that was
    there before keeps its permissions, and where ``path`` is a symbolic link, what it leads to is written.

    Example:
        >>> with atomic_write("metrics.csv") as temporary:
        ...     _ = temporary.write_text("epoch,loss\\n")
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=Path(path).suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())  # on the disk before the name points to it
        temporary.chmod(_mode(target))  # mkstemp makes files private
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _mode(path: Path) -> int:
    """The permissions of a file, or if there is none those that it would get."""
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
