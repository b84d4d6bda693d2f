"""Time single operations against PyTorch and against what this machine can do.

    python -m benchmarks.ops [--which small large] [--match conv] [--quick]

Small ones: microseconds per call, forward (recording the graph) and forward with backward. Large ones: GB/s and GFLOP/s, and
their share of this machine's copy bandwidth and matrix product rate, which are measured first. README.md says more.
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import cli, large_ops, machine, small_ops
from benchmarks.cases import count_turns, fastest_peer, run_cases
from benchmarks.engines import OURS, installed
from benchmarks.kit import Case
from benchmarks.report import Table, number, result_path, write_json

GROUPS = {"small": small_ops.CASES, "large": large_ops.CASES}


def table_for(group: str) -> Table:
    """An empty table for small or large operations."""
    if group == "small":
        return Table(
            ("operation", "<30"), ("engine", "<12"), ("µs", ">8"), ("PyTorch", ">8"), ("ratio", ">6"), ("spread", ">6")
        )
    return Table(
        ("operation", "<44"),
        ("engine", "<12"),
        ("ms", ">8"),
        ("PyTorch", ">8"),
        ("ratio", ">6"),
        ("spread", ">6"),
        ("rate", ">12"),
        ("of machine", ">10"),
    )


def lines_for(row: dict[str, Any], case: Case, group: str, rates: dict[str, float], table: Table) -> list[str]:
    """The printed lines of one case: one for each minidl engine, or for PyTorch if it alone was timed."""
    peer = fastest_peer(row)
    lines = []
    scale = 1e6 if group == "small" else 1e3
    for engine in [name for name in row["seconds"] if name in OURS] or list(row["seconds"]):
        seconds = row["seconds"][engine]
        cells = [row["case"], engine, number(scale * seconds), number(None if peer is None else scale * peer)]
        cells += [number(row["ratio"].get(engine), 2), f"{100 * row['spread'][engine]:.0f}%"]
        if group == "large":
            cells += list(_rate(case, seconds, rates))
        lines.append(table.add(*cells))
    lines += [f"{row['case']:<30}  {engine}: {message}" for engine, message in row["errors"].items()]
    return lines


def _rate(case: Case, seconds: float, rates: dict[str, float]) -> tuple[str, str]:
    """What is moved or computed in a second, and the share of what the machine does at best."""
    achieved = case.work / seconds / 1e9
    best = rates["copy_all" if case.unit == "B" else "gemm_all"]
    return f"{achieved:.1f} {'GB/s' if case.unit == 'B' else 'GFLOP/s'}", f"{100 * achieved / best:.0f}%"


def main() -> None:
    parser = cli.parser(__doc__, ["torch", "torch-channels-last", "minidl"], rounds=3, seconds=0.2)
    parser.add_argument("--which", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--match", default="", help="only operations with this in their names")
    options = cli.parse(parser)
    chosen = {g: {name: case for name, case in GROUPS[g].items() if options.match in name} for g in options.which}
    if not any(chosen.values()):
        parser.error(f"no operation has {options.match!r} in its name")

    engines = installed(options.engines)
    when = datetime.now().astimezone()
    path = result_path(options.out, "ops", when, ".json")
    here = machine.describe()
    print(machine.headline(here), flush=True)
    rates = machine.measure(min(0.5, options.seconds)) if chosen.get("large") else {}
    if rates:
        print(f"copy {rates['copy_all']:.1f} GB/s, sgemm {rates['gemm_all']:.0f} GFLOP/s (all threads)")
    result: dict[str, Any] = {
        "script": "ops",
        "date": when.isoformat(timespec="seconds"),
        "machine": here,
        "rates": rates,
    }
    for group, cases in chosen.items():
        if not cases:
            continue
        table = table_for(group)
        print(f"\n{table.head()}", flush=True)
        result[group] = []
        progress = cli.Progress(count_turns(cases, engines, options.rounds))
        try:
            for row in run_cases(cases, engines, options, progress):
                case = cases[row["case"]]
                for line in lines_for(row, case, group, rates, table):
                    progress.say(line)
                result[group].append({**row, "work": case.work, "unit": case.unit})
        finally:
            progress.close()
        write_json(path, result)
    print(f"\nResults: {path}")


if __name__ == "__main__":
    cli.run(main)
