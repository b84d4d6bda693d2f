"""How many images a second a loader delivers, beside PyTorch's DataLoader doing the same steps to the same images.

    python -m benchmarks.data [--workers 0 1 2] [--images FOLDER] [--quick]

Two cases: a CIFAR-10 in memory (random crop after padding, flip, normalise; batches of 128), and a folder of JPEG files (a
random crop resized to 224, flip, normalise; batches of 32). ``pillow`` is the bare work of the second case: open, decode, crop,
resize, in as many processes as there are workers (without workers: one). Without --images the folder is made: 256 pictures of
500×375.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import cli, machine
from benchmarks.engines import installed
from benchmarks.report import Table, mebibytes, number, result_path, write_json
from benchmarks.turns import Worker, spread, take_turns

CASES = {"cifar": "CIFAR-10 in memory", "folder": "JPEG folder to 224"}


def make_images(folder: Path, count: int = 256) -> None:
    """Pictures of two classes, with shapes large and small and some noise, as JPEG files of about 60 KB."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
            (500, 375), Image.Resampling.BICUBIC
        )
        pixels = np.asarray(coarse, np.int16) + draw.normal(0, 9, (375, 500, 1)).astype(np.int16)
        path = folder / "ab"[i % 2] / f"{i:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=90)


def measure(case: str, count: int, folder: str, engines: list[str], options: Any, progress: Any) -> dict[str, Any]:
    """All engines in turn; for each the images a second of every round, seconds to the first batch, and bytes."""
    workers: list[Worker] = []
    try:
        for engine in engines:
            workers.append(Worker(engine, "benchmarks.data_worker", engine, case, count, folder))
        answers = take_turns(workers, options.rounds, {"seconds": options.seconds}, progress.tick)
    finally:
        for worker in workers:
            worker.close()
    return {
        worker.name: {
            "rates": [answer["rate"] for answer in answers[worker.name]],
            "memory": max((answer["memory"] or 0 for answer in answers[worker.name]), default=0) or None,
            "first": worker.ready.get("first"),
            "error": worker.error,
        }
        for worker in workers
    }


def main() -> None:
    parser = cli.parser(__doc__, ["torch", "minidl"], rounds=5, seconds=2.0)
    parser.add_argument(
        "--workers", nargs="+", type=int, default=[0, 1, 2], help="numbers of worker processes (default: 0 1 2)"
    )
    parser.add_argument("--images", type=Path, help="a folder of class folders of .jpg files")
    options = cli.parse(parser)
    if options.images is not None and not any(options.images.glob("*/*.jpg")):
        parser.error(f"--images {options.images}: no .jpg files in folders there")
    names = [engine.name for engine in installed(options.engines)]
    when = datetime.now().astimezone()
    path = result_path(options.out, "data", when, ".json")
    here = machine.describe()
    table = Table(
        ("case", "<18"), ("workers", ">7"), ("loader", "<6"), ("images/s", ">8"), ("spread", ">6"), ("to PyTorch", ">10"),
        ("of Pillow", ">9"), ("first batch", ">11"), ("MiB", ">5"),
    )  # fmt: skip
    print(f"{machine.headline(here)}\n\n{table.head()}", flush=True)
    rows: list[dict[str, Any]] = []
    progress = cli.Progress(options.rounds * len(options.workers) * (2 * len(names) + 1))
    with tempfile.TemporaryDirectory() as made:
        if options.images is None:
            make_images(Path(made))
        folder = str(options.images or made)
        try:
            for case, title in CASES.items():
                for count in options.workers:
                    engines = [*names, "pillow"] if case == "folder" else names
                    found = measure(case, count, folder, engines, options, progress)
                    rows.append({"case": case, "workers": count, "loaders": found})
                    rates = {name: median(one["rates"]) for name, one in found.items() if one["rates"]}
                    for name, one in found.items():
                        if name not in rates:
                            progress.say(f"{title}, {count} workers, {name}: {one['error']}")
                            continue
                        peer = rates[name] / rates["torch"] if "torch" in rates and name != "pillow" else None
                        bare = rates[name] / rates["pillow"] if "pillow" in rates and name != "pillow" else None
                        progress.say(
                            table.add(
                                title,
                                count,
                                name,
                                number(rates[name]),
                                f"{100 * spread(one['rates']):.0f}%",
                                number(peer),
                                "-" if bare is None else f"{100 * bare:.0f}%",
                                "-" if name == "pillow" else f"{1e3 * one['first']:.0f} ms",
                                mebibytes(one["memory"]),
                            )
                        )
        finally:
            progress.close()
    date = when.isoformat(timespec="seconds")
    write_json(path, {"script": "data", "date": date, "machine": here, "rows": rows})
    print(f"\nResults: {path}")


if __name__ == "__main__":
    cli.run(main)
