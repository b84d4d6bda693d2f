"""Depth that hurts, and depth that helps: plain and residual networks of 20 and 56 layers on CIFAR-10.

    python examples/papers/residual.py [--fast] [--epochs 3] [--jobs 1] [--device cuda] [--data FOLDER]

He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2015, section 4.2 and figure 6. Their plain network
of 56 layers has a higher error than the one of 20, on the training images too: it does not overfit, it cannot be optimized.
With shortcuts the deeper one is better. They train for 64,000 steps (164 epochs) of 128 images; here it is a few epochs, so that
the errors are higher throughout. What is to be seen: how far the plain net of 56 layers stays behind the one of 20, and that the
same layers with shortcuts do not. After ten epochs the residual net of 56 layers is ahead on training images, and level on test
images. The results in the repository are of ``--epochs 10 --jobs 4 --device cuda``; on two cores that takes about two hours.
"""

from __future__ import annotations

import argparse
import math
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import active_children, get_context
from typing import Any

from common import Row, cifar10, error, finish, parse, picture, run, say

import minidl
from minidl import models, optim
from minidl import transforms as T
from minidl.data import DataLoader, Subset
from minidl.nn import functional as F

BATCH, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 128, 0.1, 0.9, 1e-4  # section 4.2
NETS = {"plain-56": (56, False), "residual-56": (56, True), "plain-20": (20, False), "residual-20": (20, True)}
PAPER = {20: 8.75, 56: 6.97}  # residual, table 6; of the plain nets figure 6 shows curves only


def train(name: str, options: Any) -> list[dict[str, float]]:
    """Train one of NETS; return for each epoch the mean loss and error on training images, and the test error.

    The learning rate rises during the first half epoch (the paper warms its deepest net up, too), then falls along half a cosine.
    """
    depth, residual = NETS[name]
    epochs, seed = options.epochs, options.seed
    minidl.set_num_threads(options.threads)
    minidl.manual_seed(seed)
    train_set, test_set = datasets(options)
    loader = DataLoader(train_set, batch_size=BATCH, shuffle=True, seed=seed, drop_last=True)
    model = models.CifarResNet(depth, residual=residual).to(options.device)
    optimizer = optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    steps, warm = epochs * len(loader), max(1, len(loader) // 2)

    def rate(step: int) -> float:
        return (step + 1) / warm if step < warm else 0.5 + 0.5 * math.cos(math.pi * (step - warm) / (steps - warm))

    scheduler = optim.lr_scheduler.LambdaLR(optimizer, rate)
    history = []
    for epoch in range(epochs):
        start, loss_sum, wrong = time.perf_counter(), 0.0, 0
        for images, labels in loader:
            images, labels = images.to(options.device), labels.to(options.device)
            scores = model(images)
            loss = F.cross_entropy(scores, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            loss_sum += loss.item()
            wrong += int((scores.argmax(1) != labels).sum().item())
        row = {
            "loss": loss_sum / len(loader),
            "training error": 100 * wrong / (len(loader) * BATCH),
            "test error": error(model, test_set),
        }
        history.append(row)
        numbers = ", ".join(f"{name} {value:.3g}" for name, value in row.items())
        say(f"{name}, epoch {epoch + 1}/{epochs}: {numbers}; {time.perf_counter() - start:.0f} s")
    return history


def datasets(options: Any) -> tuple[Any, Any]:
    """CIFAR-10 to train on, with the paper's crops and flips, and to test on."""
    train_set = cifar10(options, True, T.RandomCrop(32, padding=4), T.RandomHorizontalFlip())
    test_set = cifar10(options, False)
    return (Subset(train_set, range(5000)), Subset(test_set, range(1000))) if options.fast else (train_set, test_set)


def draw(axes: Any, histories: dict[str, list[dict[str, float]]]) -> None:
    """Both errors over the epochs, and where the paper's residual nets end."""
    for ax, what in zip(axes, ("training error", "test error"), strict=True):
        for name, history in histories.items():
            style = {"color": "C3" if "56" in name else "C0", "linestyle": "--" if "plain" in name else "-"}
            ax.plot(range(1, len(history) + 1), [row[what] for row in history], marker=".", label=name, **style)
        for depth, value in PAPER.items():
            if what == "test error":
                style = {"color": "C3" if depth == 56 else "C0", "linestyle": ":"}
                ax.axhline(value, linewidth=0.8, label=f"paper, residual-{depth}, 164 epochs", **style)
        ax.set_xlabel("epoch")
        ax.set_xticks(range(1, len(history) + 1))
        ax.set_title(f"{what}, %")
        ax.set_ylim(0, 100)
        ax.grid(alpha=0.3)
        ax.legend(fontsize="small", loc="upper right", ncols=2)


def main() -> None:
    """Train the four networks, draw, and sum up."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--epochs", type=int, help="times that each net sees the 50,000 images (default: 3; fast: 2)"
        )
        parser.add_argument(
            "--jobs", type=int, default=1, help="nets trained at the same time, sharing the threads (default: 1)"
        )
        parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")

    options = parse(__doc__, "residual", add)
    if options.epochs is None:
        options.epochs = 2 if options.fast else 3
    epochs = options.epochs
    if epochs < 1 or options.jobs < 1:
        raise ValueError("--epochs and --jobs must be at least 1")
    minidl.zeros(1, device=options.device)  # says at once what is missing, if anything is
    options.threads = max(1, minidl.get_num_threads() // options.jobs)
    count = len(datasets(options)[0])
    say(f"Networks: {', '.join(NETS)}; {epochs} epochs of {count:,} images each")
    if options.jobs == 1:
        histories = {name: train(name, options) for name in NETS}
    else:
        ignore = signal.signal, (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for this process, which ends the others
        with ProcessPoolExecutor(options.jobs, get_context("spawn"), *ignore) as pool:
            try:
                histories = dict(zip(NETS, pool.map(train, NETS, [options] * len(NETS)), strict=True))
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in active_children():
                    process.terminate()
                raise

    picture(options, (11, 4.2), 2, lambda axes: draw(axes, histories))
    rows = []
    for what in ("training error", "test error"):
        for name, (depth, residual) in NETS.items():
            published = PAPER[depth] if residual and what == "test error" else None
            rows.append(Row(f"{what} of {name}, %", published, [histories[name][-1][what]]))
    setting = {
        "ran": f"{epochs} epochs of {count} images in batches of {BATCH}, momentum {MOMENTUM}, weight decay "
        f"{WEIGHT_DECAY}, crops and flips; learning rate {LEARNING_RATE} after half an epoch of warming up, then half a cosine",
        "paper": "the same, but 164 epochs, learning rate 0.1, divided by 10 after 82 and 123",
    }
    finish(
        options,
        "He et al. 2015, CIFAR-10, table 6 and figure 6",
        rows,
        setting,
        histories,
        "--epochs 20, or 8 and 32 layers in NETS: from which depth on does the plain net suffer?",
    )


if __name__ == "__main__":
    run(main)
