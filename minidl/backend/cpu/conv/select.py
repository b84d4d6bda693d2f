"""Which algorithm computes a convolution, by its shape. ``benchmarks/ops.py`` times them."""

from __future__ import annotations

import os
from functools import lru_cache

from minidl.backend.cpu.conv.shape import KEPT, Convolution

_winograd = os.environ.get("MINIDL_WINOGRAD", "1") != "0"

DIRECT_PRODUCT = 1536  # of channels in and out: up to here Winograd's transforms cost more than they save
WEIGHT_TILES = 80  # a weight's transform takes as long as the products of that many tiles
DIRECT_BYTES = 1 << 19  # of weights that the direct loop can read again and again from a core's own cache


def use_winograd(on: bool) -> None:
    """Turn Winograd's algorithm on (the default) or off; ``MINIDL_WINOGRAD=0`` turns it off from the start.

    It needs down to a quarter of the multiplications and rounds a little more: in float32 the error of a convolution is at
    most 1e-5 of the norm of its output. It is never taken for float64.
    """
    global _winograd
    _winograd = bool(on)
    choose.cache_clear()


def winograd_is_used() -> bool:
    """Whether Winograd's algorithm may be picked."""
    return _winograd


@lru_cache(maxsize=3 * KEPT)
def choose(conv: Convolution, use: str) -> tuple[str, str]:
    """The algorithm for a use ("forward", "input_grad" or "weight_grad"), and the reason.

    One of "winograd", "direct", "im2col", "depthwise" and "grouped"; "reference" where none of the compiled ones can serve.
    """
    if conv.dtype not in ("float32", "float64"):
        return "reference", f"dtype {conv.dtype}"
    if 0 in (conv.n, conv.c, conv.o, *conv.size):
        return "reference", "empty"
    if conv.groups > 1:
        if conv.groups == conv.c == conv.o:
            return "depthwise", "a kernel for every channel"
        return "grouped", f"{conv.groups} groups"
    if conv.dtype != "float32":
        return "im2col", f"dtype {conv.dtype}"
    if conv.kernel == (1, 1) and conv.stride == (1, 1):
        return "im2col", "1×1: every pixel is its own window"
    applies = tile_of(conv.turned if use == "input_grad" else conv) is not None
    possible = _winograd and applies
    if _can_be_direct(conv, use) and not (possible and conv.c * conv.o > DIRECT_PRODUCT):
        return "direct", "few channels" if possible else "Winograd does not apply, or is switched off"
    if possible:
        return "winograd", f"{conv.kernel[0]}×{conv.kernel[1]} kernel, stride 1, float32"
    return "im2col", "Winograd is switched off" if applies else "fits neither Winograd nor the direct loop"


@lru_cache(maxsize=2 * KEPT)
def tile_of(conv: Convolution) -> tuple[int, int] | None:
    """The outputs m of a Winograd tile and the taps r, or None where the algorithm does not apply.

    F(4×4, 3×3) saves most, if its tiles do not hang over the edges of a small image too far, and are not so few that to
    transform the weights costs more than the products.
    """
    r = conv.kernel[0]
    if conv.kernel not in ((3, 3), (5, 5)) or conv.stride != (1, 1) or conv.dilation != (1, 1):
        return None
    if max(*conv.padding[0], *conv.padding[1]) > r - 1 or conv.c < 8 or conv.o < 8 or conv.o % 16:
        return None
    if r == 5:
        return 2, 5
    cost = {m: (m + 2) ** 2 * (conv.n * -(-conv.out[0] // m) * -(-conv.out[1] // m) + WEIGHT_TILES) for m in (4, 2)}
    return min(cost, key=lambda m: cost[m]), 3


def _can_be_direct(conv: Convolution, use: str) -> bool:
    lanes, width = conv.o, conv.out[1]
    if use == "input_grad":
        lanes, width = conv.c, conv.size[1]
        if (
            conv.stride != (1, 1)
            or max(p - k + 1 for k, ps in zip(conv.kernel, conv.padding, strict=True) for p in ps) > 0
        ):
            return False
    if conv.dilation != (1, 1) or lanes % 16 or (width < 8 and use != "weight_grad"):  # narrow rows: half-empty tiles
        return False
    return conv.kernel[0] * conv.kernel[1] * conv.c * conv.o * 4 <= DIRECT_BYTES
