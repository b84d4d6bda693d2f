"""The shape of a convolution, of which forward, input gradient and weight gradient are three uses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from minidl.backend.reference.conv import output_sizes

Pair = tuple[int, int]
KEPT = 512  # shapes


@dataclass(frozen=True, eq=False)
class Convolution:
    """Sizes as (height, width); ``padding`` as ((top, bottom), (left, right)); x is (n, c, *size), y is (n, o, *out).

    ``describe`` makes one for each shape. What follows from it is worked out once and kept: a small convolution takes less
    time than to think about it.
    """

    n: int
    c: int
    o: int
    size: Pair
    out: Pair
    kernel: Pair
    stride: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair
    groups: int
    dtype: Any

    @cached_property
    def corner(self) -> Pair:
        """The border above and to the left."""
        return self.padding[0][0], self.padding[1][0]

    @cached_property
    def padded(self) -> Pair:
        """The size of the input with its border."""
        return self.size[0] + sum(self.padding[0]), self.size[1] + sum(self.padding[1])

    @cached_property
    def turned(self) -> Convolution:
        """The convolution, with its kernel turned round, that is the input gradient of this one (stride 1)."""
        (top, bottom), (left, right) = self.padding
        h, w = self.kernel[0] - 1, self.kernel[1] - 1
        borders = (h - top, h - bottom), (w - left, w - right)
        return replace(self, c=self.o, o=self.c, size=self.out, out=self.size, padding=borders)

    @cached_property
    def geometry(self) -> tuple[Pair, Pair, Pair]:
        """What the compiled kernels want to know of the windows: stride, corner and dilation."""
        return self.stride, self.corner, self.dilation

    @cached_property
    def is_plain(self) -> bool:
        """Whether every pixel is its own window."""
        return self.kernel == (1, 1) and self.stride == (1, 1) and self.padded == self.size == self.out

    def __str__(self) -> str:
        text = f"{self.n}×{self.c}×{self.size[0]}×{self.size[1]} by {self.o}×{self.c // self.groups}×"
        text += f"{self.kernel[0]}×{self.kernel[1]}, stride {self.stride[0]}"
        return text if self.groups == 1 else f"{text}, {self.groups} groups"


@lru_cache(maxsize=KEPT)
def describe(
    x: tuple[int, ...],
    o: int,
    kernel: Pair,
    out: Pair | None,
    stride: Pair,
    padding: Any,
    dilation: Pair,
    groups: int,
    dtype: Any,
) -> Convolution:
    """The convolution of an input of shape ``x`` to ``o`` channels; ``out`` is what the sizes give, unless given."""
    n, c, *size = x
    if out is None:
        out = output_sizes(size, kernel, stride, padding, dilation)
    return Convolution(n, c, o, _pair(size), out, kernel, stride, padding, dilation, groups, dtype)


def _pair(values: list[int]) -> Pair:
    return values[0], values[1]
