"""What augmentation looks like, and what it does to the accuracy on photographs that no network has seen.

    python examples/augmentation.py [--images FOLDER] [--train 1000] [--epochs 15] [--seeds 2] [--sheet-only]

First a contact sheet: every transform on a few pictures. Then small networks learn from FashionMini's photographs of clothes:
without augmentation, with each kind alone, and with several together. Few training images are used (1,000 of 6,000), because
that is where augmentation is needed. Results go to `runs/augmentation/`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

import minidl
from minidl import nn, optim
from minidl import transforms as T
from minidl.data import DataLoader, Subset, draws
from minidl.datasets import FashionMini
from minidl.io import atomic_write
from minidl.nn import functional as F

BATCH = 50
PEAK_LEARNING_RATE = 0.1

# What is compared. Sizes and strengths are meant for 28 pixels of clothes that stand upright: a shoe is not seen from below.
KINDS: dict[str, Callable[[], list[Any]]] = {
    "none": lambda: [],
    "flip": lambda: [T.RandomHorizontalFlip()],
    "crop": lambda: [T.RandomCrop(28, padding=2)],
    "rotate, scale, shear": lambda: [
        T.RandomAffine(8, scale=(0.9, 1.1), shear=5, interpolation=T.InterpolationMode.BILINEAR)
    ],
    "perspective": lambda: [T.RandomPerspective(0.2, p=0.7)],
    "elastic": lambda: [T.ElasticTransform(alpha=15.0, sigma=4.0)],
    "brightness, contrast": lambda: [T.ColorJitter(brightness=0.3, contrast=0.3)],
    "blur": lambda: [T.RandomApply([T.GaussianBlur(3, sigma=(0.3, 1.0))], p=0.5)],
    "noise": lambda: [T.GaussianNoise(sigma=0.05)],
    "erase": lambda: [T.RandomErasing(p=0.5, scale=(0.02, 0.2))],
    "flip, crop, erase": lambda: [
        T.RandomHorizontalFlip(),
        T.RandomCrop(28, padding=2),
        T.RandomErasing(p=0.5, scale=(0.02, 0.2)),
    ],
}

# Each transform of the contact sheet, strong enough to be seen.
SHEET: dict[str, Any] = {
    "RandomHorizontalFlip": T.RandomHorizontalFlip(p=1.0),
    "RandomVerticalFlip": T.RandomVerticalFlip(p=1.0),
    "RandomCrop": T.RandomCrop(112, padding=24),
    "RandomResizedCrop": T.RandomResizedCrop(112, scale=(0.1, 0.6)),
    "Pad, reflect": T.Pad(16, padding_mode="reflect"),
    "CenterCrop": T.CenterCrop(72),
    "RandomRotation": T.RandomRotation(40),
    "RandomAffine": T.RandomAffine(25, translate=(0.15, 0.15), scale=(0.7, 1.2), shear=15),
    "RandomPerspective": T.RandomPerspective(0.6, p=1.0),
    "ElasticTransform": T.ElasticTransform(alpha=120.0, sigma=5.0),
    "ColorCast": T.ColorCast(shift=0.25, scale=0.25),
    "ColorJitter": T.ColorJitter(brightness=0.5, contrast=0.5, saturation=0.7, hue=0.3),
    "Grayscale": T.Grayscale(3),
    "RandomPhotometricDistort": T.RandomPhotometricDistort(p=1.0),
    "RandomInvert": T.RandomInvert(p=1.0),
    "RandomPosterize": T.RandomPosterize(2, p=1.0),
    "RandomSolarize": T.RandomSolarize(128, p=1.0),
    "RandomEqualize": T.RandomEqualize(p=1.0),
    "RandomAutocontrast": T.RandomAutocontrast(p=1.0),
    "RandomAdjustSharpness": T.RandomAdjustSharpness(6.0, p=1.0),
    "GaussianBlur": T.GaussianBlur(9, sigma=(2.0, 4.0)),
    "GaussianNoise": T.GaussianNoise(sigma=0.15),
    "RandomErasing": T.RandomErasing(p=1.0, value="random"),
    "AutoAugment": T.AutoAugment(),
    "RandAugment": T.RandAugment(num_ops=2, magnitude=15),
    "TrivialAugmentWide": T.TrivialAugmentWide(),
    "AugMix": T.AugMix(),
}
SIDE, LABEL = 112, 15


def find_pictures(folder: Path | None, count: int) -> list[Image.Image]:
    """Square pictures of the contact sheet's size: from a folder, or else FashionMini's, coloured by their class."""
    if folder is not None:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if not paths:
            raise SystemExit(f"{folder}: no .jpg or .png files there")
        chosen = [paths[i * len(paths) // count] for i in range(count)]
        square = T.Compose([T.Resize(SIDE), T.CenterCrop(SIDE)])
        return [square(Image.open(path).convert("RGB")) for path in chosen]
    test = FashionMini(train=False)
    colours = np.array([[255, 190, 120], [140, 200, 255], [190, 255, 150], [255, 150, 190]], np.float32)
    pictures = []
    for k in range(count):
        index = int(np.flatnonzero(test.targets.numpy() == (9, 0, 8, 3)[k % 4])[k // 4])
        pixels = test.data.numpy()[index][..., None] / 255 * colours[k % 4]
        pictures.append(Image.fromarray(pixels.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return pictures


def draw_sheet(pictures: list[Image.Image], path: Path) -> None:
    """Each transform on every picture, with its name; the originals first."""
    rows = {"as it was": None, **SHEET}
    blocks = []
    for number, (name, transform) in enumerate(rows.items()):
        block = Image.new("RGB", (len(pictures) * (SIDE + 2), SIDE + LABEL + 4), "white")
        ImageDraw.Draw(block).text((3, 2), name, fill="black")
        for k, picture in enumerate(pictures):
            with draws.fetching(seed=0, epoch=number, indices=[k]):  # the same sheet every time
                shown = picture if transform is None else transform(picture)
            shown = shown if isinstance(shown, Image.Image) else T.functional.to_pil_image(shown)
            shown.thumbnail((SIDE, SIDE))
            block.paste(shown, (k * (SIDE + 2) + (SIDE - shown.width) // 2, LABEL + (SIDE - shown.height) // 2))
        blocks.append(block)
    columns = 4
    width, height = blocks[0].width + 12, blocks[0].height
    sheet = Image.new("RGB", (columns * width, -(-len(blocks) // columns) * height), "white")
    for i, block in enumerate(blocks):
        sheet.paste(block, (i % columns * width, i // columns * height))
    with atomic_write(path) as temporary:
        sheet.save(temporary, format="PNG")


def make_network() -> nn.Sequential:
    """Two stages of convolution, then one linear layer."""

    def stage(inputs: int, outputs: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        return [convolution, nn.MaxPool2d(2), nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(*stage(1, 16), *stage(16, 32), nn.Flatten(), nn.Linear(32 * 7 * 7, 10))


def test_accuracy(kind: str, seed: int, options: argparse.Namespace) -> float:
    """Train one network, and return the share of the 1,000 test images that it recognises."""
    minidl.manual_seed(seed)
    model = make_network()
    steps = KINDS[kind]()
    whole = FashionMini(train=True, transform=T.Compose(steps) if steps else None)
    chosen = np.random.default_rng(seed).permutation(len(whole))[: options.train].tolist()
    loader = DataLoader(Subset(whole, chosen), batch_size=BATCH, shuffle=True, seed=seed, drop_last=True)
    optimizer = optim.SGD(model.parameters(), lr=PEAK_LEARNING_RATE, momentum=0.9, weight_decay=1e-3)
    scheduler = optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=PEAK_LEARNING_RATE, epochs=options.epochs, steps_per_epoch=len(loader)
    )
    for _ in range(options.epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            scheduler.step()
    model.eval()
    test = FashionMini(train=False)
    with minidl.no_grad():
        right = [
            (model(images).argmax(1) == labels).sum().item() for images, labels in DataLoader(test, batch_size=500)
        ]
    return sum(right) / len(test)


def main() -> None:
    """Draw the sheet, train, sum up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="a folder of photographs for the contact sheet (default: clothes)")
    parser.add_argument("--train", type=int, default=1000, help="training images, of 6,000 (default: 1000)")
    parser.add_argument("--epochs", type=int, default=15, help="times that each network sees them (default: 15)")
    parser.add_argument("--seeds", type=int, default=2, help="networks for each kind of augmentation (default: 2)")
    parser.add_argument("--sheet-only", action="store_true", help="draw the contact sheet, and train nothing")
    parser.add_argument("--out", type=Path, default=Path("runs/augmentation"), help="folder for the results")
    options = parser.parse_args()
    if not BATCH <= options.train <= 6000 or options.epochs < 1 or options.seeds < 1:
        parser.error(f"--train must be from {BATCH} to 6000, --epochs and --seeds at least 1")

    start = time.perf_counter()
    options.out.mkdir(parents=True, exist_ok=True)
    sheet = options.out / "contact-sheet.png"
    draw_sheet(find_pictures(options.images, 4), sheet)
    if sheet.exists():
        print(f"{sheet}: {len(SHEET)} transforms on four pictures; look at it first")
    if options.sheet_only:
        return
    print(
        f"\nTest accuracy of small networks after {options.epochs} epochs of {options.train} images, {options.seeds} for each:"
    )
    results: dict[str, list[float]] = {}
    for kind in KINDS:
        results[kind] = [test_accuracy(kind, seed, options) for seed in range(options.seeds)]
        base = float(np.mean(results["none"]))
        mean, low, high = float(np.mean(results[kind])), min(results[kind]), max(results[kind])
        change = "" if kind == "none" else f"  {100 * (mean - base):+.1f}"
        print(f"  {kind:<22} {100 * mean:.1f} %  ({100 * low:.1f} to {100 * high:.1f}){change}", flush=True)
    bars = options.out / "accuracy.png"
    draw_bars(results, bars)
    print(
        f"\nTook {time.perf_counter() - start:.0f} s. Differences below about one point are within the luck of the start.\n"
        f"In {options.out}/: {', '.join(path.name for path in (sheet, bars) if path.exists())}\n"
        "Try next: --train 300 (augmentation helps more), --train 6000, --images FOLDER with photographs of your own."
    )


def draw_bars(results: dict[str, list[float]], path: Path) -> None:
    """The mean of each kind, and a dot for each network."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print(f"{path} is not drawn: it needs matplotlib (pip install 'minidl[viz]')")
        return
    figure = Figure(figsize=(8, 4), layout="constrained")
    ax = figure.subplots()
    names = list(results)
    means = [100 * float(np.mean(values)) for values in results.values()]
    ax.plot(means, names, "D", color="C0", markersize=8)
    for i, values in enumerate(results.values()):
        ax.plot([100 * v for v in values], [i] * len(values), "k.", markersize=5)
    ax.axvline(means[0], color="0.3", linewidth=0.8, linestyle="--")
    lowest = min(min(values) for values in results.values())
    ax.set_xlim(100 * lowest - 2, 100 * max(max(values) for values in results.values()) + 1)
    ax.invert_yaxis()
    ax.set_xlabel("test accuracy, % (diamond: mean, dots: single networks)")
    ax.set_title("What each augmentation does")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("\naugmentation: stopped.", file=sys.stderr)
        sys.exit(130)
