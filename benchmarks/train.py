"""Time a step of every net in every engine, and print how minidl compares with PyTorch.

    python -m benchmarks.train [--nets LeNet ResNet-20] [--modes train infer] [--device cuda] [--quick] [--markdown]

Ratio = minidl's time / the faster of PyTorch eager and PyTorch channels-last; below 1 minidl is faster. Results go to
benchmarks/results/: JSON with every round's medians, a picture, and with --markdown a table to commit. README.md of this
folder says how it is measured.
"""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import cli, machine
from benchmarks.engines import (
    CUDA_PEERS,
    MYGRAD_NETS,
    ON_CPU,
    ON_CUDA,
    PEERS,
    Engine,
    can_run,
    installed,
)
from benchmarks.nets import NETS
from benchmarks.report import (
    Bar,
    Table,
    mebibytes,
    number,
    plot_bars,
    result_path,
    write_json,
    write_text,
)
from benchmarks.turns import Worker, spread, take_turns

MODES = ("train", "infer")
COLUMNS = (
    ("net", "<16"),
    ("mode", "<5"),
    ("engine", "<19"),
    ("ms", ">8"),
    ("spread", ">6"),
    ("ratio", ">6"),
    ("its range", ">11"),
    ("limit", ">5"),
    ("within", "<6"),
    ("first s", ">7"),
    ("peak MiB", ">8"),
    ("above import", ">12"),
)


def engines_for(net: str, mode: str, engines: list[Engine], named: bool) -> list[Engine]:
    """Who takes part. NumPy alone infers only if it was ``named`` on the command line."""
    return [
        engine
        for engine in engines
        if can_run(engine, net, NETS[net].shape) and (named or mode == "train" or engine.name != "minidl-numpy")
    ]


def measure(net: str, mode: str, engines: list[Engine], options: argparse.Namespace, tick: Any) -> list[dict[str, Any]]:
    """One row for every engine: its times in seconds, memory in bytes. They start one after the other, then take turns."""
    workers: list[Worker] = []
    try:
        for engine in engines:
            arguments = (engine.worker, mode, net, 0)
            workers.append(Worker(engine.name, "benchmarks.worker", *arguments, environment=engine.environment))
        answers = take_turns(workers, options.rounds, options.seconds, tick)
    finally:
        for worker in workers:
            worker.close()
    return [row_of(net, mode, worker, answers[worker.name]) for worker in workers]


def row_of(net: str, mode: str, worker: Worker, answers: list[dict[str, Any]]) -> dict[str, Any]:
    """What one engine's answers come to."""
    medians = [median(answer["times"]) for answer in answers]
    peak = answers[-1]["peak"] if answers else None
    base = worker.ready.get("base")
    return {
        "net": net,
        "mode": mode,
        "engine": worker.name,
        "batch": NETS[net].batch,
        "rounds": medians,
        "steps": [len(answer["times"]) for answer in answers],
        "median": median(medians) if medians else None,
        "spread": spread(medians) if medians else None,
        "first_step": worker.ready.get("first"),
        "import": worker.ready.get("imported"),
        "peak": peak,
        "above_import": peak - base if peak is not None and base is not None else None,
        "error": worker.error,
    }


def limit_of(net: str, engine: str, mode: str) -> float | None:
    """The largest ratio that the project allows itself; None for other engines, and for inference on NumPy alone."""
    if engine == "minidl-numpy":
        return NETS[net].limit_numpy if mode == "train" else None
    return NETS[net].limit_fast if engine == "minidl" else None


def compare(rows: list[dict[str, Any]]) -> None:
    """Add to each row of one net and mode its ratio to the faster PyTorch, the ratio's range over rounds, and the limit.

    The ratio is the quotient of the medians; its range is that of the quotients within single rounds.
    """
    peers = [row for row in rows if row["engine"] in (*PEERS, *CUDA_PEERS) and row["median"]]
    fastest = min(peers, key=lambda row: row["median"], default=None)
    for row in rows:
        row["limit"] = limit_of(row["net"], row["engine"], row["mode"])
        row["ratio"] = row["ratio_low"] = row["ratio_high"] = row["within"] = None
        if fastest is None or not row["median"]:
            continue
        row["ratio"] = row["median"] / fastest["median"]
        quotients = [ours / theirs for ours, theirs in zip(row["rounds"], fastest["rounds"], strict=False)]
        row["ratio_low"], row["ratio_high"] = min(quotients), max(quotients)
        if row["limit"] is not None:
            row["within"] = row["ratio"] <= row["limit"]


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    if row["median"] is None:
        return [row["net"], row["mode"], row["engine"], "failed", *["-"] * 7, row["error"][:60]]
    limit, within = row["limit"], {True: "yes", False: "NO", None: ""}[row["within"]]
    ratio_range = "-" if row["ratio"] is None else f"{row['ratio_low']:.2f}-{row['ratio_high']:.2f}"
    return [
        row["net"],
        row["mode"],
        row["engine"] + (" (died)" if row["error"] else ""),
        number(1e3 * row["median"]),
        f"{100 * row['spread']:.0f}%",
        "-" if row["ratio"] is None else f"{row['ratio']:.2f}",
        ratio_range,
        "" if limit is None else f"{limit:.1f}",
        within,
        number(row["first_step"], 2),
        mebibytes(row["peak"]),
        mebibytes(row["above_import"]),
    ]


def save(path: Path, result: dict[str, Any]) -> None:
    """Write the JSON and the picture. The picture holds the engines that are not PyTorch."""
    write_json(path, result)
    bars = [
        Bar(f"{row['net']}, {row['mode']}", row["engine"], row["ratio"], row["ratio_low"], row["ratio_high"])
        for row in result["rows"]
        if row["ratio"] is not None and row["engine"] not in (*PEERS, *CUDA_PEERS)
    ]
    if bars:
        where = result["machine"]["gpu" if result["options"]["device"] == "cuda" else "cpu"]
        title = f"Time of a step / PyTorch's (the faster layout)\n{where}, {result['date'][:10]}"
        longest = max((bar.high for bar in bars if bar.series.startswith("minidl")), default=0.0)
        plot_bars(
            path.with_suffix(".png"), bars, title, "ratio; below 1 is faster than PyTorch", max(5.0, 1.1 * longest)
        )


def markdown(table: Table, result: dict[str, Any]) -> str:
    """A dated section with the table."""
    options = result["options"]
    memory = (
        "memory is what the engine has taken from the GPU for its arrays"
        if options["device"] == "cuda"
        else "memory is the process's peak, and the part of it above what it held after importing the engine"
    )
    return (
        f"## {result['date'][:10]}\n\n{machine.headline(result['machine'])}\n\n"
        f"{options['rounds']} rounds of {options['seconds']} s for every engine, in turns. Ratio to the faster PyTorch "
        f"layout; range of the ratio over the rounds; {memory}.\n\n{table.markdown()}\n"
    )


def main() -> None:
    parser = cli.parser(__doc__, [], rounds=5, seconds=2.0, others=True)
    parser.add_argument("--nets", nargs="+", type=cli.net_name, default=list(NETS), help=f"of {cli.listing(NETS)}")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="whose engines take part (default: cpu)"
    )
    parser.add_argument("--markdown", action="store_true", help="also write the table as Markdown, with the date")
    options = cli.parse(parser)
    there = ON_CUDA if options.device == "cuda" else ON_CPU
    if any(name not in there for name in options.engines):
        parser.error(f"--engines on {options.device} are {', '.join(there)}")
    engines = installed(options.engines or there)
    if any(engine.name == "mygrad" for engine in engines):
        print(f"mygrad takes part in {cli.listing(MYGRAD_NETS)} only", file=sys.stderr)

    when = datetime.now().astimezone()
    path = result_path(options.out, "train-cuda" if options.device == "cuda" else "train", when, ".json")
    plans = [
        (net, mode, engines_for(net, mode, engines, options.engines_named))
        for net in options.nets
        for mode in options.modes
    ]
    chosen = {name: getattr(options, name) for name in ("nets", "modes", "device", "rounds", "seconds")}
    result: dict[str, Any] = {"script": "train", "date": when.isoformat(timespec="seconds"), "options": chosen}
    result |= {"machine": machine.describe(), "rows": []}
    table = Table(*COLUMNS)
    print(f"{machine.headline(result['machine'])}\n\n{table.head()}", flush=True)
    progress = cli.Progress(options.rounds * sum(len(plan) for _, _, plan in plans))
    try:
        for net, mode, plan in plans:
            progress.now(f"{net}, {mode}")
            rows = measure(net, mode, plan, options, progress.tick)
            compare(rows)
            for row in rows:
                progress.say(table.add(*cells(row)))
            result["rows"] += rows
            write_json(path, result)  # after every net: an interrupted run keeps what it has
    finally:
        progress.close()
    save(path, result)
    if options.markdown:
        write_text(path.with_suffix(".md"), markdown(table, result))
    limited = [row["within"] for row in result["rows"] if row["within"] is not None]
    verdict = (
        f"{limited.count(False)} of minidl's rows outside their limits" if limited else "No row has a limit to keep"
    )
    print(f"\n{verdict}. Results: {path} (and .png{', .md' if options.markdown else ''})")
    if not any(row["median"] for row in result["rows"]):
        sys.exit("benchmarks.train: every engine failed")


if __name__ == "__main__":
    cli.run(main)
