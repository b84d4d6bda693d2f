"""Print the committed tables of ``train`` side by side: the ratio to PyTorch of every net, from the first table to the last.

    python -m benchmarks.history [--engine minidl] [--mode train] [--processor AMD] [--markdown]

A ratio above the net's limit has a star. The last columns are the limit, and the smallest and largest ratio. Tables of a few nets
only are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import cli
from benchmarks.engines import ENGINES
from benchmarks.nets import NETS
from benchmarks.report import Table
from benchmarks.train import limit_of


def tables(folder: Path, engine: str, mode: str, processor: str) -> list[dict[str, Any]]:
    """Of every table of all nets, taken on a processor of that name: its date, and of each net the engine's row."""
    found = []
    for path in sorted(folder.glob("*-train-cuda.json" if ENGINES[engine].device == "cuda" else "*-train.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        if processor.lower() not in result["machine"]["cpu"].lower():
            continue
        rows = {r["net"]: r for r in result["rows"] if (r["engine"], r["mode"]) == (engine, mode) and r["ratio"]}
        if len(rows) > len(NETS) // 2:
            found.append({"date": datetime.fromisoformat(result["date"]), "rows": rows})
    return found


def _is_above(ratio: float, limit: float | None) -> bool:
    return limit is not None and ratio > limit


def history(found: list[dict[str, Any]], engine: str, mode: str) -> Table:
    """A row for each net, a column for each table."""
    dates = [(f"{table['date']:%m-%d %H:%M}", ">11") for table in found]
    shown = Table(("net", "<16"), *dates, ("limit", ">5"), ("range", ">9"))
    for net in NETS:
        rows = [table["rows"].get(net) for table in found]
        ratios = [row["ratio"] for row in rows if row]
        limit = limit_of(net, engine, mode)
        cells = ["" if row is None else f"{row['ratio']:.2f}{'*' * _is_above(row['ratio'], limit)}" for row in rows]
        reach = f"{min(ratios):.2f}-{max(ratios):.2f}" if ratios else ""
        shown.add(net, *cells, "" if limit is None else f"{limit:.1f}", reach)
    spreads = [f"{100 * median(row['spread'] for row in table['rows'].values()):.0f}%" for table in found]
    shown.add("median spread", *spreads, "", "")
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=list(ENGINES), default="minidl", metavar="ENGINE", help="default: minidl")
    parser.add_argument("--mode", choices=("train", "infer"), default="train", help="default: train")
    parser.add_argument("--processor", default="", metavar="NAME", help="only tables of one whose name contains this")
    parser.add_argument("--results", type=Path, default=cli.RESULTS, help="folder of the tables")
    parser.add_argument("--markdown", action="store_true", help="print as Markdown")
    options = parser.parse_args()
    found = tables(options.results, options.engine, options.mode, options.processor)
    if not found:
        there = f"{options.engine} on {options.processor}" if options.processor else options.engine
        parser.error(f"no tables with {there} in {options.results}")
    table = history(found, options.engine, options.mode)
    print(table.markdown() if options.markdown else table.text())


if __name__ == "__main__":
    cli.run(main)
