"""Memory that a worker process writes a batch into and the main process reads it from, without a copy on the way.

A *block* is a piece of such memory. The worker that made it owns it, and uses it again once the main process says that none
of the arrays in it is alive any more. In the worker a batch is taken apart by ``Sender``: its arrays go to a block, and what is
left is pickled. ``Receiver`` puts it together again.

On POSIX systems a block is a file in memory (``/dev/shm`` where there is one), in a folder of the loader's own, and its name is
removed as soon as the main process has opened it: so nothing is left behind, whatever happens to the processes. On Windows it
is memory with a name, which the system frees with its last user.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minidl.tensor import Tensor

ALIGNMENT = 64  # bytes: a cache line
SMALL = 256  # bytes: a smaller array is pickled with everything else
LONG = 1 << 14  # bytes of a pickle that go to the block too, so that messages stay short and are never waited for
_WINDOWS = sys.platform == "win32"


class Place(NamedTuple):
    """An array in a block: where it begins, and how it is to be seen."""

    offset: int
    shape: tuple[int, ...]  # in the order of memory
    dtype: str
    axes: tuple[int, ...]  # the transposition that gives the array
    is_tensor: bool


class Message(NamedTuple):
    """A batch on its way: the block with its number, name (if it is new) and size; blocks that are gone; and what is left."""

    block: int | None
    name: str | None
    size: int
    gone: tuple[int, ...]
    places: tuple[Place, ...]
    rest: bytes | Place


def make_folder() -> str | None:
    """A folder for the blocks of one loader; None on Windows. ``remove_folder`` deletes it."""
    if _WINDOWS:
        return None
    memory = Path("/dev/shm")
    where = str(memory) if memory.is_dir() and os.access(memory, os.W_OK | os.X_OK) else None
    return tempfile.mkdtemp(prefix=f"minidl-{os.getpid()}-", dir=where)


def remove_folder(folder: str | None) -> None:
    """Delete the folder, and any block in it that nobody has opened."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _create(folder: str | None, name: str, size: int) -> tuple[str, mmap.mmap]:
    if folder is None:
        return name, mmap.mmap(-1, size, tagname=name)  # type: ignore[call-arg, unused-ignore]
    try:
        return _create_file(os.path.join(folder, name), size)
    except OSError as error:  # /dev/shm is full (it is small in a container): use the disk
        elsewhere = os.path.join(tempfile.gettempdir(), f"{os.path.basename(folder)}-{name}")
        try:
            return _create_file(elsewhere, size)
        except OSError:
            raise OSError(
                f"DataLoader worker: no room for a batch of {size / 2**20:.0f} MiB in shared memory ({folder}) or in "
                f"{tempfile.gettempdir()}: {error}"
            ) from error


def _create_file(path: str, size: int) -> tuple[str, mmap.mmap]:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):  # else a full disk would end the process at the first write
            os.posix_fallocate(file, 0, size)
        else:
            os.ftruncate(file, size)
        return path, mmap.mmap(file, size)
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise
    finally:
        os.close(file)


def _open(name: str, size: int) -> mmap.mmap:
    if _WINDOWS:
        return mmap.mmap(-1, size, tagname=name)  # type: ignore[call-arg, unused-ignore]
    file = os.open(name, os.O_RDWR)
    try:
        memory = mmap.mmap(file, size)
    finally:
        os.close(file)
    os.unlink(name)
    return memory


class _Taking(pickle.Pickler):
    """A pickler that leaves out the arrays, and notes them in ``arrays``."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.arrays: list[tuple[np.ndarray, bool]] = []

    def persistent_id(self, x: Any) -> Any:
        array = x.array if type(x) is Tensor and x._node is None and not x._requires_grad else x
        if type(array) is not np.ndarray or array.dtype.kind not in "biufc" or array.nbytes < SMALL:
            return None
        self.arrays.append((array, array is not x))
        return len(self.arrays) - 1


class _Giving(pickle.Unpickler):
    """The reverse: puts arrays where they were left out."""

    def __init__(self, file: io.BytesIO, arrays: list[Any]) -> None:
        super().__init__(file)
        self.arrays = arrays

    def persistent_load(self, number: Any) -> Any:
        return self.arrays[number]


class Sender:
    """The worker's side.

    Args:
        folder: from ``make_folder``.
        prefix: begins the names of this worker's blocks, and no other's.
    """

    def __init__(self, folder: str | None, prefix: str) -> None:
        self.folder = folder
        self.prefix = prefix
        self.blocks: dict[int, mmap.mmap] = {}
        self.free: list[int] = []
        self.made = 0
        self.needed = 0  # bytes of the largest batch so far
        self.gone: list[int] = []

    def take_back(self, blocks: list[int]) -> None:
        """These blocks may be used again."""
        self.free.extend(blocks)

    @contextmanager
    def placing(self) -> Iterator[None]:
        """While the block runs, ``place`` gives out memory of the block that the coming batch will be sent in."""
        global _bump
        self.free.sort(key=lambda block: len(self.blocks[block]))
        roomy = [block for block in self.free if len(self.blocks[block]) >= self.needed > 0]
        _bump = _Bump(np.frombuffer(self.blocks[roomy[0]], np.uint8), roomy[0]) if roomy else None
        try:
            yield
        finally:
            self._bump, _bump = _bump, None

    _bump: _Bump | None = None

    def pack(self, batch: Any) -> Message:
        """Put the arrays of a batch into a block, and return what is to be sent."""
        file = io.BytesIO()
        pickler = _Taking(file)
        pickler.dump(batch)
        rest = file.getbuffer()
        arrays = [(array, is_tensor) for array, is_tensor in pickler.arrays]
        if len(rest) >= LONG:
            arrays.append((np.frombuffer(rest, np.uint8), False))
        prepared, self._bump = self._bump, None
        if not arrays:
            return Message(None, None, 0, self._forget(), (), bytes(rest))
        end = prepared.end if prepared else 0
        extra = sum(_aligned(a.nbytes) for a, _ in arrays if prepared is None or not prepared.holds(a))
        if prepared is not None and end + extra <= len(prepared.memory):
            block, name, memory = prepared.block, None, prepared.memory
            self.free.remove(block)
        else:
            prepared, end = None, 0
            block, name = self._block(sum(_aligned(a.nbytes) for a, _ in arrays))
            memory = np.frombuffer(self.blocks[block], np.uint8)
        places = []
        for array, is_tensor in arrays:
            axes = tuple(sorted(range(array.ndim), key=lambda i, a=array: -abs(a.strides[i])))  # type: ignore[misc]
            ordered = array.transpose(axes)
            if prepared is not None and prepared.holds(array) and ordered.flags.c_contiguous:
                offset = prepared.offset_of(array)
            else:
                offset, end = end, end + _aligned(array.nbytes)
                _view(memory, offset, ordered.shape, array.dtype)[...] = ordered
            places.append(Place(offset, ordered.shape, array.dtype.str, tuple(np.argsort(axes).tolist()), is_tensor))
        self.needed = max(self.needed, end)
        left: bytes | Place = places.pop() if len(rest) >= LONG else bytes(rest)
        return Message(block, name, len(self.blocks[block]), self._forget(), tuple(places), left)

    def _block(self, size: int) -> tuple[int, str | None]:
        """A block of at least this size: one that is free, else a new one, for which a smaller one is given up."""
        for block in self.free:
            if len(self.blocks[block]) >= size:
                self.free.remove(block)
                return block, None
        if self.free:
            smaller = self.free.pop()
            del self.blocks[smaller]
            self.gone.append(smaller)
        self.made += 1
        whole = -(-max(size, self.needed) // mmap.PAGESIZE) * mmap.PAGESIZE
        name, self.blocks[self.made] = _create(self.folder, f"{self.prefix}-{self.made}", whole)
        return self.made, name

    def _forget(self) -> tuple[int, ...]:
        gone, self.gone = tuple(self.gone), []
        return gone


class Receiver:
    """The main process's side of one worker."""

    def __init__(self) -> None:
        self.blocks: dict[int, mmap.mmap] = {}
        self.freed: list[int] = []

    def take_freed(self) -> list[int]:
        """The blocks in which no array is alive any more, since the last call: to be told to the worker."""
        freed = []
        while self.freed:
            freed.append(self.freed.pop())
        return freed

    def unpack(self, message: Message) -> Any:
        """Return the batch. Its arrays lie in the block; they may be written to, and kept as long as one likes."""
        for block in message.gone:
            del self.blocks[block]
        arrays: list[Any] = []
        rest: Any = message.rest
        if message.block is not None:
            if message.name is not None:
                self.blocks[message.block] = _open(message.name, message.size)
            memory = np.frombuffer(self.blocks[message.block], np.uint8)
            # Every array in the block refers to ``memory``; when the last one is gone, so is that.
            weakref.finalize(memory, self.freed.append, message.block).atexit = False
            for place in message.places:
                array = _view(memory, place.offset, place.shape, np.dtype(place.dtype)).transpose(place.axes)
                arrays.append(Tensor.wrap(array) if place.is_tensor else array)
            if isinstance(rest, Place):
                rest = _view(memory, rest.offset, rest.shape, np.dtype(rest.dtype)).tobytes()
        return _Giving(io.BytesIO(rest), arrays).load()


class _Bump:
    """Hands out a block's memory from its beginning to its end."""

    def __init__(self, memory: np.ndarray, block: int) -> None:
        self.memory = memory
        self.block = block
        self.end = 0

    def holds(self, array: np.ndarray) -> bool:
        base = array
        while isinstance(base.base, np.ndarray):
            base = base.base
        return base is self.memory

    def offset_of(self, array: np.ndarray) -> int:
        return array.__array_interface__["data"][0] - self.memory.__array_interface__["data"][0]


_bump: _Bump | None = None


def place(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
    """Memory for an array of the batch that is about to be sent, or None where it is not to be sent or does not fit."""
    size = int(np.prod(shape)) * dtype.itemsize
    if _bump is None or size < SMALL or _bump.end + size > len(_bump.memory):
        return None
    offset = _bump.end
    _bump.end += _aligned(size)
    return _view(_bump.memory, offset, shape, dtype)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _view(memory: np.ndarray, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    size = int(np.prod(shape)) * dtype.itemsize
    return memory[offset : offset + size].view(dtype).reshape(shape)
