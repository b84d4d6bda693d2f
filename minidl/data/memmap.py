"""Arrays that stay on the disk: a dataset of .npy files that are mapped into memory, and a writer for such files."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import numpy as np

from minidl.data.collate import default_collate
from minidl.data.dataset import Dataset
from minidl.io import atomic_write
from minidl.tensor import Tensor

_MAGIC = b"\x93NUMPY"  # what .npy files begin with


class MemmapDataset(Dataset[tuple[Any, ...]]):
    """Arrays of equal length in .npy files, which the system reads page by page as they are needed.

    Sample ``i`` is the tuple of their ``i``-th rows, as Tensors that may be written to. (Of a one-dimensional array, such as
    labels, a row is a Tensor of shape ().) A batch is read in the order of the file, whatever the order of its indices. The
    dataset is pickled as paths; worker processes map the files themselves, and all share what the system has read.

    Args:
        paths_or_arrays: .npy files of booleans, integers or floats, best in C order, in which the bytes of a row lie together.
            (Arrays and Tensors are taken as well, and stay in memory.)
        transform: takes and returns a row of the first array. One from ``minidl.transforms`` gets a whole batch at once when a
            DataLoader fetches one.
        target_transform: takes and returns a row of the second array.

    Attributes:
        arrays: the mapped arrays. They cannot be written to.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is no .npy file or is truncated, if lengths differ, or if there is no array.
        TypeError: if the elements are Python objects, texts or the like. (Nothing is ever unpickled.)
        IndexError: when fetching, if an index is out of range.

    Each message names the file.

    Example:
        >>> dataset = MemmapDataset("train-images.npy", "train-labels.npy", transform=augment)
        >>> image, label = dataset[0]
    """

    def __init__(
        self,
        *paths_or_arrays: Any,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        if not paths_or_arrays:
            raise ValueError("MemmapDataset: expected at least one path or array")
        if target_transform is not None and len(paths_or_arrays) < 2:
            raise ValueError("MemmapDataset: target_transform needs a second array")
        self.sources = [os.path.abspath(s) if isinstance(s, (str, os.PathLike)) else s for s in paths_or_arrays]
        self.transform = transform
        self.target_transform = target_transform
        self._open()

    def _open(self) -> None:
        self.arrays = [_mapped(s) if isinstance(s, str) else _in_memory(s) for s in self.sources]
        if len({len(array) for array in self.arrays}) > 1:
            names = [s if isinstance(s, str) else "an array" for s in self.sources]
            lengths = ", ".join(f"{len(a)} in {name}" for a, name in zip(self.arrays, names, strict=True))
            raise ValueError(f"MemmapDataset: expected arrays of equal length (dimension 0), got {lengths}")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "arrays"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __keyed__(self) -> bool:
        from minidl.transforms.transform import is_keyed  # at the top it would go round in a circle

        return self.target_transform is None and is_keyed(self.transform)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        i = self._checked([operator.index(index)])[0]
        rows: list[Any] = [Tensor.wrap(np.array(array[i], _native(array))) for array in self.arrays]
        for part, transform in enumerate((self.transform, self.target_transform)):
            if transform is not None:
                rows[part] = transform(rows[part])
        return tuple(rows)

    def __getitems__(self, indices: Sequence[int]) -> Any:
        """Return the finished batch; or NotImplemented if ``transform`` takes single images only."""
        from minidl.transforms import is_batched  # see above

        if not is_batched(self.transform):
            return NotImplemented
        wanted = self._checked(indices)
        order = np.argsort(wanted, kind="stable")
        in_file = list(zip(order.tolist(), wanted[order].tolist(), strict=True))
        batch: list[Any] = []
        for array in self.arrays:
            rows = np.empty((len(wanted), *array.shape[1:]), _native(array))
            for position, row in in_file:  # one row after the other; wanted[order] at once would be one more copy
                rows[position] = array[row]
            batch.append(Tensor.wrap(rows))
        if self.transform is not None:
            batch[0] = self.transform(batch[0])
        if self.target_transform is not None:
            batch[1] = default_collate([self.target_transform(row) for row in batch[1]])
        return tuple(batch)

    def _checked(self, indices: Sequence[int]) -> np.ndarray:
        wanted, n = np.asarray(indices, dtype=np.int64), len(self)
        wrong = (wanted < -n) | (wanted >= n)
        if wrong.any():
            raise IndexError(f"MemmapDataset: index {wanted[wrong][0]} is out of range for {n} samples")
        return np.where(wanted < 0, wanted + n, wanted)


def _native(array: np.ndarray) -> np.dtype:
    """The same dtype in this machine's order of bytes."""
    return array.dtype.newbyteorder("=")


def _in_memory(source: Any) -> np.ndarray:
    array = source.backend.to_numpy(source.array) if isinstance(source, Tensor) else source
    if not isinstance(array, np.ndarray):
        raise TypeError(f"MemmapDataset: expected a path, an array or a Tensor, got {type(source).__name__}")
    return _usable(array, "an array")


def _mapped(path: str) -> np.ndarray:
    with open(path, "rb") as file:  # FileNotFoundError names the path
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError(f"{path} is not a .npy file")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "Python objects" in str(error):
            raise TypeError(f"{path} holds Python objects, which cannot be mapped") from error
        raise ValueError(f"{path} is truncated or damaged: {error}") from error
    return _usable(np.asarray(array), path)


def _usable(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise TypeError(f"MemmapDataset: expected booleans, integers or floats, got {array.dtype} in {name}")
    if array.ndim == 0:
        raise ValueError(f"MemmapDataset: expected an array of one or more dimensions, got a single value in {name}")
    return array


class MemmapWriter:
    """Writes a .npy file bit by bit, without ever holding the whole array.

    The file appears under its name when the block ends; if the block fails, what was there before stays.

    Args:
        path: the file to write. Missing folders are made.
        dtype, row_shape: of the array and of one row. What is not given is that of the first rows that are appended.

    Raises:
        ValueError: when appending, if rows have another shape; at the end, if nothing was appended and ``dtype`` and
            ``row_shape`` were not given.
        TypeError: when appending, if the dtype cannot hold the rows' values. (Floats are rounded to it.)

    Example:
        >>> with MemmapWriter("images.npy") as images, MemmapWriter("labels.npy") as labels:
        ...     for x, y in loader:
        ...         images.append(x)
        ...         labels.append(y)
    """

    def __init__(self, path: str | os.PathLike[str], dtype: Any = None, row_shape: Sequence[int] | None = None) -> None:
        self.path = os.fspath(path)
        self.dtype = None if dtype is None else _usable(np.empty(0, dtype), f"the dtype for {self.path}").dtype
        self.row_shape = None if row_shape is None else tuple(row_shape)
        self.rows = 0
        self._file: Any = None
        self._stack = ExitStack()

    def __enter__(self) -> MemmapWriter:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_write(self.path))
            self._file = stack.enter_context(open(temporary, "wb"))
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)
        self._file = None

    def append(self, rows: Any) -> None:
        """Add rows: a Tensor or array whose dimension 0 runs over them."""
        if self._file is None:
            raise ValueError(f"MemmapWriter: {self.path} is not open; use the writer in a with statement")
        array = rows.backend.to_numpy(rows.array) if isinstance(rows, Tensor) else np.asarray(rows)
        _usable(array, f"rows for {self.path}")
        if self.dtype is None:
            self.dtype = array.dtype
        if self.row_shape is None:
            self.row_shape = array.shape[1:]
        if array.shape[1:] != self.row_shape:
            raise ValueError(
                f"MemmapWriter: expected rows of shape {self.row_shape} for {self.path}, got {array.shape[1:]}"
            )
        stored = self._cast(array, self.dtype)
        if self.rows == 0:
            self._write_header()
        self._file.write(np.ascontiguousarray(stored).data)
        self.rows += len(array)

    def _cast(self, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
        if array.dtype.kind in "biu" and dtype.kind in "biu":  # what fits may be stored in fewer bytes
            with np.errstate(all="ignore"):
                stored = array.astype(dtype, copy=False)
            fits = bool((stored == array).all())
        else:
            fits = np.can_cast(array.dtype, dtype, "same_kind")
            stored = array.astype(dtype, copy=False) if fits else array
        if not fits:
            raise TypeError(f"MemmapWriter: {dtype} cannot hold the {array.dtype} values given for {self.path}")
        return stored

    def _write_header(self) -> int:
        """Write what comes before the data, and return its length, which does not depend on the number of rows."""
        if self.dtype is None or self.row_shape is None:
            raise ValueError(f"MemmapWriter: nothing was appended to {self.path}, so its dtype and shape are not known")
        self._file.seek(0)
        descr = np.lib.format.dtype_to_descr(self.dtype)
        header = {"descr": descr, "fortran_order": False, "shape": (self.rows, *self.row_shape)}
        np.lib.format.write_array_header_1_0(self._file, header)
        return self._file.tell()

    def _finish(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if error is not None:
            return
        length = self._write_header()
        assert self.dtype is not None and self.row_shape is not None
        size = math.prod((self.rows, *self.row_shape)) * self.dtype.itemsize
        if self._file.seek(0, os.SEEK_END) != length + size:
            raise RuntimeError(f"{self.path}: the header grew with the number of rows")  # no NumPy from 2 on does this
