"""Five nets are better than one: averages of convolutional nets that differ only in their random start, on CIFAR-10.

    python examples/papers/averaging.py [--fast] [--nets 5] [--epochs 6] [--data FOLDER]

Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", 2012, section 6 and
table 2. On ImageNet's validation images one of their nets has 40.7 % errors. The average of what five similar nets predict
has 38.1 %: of a hundred errors 6.4 are gone, for five times the work, and with no new idea at all.

What to look for: each net errs on other images, and where one is wrong it is seldom as sure as the four that are right. So
the error falls for any choice of nets; by far the most for the second one, less and less for each that follows. The left
plot shows all 31 choices among five nets. The nets and images are small here; what can be compared is the share of the
errors that goes.

The net is convolutions of 32, 64, 128 and 128 channels, trained with crops and flips for a few epochs. Its learning rate
was chosen by the errors on 5,000 of the training images, before the test images were looked at.
"""

from __future__ import annotations

import argparse
import itertools
import time
from typing import Any

import numpy as np
from common import Row, cifar10, finish, parse, picture, run, say

import minidl
from minidl import nn, optim
from minidl import transforms as T
from minidl.data import DataLoader, Subset
from minidl.nn import functional as F

BATCH, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 128, 0.1, 0.9, 5e-4
ONE, FIVE = 40.7, 38.1  # table 2: top-1 errors on the validation images, %, of one net and of the average of five
GONE = 100 * (ONE - FIVE) / ONE  # % of the errors


def network() -> nn.Sequential:
    """Three convolutions, each with pooling behind it, one more, and a linear layer: (N, 3, 32, 32) → (N, 10)."""

    def stage(inputs: int, outputs: int, *pool: nn.Module) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        return [convolution, *pool, nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(
        *stage(3, 32, nn.MaxPool2d(2)),
        *stage(32, 64, nn.MaxPool2d(2)),
        *stage(64, 128, nn.MaxPool2d(2)),
        *stage(128, 128),
        nn.Flatten(),
        nn.Linear(128 * 4 * 4, 10),
    )


def train(train_set: Any, epochs: int, seed: int) -> nn.Module:
    """Train one net, from its own random start, on its own order of the images and its own crops."""
    minidl.manual_seed(seed)
    model = network()
    loader = DataLoader(train_set, batch_size=BATCH, shuffle=True, seed=seed, drop_last=True)
    optimizer = optim.SGD(
        model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY
    )
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, epochs=epochs, steps_per_epoch=len(loader))
    for epoch in range(epochs):
        start, loss_sum = time.perf_counter(), 0.0
        for images, labels in loader:
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            loss_sum += loss.item()
        say(f"  epoch {epoch + 1}/{epochs}: loss {loss_sum / len(loader):.3f}; {time.perf_counter() - start:.0f} s")
    return model.eval()


@minidl.no_grad()
def probabilities(model: nn.Module, dataset: Any) -> np.ndarray:
    """What the net gives each image and class, shape (images, classes); each row's sum is 1."""
    loader = DataLoader(dataset, batch_size=500)
    return np.concatenate([F.softmax(model(images), dim=1).numpy() for images, _ in loader])


def errors_of_averages(votes: np.ndarray, labels: np.ndarray) -> dict[int, list[float]]:
    """The errors, in percent, of the mean probabilities of every choice of nets, by the number of nets.

    Args:
        votes: probabilities, shape (nets, images, classes).
        labels: the right classes, shape (images,).
    """
    nets = len(votes)
    return {
        size: [
            100 * float((votes[list(chosen)].mean(0).argmax(1) != labels).mean())
            for chosen in itertools.combinations(range(nets), size)
        ]
        for size in range(1, nets + 1)
    }


def shares_gone(errors: dict[int, list[float]]) -> dict[int, float]:
    """By the number of nets: of the errors of a single net, the percentage that the average does not make."""
    single = np.mean(errors[1])
    return {size: 100 * float(1 - np.mean(values) / single) for size, values in errors.items()}


def draw(axes: Any, errors: dict[int, list[float]]) -> None:
    """Left the error of every choice of nets, right the share of the errors that goes."""
    sizes, means = list(errors), [float(np.mean(values)) for values in errors.values()]
    left, right = axes
    for size, values in errors.items():
        label = "every choice of nets" if size == 1 else None
        left.plot([size] * len(values), values, "o", color="0.6", markersize=4, label=label)
    left.plot(sizes, means, color="C0", marker="s", label="mean of the choices")
    left.set_title("Test error on CIFAR-10, %")
    right.plot(sizes, list(shares_gone(errors).values()), color="C0", marker="s", label="here, CIFAR-10")
    right.plot([5], [GONE], "*", color="C3", markersize=13, label=f"paper, ImageNet: {ONE} → {FIVE} %")
    right.set_title("Share of a single net's errors that goes, %")
    right.set_ylim(0, None)
    for ax in axes:
        ax.set_xlabel("nets that are averaged")
        ax.set_xticks(sorted({*sizes, 5} if ax is right else sizes))
        ax.grid(alpha=0.3)
        ax.legend(fontsize="small")


def main() -> None:
    """Train the nets, and average every choice of them."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--nets", type=int, help="how many are trained (default: 5; fast: 3)")
        parser.add_argument("--epochs", type=int, help="times that each sees the images (default: 6; fast: 4)")

    options = parse(__doc__, "averaging", add)
    nets = (3 if options.fast else 5) if options.nets is None else options.nets
    epochs = (4 if options.fast else 6) if options.epochs is None else options.epochs
    if nets < 2 or epochs < 1:
        raise ValueError(f"--nets must be at least 2 and --epochs at least 1, not {nets} and {epochs}")
    train_set: Any = cifar10(options, True, T.RandomCrop(32, padding=4), T.RandomHorizontalFlip())
    test_set: Any = cifar10(options, False)
    labels = np.asarray(test_set.targets)
    if options.fast:
        train_set, test_set, labels = Subset(train_set, range(10_000)), Subset(test_set, range(2000)), labels[:2000]
    votes = []
    for number in range(nets):
        say(f"net {number + 1} of {nets}")
        votes.append(probabilities(train(train_set, epochs, 1000 * options.seed + number), test_set))
    errors = errors_of_averages(np.stack(votes), labels)
    gone = shares_gone(errors)
    for size, values in errors.items():
        say(f"{size} net{'s' if size > 1 else ' '}: test error {np.mean(values):.2f} %, {len(values)} choices")

    picture(options, (10, 4.2), 2, lambda axes: draw(axes, errors))
    five = nets == 5
    rows = [
        Row("error of one net, %", ONE, errors[1]),
        Row(f"error of the average of {nets} nets, %", FIVE if five else None, errors[nets]),
        Row("share of one net's errors that goes, %", round(GONE, 1) if five else None, [gone[nets]]),
    ]
    setting = {
        "ran": f"CIFAR-10, {nets} nets of {sum(p.numel() for p in network().parameters()):,} weights, {epochs} epochs of "
        f"{len(train_set):,} images in batches of {BATCH} with crops and flips; SGD with Nesterov momentum {MOMENTUM}, weight "
        f"decay {WEIGHT_DECAY}, one cycle of the learning rate up to {LEARNING_RATE}; {len(test_set):,} test images",
        "paper": "ImageNet (1,000 classes, 1.2 million images), five nets of 60 million weights, about 90 epochs",
    }
    finish(
        options,
        "Krizhevsky et al. 2012, ImageNet, table 2 and section 6",
        rows,
        setting,
        {"errors of every choice, by nets": errors, "share gone, by nets": gone},
        "--nets 10: what is the tenth worth? --epochs 2: do worse nets gain more from each other?",
    )


if __name__ == "__main__":
    run(main)
