"""The shape of a convolution, of which forward, input gradient and weight gradient are three uses."""

from __future__ import annotations

from typing import Any, NamedTuple

Pair = tuple[int, int]


class Convolution(NamedTuple):
    """Sizes as (height, width); ``padding`` as ((top, bottom), (left, right)); x is (n, c, *size), y is (n, o, *out)."""

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

    @property
    def corner(self) -> Pair:
        """The border above and to the left."""
        return self.padding[0][0], self.padding[1][0]

    @property
    def padded(self) -> Pair:
        """The size of the input with its border."""
        return self.size[0] + sum(self.padding[0]), self.size[1] + sum(self.padding[1])

    @property
    def turned(self) -> Convolution:
        """The convolution, with its kernel turned round, that is the input gradient of this one (stride 1)."""
        (top, bottom), (left, right) = self.padding
        h, w = self.kernel[0] - 1, self.kernel[1] - 1
        borders = (h - top, h - bottom), (w - left, w - right)
        return self._replace(c=self.o, o=self.c, size=self.out, out=self.size, padding=borders)

    def __str__(self) -> str:
        text = f"{self.n}×{self.c}×{self.size[0]}×{self.size[1]} by {self.o}×{self.c // self.groups}×"
        text += f"{self.kernel[0]}×{self.kernel[1]}, stride {self.stride[0]}"
        return text if self.groups == 1 else f"{text}, {self.groups} groups"
