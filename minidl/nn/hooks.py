"""How a module's backward hooks get to see gradients: nodes that pass Tensors on and watch what comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from minidl.autograd.mode import is_grad_enabled
from minidl.autograd.node import Node, count, edge_of
from minidl.tensor import Tensor

if TYPE_CHECKING:
    from minidl.nn.module import Module

Gradients = tuple["Tensor | None", ...]


class PassOn(Node):
    """Gives Tensors on unchanged; ``seen`` is shown their gradients, all at once, and returns those to go on with."""

    def __init__(self, tensors: Sequence[Tensor], seen: Callable[[Gradients], Gradients]) -> None:
        self.edges = tuple(edge_of(t) for t in tensors)
        self.outputs = len(tensors)
        self.number = count()
        self.seen = seen

    def pull(self, cotangents: list[Any], create_graph: bool) -> list[Any]:
        grads = self.seen(tuple(g if g is None or isinstance(g, Tensor) else Tensor.wrap(g) for g in cotangents))
        return [g.array if isinstance(g, Tensor) and not create_graph else g for g in grads]


class GradientTap:
    """One call of a module with backward hooks.

    The inputs pass through a node before ``forward`` and the outputs through another one after it. The gradients that
    come back to these nodes are exactly the module's: an input that others use too has here only this module's share.
    """

    def __init__(self, module: Module, hooks: Sequence[Callable[..., Any]]) -> None:
        self.module = module
        self.hooks = hooks
        self.input_count = 0
        self.watched: list[int] = []  # positions of the inputs that want a gradient
        self.grad_output: Gradients = ()

    def on_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments to call ``forward`` with."""
        self.input_count = len(args)
        if is_grad_enabled():
            self.watched = [i for i, x in enumerate(args) if isinstance(x, Tensor) and x.requires_grad]
        return _through(args, self.watched, self._input_gradients, changeable=False)

    def on_outputs(self, output: Any) -> Any:
        """The output to hand to the caller. Only Tensors and tuples (or lists) of them are watched."""
        parts = (output,) if isinstance(output, Tensor) else tuple(output) if isinstance(output, (tuple, list)) else ()
        watched = [i for i, y in enumerate(parts) if isinstance(y, Tensor) and y.requires_grad]

        def output_gradients(grads: Gradients) -> Gradients:
            by_position = dict(zip(watched, grads, strict=True))
            self.grad_output = tuple(by_position.get(i) for i in range(len(parts)))
            if not self.watched:  # nothing will come back to the inputs, so this is the time
                self._call_hooks((None,) * self.input_count)
            return grads

        if not watched:
            return output
        passed = _through(parts, watched, output_gradients)
        return passed[0] if isinstance(output, Tensor) else type(output)(passed)

    def _input_gradients(self, grads: Gradients) -> Gradients:
        by_position = dict(zip(self.watched, grads, strict=True))
        grad_input = self._call_hooks(tuple(by_position.get(i) for i in range(self.input_count)))
        return tuple(grad_input[i] for i in self.watched)

    def _call_hooks(self, grad_input: Gradients) -> Gradients:
        for hook in self.hooks:
            changed = hook(self.module, grad_input, self.grad_output)
            if changed is None:
                continue
            changed = changed if isinstance(changed, tuple) else (changed,)
            if len(changed) != len(grad_input):
                raise RuntimeError(
                    f"a backward hook of {type(self.module).__name__} returned {len(changed)} gradients for "
                    f"{len(grad_input)} inputs"
                )
            grad_input = changed
        return grad_input


def _through(
    values: tuple[Any, ...], positions: list[int], seen: Callable[[Gradients], Gradients], changeable: bool = True
) -> tuple[Any, ...]:
    """``values`` with the Tensors at ``positions`` led through one `PassOn` node.

    Not ``changeable``: they must not be changed in place, as somebody else has them, too, and would not learn of it.
    """
    if not positions:
        return values
    passed = list(values)
    node = PassOn([values[i] for i in positions], seen)
    node.passed_on = () if changeable else range(len(positions))
    for output, i in enumerate(positions):
        passed[i] = node.output_tensor(values[i].array, output, values[i].version)
    return tuple(passed)
