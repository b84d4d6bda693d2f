"""Who computes what: picks an implementation by shape, and can say what it picked.

``with explain() as choices: …`` collects the choices of everything that runs inside; ``minidl.backend.explain(function)``
runs a function and returns them as a table.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from minidl.backend.cpu.compiled import fast_kernels


class Choice(NamedTuple):
    """One call of a kernel: its name, the shapes it got, who computed it, and why."""

    kernel: str
    shapes: str
    picked: str
    because: str


_listening: list[list[Choice]] = []


def note(kernel: str, shapes: Callable[[], str], picked: str, because: str = "") -> None:
    """Tell those who listen what was picked."""
    for choices in _listening:
        choices.append(Choice(kernel, shapes(), picked, because))


class Explanation:
    """What ``explain`` found: a list of ``Choice`` in ``choices``, the function's ``result``; printed as a table."""

    def __init__(self, choices: list[Choice], result: Any) -> None:
        self.choices, self.result = choices, result

    def __str__(self) -> str:
        counts: dict[Choice, int] = {}
        for choice in self.choices:
            counts[choice] = counts.get(choice, 0) + 1
        if not counts:
            return "no kernel was called that has more than one implementation"
        rows = [("kernel", "shapes", "picked", "calls", "because")]
        rows += [(c.kernel, c.shapes, c.picked, str(n), c.because) for c, n in counts.items()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join(lines)

    __repr__ = __str__


def explain(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Explanation:
    """Call ``function(*args, **kwargs)`` and report which implementation every kernel took, and why.

    Example:
        >>> print(minidl.backend.explain(lambda: model(images)))  # doctest: +SKIP
        kernel  shapes                                picked                calls  because
        conv2d  128×16×32×32 by 16×16×3×3, stride 1   Winograd F(4×4, 3×3)  6      3×3 kernel, stride 1, float32
    """
    choices: list[Choice] = []
    _listening.append(choices)
    try:
        result = function(*args, **kwargs)
    finally:
        _listening.remove(choices)
    return Explanation(choices, result)


# -- convolution -------------------------------------------------------------------------------------------------------

_winograd = os.environ.get("MINIDL_WINOGRAD", "1") != "0"


def use_winograd(on: bool) -> None:
    """Turn Winograd's algorithm on (the default) or off; ``MINIDL_WINOGRAD=0`` turns it off from the start.

    It needs a quarter of the multiplications and rounds a little more: the relative error of a convolution in float32 is
    below 1e-5 of the output's norm instead of 1e-6. It is never taken for float64.
    """
    global _winograd
    _winograd = bool(on)


class Convolution(NamedTuple):
    """The shape of a convolution, of which forward, input gradient and weight gradient are three uses."""

    n: int
    c: int
    o: int
    size: tuple[int, int]
    out: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]
    groups: int
    dtype: Any

    def __str__(self) -> str:
        text = f"{self.n}×{self.c}×{self.size[0]}×{self.size[1]} by {self.o}×{self.c // self.groups}×"
        text += f"{self.kernel[0]}×{self.kernel[1]}, stride {self.stride[0]}"
        return text if self.groups == 1 else f"{text}, {self.groups} groups"


def tile_of(conv: Convolution) -> tuple[int, int, str]:
    """Outputs m and taps r of the Winograd tile to use, or m = 0; and the reason.

    F(4×4) needs the fewest multiplications, if its tiles do not hang over the edges of small images too far.
    """
    if conv.dtype != "float32":
        return 0, 0, f"{conv.dtype}: exact arithmetic wanted"
    if not _winograd:
        return 0, 0, "Winograd is switched off"
    r = conv.kernel[0]
    if conv.kernel not in ((3, 3), (5, 5)) or conv.stride != (1, 1) or conv.dilation != (1, 1) or conv.groups != 1:
        return 0, 0, "Winograd is for 3×3 and 5×5 kernels, stride 1, without dilation or groups"
    if max(*conv.padding[0], *conv.padding[1]) > r - 1:
        return 0, 0, "a border wider than the kernel"
    if conv.c < 8 or conv.o < 8:
        return 0, 0, "fewer than 8 channels"
    if r == 5:
        return 2, 5, "5×5 kernel, stride 1, float32"
    cost = {m: (m + 2) ** 2 * -(-conv.out[0] // m) * -(-conv.out[1] // m) for m in (4, 2)}
    m = min(cost, key=lambda m: cost[m])
    return m, 3, "3×3 kernel, stride 1, float32"


def is_depthwise(conv: Convolution) -> bool:
    """Whether every channel has a kernel of its own."""
    return conv.groups > 1 and conv.groups == conv.c == conv.o and fast_kernels() is not None
