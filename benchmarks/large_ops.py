"""Operations on tensors so large that memory or arithmetic decides; each says how much of either it needs at least.

Bytes are those of float32 tensors that must be read and written once (batch normalisation in training: its input twice,
since the statistics come before the result). A convolution counts the multiplications and additions of its definition, so an
algorithm that needs fewer, such as Winograd's, may go beyond 100% of the machine.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from benchmarks.kit import Case, Kit

FLOAT = 4  # bytes
CASES: dict[str, Case] = {}


def _convolution(n: int, c_in: int, c_out: int, size: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
    """Three cases: forward, gradient to the input, gradient to the weight. Padding keeps the size (at stride 1)."""
    shape, weight = (n, c_in, size, size), (c_out, c_in // groups, kernel, kernel)
    out = (size + 2 * (kernel // 2) - kernel) // stride + 1
    depthwise = groups == c_in
    work: float = 2 * n * out * out * prod(weight)
    if depthwise:  # so little arithmetic that memory decides
        work = FLOAT * n * (c_in * size * size + c_out * out * out)

    def apply(kit: Kit, x: Any, w: Any) -> Any:
        return kit.functional.conv2d(x, w, None, stride, kernel // 2, 1, groups)

    def forward(kit: Kit) -> Callable[[], Any]:
        x, w = kit.array(*shape), kit.weights(*weight)
        return kit.without_graph(lambda: apply(kit, x, w))

    def to_input(kit: Kit) -> Callable[[], Any]:
        x = kit.array(*shape, grad=True)
        return kit.gradient(apply(kit, x, kit.weights(*weight)), [x])

    def to_weight(kit: Kit) -> Callable[[], Any]:
        w = kit.weights(*weight, grad=True)
        return kit.gradient(apply(kit, kit.array(*shape), w), [w])

    extra = f" stride {stride}" * (stride > 1) + f" {groups} groups" * (groups > 1 and not depthwise)
    name = f"{'depthwise' if depthwise else 'conv'} {kernel}×{kernel}{extra} {n}×{c_in}×{size}²→{c_out}"
    for kind, build in (("forward", forward), ("input grad", to_input), ("weight grad", to_weight)):
        CASES[f"{name}, {kind}"] = Case(build, work, "B" if depthwise else "FLOP", images=True)


def _two_ways(
    name: str,
    shape: tuple[int, ...],
    apply: Callable[[Kit, list[Any]], Any],
    passes: tuple[float, float],
    inputs: int = 1,
) -> None:
    """Forward and backward. ``passes``: how many tensors of ``shape`` each reads and writes at least; 0 leaves it out."""

    def forward(kit: Kit) -> Callable[[], Any]:
        tensors = [kit.array(*shape) for _ in range(inputs)]
        return kit.without_graph(lambda: apply(kit, tensors))

    def backward(kit: Kit) -> Callable[[], Any]:
        tensors = [kit.array(*shape, grad=True) for _ in range(inputs)]
        return kit.gradient(apply(kit, tensors), tensors)

    size = FLOAT * prod(shape)
    for kind, build, count in (("forward", forward, passes[0]), ("backward", backward, passes[1])):
        if count:
            CASES[f"{name} {'×'.join(map(str, shape))}, {kind}"] = Case(
                build, count * size, "B", images=len(shape) == 4
            )


def _batch_norm(shape: tuple[int, int, int, int], training: bool = True) -> None:
    """With weight and bias: forward, and the gradient to all three. Without ``training`` by given statistics."""
    channels = shape[1]

    def apply(kit: Kit, x: Any, w: Any, b: Any, running: list[Any]) -> Any:
        return kit.functional.batch_norm(x, *running, w, b, training=training)

    def running(kit: Kit) -> list[Any]:
        return [kit.dl.zeros(channels), kit.dl.ones(channels)]

    def forward(kit: Kit) -> Callable[[], Any]:
        x, w, b, kept = kit.array(*shape), kit.weights(channels), kit.weights(channels), running(kit)
        return kit.without_graph(lambda: apply(kit, x, w, b, kept))

    def backward(kit: Kit) -> Callable[[], Any]:
        x, w, b = kit.array(*shape, grad=True), kit.weights(channels, grad=True), kit.weights(channels, grad=True)
        return kit.gradient(apply(kit, x, w, b, running(kit)), [x, w, b])

    size = FLOAT * prod(shape)
    name = f"{'' if training else 'frozen '}batch_norm {'×'.join(map(str, shape))}"
    CASES[f"{name}, forward"] = Case(forward, (3 if training else 2) * size, "B", images=True)
    CASES[f"{name}, backward"] = Case(backward, (5 if training else 3) * size, "B", images=True)


def _cross_entropy(n: int, classes: int) -> None:
    """Forward and the gradient together, as an engine may do them in one pass."""

    def build(kit: Kit) -> Callable[[], Any]:
        x, y = kit.array(n, classes, grad=True), kit.labels(n, classes)

        def run() -> None:
            x.grad = None
            kit.functional.cross_entropy(x, y).backward()

        return run

    CASES[f"cross_entropy {n}×{classes}, forward+backward"] = Case(build, 2 * FLOAT * n * classes, "B")


def _optimizer(name: str, count: int, tensors: int, **options: float) -> None:
    """A step over eight parameters of ``count`` numbers in all; ``tensors`` of that size are read or written."""

    def build(kit: Kit) -> Callable[[], Any]:
        params = [kit.weights(count // 8, grad=True) for _ in range(8)]
        for p in params:
            p.grad = kit.weights(count // 8)
        return getattr(kit.dl.optim, name)(params, **options).step

    CASES[f"{name} step, {count >> 20} Mi numbers"] = Case(build, tensors * FLOAT * count, "B")


def _matmul(n: int, k: int, m: int) -> None:
    def build(kit: Kit) -> Callable[[], Any]:
        a, b = kit.array(n, k), kit.array(k, m)
        return kit.without_graph(lambda: a @ b)

    CASES[f"matmul {n}×{k} by {k}×{m}"] = Case(build, 2 * n * k * m, "FLOP")


_convolution(128, 16, 16, 32, 3)
_convolution(128, 32, 32, 16, 3)
_convolution(128, 64, 64, 8, 3)
_convolution(64, 64, 64, 32, 3)
_convolution(32, 256, 256, 8, 3)
_convolution(64, 3, 64, 32, 3)
_convolution(128, 16, 32, 32, 3, stride=2)
_convolution(128, 32, 64, 14, 5)
_convolution(64, 64, 128, 16, 1)
_convolution(16, 96, 96, 32, 3, groups=96)
_convolution(64, 64, 64, 32, 3, groups=4)
_convolution(32, 128, 128, 28, 3, groups=32)
_two_ways("max_pool2d 2", (64, 64, 32, 32), lambda kit, x: kit.functional.max_pool2d(x[0], 2), (1.25, 1.25))
_two_ways("avg_pool2d 2", (64, 64, 32, 32), lambda kit, x: kit.functional.avg_pool2d(x[0], 2), (1.25, 1.25))
_batch_norm((128, 16, 32, 32))
_batch_norm((64, 64, 32, 32))
_batch_norm((64, 64, 32, 32), training=False)
_two_ways("group_norm 8", (64, 64, 32, 32), lambda kit, x: kit.functional.group_norm(x[0], 8), (2, 3))
_two_ways("relu", (64, 64, 32, 32), lambda kit, x: kit.functional.relu(x[0]), (2, 3))
_two_ways("sigmoid", (64, 64, 32, 32), lambda kit, x: kit.functional.sigmoid(x[0]), (2, 3))
_two_ways("silu", (64, 64, 32, 32), lambda kit, x: kit.functional.silu(x[0]), (2, 3))
_two_ways("gelu", (64, 64, 32, 32), lambda kit, x: kit.functional.gelu(x[0]), (2, 3))
_two_ways("leaky_relu", (64, 64, 32, 32), lambda kit, x: kit.functional.leaky_relu(x[0], 0.1), (2, 3))
_two_ways("tanh", (64, 64, 32, 32), lambda kit, x: x[0].tanh(), (2, 3))
_two_ways("log_softmax", (4096, 1000), lambda kit, x: kit.functional.log_softmax(x[0], 1), (2, 3))
_two_ways("layer_norm", (4096, 512), lambda kit, x: kit.functional.layer_norm(x[0], (512,)), (2, 3))
_two_ways("add", (64, 64, 32, 32), lambda kit, x: x[0] + x[1], (3, 0), inputs=2)
_two_ways("mul", (64, 64, 32, 32), lambda kit, x: x[0] * x[1], (3, 5), inputs=2)
_two_ways("sum", (64, 64, 32, 32), lambda kit, x: x[0].sum(), (1, 1))
_two_ways("mean of rows and columns", (64, 64, 32, 32), lambda kit, x: x[0].mean((2, 3)), (1, 1))
_two_ways("cat", (64, 64, 32, 32), lambda kit, x: kit.dl.cat(x, 1), (4, 4), inputs=2)
_two_ways("pad 1", (64, 64, 32, 32), lambda kit, x: kit.functional.pad(x[0], (1, 1, 1, 1)), (2, 2))
_two_ways("dropout 0.5", (64, 64, 32, 32), lambda kit, x: kit.functional.dropout(x[0], 0.5, True), (2, 2))
_cross_entropy(4096, 1000)
_optimizer("SGD", 1 << 22, 5, lr=1e-3, momentum=0.9, weight_decay=1e-4)
_optimizer("Adam", 1 << 22, 7, lr=1e-3)
_matmul(1024, 1024, 1024)
_matmul(128, 3136, 128)
