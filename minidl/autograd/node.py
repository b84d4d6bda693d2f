"""A node of the graph: one recorded operation."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from minidl.tensor import Tensor, Version

if TYPE_CHECKING:
    from weakref import ref

# An edge leads from a node to where an input came from: (the node that made it, which output) or (the leaf, 0).
Edge = tuple[Any, int]

count = itertools.count(1).__next__
OUTPUT = -1  # index of the output among the saved values; inputs are 0, 1, …


def edge_of(x: Tensor) -> Edge | None:
    """Return where a gradient for ``x`` has to be sent, or None if nobody wants it."""
    node = x._node if x._base is None else x.grad_fn
    if node is not None:
        return node, x._output
    return (x, 0) if x._requires_grad else None


def tensor_at(edge: Edge | None, array: Any, version: Version | None) -> Tensor:
    """The Tensor with these values at the end of an edge: the leaf itself, else a new Tensor with that history."""
    if edge is not None and isinstance(edge[0], Tensor):
        return edge[0]
    t = Tensor.wrap(array)
    t._version = version
    if edge is not None:
        t._node, t._output = edge
    return t


class Node:
    """One recorded operation: where its inputs came from, and what its gradient needs.

    Attributes:
        edges: for each input, where its gradient goes (None: nobody wants it).
        number: counts up with every recorded operation. Inputs are made before outputs, so walking the graph in the
            order of falling numbers meets every node after all that depend on it.
        needs: which inputs want a gradient; a walk towards some Tensors only narrows it down while it calls ``pull``.
        outputs: how many Tensors the operation made.
        passed_on: those of them that show an input's memory, without being its views: they must not be changed in place.
        owns_results: what ``pull`` returns is either made there or one of the cotangents, so that a walk may add to it
            in place. Not so where a user's code returns it.
        made_at: the calling line and module, in anomaly mode.
    """

    frees: ClassVar[tuple[str, ...]] = ()  # attributes that hold saved values, too
    edges: Sequence[Edge | None] = ()
    needs: tuple[bool, ...] = ()
    number: int = 0
    outputs: int = 1
    passed_on: Sequence[int] = ()
    owns_results: bool = False
    saved: dict[int, tuple[Any, Version | None, int]] | None = None
    released: bool = False
    made_at: str | None = None
    hooks: dict[int, tuple[int, Callable[[Tensor], Tensor | None]]] | None = None
    retained: dict[int, ref[Tensor]] | None = None  # output → the Tensor that wants its gradient kept

    @property
    def name(self) -> str:
        """As in PyTorch: ``MulBackward``."""
        return f"{type(self).__name__}Backward"

    @property
    def next_functions(self) -> tuple[Edge | None, ...]:
        return tuple(self.edges)

    def pull(self, cotangents: list[Any], create_graph: bool) -> Sequence[Any]:
        """Return a gradient for each input from those of the outputs: raw arrays, or Tensors with ``create_graph``."""
        raise NotImplementedError

    def release(self) -> None:
        """Forget the saved values: the memory is free for the rest of the walk."""
        self.saved = None
        self.released = True
        for name in self.frees:
            self.__dict__.pop(name, None)

    def save(self, index: int, array: Any, version: Version | None) -> None:
        """Keep an array (or a number) for the gradient; ``version`` tells if it is changed meanwhile.

        Not the Tensor: it could come to depend on this node (by being the output, or by an in-place operation), and the
        two would keep each other alive.
        """
        assert self.saved is not None
        self.saved[index] = array, version, 0 if version is None else version.count

    def restore(self, index: int, create_graph: bool) -> Any:
        """Return a saved value: the raw array, or with ``create_graph`` a Tensor that knows where it came from.

        Raises:
            RuntimeError: if it has been released, or its memory was changed since.
        """
        if self.released or self.saved is None:
            raise RuntimeError(
                f"Trying to backward through the graph a second time: the values that {self.name} saved have already "
                "been freed. Specify retain_graph=True on the first backward() if you need to go through it again."
            )
        value, version, count_then = self.saved[index]
        if version is None:
            return value
        if version.count != count_then:
            what = "its output" if index == OUTPUT else f"its input {index}"
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: "
                f"{self.name} needs {what} (a {value.dtype} tensor of shape {tuple(value.shape)}, version "
                f"{count_then}), which {version.changed_by} has changed since (it is at version {version.count})"
                + (f"; {self.name} was called at {self.made_at}" if self.made_at else "")
            )
        if not create_graph:
            return value
        return tensor_at((self, 0) if index == OUTPUT else self.edges[index], value, version)

    def output_tensor(self, array: Any, output: int, version: Version | None = None) -> Tensor:
        """A new Tensor standing for an output."""
        return tensor_at((self, output), array, version)

    def __repr__(self) -> str:
        return f"<{self.name}>"
