"""Batch normalisation on the GPU, in two passes over the memory."""

from __future__ import annotations

from typing import Any

from minidl.backend.cuda.launch import THEN, Launcher, matrix
from minidl.backend.cuda.layout import channels_last, empty_like, laid_out_like
from minidl.backend.reference.norm import NormKernels, Running, Shape, followed, per_channel


class CudaNorm(NormKernels, Launcher):
    """Normalisation and sums per channel of arrays that lie channels-last; everything else goes to the reference."""

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
        fits = _is_matrix(x) and axes == _all_but_channels(x) and per_channel(x, weight, bias)
        if not (fits and followed(x, running)):
            return super().normalize_batch(x, weight, bias, axes, eps, running, then)
        rows, columns = _matrix(x)
        (grid, block), type_ = matrix(rows, columns), x.dtype.char
        averages = (None, None, 0.0) if running is None else running
        parts = self.xp.empty((grid[1], 2, columns), dtype="float64")
        mean, invstd = (self.xp.empty((1, columns) + (1,) * (x.ndim - 2), dtype=x.dtype) for _ in range(2))
        y = empty_like(self.xp, x)
        self.launch("norm", "moment_parts", type_, grid, block, x, rows, columns, parts)
        finish = (grid[0], 1), block
        self.launch(
            "norm", "moments", type_, *finish, x, parts, grid[1], rows, columns, float(eps), *averages, mean, invstd
        )
        given = x, *_lines(weight, bias), mean, invstd, THEN.index(then)
        self.launch("norm", "normalize", type_, grid, block, *given, rows, columns, y)
        return y, mean, invstd

    def normalize_by(
        self, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, eps: float, then: str | None = None
    ) -> tuple[Any, Any]:
        vectors = mean, variance, weight, bias
        if not _is_matrix(x) or any(v is not None and v.dtype != x.dtype for v in vectors):
            return super().normalize_by(x, weight, bias, mean, variance, eps, then)
        rows, columns = _matrix(x)
        (grid, block), type_ = matrix(rows, columns), x.dtype.char
        mean, variance, weight, bias = _lines(*vectors)
        y, invstd = empty_like(self.xp, x), self.xp.empty(columns, dtype=x.dtype)
        self.launch(
            "norm", "inverse_deviation", type_, (grid[0], 1), (block[0], 1), variance, columns, float(eps), invstd
        )
        given = x, weight, bias, mean, invstd, THEN.index(then)
        self.launch("norm", "normalize", type_, grid, block, *given, rows, columns, y)
        return y, invstd

    def channel_sums(self, x: Any) -> Any:
        if not _is_matrix(x):
            return super().channel_sums(x)
        rows, columns = _matrix(x)
        (grid, block), type_ = matrix(rows, columns), x.dtype.char
        parts, sums = self.xp.empty((grid[1], columns), dtype="float64"), self.xp.empty(columns, dtype=x.dtype)
        self.launch("norm", "sum_parts", type_, grid, block, x, rows, columns, parts)
        self.launch("norm", "sum_of_parts", type_, (grid[0], 1), block, parts, grid[1], columns, sums)
        return sums

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
        fits = _is_matrix(x) and axes == _all_but_channels(x) and per_channel(x, weight, mean, invstd)
        if not fits or any(a.dtype != x.dtype for a in (g, y) if a is not None):
            return super().normalize_grad(g, x, weight, mean, invstd, axes, affine, weight_shape, bias_shape, then, y)
        g, y = (None if a is None else laid_out_like(self.xp, a, x) for a in (g, y))
        rows, columns = _matrix(x)
        (grid, block), type_ = matrix(rows, columns), x.dtype.char
        weight, mean, invstd = _lines(weight, mean, invstd)
        parts, sums = (self.xp.empty((n, 2, columns), dtype="float64") for n in (grid[1], 1))
        dx = empty_like(self.xp, x)
        dweight, dbias = (None if s is None else self.xp.empty(s, dtype=x.dtype) for s in (weight_shape, bias_shape))
        cotangent = g, y, THEN.index(then)
        self.launch("norm", "gradient_parts", type_, grid, block, *cotangent, x, mean, rows, columns, parts)
        finish = (grid[0], 1), block
        self.launch("norm", "gradient_sums", type_, *finish, parts, grid[1], columns, invstd, sums, dweight, dbias)
        given = *cotangent, x, weight, mean, invstd, sums
        self.launch("norm", "input_gradient", type_, grid, block, *given, rows, columns, dx)
        return dx, dweight, dbias


def _is_matrix(x: Any) -> bool:
    """Whether x, (N, C) or (N, C, H, W), has numbers, and a position's channels lie side by side without gaps."""
    if x.size == 0 or x.dtype.char not in "fd":
        return False
    return channels_last(x) or (x.ndim == 2 and bool(x.flags.c_contiguous))


def _all_but_channels(x: Any) -> Shape:
    return (0,) if x.ndim == 2 else (0, 2, 3)


def _lines(*arrays: Any) -> list[Any]:
    """One number for each channel without gaps, or None."""
    return [a if a is None or a.flags.c_contiguous else a.copy() for a in arrays]


def _matrix(x: Any) -> tuple[int, int]:
    """How many positions and channels."""
    return x.size // x.shape[1], x.shape[1]
