"""Saying which implementation a kernel took, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Choice(NamedTuple):
    """One call of a kernel: its name, the shapes it got, what computed it, and why."""

    kernel: str
    shapes: str
    picked: str
    because: str


_listening: list[list[Choice]] = []


def is_explaining() -> bool:
    """Whether anybody listens: else there is no need to find words."""
    return bool(_listening)


def note(kernel: str, shapes: object, picked: str, because: str) -> None:
    """Tell those who listen what was picked."""
    for choices in _listening:
        choices.append(Choice(kernel, str(shapes), picked, because))


class Explanation:
    """What ``explain`` found: the list of ``choices`` and the function's ``result``. Printed, it is a table."""

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
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join(line.rstrip() for line in lines)

    __repr__ = __str__


def explain(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Explanation:
    """Call ``function(*args, **kwargs)`` and report which implementation each kernel took, and why.

    Only kernels that choose between several report; a kernel that several threads call at once reports for all of them.

    Example:
        >>> print(minidl.backend.explain(lambda: model(images)))  # doctest: +SKIP
        kernel  shapes                                picked    calls  because
        conv2d  128×16×32×32 by 16×16×3×3, stride 1   direct    6      few channels
    """
    choices: list[Choice] = []
    _listening.append(choices)
    try:
        result = function(*args, **kwargs)
    finally:
        _listening[:] = [c for c in _listening if c is not choices]
    return Explanation(choices, result)
