"""Timing a function that may be far shorter than the clock can tell."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

BLOCK = 1e-3  # s: so many calls are timed together that they take at least this long


def per_call(function: Callable[[], Any], seconds: float, least: int = 3) -> float:
    """Seconds per call: the median over blocks of calls, for ``seconds`` or at least ``least`` blocks."""
    calls = 1
    while (took := _block(function, calls)) < BLOCK:
        calls = max(2 * calls, int(calls * BLOCK / max(took, 1e-7)))
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        times.append(_block(function, calls) / calls)
    return median(times)


def _block(function: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return time.perf_counter() - start
