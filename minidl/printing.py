"""How a Tensor is shown: as PyTorch shows it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import dtypes

if TYPE_CHECKING:
    from minidl.tensor import Tensor

PRECISION = 4  # digits after the point
THRESHOLD = 1000  # a Tensor with more elements is shown in part: …
EDGE = 3  # … so many at the beginning and at the end of each dimension
LINE = 80


def format_tensor(t: Tensor) -> str:
    """Return ``tensor([1., 2.], requires_grad=True)`` and the like, as PyTorch does."""
    if type(t).__name__ == "Parameter":
        return f"Parameter containing:\n{format_tensor(t.data.requires_grad_(t.requires_grad))}"
    array = t.backend.to_numpy(t.array)
    default = dtypes.get_default_dtype()
    notes = []
    if t.device.type != "cpu":
        notes.append(f"device='{t.device}'")
    if array.size == 0:
        notes += [f"size={t.shape}"] if t.ndim != 1 else []
        notes += [f"dtype={t.dtype}"] if t.dtype != default else []
        text = "[]"
    else:
        notes += [f"dtype={t.dtype}"] if t.dtype not in (default, dtypes.int64, dtypes.bool) else []
        in_part = array.size > THRESHOLD
        style = _Style(_edges(array) if in_part else array)
        text = _nested(array, len("tensor("), in_part, style)
    node = t.grad_fn
    if node is not None:
        notes.append(f"grad_fn=<{node.name}>")
    elif t.requires_grad:
        notes.append("requires_grad=True")
    return _append(f"tensor({text}", notes) + ")"


class _Style:
    """How every number of an array is written, so that all have one width.

    Whole numbers as ``1.``, others with four digits (``1.5000``), and where sizes differ too much (a factor above 1000), or
    are above 1e8 or below 1e-4, with exponents (``1.0000e-05``).
    """

    def __init__(self, array: np.ndarray) -> None:
        values = array.reshape(-1).tolist()
        self.is_float = array.dtype.kind == "f"
        self.whole = True
        self.exponents = False
        self.width = 1
        if self.is_float:
            values = [v for v in values if math.isfinite(v) and v != 0]
            if not values:
                return
            sizes = [abs(v) for v in values]
            least, most = min(sizes), max(sizes)
            self.whole = all(v == math.ceil(v) for v in values)
            self.exponents = most / least > 1000.0 or most > 1e8 or (not self.whole and least < 1e-4)
        self.width = max(len(self.bare(v)) for v in values)

    def bare(self, value: Any) -> str:
        if not self.is_float:
            return str(value)
        if self.exponents:
            return f"{value:.{PRECISION}e}"
        if self.whole:
            return f"{value:.0f}." if math.isfinite(value) else f"{value:.0f}"
        return f"{value:.{PRECISION}f}"

    def __call__(self, value: Any) -> str:
        return self.bare(value).rjust(self.width)


def _nested(array: np.ndarray, indent: int, in_part: bool, style: _Style) -> str:
    """The elements in brackets; ``indent`` is where the line stands."""
    if array.ndim == 0:
        return style(array.item())
    cut = in_part and len(array) > 2 * EDGE
    if array.ndim == 1:
        shown = [style(v) for v in (array[:EDGE].tolist() + array[-EDGE:].tolist() if cut else array.tolist())]
        if cut:
            shown.insert(EDGE, " ...")
        per_line = max(1, (LINE - indent) // (style.width + 2))
        lines = [", ".join(shown[i : i + per_line]) for i in range(0, len(shown), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    rows = [*array[:EDGE], *array[-EDGE:]] if cut else list(array)
    blocks = [_nested(row, indent + 1, in_part, style) for row in rows]
    if cut:
        blocks.insert(EDGE, "...")
    return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(blocks) + "]"


def _edges(array: np.ndarray) -> np.ndarray:
    """The elements that are shown of a large array."""
    for axis, n in enumerate(array.shape):
        if n > 2 * EDGE:
            array = array.take([*range(EDGE), *range(n - EDGE, n)], axis)
    return array


def _append(text: str, notes: list[str]) -> str:
    """Add the notes, each on the same line where it fits."""
    last = len(text) - text.rfind("\n") + 1
    for note in notes:
        if last + len(note) + 2 > LINE:
            text += ",\n" + " " * len("tensor(") + note
            last = len("tensor(") + len(note)
        else:
            text += ", " + note
            last += len(note) + 2
    return text
