"""Chains of tiny operations: an addition, a multiplication, an addition, … each on what the one before left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.kit import Case, Kit

LENGTH = 1000  # operations in a chain
SHAPES = ((1,), (16,))
MODES = ("forward, recorded", "forward and backward", "forward, no_grad")


def name_of(shape: tuple[int, ...], mode: str) -> str:
    """Under which a case stands in ``CASES``."""
    return f"chain of {LENGTH} on {shape}, {mode}"


def _case(shape: tuple[int, ...], mode: str) -> Case:
    def build(kit: Kit) -> Callable[[], Any]:
        x, cotangent = kit.array(*shape, grad=True), kit.dl.ones(shape)
        shift, scale = kit.dl.full(shape, 0.001), kit.dl.full(shape, 0.999)  # keeps the numbers ordinary

        def chain() -> Any:
            y = x
            for _ in range(LENGTH // 2):
                y = y + shift
                y = y * scale
            return y

        def both() -> None:
            x.grad = None
            chain().backward(cotangent)

        return {"forward, recorded": chain, "forward and backward": both}.get(mode) or kit.without_graph(chain)

    return Case(build)


CASES = {name_of(shape, mode): _case(shape, mode) for shape in SHAPES for mode in MODES}
