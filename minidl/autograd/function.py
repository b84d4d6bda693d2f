"""A user's own operation, in PyTorch's form."""

from __future__ import annotations

from typing import Any

from minidl.autograd.anomaly import state as anomaly
from minidl.autograd.anomaly import where_called
from minidl.autograd.mode import mode, no_grad
from minidl.autograd.node import Node, count, edge_of, tensor_at
from minidl.tensor import Tensor


class Context(Node):
    """What ``forward`` and ``backward`` of a ``Function`` share: ``ctx``. It is also the node of the graph.

    Any attribute may be set on it. Tensors that backward needs go through ``save_for_backward``, so that an in-place
    change of them is noticed and no memory is held in a cycle.
    """

    function: type[Function]
    _materialize = True
    _constant: tuple[int, ...] = ()

    def __init__(self) -> None:
        self._to_save: tuple[Tensor | None, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.function.__name__}Backward"

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep Tensors (inputs, outputs or others) for ``backward``, which finds them in ``saved_tensors``."""
        self._to_save = tensors

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """The Tensors given to ``save_for_backward``.

        Raises:
            RuntimeError: if they were freed by an earlier ``backward()``, or changed in place since.
        """
        if self.saved is None and not self.released:
            return self._to_save
        return tuple(self._restored(i) for i in range(len(self._origin)))

    @property
    def needs_input_grad(self) -> tuple[bool, ...]:
        """For each argument of ``forward``, whether its gradient is wanted."""
        return self.needs

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Say that these outputs have no gradient."""
        self._constant = tuple(id(t) for t in tensors)

    def set_materialize_grads(self, value: bool) -> None:
        """Whether an output that nobody used gets zeros (the default) or None as its cotangent."""
        self._materialize = value

    def _freeze(self, outputs: tuple[Tensor, ...]) -> None:
        """Store the saved Tensors by memory and history (see ``Node.save``)."""
        made = {id(t): i for i, t in enumerate(outputs)}
        self.saved = {}
        self._origin: list[Any] = []  # of each saved Tensor: which output it is, or its edge
        for i, t in enumerate(self._to_save):
            self.save(i, None if t is None else t.array, None if t is None else t.version)
            self._origin.append(None if t is None else made[id(t)] if id(t) in made else edge_of(t))
        self._like = [(t.array.shape, t.array.dtype, t.backend) for t in outputs]
        self._to_save = ()

    def _restored(self, i: int) -> Tensor | None:
        array, origin = self.restore(i, False), self._origin[i]
        if array is None:
            return None
        assert self.saved is not None
        return tensor_at((self, origin) if isinstance(origin, int) else origin, array, self.saved[i][1])

    def pull(self, cotangents: list[Any], create_graph: bool) -> list[Any]:
        given: list[Any] = []
        for g, (shape, dtype, backend) in zip(cotangents, self._like, strict=True):
            if g is None:
                given.append(Tensor.wrap(backend.zeros(shape, dtype=dtype)) if self._materialize else None)
            else:
                given.append(g if isinstance(g, Tensor) else Tensor.wrap(backend.asarray(g)))
        results = self.function.backward(self, *given)
        results = results if isinstance(results, tuple) else (results,)
        expected = len(self.edges)
        if len(results) > expected and all(r is None for r in results[expected:]):
            results = results[:expected]
        if len(results) != expected:
            raise RuntimeError(
                f"function {self.name} returned an incorrect number of gradients (expected {expected}, got {len(results)})"
            )
        gradients = [None if edge is None else self._fit(i, r) for i, (edge, r) in enumerate(zip(self.edges, results, strict=True))]
        return [r if create_graph or r is None else r.array for r in gradients]

    def _fit(self, i: int, r: Any) -> Tensor | None:
        """A gradient in the shape and dtype of the input it belongs to."""
        if r is None:
            return None
        if not isinstance(r, Tensor):
            raise RuntimeError(f"function {self.name} returned a {type(r).__name__} as gradient {i}: expected a Tensor or None")
        shape, dtype = self._inputs_like[i]
        if r.shape != shape:
            extra = r.ndim - len(shape)
            if extra < 0 or any(n not in (1, m) for n, m in zip(shape, r.shape[extra:], strict=True)):
                raise RuntimeError(
                    f"Function {self.name} returned an invalid gradient at index {i} - got {list(r.shape)} but expected shape "
                    f"compatible with {list(shape)}"
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

    ``forward`` may also be given without ``ctx`` together with ``setup_context(ctx, inputs, output)``. ``backward`` returns
    one gradient per argument of ``forward`` (None where there is none); if it uses Tensor operations it can itself be
    differentiated.
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
        ctx = Context()
        ctx.function = cls
        edges = tuple(edge_of(x) if isinstance(x, Tensor) else None for x in args)
        ctx.needs = tuple(edge is not None for edge in edges)
        recording = mode.recording and any(ctx.needs)
        with no_grad():
            if cls.setup_context is not None:
                result = cls.forward(*args)
                cls.setup_context(ctx, args, result)
            else:
                result = cls.forward(ctx, *args)
        outputs = result if isinstance(result, tuple) else (result,)
        if not recording:
            return result
        # an input that is returned as it came becomes a Tensor of its own
        inputs = {id(x) for x in args if isinstance(x, Tensor)}
        outputs = tuple(t.detach() if isinstance(t, Tensor) and id(t) in inputs else t for t in outputs)
        ctx.edges, ctx.number, ctx.outputs = edges, count(), len(outputs)
        ctx._inputs_like = [(x.shape, x.dtype) if isinstance(x, Tensor) else None for x in args]
        tensors = tuple(t for t in outputs if isinstance(t, Tensor))
        if len(tensors) != len(outputs):
            raise TypeError(f"{cls.__name__}.forward must return Tensors, got {[type(t).__name__ for t in outputs]}")
        ctx._freeze(tensors)
        if anomaly.on:
            ctx.made_at = where_called()
        for i, t in enumerate(tensors):
            t._base = t._views = None  # a view's gradient would be that of the view, not the one given here
            if t.is_floating_point() and id(t) not in ctx._constant:
                t._node, t._output = ctx, i
        return outputs if isinstance(result, tuple) else outputs[0]
