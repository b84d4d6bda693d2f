"""What the scripts of this folder share: their options, data, the measure of error, and how results are shown and kept."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import minidl
from minidl import nn
from minidl import transforms as T
from minidl.data import DataLoader, TensorDataset
from minidl.datasets import CIFAR10, MNIST
from minidl.io import atomic_write


@dataclass
class Row:
    """One number of a paper beside ours.

    Attributes:
        what: was measured, with the unit: "test error of 2×800 ReLU, %".
        paper: the paper's number, or None where it gives none.
        ours: what was measured here, one number for each seed.
    """

    what: str
    paper: float | None
    ours: list[float]


def parse(doc: str | None, name: str, add: Callable[[argparse.ArgumentParser], None] | None = None) -> Any:
    """Read the command line: the options that all scripts have, and those that ``add`` adds."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="a first look in about a minute, with less of everything")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MINIDL_DATA", "data")),
                        help="folder with the datasets, or to download them into (default: $MINIDL_DATA, else data)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same numbers (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("runs/papers"),
                        help=f"folder for {name}.json and {name}.png (default: runs/papers)")  # fmt: skip
    if add is not None:
        add(parser)
    options = parser.parse_args()
    options.name, options.start = name, time.perf_counter()
    return options


def cifar10(options: Any, train: bool, *augment: Any) -> CIFAR10:
    """CIFAR-10 as float32 images (3, 32, 32), each colour with mean 0 and deviation 1 over the training images."""
    steps = [*augment, T.ToTensor(), T.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))]
    return CIFAR10(options.data, train=train, download=True, transform=T.Compose(steps))


def mnist(options: Any, train: bool) -> TensorDataset:
    """MNIST as float32 vectors (784,) from 0 to 1."""
    data = MNIST(options.data, train=train, download=True)
    return TensorDataset(data.data.reshape(-1, 784).to(minidl.float32) / 255, data.targets)


@minidl.no_grad()
def error(model: nn.Module, dataset: Any, batch_size: int = 500) -> float:
    """The share of a dataset that the model names wrongly, in percent; the model is in eval mode meanwhile."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    batches = DataLoader(dataset, batch_size=batch_size)
    wrong = sum(int((model(x.to(device)).argmax(1) != y.to(device)).sum().item()) for x, y in batches)
    model.train(was_training)
    return 100 * wrong / len(dataset)


def say(text: str) -> None:
    """One line, at once (also where the output goes to a file)."""
    print(text, flush=True)


def earlier(options: Any) -> dict[str, Any]:
    """What an earlier run, fast or not as this one, has left in ``<name>.json``; nothing if there was none."""
    path = options.out / f"{options.name}.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found if found.get("fast") == options.fast else {}


def finish(
    options: Any,
    paper: str,
    rows: Sequence[Row],
    setting: dict[str, Any],
    curves: Any,
    try_next: str,
    before: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Print the table, write ``<name>.json``, and say what lies where.

    Args:
        paper: authors, title, year, and which figure or table.
        setting: what was run, and in what it is not what the paper ran.
        curves: what the picture was drawn from, lists and dicts of numbers.
        before: seconds, and seconds of all threads together, that an earlier run took for results that were kept.
    """
    seconds = time.perf_counter() - options.start
    say(f"\n{paper}")
    width = max(len(row.what) for row in rows)
    say(f"{'':{width}}     paper      here")
    for row in rows:
        theirs = "" if row.paper is None else f"{row.paper:g}"
        spread = "" if len(row.ours) == 1 else f"   ({min(row.ours):.4g} to {max(row.ours):.4g}, {len(row.ours)} seeds)"
        say(f"{row.what:{width}}  {theirs:>8}  {np.mean(row.ours):8.4g}{spread}")
    threads = minidl.get_num_threads()
    machine = f"{threads} thread{'s' * (threads > 1)}, {platform.machine()}, NumPy {np.__version__}"
    if getattr(options, "device", "cpu") != "cpu":
        machine = f"{minidl.cuda.get_device_name()}, {machine}"
    result = {
        "paper": paper,
        "fast": options.fast,
        "seconds": round(before[0] + seconds),
        # Of all threads and processes: what it took, whatever else was done.
        "cpu_seconds": round(before[1] + sum(os.times()[:4])),
        "machine": machine,
        "date": time.strftime("%Y-%m-%d"),
        "setting": setting,
        "rows": [asdict(row) for row in rows],
        "curves": curves,
    }
    path = options.out / f"{options.name}.json"
    with atomic_write(path) as temporary:
        Path(temporary).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    picture = f"; picture: {path.with_suffix('.png')}" if path.with_suffix(".png").exists() else ""
    say(f"\nTook {seconds:.0f} s. Numbers: {path}{picture}\nTry next: {try_next}")


def picture(options: Any, size: tuple[float, float], columns: int, draw: Callable[[Any], None], rows: int = 1) -> None:
    """Draw ``<name>.png``: ``draw`` gets ``columns`` axes of each row, one after another. Without matplotlib a line says so."""
    path = options.out / f"{options.name}.png"
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print(f"{path} is not drawn: it needs matplotlib (pip install 'minidl[viz]')", file=sys.stderr)
        return
    figure = Figure(figsize=size, layout="constrained")
    draw(figure.subplots(rows, columns, squeeze=False).ravel())
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def run(main: Callable[[], None]) -> None:
    """Call ``main``; Ctrl-C, missing data and wrong options end with one line."""
    try:
        main()
    except KeyboardInterrupt:
        print("\nStopped; nothing was written.", file=sys.stderr)
        sys.exit(130)
    except (RuntimeError, ValueError, OSError) as problem:
        sys.exit(f"{Path(sys.argv[0]).name}: {problem}")
