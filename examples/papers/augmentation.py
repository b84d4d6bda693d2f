"""What augmentation is worth in real images: accuracy against the number of training images, with and without it.

    python examples/papers/augmentation.py [--fast] [--steps 1200] [--data FOLDER]

Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", 2012, section 4.1: crops
and mirror images of the training images multiply their number, and without them the net overfits so much that it would have
to be much smaller. They give no number for that. DeVries and Taylor, "Improved regularization of convolutional neural networks
with cutout", 2017, table 1, do, for CIFAR-10: with crops and flips the error of a ResNet-18 falls from 10.63 to 4.72 %, so
that 56 of 100 errors go.

What to look for: the training images here are 500 to 10,000 of CIFAR-10's 50,000, and every net is trained for the same
number of steps, whatever their number. Follow a horizontal line in the left plot, from the curve with augmentation to the
one without: so many real images would be needed for the same error. That factor is the right plot. Does a harder policy
(TrivialAugment, Müller and Hutter 2021: one random operation of random strength for each image) do more? The gain is large
where a net sees its images so often that it knows them by heart. Of 10,000 images each is seen eight times only, of the
paper's 200 times. Which of the two nets gets better with more steps (--steps)?

Nothing is chosen for each curve: the learning rate, the steps and the net (that of averaging.py) are the same for all.
"""

from __future__ import annotations

import argparse
import itertools
import time
from typing import Any

import numpy as np
from averaging import network
from common import Row, cifar10, error, finish, parse, picture, run, say

import minidl
from minidl import optim
from minidl import transforms as T
from minidl.data import DataLoader, Subset
from minidl.nn import functional as F

BATCH, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 64, 0.05, 0.9, 5e-4
NONE, CROP_FLIP, TRIVIAL = "without", "crops and flips", "crops, flips and TrivialAugment"
KINDS: dict[str, list[Any]] = {
    NONE: [],
    CROP_FLIP: [T.RandomCrop(32, padding=4), T.RandomHorizontalFlip()],
    TRIVIAL: [T.RandomCrop(32, padding=4), T.RandomHorizontalFlip(), T.TrivialAugmentWide()],
}
SIZES = [500, 1000, 2000, 5000, 10_000]
RUNS = [
    *((NONE, size) for size in [*SIZES, 20_000]),  # so many to see what 10,000 are worth
    *((CROP_FLIP, size) for size in SIZES),
    *((TRIVIAL, size) for size in SIZES[:-1]),
]
WITHOUT, WITH = 10.63, 4.72  # DeVries and Taylor, table 1: errors of ResNet-18 on CIFAR-10 and CIFAR-10+, %

Errors = dict[str, dict[int, list[float]]]  # by kind and number of images, one for each seed


def train(train_set: Any, test_set: Any, steps: int, seed: int) -> float:
    """Train one net for ``steps`` steps, however many epochs that is; return its test error in percent."""
    minidl.manual_seed(seed)
    model = network()
    loader = DataLoader(train_set, batch_size=BATCH, shuffle=True, seed=seed, drop_last=True)
    if not len(loader):
        raise ValueError(f"{len(train_set)} training images are less than a batch of {BATCH}")
    optimizer = optim.SGD(
        model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY
    )
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    epochs = itertools.chain.from_iterable(itertools.repeat(loader))  # one after another, without an end
    for images, labels in itertools.islice(epochs, steps):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    return error(model, test_set)


def images_needed(curve: dict[int, float], goal: float) -> float | None:
    """How many images bring the error down to ``goal``, by a curve {images: error}; None if it lies outside the curve.

    Between two numbers of images the error is taken to be a straight line over the logarithm of the number.

    Example:
        >>> images_needed({100: 50.0, 400: 30.0}, 40.0)
        200.0
    """
    points = sorted(curve.items())
    for (few, worse), (many, better) in zip(points, points[1:], strict=False):
        if better <= goal <= worse:
            share = (worse - goal) / (worse - better) if worse > better else 0.0
            return float(few * (many / few) ** share)
    return None


def worth(errors: Errors, kind: str) -> dict[int, float]:
    """By the number of images: how many times as many would be needed without augmentation (where the curve tells)."""
    without = {size: float(np.mean(values)) for size, values in errors[NONE].items()}
    needed = {size: images_needed(without, float(np.mean(values))) for size, values in errors[kind].items()}
    return {size: images / size for size, images in needed.items() if images is not None}


def share_gone(errors: Errors, kind: str, size: int) -> float:
    """Of the errors without augmentation, the percentage that ``kind`` avoids."""
    return 100 * float(1 - np.mean(errors[kind][size]) / np.mean(errors[NONE][size]))


def draw(axes: Any, errors: Errors) -> None:
    """Left test error over training images, right what augmentation is worth."""
    left, right = axes
    for kind, color in zip(errors, ("0.3", "C0", "C1"), strict=False):
        sizes, means = list(errors[kind]), [float(np.mean(values)) for values in errors[kind].values()]
        left.plot(sizes, means, color=color, label=kind)
        for size, values in errors[kind].items():
            left.plot([size] * len(values), values, "o", color=color, markersize=3)
        if kind != NONE:
            factors = worth(errors, kind)
            right.plot(list(factors), list(factors.values()), color=color, marker="o", label=kind)
    left.set_title("Test error on CIFAR-10, %")
    right.axhline(1, color="0.3", linewidth=1)
    right.set_ylim(0, None)
    right.set_title("Times as many real images that would do as well")
    for ax in axes:
        ax.set_xscale("log")
        ax.set_xticks([size for size in errors[NONE] if ax is left or size in SIZES])
        ax.set_xticklabels([f"{size:,}" for size in errors[NONE] if ax is left or size in SIZES])
        ax.minorticks_off()
        ax.set_xlabel("real training images")
        ax.grid(alpha=0.3)
        ax.legend(fontsize="small")


def main() -> None:
    """Train one net after another, and compare."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--steps", type=int, help="for each net (default: 1200; fast: 400)")

    options = parse(__doc__, "augmentation", add)
    steps = (400 if options.fast else 1200) if options.steps is None else options.steps
    if steps < 2:
        raise ValueError(f"--steps must be at least 2, not {steps}")
    test_set: Any = cifar10(options, False)
    runs = RUNS
    if options.fast:
        runs = [(NONE, 500), (NONE, 1000), (NONE, 2000), (CROP_FLIP, 500), (CROP_FLIP, 1000)]
        test_set = Subset(test_set, range(2000))
    errors: Errors = {}
    for kind, size in runs:
        whole, start = cifar10(options, True, *KINDS[kind]), time.perf_counter()
        values = errors.setdefault(kind, {})[size] = []
        for seed in range(
            options.seed, options.seed + (2 if size <= 2000 and kind != TRIVIAL and not options.fast else 1)
        ):
            chosen = np.random.default_rng(seed).permutation(len(whole))[:size].tolist()
            values.append(train(Subset(whole, chosen), test_set, steps, seed))
        shown = ", ".join(f"{value:.1f}" for value in values)
        say(f"{size:6,} images, {kind}: test error {shown} %; {time.perf_counter() - start:.0f} s")

    picture(options, (11, 4.2), 2, lambda axes: draw(axes, errors))
    largest = max(errors[CROP_FLIP])
    rows = [Row(f"error with {size:,} images, {kind}, %", None, values)
            for kind in errors for size, values in errors[kind].items() if size in (1000, largest)]  # fmt: skip
    rows += [Row(f"share of the errors that crops and flips take away, {size:,} images, %", None,
                 [share_gone(errors, CROP_FLIP, size)]) for size in errors[CROP_FLIP]]  # fmt: skip
    rows[-1].paper = round(100 * (1 - WITH / WITHOUT), 1)
    rows[-1].what += " (paper: 50,000)"
    rows += [Row(f"images without augmentation that do as well as 1 of {size:,} with {kind}", None, [factor])
             for kind in errors if kind != NONE for size, factor in worth(errors, kind).items()]  # fmt: skip
    setting = {
        "ran": f"CIFAR-10, {steps} steps of {BATCH} images for every net, SGD with Nesterov momentum {MOMENTUM}, weight decay "
        f"{WEIGHT_DECAY}, one cycle of the learning rate up to {LEARNING_RATE}; the net of averaging.py, of "
        f"{sum(p.numel() for p in network().parameters()):,} weights; other training images for each seed; "
        f"{len(test_set):,} test images",
        "paper": "all 50,000 images, ResNet-18 of 11 million weights, 200 epochs, mean of five runs",
    }
    finish(
        options,
        "DeVries and Taylor 2017, CIFAR-10 with and without augmentation, table 1 (after Krizhevsky et al. 2012, section 4.1)",
        rows,
        setting,
        {"test error": errors, "worth": {kind: worth(errors, kind) for kind in errors if kind != NONE}},
        "--steps 3000: with more steps the net without augmentation only learns its images by heart; what do the others do?",
    )


if __name__ == "__main__":
    run(main)
