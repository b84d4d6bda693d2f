"""What a benchmark leaves behind: a table on the screen, JSON, a picture, Markdown. Files appear whole or not at all."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from minidl.io import atomic_write


class Table:
    """Columns of fixed width, so that rows can be printed as they come.

    Args:
        columns: title and layout of each, the layout as in a format string: ``"<12"`` (left) or ``">8"`` (right).
    """

    def __init__(self, *columns: tuple[str, str]) -> None:
        self.columns = columns
        self.rows: list[list[str]] = []

    def head(self) -> str:
        """The titles, and a line under them."""
        titles = self._line([title for title, _ in self.columns])
        return f"{titles}\n{'-' * len(titles)}"

    def add(self, *cells: Any) -> str:
        """Keep a row, and return it as it is to be printed."""
        self.rows.append([str(cell) for cell in cells])
        return self._line(self.rows[-1])

    def markdown(self) -> str:
        """The whole table in Markdown."""
        rule = ["---:" if layout.startswith(">") else "---" for _, layout in self.columns]
        lines = [[title for title, _ in self.columns], rule, *self.rows]
        return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)

    def text(self) -> str:
        """The whole table as it is printed."""
        return "\n".join([self.head(), *map(self._line, self.rows)])

    def _line(self, cells: Sequence[str]) -> str:
        return "  ".join(f"{cell:{layout}}" for cell, (_, layout) in zip(cells, self.columns, strict=True)).rstrip()


class Bar(NamedTuple):
    """A bar of a picture: its label, series (which gives the colour), value, and the range of the value."""

    label: str
    series: str
    value: float
    low: float
    high: float


def number(value: float | None, digits: int = 3, unit: str = "") -> str:
    """A number with so many digits that count: 0.0123, 1.23, 123; a dash for None."""
    if value is None:
        return "-"
    if value == 0:
        return f"0{unit}"
    magnitude = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    if magnitude:
        return f"{value:.{max(digits - magnitude, 0)}f}{unit}"
    return f"{value:.{digits}g}{unit}"


def mebibytes(count: int | None) -> str:
    """Bytes as MiB."""
    return "-" if count is None else f"{count / 2**20:.0f}"


def result_path(folder: Path, script: str, when: datetime, suffix: str) -> Path:
    """``results/2025-11-23-1437-train.json``."""
    return folder / f"{when:%Y-%m-%d-%H%M}-{script}{suffix}"


def write_json(path: Path, content: Any) -> None:
    """Write as JSON, indented by one."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """Write as UTF-8."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def draw(path: Path, paint: Callable[[Any], None], size: tuple[float, float]) -> bool:
    """Let ``paint`` fill the axes of a figure of this size (inches) and write it as PNG. Returns whether it could."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print(f"{path.name} is not drawn: it needs matplotlib (pip install 'minidl[bench]')", file=sys.stderr)
        return False
    figure = Figure(figsize=size, layout="constrained")
    paint(figure.subplots())
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return True


def plot_bars(path: Path, bars: Sequence[Bar], title: str, label: str, most: float = 5.0) -> bool:
    """Horizontal bars with whiskers and a line at 1; bars longer than ``most`` are cut, and the number stands beside each."""
    series = list(dict.fromkeys(bar.series for bar in bars))
    right = min(most, 1.15 * max([bar.high for bar in bars], default=1.0))
    groups = list(dict.fromkeys(bar.label for bar in bars))
    places = [i + 0.5 * groups.index(bar.label) for i, bar in enumerate(bars)]  # a gap between labels
    middles = [
        sum(p) / len(p) for p in ([p for p, bar in zip(places, bars, strict=True) if bar.label == g] for g in groups)
    ]

    def paint(ax: Any) -> None:
        for i, name in enumerate(series):
            mine = [(p, bar.value) for p, bar in zip(places, bars, strict=True) if bar.series == name]
            ax.barh([p for p, _ in mine], [value for _, value in mine], color=f"C{i}", alpha=0.85, label=name)
        for place, bar in zip(places, bars, strict=True):
            ax.plot([bar.low, bar.high], [place, place], color="black", linewidth=1.2, marker="|", markersize=5)
            ax.text(min(bar.high, right) + 0.01 * right, place, f"{bar.value:.2f}", va="center", fontsize=7)
        ax.axvline(1.0, color="black", linewidth=1)
        ax.set_yticks(middles, groups, fontsize=8)
        ax.set_xlim(0, 1.06 * right)
        ax.margins(y=0.01)
        ax.set_xlabel(label)
        ax.set_title(title, fontsize=10)
        ax.invert_yaxis()  # the first on top
        ax.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))

    return draw(path, paint, (9.0, 1.2 + 0.2 * max(len(bars), 6)))
