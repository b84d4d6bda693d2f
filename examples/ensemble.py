"""What several networks gain by deciding together, measured on real photographs beside what the formula promises.

    python examples/ensemble.py [--dataset fashion-mini|fashion-mnist|mnist|cifar10] [--data FOLDER] [--members 7] [--fast]

Networks of one kind, each from its own random start, learn from the same images. Then every subset of them votes: by majority, by
mean probability, and by a classifier that has learned to weigh them. Beside it stands the promise: how often a majority would err
if its members' errors had nothing in common, and if they had as much in common as was measured. After that: snapshots of one
run, views of one image, how sure the networks are and how sure they should be, and the time of one pass for all members.

FashionMini comes with the package; the others are read from --data, or downloaded into it. Results go to `runs/ensemble/`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import minidl
from minidl import datasets, models, nn, optim
from minidl import transforms as T
from minidl.data import DataLoader, Subset
from minidl.ensemble import (
    MembersTogether,
    Snapshots,
    TemperatureScaling,
    TestTimeAugmentation,
    disagreement,
    hard_vote,
    intraclass_correlation,
    majority_error,
    plot_reliability,
    q_statistic,
    reliability_diagram,
    soft_vote,
)
from minidl.ensemble.stacking import Stacker
from minidl.io import atomic_write
from minidl.nn import functional as F
from minidl.training import Trainer

BATCH = 100
PEAK_LEARNING_RATE = 0.1
SNAPSHOT_LEARNING_RATE = 0.05  # lower, because each cycle begins with it, without a rise
BINS = 10  # of confidence
DATASETS: dict[str, Callable[..., Any]] = {
    "fashion-mini": lambda root, **kwargs: datasets.FashionMini(**kwargs),
    "fashion-mnist": lambda root, **kwargs: datasets.FashionMNIST(root, download=True, **kwargs),
    "mnist": lambda root, **kwargs: datasets.MNIST(root, download=True, **kwargs),
    "cifar10": lambda root, **kwargs: datasets.CIFAR10(root, download=True, **kwargs),
}


class Task:
    """The images: to learn from, held out to choose and weigh by, and to be tested on."""

    def __init__(self, options: argparse.Namespace) -> None:
        make, root = DATASETS[options.dataset], options.data
        self.flips = options.dataset != "mnist"  # a mirrored digit is another one, or none
        floats = T.ToDtype(minidl.float32, scale=True)
        self.size = 32 if options.dataset == "cifar10" else 28
        self.channels = 3 if options.dataset == "cifar10" else 1
        steps = [T.RandomCrop(self.size, padding=2), *([T.RandomHorizontalFlip()] if self.flips else []), floats]
        steps = [floats] if options.plain else steps
        augmented, plain = (make(root, train=True, transform=t) for t in (T.Compose(steps), T.Compose([floats])))
        test = make(root, train=False, transform=T.Compose([floats]))
        if options.train + options.held_out > len(plain):
            raise ValueError(
                f"--train {options.train} and --held-out {options.held_out} are more than the {len(plain)} images there are"
            )
        order = np.random.default_rng(options.seed).permutation(len(plain)).tolist()
        self.train = Subset(augmented, order[: options.train])
        self.held_out = Subset(plain, order[options.train : options.train + options.held_out])
        self.test = Subset(test, list(range(options.test or len(test))))
        self.classes = len(test.classes)

    def loader(self, seed: int) -> DataLoader[Any]:
        """Augmented images to learn from, in an order of the seed's own."""
        return DataLoader(self.train, BATCH, shuffle=True, drop_last=True, seed=seed)

    def network(self) -> nn.Sequential:
        """Two stages of convolution, then one linear layer."""

        def stage(inputs: int, outputs: int) -> list[nn.Module]:
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            return [convolution, nn.MaxPool2d(2), nn.BatchNorm2d(outputs), nn.ReLU()]

        side = self.size // 4
        head = [nn.Flatten(), nn.Dropout(0.25), nn.Linear(32 * side * side, self.classes)]
        return nn.Sequential(*stage(self.channels, 16), *stage(16, 32), *head)

    def views(self) -> list[Any]:
        """The image, and moved by up to two pixels into each corner; and all that mirrored."""
        crops = T.TenCrop(self.size) if self.flips else T.FiveCrop(self.size)
        return [T.Compose([T.Pad(2), crops])]


def train_member(task: Task, epochs: int, seed: int) -> nn.Sequential:
    """One network from its own random start, on its own order of the data."""
    minidl.manual_seed(seed)
    model, loader = task.network(), task.loader(seed)
    optimizer = make_optimizer(model, PEAK_LEARNING_RATE)
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, epochs=epochs, steps_per_epoch=len(loader))
    for _ in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            scheduler.step()
    return model.eval()


def make_optimizer(model: nn.Module, rate: float) -> optim.SGD:
    return optim.SGD(model.parameters(), rate, momentum=0.9, nesterov=True, weight_decay=5e-4)


def scores_of(model: nn.Module, images: Any) -> tuple[minidl.Tensor, np.ndarray]:
    """The model's outputs for a dataset, and the labels."""
    found, labels = [], []
    with minidl.no_grad():
        for x, y in DataLoader(images, 250):
            found.append(model(x))
            labels.append(y.numpy())
    return minidl.cat(found), np.concatenate(labels)


def error(scores: minidl.Tensor, labels: np.ndarray) -> float:
    return float((scores.argmax(1).numpy() != labels).mean())


class Outputs:
    """What all members say of the held-out and of the test images, (M, N, C), and the labels."""

    def __init__(self, task: Task, networks: list[nn.Sequential]) -> None:
        found = [[scores_of(network, images) for network in networks] for images in (task.held_out, task.test)]
        self.held_out, self.test = (minidl.stack([scores for scores, _ in part]) for part in found)
        self.held_out_labels, self.labels = (part[0][1] for part in found)


def subset_errors(members: Outputs, l2: float) -> dict[str, list[list[float]]]:
    """The test error of every subset of the members, by way of voting and by size."""
    count, _, classes = members.test.shape
    found: dict[str, list[list[float]]] = {"hard": [], "soft": [], "stacked": []}
    for size in range(1, count + 1):
        for rows in found.values():
            rows.append([])
        for subset in map(list, combinations(range(count), size)):
            chosen = members.test[subset]
            stacker = Stacker(size, classes)
            stacker.fit(members.held_out[subset], members.held_out_labels, l2)
            for kind, votes in (("hard", hard_vote(chosen)), ("soft", soft_vote(chosen)), ("stacked", stacker(chosen))):
                found[kind][-1].append(error(votes, members.labels))
    return found


def snapshot_run(task: Task, options: argparse.Namespace) -> Snapshots:
    """One run with the budget of one member, and a copy at the end of each cycle."""
    seed = 1000 * options.seed + 500
    minidl.manual_seed(seed)
    model, loader = task.network(), task.loader(seed)
    snapshots = Snapshots(steps_per_cycle=options.epochs * len(loader) // options.cycles)
    trainer = Trainer(model, make_optimizer(model, SNAPSHOT_LEARNING_RATE), seed=seed, callbacks=[snapshots])
    trainer.fit(loader, epochs=options.epochs, title="  snapshots, ")
    return snapshots


def time_of(function: Callable[[], Any], other: Callable[[], Any], seconds: float) -> tuple[float, float]:
    """The median seconds of two functions that take turns."""
    function(), other()
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[1]) < 5:
        for run, kept in zip((function, other), times, strict=True):
            start = time.perf_counter()
            run()
            kept.append(time.perf_counter() - start)
    return median(times[0]), median(times[1])


def report_times(networks: list[nn.Sequential], task: Task, seconds: float) -> list[dict[str, Any]]:
    """Members in one pass, against one after another: these convolutional ones, and as many dense ones (untrained)."""
    pixels = task.channels * task.size**2
    dense = [models.MLP(pixels, [100, 100, 100], task.classes, batch_norm=True).eval() for _ in networks]
    print(f"\nTime of all {len(networks)} in one pass, by that of one after another (less than 1: faster):")
    rows = []
    for name, members in (("these networks", networks), (f"dense, {pixels}-3×100-{task.classes}", dense)):
        together = MembersTogether(members)
        for batch in (1, 8, 64):
            x = minidl.rand(batch, task.channels, task.size, task.size)
            with minidl.no_grad():
                loop, joint = time_of(
                    lambda m=members, x=x: minidl.stack([member(x) for member in m]),
                    lambda t=together, x=x: t(x),
                    seconds,
                )
                chosen = "together" if together.pays(x) else "one by one"
            print(f"  {name:<22} batch {batch:>2}: {joint / loop:.2f}  (VotingEnsemble takes: {chosen})")
            rows.append({"members": name, "batch": batch, "one by one": loop, "together": joint, "chosen": chosen})
    return rows


def draw(rows: list[dict[str, Any]], points: dict[str, float], title: str, path: Path) -> None:
    """Error over the number of members: on the left beside the promise, on the right what was measured, enlarged."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print(f"{path} is not drawn: it needs matplotlib (pip install 'minidl[viz]')", file=sys.stderr)
        return
    lines = {
        "hard": ("measured: majority", "C0o-"),
        "soft": ("measured: mean probability", "C2s-"),
        "stacked": ("measured: stacked", "C1^-"),
        "correlated": ("promise: errors correlated as measured", "k--"),
        "independent": ("promise: independent errors", "k:"),
    }
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = [row["members"] for row in rows]
    for key, (label, style) in lines.items():
        for ax in (left, right) if key != "independent" else (left,):
            ax.plot(sizes, [100 * row[key] for row in rows], style, label=label, markersize=5)
    for i, (label, value) in enumerate(points.items()):
        right.axhline(100 * value, color=f"C{3 + i}", linewidth=1, linestyle="-.", label=label)
    for ax in (left, right):
        ax.set_xticks(sizes)
        ax.set_xlabel("networks that vote")
        ax.grid(alpha=0.3)
    left.set_ylim(bottom=0)
    left.set_ylabel("test error, %, mean over all subsets of that size")
    left.set_title("beside the promise")
    right.set_title("the measured lines, enlarged")
    figure.suptitle(title)
    handles = {
        label: handle for ax in (left, right) for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize="small")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=list(DATASETS), default="fashion-mini", help="(default: fashion-mini)")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("MINIDL_DATA", "data")),
        help="folder with the datasets, or to download them into (default: $MINIDL_DATA, else data)",
    )
    parser.add_argument("--members", type=int, help="networks, 2 to 9 (default: 7; with --fast 3)")
    parser.add_argument("--epochs", type=int, help="times that each sees its images (default: 6; with --fast 3)")
    parser.add_argument("--train", type=int, help="images to learn from (default: 5000; with --fast 1500)")
    parser.add_argument("--held-out", type=int, help="images to weigh members by (default: 1000; with --fast 300)")
    parser.add_argument("--test", type=int, help="images to test on (default: all; with --fast 300)")
    parser.add_argument("--cycles", type=int, help="snapshots in the one run (default: 3)")
    parser.add_argument("--l2", type=float, default=0.1, help="hold stacked voting near the mean (default: 0.1)")
    parser.add_argument("--plain", action="store_true", help="learn without augmentation")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same numbers (default: 0)")
    parser.add_argument("--fast", action="store_true", help="a first look: small, and in seconds")
    parser.add_argument("--out", type=Path, default=Path("runs/ensemble"), help="folder for the results")
    options = parser.parse_args()
    usual = {"members": 7, "epochs": 6, "train": 5000, "held_out": 1000, "test": 0, "cycles": 3}
    fast = {"members": 3, "epochs": 3, "train": 1500, "held_out": 300, "test": 300, "cycles": 3}
    for name, value in (fast if options.fast else usual).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if not 2 <= options.members <= 9:
        parser.error("--members must be from 2 to 9")
    if not 1 <= options.cycles <= options.epochs:
        parser.error("--epochs must be at least 1, and --cycles from 1 to as many")
    if options.train < BATCH or options.held_out < 100 or options.test < 0:
        parser.error(f"--train must be at least {BATCH}, --held-out at least 100, --test not negative")
    if not options.l2 >= 0:
        parser.error("--l2 must not be negative")
    return options


def report_votes(members: Outputs, l2: float) -> dict[str, Any]:
    """The error of every number of voters, beside the promises."""
    errors = subset_errors(members, l2)
    predictions = members.test.argmax(2).numpy()
    count, pairs = len(predictions), np.triu_indices(len(predictions), 1)
    rho = intraclass_correlation(predictions, members.labels)
    e = float(np.mean(errors["soft"][0]))
    print("\nTest error in %, mean over all subsets of so many networks; and what the majority's formula promises:")
    print("  networks  subsets  majority  mean prob.  stacked | independent  correlated as measured")
    rows = []
    for size in range(1, count + 1):
        row: dict[str, Any] = {"members": size, "subsets": len(errors["soft"][size - 1])}
        row |= {kind: float(np.mean(values[size - 1])) for kind, values in errors.items()}
        row["independent"] = majority_error(size, e, ties="half")
        row["correlated"] = majority_error(size, e, correlation=min(max(rho, 0.0), 1.0), ties="half")
        rows.append(row)
        cells = [100 * row[key] for key in ("hard", "soft", "stacked", "independent", "correlated")]
        layout = "  {:>8}  {:>7}  {:>8.2f}  {:>10.2f}  {:>7.2f} | {:>11.3f}  {:>22.2f}"
        print(layout.format(size, row["subsets"], *cells))
    differ = float(disagreement(predictions)[pairs].mean())
    q = float(np.nanmean(q_statistic(predictions, members.labels)[pairs]))
    hard, alone, alike = (f"{100 * row[key]:.2f} %" for key in ("hard", "independent", "correlated"))
    print(
        f"Two networks disagree on {100 * differ:.1f} % of the images; their errors correlate by {rho:.2f} (Yule's Q {q:.2f})."
    )
    if row["independent"] < row["hard"]:
        print(
            f"That is why the majority of {count} errs on {hard} and not on {alone}: an image that is hard for one is hard for\n"
            f"the others. With this correlation the formula says {alike}. (It counts an image as lost when most are wrong;\n"
            "but these may still split among several classes, and lose to a right minority.)"
        )
    else:
        print("A majority helps where each network is right more often than wrong, and they err on different images.")
    return {"rows": rows, "correlation": rho, "disagreement": differ, "q": q}


def report_snapshots(task: Task, options: argparse.Namespace, member: float) -> dict[str, Any]:
    """Snapshots of one run, alone and together."""
    print(f"\nOne run in {options.cycles} cycles, with the budget of one network:")
    snapshots = snapshot_run(task, options)
    single = [error(*scores_of(model.eval(), task.test)) for model in snapshots.models]
    together = error(*scores_of(snapshots.ensemble(), task.test))
    print(
        f"  its snapshots: {', '.join(f'{100 * s:.1f}' for s in single)} % wrong; together {100 * together:.2f} % "
        f"(a network: {100 * member:.2f} %)"
    )
    return {"single": single, "together": together}


def report_views(task: Task, networks: list[nn.Sequential], row: dict[str, Any]) -> dict[str, Any]:
    """Test-time augmentation of one network (on average) and of all together."""
    augmented = [TestTimeAugmentation(network, task.views()).eval() for network in networks]
    views = minidl.stack([scores_of(model, task.test)[0] for model in augmented])
    labels = scores_of(networks[0], task.test)[1]
    one, together = float(np.mean([error(scores, labels) for scores in views])), error(soft_vote(views), labels)
    count = 10 if task.flips else 5
    print(
        f"\nEach image seen {count} times (moved by two pixels{', mirrored' if task.flips else ''}):\n"
        f"  one network {100 * one:.2f} % wrong instead of {100 * row['one']:.2f}; all of them {100 * together:.2f} instead of "
        f"{100 * row['soft']:.2f}"
    )
    return {"views": count, "one": one, "all": together}


def report_calibration(members: Outputs, path: Path) -> dict[str, Any]:
    """One network and all of them, before and after temperature scaling."""
    print(
        "\nCalibration by one temperature, from held-out images (ECE: mean distance between confidence and accuracy):"
    )
    diagrams, rows = {}, {}
    for name, held_out, test in (
        ("one network", members.held_out[0], members.test[0]),
        (f"{len(members.test)} networks", soft_vote(members.held_out), soft_vote(members.test)),
    ):
        scaling = TemperatureScaling().fit(held_out, members.held_out_labels)
        row = {"temperature": scaling.temperature.item()}
        for when, scores in (("before", test), ("after", scaling(test).detach())):
            diagram = reliability_diagram(F.softmax(scores, 1), members.labels, BINS)
            diagrams[f"{name}, {when}"] = diagram
            row[f"ECE {when}"] = diagram.ece
            row[f"loss {when}"] = F.cross_entropy(scores, minidl.from_numpy(members.labels)).item()
        rows[name] = row
        print(
            f"  {name:<12} temperature {row['temperature']:.2f}: ECE {100 * row['ECE before']:.1f} % before, "
            f"{100 * row['ECE after']:.1f} % after; loss {row['loss before']:.3f}, {row['loss after']:.3f}"
        )
    plot_reliability(diagrams, path)
    return rows


def main() -> int:
    """Train, vote, compare."""
    options = read_options()
    start = time.perf_counter()
    try:
        task = Task(options)
    except (OSError, RuntimeError, ValueError) as problem:
        print(f"ensemble: {problem}", file=sys.stderr)
        return 1
    print(
        f"{options.members} networks of {sum(p.numel() for p in task.network().parameters()):,} parameters learn from "
        f"{options.train:,} images of {options.dataset}, {options.epochs} epochs each; tested on {len(task.test):,}:"
    )
    networks = []
    for number in range(1, options.members + 1):
        began = time.perf_counter()
        networks.append(train_member(task, options.epochs, 1000 * options.seed + number))
        wrong = 100 * error(*scores_of(networks[-1], task.test))
        print(f"  network {number}: {wrong:.1f} % wrong ({time.perf_counter() - began:.0f} s)", flush=True)

    members = Outputs(task, networks)
    votes = report_votes(members, options.l2)
    one, last = votes["rows"][0]["soft"], votes["rows"][-1]
    snapshots = report_snapshots(task, options, one)
    views = report_views(task, networks, {**last, "one": one})
    calibration = report_calibration(members, options.out / "reliability.png")
    times = report_times(networks, task, 0.05 if options.fast else 0.3)

    lines = {f"{options.cycles} snapshots of one run": snapshots["together"]}
    lines[f"one network, {views['views']} views"] = views["one"]
    draw(votes["rows"], lines, f"Networks that vote, {options.dataset}", options.out / "errors.png")
    result = {"options": {k: str(v) for k, v in vars(options).items()}, **votes, "snapshots": snapshots, "views": views}
    result |= {"calibration": calibration, "times": times}
    with atomic_write(options.out / "ensemble.json") as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    files = [name for name in ("errors.png", "reliability.png", "ensemble.json") if (options.out / name).exists()]
    print(f"\nTook {time.perf_counter() - start:.0f} s. In {options.out}/: {', '.join(files)}")
    print(
        "Try next:\n"
        "  --plain --epochs 20        no augmentation, learned by heart: too sure? What does the temperature say?\n"
        "  --train 1000               fewer images: do the networks disagree more, and gain more?\n"
        "  --dataset cifar10          harder images (--train 20000 --epochs 10 takes some minutes)\n"
        f"  --l2 0.001                 stacked voting left to itself: what does it learn from {options.held_out:,} images?\n"
        "  in Task.network(): another architecture for every second network. Do their errors correlate less?"
    )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nensemble: stopped; nothing was kept.", file=sys.stderr)
        sys.exit(130)
