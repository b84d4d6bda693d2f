"""Batch normalisation on the CPU: positions × channels as one matrix, its rows shared among threads.

A matrix of few channels has short rows, and loops over short rows are slow. So several rows are taken for one wide row;
what belongs to a column is repeated along it, and what is summed over columns is added up at the end.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from minidl.backend.cpu import norm_groups, norm_rows
from minidl.backend.cpu.compiled import fast_kernels
from minidl.backend.cpu.layout import LEAST, laid_out_like
from minidl.backend.cpu.norm_rows import NOTHING, line
from minidl.backend.cpu.threads import Span, cut, row_team, share, spans
from minidl.backend.reference.norm import NormKernels, Running, Shape, as_channels, follow, followed, per_channel

SMALL, MEDIUM = 1 << 12, 1 << 14  # numbers: for fewer it does not pay to make rows wide, or only a little
WIDE, NARROW = 512, 64  # numbers in a row at least, where the number of positions can be divided; of a medium matrix
THEN = (None, "relu", "sigmoid", "relu6")  # what the compiled kernels do to float32 in the same pass
_NO_RUNNING: dict[str, Running] = {char: (nothing, nothing, 0.0) for char, nothing in NOTHING.items()}
_NO_OUTPUT = {char: nothing.reshape(0, 0) for char, nothing in NOTHING.items()}
BLOCK_BYTES = 1 << 18  # of temporaries at a time, without Numba


class CpuNorm(NormKernels):
    """Normalisation per channel of arrays that lie channels-last, and of rows; everything else goes to the reference."""

    def normalize_batch(
        self,
        x: Any,
        weight: Any,
        bias: Any,
        axes: Shape,
        eps: float,
        running: Running | None = None,
        then: str | None = None,
    ) -> tuple[Any, Any, Any]:
        if running is None and norm_rows.can_do(x, axes, weight, bias):
            y, mean, invstd = norm_rows.forward(x, weight, bias, axes, eps)
            return self._after(then, y), mean, invstd
        if running is None and norm_groups.can_do(x, axes, weight, bias):
            y, mean, invstd = norm_groups.forward(x, weight, bias, eps)
            return self._after(then, y), mean, invstd
        fast = fast_kernels()
        columns = _columns(x, axes)
        fits = columns is not None and per_channel(x, weight, bias) and followed(x, running)
        if columns is None or not fits or (fast is None and x.size >= LEAST):
            return super().normalize_batch(x, weight, bias, axes, eps, running, then)
        if fast is None:
            y, mean, invstd = _normalize_small(x, weight, bias, axes, eps, running)
            return self._after(then, y), mean, invstd
        matrix, repeats = columns
        y, mean, invstd = np.empty_like(x), np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)
        w, b = line(weight, x), line(bias, x)
        averages = _NO_RUNNING[x.dtype.char] if running is None else running
        code, to = _code(then, x), _matrix(y, repeats)
        fast.normalize_batch(row_team(matrix), matrix, repeats, w, b, eps, *averages, code, to, mean, invstd)
        if not code:
            y = self._after(then, y)
        shape = (1, -1) if x.ndim == 2 else (1, -1, 1, 1)
        return y, mean.reshape(shape), invstd.reshape(shape)

    def channel_sums(self, x: Any) -> Any:
        if x.ndim == 2 and x.size < LEAST:
            return np.add.reduce(x)
        columns = _columns(x, (0,) if x.ndim == 2 else (0, 2, 3))
        if columns is None:
            return super().channel_sums(x)
        matrix, repeats = columns
        fast = fast_kernels()
        if fast is not None:
            sums = np.empty(x.shape[1], x.dtype)
            fast.channel_sums(row_team(matrix), matrix, sums)
            return sums
        first, *others = share(lambda rows: np.add.reduce(matrix[slice(*rows)]), _rows(matrix))
        for other in others:
            first += other
        return first if repeats == 1 else np.add.reduce(first.reshape(repeats, -1))

    def channel_products(self, g: Any, x: Any, mean: Any) -> Any:
        fast, columns = fast_kernels(), _columns(x, (0,) if x.ndim == 2 else (0, 2, 3))
        if fast is None or columns is None or not per_channel(x, as_channels(mean, x)):
            return super().channel_products(g, x, mean)
        matrix, repeats = columns
        cotangents, sums = _matrix(laid_out_like(g, x), repeats), np.empty(x.shape[1], x.dtype)
        fast.channel_products(row_team(matrix), cotangents, matrix, repeats, mean.reshape(-1), sums)
        return sums

    def scale_channels(self, x: Any, scale: Any) -> Any:
        return self.normalize(x, None, None, as_channels(np.zeros_like(scale), x), as_channels(scale, x))

    def moments(self, x: Any, axes: Shape) -> tuple[Any, Any]:
        columns = None if x.size < LEAST else _columns(x, axes)
        if columns is None:
            return super().moments(x, axes)
        matrix, repeats = columns
        pieces = _rows(matrix)
        parts = share(lambda rows: _moments(matrix[slice(*rows)]), pieces)
        # Join them: Chan, Golub & LeVeque 1983, equations 2.1.
        means = np.stack([p[0] for p in parts]).reshape(len(parts), repeats, -1)
        m2s = np.stack([p[1] for p in parts]).reshape(means.shape)
        counts = np.array([b - a for a, b in pieces], float).reshape(-1, 1, 1)
        mean = (means * counts).sum((0, 1)) / (counts.sum() * repeats)
        m2 = (m2s + counts * (means - mean) ** 2).sum((0, 1))
        shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        variance = m2 / (len(matrix) * repeats)
        return mean.astype(x.dtype).reshape(shape), variance.astype(x.dtype).reshape(shape)

    def normalize_by(
        self, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, eps: float, then: str | None = None
    ) -> tuple[Any, Any]:
        fast = fast_kernels()
        columns = _columns(x, (0,) if x.ndim == 2 else (0, 2, 3))
        vectors: list[Any] = [NOTHING.get(x.dtype.char) if v is None else v for v in (weight, bias, mean, variance)]
        if (
            fast is None
            or columns is None
            or any([v.dtype is not x.dtype or not v.flags.c_contiguous for v in vectors])
        ):
            return super().normalize_by(x, weight, bias, mean, variance, eps, then)
        matrix, repeats = columns
        y, invstd = np.empty_like(x), np.empty_like(mean)
        code = _code(then, x)
        fast.normalize_by(row_team(matrix), matrix, repeats, *vectors, eps, code, _matrix(y, repeats), invstd)
        return y if code else self._after(then, y), invstd

    def normalize(self, x: Any, weight: Any, bias: Any, mean: Any, invstd: Any) -> Any:
        axes = tuple(i for i in range(x.ndim) if i != 1)
        fast = fast_kernels()
        fits = (fast is not None or x.size >= LEAST) and x.ndim > 1 and mean.size == x.shape[1]
        columns = _columns(x, axes) if fits else None
        if columns is None or not per_channel(x, weight, bias, mean, invstd):
            return super().normalize(x, weight, bias, mean, invstd)
        matrix, repeats = columns
        scale = invstd if weight is None else invstd * weight
        shift = np.zeros_like(mean) if bias is None else bias
        middle, scale, shift = (v.reshape(-1) for v in (mean, scale, shift))
        y = np.empty_like(x)  # in x's memory layout
        target = _matrix(y, repeats)
        if fast is not None:
            fast.normalize(row_team(matrix), matrix, repeats, middle, scale, shift, 0, target)
            return y
        middle, scale, shift = (_repeat(v, repeats) for v in (middle, scale, shift))

        def part(rows: Span) -> None:
            for block in _blocks(matrix, rows):
                np.subtract(matrix[block], middle, out=target[block])
                target[block] *= scale
                target[block] += shift

        share(part, _rows(matrix))
        return y

    def normalize_grad(
        self,
        g: Any,
        x: Any,
        weight: Any,
        mean: Any,
        invstd: Any,
        axes: Shape,
        affine: Shape,
        weight_shape: Shape | None,
        bias_shape: Shape | None,
        then: str | None = None,
        y: Any = None,
    ) -> tuple[Any, Any, Any]:
        if norm_rows.can_do(x, axes, weight):
            of_row = x.shape[x.ndim - len(axes) :]
            wanted = weight_shape is not None or bias_shape is not None
            if affine == of_row or not wanted:
                dx, dw, db = norm_rows.back(self._before(then, g, y), x, weight, mean, invstd, axes, wanted)
                return dx, _in_shape(dw, weight_shape, x), _in_shape(db, bias_shape, x)
        if norm_groups.can_do(x, axes, weight) and affine == (1, *x.shape[1:3], 1, 1):
            dx, dw, db = norm_groups.back(self._before(then, g, y), x, weight, mean, invstd)
            return dx, _in_shape(dw, weight_shape, x), _in_shape(db, bias_shape, x)
        fast = fast_kernels()
        columns = _columns(x, axes)
        code = 0 if fast is None or columns is None else _code(then, x)
        if not code:
            g = self._before(then, g, y)
        if columns is None or not per_channel(x, weight, None, mean, invstd):
            return super().normalize_grad(g, x, weight, mean, invstd, axes, affine, weight_shape, bias_shape)
        matrix, repeats = columns
        if fast is None and x.size < LEAST:
            dx, dw, db = _normalize_back_small(g, x, weight, mean, invstd, axes)
        else:
            dx = np.empty_like(x)
            cotangents, target = _matrix(laid_out_like(g, x), repeats), _matrix(dx, repeats)
            if fast is not None:
                dw, db = (np.empty(s or x.shape[1], x.dtype) for s in (weight_shape, bias_shape))
                lines = line(weight, x), line(mean, x), line(invstd, x)
                output = _matrix(laid_out_like(y, x), repeats) if code else _NO_OUTPUT[x.dtype.char]
                sums = dw.reshape(-1), db.reshape(-1)
                fast.normalize_back(row_team(matrix), cotangents, matrix, repeats, *lines, code, output, target, *sums)
            else:
                dw, db = _normalize_back(cotangents, matrix, repeats, weight, mean, invstd, target)
        return dx, _in_shape(dw, weight_shape, x), _in_shape(db, bias_shape, x)


def _normalize_small(
    x: np.ndarray, weight: Any, bias: Any, axes: Shape, eps: float, running: Running | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The reference's ``normalize_batch`` in fewer calls of NumPy: where x is small it is they that take the time."""
    count = x.size // x.shape[1]
    mean = np.add.reduce(x, axes, keepdims=True)
    mean /= count
    y = x - mean
    variance = np.add.reduce(y * y, axes, keepdims=True)
    variance /= count
    if running is not None:
        follow(running, mean, variance, count)
    variance += eps
    invstd = 1 / np.sqrt(variance, out=variance)
    y *= invstd if weight is None else invstd * weight
    if bias is not None:
        y += bias
    return y, mean, invstd


def _normalize_back_small(
    g: np.ndarray, x: np.ndarray, weight: Any, mean: np.ndarray, invstd: np.ndarray, axes: Shape
) -> tuple[Any, Any, Any]:
    """The gradients for x, weight and bias in few calls of NumPy."""
    count = x.size // x.shape[1]
    dx = x - mean
    db, dw = np.add.reduce(g, axes, keepdims=True), np.add.reduce(g * dx, axes, keepdims=True)
    dw *= invstd
    scale = invstd if weight is None else invstd * weight
    dx *= invstd * dw
    dx += db
    dx /= -count
    dx += g
    dx *= scale
    return dx, dw, db


def _normalize_back(
    g: np.ndarray, x: np.ndarray, repeats: int, weight: Any, mean: np.ndarray, invstd: np.ndarray, dx: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``fast.normalize_back`` without Numba: fills dx, and returns the gradients for weight and bias."""
    middle = _repeat(mean.reshape(-1), repeats)

    def sums(rows: Span) -> np.ndarray:
        found = np.zeros((2, x.shape[1]))
        for block in _blocks(x, rows):
            found[0] += g[block].sum(0)
            centred = x[block] - middle
            centred *= g[block]
            found[1] += centred.sum(0)
        return found

    pieces = _rows(x)
    found, *others = share(sums, pieces)
    for other in others:
        found += other
    total, product = found if repeats == 1 else found.reshape(2, repeats, -1).sum(1)
    count = len(x) * repeats
    inverse = invstd.reshape(-1).astype(float)
    a = inverse if weight is None else inverse * weight.reshape(-1)
    b, c = -a * inverse**2 * product / count, -a * total / count
    a, b, c = (_repeat(v.astype(x.dtype), repeats) for v in (a, b, c))

    def back(rows: Span) -> None:
        for block in _blocks(x, rows):
            np.subtract(x[block], middle, out=dx[block])
            dx[block] *= b
            dx[block] += c
            dx[block] += g[block] * a

    share(back, pieces)
    return product * inverse, total


def _columns(x: np.ndarray, axes: Shape) -> tuple[np.ndarray, int] | None:
    """Positions × channels, and how many positions make one row; None if x does not lie like that in memory."""
    if x.size == 0 or x.dtype.char not in "fd" or x.ndim not in (2, 4) or axes != ((0,) if x.ndim == 2 else (0, 2, 3)):
        return None
    if not (x if x.ndim == 2 else x.transpose(0, 2, 3, 1)).flags.c_contiguous:
        return None
    repeats = _repeats(x.size, x.shape[1])
    return _matrix(x, repeats), repeats


@lru_cache(maxsize=512)
def _repeats(size: int, channels: int) -> int:
    """How many positions make one row."""
    repeats, count = 1, size // channels
    wide = WIDE if size > MEDIUM else NARROW
    while size > SMALL and repeats * channels < wide and count % (2 * repeats) == 0:
        repeats *= 2
    return repeats


def _matrix(x: np.ndarray, repeats: int) -> np.ndarray:
    """The memory of x, (N, C) or channels-last (N, C, H, W), as (positions / repeats, repeats · C)."""
    if repeats == 1 and x.ndim == 2:
        return x
    return (x if x.ndim == 2 else x.transpose(0, 2, 3, 1)).reshape(-1, repeats * x.shape[1])


def _repeat(v: np.ndarray, repeats: int) -> np.ndarray:
    return v if repeats == 1 else np.broadcast_to(v, (repeats, v.size)).reshape(-1)


def _code(then: str | None, x: np.ndarray) -> int:
    """What the compiled kernels are to do with their results; 0 for nothing, or for what they cannot."""
    return THEN.index(then) if x.dtype.char == "f" else 0


def _in_shape(d: Any, shape: Shape | None, like: np.ndarray) -> Any:
    if shape is None or (d.shape == shape and d.dtype == like.dtype):  # a view would have to be copied for who keeps it
        return None if shape is None else d
    return d.astype(like.dtype, copy=False).reshape(shape)


def _rows(matrix: np.ndarray) -> list[Span]:
    return spans(len(matrix), max(1, LEAST // matrix.shape[1]))


def _blocks(matrix: np.ndarray, rows: Span) -> list[slice]:
    return [slice(*block) for block in cut(rows, max(1, BLOCK_BYTES // matrix[0].nbytes))]


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and summed squared deviation of the columns."""
    mean = np.zeros(x.shape[1])
    for block in _blocks(x, (0, len(x))):
        mean += x[block].sum(0)
    mean /= len(x)
    m2, middle = np.zeros(x.shape[1]), mean.astype(x.dtype)
    for block in _blocks(x, (0, len(x))):
        centred = x[block] - middle
        centred *= centred
        m2 += centred.sum(0)
    return middle.astype(float), m2
