"""What a case of ``ops.py`` and ``overhead.py`` is, and what it is made with: tensors of the engine that is timed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.engines import package_of, threads_asked


class Kit:
    """An engine for cases: minidl, torch or torch-channels-last.

    Attributes:
        dl: the package.
        functional: its ``nn.functional``.
    """

    def __init__(self, engine: str) -> None:
        self.dl: Any = importlib.import_module(package_of(engine))
        self.functional: Any = importlib.import_module(f"{self.dl.__name__}.nn.functional")
        self.channels_last = engine == "torch-channels-last"
        self.random = np.random.default_rng(0)
        if self.dl.__name__ == "torch":
            self.dl.set_num_threads(threads_asked())
        self.dl.manual_seed(0)

    def array(self, *shape: int, grad: bool = False) -> Any:
        """Normal numbers in float32. Images lie in memory as the engine itself lays them down (minidl: channels last)."""
        values = self.random.standard_normal(shape, dtype=np.float32)
        tensor = self.layout(self.dl.from_numpy(values))
        return tensor.requires_grad_(True) if grad else tensor

    def weights(self, *shape: int, grad: bool = False) -> Any:
        """Small normal numbers, in the layout in which the engine keeps weights."""
        values = self.random.standard_normal(shape, dtype=np.float32) * np.float32(0.1)
        tensor = self.dl.from_numpy(values)
        if self.channels_last and tensor.ndim == 4:
            tensor = tensor.to(memory_format=self.dl.channels_last)
        return tensor.requires_grad_(True) if grad else tensor

    def labels(self, count: int, classes: int) -> Any:
        """Random classes, int64."""
        return self.dl.from_numpy(self.random.integers(0, classes, count))

    def layout(self, tensor: Any) -> Any:
        """The same values, as this engine's own operations would leave them in memory."""
        if tensor.ndim != 4:
            return tensor
        if self.dl.__name__ == "torch":
            return tensor.to(memory_format=self.dl.channels_last) if self.channels_last else tensor
        last = np.ascontiguousarray(tensor.numpy().transpose(0, 2, 3, 1))
        return self.dl.from_numpy(last.transpose(0, 3, 1, 2))

    def without_graph(self, function: Callable[[], Any]) -> Callable[[], Any]:
        """The function, recording nothing."""

        def run() -> Any:
            with self.dl.no_grad():
                return function()

        return run

    def gradient(self, output: Any, inputs: list[Any]) -> Callable[[], Any]:
        """A function that carries a cotangent from ``output`` to ``inputs``; the graph is kept, so it may be called again."""
        cotangent = self.layout(self.dl.ones_like(output).detach())
        grad = self.dl.autograd.grad
        return lambda: grad(output, inputs, cotangent, retain_graph=True)


class Case(NamedTuple):
    """Something that is timed.

    ``build`` makes a function of no arguments. ``work`` is what one call does at least, in bytes moved or in floating-point
    operations, as ``unit`` says ("B", "FLOP"; "" where only the time counts). ``images``: whether the layout in memory matters.
    """

    build: Callable[[Kit], Callable[[], Any]]
    work: float = 0
    unit: str = ""
    images: bool = False
