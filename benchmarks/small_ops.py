"""Operations on tensors so small that only what surrounds the arithmetic is timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.kit import Case, Kit

Made = tuple[list[Any], Callable[[], Any]]  # the leaves, and the operation on them


def _unary(apply: Callable[[Kit, Any], Any], *shape: int) -> Callable[[Kit], Made]:
    def make(kit: Kit) -> Made:
        x = kit.array(*shape, grad=True)
        return [x], lambda: apply(kit, x)

    return make


def _binary(apply: Callable[[Kit, Any, Any], Any], *shape: int) -> Callable[[Kit], Made]:
    def make(kit: Kit) -> Made:
        a, b = kit.array(*shape, grad=True), kit.array(*shape, grad=True)
        return [a, b], lambda: apply(kit, a, b)

    return make


def _linear(kit: Kit) -> Made:
    x, w, b = kit.array(16, 16, grad=True), kit.weights(16, 16, grad=True), kit.weights(16, grad=True)
    return [x, w, b], lambda: kit.functional.linear(x, w, b)


def _cross_entropy(kit: Kit) -> Made:
    x, y = kit.array(16, 10, grad=True), kit.labels(16, 10)
    return [x], lambda: kit.functional.cross_entropy(x, y)


def _layer_norm(kit: Kit) -> Made:
    x, w, b = kit.array(16, 16, grad=True), kit.weights(16, grad=True), kit.weights(16, grad=True)
    return [x, w, b], lambda: kit.functional.layer_norm(x, (16,), w, b)


def _conv2d(kit: Kit) -> Made:
    x, w, b = kit.array(1, 3, 8, 8, grad=True), kit.weights(4, 3, 3, 3, grad=True), kit.weights(4, grad=True)
    return [x, w, b], lambda: kit.functional.conv2d(x, w, b, padding=1)


OPS: dict[str, Callable[[Kit], Made]] = {
    "add 16×16": _binary(lambda kit, a, b: a + b, 16, 16),
    "mul 16×16": _binary(lambda kit, a, b: a * b, 16, 16),
    "matmul 16×16": _binary(lambda kit, a, b: a @ b, 16, 16),
    "relu 16×16": _unary(lambda kit, x: kit.functional.relu(x), 16, 16),
    "sum 16×16": _unary(lambda kit, x: x.sum(), 16, 16),
    "reshape 16×16": _unary(lambda kit, x: x.reshape(8, 32), 16, 16),
    "cat 2×(16×16)": _binary(lambda kit, a, b: kit.dl.cat((a, b)), 16, 16),
    "x[2:5] 16×16": _unary(lambda kit, x: x[2:5], 16, 16),
    "softmax 16×16": _unary(lambda kit, x: kit.functional.softmax(x, dim=1), 16, 16),
    "linear 16×16": _linear,
    "layer_norm 16×16": _layer_norm,
    "cross_entropy 16×10": _cross_entropy,
    "conv2d 3→4, 8×8": _conv2d,
}


def _forward(make: Callable[[Kit], Made]) -> Case:
    return Case(lambda kit: make(kit)[1])


def _both(make: Callable[[Kit], Made]) -> Case:
    def build(kit: Kit) -> Callable[[], Any]:
        leaves, apply = make(kit)
        cotangent = kit.dl.ones_like(apply()).detach()

        def run() -> None:
            for leaf in leaves:
                leaf.grad = None
            apply().backward(cotangent)

        return run

    return Case(build)


CASES = {
    f"{name}, {kind}": case(make)
    for name, make in OPS.items()
    for kind, case in (("forward", _forward), ("both", _both))
}
