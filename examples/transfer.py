"""Ants or bees? A network that has learned ImageNet's classes learns two new ones from 244 photographs, in several ways.

    python examples/transfer.py [--data FOLDER|FILE.tar] [--weights FILE] [--seeds 3] [--fast]

Compared on 153 photographs that none has seen: a new linear classifier on fixed features of MobileNetV2, support vector machines
on the same features, fine-tuning all layers (stage by stage, early layers at lower rates), and training from scratch. The first
result comes soon, all of them after some minutes on two cores. Any folder with train/CLASS/*.jpg and val/CLASS/*.jpg will do.
Results go to `runs/transfer/`.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import minidl
from minidl import models, optim, transfer
from minidl import transforms as T
from minidl.data import DataLoader, TensorDataset
from minidl.datasets import ImageFolder
from minidl.io import atomic_write
from minidl.io.download import extract_archive, fetch
from minidl.nn import functional as F
from minidl.training import Trainer
from minidl.transforms.presets import IMAGENET_MEAN, IMAGENET_STD

DATA = Path(os.environ.get("MINIDL_DATA") or "data")
ADDRESS = "https://download.pytorch.org/tutorial/hymenoptera_data.zip"
BATCH = 16
CHEAP_SEEDS = 5  # at least, for what takes seconds
COSTS = (0.01, 0.1, 1.0)  # the C that support vector machines choose from
HEAD_RATE, SCRATCH_RATE = 0.004, 0.01  # highest learning rates
# 97.5 % quantiles of Student's t distribution with 1, 2, … degrees of freedom; of more than ten the last is taken, which makes
# the interval a little too wide.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass
class Row:
    """One way, measured: the share of held-out photographs that it gets right, for each seed."""

    name: str
    accuracies: list[float]
    seconds: float  # of a seed, without the features
    finished: float  # seconds after the start

    @property
    def mean(self) -> float:
        return float(np.mean(self.accuracies))

    @property
    def half_width(self) -> float:
        """Of the 95 % confidence interval of the mean over seeds; not known from one."""
        n = len(self.accuracies)
        if n < 2:
            return math.nan
        return STUDENT[min(n - 1, len(STUDENT)) - 1] * float(np.std(self.accuracies, ddof=1)) / math.sqrt(n)


# -- the photographs and the network -----------------------------------------------------------------------------------


def find_photographs(given: Path, out: Path) -> Path:
    """The folder that has ``train`` and ``val``: there, or from an archive, or downloaded into ``given``."""
    archives = [given] if given.suffix in (".tar", ".zip") else sorted(given.glob("hymenoptera_data.*"))
    if not (archives or given.is_dir() or given == DATA):
        raise FileNotFoundError(f"--data {given}: no folder, and no .tar or .zip")
    for folder in (given, given / "hymenoptera_data"):
        if (folder / "train").is_dir() and (folder / "val").is_dir():
            return folder
    if not archives:
        print(f"No train/ and val/ in {given}/: downloading {ADDRESS} (45 MB)", flush=True)
        archives = [fetch([ADDRESS], given / "hymenoptera_data.zip")]
    return unpack(archives[0], out / "photographs" / archives[0].stem)


def unpack(archive: Path, to: Path) -> Path:
    """Unpack a .tar or .zip into the new folder ``to``, whole or not at all; find train/ and val/ in it.

    What an earlier run unpacked there is used again.
    """
    if not archive.is_file():
        raise FileNotFoundError(f"{archive}: there is no such file")
    if not to.exists():
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to.parent) as unfinished:
            inside = Path(unfinished) / "inside"
            if archive.suffix == ".zip":
                try:
                    with zipfile.ZipFile(archive) as file:
                        file.extractall(inside)
                except zipfile.BadZipFile as error:
                    raise ValueError(f"{archive} is damaged, or no zip file ({error}); delete it") from error
            else:
                extract_archive(archive, inside)
            inside.rename(to)
    for train in sorted(to.rglob("train")):
        if (train.parent / "val").is_dir():
            return train.parent
    raise FileNotFoundError(
        f"{archive}: no folders train and val in {to}; delete that folder if it is of something else"
    )


def photographs(folder: Path, size: int = 224, augment: bool = False) -> tuple[ImageFolder, ImageFolder]:
    """Training and validation photographs; with 224 pixels exactly as ImageNet's preset has them, if not ``augment``."""
    normalize = [T.ToTensor(), T.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    plain = T.Compose([T.Resize(round(size * 256 / 224)), T.CenterCrop(size), *normalize])
    varied = T.Compose([T.RandomResizedCrop(size, scale=(0.5, 1.0)), T.RandomHorizontalFlip(), *normalize])
    train = ImageFolder(folder / "train", transform=varied if augment else plain)
    val = ImageFolder(folder / "val", transform=plain)
    if train.classes != val.classes or len(train.classes) < 2:
        raise ValueError(f"{folder}: expected the same classes, two or more, got {train.classes} and {val.classes}")
    return train, val


def trained_network(options: argparse.Namespace) -> models.MobileNetV2:
    """MobileNetV2 as it was published for ImageNet."""
    return models.get_model("mobilenet_v2", weights=options.weights).eval()


# -- the ways ----------------------------------------------------------------------------------------------------------


def new_classifier(model: Any, x: Any, y: Any, classes: int, seed: int) -> Any:
    """Replace the head of a frozen network and train it on features; return the network."""
    minidl.manual_seed(seed)
    transfer.replace_head(transfer.freeze(model), classes)
    _, head = transfer.find_head(model)
    optimizer = optim.SGD(head.parameters(), lr=0.01, momentum=0.9)
    loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True, seed=seed)
    for _ in range(30):
        for features, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(head(features), labels).backward()
            optimizer.step()
    return model


def unit_length(x: Any) -> np.ndarray:
    """Rows of length 1, so that C means the same for any network."""
    rows = x.numpy()
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def support_vectors(x: np.ndarray, y: np.ndarray, kind: dict[str, str], seed: int) -> transfer.LinearSVC:
    """A support vector machine, with the C that is best in five-fold cross-validation on the training photographs. (There is one
    optimum for any seed; but the folds are drawn, and so the C that wins may be another.)"""
    fold = np.random.default_rng(seed).permutation(len(y)) % 5

    def fitted(C: float, chosen: np.ndarray) -> transfer.LinearSVC:
        return transfer.LinearSVC(C=C, tol=1e-3, random_state=seed, **kind).fit(x[chosen], y[chosen])

    def right(C: float) -> float:
        folds = [k for k in range(5) if (fold == k).any()]
        return float(np.mean([fitted(C, fold != k).score(x[fold == k], y[fold == k]) for k in folds]))

    return fitted(max(COSTS, key=right), fold >= 0)


def train_whole(folder: Path, options: argparse.Namespace, seed: int, scratch: bool, title: str) -> float:
    """Fine-tune all layers, or train from scratch; return the share of the held-out photographs that is right."""
    minidl.manual_seed(seed)
    size, epochs = (options.scratch_size, options.scratch_epochs) if scratch else (options.size, options.epochs)
    train, val = photographs(folder, size, augment=True)
    loader = DataLoader(train, min(BATCH, len(train)), shuffle=True, seed=seed, drop_last=True)
    if scratch:
        model = models.mobilenet_v2(num_classes=len(train.classes))
        groups, callbacks = [{"params": list(model.parameters()), "lr": SCRATCH_RATE}], []
    else:
        model = transfer.replace_head(trained_network(options), len(train.classes))
        groups, callbacks = transfer.param_groups(model, lr=HEAD_RATE), [transfer.GradualUnfreezing(model)]
    optimizer = optim.SGD(groups, momentum=0.9, weight_decay=1e-4)
    scheduler = optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=[group["lr"] for group in groups], epochs=epochs, steps_per_epoch=len(loader)
    )
    trainer = Trainer(model, optimizer, scheduler=scheduler, seed=seed, callbacks=callbacks)
    trainer.fit(loader, epochs=epochs, title=title)
    return trainer.evaluate(DataLoader(val, 32))["accuracy"]


def describe_stages(options: argparse.Namespace, classes: int) -> None:
    """Say how the network is fine-tuned: its stages, their learning rates, and when they join."""
    groups = transfer.param_groups(transfer.replace_head(trained_network(options), classes), lr=HEAD_RATE)
    print(f"\nFine-tuning, {options.epochs} epochs at {options.size} pixels. Stages, from the head backwards:")
    for epoch, group in enumerate(groups, 1):
        names = group["name"].split(", ")
        span = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
        joins = f"from epoch {epoch} on" if epoch <= options.epochs else "not with so few epochs"
        count = sum(p.numel() for p in group["params"])
        print(f"  {span:<28} {count:>9,} weights, highest rate {group['lr']:.6f}, {joins}")


# -- what is shown -----------------------------------------------------------------------------------------------------


def measure(name: str, seeds: int, run: Callable[[int], float], start: float) -> Row:
    """Run a way for every seed, and say how it went."""
    begun = time.perf_counter()
    accuracies = [run(seed) for seed in range(seeds)]
    row = Row(name, accuracies, (time.perf_counter() - begun) / seeds, time.perf_counter() - start)
    print(f"  {name}: {percent(row)} right ({row.finished:.0f} s after the start)", flush=True)
    return row


def percent(row: Row) -> str:
    """``95.8 ± 0.7 %``."""
    return (
        f"{100 * row.mean:.1f} %"
        if math.isnan(row.half_width)
        else f"{100 * row.mean:.1f} ± {100 * row.half_width:.1f} %"
    )


def print_table(rows: list[Row], held_out: int, base: float, majority: str) -> None:
    """All ways, with confidence intervals over seeds."""
    width = max(len(row.name) for row in rows)
    print(f"\n{'way':<{width}}   right (95 % over seeds)   seeds   s per seed   done after, s")
    for row in rows:
        print(
            f"{row.name:<{width}}   {percent(row):<24} {len(row.accuracies):>4} {row.seconds:>12.1f} {row.finished:>14.0f}"
        )
    print(
        f"{'always ' + repr(majority):<{width}}   {100 * base:.1f} %\n"
        f"The intervals say how much the seed matters. Which {held_out} photographs are held out matters more: differences below "
        f"{100 * luck(rows, held_out):.0f} points or so may be luck."
    )


def luck(rows: list[Row], held_out: int) -> float:
    """Half the 95 % interval of the difference between two equally good ways on so many photographs (were they measured on
    different ones; on the same ones it is smaller)."""
    best = min(max(row.mean for row in rows), 1 - 1 / held_out)
    return 1.96 * math.sqrt(2 * best * (1 - best) / held_out)


def judge(advice: transfer.Recommendation, rows: list[Row], held_out: int) -> str:
    """Whether the measurement agrees with the recommendation, which is the first row."""
    mine, best = rows[0], max(rows[1:], key=lambda row: row.mean)
    gain, chance = best.mean - mine.mean, luck(rows, held_out)
    said = f"Recommended for {advice.n_samples} similar samples: {advice.regime}."
    if gain > chance:
        return f"{said} The measurement disagrees: {best.name} is better by {100 * gain:.1f} points."
    if gain > 0:
        return (
            f"{said} The measurement agrees: {best.name} is better by {100 * gain:.1f} points only, which may be luck, "
            f"and takes {best.seconds:.1f} s for each seed instead of {mine.seconds:.1f} s."
        )
    return f"{said} The measurement agrees: no other way is better ({best.name}: {100 * abs(gain):.1f} points less)."


def draw_rows(rows: list[Row], base: float, majority: str, figure: Any) -> None:
    """Each way's mean with its interval, and a dot for each seed."""
    ax = figure.subplots()
    for i, row in enumerate(rows):
        label = "mean, 95 % interval over seeds" if i == 0 else None
        mean, half = 100 * row.mean, 100 * row.half_width
        wide = None if math.isnan(half) else [[min(half, mean)], [min(half, 100 - mean)]]  # no share is above 100 %
        ax.errorbar(mean, i, xerr=wide, fmt="ks", markersize=6, capsize=5, linewidth=1.4, label=label)
        dots = [100 * a for a in row.accuracies]
        ax.plot(dots, [i + 0.27] * len(dots), ".", color="C3", alpha=0.6, label="one seed" if i == 0 else None)
    ax.axvline(100 * base, color="0.3", linewidth=0.9, linestyle="--", label=f"always “{majority}”")
    ax.set_yticks(range(len(rows)), [row.name for row in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(alpha=0.3)
    ax.set_xlabel("held-out photographs recognised, %")
    figure.legend(loc="outside lower center", ncols=3, fontsize="small", frameon=False)


def draw_photographs(model: Any, x: Any, val: ImageFolder, figure: Any, columns: int = 6) -> None:
    """Held-out photographs: some of every class that were recognised, and the mistakes, the surest first."""
    with minidl.no_grad():
        probabilities = F.softmax(transfer.find_head(model)[1](x), dim=1).numpy()
    guess, sure, truth = probabilities.argmax(1), probabilities.max(1), np.array(val.targets)
    right = [np.flatnonzero((guess == c) & (truth == c)) for c in range(len(val.classes))]
    some = [group[np.linspace(0, len(group) - 1, columns).astype(int)] for group in right if len(group)]
    wrong = sorted(np.flatnonzero(guess != truth).tolist(), key=lambda i: -sure[i])
    shown = [np.array(some).T.ravel()[:columns].tolist(), wrong[:columns], wrong[columns : 2 * columns]]
    shown = [row for row in shown if row]
    figure.set_size_inches(1.9 * columns, 2.35 * len(shown) + 0.4)
    figure.suptitle(f"Top: recognised. Below, in red: mistakes, the surest first ({len(wrong)} of {len(truth)}).")
    for axes, row in zip(figure.subplots(len(shown), columns, squeeze=False), shown, strict=True):
        for ax in axes:
            ax.axis("off")
        for ax, i in zip(axes, row, strict=False):
            with Image.open(val.samples[i][0]) as image:
                ax.imshow(T.CenterCrop(224)(T.Resize(256)(image.convert("RGB"))))
            good = guess[i] == truth[i]
            text = f"{val.classes[guess[i]]} {100 * sure[i]:.0f} %" + ("" if good else f"\nis: {val.classes[truth[i]]}")
            ax.set_title(text, fontsize=9, color="black" if good else "crimson")


def draw(path: Path, width: float, height: float, function: Callable[..., None], *arguments: Any) -> str:
    """Let ``function`` draw into a PNG; return what to say about it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return f"{path.name} is not drawn: it needs matplotlib (pip install 'minidl[viz]')"
    figure = Figure(figsize=(width, height), layout="constrained")
    function(*arguments, figure)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return path.name


# -- all together ------------------------------------------------------------------------------------------------------


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        type=Path,
        default=DATA,
        help=f"folder with train/ and val/, or a .tar or .zip of it (default: {DATA})",
    )
    parser.add_argument(
        "--weights", default="IMAGENET1K_V1", help="of MobileNetV2: a file (.pth, .safetensors) or a name"
    )
    usual = {"seeds": 3, "epochs": 6, "size": 160, "scratch_epochs": 10, "scratch_size": 96}
    fast = {"seeds": 1, "epochs": 2, "size": 96, "scratch_epochs": 2, "scratch_size": 64}
    about = {
        "seeds": f"for each way (cheap ways take {CHEAP_SEEDS} or more)",
        "epochs": "of fine-tuning",
        "size": "pixels for fine-tuning",
        "scratch_epochs": "of training from scratch",
        "scratch_size": "pixels for training from scratch",
    }
    for name, what in about.items():
        help = f"{what} (default {usual[name]}; with --fast {fast[name]})"
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help=help)
    parser.add_argument("--fast", action="store_true", help="a first look: few epochs on small pictures")
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"), help="folder for the results")
    options = parser.parse_args(arguments)
    for name, value in (fast if options.fast else usual).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    for name in ("seeds", "epochs", "scratch_epochs"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {getattr(options, name)}")
    for name in ("size", "scratch_size"):
        if getattr(options, name) < 32:
            parser.error(f"--{name.replace('_', '-')} must be at least 32 pixels, got {getattr(options, name)}")
    return options


def run(options: argparse.Namespace) -> list[Row]:
    """Measure all ways, print the table, draw the pictures."""
    start = time.perf_counter()
    folder = find_photographs(options.data, options.out)
    train, val = photographs(folder)
    classes = len(train.classes)
    print(f"{' and '.join(train.classes)}: {len(train)} photographs to learn from, {len(val)} held out ({folder})\n")
    advice = transfer.recommend(len(train), similar=True)
    print(f"{advice}\n")

    kept = (options.out / "features-train.safetensors").exists()
    model = trained_network(options)
    x, y = transfer.features(model, DataLoader(train, 32), cache=options.out / "features-train.safetensors")
    vx, vy = transfer.features(model, DataLoader(val, 32), cache=options.out / "features-val.safetensors")
    took = time.perf_counter() - start
    remark = "; an earlier run had left some, delete features-*.safetensors to time this" if kept else ""
    print(
        f"Features of all photographs ({x.shape[1]} numbers each) after {took:.0f} s{remark}. On the held-out ones:",
        flush=True,
    )

    def with_classifier(seed: int) -> float:
        head = transfer.find_head(new_classifier(model, x, y, classes, seed))[1]
        with minidl.no_grad():
            return float((head(vx).argmax(1) == vy).sum().item()) / len(vy)

    cheap = 2 if options.fast else max(options.seeds, CHEAP_SEEDS)
    rows = [measure("fixed features, new classifier", cheap, with_classifier, start)]
    minidl.save(model.state_dict(), options.out / "network.safetensors")
    pictures = [draw(options.out / "photographs.png", 12, 6, draw_photographs, model, vx, val)]

    ux, uvx, labels, held_out = unit_length(x), unit_length(vx), y.numpy(), vy.numpy()
    for name, kind in (
        ("SVM on features, one versus rest", {"multi_class": "ovr", "loss": "hinge"}),
        ("SVM on features, Crammer–Singer", {"multi_class": "crammer_singer"}),
    ):
        rows.append(
            measure(name, cheap, lambda seed, k=kind: support_vectors(ux, labels, k, seed).score(uvx, held_out), start)
        )

    describe_stages(options, classes)
    for name, scratch in (("fine-tuning all layers", False), ("training from scratch", True)):
        if scratch:
            print(f"\nTraining from scratch, {options.scratch_epochs} epochs at {options.scratch_size} pixels:")

        def whole(seed: int, name: str = name, scratch: bool = scratch) -> float:
            return train_whole(folder, options, seed, scratch, f"  {name} {seed + 1}/{options.seeds}, ")

        rows.append(measure(name, options.seeds, whole, start))

    counts = np.bincount(held_out, minlength=classes)
    base, majority = float(counts.max() / len(held_out)), train.classes[int(counts.argmax())]
    print_table(rows, len(held_out), base, majority)
    print(f"\n{judge(advice, rows, len(held_out))}")
    pictures.insert(0, draw(options.out / "accuracy.png", 8.5, 3.4, draw_rows, rows, base, majority))
    print(f"\nIn {options.out}/:\n  " + "\n  ".join(pictures))
    print("  network.safetensors: the network with the new classifier (of the last seed)")
    print("Try next:")
    print("  --epochs 12 --size 224            does longer fine-tuning on larger pictures pass fixed features?")
    print("  --scratch-epochs 60               how far does training from scratch get?")
    print(
        "  --data FOLDER                     with train/ and val/, and in each a folder of photographs for each class"
    )
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Run, and say in one line what goes wrong."""
    options = parse(arguments)
    try:
        run(options)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"transfer: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nStopped. What was finished is in {options.out}/.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
