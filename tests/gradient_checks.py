"""What is demanded of an op's gradient. ``test_gradients.py`` asks it of every op, ``mutate_gradients.py`` of mutants.

Finite differences see nothing at a kink, so what holds there (``KINKS``) is written down as numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

import minidl
from minidl.autograd import grad
from minidl.backend.cpu import elementwise
from minidl.backend.reference.blocks import BlockKernels
from minidl.nn import functional as F
from minidl.ops import base
from minidl.ops.base import Op, registry
from minidl.ops.samples import Draw, Sample, draw_sample, reals
from minidl.tensor import Tensor
from minidl.testing import gradcheck, gradgradcheck
from tests.drawing import memory_of, present

# Central differences with step h are wrong by about h² |f'''| / 6 + 1e-16 |f| / h, least near h = 1e-5.
STEP = 1e-5
TOLERANCE = {"eps": STEP, "atol": 1e-7, "rtol": 1e-6}

OPS = sorted(name for name, op in registry.items() if op.rules and op.__module__.startswith("minidl."))


def leaf(array: np.ndarray) -> Tensor:
    return Tensor.wrap(array).requires_grad_()


def check_derivatives(op: type[Op], draw: Draw) -> None:
    """First and second derivatives against finite differences, and the recorded gradient against the ordinary one."""
    check_sample(draw_sample(op, draw), draw)


def check_sample(sample: Sample, draw: Draw) -> None:
    """As ``check_derivatives``, of a function that need not be an op."""
    arrays, function = sample
    with blocks_of(draw.choice([64, 4 << 20])), pieces_of(draw.choice([2, elementwise.PIECE])):
        check_function(function, [leaf(present(draw, np.asarray(a))) for a in arrays], draw)


@contextmanager
def blocks_of(size: int) -> Iterator[None]:
    """Let convolutions take as many images at a time as fit in ``size`` bytes."""
    usual, BlockKernels.block_bytes = BlockKernels.block_bytes, size
    try:
        yield
    finally:
        BlockKernels.block_bytes = usual


@contextmanager
def pieces_of(size: int) -> Iterator[None]:
    """Let functions of single elements be computed ``size`` elements at a time."""
    usual = base.MANY, elementwise.PIECE
    base.MANY, elementwise.PIECE = min(usual[0], size - 1), size
    try:
        yield
    finally:
        base.MANY, elementwise.PIECE = usual


def check_function(function: Callable[..., Any], xs: list[Tensor], draw: Draw) -> None:
    seed = draw.integer(0, 2**32 - 1)
    gradcheck(function, xs, fast_mode=True, seed=seed, **TOLERANCE)
    gradgradcheck(function, xs, fast_mode=True, seed=seed, **TOLERANCE)
    check_twins(function, xs, seed)


def check_twins(function: Callable[..., Any], xs: list[Tensor], seed: int) -> None:
    """With and without ``create_graph`` the gradient is the same: other code may have computed it."""
    y = function(*xs)
    g = Tensor.wrap(np.random.default_rng(seed).normal(size=y.shape))
    ordinary = grad(y, xs, g, retain_graph=True, allow_unused=True)
    recorded = grad(y, xs, g, create_graph=True, allow_unused=True)
    for a, b in zip(ordinary, recorded, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            np.testing.assert_allclose(b.detach().numpy(), a.numpy(), rtol=1e-10, atol=1e-12)


# -- manners ----------------------------------------------------------------------------------------------------------


@contextmanager
def watching() -> Iterator[list[tuple[Op, list[Any]]]]:
    """Collect what every op hands back on the way back: (op, gradients)."""
    original, seen = Op.pull, []

    def pull(self: Op, cotangents: list[Any], create_graph: bool) -> list[Any]:
        results = original(self, cotangents, create_graph)
        seen.append((self, list(results)))
        return results

    Op.pull = pull  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        Op.pull = original  # type: ignore[method-assign]


def check_manners(op: type[Op], draw: Draw) -> None:
    """What a gradient must be beside right: of its input's dtype and shape, computed only if wanted, harmless."""
    drawn, function = draw_sample(op, draw)
    arrays = [present(draw, np.asarray(a, np.float32)) for a in drawn]
    before = [memory_of(a).copy() for a in arrays]

    plain = function(*[Tensor.wrap(a) for a in arrays])
    assert plain.grad_fn is None and not plain.requires_grad
    raw = np.asarray(function(*arrays))
    assert raw.dtype == plain.dtype
    np.testing.assert_array_equal(raw, plain.numpy(), strict=True)

    chosen = [draw.flag() for _ in arrays]
    wanted = chosen if any(chosen) else [True] * len(arrays)
    xs = [Tensor.wrap(a).requires_grad_(w) for a, w in zip(arrays, wanted, strict=True)]
    y = function(*xs)
    np.testing.assert_array_equal(y.detach().numpy(), plain.numpy(), strict=True)
    assert y.requires_grad
    if op.__name__ != "Cast":
        assert y.dtype == np.float32
    g = present(draw, np.asarray(draw.generator().normal(size=y.shape), y.dtype))
    cotangent_before = memory_of(g).copy()
    with watching() as seen:
        y.backward(Tensor.wrap(g))

    for node, gradients in seen:
        for edge, gradient in zip(node.edges, gradients, strict=True):
            if edge is None:
                assert gradient is None, f"{node.name} computed a gradient that nobody wanted"
            elif op.__name__ != "Cast":
                assert gradient.dtype == np.float32, f"{node.name} made a {gradient.dtype} gradient of float32 input"
    for x, a, w in zip(xs, arrays, wanted, strict=True):
        assert (x.grad is not None) == w
        if x.grad is not None:
            assert x.grad.dtype == np.float32 and x.grad.shape == a.shape
            assert not np.shares_memory(x.grad.array, a) and not np.shares_memory(x.grad.array, g)
    for a, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(memory_of(a), old)
    np.testing.assert_array_equal(memory_of(g), cotangent_before)


# -- where paths meet -------------------------------------------------------------------------------------------------


def check_paths(draw: Draw) -> None:
    """Gradients that reach a Tensor along several paths are added: in a drawn graph of a few simple ops."""
    shape = draw.choice([(), (2,), (2, 3)])
    arrays = [draw.array(shape, reals(-1, 1)) for _ in range(draw.integer(1, 2))]
    steps = [
        (draw.choice(["add", "sub", "mul", "sin", "twice", "view"]), draw.integer(0, 9), draw.integer(0, 9))
        for _ in range(draw.integer(2, 8))
    ]

    def function(*xs: Tensor) -> Tensor:
        made = list(xs)
        for name, i, j in steps:
            a, b = made[-1 - i % len(made)], made[-1 - j % len(made)]
            made.append(
                {
                    "add": lambda a, b: (a + b) * 0.5,  # all values stay below 1, and so do the third derivatives
                    "sub": lambda a, b: (a - b) * 0.5,
                    "mul": lambda a, b: a * b * 0.5,
                    "sin": lambda a, b: minidl.sin(a),
                    "twice": lambda a, b: (a + a) * 0.5,
                    "view": lambda a, b: a.reshape(-1).reshape(a.shape),
                }[name](a, b)
            )
        total = made[-1]
        for x in made[:-1]:
            total = total + x
        return total

    check_function(function, [leaf(present(draw, np.asarray(a))) for a in arrays], draw)


# -- kinks ------------------------------------------------------------------------------------------------------------


class Kink(NamedTuple):
    """The gradients of ``function`` at ``inputs``, for a cotangent (2, 3, 4, … unless given)."""

    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    gradients: tuple[Any, ...]
    cotangent: Any = None


KINKS: dict[str, list[Kink]] = {
    "Abs": [Kink(abs, ([-1.0, 0.0, 1.0],), ([-2.0, 0.0, 4.0],))],
    "ReLU": [Kink(minidl.relu, ([-1.0, 0.0, 1.0],), ([0.0, 0.0, 4.0],))],
    "Clamp": [Kink(lambda x: minidl.clamp(x, -1, 1), ([-2.0, -1.0, 1.0, 2.0],), ([0.0, 3.0, 4.0, 0.0],))],
    "Maximum": [Kink(minidl.maximum, ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]), ([0.0, 1.5, 4.0], [2.0, 1.5, 0.0]))],
    "Minimum": [Kink(minidl.minimum, ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]), ([2.0, 1.5, 0.0], [0.0, 1.5, 4.0]))],
    "Max": [
        Kink(lambda x: minidl.amax(x, 1), ([[1.0, 5.0, 5.0], [3.0, 3.0, 3.0]],), ([[0.0, 1.0, 1.0], [1.0, 1.0, 1.0]],)),
        Kink(minidl.amax, ([[1.0, 5.0], [5.0, 5.0]],), ([[0.0, 2 / 3], [2 / 3, 2 / 3]],)),
    ],
    "Min": [
        Kink(lambda x: minidl.amin(x, 1), ([[1.0, 5.0, 1.0], [3.0, 3.0, 3.0]],), ([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]],))
    ],
    "MaxPool2d": [Kink(lambda x: F.max_pool2d(x, 2), ([[[[5.0, 5.0], [5.0, 5.0]]]],), ([[[[2.0, 0.0], [0.0, 0.0]]]],))],
    "Pow": [
        Kink(minidl.pow, ([0.0, 0.0, 0.0], [0.0, 1.0, 3.0]), ([0.0, 3.0, 0.0], [0.0, 0.0, 0.0])),
        Kink(minidl.pow, ([2.0], [0.0]), ([0.0], [2 * np.log(2)])),
        Kink(lambda x: x**0, ([0.0, 2.0],), ([0.0, 0.0],)),
        Kink(lambda b: 0.0**b, ([0.0, 1.0, -1.0, -1.0],), ([0.0, 0.0, -np.inf, np.inf],), [2.0, 3.0, 4.0, -5.0]),
    ],
    "Norm2": [Kink(lambda x: minidl.norm(x, dim=1), ([[0.0, 0.0], [3.0, 4.0]],), ([[0.0, 0.0], [1.8, 2.4]],))],
    "LogSumExp": [
        Kink(lambda x: minidl.logsumexp(x, 1), ([[-np.inf, -np.inf], [-np.inf, 0.0]],), ([[0.0, 0.0], [0.0, 3.0]],)),
        Kink(lambda x: minidl.logsumexp(x, 0), ([1000.0, 1000.0],), ([1.0, 1.0],)),
    ],
    "embedding": [  # the padding row gets none
        Kink(lambda w: F.embedding(minidl.tensor([1, 0, 1]), w, 1), ([[5.0], [6.0], [7.0]],), ([[3.0], [0.0], [0.0]],)),
        Kink(
            lambda w: F.embedding(minidl.tensor([2, 0, 1]), w, -1), ([[5.0], [6.0], [7.0]],), ([[3.0], [4.0], [0.0]],)
        ),
    ],
    "hardtanh": [Kink(F.hardtanh, ([-1.0, 0.5, 1.0],), ([0.0, 3.0, 0.0],))],
    "norm": [Kink(lambda x: minidl.norm(x, 3), ([0.0, 0.0],), ([0.0, 0.0],))],
    "std": [
        Kink(lambda x: minidl.std(x, 1, unbiased=False), ([[1.0, 1.0], [1.0, 3.0]],), ([[0.0, 0.0], [-1.5, 1.5]],))
    ],
}


def check_kink(kink: Kink) -> None:
    xs = [leaf(np.array(x)) for x in kink.inputs]
    y = kink.function(*xs)
    g = Tensor.wrap(np.reshape(np.arange(y.numel()) + 2.0 if kink.cotangent is None else kink.cotangent, y.shape))
    for create_graph in (False, True):
        found = grad(y, xs, g, retain_graph=True, create_graph=create_graph)
        for actual, expected in zip(found, kink.gradients, strict=True):
            np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=1e-12, atol=0)
