"""What is in a photograph? The five likeliest of ImageNet's 1000 classes, by a network that has learned them.

    python examples/classify.py photo.jpg [more.jpg …] [--model mobilenet_v2] [--weights FILE]

Without --weights the published ones are downloaded once (14 MB for MobileNetV2) and kept in ~/.cache/minidl. Results go to the
screen and, as a picture, to `runs/classify/`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

import minidl
from minidl import models
from minidl.io import atomic_write
from minidl.nn import functional as F


def open_photo(path: Path) -> Image.Image:
    """The picture as it is meant to be seen: turned as the camera says, in RGB (grey, CMYK and transparent ones too)."""
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def classify(model: Any, preset: Any, photo: Image.Image) -> np.ndarray:
    """The probability of each class."""
    with minidl.no_grad():
        return F.softmax(model(preset(photo)[None]), dim=1).numpy()[0]


def draw(photos: list[Image.Image], rows: list[list[tuple[str, float]]], path: Path) -> None:
    """Each photograph, beside it bars for its classes."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("The picture is not drawn: it needs matplotlib (pip install 'minidl[viz]')", file=sys.stderr)
        return
    figure = Figure(figsize=(9, 2.6 * len(photos)), layout="constrained")
    axes = figure.subplots(len(photos), 2, squeeze=False, width_ratios=[1, 1.6])
    for (left, right), photo, row in zip(axes, photos, rows, strict=True):
        left.imshow(photo)
        left.axis("off")
        right.barh([name for name, _ in row], [100 * p for _, p in row], color="C0")
        right.invert_yaxis()
        right.set_xlim(0, 100)
    axes[-1][1].set_xlabel("probability, %")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    print(f"\nPicture: {path}")


def main() -> int:
    """Load, look, say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path, help="image files")
    parser.add_argument(
        "--model", default="mobilenet_v2", help="a network with published weights (default: mobilenet_v2)"
    )
    parser.add_argument("--weights", default="IMAGENET1K_V1", help="a file (.pth, .safetensors, .npz) or a name")
    parser.add_argument("--out", type=Path, default=Path("runs/classify"), help="folder for the picture")
    options = parser.parse_args()
    try:
        entry = models.get_model_weights(options.model).IMAGENET1K_V1
        model = models.get_model(options.model, weights=options.weights).eval()
    except (ValueError, RuntimeError, OSError) as error:
        print(f"classify: {error}", file=sys.stderr)
        return 1
    preset, names = entry.transforms(), entry.meta["categories"]
    photos, rows = [], []
    for path in options.photos:
        try:
            photo = open_photo(path)
        except OSError as error:  # no file, or no image
            print(f"classify: {path}: {error.strerror or error}", file=sys.stderr)
            return 1
        start = time.perf_counter()
        probabilities = classify(model, preset, photo)
        best = np.argsort(probabilities)[::-1][:5]
        print(f"{path} ({photo.width}×{photo.height}, {1000 * (time.perf_counter() - start):.0f} ms)")
        for i in best:
            print(f"  {100 * probabilities[i]:5.1f} %  {names[i]}")
        photos.append(photo)
        rows.append([(names[i], float(probabilities[i])) for i in best])
    draw(photos, rows, options.out / "classified.png")
    print("Try next: --model resnet18 (or vgg16, inception_v3): where do the networks disagree?")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nclassify: stopped.", file=sys.stderr)
        sys.exit(130)
