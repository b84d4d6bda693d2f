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

from minidl import tensor as tensor_module
from minidl.autograd.mode import mode
from minidl.autograd.node import edge_of
from minidl.ops.base import Op, cast
from minidl.ops.shape import broadcast_to
from minidl.tensor import Tensor


class WriteView(Op):
    """A copy of ``base`` in which the part that the view ops show is ``value``."""

    def __init__(self, views):
        self.views = views

    def forward(self, xp, base, value):
        y = base.copy()
        _look(self.views, y)[...] = value
        return y

    def vjp_base(self, g):
        return WriteView(self.views)(g, 0.0)

    def vjp_value(self, g):
        return _look(self.views, g)

    def samples(draw):
        from minidl.ops.indexing import GetItem
        from minidl.ops.shape import Permute, Reshape

        x = draw.array((draw.integer(2, 4), draw.integer(2, 3)))
        views = draw.choice([[GetItem((0,))], [Permute((1, 0)), GetItem((slice(None), 1))], [GetItem((slice(0, 1),)), Reshape((-1,))]])
        value = draw.array(_look(views, x).shape)
        return (x, value), lambda x, v: WriteView(views)(x, v)


def _look(views: Any, x: Any) -> Any:
    """Apply view ops to an array or Tensor."""
    for op in views:
        x = _again(op)(x)
    return x


def _again(op: Op) -> Op:
    """The same op for another call (an instance that has been recorded is a node of the graph)."""
    fresh = copy.copy(op)
    for name in ("edges", "number", "active", "saved", "released", "hooks", "retained", "made_at", "input_shapes"):
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
    view._node, view._output = anew._node, anew._output


tensor_module._refresh_view = refresh_view


def assign(x: Tensor, result: Tensor, name: str) -> Tensor:
    """Write ``result`` over ``x`` and give ``x`` its history."""
    if result.shape != x.shape:
        raise RuntimeError(
            f"{name}: output with shape {list(x.shape)} doesn't match the broadcast shape {list(result.shape)}"
        )
    if result.dtype != x.dtype:
        if result.dtype.kind == "f" and x.dtype.kind != "f":
            raise RuntimeError(f"{name}: result type {result.dtype} can't be cast to the desired output type {x.dtype}")
        result = cast(result, x.dtype)
    recorded = mode.recording and result.grad_fn is not None
    base = x._base
    if recorded and base is not None:
        new_base = WriteView(x._views)(old_value(base), result)
    x.array[...] = result.array
    x.bump_version(name)
    if not recorded:
        return x
    if base is None:
        x._node, x._output = result._node, result._output
    else:
        base._node, base._output = new_base._node, new_base._output
        refresh_view(x)
    return x


def forbid_leaf(x: Tensor, name: str) -> None:
    """An in-place change of a leaf would lose the leaf, and with it the place for its gradient.

    Raises:
        RuntimeError: if ``x`` is, or is a view of, a leaf that requires a gradient, while recording.
    """
    if not mode.recording:
        return
    if x.is_leaf and x._requires_grad:
        raise RuntimeError(f"{name}: a leaf Variable that requires grad is being used in an in-place operation.")
    base = x._base
    if base is not None and base._node is None and base._requires_grad:
        raise RuntimeError(f"{name}: a view of a leaf Variable that requires grad is being used in an in-place operation.")


def old_value(x: Tensor) -> Tensor:
    """A Tensor with the value and history that ``x`` has now, on memory of its own where its history matters."""
    needs_copy = mode.recording
    old = Tensor.wrap(x.array.copy() if needs_copy else x.array)
    edge = edge_of(x)
    if edge is not None and not isinstance(edge[0], Tensor):
        old._node, old._output = edge
    return old


def in_place(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The in-place method of an op: ``add_`` from ``add``."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        forbid_leaf(self, name)
        return assign(self, function(old_value(self), *args, **kwargs), name)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"``{function.__name__}`` in place: the result replaces this Tensor's values. Returns the Tensor."
    return method


def setitem(self: Tensor, index: Any, value: Any) -> None:
    """``self[index] = value``."""
    from minidl.ops.indexing import GetItem, IndexPut, is_basic, raw_index

    forbid_leaf(self, "__setitem__")
    index = raw_index(index, self.array)
    if not isinstance(value, (Tensor, int, float, bool)):
        value = Tensor.wrap(tensor_module._to_array(value, self.dtype, self.backend))
    if not (mode.recording and (self.requires_grad or (isinstance(value, Tensor) and value.requires_grad))):
        try:
            self.array[index] = value.array if isinstance(value, Tensor) else value
        except ValueError as error:
            shape = getattr(value, "shape", ())
            raise RuntimeError(
                f"shape mismatch: value tensor of shape {list(shape)} cannot be broadcast to indexing result of shape "
                f"{list(self.array[index].shape)}"
            ) from error
        self.bump_version("__setitem__")
        return
    if is_basic(index) and isinstance(value, Tensor):
        target = GetItem(index)(self.detach())
        value = broadcast_to(value.reshape(value.shape[max(0, value.ndim - target.ndim) :]), target.shape)
    assign(self, IndexPut(index)(old_value(self), value if not isinstance(value, Tensor) else cast(value, self.dtype)), "__setitem__")


def copy_(self: Tensor, src: Tensor) -> Tensor:
    """Copy the values of ``src`` (broadcast, cast, and moved between devices as needed) into this Tensor."""
    forbid_leaf(self, "copy_")
    src = src.to(device=self.device, dtype=self.dtype) if isinstance(src, Tensor) else tensor_module.Tensor(src)
    return assign(self, broadcast_to(src, self.shape) if src.shape != self.shape else src, "copy_")


def fill_(self: Tensor, value: Any) -> Tensor:
    """Set every element to ``value``."""
    forbid_leaf(self, "fill_")
    filled = Tensor.wrap(self.backend.full(self.shape, raw_number(value), dtype=self.dtype))
    history = mode.recording and self.requires_grad
    return assign(self, filled + old_value(self) * 0 if history else filled, "fill_")


def raw_number(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value


def zero_(self: Tensor) -> Tensor:
    """Set every element to 0."""
    return fill_(self, 0)
