"""Tensor: an array that remembers how it was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import dtypes
from minidl.backend import Backend, backend_for, backend_of, device, is_array
from minidl.printing import format_tensor

if TYPE_CHECKING:
    from minidl.autograd.node import Node
    from minidl.ops.methods import TensorMethods
else:

    class TensorMethods:
        """The ops as methods; ``minidl.ops.methods`` fills it in, because ops import Tensor and not the reverse."""


class Version:
    """Counts the in-place changes of one piece of memory; a Tensor and its views share it."""

    count = 0
    changed_by = ""


class Tensor(TensorMethods):
    """A multi-dimensional array that takes part in automatic differentiation.

    Make one with ``minidl.tensor(data)``. Every operation on Tensors gives a Tensor; if one of the operands requires a
    gradient, the result also remembers the operation (``grad_fn``), and ``backward()`` walks these memories back to the
    Tensors that were made by hand (the leaves) and adds up their ``grad``.

    Attributes:
        array: the NumPy or CuPy array itself.
        grad: the gradient that ``backward()`` has accumulated here, or None.

    Example:
        >>> x = minidl.tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        tensor([2., 4.])
    """

    array: Any
    grad: Tensor | None = None
    _requires_grad = False
    _node: Node | None = None  # the op that made it, if that op was recorded
    _output = 0  # which of that op's outputs it is
    _version: Version | None = None
    _base: Tensor | None = None  # of a view: the Tensor whose memory it shows …
    _views: tuple[Any, Any] | None = None  # … through these view ops: (those before the last one or None, the last one)
    _seen = 0  # the version of the memory when _node was recorded; see minidl.ops.inplace
    _hooks: dict[int, Callable[[Tensor], Tensor | None]] | None = None  # of a leaf; a node keeps its own

    __array_ufunc__ = None  # so that `array * tensor` reaches Tensor.__rmul__

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        self.array = data.array if isinstance(data, Tensor) else to_array(data, None, backend_for(None))
        if requires_grad:
            self.requires_grad_()

    @staticmethod
    def wrap(array: Any) -> Tensor:
        """Return a Tensor around this very array, without a copy or a check."""
        t = Tensor.__new__(Tensor)
        t.array = array
        return t

    # -- what it is ---------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def size(self, dim: int | None = None) -> Any:
        """Return the shape, or the length along ``dim``."""
        return self.shape if dim is None else self.shape[dim]

    @property
    def ndim(self) -> int:
        return self.array.ndim

    def dim(self) -> int:
        """Return the number of dimensions."""
        return self.array.ndim

    def numel(self) -> int:
        """Return the number of elements."""
        return self.array.size

    nelement, ndimension = numel, dim

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    @property
    def backend(self) -> Backend:
        return backend_of(self.array)

    @property
    def device(self) -> device:
        name = self.backend.name
        return device(name, self.array.device.id) if name == "cuda" else device(name)

    @property
    def is_cuda(self) -> bool:
        return self.backend.name == "cuda"

    def is_floating_point(self) -> bool:
        """True if the dtype is a floating point type."""
        return dtypes.is_floating(self.dtype)

    def is_contiguous(self) -> bool:
        """True if the elements lie in row-major order without gaps."""
        return self.array.flags.c_contiguous

    def stride(self) -> tuple[int, ...]:
        """Return the step along each dimension, in elements."""
        return tuple(s // self.array.itemsize for s in self.array.strides)

    def element_size(self) -> int:
        """Return the size of an element in bytes."""
        return self.array.itemsize

    # -- its place in the graph ---------------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        return self._requires_grad or self.grad_fn is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Say whether ``backward()`` shall compute a gradient for this leaf. Returns the Tensor.

        Raises:
            RuntimeError: for an integer Tensor, or when taking the flag from a Tensor that an op made.
        """
        if requires_grad and not self.is_floating_point():
            raise RuntimeError(f"only Tensors of floating point dtype can require gradients, this one is {self.dtype}")
        if self._node is not None:
            if not requires_grad:
                raise RuntimeError(
                    "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a "
                    "subgraph that doesn't require differentiation use var_no_grad = var.detach()."
                )
            return self
        self._requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        return self.grad_fn is None

    @property
    def grad_fn(self) -> Node | None:
        if self._base is not None:
            self._refresh_view()
        return self._node

    def _refresh_view(self) -> None:
        """Bring a view's history up to date. ``minidl.ops.inplace`` puts the code here (imports run one way)."""

    @property
    def version(self) -> Version:
        if self._version is None:
            self._version = Version()
        return self._version

    def bump_version(self, changed_by: str = "a direct write to .array") -> None:
        """Tell autograd that the memory was changed. Whoever writes into ``.array`` calls this."""
        version = self.version
        version.count += 1
        version.changed_by = changed_by

    def detach(self) -> Tensor:
        """Return a Tensor on the same memory that autograd does not follow."""
        t = Tensor.wrap(self.array)
        t._version = self.version
        return t

    @property
    def data(self) -> Tensor:
        return Tensor.wrap(self.array)  # unlike detach(), what is changed through it goes unnoticed, as in PyTorch

    @data.setter
    def data(self, value: Tensor) -> None:
        self.array = value.array
        self.bump_version("assigning .data")

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Sequence[Tensor] | None = None,
    ) -> None:
        """Add the gradient of this Tensor to the ``grad`` of every leaf it was computed from.

        Args:
            gradient: the cotangent, of this Tensor's shape; may be left out for a single number.
            retain_graph: keep what the ops saved, so that ``backward()`` may be called again (default: ``create_graph``).
            create_graph: record the computation of the gradients, so that they can be differentiated in turn.
            inputs: accumulate into these Tensors only.

        Raises:
            RuntimeError: if it does not require a gradient, is not a single number and ``gradient`` is missing, or its
                graph has been used up by an earlier ``backward()``.
        """
        from minidl.autograd.engine import backward

        backward(self, gradient, retain_graph, create_graph, inputs)

    def retain_grad(self) -> None:
        """Keep this Tensor's gradient in ``.grad`` too, though it is not a leaf."""
        from minidl.autograd.hooks import retain_grad

        retain_grad(self)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Any:
        """Call ``hook(gradient)`` whenever this Tensor's gradient is computed; what it returns, if anything, replaces it.

        Returns:
            A handle with ``remove()``.
        """
        from minidl.autograd.hooks import register_hook

        return register_hook(self, hook)

    # -- to elsewhere -------------------------------------------------------------------------------------------------

    def numpy(self) -> np.ndarray:
        """Return the NumPy array behind a CPU Tensor, sharing its memory.

        Raises:
            RuntimeError: if the Tensor requires a gradient (detach it first).
            TypeError: if it lives on a GPU (``.cpu()`` first).
        """
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        if type(self.array) is not np.ndarray and self.device.type != "cpu":
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. "
                "Use Tensor.cpu() to copy the tensor to host memory first."
            )
        return self.array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def item(self) -> Any:
        """Return the only element as a Python number.

        Raises:
            RuntimeError: if there is not exactly one element.
        """
        if self.array.size != 1:
            raise RuntimeError(f"a Tensor with {self.array.size} elements cannot be converted to Scalar: {self.shape}")
        return self.array.item()

    def tolist(self) -> Any:
        """Return the elements as nested Python lists (or one number)."""
        return self.backend.to_numpy(self.array).tolist()

    def __float__(self) -> float:
        return float(self._only())

    def __int__(self) -> int:
        return int(self._only())

    def _only(self) -> Any:
        if self.array.size != 1:
            raise ValueError(f"only one element tensors can be converted to Python scalars, not shape {self.shape}")
        return self.array.item()

    def __index__(self) -> int:
        if self.dtype.kind not in "iub":
            raise TypeError(
                f"only integer tensors of a single element can be converted to an index, this one is {self.dtype}"
            )
        return int(self.item())

    def __bool__(self) -> bool:
        if self.array.size != 1:
            amount = "more than one value" if self.array.size else "no values"
            raise RuntimeError(f"Boolean value of Tensor with {amount} is ambiguous (shape {self.shape})")
        return bool(self.item())

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return iter([self[i] for i in range(len(self))])

    __hash__ = object.__hash__  # by identity, since == compares the elements

    def __repr__(self) -> str:
        return format_tensor(self)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.ndim == 0 and spec else str(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self._node is not None:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment"
            )
        t = type(self).__new__(type(self))
        memo[id(self)] = t
        t.array = self.array.copy()
        t._requires_grad = self._requires_grad
        if self.grad is not None:
            t.grad = self.grad.__deepcopy__(memo)
        return t

    def __reduce__(self) -> Any:
        # What an op made becomes a leaf: its history stays behind.
        return _rebuild, (type(self), self.backend.to_numpy(self.array), self.device.type, self.requires_grad)


def _rebuild(cls: type[Tensor], array: np.ndarray, place: str, requires_grad: bool) -> Tensor:
    t = cls.__new__(cls)
    t.array = backend_for(place).from_numpy(array)
    t._requires_grad = requires_grad
    return t


def to_array(data: Any, dtype: Any, backend: Backend) -> Any:
    """A fresh array of ``data``: Python numbers become float32 or int64, arrays keep their dtype, in native byte order."""
    if isinstance(data, Tensor):
        data = data.array
    elif isinstance(data, (list, tuple)):
        data = _unwrap(data)
    if isinstance(data, backend.array_type):
        if dtype is None and data.dtype.isnative:
            return data.copy()
        return data.astype(native(data.dtype) if dtype is None else dtype, copy=True)
    if is_array(data):
        data = backend_of(data).to_numpy(data)
    try:
        array = np.array(data, dtype=dtype)
    except ValueError as error:
        raise ValueError(f"tensor(): expected numbers, or sequences of equal length at every depth; {error}") from error
    if array.dtype.kind not in "biuf":
        raise TypeError(f"tensor(): cannot make a Tensor of dtype {array.dtype} from {type(data).__name__}")
    first = data
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    if dtype is None and array.dtype == np.float64 and not isinstance(first, (np.ndarray, np.generic)):
        array = array.astype(dtypes.get_default_dtype())
    return backend.from_numpy(array.astype(native(array.dtype), copy=False))


def native(dtype: np.dtype) -> np.dtype:
    """The dtype in this machine's byte order: the compiled kernels know no other one."""
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def _unwrap(data: Any) -> Any:
    """Nested lists with every Tensor in them replaced by its numbers."""
    if isinstance(data, Tensor):
        return data.item() if data.ndim == 0 else data.tolist()
    return [_unwrap(x) for x in data] if isinstance(data, (list, tuple)) else data
