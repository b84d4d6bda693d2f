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
import math
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
MORE = 1 << 16  # bytes that a new block has beyond the first array of its first batch: for labels and the like
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
        self.names: dict[int, str] = {}  # of those that the main process has not opened yet
        self.free: list[int] = []
        self.made = 0
        self.needed = 0  # bytes of the largest batch so far
        self.gone: list[int] = []
        self.begun: _Batch | None = None

    def take_back(self, blocks: list[int]) -> None:
        """These blocks may be used again."""
        self.free.extend(blocks)

    @contextmanager
    def placing(self) -> Iterator[None]:
        """While the context lasts, ``place`` gives out memory of the block that the coming batch will be sent in."""
        global _placing
        self._give_up_begun()
        _placing = self
        try:
            yield
        finally:
            _placing = None

    def place(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
        """Memory for an array of the coming batch, or None if the block that it has is full."""
        size = math.prod(shape) * dtype.itemsize
        if size < SMALL:
            return None
        if self.begun is None:
            self.begun = self._begin(_aligned(size) + MORE)
        if self.begun.end + size > len(self.begun.memory):
            return None
        return self.begun.view(self.begun.take(size), shape, dtype)

    def pack(self, batch: Any) -> Message:
        """Put the arrays of a batch into a block, and return what is to be sent."""
        file = io.BytesIO()
        pickler = _Taking(file)
        pickler.dump(batch)
        rest = file.getbuffer()
        arrays = pickler.arrays
        if len(rest) >= LONG:
            arrays.append((np.frombuffer(rest, np.uint8), False))
        if not arrays:
            return Message(None, None, 0, self._forget(), (), bytes(rest))
        more = sum(_aligned(a.nbytes) for a, _ in arrays if self.begun is None or not self.begun.holds(a))
        if self.begun is not None and self.begun.end + more > len(self.begun.memory):
            self._give_up_begun()
            more = sum(_aligned(a.nbytes) for a, _ in arrays)
        here, self.begun = self.begun or self._begin(more), None
        places = tuple([here.put(array, is_tensor) for array, is_tensor in arrays])
        self.needed = max(self.needed, here.end)
        name = self.names.pop(here.block, None)
        left: bytes | Place = places[-1] if len(rest) >= LONG else bytes(rest)
        return Message(here.block, name, len(here.memory), self._forget(), places, left)

    def _begin(self, size: int) -> _Batch:
        """Begin a batch in a block of at least this size: a free one, else a new one, for which a smaller one is given up."""
        roomy = [block for block in self.free if len(self.blocks[block]) >= max(size, self.needed)]
        if roomy:
            block = min(roomy, key=lambda block: len(self.blocks[block]))
            self.free.remove(block)
            return _Batch(self.blocks[block], block)
        if self.free:
            smaller = self.free.pop()
            del self.blocks[smaller]
            name = self.names.pop(smaller, None)
            if name is None:
                self.gone.append(smaller)
            elif not _WINDOWS:
                os.unlink(name)
        self.made += 1
        whole = -(-max(size, self.needed) // mmap.PAGESIZE) * mmap.PAGESIZE
        self.names[self.made], self.blocks[self.made] = _create(self.folder, f"{self.prefix}-{self.made}", whole)
        return _Batch(self.blocks[self.made], self.made)

    def _give_up_begun(self) -> None:
        """The block of a batch that is not sent in it (it failed, or does not fit) is free again."""
        if self.begun is not None:
            self.free.append(self.begun.block)
            self.begun = None

    def _forget(self) -> tuple[int, ...]:
        gone, self.gone = tuple(self.gone), []
        return gone


class _Batch:
    """A batch in a block, filled from its beginning to its end."""

    def __init__(self, memory: mmap.mmap, block: int) -> None:
        self.memory = np.frombuffer(memory, np.uint8)
        self.block = block
        self.end = 0

    def take(self, size: int) -> int:
        """The offset of the next ``size`` bytes."""
        offset, self.end = self.end, self.end + _aligned(size)
        return offset

    def view(self, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array in the block."""
        return _view(self.memory, offset, shape, dtype)

    def holds(self, array: np.ndarray) -> bool:
        """Whether the array lies in the block already."""
        while isinstance(array.base, np.ndarray):
            array = array.base
        return array is self.memory

    def put(self, array: np.ndarray, is_tensor: bool) -> Place:
        """Copy an array into the block, if it is not there, in the order in which it lies in memory."""
        axes = tuple(sorted(range(array.ndim), key=lambda i: -abs(array.strides[i])))
        ordered = array.transpose(axes)
        if self.holds(array) and ordered.flags.c_contiguous:
            offset = _address(array) - _address(self.memory)
        else:
            offset = self.take(array.nbytes)
            self.view(offset, ordered.shape, array.dtype)[...] = ordered
        return Place(offset, ordered.shape, array.dtype.str, tuple(np.argsort(axes).tolist()), is_tensor)


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
            for place in message.places:  # the last one may be ``rest``, which is then asked for by nobody
                array = _view(memory, place.offset, place.shape, np.dtype(place.dtype)).transpose(place.axes)
                arrays.append(Tensor.wrap(array) if place.is_tensor else array)
            if isinstance(rest, Place):
                rest = _view(memory, rest.offset, rest.shape, np.dtype(rest.dtype)).tobytes()
        return _Giving(io.BytesIO(rest), arrays).load()


_placing: Sender | None = None


def new_batch(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised array: of the batch that is about to be sent, if there is one and its block has room, else of its own."""
    placed = None if _placing is None else _placing.place(shape, dtype)
    return np.empty(shape, dtype) if placed is None else placed


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _view(memory: np.ndarray, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    size = math.prod(shape) * dtype.itemsize
    return memory[offset : offset + size].view(dtype).reshape(shape)
