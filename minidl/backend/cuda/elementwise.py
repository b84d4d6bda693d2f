"""Element by element on the GPU, each one kernel, in the order of the memory.

CuPy's own functions go through arrays whose channels lie last by their index, which takes longer than the memory does, and
leave a result whose channels lie first, which the next convolution has to turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl.backend.cuda.launch import MOST, THEN, Launcher, blocks
from minidl.backend.cuda.layout import are_alike, channels_last, empty_like
from minidl.backend.reference.elementwise import ElementwiseKernels


class CudaElementwise(ElementwiseKernels, Launcher):
    """Functions of arrays that lie alike; those of others go to the reference."""

    def by_pieces(self, function: Callable[..., Any], *inputs: Any) -> Any:
        arrays = [x for x in inputs if isinstance(x, self.xp.ndarray) and x.ndim]
        if not arrays or not all(channels_last(x) for x in arrays) or arrays[0].flags.c_contiguous:
            return function(*inputs)
        y = function(*[x.transpose(0, 2, 3, 1) if isinstance(x, self.xp.ndarray) and x.ndim else x for x in inputs])
        if not isinstance(y, self.xp.ndarray):  # it gives more than one array, or none
            return function(*inputs)
        return y.transpose(0, 3, 1, 2)

    def add(self, a: Any, b: Any) -> Any:
        are_arrays = isinstance(a, self.xp.ndarray) and isinstance(b, self.xp.ndarray)
        y = self._one_kernel("add", (a, b)) if are_arrays else None
        return super().add(a, b) if y is None else y

    def add_into(self, total: Any, x: Any) -> None:
        if not isinstance(x, self.xp.ndarray) or self._one_kernel("add", (total, x), out=total) is None:
            super().add_into(total, x)

    def relu(self, x: Any, out: Any = None) -> Any:
        y = self._one_kernel("relu", (x,), out=out)
        return super().relu(x, out) if y is None else y

    def relu_grad(self, g: Any, y: Any) -> Any:
        dx = self._one_kernel("relu_grad", (g, y))
        return super().relu_grad(g, y) if dx is None else dx

    def hardtanh(self, x: Any, low: float, high: float, out: Any = None) -> Any:
        y = self._one_kernel("hardtanh", (x,), (float(low), float(high)), out)
        return super().hardtanh(x, low, high, out) if y is None else y

    def hardtanh_grad(self, g: Any, y: Any, low: float, high: float) -> Any:
        dx = self._one_kernel("hardtanh_grad", (g, y), (float(low), float(high)))
        return super().hardtanh_grad(g, y, low, high) if dx is None else dx

    def sigmoid(self, x: Any, out: Any = None) -> Any:
        y = self._one_kernel("sigmoid", (x,), out=out)
        return super().sigmoid(x, out) if y is None else y

    def sigmoid_grad(self, g: Any, y: Any) -> Any:
        dx = self._one_kernel("sigmoid_grad", (g, y))
        return super().sigmoid_grad(g, y) if dx is None else dx

    def _with_bias(self, y: Any, bias: Any, then: str | None) -> Any:
        """y + bias, or y, and what the kernel that ``then`` names makes of that; in place, in one kernel where there is one."""
        if bias is None:
            return self._after(then, y)
        joined = y.dtype.char in "fd" and bias.dtype == y.dtype and y.flags.c_contiguous
        if not (joined and bias.shape == y.shape[-1:] and 0 < y.size < MOST):
            y += bias
            return self._after(then, y)
        line = self.xp.ascontiguousarray(bias)
        self.launch(
            "elementwise", "add_bias", y.dtype.char, *blocks(y.size), line, line.size, THEN.index(then), y.size, y
        )
        return y

    def _one_kernel(
        self, kernel: str, inputs: tuple[Any, ...], numbers: tuple[float, ...] = (), out: Any = None
    ) -> Any:
        """Start a kernel for arrays that lie alike, with ``out`` or a new array for the result; None if they do not."""
        x = inputs[0]
        fits = are_alike(*inputs) if out is None else are_alike(*inputs, out) and self._apart(out, *inputs)
        if not fits:
            return None
        y = empty_like(self.xp, x) if out is None else out
        if x.size:
            self.launch("elementwise", kernel, x.dtype.char, *blocks(x.size), *inputs, *numbers, x.size, y)
        return y

    def _apart(self, out: Any, *inputs: Any) -> bool:
        """Whether every input is the result's own memory, number for number, or none of it."""
        here = self.address(out)
        return all(x is out or (d := abs(self.address(x) - here)) == 0 or d >= out.nbytes for x in inputs)
