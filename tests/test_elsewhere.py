"""Every op and every layer, forward and backward, on another device than the CPU; see ``tests/elsewhere.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl
from minidl import nn
from minidl.autograd import grad
from minidl.ops.base import registry
from minidl.ops.samples import Draw, draw_sample
from minidl.tensor import Tensor
from tests.composites import COMPOSITES
from tests.drawing import Hypothesis, present
from tests.elsewhere import elsewhere, same
from tests.gradient_checks import OPS
from tests.strict.guards import count_syncs, count_uploads


def there(x: Any) -> Tensor:
    """The numbers as a Tensor on the other device."""
    return Tensor.wrap(elsewhere.from_numpy(np.asarray(x)))


# What makes the CPU wait for the GPU. The size of what a mask selects must be known; `gather` and
# `cross_entropy` check their indices.
WAITS = {"CrossEntropy": {"int"}, "Gather": {"int"}, "GetItem": {"mask"}, "ScatterAdd": {"mask"}, "Transfer": {"get"}}


def check_elsewhere(
    function: Callable[..., Any], arrays: list[np.ndarray], seed: int, waits: set[str] | None = None
) -> None:
    ours = [Tensor.wrap(a).requires_grad_() for a in arrays]
    theirs = [there(a).requires_grad_() for a in arrays]
    y = function(*ours)
    with count_syncs() as syncs:
        z = function(*theirs)
    if waits is not None:
        assert not set(syncs) - waits, f"the call waits for the GPU: {syncs}"
    same(z, y, 1e-12)
    g = np.random.default_rng(seed).normal(size=y.shape)
    expected = grad(y, ours, Tensor.wrap(g), allow_unused=True)
    cotangent = there(g)
    with count_syncs() as syncs, count_uploads() as uploads:
        actual = grad(z, theirs, cotangent, allow_unused=True)
    if waits is not None:
        assert not set(syncs) - waits, f"the way back waits for the GPU: {syncs}"
        assert not uploads or "get" in waits, f"the way back copies to the GPU: {uploads}"
    for a, b in zip(actual, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            same(a, b, 1e-12)


@pytest.mark.parametrize("name", OPS)
@settings(max_examples=15, deadline=None, derandomize=False, print_blob=True)
@given(st.data())
def test_ops(name: str, data: st.DataObject) -> None:
    draw = Draw(Hypothesis(data))
    arrays, function = draw_sample(registry[name], draw)
    waits = WAITS.get(name, set())
    check_elsewhere(function, [present(draw, np.asarray(a)) for a in arrays], draw.integer(0, 2**32 - 1), waits)


@pytest.mark.parametrize("name", COMPOSITES)
@settings(max_examples=15, deadline=None, derandomize=False, print_blob=True)
@given(st.data())
def test_composites(name: str, data: st.DataObject) -> None:
    draw = Draw(Hypothesis(data))
    arrays, function = COMPOSITES[name](draw)
    check_elsewhere(function, [present(draw, np.asarray(a)) for a in arrays], draw.integer(0, 2**32 - 1))


# -- layers -----------------------------------------------------------------------------------------------------------

IMAGE, ROWS, SEQUENCE = (2, 4, 6, 5), (3, 6), (2, 4, 7)
LABELS = np.array([1, 0, 5])
ONE = np.array([1, -1, 1])

# module, then what its forward takes: a shape stands for random numbers
LAYERS: dict[str, tuple[Callable[[], nn.Module], list[Any]]] = {
    "CELU": (lambda: nn.CELU(0.7), [ROWS]),
    "ELU": (lambda: nn.ELU(0.7), [ROWS]),
    "GELU": (lambda: nn.Sequential(nn.GELU(), nn.GELU("tanh")), [ROWS]),
    "SELU": (nn.SELU, [ROWS]),
    "Hardsigmoid": (nn.Hardsigmoid, [ROWS]),
    "Hardswish": (nn.Hardswish, [ROWS]),
    "Hardtanh": (nn.Hardtanh, [ROWS]),
    "LeakyReLU": (nn.LeakyReLU, [ROWS]),
    "LogSigmoid": (nn.LogSigmoid, [ROWS]),
    "LogSoftmax": (lambda: nn.LogSoftmax(1), [ROWS]),
    "Mish": (nn.Mish, [ROWS]),
    "PReLU": (lambda: nn.PReLU(4), [IMAGE]),
    "ReLU": (nn.ReLU, [ROWS]),
    "ReLU6": (nn.ReLU6, [ROWS]),
    "Sigmoid": (nn.Sigmoid, [ROWS]),
    "SiLU": (nn.SiLU, [ROWS]),
    "Softmax": (lambda: nn.Softmax(1), [ROWS]),
    "Softplus": (nn.Softplus, [ROWS]),
    "Softsign": (nn.Softsign, [ROWS]),
    "Tanh": (nn.Tanh, [ROWS]),
    "Sequential": (lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)), [ROWS]),
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, 2, 1, groups=2), [SEQUENCE]),
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3, 2, 1, groups=2, padding_mode="reflect"), [IMAGE]),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), [IMAGE]),
    "Dropout": (lambda: nn.Dropout(0.4), [ROWS]),
    "Dropout1d": (lambda: nn.Dropout1d(0.4), [SEQUENCE]),
    "Dropout2d": (lambda: nn.Dropout2d(0.4), [IMAGE]),
    "Embedding": (lambda: nn.Embedding(6, 3, padding_idx=1), [LABELS]),
    "Flatten": (nn.Flatten, [IMAGE]),
    "Identity": (nn.Identity, [ROWS]),
    "Linear": (lambda: nn.Linear(6, 4), [ROWS]),
    "Unflatten": (lambda: nn.Unflatten(1, (2, 3)), [ROWS]),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(6), [ROWS]),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4, momentum=None), [IMAGE]),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), [IMAGE]),
    "LayerNorm": (lambda: nn.LayerNorm([6, 5]), [IMAGE]),
    "LocalResponseNorm": (lambda: nn.LocalResponseNorm(3, alpha=0.5), [IMAGE]),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d((4, 2)), [IMAGE]),
    "AdaptiveMaxPool2d": (lambda: nn.AdaptiveMaxPool2d((4, 2)), [IMAGE]),
    "AvgPool2d": (lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), [IMAGE]),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True), [IMAGE]),
    "BCELoss": (lambda: FirstThen(nn.Sigmoid(), nn.BCELoss()), [ROWS, np.eye(3, 6)]),
    "BCEWithLogitsLoss": (lambda: nn.BCEWithLogitsLoss(pos_weight=minidl.full((6,), 2.0)), [ROWS, np.eye(3, 6)]),
    "CrossEntropyLoss": (
        lambda: nn.CrossEntropyLoss(minidl.arange(1.0, 7.0), ignore_index=0, label_smoothing=0.1), [ROWS, LABELS]
    ),
    "HingeEmbeddingLoss": (nn.HingeEmbeddingLoss, [(3,), ONE]),
    "HuberLoss": (lambda: nn.HuberLoss(delta=0.3), [ROWS, ROWS]),
    "KLDivLoss": (lambda: nn.KLDivLoss(reduction="batchmean"), [ROWS, np.full((3, 6), 1 / 6)]),
    "L1Loss": (nn.L1Loss, [ROWS, ROWS]),
    "MSELoss": (nn.MSELoss, [ROWS, ROWS]),
    "MultiMarginLoss": (lambda: nn.MultiMarginLoss(weight=minidl.arange(1.0, 7.0)), [ROWS, LABELS]),
    "NLLLoss": (lambda: nn.NLLLoss(minidl.arange(1.0, 7.0), ignore_index=0), [ROWS, LABELS]),
    "SmoothL1Loss": (lambda: nn.SmoothL1Loss(beta=0.3), [ROWS, ROWS]),
}  # fmt: skip
NOT_CALLED = {"Module", "ModuleDict", "ModuleList", "ParameterList"}


def test_every_layer_is_here() -> None:
    layers = {n for n in nn.__all__ if isinstance(getattr(nn, n), type) and issubclass(getattr(nn, n), nn.Module)}
    assert set(LAYERS) == layers - NOT_CALLED


class FirstThen(nn.Module):
    """A loss behind a layer that brings the scores into its range."""

    def __init__(self, layer: nn.Module, loss: nn.Module) -> None:
        super().__init__()
        self.layer, self.loss = layer, loss

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return self.loss(self.layer(input), target)


def step(make: Callable[[], nn.Module], arguments: list[np.ndarray], device: str) -> tuple[list[Tensor], nn.Module]:
    """A training step: the output, the gradients and what it leaves in the module."""
    minidl.manual_seed(3)
    module = make()
    module.train()
    module.to(device)
    given = [Tensor.wrap(a) if device == "cpu" else there(a) for a in arguments]
    if given[0].is_floating_point():
        given[0].requires_grad_()
    y = module(*given)
    g = np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
    y.backward(Tensor.wrap(np.asarray(g)) if device == "cpu" else there(g))
    found = [y, *(x.grad for x in given if x.grad is not None), *(p.grad for p in module.parameters())]
    if list(module.parameters()):
        minidl.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01).step()
    return [*found, *module.state_dict().values()], module


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    make, shapes = LAYERS[name]
    rng = np.random.default_rng(0)
    arguments = [rng.normal(size=a).astype(np.float32) if isinstance(a, tuple) else a for a in shapes]
    arguments = [a.astype(np.float32) if a.dtype.kind == "f" else a for a in arguments]
    expected, _ = step(make, arguments, "cpu")
    found, module = step(make, arguments, elsewhere.name)
    assert all(p.device.type == elsewhere.name for p in module.parameters())
    for a, b in zip(found, expected, strict=True):
        same(a, b, 2e-6)
