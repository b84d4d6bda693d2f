"""Pictures of a training run. They need matplotlib (the extra ``viz``); without it a line says so and nothing is drawn."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from typing import Any

from minidl.io.atomic import atomic_write


def _figure_class() -> Any:
    """matplotlib's Figure, which draws into files and needs no screen; or None where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    return Figure


def _missing(path: Any) -> bool:
    print(f"{os.fspath(path)} is not drawn: it needs matplotlib (pip install 'minidl[viz]')", file=sys.stderr)
    return False


def plot_curves(history: Sequence[dict[str, float]], path: str | os.PathLike[str]) -> bool:
    """Draw loss and metrics over the epochs, training dashed and validation solid. Returns whether it could.

    Args:
        history: as ``Trainer.history``.
        path: of the PNG.
    """
    return plot_many_curves({"": history}, path)


def plot_many_curves(histories: dict[str, Sequence[dict[str, float]]], path: str | os.PathLike[str]) -> bool:
    """As ``plot_curves``, for several runs by name."""
    figure_class = _figure_class()
    if figure_class is None:
        return _missing(path)
    names = [k.removeprefix("train_") for k in next(iter(histories.values()))[0] if k.startswith("train_")]
    figure = figure_class(figsize=(5.5 * len(names), 4), layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    for ax, name in zip(axes, names, strict=True):
        for i, (label, rows) in enumerate(histories.items()):
            epochs = [row["epoch"] for row in rows]
            for part, style in (("train", "--"), ("val", "-")):
                if f"{part}_{name}" in rows[0]:
                    full = f"{label} {'training' if part == 'train' else 'held out'}".strip()
                    values = [row.get(f"{part}_{name}", math.nan) for row in rows]  # a resumed run may validate no more
                    ax.plot(epochs, values, style, color=f"C{i}", marker=".", label=full)
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        ax.set_title(name)
        ax.grid(alpha=0.3)
        ax.legend(fontsize="small")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return True


def plot_predictions(
    images: Any, probabilities: Any, labels: Any, classes: Sequence[str], path: str | os.PathLike[str], columns: int = 8
) -> bool:
    """Draw a row of images that were recognised and two rows of the surest mistakes, with names. Returns whether it could.

    Args:
        images: (N, 1, H, W) or (N, 3, H, W) array with values from 0 to 1.
        probabilities: (N, C) array.
        labels: the true classes, (N) array.
        classes: their names.
        path: of the PNG.
    """
    figure_class = _figure_class()
    if figure_class is None:
        return _missing(path)
    guess = probabilities.argmax(1)
    sure = probabilities.max(1)
    right = [i for i in range(len(labels)) if guess[i] == labels[i]]
    by_class = {int(labels[i]): i for i in reversed(right)}  # the first of every class
    wrong = sorted((i for i in range(len(labels)) if guess[i] != labels[i]), key=lambda i: -sure[i])
    shown = (list(by_class.values())[:columns], wrong[:columns], wrong[columns : 2 * columns])
    figure = figure_class(figsize=(1.55 * columns, 6.2), layout="constrained")
    figure.suptitle("Top row: recognised. Below, in red: the mistakes made with most confidence.")
    for ax_row, row in zip(figure.subplots(3, columns), shown, strict=True):
        for ax in ax_row:
            ax.axis("off")
        for ax, i in zip(ax_row, row, strict=False):
            image = images[i].transpose(1, 2, 0)
            ax.imshow(image[..., 0] if image.shape[2] == 1 else image, cmap="gray", vmin=0, vmax=1)
            good = guess[i] == labels[i]
            text = f"{classes[guess[i]]} {100 * sure[i]:.0f}%" + ("" if good else f"\nis: {classes[int(labels[i])]}")
            ax.set_title(text, fontsize=8, color="black" if good else "crimson")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return True
