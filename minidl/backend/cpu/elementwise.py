"""Element by element on the CPU: large arrays are shared among threads, in the order of their memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.cpu.layout import LEAST, flat_alike
from minidl.backend.cpu.threads import share, spans
from minidl.backend.reference.elementwise import ElementwiseKernels

SMALL = 1 << 12  # elements: for fewer the preparations below take longer than the work
LARGE = 2 * LEAST  # elements: fewer are not worth a second thread


class CpuElementwise(ElementwiseKernels):
    """Sums and limited linear functions; small or unlike arrays go to the reference."""

    def add(self, a: Any, b: Any) -> Any:
        if type(a) is not np.ndarray or a.size < LARGE or type(b) is not np.ndarray:
            return a + b
        out = np.empty_like(a)
        return out if _shared(np.add, out, a, b) else a + b

    def add_into(self, total: Any, x: Any) -> None:
        apart = total.size >= LARGE and type(x) is np.ndarray and (x is total or not np.may_share_memory(total, x))
        if not apart or not _shared(np.add, total, total, x):
            total += x

    def relu(self, x: Any, out: Any = None) -> Any:
        if x.size < LARGE:
            return np.maximum(x, 0, out=out)
        y = np.empty_like(x) if out is None else out
        return y if _shared(lambda a, b: np.maximum(a, 0, out=b), y, x) else np.maximum(x, 0, out=out)

    def hardtanh(self, x: Any, low: float, high: float, out: Any = None) -> Any:
        y = np.empty_like(x) if out is None else out
        fast = fast_kernels() if x.dtype.char in "fd" and x.size >= SMALL else None

        def compiled(x: Any, out: Any) -> None:
            fast.hardtanh_flat(x, float(low), float(high), out)  # type: ignore[union-attr]

        done = fast is not None and _shared(compiled, y, x)
        return y if done else np.clip(x, low, high, out=out)

    def relu_grad(self, g: Any, y: Any) -> Any:
        reference = super().relu_grad
        if g.size < SMALL:
            return reference(g, y)
        fast = fast_kernels() if g.dtype.char in "fd" else None

        def plain(g: Any, y: Any, out: Any) -> None:
            out[...] = reference(g, y)

        out = np.empty_like(y)
        done = _shared(plain if fast is None else fast.relu_back, out, g, y)
        return out if done else reference(g, y)

    def hardtanh_grad(self, g: Any, y: Any, low: float, high: float) -> Any:
        reference = super().hardtanh_grad
        fast = fast_kernels() if g.dtype.char in "fd" else None
        low, high = float(low), float(high)

        def plain(g: Any, y: Any, out: Any) -> None:
            out[...] = reference(g, y, low, high)

        def compiled(g: Any, y: Any, out: Any) -> None:
            fast.hardtanh_back(g, y, low, high, out)  # type: ignore[union-attr]

        out = np.empty_like(y)
        done = _shared(plain if fast is None else compiled, out, g, y)
        return out if done else reference(g, y, low, high)


def _shared(function: Callable[..., Any], out: np.ndarray, *arrays: np.ndarray) -> bool:
    """Call ``function(*arrays, out)`` on flat pieces of alike arrays. False if they are not alike: nothing was done then."""
    flats = flat_alike(out, *arrays)
    if flats is None:
        return False
    target, *sources = flats
    if target.size < LARGE:
        function(*sources, target)
        return True

    def part(span: tuple[int, int]) -> None:
        here = slice(*span)
        function(*[a[here] for a in sources], target[here])

    share(part, spans(target.size, LEAST))
    return True
