"""Changing the shape, order or number of dimensions; joining and repeating. Most results are views."""

from __future__ import annotations

import math
import operator
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
    result = tuple(normalize_dim(operator.index(d), ndim) for d in dims)
    if len(set(result)) < len(result):
        raise RuntimeError(f"dim {dim} appears multiple times in the list of dims")
    return result if ndim else ()


def sizes(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """Accept a shape as one sequence or as separate numbers.

    Raises:
        TypeError: if they are not whole numbers.
    """
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = tuple(shape[0])
    try:
        return tuple([operator.index(n) for n in shape])
    except TypeError as error:
        raise TypeError(f"expected whole numbers, got {shape}") from error


class View(Op, abstract=True):
    """An op whose result shows its input's memory in another way."""

    is_view = True
    promotes = False


def writable(view: Any, x: Any) -> Any:
    """A view of x that NumPy made read-only; writable as x is, where every element has memory of its own."""
    if isinstance(view, np.ndarray) and x.flags.writeable:
        steps = zip(view.strides, view.shape, strict=True)
        view.flags.writeable = all(step != 0 or size < 2 for step, size in steps)
    return view


class Reshape(View):
    """The same elements in row-major order in another shape."""

    def __init__(self, shape):
        self.target = shape

    def forward(self, xp, x):
        self.shape = x.shape
        return xp.reshaped(x, self.target)

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
        return writable(xp.broadcast_to(x, self.target), x)

    def vjp(self, g):
        return sum_to(g, self.shape)

    def samples(draw):
        full = draw.shape(0, 4, 3)
        shape = tuple(1 if draw.flag() else n for n in full[draw.integer(0, len(full)) :])
        return (draw.array(shape),), lambda x: broadcast_to(x, full)


class Flip(Op):
    """The elements in reverse order along some dimensions. A copy, as in PyTorch."""

    promotes = False

    def __init__(self, dims):
        self.dims = dims

    def forward(self, xp, x):
        return xp.flip(x, self.dims).copy()

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


# -- public functions -------------------------------------------------------------------------------------------------


def reshape(input: Any, *shape: Any) -> Any:
    """The same elements in another shape; one dimension may be −1. A view where memory allows, else a copy.

    Raises:
        RuntimeError: if the number of elements differs.
    """
    target = sizes(shape)
    known = math.prod(n for n in target if n != -1)
    size = raw(input).size
    if target.count(-1) > 1 or (
        known != size if -1 not in target else (known == 0 or size % known) and (size or not known)
    ):
        raise RuntimeError(f"shape '{list(target)}' is invalid for input of size {size} (shape {tuple(input.shape)})")
    return Reshape(target)(input)


def view(input: Tensor, *shape: Any) -> Tensor:
    """``reshape``. (With a dtype, which reads the memory's bits anew in PyTorch: not here.)

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
        raise RuntimeError(
            f"unflatten: Provided sizes {sizes} don't multiply up to the size of dim {dim} ({input.shape[dim]})"
        )
    return reshape(input, (*input.shape[:dim], *sizes, *input.shape[dim + 1 :]))


def permute(input: Any, *dims: Any) -> Any:
    """The dimensions in the given order."""
    order = sizes(dims)
    normal = tuple(normalize_dim(d, input.ndim) for d in order)
    if sorted(normal) != list(range(input.ndim)):
        raise RuntimeError(
            f"permute(dims): {order} is not an ordering of the {input.ndim} dimensions of shape {tuple(input.shape)}"
        )
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
        raise RuntimeError(
            f"movedim: source {source} and destination {destination} must have the same number of dimensions"
        )
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
    if extra < 0:
        raise RuntimeError(
            f"expand: the number of sizes provided ({len(target)}) must be greater or equal to the number of dimensions in "
            f"the tensor ({input.ndim}): sizes {target} for shape {list(input.shape)}"
        )
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
    wide = broadcast_to(reshape(input, doubled), spread)
    return _copy(reshape(wide, [r * n for r, n in zip(counts, shape, strict=True)]))


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
            raise RuntimeError(
                f"repeats must be 0-dim or have the same size as input along dim {dim}, got {counts.size}"
            )
        counts = xp.broadcast_to(counts, (x.shape[dim],))
        index = xp.repeat(xp.arange(x.shape[dim]), counts if xp.xp.__name__ == "numpy" else counts.tolist())
        return x[(slice(None),) * dim + (Tensor.wrap(index),)]
    shape = tuple(x.shape)
    wide = broadcast_to(unsqueeze(x, dim + 1), (*shape[: dim + 1], repeats, *shape[dim + 1 :]))
    return _copy(reshape(wide, (*shape[:dim], shape[dim] * repeats, *shape[dim + 1 :])))


def _copy(x: Tensor) -> Tensor:
    """x on memory of its own: a copy if it still shows what it was made of."""
    return x if x._base is None else x.clone()


def flip(input: Any, *axes: Any, dims: Any = None) -> Any:
    """The elements in reverse order along dimensions: ``flip(x, 0, 1)``, ``flip(x, (0, 1))``, ``flip(x, dims=(0, 1))``."""
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


def ravel(input: Any) -> Any:
    """All elements in one dimension."""
    return reshape(input, (-1,))


def broadcast_tensors(*tensors: Any) -> tuple[Any, ...]:
    """All Tensors broadcast to their common shape."""
    xs = list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else list(tensors)
    shape = np.broadcast_shapes(*(tuple(x.shape) for x in xs))
    return tuple(broadcast_to(x, shape) for x in xs)
