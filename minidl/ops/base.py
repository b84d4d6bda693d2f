"""What an operation is. One record holds what it computes, how its gradient flows, and what its tests shall draw.

    class Mul(Elementwise):
        samples = reals(-3, 3), reals(-3, 3)

        def forward(self, xp, a, b):
            return a * b

        def vjp_a(self, g, b):
            return g * b

        def vjp_b(self, g, a):
            return g * a

``forward`` gets the backend and raw arrays. A vjp (vector-Jacobian product) gets the cotangent ``g`` and gives the
gradient of one input (``vjp_<input>``) or a tuple for all of them (``vjp``). **What it names beside g is what is saved**:
inputs by their name in ``forward``, the output as ``y``. Nothing else is kept, and a ``vjp_<input>`` whose gradient nobody
wants is neither run nor saved for.

**A vjp is written with minidl's own operators, and these accept raw arrays and Tensors alike.** An ordinary ``backward()``
calls it with raw arrays: no graph, no wrapper, no cost. With ``create_graph=True`` the very same lines run on Tensors and
record themselves, so that derivatives of every order are there and none is written twice.

An instance is one call: it carries the parameters (``Sum(dim=0)``) and becomes the node of the graph.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, ClassVar

import numpy as np

from minidl import dtypes
from minidl.autograd.anomaly import state as anomaly
from minidl.autograd.anomaly import where_called
from minidl.autograd.mode import mode
from minidl.autograd.node import OUTPUT, Node, count, edge_of
from minidl.backend import Backend, backend_of, by_array_type
from minidl.place import current_place
from minidl.tensor import Tensor

SOME = 1 << 12  # elements: for fewer there is no asking for a compiled function of single elements
MANY = 1 << 17  # elements: for fewer a function of single elements is not cut into pieces
registry: dict[str, type[Op]] = {}  # every op by its class name: drives the gradient tests and the op table

# A vjp, which input's gradient it gives (None: all), what it wants, and whether it wants all inputs.
Rule = tuple[Callable[..., Any], "int | None", tuple[int, ...], bool]
# The vjps to run, each with its input and what it wants; which inputs want a gradient; what to save.
Plan = tuple[tuple[tuple[Callable[..., Any], "int | None", tuple[int, ...]], ...], tuple[bool, ...], tuple[int, ...]]
new = Tensor.__new__


class Op(Node):
    """One differentiable operation. See this module's text; ``minidl.ops.elementwise`` has the simplest examples.

    Class attributes:
        promotes: inputs are brought to a common dtype first.
        to_float: integer inputs become floats first (exp, mean, …).
        pointwise: forward and vjps treat every element alike, so that large arrays may be cut into pieces. Then self holds no
            arrays, nor does forward leave anything in it.
        ufunc: the name of a function of the array module that does the same as ``forward``, and can write into an array that is
            there already.
        compiled: the name of a compiled function that does the same in one pass over the memory, given also the op's
            ``numbers``; the vjp's is that + "_back". Backends may have it (see ``Backend.in_one_pass``).
        broadcasts: inputs may be broadcast; gradients are summed back to each input's shape.
        is_view: the output may share its input's memory.
        frees: attributes that ``forward`` set for the vjp and that are dropped when they are spent.
        samples: draws arguments for the tests (required of every op with a gradient).
    """

    promotes: ClassVar[bool] = True
    to_float: ClassVar[bool] = False
    broadcasts: ClassVar[bool] = False
    is_view: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False
    ufunc: ClassVar[str] = ""
    compiled: ClassVar[str] = ""
    numbers: tuple[float, ...] = ()
    quiet: ClassVar[bool] = False  # silence NumPy's warnings about division by zero and the like
    samples: ClassVar[Any] = None
    rules: ClassVar[tuple[Rule, ...]] = ()
    arguments: ClassVar[tuple[str, ...]] = ()

    owns_results = True
    active: tuple[Any, ...] = ()  # the vjps that this call's wanted gradients need, see ``Plan``
    input_shapes: tuple[Any, ...] | None = None

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if abstract:
            return
        names = list(inspect.signature(cls.forward).parameters)[2:]
        cls.arguments = tuple(names)
        cls.rules = tuple(cls._find_rules(names))
        cls._plans = {}
        if cls.rules and cls.samples is None:
            raise TypeError(f"{cls.__name__} has a gradient but no samples, so no test would check it")
        registry[cls.__name__] = cls

    _plans: ClassVar[dict[int, Plan]] = {}  # by which inputs want gradients

    @classmethod
    def _find_rules(cls, names: list[str]) -> list[Rule]:
        def rule(function: Callable[..., Any], wrt: int | None) -> Rule:
            wants: list[int] = []
            rest = False
            for p in list(inspect.signature(function).parameters.values())[2:]:
                if p.kind is p.VAR_POSITIONAL:
                    rest = True
                elif p.name == "y":
                    wants.append(OUTPUT)
                elif p.name in names:
                    wants.append(names.index(p.name))
                else:
                    raise TypeError(f"{cls.__name__}.{function.__name__} wants {p.name!r}, which forward does not take")
            return function, wrt, tuple(wants), rest

        joint = getattr(cls, "vjp", None)
        if joint is not None:
            return [rule(joint, None)]
        found = [(i, getattr(cls, f"vjp_{name}", None)) for i, name in enumerate(names)]
        return [rule(function, i) for i, function in found if function is not None]

    # -- the call -----------------------------------------------------------------------------------------------------

    def forward(self, xp: Any, *inputs: Any) -> Any:
        """Compute the output array from input arrays with the backend ``xp``."""
        raise NotImplementedError

    def __call__(self, *inputs: Any) -> Any:
        """Apply the op: to Tensors (recording it where a gradient is wanted), or to raw arrays."""
        first: Any = None
        mixed = False
        arrays = []
        for x in inputs:
            if isinstance(x, Tensor):
                x = x.array
                if first is None:
                    first, kind, dtype = x, type(x), x.dtype
                elif type(x) is not kind or x.dtype is not dtype:
                    mixed = True
            elif x is not None and type(x) is not float:
                mixed = True
            arrays.append(x)
        if first is None:
            for x in inputs:
                if hasattr(x, "dtype"):
                    return self.forward(backend_of(x), *inputs)
            raise TypeError(f"{self.label}(): expected a Tensor, got {', '.join(type(x).__name__ for x in inputs)}")
        xp = by_array_type.get(kind) or backend_of(first)
        if mixed or (self.promotes and dtype.kind != "f"):  # otherwise there is nothing to check or to bring together
            if self.promotes:
                inputs = self._promote(inputs)
            arrays = [x.array if isinstance(x, Tensor) else x for x in inputs]
            for a in arrays:
                if type(a) is not kind and not (a is None or isinstance(a, (float, int, np.generic, xp.array_type))):
                    raise self._wrong_operand(inputs)
        try:
            if self.pointwise and first.size >= SOME:
                result = self._forward_large(xp, arrays, first.size)
            elif self.quiet:
                with np.errstate(all="ignore"):
                    result = self.forward(xp, *arrays)
            else:
                result = self.forward(xp, *arrays)
        except (ValueError, TypeError, RuntimeError, IndexError) as error:
            raise self._explain(error, arrays) from error
        if type(result) is not kind and isinstance(result, (np.generic, float, int)):  # NumPy's form of a 0-d result
            result = xp.asarray(result)
        y = new(Tensor)  # `Tensor.wrap`, in line: all this is the cost of a small operation
        y.array = result
        if self.is_view:
            _note_view(self, inputs[0], y)
        if mode.recording and self.rules:
            self._record(inputs, y)
        return y

    def _forward_large(self, xp: Any, arrays: list[Any], size: int) -> Any:
        """``forward`` of a function of single elements: compiled, or by pieces, where there is that and it is worth it."""
        result = xp.in_one_pass(self.compiled, arrays, self.numbers) if self.compiled else None
        if result is None:
            with np.errstate(all="ignore") if self.quiet else nullcontext():
                if size < MANY:
                    return self.forward(xp, *arrays)
                return xp.by_pieces(getattr(xp, self.ufunc) if self.ufunc else partial(self.forward, xp), *arrays)
        return result

    def _vjp_large(self, function: Callable[..., Any], g: Any, values: list[Any]) -> Any:
        """Likewise for a vjp."""
        xp = backend_of(g)
        result = xp.in_one_pass(f"{self.compiled}_back", (g, *values), self.numbers) if self.compiled else None
        if result is None:
            return function(self, g, *values) if g.size < MANY else xp.by_pieces(function, self, g, *values)
        return result

    def _record(self, inputs: tuple[Any, ...], y: Tensor) -> None:
        """If an input wants a gradient: become the node that made ``y``."""
        array = y.array
        shape, is_broadcast = array.shape if self.broadcasts else None, False
        edges: list[Any] = []
        wanted, bit = 0, 1
        for x in inputs:
            edge = None
            if isinstance(x, Tensor):
                if x._base is not None:
                    edge = edge_of(x)
                elif x._node is not None:  # the usual cases of ``edge_of``, in line
                    edge = x._node, x._output
                elif x._requires_grad:
                    edge = x, 0
                if edge is not None:
                    wanted += bit
                    if shape is not None and x.array.shape != shape:
                        is_broadcast = True
            edges.append(edge)
            bit += bit
        if not wanted:
            return
        plan = self._plans.get(wanted + bit)  # a bit for each input, and one that tells how many there are
        if plan is None:
            plan = self._plans[wanted + bit] = self._plan(tuple([edge is not None for edge in edges]))
        self.active, self.needs, saves = plan
        if not self.active or array.dtype.kind not in "fV":
            return
        self.edges = edges
        self.number = count()
        if saves:
            saved = self.saved = {}
            for i in saves:
                x = y if i == OUTPUT else inputs[i]
                if isinstance(x, Tensor):
                    version = x._version or x.version
                    saved[i] = x.array, version, version.count
                else:
                    saved[i] = x, None, 0
        if is_broadcast:
            self.input_shapes = tuple([getattr(x, "shape", None) for x in inputs])
        if anomaly.on:
            self.made_at = where_called()
        y._node = self

    @classmethod
    def _plan(cls, needs: tuple[bool, ...]) -> Plan:
        """Which vjps to run, and so what to save, when these inputs want gradients."""
        everything = tuple(range(len(needs)))
        steps = tuple(
            (function, wrt, everything if rest else wants)
            for function, wrt, wants, rest in cls.rules
            if wrt is None or needs[wrt]
        )
        return steps, needs, tuple(sorted({i for *_, wants in steps for i in wants}))

    # -- the way back -------------------------------------------------------------------------------------------------

    def pull(self, cotangents: list[Any], create_graph: bool) -> list[Any]:
        """Return the gradient of every input that wants one."""
        if self.released and self.frees:
            self.restore(OUTPUT, create_graph)  # raises
        g, needs, saves = cotangents[0], self.needs, self.saved
        results: list[Any] = [None] * len(needs)
        for function, wrt, wants in self.active:
            if wrt is not None and not needs[wrt]:
                continue
            if not wants:
                result = function(self, g)
            else:
                values = []
                for i in wants:
                    saved = None if create_graph or saves is None else saves[i]
                    if saved is not None and (saved[1] is None or saved[1].count == saved[2]):
                        values.append(saved[0])
                    else:  # the general case, and the errors
                        values.append(self.restore(i, create_graph))
                if self.pointwise and not create_graph and g.size >= SOME:
                    result = self._vjp_large(function, g, values)
                else:
                    result = function(self, g, *values)
            if wrt is not None:
                results[wrt] = result
            elif isinstance(result, (tuple, list)):
                results = list(result)
                if len(results) != len(needs):
                    raise RuntimeError(f"{self.name} made {len(results)} gradients for {len(needs)} inputs")
            else:
                results[0] = result
        if self.input_shapes is not None:
            for i, shape in enumerate(self.input_shapes):
                if results[i] is not None and results[i].shape != shape:
                    results[i] = sum_to(results[i], shape)
        return results

    # -- dtypes and errors --------------------------------------------------------------------------------------------

    def _promote(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Bring the inputs to one dtype, through recorded casts. Python numbers stay: they adapt by themselves."""
        dtype = None
        mixed = number = False
        for x in inputs:
            if isinstance(x, Tensor):
                d = x.array.dtype
            elif x is None or type(x) in (float, int, bool):
                number = number or x is not None
                continue
            elif isinstance(x, np.generic):  # NumPy would let its dtype decide; here it counts as the number it is
                return self._promote(tuple([x.item() if isinstance(x, np.generic) else x for x in inputs]))
            elif hasattr(x, "dtype"):
                d = x.dtype
            else:
                raise self._wrong_operand(inputs)
            if dtype is None:
                dtype = d
            elif d != dtype:
                mixed = True
        assert dtype is not None
        if not mixed and not (dtype.kind in "biu" and (number or self.to_float)):
            return inputs
        dtype = dtypes.result_type(*[x for x in inputs if x is not None])
        if self.to_float and dtype.kind in "biu":
            dtype = dtypes.get_default_dtype()
        if dtype.kind in "iu" and dtype.itemsize < 8:
            inputs = tuple([_wrap_around(x, dtype) if type(x) is int else x for x in inputs])
        return tuple([x if getattr(x, "dtype", dtype) == dtype else cast(x, dtype) for x in inputs])

    @property
    def label(self) -> str:
        """The op's name in messages."""
        return _snake(type(self).__name__)

    def _wrong_operand(self, inputs: tuple[Any, ...]) -> Exception:
        same_device(self.label, *inputs)
        kinds = ", ".join(type(x).__name__ for x in inputs)
        return TypeError(f"{self.label}(): expected Tensors and numbers, got ({kinds}){at_place()}")

    def _explain(self, error: Exception, arrays: list[Any]) -> Exception:
        """Say which op and module failed, on what."""
        message = str(error)
        shapes = [tuple(a.shape) for a in arrays if hasattr(a, "shape")]
        kind: type[Exception] = type(error)
        if isinstance(error, IndexError):  # NumPy's AxisError is one too, and cannot be made from a message
            kind = IndexError
        elif isinstance(error, TypeError) and self.broadcasts and any(a is None for a in arrays):
            return TypeError(f"{self.label}(): expected Tensors and numbers, got None{at_place()}")
        elif isinstance(error, TypeError):  # the array module has no such function for this dtype
            kind = (
                NotImplementedError if "not supported" in message or "did not contain a loop" in message else TypeError
            )
        if self.broadcasts and "broadcast" in message:
            kind, message = RuntimeError, _broadcast_message(shapes)
        elif isinstance(error, IndexError):
            message = f"{index_message(error)} (shape {', '.join(map(str, shapes))})"
        elif not str(error).startswith(self.label):
            message = f"{message} (input shapes {', '.join(map(str, shapes))})"
        prefix = "" if message.startswith(self.label) else f"{self.label}: "
        return kind(f"{prefix}{message}{at_place()}")


class Elementwise(Op, abstract=True):
    """An op that treats every element alike; inputs broadcast, and gradients are summed back."""

    broadcasts = pointwise = True


def index_message(error: IndexError) -> str:
    """NumPy's message about an index, in PyTorch's words."""
    message = str(error).replace("for axis", "for dimension").replace("along axis", "along dimension")
    return message.replace("for array: array is", "for tensor:")


def same_device(name: str, *values: Any) -> None:
    """Check that the Tensors and arrays among the values share a device.

    Raises:
        RuntimeError: if they do not.
    """
    devices = {
        str(Tensor.wrap(raw(x)).device): None for x in values if hasattr(x, "dtype") and not isinstance(x, np.generic)
    }
    if len(devices) > 1:
        raise RuntimeError(
            f"{name}: Expected all tensors to be on the same device, but found at least two devices, "
            f"{' and '.join(devices)}!{at_place()}"
        )


def same_dtype(name: str, *xs: Any) -> None:
    """Layers mix no dtypes: a float64 that slipped in would silently make everything slow.

    Raises:
        RuntimeError: if these Tensors (the others are None or numbers) differ in dtype.
    """
    found = [x.dtype for x in xs if hasattr(x, "dtype")]
    if found.count(found[0]) != len(found):
        raise RuntimeError(
            f"{name}: expected operands of one dtype, but found {' and '.join(map(str, found))}{at_place()}"
        )


def at_place() -> str:
    """The end of a message: ``, in Net.fc1`` while that module runs, nothing otherwise."""
    place = current_place()
    return f", in {place}" if place else ""


def _snake(name: str) -> str:
    out = [
        ("_" + c.lower())
        if c.isupper() and i and not name[i - 1].isupper() and not name[i - 1].isdigit()
        else c.lower()
        for i, c in enumerate(name)
    ]
    return "".join(out)


def _broadcast_message(shapes: list[tuple[int, ...]]) -> str:
    for a, b in zip(shapes, shapes[1:], strict=False):
        for back in range(1, min(len(a), len(b)) + 1):
            if a[-back] != b[-back] and 1 not in (a[-back], b[-back]):
                dim = max(len(a), len(b)) - back
                return (
                    f"The size of tensor a ({a[-back]}) must match the size of tensor b ({b[-back]}) at non-singleton "
                    f"dimension {dim}: shapes {a} and {b} do not broadcast"
                )
    return f"shapes {', '.join(map(str, shapes))} do not broadcast"


def _wrap_around(number: int, dtype: np.dtype) -> int:
    """A Python integer as a small integer dtype holds it: 300 is 44 in uint8, as in PyTorch (NumPy would refuse)."""
    bits = 8 * dtype.itemsize
    number &= (1 << bits) - 1
    return number - (1 << bits) if dtype.kind == "i" and number >> (bits - 1) else number


def _note_view(op: Op, x: Any, y: Tensor) -> None:
    """If ``y`` shows the memory of ``x``: let it share the version, and remember how to see it again."""
    a, b = x.array, y.array
    owner = a if a.base is None else a.base
    if b is a or b.base is owner or b.base is a:
        y._version = x.version
        y._base = x if x._base is None else x._base
        y._views = x._views, op
        y._seen = y._version.count


def sum_to(x: Any, shape: tuple[int, ...]) -> Any:
    """Undo broadcasting: sum ``x`` down to ``shape``. The transpose of ``broadcast_to``."""
    from minidl.ops.reduction import SumTo

    return x if x.shape == shape else SumTo(shape)(x)


def cast(x: Any, dtype: np.dtype) -> Any:
    """Change the dtype; gradients are cast back."""
    from minidl.ops.elementwise import Cast

    return Cast(dtype)(x)


def as_function(op: type[Op], name: str) -> Callable[[Tensor], Tensor]:
    """The public function of a unary op without parameters; its documentation is the op's."""

    def function(input: Tensor) -> Tensor:
        return op()(input)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = op.__doc__
    return function


def raw(x: Any) -> Any:
    """The array of a Tensor; anything else as it is."""
    return x.array if isinstance(x, Tensor) else x


def backend_of_any(x: Any) -> Backend:
    """The backend of a Tensor or an array."""
    return backend_of(raw(x))
