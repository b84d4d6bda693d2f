"""A stand-in for cuDNN's frontend: it computes on NumPy arrays, by the reference kernels, at the addresses that it is given."""

from __future__ import annotations

import ctypes
import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np

from minidl.backend import Backend
from tests.cuda_on_cpu import CudaOnCpu

reference = Backend("reference", np, np.ndarray)


class Tensor:
    numbers = itertools.count(1)

    def __init__(self, dim: Any = None, stride: Any = None, data_type: Any = None) -> None:
        self.dim, self.stride, self.data_type, self.uid = dim, stride, data_type, next(self.numbers)

    def set_output(self, value: bool) -> Tensor:
        assert value
        return self

    def set_dim(self, dim: list[int]) -> Tensor:
        self.dim = dim
        return self

    def set_stride(self, stride: list[int]) -> Tensor:
        self.stride = stride
        return self

    def set_data_type(self, data_type: Any) -> Tensor:
        self.data_type = data_type
        return self

    def get_uid(self) -> int:
        return self.uid

    def at(self, address: int) -> np.ndarray:
        """The numbers there, as float32."""
        extent = 1 + sum((n - 1) * step for n, step in zip(self.dim, self.stride, strict=True))
        flat = np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), (extent,))
        return np.lib.stride_tricks.as_strided(flat, self.dim, [4 * step for step in self.stride])


class Graph:
    """``pygraph``; keeps account of what is asked of it."""

    refuses: str = ""  # the kind of convolution that has no plan
    made: list[Graph] = []

    def __init__(self, handle: Any = None, **types: Any) -> None:
        self.inputs: list[Tensor] = []
        self.done: list[str] = []
        self.unwanted: list[str] = []
        self.made.append(self)

    def tensor(self, dim: list[int], stride: list[int], data_type: Any) -> Tensor:
        assert len(dim) == len(stride) == 4 and data_type == "float"
        self.inputs.append(Tensor(dim, stride, data_type))
        return self.inputs[-1]

    def _node(self, kind: str, inputs: tuple[Tensor, Tensor], settings: dict[str, Any]) -> Tensor:
        assert list(inputs) == self.inputs and settings.pop("compute_data_type") == "float"
        self.kind, self.settings, self.result = kind, settings, Tensor()
        return self.result

    def conv_fprop(self, image: Tensor, weight: Tensor, **settings: Any) -> Tensor:
        return self._node("fprop", (image, weight), settings)

    def conv_dgrad(self, loss: Tensor, filter: Tensor, **settings: Any) -> Tensor:
        return self._node("dgrad", (loss, filter), settings)

    def conv_wgrad(self, image: Tensor, loss: Tensor, **settings: Any) -> Tensor:
        return self._node("wgrad", (image, loss), settings)

    def validate(self) -> None:
        self.done.append("validate")

    def build_operation_graph(self) -> None:
        if self.kind == self.refuses:
            raise RuntimeError("no engine\n  for this")
        self.done.append("build")

    def create_execution_plans(self, modes: list[str]) -> None:
        self.done.append("plans")

    def deselect_numeric_notes(self, notes: list[str]) -> None:
        assert self.done[-1] == "plans"  # before, it would do nothing
        self.unwanted += notes

    def deselect_workspace_greater_than(self, most: int) -> None:
        assert self.done[-1] == "plans"

    def check_support(self) -> None:
        self.done.append("check")

    def build_plans(self) -> None:
        self.done.append("ready")

    def get_workspace_size(self) -> int:
        return 0

    def execute(self, addresses: dict[int, int], workspace: int, handle: Any) -> None:
        assert self.done == ["validate", "build", "plans", "check", "ready"] and handle["stream"] == 7 and workspace
        assert not any(address % 16 for address in addresses.values())
        first, second = (t.at(addresses[t.uid]) for t in self.inputs)
        padding = tuple(zip(self.settings["pre_padding"], self.settings["post_padding"], strict=True))
        steps = tuple(self.settings["stride"]), padding, tuple(self.settings["dilation"])
        result = self.result.at(addresses[self.result.uid])
        if self.kind == "fprop":
            result[...] = reference.conv2d(first, second, *steps, first.shape[1] // second.shape[1])
        elif self.kind == "dgrad":
            groups = result.shape[1] // second.shape[1]
            result[...] = reference.conv2d_input_grad(first, second, result.shape[2:], *steps, groups)
        else:
            groups = first.shape[1] // result.shape[1]
            result[...] = reference.conv2d_weight_grad(second, first, result.shape[2:], *steps, groups)


frontend = SimpleNamespace(
    pygraph=Graph,
    data_type=SimpleNamespace(FLOAT="float"),
    heur_mode=SimpleNamespace(A="A", FALLBACK="FALLBACK"),
    numerical_note=SimpleNamespace(TENSOR_CORE="tensor core", NONDETERMINISTIC="nondeterministic"),
    create_handle=lambda: {"stream": 0},
    set_stream=lambda handle, stream: handle.update(stream=stream),
)


def cudnn_on_cpu() -> Any:
    """CupyBackend's convolutions on NumPy arrays, with the stand-in in place of cuDNN, and no convolutions of minidl's own."""
    backend: Any = CudaOnCpu()
    backend._library, backend._device_number, backend._stream_number = frontend, lambda: 0, lambda: 7

    def launch(file: str, *rest: Any) -> None:
        assert file == "elementwise", "minidl's own convolution was started"
        CudaOnCpu.launch(backend, file, *rest)

    backend.launch = launch
    return backend
