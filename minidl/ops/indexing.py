"""Reading and writing by index."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend import backend_of
from minidl.ops.base import Op, backend_of_any, cast, raw
from minidl.ops.selection import where
from minidl.ops.shape import broadcast_to, normalize_dim, reshape
from minidl.tensor import Tensor

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
    """An index as a view and an index into that view, if NumPy's order of dimensions would not be PyTorch's; else None.

    ``x[0, :, [1, 2]]`` takes the slice 0 first in PyTorch, and then columns 1 and 2 of it. NumPy treats the 0 as an array
    of indices too, and moves the dimension of the two arrays to the front, as it does when a slice stands between them.
    """
    kinds = ["s" if type(i) in (slice, type(None), type(Ellipsis)) else "b" if type(i) is bool else "n" if type(i) is int else "a" for i in index]
    word = "".join(kinds)
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
        return (x,), lambda x: x[_here(index, x)]


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
        return (x[index].copy(),), lambda g: ScatterAdd(_here(index, g), x.shape)(g)


class IndexPut(Op):
    """A copy of x in which x[index] is v. Where an index comes twice, the value that stays is not defined."""

    def __init__(self, index):
        self.index = index

    def forward(self, xp, x, v):
        self.value_shape = getattr(v, "shape", ())
        y = x.copy()
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
        return (x, v), lambda x, v: IndexPut(_here(index, x))(x, v)


class Gather(Op):
    """y[i][j][k] = x[index[i][j][k]][j][k] (for dim 0), in which indices may repeat."""

    promotes = False

    def __init__(self, dim, index):
        self.dim, self.index = dim, index

    def forward(self, xp, x):
        self.shape = x.shape
        return x[_along(xp, self.index, self.dim)]

    def vjp(self, g):
        return GatherGrad(self.dim, self.index, self.shape)(g)

    def samples(draw):
        x = draw.array(draw.shape(1, 3))
        dim = draw.integer(0, x.ndim - 1)
        index = draw.indices([*x.shape[:dim], draw.integer(1, 5), *x.shape[dim + 1 :]], x.shape[dim])
        return (x,), lambda x: gather(x, dim, Tensor.wrap(_here((index,), x)[0]))


class GatherGrad(Op):
    """Zeros of a shape, to which values are added at the positions of ``Gather``: its transpose."""

    promotes = False

    def __init__(self, dim, index, shape):
        self.dim, self.index, self.shape = dim, index, shape

    def forward(self, xp, g):
        x = xp.zeros(self.shape, dtype=g.dtype)
        xp.scatter_add(x, _along(xp, self.index, self.dim), g)
        return x

    def vjp(self, gx):
        return Gather(self.dim, self.index)(gx)

    def samples(draw):
        shape = draw.shape(1, 3)
        index = draw.indices(shape, 3)
        return (draw.array(shape),), lambda g: GatherGrad(0, _here((index,), g)[0], (3, *shape[1:]))(g)


def _along(xp: Any, index: Any, dim: int) -> tuple[Any, ...]:
    """An index along one dimension as a full index: every other dimension meets its own position."""
    grids = [
        xp.arange(n).reshape([-1 if d == e else 1 for e in range(index.ndim)]) for d, n in enumerate(index.shape)
    ]
    grids[dim] = index
    return tuple(grids)


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


def _here(index: tuple[Any, ...], x: Any) -> tuple[Any, ...]:
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


def gather(input: Any, dim: int, index: Tensor) -> Any:
    """Take elements along ``dim`` at ``index`` (integers, of as many dimensions as the input).

    Raises:
        RuntimeError: if an index is out of range, or the shapes do not fit.
    """
    positions = _check_index("gather", input, dim, index)
    if positions.size == 0 and positions.ndim != input.ndim:
        return reshape(reshape(input, (-1,))[:0], positions.shape)
    dim = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        return reshape(Gather(0, positions.reshape(-1))(reshape(input, (1,))), positions.shape)
    return Gather(dim, positions)(input)


def _check_index(name: str, input: Any, dim: int, index: Any) -> Any:
    dim = normalize_dim(dim, input.ndim)
    positions = raw(index)
    if positions.dtype.kind not in "iu":
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index, got {positions.dtype}")
    if positions.ndim != input.ndim and input.ndim and positions.size:
        raise RuntimeError(
            f"{name}(): Index tensor must have the same number of dimensions as input tensor: {tuple(positions.shape)} for "
            f"input {tuple(input.shape)}"
        )
    for d in range(input.ndim if positions.size else 0):
        if d != dim and positions.shape[d] > input.shape[d]:
            raise RuntimeError(
                f"Size does not match at dimension {d} expected index {list(positions.shape)} to be no larger than self "
                f"{list(input.shape)} apart from dimension {dim}"
            )
    if positions.size and input.ndim:
        low, high = int(positions.min()), int(positions.max())
        if low < 0 or high >= input.shape[dim]:
            bad = low if low < 0 else high
            raise RuntimeError(f"{name}(): index {bad} is out of bounds for dimension {dim} with size {input.shape[dim]}")
    return positions


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """``gather`` whose other dimensions broadcast; negative indices count from the end; without ``dim``, from the flattened input."""
    if dim is None:
        return take_along_dim(reshape(input, (-1,)), reshape(indices, (-1,)), 0)
    xp, positions = backend_of_any(input), raw(indices)
    indices = Tensor.wrap(xp.where(positions < 0, positions + input.shape[dim], positions))
    dim = normalize_dim(dim, input.ndim)
    shape = np.broadcast_shapes(
        tuple(1 if i == dim else n for i, n in enumerate(input.shape)),
        tuple(1 if i == dim else n for i, n in enumerate(indices.shape)),
    )
    full = lambda x: broadcast_to(x, tuple(x.shape[dim] if i == dim else n for i, n in enumerate(shape)))  # noqa: E731
    return gather(full(input), dim, full(indices))


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices at the positions ``index`` (one dimension) along ``dim``."""
    dim = normalize_dim(dim, input.ndim)
    if index.ndim > 1:
        raise IndexError(f"index_select(): Index is supposed to be a vector, got shape {index.shape}")
    if input.ndim == 0:
        return reshape(index_select(reshape(input, (1,)), 0, index), ())
    return getitem(input, (slice(None),) * dim + (raw(index).reshape(-1),))


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """The part of length ``length`` from ``start`` along ``dim`` (a view)."""
    if input.ndim == 0:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    dim = normalize_dim(dim, input.ndim)
    if not -input.shape[dim] <= start <= input.shape[dim]:
        raise IndexError(f"start out of range (expected to be in range of [{-input.shape[dim]}, {input.shape[dim]}], but got {start})")
    if length < 0 or not -input.shape[dim] <= start <= input.shape[dim] or start % (input.shape[dim] + 1) + length > input.shape[dim]:
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
            raise RuntimeError(f"masked_fill_ only supports a 0-dimensional value tensor, but got tensor with {value.ndim} dimension(s).")
        value = value if value.dtype == input.dtype else cast(value, input.dtype)
    elif input.dtype.kind in "biu":
        value = input.dtype.type(value).item()  # the result keeps the dtype of ``input``
    return where(mask, value, input)


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where ``mask`` is True, in one dimension."""
    shape = np.broadcast_shapes(input.shape, mask.shape)
    return getitem(broadcast_to(input, shape), broadcast_to(mask, shape))


def _scatter(input: Tensor, dim: int, index: Tensor, src: Any, add: bool) -> Tensor:
    name = "scatter_add" if add else "scatter"
    if input.ndim == 0:
        flat = [reshape(x, (1,)) if hasattr(x, "dtype") and x.ndim == 0 else x for x in (input, index, src)]
        return reshape(_scatter(flat[0], dim, flat[1], flat[2], add), ())
    positions = _check_index(name, input, dim, index)
    dim = normalize_dim(dim, input.ndim)
    if hasattr(src, "dtype"):
        if src.dtype != input.dtype:
            raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype, got {input.dtype} and {src.dtype}")
        if src.ndim and src.ndim != positions.ndim:
            raise RuntimeError(f"{name}(): Index tensor must have the same number of dimensions as src tensor: {positions.ndim} and {src.ndim}")
    if hasattr(src, "dtype") and raw(src).ndim:
        src = getitem(src, tuple(slice(n) for n in positions.shape))  # only the part that the index covers is used
    if add:
        return input + GatherGrad(dim, positions, tuple(input.shape))(src)
    return IndexPut(_along(backend_of_any(input), positions, dim))(input, src)


def scatter(input: Tensor, dim: int, index: Tensor, src: Any) -> Tensor:
    """``input`` with the values of ``src`` (a Tensor or a number) at the positions ``index`` along ``dim``."""
    return _scatter(input, dim, index, src, add=False)


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """``input`` with the values of ``src`` added at the positions ``index`` along ``dim``; repeated indices add up."""
    return _scatter(input, dim, index, src, add=True)


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """``input`` with the slices of ``source`` added at the positions ``index`` along ``dim``."""
    dim = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        return reshape(index_add(reshape(input, (1,)), 0, reshape(index, (-1,)), reshape(source, (-1,)), alpha=alpha), ())
    index = reshape(index, (-1,))
    expected = (*input.shape[:dim], raw(index).size, *input.shape[dim + 1 :])
    if tuple(source.shape) != expected:
        raise RuntimeError(f"index_add(): source has shape {tuple(source.shape)}, needs {expected} for input {tuple(input.shape)}, dim {dim}")
    where_to = (slice(None),) * dim + (raw(index),)
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


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The indices (int64) that sort along ``dim``; equal elements keep their order."""
    xp = backend_of_any(input)
    if input.ndim == 0:
        normalize_dim(dim, 0)
        return Tensor.wrap(xp.zeros((), dtype=xp.int64))
    dim = normalize_dim(dim, input.ndim)
    array = raw(input)
    if not descending:
        return Tensor.wrap(xp.argsort(array, axis=dim, kind="stable"))
    backwards = xp.argsort(xp.flip(array, dim), axis=dim, kind="stable")  # so that equals keep their order this way too
    return Tensor.wrap(array.shape[dim] - 1 - xp.flip(backwards, dim))


def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """The elements in order along ``dim``, and the indices they had: (values, indices)."""
    from minidl.ops.reduction import Values

    indices = argsort(input, dim, descending)
    return Values(gather(input, dim, indices), indices)


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The ``k`` largest (or smallest) elements along ``dim``, in order, and their indices: (values, indices)."""
    from minidl.ops.reduction import Values

    dim = normalize_dim(dim, input.ndim)
    if not 0 <= k <= (input.shape[dim] if input.ndim else 1):
        raise RuntimeError(f"selected index k out of range: k={k} for shape {input.shape}, dim {dim}")
    order = argsort(input, dim, descending=largest)
    indices = getitem(order, (slice(None),) * dim + (slice(k),)) if input.ndim else order
    return Values(gather(input, dim, indices), indices)


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
    index = raw(input)
    if weight.ndim != 2:
        raise RuntimeError(f"embedding(): 'weight' must be 2-D, got shape {tuple(weight.shape)}")
    if index.dtype.kind not in "iu":
        raise RuntimeError(f"embedding(): expected indices of dtype int32 or int64, got {index.dtype}")
    if index.size and not (int(index.min()) >= 0 and int(index.max()) < weight.shape[0]):
        raise IndexError(f"embedding(): index out of range: {int(index.min())} to {int(index.max())} for {weight.shape[0]} rows")
    rows = GetItem((index,))(weight)
    if padding_idx is None:
        return rows
    is_padding = (index == padding_idx % weight.shape[0]).reshape((*index.shape, 1))
    return where(is_padding, rows.detach() if isinstance(rows, Tensor) else rows, rows)
