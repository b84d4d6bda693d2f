"""The walk back over the graph."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.autograd.anomaly import state as anomaly
from minidl.autograd.hooks import run_hook
from minidl.autograd.mode import set_grad_enabled
from minidl.autograd.node import Edge, Node, edge_of
from minidl.backend import backend_of
from minidl.tensor import Tensor


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Add the gradient of the given Tensors to the ``grad`` of every leaf (or of ``inputs`` only).

    Args as for ``Tensor.backward``. With several Tensors the gradients add up, as if their (weighted) sums were added.
    """
    roots = _roots(tensors, grad_tensors, create_graph)
    wanted = None if inputs is None else _targets(_as_tuple(inputs))
    if wanted is not None and not wanted:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    found = _walk(roots, create_graph if retain_graph is None else retain_graph, create_graph, wanted)
    if wanted is None:
        for leaf, (g, owned) in found.items():
            _accumulate(leaf, g, owned)
    else:
        for x in _as_tuple(inputs):
            edge = edge_of(x)
            if edge in found and not _is_retained(x):  # else the walk has added it up already
                _accumulate(x, *found.pop(edge))


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """Return the gradients of ``outputs`` with respect to ``inputs``, leaving every ``grad`` alone.

    Only the part of the graph that leads to ``inputs`` is computed.

    Raises:
        RuntimeError: if an input was not used for the outputs, unless ``allow_unused`` (its gradient is then None, or
            zeros with ``materialize_grads``).

    Example:
        >>> x = minidl.tensor(3.0, requires_grad=True)
        >>> (g,) = minidl.autograd.grad(x**2, x, create_graph=True)
        >>> minidl.autograd.grad(g, x)
        (tensor(2.),)
    """
    inputs = _as_tuple(inputs)
    roots = _roots(outputs, grad_outputs, create_graph)
    wanted = _targets(inputs)
    found = _walk(roots, create_graph if retain_graph is None else retain_graph, create_graph, wanted)
    results: list[Tensor | None] = []
    for i, x in enumerate(inputs):
        entry = found.get(edge_of(x))
        if entry is None:
            if not (allow_unused or materialize_grads):
                raise RuntimeError(
                    f"The differentiated Tensor at index {i} (shape {x.shape}) appears to not have been used in the "
                    "graph. Set allow_unused=True if this is the desired behavior."
                )
            results.append(Tensor.wrap(x.backend.zeros_like(x.array)) if materialize_grads else None)
        else:
            g = entry[0]
            results.append(g if isinstance(g, Tensor) else Tensor.wrap(_as_array(g, x)))
    return tuple(results)


def _walk(
    roots: list[tuple[Edge, Any]], keep_graph: bool, create_graph: bool, wanted: set[Edge] | None
) -> dict[Any, tuple[Any, bool]]:
    """Carry the cotangents from the roots to the leaves, or to the ``wanted`` edges; return what arrived there.

    Nodes are visited in falling order of their numbers, so that each has received all its cotangents when its turn
    comes. Cotangents are raw arrays, or Tensors with ``create_graph``. Each is kept with a flag: whether this walk
    alone knows its memory, and may therefore add to it in place.
    """
    useful = None if wanted is None else _nodes_leading_to(wanted, [edge for edge, _ in roots])
    pending: dict[Node, list[Any]] = {}  # node → (cotangent, owned) of each of its outputs
    arrived: dict[Any, tuple[Any, bool]] = {}  # leaf (or wanted edge) → (cotangent, owned)
    heap: list[tuple[int, Node]] = []

    def send(edge: Edge, g: Any, owned: bool) -> None:
        target, output = edge
        if isinstance(target, Tensor):
            key: Any = target if wanted is None else edge
            if wanted is None or edge in wanted:
                held = arrived.get(key)
                arrived[key] = (g, owned) if held is None else _add(held, g, owned)
        elif useful is None or target in useful:
            slots = pending.get(target)
            if slots is None:
                slots = pending[target] = [None] * target.outputs
                heapq.heappush(heap, (-target.number, target))
            held = slots[output]
            slots[output] = (g, owned) if held is None else _add(held, g, owned)

    checks = anomaly.on and anomaly.check_nan
    with set_grad_enabled(create_graph), np.errstate(all="ignore"):
        for edge, g in roots:
            send(edge, g, False)
        following: tuple[int, Node] | None = None  # of those that wait, one that is not in the heap
        while heap or following:
            _, node = heapq.heappop(heap) if following is None else heapq.heappushpop(heap, following)
            following = None
            slots = pending.pop(node)
            gs: Any = [slots[0][0]] if len(slots) == 1 else [None if held is None else held[0] for held in slots]
            if node.hooks:
                for output, hook in list(node.hooks.values()):
                    if gs[output] is not None:
                        gs[output] = run_hook(hook, gs[output])
            if node.retained:
                _retain(node, gs)
            results: Any
            if wanted is None or useful is None:
                results = node.pull(gs, create_graph)
            else:
                for output, g in enumerate(gs):
                    if g is not None and (node, output) in wanted:
                        arrived[node, output] = (g, False)
                needs = tuple([edge is not None and (edge in wanted or edge[0] in useful) for edge in node.edges])
                if not any(needs):
                    continue
                results = _pull_some(node, gs, create_graph, needs)
            if checks:
                _check_nan(node, results)
            if not keep_graph:
                node.release()
            edges = node.edges
            for i, g in enumerate(results):
                to = None if g is None else edges[i]
                if to is None:
                    continue
                target = to[0]
                if wanted is None and isinstance(target, Node) and target not in pending and target.outputs == 1:
                    # By far the most frequent case, for speed: the first cotangent of a node with one output.
                    pending[target] = [(g, False)]
                    if following is None:
                        following = (-target.number, target)
                    else:
                        heapq.heappush(heap, (-target.number, target))
                else:
                    send(to, g, node.owns_results and _fresh(g, i, results, gs))
            results = gs = g = None  # or they would live through the next pull
        for key, (g, owned) in arrived.items():
            leaf = key if wanted is None else key[0]
            if isinstance(leaf, Tensor) and leaf._hooks:
                for hook in list(leaf._hooks.values()):
                    g, owned = run_hook(hook, g), False
                arrived[key] = (g, owned)
    return arrived


def _add(held: tuple[Any, bool], g: Any, owned: bool) -> tuple[Any, bool]:
    """Add a cotangent to those that came before it, in place where the walk owns one of them."""
    total, ours = held
    if ours and total.shape:
        backend_of(total).add_into(total, g)
        return total, True
    if owned and g.shape:
        backend_of(g).add_into(g, total)
        return g, True
    if isinstance(total, Tensor):
        return total + g, False
    return backend_of(total).add(total, g), True


def _fresh(g: Any, i: int, results: Sequence[Any], given: Sequence[Any]) -> bool:
    """Whether a vjp made this array just now, and no cotangent it was given and no other result shows its memory."""
    if getattr(g, "base", True) is not None:  # a view of other memory, or a Tensor
        return False
    for other in given:
        if other is g:
            return False
    for j, other in enumerate(results):
        if j != i and (other is g or getattr(other, "base", None) is g):
            return False
    return True


def _pull_some(node: Node, gs: list[Any], create_graph: bool, needs: tuple[bool, ...]) -> Sequence[Any]:
    """``pull``, of the gradients that this walk needs."""
    needs_of_all, node.needs = node.needs, needs
    try:
        return node.pull(gs, create_graph)
    finally:
        node.needs = needs_of_all


def _nodes_leading_to(wanted: set[Edge], roots: list[Edge]) -> set[Node]:
    """The nodes from which a wanted edge can be reached."""
    seen: set[Any] = set()
    order: list[Node] = []
    stack = [target for target, _ in roots]
    while stack:
        node = stack.pop()
        if isinstance(node, Tensor) or node in seen:
            continue
        seen.add(node)
        order.append(node)
        stack.extend(edge[0] for edge in node.edges if edge is not None)
    targets = {node for node, _ in wanted if not isinstance(node, Tensor)}
    useful: set[Node] = set()
    for node in sorted(order, key=lambda n: n.number):  # inputs first
        if node in targets or any(e is not None and (e in wanted or e[0] in useful) for e in node.edges):
            useful.add(node)
    return useful


def _retain(node: Node, gs: list[Any]) -> None:
    assert node.retained is not None
    for output, reference in node.retained.items():
        x = reference()
        if x is not None and gs[output] is not None:
            _accumulate(x, gs[output], False)


def _is_retained(x: Tensor) -> bool:
    node = x.grad_fn
    reference = None if node is None or node.retained is None else node.retained.get(x._output)
    return reference is not None and reference() is x


def _accumulate(x: Tensor, g: Any, owned: bool) -> None:
    """Add a gradient to ``x.grad``."""
    if isinstance(g, Tensor):  # create_graph: the sum is itself recorded
        x.grad = g if x.grad is None else x.grad + g
    elif x.grad is None:
        held = x.array
        same = type(g) is type(held) and g.dtype is held.dtype and g.shape == held.shape
        array = g if same else _as_array(g, x)
        x.grad = Tensor.wrap(array if owned and array is g else x.backend.copy_in_order(array, held))
    elif x.grad.shape != x.shape:
        raise RuntimeError(
            f"a Tensor of shape {x.shape} was given a grad of shape {x.grad.shape}; nothing can be added to it"
        )
    elif x.grad.grad_fn is None:
        x.grad.array += g
        x.grad.bump_version("backward()")
    else:
        x.grad = Tensor.wrap(x.grad.array + g)


def _as_array(g: Any, x: Tensor) -> Any:
    """A raw gradient as an array (NumPy makes scalars of 0-d results), checked against the Tensor it belongs to."""
    array = x.backend.asarray(g) if not isinstance(g, x.backend.array_type) else g
    if array.shape != x.shape or array.dtype != x.dtype:
        raise RuntimeError(
            f"a gradient of shape {array.shape} and dtype {array.dtype} arrived at a Tensor of shape {x.shape} and "
            f"dtype {x.dtype}; the op (or autograd.Function) that made it is at fault"
        )
    return array


def _check_nan(node: Node, results: Sequence[Any]) -> None:
    for i, g in enumerate(results):
        array = g.array if isinstance(g, Tensor) else g
        if array is not None and bool((array != array).any()):
            where = f" It was called at {node.made_at}." if node.made_at else " (called before anomaly mode was on)"
            raise RuntimeError(f"Function '{node.name}' returned nan values in its {i}th output.{where}")


def _roots(tensors: Any, grad_tensors: Any, create_graph: bool) -> list[tuple[Edge, Any]]:
    """Pair every output's edge with its cotangent."""
    if (
        isinstance(tensors, Tensor) and grad_tensors is None and tensors.array.size == 1
    ):  # a loss: the usual case, for speed
        edge = edge_of(tensors)
        if edge is not None:
            array = tensors.array
            one = backend_of(array).xp.ones(array.shape, array.dtype)
            return [(edge, Tensor.wrap(one) if create_graph else one)]
    tensors = _as_tuple(tensors)
    grads = (None,) * len(tensors) if grad_tensors is None else _as_tuple(grad_tensors)
    if len(grads) != len(tensors):
        raise RuntimeError(f"got {len(tensors)} tensors and {len(grads)} gradients")
    roots = []
    for i, (t, g) in enumerate(zip(tensors, grads, strict=True)):
        edge = edge_of(t)
        if edge is None:
            raise RuntimeError(
                f"element {i} of tensors does not require grad and does not have a grad_fn "
                f"(a {t.dtype} tensor of shape {t.shape})"
            )
        if g is None:
            if t.numel() != 1:
                raise RuntimeError(
                    f"grad can be implicitly created only for scalar outputs, this one has shape {t.shape}"
                )
            g = Tensor.wrap(t.backend.ones_like(t.array))
        if not isinstance(g, Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
        if g.shape != t.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {g.shape} and output[{i}] has "
                f"a shape of {t.shape}."
            )
        if g.device != t.device:
            raise RuntimeError(f"grad_output[{i}] is on {g.device} and output[{i}] on {t.device}")
        if g.dtype != t.dtype:
            g = g.to(t.dtype)
        roots.append((edge, g if create_graph else g.array))
    return roots


def _targets(inputs: Sequence[Tensor]) -> set[Edge]:
    edges = set()
    for i, x in enumerate(inputs):
        edge = edge_of(x)
        if edge is None:
            raise RuntimeError(
                f"One of the differentiated Tensors does not require grad: input {i}, of shape {x.shape}"
            )
        edges.add(edge)
    return edges


def _as_tuple(x: Any) -> tuple[Any, ...]:
    return (x,) if isinstance(x, Tensor) else tuple(x)
