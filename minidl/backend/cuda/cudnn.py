"""Convolution by NVIDIA's cuDNN, through the graph API of its Python frontend.

A *plan* is a graph of one convolution, or one of its gradients, for which cuDNN has picked an algorithm. It is made once for each
shape (some milliseconds), and then started with the addresses of two inputs and a result. Images have their channels last in
memory, weights lie as minidl has them. What cuDNN does not serve, or has no plan for, goes to the kernels of ``conv.py``; so do
depthwise convolutions, for which it would compile for a third of a second each.
"""

from __future__ import annotations

import threading
import warnings
from functools import cached_property
from typing import Any, NamedTuple

from minidl.backend.cuda.conv import CudaConv
from minidl.backend.cuda.layout import nhwc
from minidl.backend.reference.conv import Padding, Pair, output_sizes
from minidl.backends import cudnn as settings

MOST_WORKSPACE = 1 << 28  # bytes
MOST_PLANS = 4096
ALIGNED = 16  # bytes: where cuDNN expects an array to begin, which a slice of another one need not


class Problem(NamedTuple):
    """Which of the three convolutions, on what; what a plan depends on."""

    kind: str  # "fprop", "dgrad" or "wgrad"
    image: tuple[int, ...]  # (N, C, H, W)
    weight: tuple[int, ...]  # (O, C / groups, KH, KW)
    out: tuple[int, ...]  # (N, O, OH, OW)
    stride: Pair
    padding: Padding
    dilation: Pair
    tf32: bool
    deterministic: bool
    device: int


class Plan(NamedTuple):
    """A graph that is ready to be started."""

    graph: Any
    names: tuple[int, ...]  # of the inputs and the result
    workspace: int  # bytes


class CudnnConv(CudaConv):
    """Convolution of float32 by cuDNN, where it is installed and has a plan."""

    def conv2d(
        self, x: Any, weight: Any, stride: Pair, padding: Padding, dilation: Pair, groups: int, bias: Any = None,
        then: str | None = None,
    ) -> Any:  # fmt: skip
        out = output_sizes(x.shape[2:], weight.shape[2:], stride, padding, dilation)
        plan = self._plan("fprop", (x, weight), x.shape, weight.shape, out, stride, padding, dilation)
        if plan is None:
            return super().conv2d(x, weight, stride, padding, dilation, groups, bias, then)
        y = self.xp.empty((len(x), *out, len(weight)), dtype=x.dtype)
        self._execute(plan, nhwc(self.xp, x), self.xp.ascontiguousarray(weight), y)
        return self._with_bias(y, bias, then).transpose(0, 3, 1, 2)

    def conv2d_input_grad(
        self, g: Any, weight: Any, size: Pair, stride: Pair, padding: Padding, dilation: Pair, groups: int
    ) -> Any:
        shape = len(g), weight.shape[1] * groups, size[0], size[1]
        plan = self._plan("dgrad", (g, weight), shape, weight.shape, g.shape[2:], stride, padding, dilation)
        if plan is None:
            return super().conv2d_input_grad(g, weight, size, stride, padding, dilation, groups)
        x = self.xp.empty((len(g), *size, shape[1]), dtype=g.dtype)
        self._execute(plan, nhwc(self.xp, g), self.xp.ascontiguousarray(weight), x)
        return x.transpose(0, 3, 1, 2)

    def conv2d_weight_grad(
        self, g: Any, x: Any, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair, groups: int
    ) -> Any:
        shape = g.shape[1], x.shape[1] // groups, kernel[0], kernel[1]
        plan = self._plan("wgrad", (x, g), x.shape, shape, g.shape[2:], stride, padding, dilation)
        if plan is None:
            return super().conv2d_weight_grad(g, x, kernel, stride, padding, dilation, groups)
        weight = self.xp.empty(shape, dtype=g.dtype)
        self._execute(plan, nhwc(self.xp, x), nhwc(self.xp, g), weight)
        return weight

    def _plan(
        self,
        kind: str,
        arrays: Any,
        image: Any,
        weight: Any,
        out: Any,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
    ) -> Plan | None:
        """The plan for a problem, or None where there is none."""
        if not settings.enabled or self._library is None or any(a.dtype.char != "f" or not a.size for a in arrays):
            return None
        problem = Problem(
            kind, image, weight, (image[0], weight[0], *out), stride, padding, dilation,
            settings.allow_tf32, settings.deterministic, self._device_number(),
        )  # fmt: skip
        if problem not in self._plans:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            self._plans[problem] = self._make(problem) if _is_served(problem) else None
        return self._plans[problem]

    def _make(self, problem: Problem) -> Plan | None:
        handle = self._handle()
        try:
            return settle(self._library, problem, *describe(self._library, problem, handle))
        except MemoryError:  # there may be room the next time
            raise
        except Exception as error:  # cuDNN's own kinds, which differ from version to version
            reason = " ".join(str(error).split())[:200]
            warnings.warn(
                f"cuDNN has no plan for a convolution ({problem.kind}, images {problem.image}, weight {problem.weight}): "
                f"minidl's own kernels compute it. cuDNN says: {reason}",
                RuntimeWarning,
                stacklevel=2,
            )
            return None

    def _execute(self, plan: Plan, *arrays: Any) -> None:
        arrays = tuple([a if self.address(a) % ALIGNED == 0 else a.copy() for a in arrays])
        room = self.xp.empty(plan.workspace, dtype="uint8")
        addresses = {name: self.address(a) for name, a in zip(plan.names, arrays, strict=True)}
        plan.graph.execute(addresses, self.address(room), self._handle())

    def _handle(self) -> Any:
        """This thread's handle for the current device, told of the current stream."""
        handles: Any = self._of_thread.__dict__
        device, stream = self._device_number(), self._stream_number()
        if device not in handles:
            handles[device] = [self._library.create_handle(), None]
        handle, last = handles[device]
        if stream != last:
            self._library.set_stream(handle, stream)
            handles[device][1] = stream
        return handle

    @cached_property
    def _library(self) -> Any:
        """cuDNN's frontend, or None."""
        return settings.library()[0]

    def _device_number(self) -> int:
        return int(self.xp.cuda.runtime.getDevice())

    def _stream_number(self) -> int:
        return int(self.xp.cuda.get_current_stream().ptr)

    @cached_property
    def _plans(self) -> dict[Problem, Plan | None]:
        return {}

    @cached_property
    def _of_thread(self) -> threading.local:
        return threading.local()


def _is_served(problem: Problem) -> bool:
    """Whether cuDNN is asked: not for depthwise convolutions, nor for images larger than what as many windows can come from."""
    (_, c, *size), (o, cg, *kernel) = problem.image, problem.weight
    fits = output_sizes(size, kernel, problem.stride, problem.padding, problem.dilation) == problem.out[2:]
    return fits and not (cg == 1 and c == o and c > 1)


def describe(cudnn: Any, problem: Problem, handle: Any = None) -> tuple[Any, tuple[Any, ...]]:
    """cuDNN's graph of a problem, checked; and its tensors, the inputs first."""
    real = cudnn.data_type.FLOAT
    graph = cudnn.pygraph(
        io_data_type=real,
        intermediate_data_type=real,
        compute_data_type=real,
        **({} if handle is None else {"handle": handle}),
    )
    shapes = {"image": problem.image, "weight": problem.weight, "out": problem.out}
    function, (first, second), result, names = {
        "fprop": (graph.conv_fprop, ("image", "weight"), "out", ("image", "weight")),
        "dgrad": (graph.conv_dgrad, ("out", "weight"), "image", ("loss", "filter")),
        "wgrad": (graph.conv_wgrad, ("image", "out"), "weight", ("image", "loss")),
    }[problem.kind]
    inputs = [graph.tensor(dim=list(shapes[n]), stride=_strides(n, shapes[n]), data_type=real) for n in (first, second)]
    before, after = zip(*problem.padding, strict=True)
    made = function(
        **dict(zip(names, inputs, strict=True)),
        pre_padding=list(before),
        post_padding=list(after),
        stride=list(problem.stride),
        dilation=list(problem.dilation),
        compute_data_type=real,
    )
    made.set_output(True).set_dim(list(shapes[result])).set_stride(_strides(result, shapes[result]))
    made.set_data_type(real)
    graph.validate()
    return graph, (*inputs, made)


def settle(cudnn: Any, problem: Problem, graph: Any, tensors: tuple[Any, ...]) -> Plan:
    """Let cuDNN pick an algorithm."""
    graph.build_operation_graph()
    graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
    unwanted = cudnn.numerical_note
    # Before there are plans these would do nothing.
    graph.deselect_numeric_notes(
        ([] if problem.tf32 else [unwanted.TENSOR_CORE])
        + ([unwanted.NONDETERMINISTIC] if problem.deterministic else [])
    )
    graph.deselect_workspace_greater_than(MOST_WORKSPACE)
    graph.check_support()
    graph.build_plans()
    return Plan(graph, tuple(t.get_uid() for t in tensors), max(1, graph.get_workspace_size()))


def _strides(name: str, shape: tuple[int, ...]) -> list[int]:
    """In numbers: images with their channels last, weights without gaps."""
    _, c, h, w = shape
    return [c * h * w, h * w, w, 1] if name == "weight" else [c * h * w, 1, w * c, c]
