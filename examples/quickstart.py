"""Teach three small convolutional networks to recognise photographs of clothes, and let them vote.

    python examples/quickstart.py [--epochs 12] [--members 3] [--seed 0] [--device cpu|cuda]

Data: FashionMini, which comes with the package: 6,000 photographs to learn from, 1,000 to be tested on, ten kinds of
clothes. Everything that is computed is in `minidl/`; nothing else is used but arrays. Results go to `runs/quickstart/`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import minidl
from minidl import nn, optim
from minidl.data import DataLoader
from minidl.datasets import FashionMini
from minidl.ensemble import soft_vote
from minidl.training import Trainer, plot_predictions
from minidl.training.pictures import plot_many_curves
from minidl.transforms import Compose, RandomCrop, RandomHorizontalFlip

BATCH = 100
PEAK_LEARNING_RATE = 0.15


def make_network() -> nn.Sequential:
    """Three stages of convolution, each half the size of the one before and twice as deep, then one linear layer."""

    def stage(inputs: int, outputs: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]

    return nn.Sequential(
        *stage(1, 16),
        *stage(16, 32),
        *stage(32, 64),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(64 * 3 * 3, 10),
    )


def train_member(number: int, options: argparse.Namespace, folder: Path) -> Trainer:
    """Train one network from its own random start, on its own order of the data."""
    seed = 1000 * options.seed + number
    minidl.manual_seed(seed)
    model = make_network()
    train = FashionMini(train=True, transform=Compose([RandomCrop(28, padding=2), RandomHorizontalFlip()]))
    train_loader = DataLoader(train, batch_size=BATCH, shuffle=True, seed=seed)
    test_loader = DataLoader(FashionMini(train=False), batch_size=250)
    optimizer = optim.SGD(model.parameters(), lr=PEAK_LEARNING_RATE, momentum=0.9, nesterov=True, weight_decay=5e-4)
    scheduler = optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=PEAK_LEARNING_RATE, epochs=options.epochs, steps_per_epoch=len(train_loader), pct_start=0.25
    )
    trainer = Trainer(
        model, optimizer, scheduler=scheduler, device=options.device, run_dir=folder / f"network-{number}", seed=seed
    )
    trainer.fit(train_loader, test_loader, epochs=options.epochs, title=f"network {number}, ")
    minidl.save(model.state_dict(), folder / f"network-{number}.safetensors")
    return trainer


def main() -> int:
    """Train, vote, draw and sum up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="where to compute (default: cpu)")
    parser.add_argument(
        "--epochs", type=int, default=12, help="times that each network sees all photographs (default: 12)"
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same numbers (default: 0)")
    parser.add_argument("--members", type=int, default=3, help="networks that vote (default: 3)")
    parser.add_argument("--out", type=Path, default=Path("runs/quickstart"), help="folder for the results")
    options = parser.parse_args()
    if options.epochs < 1 or options.members < 1:
        parser.error("--epochs and --members must be at least 1")

    start = time.perf_counter()
    parameters = sum(p.numel() for p in make_network().parameters())
    print(
        f"Networks: {options.members}, each of {parameters:,} parameters and {options.epochs} epochs (times it sees all "
        f"photographs), on {options.device}"
    )
    trainers = [train_member(i + 1, options, options.out) for i in range(options.members)]

    test = FashionMini(train=False)
    labels = test.targets.numpy()
    loader = DataLoader(test, batch_size=250)
    scores = [t.predict(loader) for t in trainers]
    accuracies = [float((s.argmax(1).numpy() == labels).mean()) for s in scores]
    together = soft_vote(scores).exp().numpy()  # every member gives each class a probability; the vote is their mean
    vote = float((together.argmax(1) == labels).mean())

    histories = {f"network {i + 1}": t.history for i, t in enumerate(trainers)}
    plot_many_curves(histories, options.out / "curves.png")
    images = test.data.numpy()[:, None].astype(np.float32) / 255
    plot_predictions(images, together, labels, test.classes, options.out / "predictions.png")

    print(f"\nOn {len(labels):,} photographs that no network has seen:")
    for i, a in enumerate(accuracies):
        print(f"  network {i + 1}            {100 * a:.1f} % right")
    print(f"  mean of the {len(accuracies):<9}{100 * np.mean(accuracies):.1f} %")
    print(f"  all of them voting   {100 * vote:.1f} %")
    worst = [
        (int(((together.argmax(1) == b) & (labels == a)).sum()), a, b) for a in range(10) for b in range(10) if a != b
    ]
    count, a, b = max(worst)
    print(
        f"  most frequent mistake: {test.classes[a]} taken for {test.classes[b]} ({count} of {int((labels == a).sum())})"
    )
    print(f"\nTook {time.perf_counter() - start:.0f} s. In {options.out}/:")
    if (options.out / "curves.png").exists():
        print("  curves.png, predictions.png              look at these first")
    print("  network-1.safetensors, …                 the weights; network-1/metrics.csv, …  every epoch's numbers")
    print("\nTry next:")
    print("  python examples/quickstart.py --epochs 30          longer training: how much better?")
    print("  python examples/quickstart.py --members 7          more voters: does the vote still gain?")
    print("  in make_network(): take out BatchNorm2d or Dropout, or double the channels, and compare curves.png")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print(
            "\nStopped. What was finished is kept: see metrics.csv and checkpoint.safetensors in the results' folder."
        )
        sys.exit(130)
    except RuntimeError as error:
        if "was asked for" not in str(error):
            raise
        sys.exit(f"quickstart: {error}")
