"""What datasets leave out because it cannot be read: workers tell the main process, in whose dataset one looks for it.

A dataset counts in an attribute ``skipped`` of its own: a set of what it has left out, or how many samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidl.data.dataset import Dataset


def _own(x: Any, name: str) -> Any:
    """An attribute that was simply set, and is not computed; else None."""
    return getattr(x, "__dict__", {}).get(name)


def that_count(dataset: Any) -> list[Any]:
    """The datasets that have such an attribute: this one and those that it is made of (``dataset`` or ``datasets``)."""
    found: list[Any] = []
    left, seen = [dataset], set()
    while left:
        here = left.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        if type(_own(here, "skipped")) in (set, int):
            found.append(here)
        below = _own(here, "datasets")
        inside = [_own(here, "dataset"), *(below if isinstance(below, Sequence) else ())]
        left += [one for one in inside if isinstance(one, Dataset)]
    return found


class Watch:
    """In a worker: notices what its dataset has left out since the last time it was asked."""

    def __init__(self, dataset: Any) -> None:
        self.counting = that_count(dataset)
        self.known = self._now()

    def _now(self) -> list[Any]:
        now = [_own(d, "skipped") for d in self.counting]
        return [set(skipped) if type(skipped) is set else skipped for skipped in now]

    def news(self) -> list[Any] | None:
        """For each dataset of ``that_count`` what is new, a set or a number; None if nothing is."""
        now = self._now()
        if now == self.known:
            return None
        before, self.known = self.known, now
        return [after - b if type(after) is type(b) else None for after, b in zip(now, before, strict=True)]


def add(dataset: Any, news: list[Any]) -> None:
    """In the main process: count it too. What does not fit, because somebody has changed one of the two, is left out."""
    counting = that_count(dataset)
    for one, more in zip(counting, news, strict=False):
        if type(one.skipped) is not type(more) or len(counting) != len(news):
            continue
        if type(more) is set:
            one.skipped |= more
        else:
            one.skipped += more
