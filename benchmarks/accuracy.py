"""Time to accuracy: train the LeNet-like net on FashionMini until a share of the test images is recognised.

    python -m benchmarks.accuracy [--target 0.86] [--seeds 0 1 2] [--epochs 30]

Both engines start from the same weights and see the same batches, so they should need about the same epochs; what differs
is the time. Seconds are those of training; testing after each epoch is not counted, nor is what is compiled once (warm-up).
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
from benchmarks.engines import installed
from benchmarks.report import Table, number, result_path, write_json
from benchmarks.turns import Worker, take_turns


def main() -> None:
    parser = cli.parser(__doc__, ["torch", "torch-channels-last", "minidl"])
    parser.add_argument("--target", type=float, default=0.86, help="share of the 1,000 test images (default: 0.86)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="one run of every engine for each")
    parser.add_argument("--epochs", type=cli.positive, default=30, help="give up after so many (default: 30)")
    options = cli.parse(parser)
    if options.quick:
        options.seeds, options.epochs = options.seeds[:1], min(options.epochs, 2)

    engines = installed(options.engines)
    when = datetime.now().astimezone()
    path = result_path(options.out, "accuracy", when, ".json")
    here = machine.describe()
    table = Table(
        ("seed", ">4"), ("engine", "<19"), ("epochs", ">6"), ("reached", "<7"), ("accuracy", ">8"), ("seconds", ">8")
    )
    print(
        f"{machine.headline(here)}\nuntil {100 * options.target:.1f}% of the test images\n\n{table.head()}", flush=True
    )
    rows: list[dict[str, Any]] = []
    workers: list[Worker] = []
    progress = cli.Progress(len(options.seeds) * len(engines))
    try:
        for engine in engines:
            module = "benchmarks.accuracy_worker"
            workers.append(Worker(engine.name, module, engine.worker, environment=engine.environment))
        for i, seed in enumerate(options.seeds):
            request = {"seed": seed, "target": options.target, "epochs": options.epochs}
            turn = i % len(workers)  # another engine begins each time
            for name, answers in take_turns(workers[turn:] + workers[:turn], 1, request, progress.tick).items():
                for answer in answers:
                    rows.append({"seed": seed, "engine": name, **answer})
                    last, reached = answer["accuracies"][-1], "yes" if answer["reached"] else "NO"
                    seconds = number(answer["seconds"])
                    progress.say(table.add(seed, name, answer["epochs"], reached, f"{100 * last:.1f}%", seconds))
    finally:
        progress.close()
        for worker in workers:
            worker.close()
    warm_up = {worker.name: worker.ready.get("warm_up") for worker in workers}
    chosen = {"target": options.target, "seeds": options.seeds, "epochs": options.epochs}
    result = {"script": "accuracy", "date": when.isoformat(timespec="seconds"), "options": chosen, "machine": here}
    write_json(path, {**result, "warm_up": warm_up, "rows": rows})

    print()
    for worker in workers:
        mine = [row for row in rows if row["engine"] == worker.name]
        if not mine:
            print(f"{worker.name}: {worker.error or 'no run ended'}")
            continue
        time = number(median(row["seconds"] for row in mine))
        epoch = number(median(row["seconds"] / row["epochs"] for row in mine))
        epochs = f"{median(row['epochs'] for row in mine):g}"
        reached = f"{sum(row['reached'] for row in mine)} of {len(mine)} reached it"
        warm = number(warm_up[worker.name])
        print(f"{worker.name}: median {time} s in {epochs} epochs, {epoch} s an epoch; {reached}; warm-up {warm} s")
    print(f"\nResults: {path}")


if __name__ == "__main__":
    cli.run(main)
