"""Reading and writing by index."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend import backend_of
from minidl.ops.base import Op, at_place, backend_of_any, cast, raw, same_device
from minidl.ops.selection import where
from minidl.ops.shape import broadcast_to, normalize_dim, reshape
from minidl.tensor import Tensor

_KINDS = {slice: "s", type(None): "s", type(Ellipsis): "s", int: "n", bool: "b"}  # all others: "a", arrays
_BASIC = (int, slice, type(None), type(Ellipsis))


def raw_index(index: Any, like: Any) -> tuple[Any, ...]:
    """An index as arrays of the backend of ``like``: Tensors unwrapped, lists and NumPy arrays brought over."""
    xp = backend_of(like)

    def one(i: Any) -> Any:
        if isinstance(i, Tensor):
            i = i.array
        if isinstance(i, slice) and i.step is not None and i.step <= 0:
            raise ValueError(f"step must be greater than zero, got {i.step} in an index for shape {tuple(like.shape)}")
        if type(i) in _BASIC:
            return i
        if isinstance(i, (bool, np.bool_)):
            return bool(i)
        if hasattr(i, "__index__") and not isinstance(i, (np.ndarray, xp.array_type)):
            return i.__index__()
        if not isinstance(i, xp.array_type):
            if hasattr(i, "dtype") and not isinstance(i, (np.ndarray, np.generic)):
                same_device("index", like, i)
            i = np.asarray(i)
            if i.size == 0:
                i = i.astype(np.int64)
            i = xp.from_numpy(i)
        if i.dtype.kind not in "iub":
            raise IndexError(f"tensors used as indices must be long, int, byte or bool tensors, got {i.dtype}")
        if i.dtype == np.uint8 and i.ndim:
            return i.astype(bool)  # a mask, as in PyTorch
        return int(i) if i.ndim == 0 and i.dtype.kind != "b" else i

    return tuple(one(i) for i in index) if isinstance(index, tuple) else (one(index),)


def is_basic(index: tuple[Any, ...]) -> bool:
    """Whether an index picks a regular block (a view), so that no element can come twice."""
    return all(type(i) in _BASIC for i in index)


def split_index(index: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]] | None:
    """An index as a view and an index into it, if NumPy's order of dimensions would not be PyTorch's; else None.

    ``x[0, :, [1, 2]]`` takes the slice 0 first in PyTorch, and then columns 1 and 2 of it. NumPy treats the 0 as an array
    of indices too, and moves the dimension of the two arrays to the front, as it does when a slice stands between them.
    """
    word = "".join(_KINDS.get(type(i), "a") for i in index)
    if "n" not in word or "a" not in word or "b" in word or "s" not in word.strip("s"):
        return None
    view: list[Any] = []
    rest: list[Any] = []
    for i, kind in zip(index, word, strict=True):
        if kind == "a":
            view += [slice(None)] * (i.ndim if i.dtype.kind == "b" else 1)
            rest.append(i)
        else:
            view.append(i)
            if kind == "s":
                rest.append(Ellipsis if i is Ellipsis else slice(None))
    return tuple(view), tuple(rest)


class GetItem(Op):
    """x[index]: a view for integers and slices, a copy for arrays of indices or booleans."""

    label = "index"

    is_view = True
    promotes = False

    def __init__(self, index):
        self.index = index

    def forward(self, xp, x):
        self.shape = x.shape
        if is_basic(self.index) and Ellipsis not in self.index:
            return x[(*self.index, Ellipsis)]  # then even a single element comes as a view, not as a number
        return x[self.index]

    def vjp(self, g):
        return ScatterAdd(self.index, self.shape)(g)

    def samples(draw):
        x, index = _draw_indexed(draw)
        return (x,), lambda x: x[here(index, x)]


class ScatterAdd(Op):
    """Zeros of a shape, to which values are added at an index: the transpose of ``GetItem``."""

    promotes = False

    def __init__(self, index, shape):
        self.index, self.shape = index, shape

    def forward(self, xp, g):
        x = xp.zeros(self.shape, dtype=g.dtype)
        if is_basic(self.index):
            x[self.index] = g
        else:
            xp.scatter_add(x, self.index, g)
        return x

    def vjp(self, gx):
        return GetItem(self.index)(gx)

    def samples(draw):
        x, index = _draw_indexed(draw)
        return (x[index].copy(),), lambda g: ScatterAdd(here(index, g), x.shape)(g)


class IndexPut(Op):
    """A copy of x in which x[index] is v. Where an index comes twice, the value that stays is not defined."""

    def __init__(self, index):
        self.index = index

    def forward(self, xp, x, v):
        self.value_shape = getattr(v, "shape", ())
        y = xp.array(x)  # not x.copy(): a 0-d cotangent may have come as a number
        y[self.index] = v
        return y

    def vjp_x(self, g):
        return IndexPut(self.index)(g, 0.0)

    def vjp_v(self, g):
        from minidl.ops.base import sum_to
        from minidl.ops.shape import reshape

        part = GetItem(self.index)(g)
        trimmed = self.value_shape[max(0, len(self.value_shape) - part.ndim) :]  # leading ones may be superfluous
        return reshape(sum_to(part, trimmed), self.value_shape)

    def samples(draw):
        x = draw.array(draw.shape(1, 3))
        n = x.shape[0]
        index = draw.choice([(0,), (slice(None, None, 2),), (np.array([n - 1]),), (Ellipsis, slice(0, 1))])
        part = x[index].shape
        v = draw.array(draw.choice([part, (), (1, 1, *part) if part else ()]))
        return (x, v), lambda x, v: IndexPut(here(index, x))(x, v)


def _draw_indexed(draw: Any) -> tuple[np.ndarray, tuple[Any, ...]]:
    """An array and an index for it, of every kind."""
    x = draw.array(draw.shape(2, 3))
    n, m = x.shape[:2]
    rows, columns = draw.indices((3,), n), draw.indices((3,), m)
    index = draw.choice(
        [
            (0,),
            (-1, slice(None)),
            (slice(None, None, 2),),
            (slice(0, 0),),
            (Ellipsis, None, 0),
            (rows,),
            (slice(None), columns),
            (rows, columns),
            (rows[:, None], columns),
            (np.arange(n) % 2 == 0,),
            (rows, None, columns - m),
        ]
    )
    return x, index


def here(index: tuple[Any, ...], x: Any) -> tuple[Any, ...]:
    """A NumPy index on the device of x."""
    return raw_index(index, raw(x))


# -- public functions -------------------------------------------------------------------------------------------------


def getitem(input: Any, index: Any) -> Any:
    """``input[index]``, with integers, slices, None, ``...``, and integer or boolean arrays, lists or Tensors."""
    index = raw_index(index, raw(input))
    parts = None if is_basic(index) else split_index(index)
    if parts is not None:
        return GetItem(parts[1])(GetItem(parts[0])(input))
    return GetItem(index)(input)


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices at the positions ``index`` (one dimension) along ``dim``."""
    dim = normalize_dim(dim, input.ndim)
    if index.ndim > 1:
        raise IndexError(f"index_select(): Index is supposed to be a vector, got shape {index.shape}")
    if input.ndim == 0:
        return reshape(index_select(reshape(input, (1,)), 0, index), ())
    return getitem(input, (slice(None),) * dim + (_from_the_front("index_select", raw(index).reshape(-1)),))


def _from_the_front(name: str, index: Any) -> Any:
    """The index, if it counts from the front only."""
    if index.size and int(index.min()) < 0:
        raise IndexError(f"{name}(): index out of range: {int(index.min())} (it counts from the front)")
    return index


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """The part of length ``length`` from ``start`` along ``dim`` (a view)."""
    if input.ndim == 0:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    dim = normalize_dim(dim, input.ndim)
    if not -input.shape[dim] <= start <= input.shape[dim]:
        span = input.shape[dim]
        raise IndexError(f"start out of range (expected to be in range of [{-span}, {span}], but got {start})")
    if (
        length < 0
        or not -input.shape[dim] <= start <= input.shape[dim]
        or start % (input.shape[dim] + 1) + length > input.shape[dim]
    ):
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({input.shape[dim]}).")
    start = start + input.shape[dim] if start < 0 else start
    return getitem(input, (slice(None),) * dim + (slice(start, start + length),))


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice at ``index`` along ``dim``, which disappears (a view)."""
    dim = normalize_dim(dim, input.ndim)
    return getitem(input, (slice(None),) * dim + (index,))


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """``input`` with ``value`` wherever ``mask`` is True."""
    if raw(mask).dtype != np.dtype("bool"):
        raise RuntimeError(f"masked_fill only supports boolean masks, but got mask with dtype {raw(mask).dtype}")
    if hasattr(value, "dtype"):
        if value.ndim:
            raise RuntimeError(
                f"masked_fill_ only supports a 0-dimensional value tensor, but got tensor with {value.ndim} dimension(s)."
            )
        value = value if value.dtype == input.dtype else cast(value, input.dtype)
    elif input.dtype.kind in "biu":
        value = input.dtype.type(value).item()  # the result keeps the dtype of ``input``
    return where(mask, value, input)


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where ``mask`` is True, in one dimension.

    Raises:
        RuntimeError: if ``mask`` is not of booleans.
    """
    if mask.dtype.kind != "b":
        raise RuntimeError(f"masked_select: expected BoolTensor for mask, got {mask.dtype}")
    shape = np.broadcast_shapes(input.shape, mask.shape)
    return getitem(broadcast_to(input, shape), broadcast_to(mask, shape))


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """``input`` with the slices of ``source`` added at the positions ``index`` along ``dim``."""
    dim = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        return reshape(
            index_add(reshape(input, (1,)), 0, reshape(index, (-1,)), reshape(source, (-1,)), alpha=alpha), ()
        )
    index = reshape(index, (-1,))
    expected = (*input.shape[:dim], raw(index).size, *input.shape[dim + 1 :])
    if tuple(source.shape) != expected:
        raise RuntimeError(
            f"index_add(): source has shape {tuple(source.shape)}, needs {expected} for input {tuple(input.shape)}, dim {dim}"
        )
    if source.dtype != input.dtype:
        raise RuntimeError(f"index_add(): self ({input.dtype}) and source ({source.dtype}) must have the same dtype")
    where_to = (slice(None),) * dim + (_from_the_front("index_add", raw(index)),)
    return input + ScatterAdd(where_to, tuple(input.shape))(source if alpha == 1 else source * alpha)


def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """``input`` with ``value`` (a number or 0-d Tensor) in the slices at the positions ``index`` along ``dim``."""
    dim = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        return reshape(index_fill(reshape(input, (1,)), 0, index, value), ())
    xp = backend_of_any(input)
    chosen = xp.zeros(input.shape[dim], dtype=bool)
    chosen[raw(index).reshape(-1)] = True
    return masked_fill(input, Tensor.wrap(chosen.reshape([-1 if d == dim else 1 for d in range(input.ndim)])), value)


def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements at ``index`` of the flattened input, in the shape of ``index``."""
    return getitem(reshape(input, (-1,)), raw(index).reshape(-1)).reshape(index.shape)


def argwhere(input: Tensor) -> Tensor:
    """The indices of the elements that are not 0, one row each (int64)."""
    return nonzero(input)


def nonzero(input: Tensor, as_tuple: bool = False) -> Any:
    """The indices of the elements that are not 0: one row each (int64), or one Tensor per dimension."""
    xp = backend_of_any(input)
    found = xp.nonzero(raw(input).reshape(-1) if input.ndim == 0 else raw(input))
    if as_tuple:
        return tuple(Tensor.wrap(i) for i in found)
    return Tensor.wrap(xp.stack(found, axis=1) if input.ndim else xp.zeros((found[0].size, 0), dtype=xp.int64))


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Rows with a 1 at each class and 0 elsewhere: shape (*, num_classes), int64."""
    labels = raw(tensor)
    if labels.dtype.kind not in "iu":
        raise RuntimeError(f"one_hot is only applicable to index tensor, got {labels.dtype}")
    if labels.size and int(labels.min()) < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes == -1:
        num_classes = int(labels.max()) + 1
    elif labels.size and int(labels.max()) >= num_classes:
        raise RuntimeError(f"Class values must be smaller than num_classes ({num_classes}), got {int(labels.max())}.")
    xp = backend_of_any(tensor)
    return Tensor.wrap((labels.reshape((*labels.shape, 1)) == xp.arange(num_classes)).astype(xp.int64))


def embedding(input: Tensor, weight: Any, padding_idx: int | None = None) -> Any:
    """Rows of ``weight`` (num_embeddings, embedding_dim) at the indices ``input``; the padding row gets no gradient."""
    same_device("embedding", input, weight)
    index = raw(input)
    if weight.ndim != 2:
        raise RuntimeError(f"embedding(): 'weight' must be 2-D, got shape {tuple(weight.shape)}{at_place()}")
    if index.dtype.kind not in "iu":
        raise RuntimeError(f"embedding(): expected indices of dtype int32 or int64, got {index.dtype}")
    if index.size and not (int(index.min()) >= 0 and int(index.max()) < weight.shape[0]):
        raise IndexError(
            f"embedding(): index out of range: {int(index.min())} to {int(index.max())} for {weight.shape[0]} rows{at_place()}"
        )
    rows = GetItem((index,))(weight)
    if padding_idx is None:
        return rows
    is_padding = (index == padding_idx % weight.shape[0]).reshape((*index.shape, 1))
    return where(is_padding, rows.detach() if isinstance(rows, Tensor) else rows, rows)
