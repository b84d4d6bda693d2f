"""A user's own operation, in PyTorch's form."""

from __future__ import annotations

from typing import Any

from minidl.autograd.anomaly import state as anomaly
from minidl.autograd.anomaly import where_called
from minidl.autograd.mode import mode, no_grad
from minidl.autograd.node import Node, count, edge_of, tensor_at
from minidl.tensor import Tensor


class Context:
    """What ``forward`` and ``backward`` of a ``Function`` share: ``ctx``. Any attribute may be set on it.

    Tensors that backward needs go through ``save_for_backward``, so that an in-place change of them is noticed and no
    memory is held in a cycle.

    Attributes:
        needs_input_grad: for each argument of ``forward``, whether its gradient is wanted.
    """

    def __init__(self, needs: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs
        self._to_save: tuple[Tensor | None, ...] = ()
        self._constant: tuple[int, ...] = ()
        self._materialize = True
        self._node: FunctionNode | None = None  # while backward runs

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep Tensors (inputs, outputs or others) for ``backward``, which finds them in ``saved_tensors``."""
        self._to_save = tensors

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """The Tensors given to ``save_for_backward``.

        Raises:
            RuntimeError: if they were freed by an earlier ``backward()``, or changed in place since.
        """
        return self._to_save if self._node is None else self._node.saved_tensors()

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Say that these outputs have no gradient."""
        self._constant = tuple(id(t) for t in tensors)

    def set_materialize_grads(self, value: bool) -> None:
        """Whether an output that nobody used gets zeros (the default) or None as its cotangent."""
        self._materialize = value


class FunctionNode(Node):
    """One call of a ``Function`` in the graph. (Not the ``ctx`` itself, on which a user may set any attribute.)"""

    def __init__(self, function: type[Function], ctx: Context, args: tuple[Any, ...], edges: tuple[Any, ...]) -> None:
        self.function, self.ctx = function, ctx
        self.edges, self.needs, self.number = edges, ctx.needs_input_grad, count()
        self.inputs_like = [(x.shape, x.dtype) if isinstance(x, Tensor) else None for x in args]
        if anomaly.on:
            self.made_at = where_called()

    @property
    def name(self) -> str:
        return f"{self.function.__name__}Backward"

    def keep(self, outputs: tuple[Tensor, ...]) -> None:
        """Store what ``save_for_backward`` was given by memory and history (see ``Node.save``)."""
        made = {id(t): i for i, t in enumerate(outputs)}
        self.outputs = len(outputs)
        self.outputs_like = [(t.array.shape, t.array.dtype, t.backend) for t in outputs]
        self.saved = {}
        self.origins: list[Any] = []  # of each saved Tensor: which output it is, or its edge
        for i, t in enumerate(self.ctx._to_save):
            self.save(i, None if t is None else t.array, None if t is None else t.version)
            self.origins.append(None if t is None else made[id(t)] if id(t) in made else edge_of(t))
        self.ctx._to_save = ()

    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """See ``Context.saved_tensors``."""
        tensors: list[Tensor | None] = []
        for i, origin in enumerate(self.origins):
            array = self.restore(i, False)
            assert self.saved is not None
            edge = (self, origin) if isinstance(origin, int) else origin
            tensors.append(None if array is None else tensor_at(edge, array, self.saved[i][1]))
        return tuple(tensors)

    def pull(self, cotangents: list[Any], create_graph: bool) -> list[Any]:
        given: list[Any] = []
        for g, (shape, dtype, backend) in zip(cotangents, self.outputs_like, strict=True):
            if g is None:
                given.append(Tensor.wrap(backend.zeros(shape, dtype=dtype)) if self.ctx._materialize else None)
            else:
                given.append(g if isinstance(g, Tensor) else Tensor.wrap(backend.asarray(g)))
        self.ctx.needs_input_grad, self.ctx._node = self.needs, self
        try:
            results = self.function.backward(self.ctx, *given)
        finally:
            self.ctx._node = None  # or the two would keep each other alive
        results = results if isinstance(results, tuple) else (results,)
        expected = len(self.edges)
        if len(results) > expected and all(r is None for r in results[expected:]):
            results = results[:expected]
        if len(results) != expected:
            raise RuntimeError(
                f"function {self.name} returned an incorrect number of gradients "
                f"(expected {expected}, got {len(results)})"
            )
        fitting = [self.fit(i, r) if self.needs[i] else None for i, r in enumerate(results)]
        return [r if create_graph or r is None else r.array for r in fitting]

    def fit(self, i: int, r: Any) -> Tensor | None:
        """A gradient in the shape and dtype of the input it belongs to."""
        if r is None:
            return None
        if not isinstance(r, Tensor):
            raise RuntimeError(
                f"function {self.name} returned a {type(r).__name__} as gradient {i}: expected a Tensor or None"
            )
        shape, dtype = self.inputs_like[i]  # type: ignore[misc]  # an input that needs a gradient is a Tensor
        if r.shape != shape:
            extra = r.ndim - len(shape)
            if extra < 0 or any(n not in (1, m) for n, m in zip(shape, r.shape[extra:], strict=True)):
                raise RuntimeError(
                    f"Function {self.name} returned an invalid gradient at index {i} - got {list(r.shape)} but "
                    f"expected shape compatible with {list(shape)}"
                )
            dims = (*range(extra), *(extra + d for d, n in enumerate(shape) if n == 1))
            r = r.sum(dims).reshape(shape)
        return r if r.dtype == dtype else r.to(dtype)


class Function:
    """An operation with a gradient of its own: a subclass with two static methods, called by ``apply``.

    Example:
        >>> class Cube(Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         ctx.save_for_backward(x)
        ...         return x**3
        ...     @staticmethod
        ...     def backward(ctx, g):
        ...         (x,) = ctx.saved_tensors
        ...         return g * 3 * x**2
        >>> y = Cube.apply(x)

    ``forward`` may also be given without ``ctx`` together with ``setup_context(ctx, inputs, output)``. ``backward``
    returns one gradient per argument of ``forward`` (None where there is none); if it uses Tensor operations it can
    itself be differentiated.
    """

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        """Compute the result (without recording)."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Return a gradient for each argument of ``forward``."""
        raise NotImplementedError("You must implement the backward function for custom autograd.Function.")

    setup_context: Any = None

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run ``forward`` and record it as one operation."""
        edges = tuple(edge_of(x) if isinstance(x, Tensor) else None for x in args)
        ctx = Context(tuple(edge is not None for edge in edges))
        with no_grad():
            if cls.setup_context is not None:
                result = cls.forward(*args)
                cls.setup_context(ctx, args, result)
            else:
                result = cls.forward(ctx, *args)
        if not (mode.recording and any(ctx.needs_input_grad)):
            return result
        given = result if isinstance(result, tuple) else (result,)
        if not all(isinstance(t, Tensor) for t in given):
            raise TypeError(f"{cls.__name__}.forward must return Tensors, got {[type(t).__name__ for t in given]}")
        inputs = {id(x) for x in args}  # one that is returned as it came becomes a Tensor of its own
        outputs = tuple(t.detach() if id(t) in inputs else t for t in given)
        node = FunctionNode(cls, ctx, args, edges)
        owners = {id(x if x._base is None else x._base) for x in args if isinstance(x, Tensor)}
        node.passed_on = [i for i, t in enumerate(given) if id(t) in inputs or id(t._base) in owners]
        node.keep(outputs)
        for i, t in enumerate(outputs):
            t._base = t._views = None  # a view's gradient would be that of the view, not the one given here
            if t.is_floating_point() and id(t) not in ctx._constant:
                t._node, t._output = node, i
        return outputs if isinstance(result, tuple) else outputs[0]
