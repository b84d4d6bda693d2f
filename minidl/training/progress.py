"""Progress of long work: a bar on a terminal, one plain line per epoch elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType

from tqdm import tqdm


class Progress:
    """Counts images over all epochs; shows the epoch, loss, metrics, images per second and the time left."""

    def __init__(self, total: int | None, title: str = "") -> None:
        self.terminal = sys.stderr.isatty()
        self.title = title
        self.bar = tqdm(
            total=total,
            unit=" images",
            unit_scale=False,
            disable=not self.terminal,
            leave=False,
            dynamic_ncols=True,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {rate_fmt}, {remaining} left{postfix}",
        )

    def epoch(self, number: int, of: int) -> None:
        """An epoch (counted from 1) begins."""
        self.bar.set_description_str(f"{self.title}epoch {number}/{of}", refresh=False)

    def advance(self, images: int, values: dict[str, float]) -> None:
        """A batch is done; ``values`` are the running means."""
        if self.terminal:
            self.bar.set_postfix_str(_line(values), refresh=False)
            self.bar.update(images)

    def report(self, number: int, of: int, values: dict[str, float], images_per_second: float) -> None:
        """An epoch is done: say how it went."""
        text = f"{self.title}epoch {number:{len(str(of))}}/{of}: {_line(values)}, {images_per_second:.0f} images/s"
        if self.terminal:
            self.bar.write(text)
        else:
            print(text, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.bar.close()


def _line(values: dict[str, float]) -> str:
    """``train loss 0.3146, held-out accuracy 90.2%``."""
    shown = []
    for name, value in values.items():
        words = name.replace("val_", "held-out ").replace("_", " ")
        shown.append(f"{words} {100 * value:.1f}%" if name.endswith("accuracy") else f"{words} {value:.4f}")
    return ", ".join(shown)
