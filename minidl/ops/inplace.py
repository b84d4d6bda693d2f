"""In-place operations, and what they mean for views and for the graph.

An in-place operation computes its result like any other (so its gradient is the ordinary one), writes it over the old
memory, and makes the Tensor the result of that operation. The version of the memory goes up, so that a ``backward()`` that
needs an old value notices.

A view and its base show the same memory. When one is changed, the other's history changes too: a change of a view is
recorded on the base as ``WriteView``; and a view whose memory has changed since it was made is made anew, by repeating its
view ops on the base, when somebody asks for its history.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from minidl.autograd.hooks import carry_retained
from minidl.autograd.mode import mode
from minidl.autograd.node import Node, edge_of
from minidl.ops.base import Op, at_place, cast, index_message
from minidl.ops.shape import broadcast_to, expand_as
from minidl.tensor import Tensor, to_array


class WriteView(Op):
    """A copy of ``base`` in which the part that the view ops show is ``value``."""

    def __init__(self, views):
        self.views = views

    def forward(self, xp, base, value):
        y = xp.array(base, order="C")  # a 0-d cotangent may have come as a number
        part = _look(self.views, y)
        if part is y or part.base is y:
            part[...] = value
        else:  # in this copy's memory layout the views give a copy; so follow the positions of the elements instead
            positions = _look(self.views, xp.arange(y.size).reshape(y.shape))
            y.reshape(-1)[positions] = value
        return y

    def vjp_base(self, g):
        return WriteView(self.views)(g, 0.0)

    def vjp_value(self, g):
        return _look(self.views, g)

    def samples(draw):
        from minidl.ops.indexing import GetItem
        from minidl.ops.shape import Permute, Reshape

        x = draw.array((draw.integer(2, 4), draw.integer(2, 3)))
        views = draw.choice(
            [
                (None, GetItem((0,))),
                ((None, Permute((1, 0))), GetItem((slice(None), 1))),
                ((None, GetItem((slice(0, 1),))), Reshape((-1,))),
                ((None, Permute((1, 0))), Reshape((-1,))),  # of an array in column-major order this is a view
            ]
        )
        value = draw.array(_look(views, x).shape)
        return (x, value), lambda x, v: WriteView(views)(x, v)


def _look(views: Any, x: Any) -> Any:
    """Apply view ops, linked as in ``Tensor._views``, to an array or Tensor."""
    ops = []
    while views is not None:
        views, op = views
        ops.append(op)
    for op in reversed(ops):
        x = _again(op)(x)
    return x


def _again(op: Op) -> Op:
    """The same op for another call (an instance that has been recorded is a node of the graph)."""
    fresh = copy.copy(op)
    for name in (*Node.__annotations__, *Op.__annotations__):  # what a call leaves on its node; parameters stay
        fresh.__dict__.pop(name, None)
    return fresh


def refresh_view(view: Tensor) -> None:
    """If the memory has changed since the view was recorded, record it anew from its base."""
    base, version = view._base, view.version
    if base is None or version.count == view._seen:
        return
    view._seen = version.count
    if view._requires_grad:  # a leaf of its own, such as detached.requires_grad_()
        return
    recording, mode.recording = mode.recording, True
    try:
        anew = _look(view._views, base)
    finally:
        mode.recording = recording
    _give_history(view, anew)


Tensor._refresh_view = refresh_view  # type: ignore[method-assign,assignment]


def assign(x: Tensor, result: Tensor, name: str) -> Tensor:
    """Write ``result`` over ``x`` and give ``x`` its history."""
    if result.shape != x.shape:
        raise RuntimeError(
            f"{name}: output with shape {list(x.shape)} doesn't match the broadcast shape {list(result.shape)}"
        )
    if result.dtype != x.dtype:
        if (result.dtype.kind == "f" and x.dtype.kind != "f") or x.dtype.kind == "b":
            raise RuntimeError(f"{name}: result type {result.dtype} can't be cast to the desired output type {x.dtype}")
        result = cast(result, x.dtype)
    recorded = mode.recording and result.grad_fn is not None
    base = x._base
    if recorded and base is not None:
        new_base = WriteView(x._views)(old_value(base), result)
    _write(x, Ellipsis, result.array, name)
    if not recorded:
        return x
    if base is None:
        _give_history(x, result)
    else:
        _give_history(base, new_base)
        refresh_view(x)
    return x


def _write(x: Tensor, index: Any, value: Any, name: str) -> None:
    try:
        x.array[index] = value
    except IndexError as error:
        raise IndexError(f"{name}: {index_message(error)} (shape {x.shape})") from error
    except ValueError as error:
        if getattr(getattr(x.array, "flags", None), "writeable", True):
            raise RuntimeError(
                f"{name}: shape mismatch: value tensor of shape {list(getattr(value, 'shape', ()))} cannot be broadcast to "
                f"indexing result of shape {list(x.array[index].shape)}"
            ) from error
        raise RuntimeError(
            f"{name}: unsupported operation: the memory is read-only, or more than one element of the written-to tensor "
            "refers to a single memory location (as after expand). Please clone() the tensor before performing the "
            "operation."
        ) from error
    x.bump_version(name)


def _give_history(x: Tensor, source: Tensor) -> None:
    before = x._node, x._output
    x._node, x._output = source._node, source._output
    carry_retained(x, *before)


def forbid_leaf(x: Tensor, name: str) -> None:
    """An in-place change of a leaf would lose the leaf, and with it the place for its gradient.

    So would one of memory that a ``Function`` (or a module with backward hooks) was given and passes on, with a gradient of its
    own: what it was given would not learn of the change.

    Raises:
        RuntimeError: if ``x`` is, or is a view of, such a Tensor that requires a gradient, while recording.
    """
    if not mode.recording:
        return
    for t in (x, x._base):
        node = None if t is None else t._node
        if t is not None and node is not None and t._output in node.passed_on:
            raise RuntimeError(
                f"{name}: Output {t._output} of {node.name} is a view and is being modified inplace. It shows memory that the "
                "function was given, and its gradient would not count the change: clone() it first."
            )
    if x.is_leaf and x._requires_grad:
        raise RuntimeError(f"{name}: a leaf Variable that requires grad is being used in an in-place operation.")
    base = x._base
    if base is not None and base._node is None and base._requires_grad:
        raise RuntimeError(
            f"{name}: a view of a leaf Variable that requires grad is being used in an in-place operation."
        )


def old_value(x: Tensor, copy: bool = True) -> Tensor:
    """A Tensor with the value and history that ``x`` has now; while recording on memory of its own (an op may save it)."""
    old = Tensor.wrap(x.array.copy() if copy and mode.recording else x.array)
    edge = edge_of(x)
    if edge is not None and not isinstance(edge[0], Tensor):
        old._node, old._output = edge
    return old


def apply_in_place(op: Op, x: Tensor, others: tuple[Any, ...], write: Callable[[Any], None], name: str) -> Tensor:
    """Let ``write`` change the memory of ``x``, and record ``op`` as what made it; returns ``x``.

    Cheaper than ``in_place``, which needs a copy of the old values: for ops whose gradient needs none of their inputs, on
    Tensors that are not views.
    """
    forbid_leaf(x, name)
    old = old_value(x, copy=False)
    write(x.array)
    x.bump_version(name)
    y = Tensor.wrap(x.array)
    y._version = x._version
    if mode.recording:
        op._record((old, *others), y)
        if y._node is not None:
            _give_history(x, y)
    return x


def in_place(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The in-place method of an op: ``add_`` from ``add``."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        forbid_leaf(self, name)
        recorded = mode.recording and _any_requires_grad(self, *args, *kwargs.values())
        return assign(self, function(old_value(self) if recorded else self.detach(), *args, **kwargs), name)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"``{function.__name__}`` in place: the result replaces this Tensor's values. Returns the Tensor."
    return method


def in_place_sum(op: type[Op], function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """``in_place`` of a sum, which takes the cheaper way where the operands are float Tensors of one shape and dtype."""
    general = in_place(function, name)

    def method(self: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
        a, b = self.array, other.array if isinstance(other, Tensor) else None
        alike = (
            b is not None and type(a) is type(b) and a.shape == b.shape and a.dtype == b.dtype and a.dtype.kind == "f"
        )
        if not alike or alpha != 1 or self._base is not None or not getattr(a.flags, "writeable", True):
            return general(self, other, alpha=alpha)
        return apply_in_place(op(), self, (other,), lambda x: self.backend.add_into(x, b), name)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = general.__doc__
    return method


def setitem(self: Tensor, index: Any, value: Any) -> None:
    """``self[index] = value``."""
    from minidl.ops.indexing import GetItem, is_basic, raw_index, split_index

    forbid_leaf(self, "__setitem__")
    index = raw_index(index, self.array)
    parts = None if is_basic(index) else split_index(index)
    if parts is None:
        _put(self, index, value, "__setitem__")
    else:
        _put(GetItem(parts[0])(self), parts[1], value, "__setitem__")


def _put(self: Tensor, index: tuple[Any, ...], value: Any, name: str) -> None:
    """Write ``value``, a Tensor or number, to the elements at ``index``, which lose the history they had."""
    from minidl.ops.indexing import GetItem, IndexPut, is_basic

    if value is None:
        raise TypeError(f"{name}: can't assign a NoneType to a {self.dtype} Tensor")
    if not isinstance(value, (Tensor, int, float, bool)):
        value = Tensor.wrap(to_array(value, self.dtype, self.backend))
    if isinstance(value, Tensor) and type(value.array) is not type(self.array):
        if value.ndim:
            raise RuntimeError(
                f"{name}: Expected all tensors to be on the same device, but found at least two devices, {self.device} "
                f"and {value.device}!{at_place()}"
            )
        value = value.to(self.device)
    if not (mode.recording and _any_requires_grad(self, value)):
        if isinstance(value, Tensor) and value.ndim and value.array.size == 1 and not any(i is Ellipsis for i in index):
            index = (*index, Ellipsis)  # or NumPy would not take it for a number
        _write(self, index, value.array if isinstance(value, Tensor) else value, name)
        return
    if is_basic(index) and isinstance(value, Tensor):
        target = GetItem(index)(self.detach())
        value = broadcast_to(value.reshape(value.shape[max(0, value.ndim - target.ndim) :]), target.shape)
    if isinstance(value, Tensor) and value.dtype != self.dtype:
        value = cast(value, self.dtype)
    assign(self, IndexPut(index)(old_value(self), value), name)


def copy_(self: Tensor, src: Tensor) -> Tensor:
    """Copy the values of ``src`` (broadcast, cast, and moved between devices as needed) into this Tensor."""
    forbid_leaf(self, "copy_")
    src = src.to(device=self.device, dtype=self.dtype) if isinstance(src, Tensor) else Tensor(src)
    _put(self, (Ellipsis,), expand_as(src, self), "copy_")
    return self


def fill_(self: Tensor, value: Any) -> Tensor:
    """Set every element to ``value``."""
    forbid_leaf(self, "fill_")
    if isinstance(value, Tensor) and value.ndim:
        raise RuntimeError(f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} dimensions.")
    _put(self, (Ellipsis,), value, "fill_")
    return self


def zero_(self: Tensor) -> Tensor:
    """Set every element to 0."""
    forbid_leaf(self, "zero_")
    _put(self, (Ellipsis,), 0, "zero_")
    return self


def _any_requires_grad(*values: Any) -> bool:
    return any(isinstance(x, Tensor) and x.requires_grad for x in values)
