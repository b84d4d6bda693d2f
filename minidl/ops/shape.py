"""Changing the shape, order or number of dimensions; joining and repeating. Most results are views."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.ops.base import Op, backend_of_any, raw, sum_to
from minidl.tensor import Tensor


def normalize_dim(dim: int, ndim: int) -> int:
    """Count a dimension from the front.

    Raises:
        IndexError: with PyTorch's message, if there is no such dimension.
    """
    span = max(ndim, 1)  # a 0-d Tensor is treated as if it had one dimension
    if not -span <= dim < span:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-span}, {span - 1}], but got {dim})")
    return dim % span


def normalize_dims(dim: Any, ndim: int) -> tuple[int, ...]:
    """Count dimensions from the front; None and the empty tuple mean all of them."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(ndim))
    dims = (dim,) if isinstance(dim, int) or not isinstance(dim, (tuple, list)) else dim
    result = tuple(normalize_dim(int(d), ndim) for d in dims)
    if len(set(result)) < len(result):
        raise RuntimeError(f"dim {dim} appears multiple times in the list of dims")
    return result if ndim else ()


def sizes(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """Accept a shape as one sequence or as separate numbers."""
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = tuple(shape[0])
    return tuple(int(n) for n in shape)


class View(Op, abstract=True):
    """An op whose result shows its input's memory in another way."""

    is_view = True
    promotes = False


class Reshape(View):
    """The same elements in row-major order in another shape."""

    def __init__(self, shape):
        self.target = shape

    def forward(self, xp, x):
        self.shape = x.shape
        return x.reshape(self.target)

    def vjp(self, g):
        return Reshape(self.shape)(g)

    def samples(draw):
        x = draw.array(draw.shape())
        target = draw.choice([(-1,), (1, *x.shape), x.shape[::-1], (x.size, 1)])
        return (x,), lambda x: reshape(x, target)


class Permute(View):
    """The dimensions in another order."""

    def __init__(self, dims):
        self.dims = dims

    def forward(self, xp, x):
        return x.transpose(self.dims)

    def vjp(self, g):
        inverse = [0] * len(self.dims)
        for i, d in enumerate(self.dims):
            inverse[d] = i
        return Permute(tuple(inverse))(g)

    def samples(draw):
        x = draw.array(draw.shape())
        dims = tuple(int(d) for d in draw.generator().permutation(x.ndim))
        return (x,), lambda x: permute(x, dims)


class BroadcastTo(View):
    """Repeated along new dimensions and along those of size 1, without a copy."""

    def __init__(self, shape):
        self.target = shape

    def forward(self, xp, x):
        self.shape = x.shape
        return xp.broadcast_to(x, self.target)

    def vjp(self, g):
        return sum_to(g, self.shape)

    def samples(draw):
        full = draw.shape(0, 4, 3)
        shape = tuple(1 if draw.flag() else n for n in full[draw.integer(0, len(full)) :])
        return (draw.array(shape),), lambda x: broadcast_to(x, full)


class Flip(View):
    """The elements in reverse order along some dimensions."""

    def __init__(self, dims):
        self.dims = dims

    def forward(self, xp, x):
        return xp.flip(x, self.dims) if x.ndim else x

    def vjp(self, g):
        return Flip(self.dims)(g)

    def samples(draw):
        x = draw.array(draw.shape())
        dims = draw.dims(x.ndim)
        return (x,), lambda x: flip(x, normalize_dims(dims, x.ndim))


class Roll(Op):
    """The elements moved along some dimensions; what leaves at one end comes back at the other."""

    def __init__(self, shifts, dims):
        self.shifts, self.dims = shifts, dims

    def forward(self, xp, x):
        return xp.roll(x, self.shifts, self.dims)

    def vjp(self, g):
        back = tuple(-s for s in self.shifts) if isinstance(self.shifts, tuple) else -self.shifts
        return Roll(back, self.dims)(g)

    def samples(draw):
        x = draw.array(draw.shape(1))
        shift, dim = draw.integer(-5, 5), draw.choice([None, 0, -1, (0, -1)])
        return (x,), lambda x: roll(x, (shift, 1) if isinstance(dim, tuple) else shift, dim)


class Diagonal(View):
    """The elements with equal indices in two dimensions (plus an offset); the diagonal becomes the last dimension."""

    def __init__(self, offset, dim1, dim2):
        self.arguments_ = offset, dim1, dim2

    def forward(self, xp, x):
        self.shape = x.shape
        return xp.diagonal(x, *self.arguments_)

    def vjp(self, g):
        return DiagonalScatter(self.shape, *self.arguments_)(g)

    def samples(draw):
        x = draw.array(draw.shape(2, 4))
        dim1, dim2 = draw.choice([(0, 1), (-1, -2), (1, 0)])
        offset = draw.integer(-1, 1)
        return (x,), lambda x: diagonal(x, offset, dim1, dim2)


class DiagonalScatter(Op):
    """Zeros with the given diagonal: the transpose of ``Diagonal``."""

    promotes = False

    def __init__(self, shape, offset, dim1, dim2):
        self.shape, self.arguments_ = shape, (offset, dim1, dim2)

    def forward(self, xp, g):
        offset, dim1, dim2 = self.arguments_
        ndim = len(self.shape)
        dim1, dim2 = dim1 % ndim, dim2 % ndim
        x = xp.zeros(self.shape, dtype=g.dtype)
        steps = xp.arange(g.shape[-1])
        moved = x.transpose([i for i in range(ndim) if i not in (dim1, dim2)] + [dim1, dim2])
        moved[..., steps + max(-offset, 0), steps + max(offset, 0)] = g
        return x

    def vjp(self, gx):
        return Diagonal(*self.arguments_)(gx)

    def samples(draw):
        x = draw.array(draw.shape(2, 3))
        g = x.diagonal(0, 0, 1)
        return (g.copy(),), lambda g: DiagonalScatter(x.shape, 0, 0, 1)(g)


class Tril(Op):
    """The lower triangle of the last two dimensions, up to the diagonal ``k``; zeros above."""

    def __init__(self, k, upper=False):
        self.k, self.upper = k, upper

    def forward(self, xp, x):
        return (xp.triu if self.upper else xp.tril)(x, self.k)

    def vjp(self, g):
        return Tril(self.k, self.upper)(g)

    def samples(draw):
        x = draw.array(draw.shape(2, 4))
        k, upper = draw.integer(-2, 2), draw.flag()
        return (x,), lambda x: (triu if upper else tril)(x, k)


class Cat(Op):
    """Tensors one after another along a dimension."""

    def __init__(self, dim):
        self.dim = dim

    def forward(self, xp, *xs):
        self.lengths = [x.shape[self.dim] for x in xs]
        return xp.concatenate(xs, axis=self.dim)

    def vjp(self, g):
        results, start = [], 0
        for length, need in zip(self.lengths, self.needs, strict=True):
            part = (slice(None),) * self.dim + (slice(start, start + length),)
            results.append(g[part] if need else None)
            start += length
        return results

    def samples(draw):
        shape = list(draw.shape(1))
        dim = draw.integer(0, len(shape) - 1)
        arrays = []
        for _ in range(draw.integer(1, 3)):
            shape[dim] = draw.integer(0, 3)
            arrays.append(draw.array(shape))
        return tuple(arrays), lambda *xs: cat(xs, dim)


# -- public functions -------------------------------------------------------------------------------------------------


def reshape(input: Any, *shape: Any) -> Any:
    """The same elements in another shape; one dimension may be −1. A view where memory allows, else a copy.

    Raises:
        RuntimeError: if the number of elements differs.
    """
    target = sizes(shape)
    known = math.prod(n for n in target if n != -1)
    size = raw(input).size
    if target.count(-1) > 1 or (known != size if -1 not in target else (known == 0 or size % known) and (size or not known)):
        raise RuntimeError(f"shape '{list(target)}' is invalid for input of size {size} (shape {tuple(input.shape)})")
    return Reshape(target)(input)


def view(input: Tensor, *shape: Any) -> Tensor:
    """``reshape``, or with a dtype the same Tensor cast to it.

    PyTorch's ``view`` refuses where a copy is needed; here channels-last memory is common, so it copies instead.
    """
    return reshape(input, *shape)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join the dimensions from ``start_dim`` to ``end_dim`` into one."""
    start, end = normalize_dim(start_dim, input.ndim), normalize_dim(end_dim, input.ndim)
    if input.ndim == 0:
        return reshape(input, (1,))
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    middle = math.prod(input.shape[start : end + 1])
    return reshape(input, (*input.shape[:start], middle, *input.shape[end + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Split one dimension into several."""
    dim = normalize_dim(dim, input.ndim)
    sizes = list(sizes)
    if -1 in sizes:
        rest = math.prod(n for n in sizes if n != -1)
        sizes[sizes.index(-1)] = input.shape[dim] // rest if rest else 0
    if math.prod(sizes) != input.shape[dim]:
        raise RuntimeError(f"unflatten: Provided sizes {sizes} don't multiply up to the size of dim {dim} ({input.shape[dim]})")
    return reshape(input, (*input.shape[:dim], *sizes, *input.shape[dim + 1 :]))


def permute(input: Any, *dims: Any) -> Any:
    """The dimensions in the given order."""
    order = sizes(dims)
    normal = tuple(normalize_dim(d, input.ndim) for d in order)
    if sorted(normal) != list(range(input.ndim)):
        raise RuntimeError(f"permute(dims): {order} is not an ordering of the {input.ndim} dimensions of shape {tuple(input.shape)}")
    return Permute(normal)(input)


def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """Two dimensions exchanged."""
    dim0, dim1 = normalize_dim(dim0, input.ndim), normalize_dim(dim1, input.ndim)
    order = list(range(input.ndim))
    if order:
        order[dim0], order[dim1] = dim1, dim0
    return Permute(tuple(order))(input)


def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Dimensions moved to other places, the rest in their old order."""
    source, destination = normalize_dims(source, input.ndim), normalize_dims(destination, input.ndim)
    if len(source) != len(destination):
        raise RuntimeError(f"movedim: source {source} and destination {destination} must have the same number of dimensions")
    order = [d for d in range(input.ndim) if d not in source]
    for to, origin in sorted(zip(destination, source, strict=True)):
        order.insert(to, origin)
    return Permute(tuple(order))(input)


def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; a vector stays as it is."""
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return transpose(input, 0, -1)


def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without dimensions of size 1: all of them, or those in ``dim``."""
    dims = () if dim in ((), []) else normalize_dims(dim, input.ndim) if dim is not None else range(input.ndim)
    return Reshape(tuple(n for i, n in enumerate(input.shape) if n != 1 or i not in dims))(input)


def unsqueeze(input: Any, dim: int) -> Any:
    """With a new dimension of size 1 at ``dim``."""
    dim = normalize_dim(dim, input.ndim + 1)
    return Reshape((*input.shape[:dim], 1, *input.shape[dim:]))(input)


def broadcast_to(input: Any, *shape: Any) -> Any:
    """Repeated along new dimensions and along those of size 1, without a copy."""
    return BroadcastTo(sizes(shape))(input)


def expand(input: Tensor, *shape: Any) -> Tensor:
    """As ``broadcast_to``; −1 keeps a dimension as it is."""
    target = list(sizes(shape))
    extra = len(target) - input.ndim
    for i, n in enumerate(target):
        have = input.shape[i - extra] if i >= extra else None
        if n == -1 and have is not None:
            target[i] = have
        elif extra < 0 or n < 0 or (have not in (None, 1, n)):
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) at non-singleton dimension {i}. "
                f"Target sizes: {list(sizes(shape))}. Tensor sizes: {list(input.shape)}"
            )
    return BroadcastTo(tuple(target))(input)


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Expanded to the shape of ``other``."""
    return expand(input, other.shape)


def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """The whole Tensor repeated along each dimension (copies)."""
    counts = sizes(repeats)
    if len(counts) < input.ndim:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor: "
            f"{counts} for shape {input.shape}"
        )
    shape = (1,) * (len(counts) - input.ndim) + tuple(input.shape)
    doubled = [m for n in shape for m in (1, n)]
    spread = [m for r, n in zip(counts, shape, strict=True) for m in (r, n)]
    return reshape(broadcast_to(reshape(input, doubled), spread), [r * n for r, n in zip(counts, shape, strict=True)])


def tile(input: Tensor, *dims: Any) -> Tensor:
    """As ``repeat``, with missing leading counts taken as 1."""
    counts = sizes(dims)
    return repeat(input, (1,) * (input.ndim - len(counts)) + counts)


def repeat_interleave(input: Tensor, repeats: Any, dim: int | None = None, *, output_size: int | None = None) -> Tensor:
    """Each element repeated ``repeats`` times, next to itself; a Tensor gives a number for each element along ``dim``."""
    x = reshape(input, (-1,)) if dim is None else input
    dim = 0 if dim is None else normalize_dim(dim, x.ndim)
    if hasattr(repeats, "dtype"):
        xp, counts = backend_of_any(x), raw(repeats).reshape(-1)
        if counts.size not in (1, x.shape[dim]):
            raise RuntimeError(f"repeats must be 0-dim or have the same size as input along dim {dim}, got {counts.size}")
        counts = xp.broadcast_to(counts, (x.shape[dim],))
        index = xp.repeat(xp.arange(x.shape[dim]), counts if xp.xp.__name__ == "numpy" else counts.tolist())
        return x[(slice(None),) * dim + (Tensor.wrap(index),)]
    shape = tuple(x.shape)
    wide = broadcast_to(unsqueeze(x, dim + 1), (*shape[: dim + 1], repeats, *shape[dim + 1 :]))
    return reshape(wide, (*shape[:dim], shape[dim] * repeats, *shape[dim + 1 :]))


def flip(input: Any, *axes: Any, dims: Any = None) -> Any:
    """The elements in reverse order along the given dimensions: ``flip(x, 0, 1)``, ``flip(x, (0, 1))``, ``flip(x, dims=(0, 1))``."""
    chosen = sizes(axes if dims is None else (dims,) if isinstance(dims, int) else tuple(dims))
    return Flip(normalize_dims(chosen, input.ndim) if chosen else ())(input)


def fliplr(input: Any) -> Any:
    """The columns (dimension 1) in reverse order."""
    if input.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


def flipud(input: Any) -> Any:
    """The rows (dimension 0) in reverse order."""
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """The elements moved by ``shifts`` along ``dims`` (without ``dims``: in the flattened Tensor)."""
    steps = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    if dims is None:
        if len(steps) != 1:
            raise RuntimeError(f"roll: without dims one shift is needed, got {steps}")
        return Roll(steps[0], None)(input)
    along = (dims,) if isinstance(dims, int) else tuple(dims)
    if len(steps) != len(along):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(steps)}, dims:{len(along)}")
    if input.ndim == 0 and along:
        raise IndexError(f"Dimension specified as {along[0]} but tensor has no dimensions")
    return Roll(steps, tuple(normalize_dim(d, input.ndim) for d in along))(input)


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of two dimensions, as the last dimension."""
    dim1, dim2 = normalize_dim(dim1, input.ndim), normalize_dim(dim2, input.ndim)
    if dim1 == dim2:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return Diagonal(offset, dim1, dim2)(input)


def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Zeros with the last dimension of ``input`` as the diagonal of two new dimensions."""
    ndim = input.ndim + 1
    dim1, dim2 = normalize_dim(dim1, ndim), normalize_dim(dim2, ndim)
    if dim1 == dim2:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    shape = list(input.shape[:-1])
    for d in sorted((dim1, dim2)):
        shape.insert(d, input.shape[-1] + abs(offset))
    return DiagonalScatter(tuple(shape), offset, dim1, dim2)(input)


def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix."""
    if input.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.ndim}")
    return diagonal(input).sum()


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, or the matrix with this diagonal."""
    if input.ndim == 2:
        return Diagonal(diagonal, 0, 1)(input)
    if input.ndim != 1:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    n = input.shape[0] + (diagonal if diagonal >= 0 else -diagonal)
    return DiagonalScatter((n, n), diagonal, 0, 1)(input)


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle, zeros above ``diagonal``."""
    if input.ndim < 2:
        raise RuntimeError(f"tril: input tensor must have at least 2 dimensions, got shape {tuple(input.shape)}")
    return Tril(diagonal)(input)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle, zeros below ``diagonal``."""
    if input.ndim < 2:
        raise RuntimeError(f"triu: input tensor must have at least 2 dimensions, got shape {tuple(input.shape)}")
    return Tril(diagonal, upper=True)(input)


def cat(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Tensors joined along an existing dimension.

    Raises:
        ValueError: if there are none.
        RuntimeError: if their other dimensions differ.
    """
    tensors = list(tensors)
    if not tensors:
        raise ValueError("cat(): expected a non-empty list of Tensors")
    for i, x in enumerate(tensors):
        if not hasattr(x, "shape"):
            raise TypeError(f"cat(): expected Tensor as element {i}, but got {type(x).__name__}")
    if any(x.ndim != 1 for x in tensors):  # as in PyTorch, an empty vector goes with anything
        tensors = [x for x in tensors if x.shape != (0,)]
    first = tensors[0]
    if first.ndim == 0:
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    dim = normalize_dim(dim, first.ndim)
    for i, x in enumerate(tensors):
        if x.ndim != first.ndim or any(d != dim and n != first.shape[d] for d, n in enumerate(x.shape)):
            raise RuntimeError(
                f"Sizes of tensors must match except in dimension {dim}. Expected {tuple(first.shape)} but got "
                f"{tuple(x.shape)} for tensor number {i} in the list."
            )
    return Cat(dim)(*tensors)


def stack(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Tensors of one shape joined along a new dimension.

    Raises:
        RuntimeError: if there are none, or their shapes differ.
    """
    tensors = list(tensors)
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    for i, x in enumerate(tensors):
        if x.shape != tensors[0].shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(tensors[0].shape)} at entry 0 and "
                f"{list(x.shape)} at entry {i}"
            )
    return cat([unsqueeze(x, dim) for x in tensors], normalize_dim(dim, tensors[0].ndim + 1))


def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut along ``dim`` into parts of one size (the last may be smaller), or of the sizes listed."""
    dim = normalize_dim(dim, tensor.ndim)
    total = tensor.shape[dim]
    if isinstance(split_size_or_sections, int):
        step = split_size_or_sections
        if step < 0 or (step == 0 and total):
            raise RuntimeError(f"split expects split_size be positive, but got split_size={step}")
        sections = [min(step, total - i) for i in range(0, total, step or 1)] or [0]
    else:
        sections = [int(n) for n in split_size_or_sections]
        if sum(sections) != total:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {total} (input tensor's size at dimension {dim}), "
                f"but got split_sizes={sections}"
            )
    parts, start = [], 0
    for n in sections:
        parts.append(tensor[(slice(None),) * dim + (slice(start, start + n),)])
        start += n
    return tuple(parts)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut along ``dim`` into at most ``chunks`` parts of equal size (the last may be smaller)."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    return split(input, max(1, -(-input.shape[normalize_dim(dim, input.ndim)] // chunks)), dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along ``dim``, which disappears."""
    dim = normalize_dim(dim, input.ndim)
    return tuple(input[(slice(None),) * dim + (i,)] for i in range(input.shape[dim]))


def ravel(input: Any) -> Any:
    """All elements in one dimension."""
    return reshape(input, (-1,))


def broadcast_tensors(*tensors: Any) -> tuple[Any, ...]:
    """All Tensors broadcast to their common shape."""
    xs = list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else list(tensors)
    shape = np.broadcast_shapes(*(tuple(x.shape) for x in xs))
    return tuple(broadcast_to(x, shape) for x in xs)


def hstack(tensors: Sequence[Any]) -> Any:
    """Joined side by side: along dimension 1 (along 0 for vectors)."""
    xs = [reshape(x, (1,)) if x.ndim == 0 else x for x in tensors]
    if not xs:
        raise RuntimeError("hstack expects a non-empty TensorList")
    return cat(xs, 0 if xs and xs[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Any]) -> Any:
    """Joined one below the other: along dimension 0; vectors become rows."""
    xs = [reshape(x, (1, x.numel())) if x.ndim < 2 else x for x in tensors]
    if not xs:
        raise RuntimeError("vstack expects a non-empty TensorList")
    return cat(xs, 0)


def column_stack(tensors: Sequence[Any]) -> Any:
    """Vectors as the columns of a matrix; matrices side by side."""
    return hstack([reshape(x, (-1, 1)) if x.ndim < 2 else x for x in tensors])
