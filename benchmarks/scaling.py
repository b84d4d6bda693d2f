"""How the time of a step grows with the batch, and how it falls with the threads, on the convolutional nets.

    python -m benchmarks.scaling [--nets LeNet ResNet-20] [--batches 16 32 64] [--threads 1 2] [--quick]

The batches run with all threads; the threads are compared at the net's own batch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

from benchmarks import cli, machine
from benchmarks.engines import Engine, all_cores, can_run, installed, threads_environment
from benchmarks.nets import NETS
from benchmarks.report import Table, draw, number, result_path, write_json
from benchmarks.turns import Worker, spread, take_turns

IMAGE_NETS = [name for name, net in NETS.items() if len(net.shape) == 3]


def step_times(
    net: str, batch: int, threads: int, engines: list[Engine], options: argparse.Namespace, tick: Any
) -> list[dict[str, Any]]:
    """A row for each engine with the seconds of a training step: ``rounds``, their ``median`` and ``spread``."""
    workers: list[Worker] = []
    try:
        for engine in engines:
            environment = {**engine.environment, **threads_environment(threads)}
            worker = Worker(
                engine.name, "benchmarks.worker", engine.worker, "train", net, batch, environment=environment
            )
            workers.append(worker)
        answers = take_turns(workers, options.rounds, {"seconds": options.seconds, "least": 2}, tick)
    finally:
        for worker in workers:
            worker.close()
    rows = []
    for worker in workers:
        times = [median(answer["times"]) for answer in answers[worker.name]]
        row = {"net": net, "batch": batch, "threads": threads, "engine": worker.name, "rounds": times}
        row |= {"median": median(times), "spread": spread(times)} if times else {"median": None, "error": worker.error}
        rows.append(row)
    return rows


def fit_line(batches: Sequence[int], seconds: Sequence[float]) -> dict[str, float]:
    """Fit time = fixed + per_image · batch, in seconds, so that the relative errors are least.

    ``off`` is the largest relative distance of a measurement from the line. ``exponent`` is the slope of log(time) over
    log(batch): 1 if the time grows in proportion to the batch, less if a larger batch is cheaper per image.
    """
    n, t = np.array(batches, float), np.array(seconds)
    (fixed, per_image), *_ = np.linalg.lstsq(np.stack([1 / t, n / t], axis=1), np.ones(len(t)), rcond=None)
    off = float(np.abs((fixed + per_image * n) / t - 1).max())
    exponent = float(np.polyfit(np.log(n), np.log(t), 1)[0])
    return {"fixed": float(fixed), "per_image": float(per_image), "off": off, "exponent": exponent}


def batches_of(rows: list[dict[str, Any]], net: str, engine: str) -> tuple[list[int], list[float]]:
    """The batches that were measured and their times in seconds."""
    mine = [row for row in rows if (row["net"], row["engine"]) == (net, engine) and row["median"]]
    return [row["batch"] for row in mine], [row["median"] for row in mine]


def plot(path: Path, rows: list[dict[str, Any]], nets: Sequence[str], cpu: str) -> None:
    """Microseconds per image over the batch: a colour for each net, a line style for each engine."""
    styles = {"minidl": "-", "minidl-numpy": "-.", "torch": "--", "torch-channels-last": ":"}
    engines = list(dict.fromkeys(row["engine"] for row in rows))

    def paint(ax: Any) -> None:
        for i, net in enumerate(nets):
            for engine in engines:
                batches, seconds = batches_of(rows, net, engine)
                per_image = [1e6 * t / n for t, n in zip(seconds, batches, strict=True)]
                label = f"{net}, {engine}"
                ax.plot(batches, per_image, styles.get(engine, "-"), color=f"C{i}", marker=".", label=label)
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        batches = sorted({row["batch"] for row in rows})
        ax.set_xticks(batches, [str(batch) for batch in batches])
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("{x:g}")
        ax.set_xlabel("batch")
        ax.set_ylabel("µs per image, training step")
        ax.set_title(f"{cpu}, all threads", fontsize=10)
        ax.grid(alpha=0.3, which="both")
        ax.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))

    draw(path, paint, (9.0, 5.5))


def measure_batches(engines: list[Engine], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run and print the sweep over batches, and a line fitted to each."""
    table = Table(
        ("net", "<16"), ("engine", "<19"), ("batch", ">5"), ("ms", ">8"), ("spread", ">6"), ("µs per image", ">12")
    )
    print(f"\n{table.head()}", flush=True)
    rows: list[dict[str, Any]] = []
    progress = cli.Progress(len(options.nets) * len(options.batches) * len(engines) * options.rounds)
    try:
        for net in options.nets:
            for batch in options.batches:
                progress.now(f"{net}, batch {batch}")
                for row in step_times(net, batch, all_cores(), engines, options, progress.tick):
                    rows.append(row)
                    progress.say(table.add(net, row["engine"], batch, *_time_cells(row), _per_image(row)))
            for engine in engines:
                batches, seconds = batches_of(rows, net, engine.name)
                if len(batches) > 2:
                    fit = fit_line(batches, seconds)
                    progress.say(
                        f"  {net}, {engine.name}: {1e3 * fit['fixed']:.2f} ms + {1e6 * fit['per_image']:.1f} µs per image, "
                        f"off by {100 * fit['off']:.0f}% at most; time grows as batch^{fit['exponent']:.2f}"
                    )
    finally:
        progress.close()
    return rows


def measure_threads(engines: list[Engine], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run and print the comparison of thread counts; ``speedup`` is the first count's time by each one's."""
    table = Table(
        ("net", "<16"), ("engine", "<19"), ("threads", ">7"), ("ms", ">8"), ("spread", ">6"), ("speedup", ">7")
    )
    print(f"\n{table.head()}", flush=True)
    rows: list[dict[str, Any]] = []
    progress = cli.Progress(len(options.nets) * len(options.threads) * len(engines) * options.rounds)
    try:
        for net in options.nets:
            first: dict[str, float | None] = {}
            for threads in options.threads:
                progress.now(f"{net}, {threads} threads")
                for row in step_times(net, NETS[net].batch, threads, engines, options, progress.tick):
                    base = first.setdefault(row["engine"], row["median"])
                    row["speedup"] = base / row["median"] if base and row["median"] else None
                    rows.append(row)
                    speedup = number(row["speedup"], 3)
                    progress.say(table.add(net, row["engine"], threads, *_time_cells(row), speedup))
    finally:
        progress.close()
    return rows


def _time_cells(row: dict[str, Any]) -> tuple[str, str]:
    return ("failed", "-") if row["median"] is None else (number(1e3 * row["median"]), f"{100 * row['spread']:.0f}%")


def _per_image(row: dict[str, Any]) -> str:
    return "-" if row["median"] is None else number(1e6 * row["median"] / row["batch"], 4)


def main() -> None:
    cores = all_cores()
    doubling = [1 << i for i in range(cores.bit_length()) if 1 << i < cores]
    parser = cli.parser(__doc__, ["torch", "torch-channels-last", "minidl"], rounds=3, seconds=1.0)
    parser.add_argument(
        "--nets", nargs="+", type=cli.net_name, default=IMAGE_NETS, help=f"of {cli.listing(IMAGE_NETS)}"
    )
    parser.add_argument(
        "--batches", nargs="*", type=cli.positive, default=[16, 32, 64, 128, 256, 512], help="none: no sweep"
    )
    parser.add_argument(
        "--threads", nargs="*", type=cli.positive, default=[*doubling, cores], help="none: no comparison"
    )
    options = cli.parse(parser)
    engines = [
        engine for engine in installed(options.engines) if all(can_run(engine, n, NETS[n].shape) for n in options.nets)
    ]

    when = datetime.now().astimezone()
    path = result_path(options.out, "scaling", when, ".json")
    result: dict[str, Any] = {"script": "scaling", "date": when.isoformat(timespec="seconds")}
    result["machine"] = machine.describe()
    print(machine.headline(result["machine"]), flush=True)
    if options.batches:
        result["batches"] = measure_batches(engines, options)
        result["fits"] = {
            f"{net}, {engine.name}": fit_line(*batches_of(result["batches"], net, engine.name))
            for net in options.nets
            for engine in engines
            if len(batches_of(result["batches"], net, engine.name)[0]) > 2
        }
        write_json(path, result)
        plot(path.with_suffix(".png"), result["batches"], options.nets, result["machine"]["cpu"])
    if options.threads:
        result["threads"] = measure_threads(engines, options)
        write_json(path, result)
    print(f"\nResults: {path}")


if __name__ == "__main__":
    cli.run(main)
