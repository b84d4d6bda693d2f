"""What one operation costs beside its arithmetic: a chain of tiny additions and multiplications, divided by its length.

    python -m benchmarks.overhead [--quick]

Three ways: forward with the graph recorded, forward and backward, and forward under no_grad.
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import cli, machine
from benchmarks.cases import count_turns, fastest_peer, run_cases
from benchmarks.chains import CASES, LENGTH, MODES, SHAPES, name_of
from benchmarks.engines import installed
from benchmarks.report import Table, number, result_path, write_json


def main() -> None:
    options = cli.parse(cli.parser(__doc__, ["torch", "minidl"], rounds=5, seconds=0.5))
    engines = installed(options.engines)
    when = datetime.now().astimezone()
    path = result_path(options.out, "overhead", when, ".json")
    here = machine.describe()
    table = Table(
        ("shape", "<6"),
        ("what", "<21"),
        ("engine", "<20"),
        ("ns per op", ">9"),
        ("spread", ">6"),
        ("to PyTorch", ">10"),
    )
    print(f"{machine.headline(here)}\nchains of {LENGTH} operations\n\n{table.head()}", flush=True)
    names = {name_of(shape, mode): (shape, mode) for shape in SHAPES for mode in MODES}
    rows: list[dict[str, Any]] = []
    progress = cli.Progress(count_turns(CASES, engines, options.rounds))
    try:
        for row in run_cases(CASES, engines, options, progress):
            shape, mode = names[row["case"]]
            peer = fastest_peer(row)
            for engine, seconds in row["seconds"].items():
                ratio = None if peer is None else seconds / peer
                cells = (number(1e9 * seconds / LENGTH, 4), f"{100 * row['spread'][engine]:.0f}%", number(ratio, 2))
                progress.say(table.add(shape, mode, engine, *cells))
            for engine, message in row["errors"].items():
                progress.say(f"{shape}  {mode}  {engine}: {message}")
            rows.append(row)
    finally:
        progress.close()
    date = when.isoformat(timespec="seconds")
    write_json(path, {"script": "overhead", "date": date, "length": LENGTH, "machine": here, "rows": rows})
    print(f"\nResults: {path}")


if __name__ == "__main__":
    cli.run(main)
