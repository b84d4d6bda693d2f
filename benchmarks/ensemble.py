"""Members of an ensemble evaluated together (``minidl.ensemble.MembersTogether``), against one after another.

    python -m benchmarks.ensemble [--nets MLP LeNet] [--members 3 5 7] [--batches 1 8 64] [--quick]

ratio = time together / time one after another: less than 1 is faster. ``taken`` says whether ``VotingEnsemble`` evaluates these
members together if it is left to choose.
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import cli, machine
from benchmarks.engines import OURS, installed
from benchmarks.report import Table, number, result_path, write_json
from benchmarks.turns import Worker, take_turns

DEFAULT_NETS = ("toy MLP", "BN-MLP", "MLP", "LeNet", "ResNet-20")
WAYS = ("one by one", "together")


def row_of(case: dict[str, Any], engine: str, answers: list[dict[str, Any]], error: str) -> dict[str, Any]:
    """What the answers of all rounds come to: medians in seconds, the ratio, and its range over the rounds."""
    good = [answer for answer in answers if "error" not in answer]
    if not good:
        return {**case, "engine": engine, "error": error or answers[-1]["error"]}
    ratios = [answer["together"] / answer["one by one"] for answer in good]
    row: dict[str, Any] = {**case, "engine": engine, "rounds": {way: [a[way] for a in good] for way in WAYS}}
    row |= {way: median(times) for way, times in row["rounds"].items()}
    row |= {"ratio": median(ratios), "low": min(ratios), "high": max(ratios), "taken": good[-1]["pays"]}
    return {**row, "difference": max(answer["difference"] for answer in good)}


def main() -> None:
    parser = cli.parser(__doc__, list(OURS), rounds=3, seconds=0.2)
    parser.add_argument(
        "--nets",
        nargs="+",
        type=cli.net_name,
        default=list(DEFAULT_NETS),
        help=f"(default: {cli.listing(DEFAULT_NETS)})",
    )
    parser.add_argument("--members", nargs="+", type=int, default=[3, 7], help="how many (default: 3 7)")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16, 128], help="(default: 1 16 128)")
    options = cli.parse(parser)
    if min(options.members + options.batches) < 1:
        parser.error("--members and --batches must be at least 1")
    if any(name not in OURS for name in options.engines):
        parser.error(f"--engines must be of {', '.join(OURS)}: only minidl evaluates members together here")
    engines = installed(options.engines)
    when = datetime.now().astimezone()
    path = result_path(options.out, "ensemble", when, ".json")
    here = machine.describe()
    table = Table(
        ("net", "<10"),
        ("members", ">7"),
        ("batch", ">5"),
        ("engine", "<12"),
        ("one by one", ">10"),
        ("together", ">8"),
        ("ratio", ">5"),
        ("range", ">10"),
        ("taken", "<5"),
    )
    print(f"{machine.headline(here)}\n\n{table.head()}", flush=True)
    cases = [(net, m, n) for net in options.nets for m in options.members for n in options.batches]
    rows: list[dict[str, Any]] = []
    progress = cli.Progress(len(cases) * len(engines) * options.rounds)
    workers: list[Worker] = []
    try:
        for engine in engines:
            workers.append(Worker(engine.name, "benchmarks.ensemble_worker", environment=engine.environment))
        for net, members, batch in cases:
            case = {"net": net, "members": members, "batch": batch}
            progress.now(f"{net}, {members} members, batch {batch}")
            answers = take_turns(workers, options.rounds, {**case, "seconds": options.seconds}, progress.tick)
            for worker in workers:
                row = row_of(case, worker.name, answers[worker.name], worker.error)
                rows.append(row)
                if "error" in row:
                    progress.say(f"{net}, {members} members, batch {batch}, {worker.name}: {row['error']}")
                    continue
                times = (f"{number(1e3 * row[way])} ms" for way in WAYS)
                spread = f"{row['low']:.2f}–{row['high']:.2f}"
                taken = "yes" if row["taken"] else "no"
                progress.say(table.add(net, members, batch, worker.name, *times, f"{row['ratio']:.2f}", spread, taken))
    finally:
        progress.close()
        for worker in workers:
            worker.close()
    date = when.isoformat(timespec="seconds")
    write_json(path, {"script": "ensemble", "date": date, "machine": here, "rows": rows})
    print(f"\nResults: {path}")


if __name__ == "__main__":
    cli.run(main)
