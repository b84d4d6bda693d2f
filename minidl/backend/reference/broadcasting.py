"""What broadcasting did to a shape."""

from __future__ import annotations


def unbroadcast_axes(shape: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    """The axes over which an array of ``shape`` must be summed to become ``target``."""
    extra = len(shape) - len(target)
    return (*range(extra), *(extra + i for i, n in enumerate(target) if n == 1 and shape[extra + i] != 1))
