"""Element by element on the CPU: large arrays are shared among threads, in the order of their memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.cpu.layout import LARGE, LEAST, along_memory, flat, flat_alike, laid_out_like
from minidl.backend.cpu.threads import Span, cut, share, spans, team
from minidl.backend.reference.elementwise import ElementwiseKernels

SMALL = 1 << 12  # elements: for fewer the preparations below take longer than the work
PART = 1 << 13  # elements that a thread that is awake should have to itself
# Elements at a time of a function of several steps: what lies between them then mostly stays in the cache. Before and after each
# step threads take Python's lock, so that few long steps are better than many short ones.
PIECE = 1 << 18
# Zeros as arrays: NumPy takes longer to look at a number.
_ZERO: dict[str, Any] = {"f": np.zeros((), np.float32), "d": np.zeros(())}


class CpuElementwise(ElementwiseKernels):
    """What is worth sharing among threads; small or unlike arrays go to the reference."""

    def by_pieces(self, function: Callable[..., Any], *inputs: Any) -> Any:
        if isinstance(function, np.ufunc):
            return _shared_ufunc(function, *inputs)
        is_cut = [type(x) is np.ndarray and x.ndim > 0 for x in inputs]
        arrays = [x for x, is_one in zip(inputs, is_cut, strict=True) if is_one]
        flats = flat_alike(*arrays) if arrays else None
        if flats is None:
            return function(*inputs)

        def piece(start: int, stop: int) -> Any:
            pieces = iter([x[start:stop] for x in flats])
            return function(*[next(pieces) if is_one else x for x, is_one in zip(inputs, is_cut, strict=True)])

        probe = piece(0, 1)
        out = np.empty_like(arrays[0], getattr(probe, "dtype", None))
        target = flat(out)
        if type(probe) is not np.ndarray or probe.shape != (1,) or target is None:
            return function(*inputs)  # it gives more than one array, or none
        errors = np.geterr()  # of this thread: the others would warn

        def part(span: Span) -> None:
            with np.errstate(**errors):
                for start, stop in cut(span, PIECE):
                    target[start:stop] = piece(start, stop)

        share(part, spans(target.size, LEAST))
        return out

    def in_one_pass(self, name: str, arrays: Sequence[Any], numbers: tuple[float, ...]) -> Any:
        kept = arrays[-1]
        if kept.dtype.char != "f" or fast_kernels() is None:
            return None
        from minidl.backend.cpu.fast import activations  # here, so that a net without them does not wait for them

        out = np.empty_like(kept)
        flats = flat_alike(out, *[laid_out_like(x, kept) for x in arrays])
        if flats is None:
            return None
        target, *sources = flats
        getattr(activations, name)(team(target.size, PART), *sources, numbers, target)
        return out

    def add(self, a: Any, b: Any) -> Any:
        if type(a) is not np.ndarray or a.size < SMALL or type(b) is not np.ndarray:
            return a + b
        out = np.empty_like(a)
        return out if _do("add", np.add, (a, b), out) else _shared_ufunc(np.add, a, b)

    def add_into(self, total: Any, x: Any) -> None:
        apart = total.size >= SMALL and type(x) is np.ndarray and (x is total or not np.may_share_memory(total, x))
        if not apart or not _do("add", np.add, (total, x), total):
            total += x

    def relu(self, x: Any, out: Any = None) -> Any:
        if x.size < SMALL:
            return np.maximum(x, _ZERO.get(x.dtype.char, 0), out=out)
        y = np.empty_like(x) if out is None else out
        # NumPy uses vectors for ``clip``, but not for ``maximum`` of an array and a number.
        done = x.dtype.kind == "f" and _do("relu", lambda a, b: np.clip(a, 0, np.inf, out=b), (x,), y)
        return y if done else np.maximum(x, 0, out=y)

    def relu_grad(self, g: Any, y: Any) -> Any:
        reference = super().relu_grad
        if g.size < SMALL:
            zero = _ZERO.get(g.dtype.char)
            return reference(g, y) if zero is None or y.dtype is not g.dtype else np.where(y <= zero, zero, g)

        def plain(g: Any, y: Any, out: Any) -> None:
            _cleared(g, y <= 0, out)

        out = np.empty_like(y)
        done = g.dtype.char in "fd" and _do("relu_back", plain, (laid_out_like(g, y), y), out)
        return out if done else reference(g, y)

    def hardtanh(self, x: Any, low: float, high: float, out: Any = None) -> Any:
        y = np.empty_like(x) if out is None else out

        def plain(x: Any, low: float, high: float, out: Any) -> None:
            np.clip(x, low, high, out=out)

        done = x.size >= SMALL and _do("hardtanh", plain, (x,), y, float(low), float(high))
        return y if done else np.clip(x, low, high, out=out)

    def hardtanh_grad(self, g: Any, y: Any, low: float, high: float) -> Any:
        reference = super().hardtanh_grad
        if g.size < SMALL:
            return reference(g, y, low, high)

        def plain(g: Any, y: Any, low: float, high: float, out: Any) -> None:
            _cleared(g, (y <= low) | (y >= high), out)

        out, limits = np.empty_like(y), (float(low), float(high))
        done = g.dtype.char in "fd" and _do("hardtanh_back", plain, (laid_out_like(g, y), y), out, *limits)
        return out if done else reference(g, y, low, high)

    def sigmoid(self, x: Any, out: Any = None) -> Any:
        plain = super().sigmoid
        if x.dtype.char == "f" and fast_kernels() is not None:
            y = np.empty_like(x) if out is None else out
            return y if _do("sigmoid", plain, (x,), y) else plain(x, y)
        return self.by_pieces(plain, x) if out is None and x.size >= LARGE else plain(x, out)

    def sigmoid_grad(self, g: Any, y: Any) -> Any:
        plain = super().sigmoid_grad
        if fast_kernels() is None or y.dtype.char not in "fd":
            return self.by_pieces(plain, g, y) if y.size >= LARGE else plain(g, y)
        out = np.empty_like(y)
        return out if _do("sigmoid_back", plain, (laid_out_like(g, y), y), out) else plain(g, y)


def _shared_ufunc(function: np.ufunc, *inputs: Any) -> Any:
    """A function of NumPy's on arrays that broadcast, and numbers; threads share the result, in the order of its memory."""
    arrays = [x for x in inputs if type(x) is np.ndarray]
    shape = np.broadcast_shapes(*[x.shape for x in arrays])
    whole = next((x for x in arrays if x.shape == shape), None)
    if whole is None or whole.size < LARGE:
        return function(*inputs)
    probe = function(*[x[(slice(1),) * x.ndim] if type(x) is np.ndarray else x for x in inputs])
    out = np.empty_like(whole, probe.dtype)
    is_cut = [type(x) is np.ndarray and x.ndim > 0 for x in inputs]
    errors = np.geterr()  # of this thread: the others would warn

    def part(out: np.ndarray, *pieces: np.ndarray) -> None:
        rest = iter(pieces)
        with np.errstate(**errors):
            function(*[next(rest) if is_one else x for x, is_one in zip(inputs, is_cut, strict=True)], out=out)

    along_memory(part, out, *[np.broadcast_to(x, shape) for x, is_one in zip(inputs, is_cut, strict=True) if is_one])
    return out


def _cleared(g: np.ndarray, drop: np.ndarray, out: np.ndarray) -> None:
    """out = g, but 0 where ``drop``; the plain twin is ``np.where(drop, 0, g)``.

    By bits, with a mask of all ones or none: a processor is slow at choices that it cannot foresee.
    """
    keep = drop.view(np.int8) - np.int8(1)
    bits = np.int32 if g.dtype.itemsize == 4 else np.int64
    np.bitwise_and(g.view(bits), keep, out=out.view(bits))


def _do(name: str, plain: Callable[..., Any], arrays: tuple[np.ndarray, ...], out: np.ndarray, *numbers: float) -> bool:
    """Call the compiled kernel of that name, or the plain function: ``(*arrays, *numbers, out)``, flat pieces of alike arrays.

    Returns:
        False if the arrays are not alike: nothing was done then.
    """
    flats = flat_alike(out, *arrays)
    if flats is None:
        return False
    target, *sources = flats
    fast = fast_kernels() if target.dtype.char in "fd" else None
    if fast is not None:
        getattr(fast, name)(team(target.size, PART), *sources, *numbers, target)
        return True

    def part(span: Span) -> None:
        here = slice(*span)
        plain(*[a[here] for a in sources], *numbers, target[here])

    share(part, spans(target.size, LEAST) if target.size >= LARGE else [(0, target.size)])
    return True
