"""Functions called on the way back: tensor hooks, and keeping the gradient of a Tensor that is not a leaf."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from minidl.autograd.node import count
from minidl.tensor import Tensor


class RemovableHandle:
    """What registering a hook returns; ``remove()`` takes the hook away again (also at the end of a ``with`` block)."""

    def __init__(self, hooks: dict[int, Any], key: int) -> None:
        self.hooks, self.key = hooks, key

    def remove(self) -> None:
        """Take the hook away."""
        self.hooks.pop(self.key, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def register_hook(x: Tensor, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """See ``Tensor.register_hook``."""
    if not x.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    key = count()
    node = x.grad_fn
    if node is None:
        if x._hooks is None:
            x._hooks = {}
        x._hooks[key] = hook
        return RemovableHandle(x._hooks, key)
    if node.hooks is None:
        node.hooks = {}
    node.hooks[key] = (x._output, hook)
    return RemovableHandle(node.hooks, key)


def retain_grad(x: Tensor) -> None:
    """See ``Tensor.retain_grad``."""
    if not x.requires_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    node = x.grad_fn
    if node is None:
        return
    if node.retained is None:
        node.retained = {}
    node.retained[x._output] = weakref.ref(x)


def carry_retained(x: Tensor, node: Any, output: int) -> None:
    """After ``x`` has been given another history than ``node``: keep the gradient of its new value instead."""
    if node is None or not node.retained:
        return
    reference = node.retained.get(output)
    if reference is not None and reference() is x:
        del node.retained[output]
        retain_grad(x)


def run_hook(hook: Callable[[Tensor], Tensor | None], g: Any) -> Any:
    """Call a hook on a raw array or Tensor; return the gradient to go on with, in the same form."""
    raw = not isinstance(g, Tensor)
    given = Tensor.wrap(g) if raw else g
    answer = hook(given)
    if answer is None:
        return g
    if not isinstance(answer, Tensor):
        raise TypeError(f"expected a Tensor or None, but hook returned '{type(answer).__name__}'")
    if answer.shape != given.shape:
        raise RuntimeError(f"hook has changed the size of value: from {given.shape} to {answer.shape}")
    return answer.array if raw else answer
