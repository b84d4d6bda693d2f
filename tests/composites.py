"""Functions made of several ops, with what their gradient tests shall draw (as ``samples`` does for an op).

Their parts are checked as ops; checked here is that they are put together right, above all where a part is held
constant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minidl
from minidl.nn import functional as F
from minidl.ops.base import backend_of_any
from minidl.ops.samples import Draw, Reals, Sample, reals
from minidl.tensor import Tensor

COMPOSITES: dict[str, Callable[[Draw], Sample]] = {}


def composite(sample: Callable[[Draw], Sample]) -> Callable[[Draw], Sample]:
    COMPOSITES[sample.__name__] = sample
    return sample


def pointwise(function: Callable[..., Any], *specs: Reals) -> Callable[[Draw], Sample]:
    """For a function that treats every element alike."""

    def sample(draw: Draw) -> Sample:
        shape = draw.shape()
        return tuple(draw.array(shape, spec) for spec in specs), function

    return sample


def like(array: np.ndarray, x: Any) -> Tensor:
    """A constant on the device of x, in its dtype if both hold real numbers."""
    constant = array.astype(x.dtype) if array.dtype.kind == "f" else array
    return Tensor.wrap(backend_of_any(x).from_numpy(constant))


LINE = reals(-3, 3)
COMPOSITES |= {
    "mish": pointwise(F.mish, LINE),
    "hardtanh": pointwise(lambda x: F.hardtanh(x, -1, 2), reals(-4, 4, kinks=[-1, 2])),
    "relu6": pointwise(F.relu6, reals(-4, 9, kinks=[0, 6])),
    "hardswish": pointwise(F.hardswish, reals(-5, 5, kinks=[-3, 3])),
    "hardsigmoid": pointwise(F.hardsigmoid, reals(-5, 5, kinks=[-3, 3])),
    "softsign": pointwise(F.softsign, reals(-3, 3, kinks=[0])),
    "tanhshrink": pointwise(F.tanhshrink, LINE),
    "logsigmoid": pointwise(F.logsigmoid, reals(-30, 30)),
    "threshold": pointwise(lambda x: F.threshold(x, 0.5, 7.0), reals(-3, 3, kinks=[0.5])),
    "lerp": pointwise(minidl.lerp, LINE, LINE, reals(0, 1)),
    "addcmul": pointwise(lambda a, b, c: minidl.addcmul(a, b, c, value=0.3), LINE, LINE, LINE),
    "addcdiv": pointwise(lambda a, b, c: minidl.addcdiv(a, b, c, value=0.3), LINE, LINE, reals(0.5, 2)),
    "frac": pointwise(minidl.frac, reals(1.1, 1.9)),
    "clamp_by_tensors": pointwise(minidl.clamp, LINE, reals(-6, -4), reals(4, 6)),
    "addmm": lambda draw: (
        (draw.array((3, 2)), draw.array((3, 4)), draw.array((4, 2))),
        lambda *xs: minidl.addmm(*xs, beta=0.5, alpha=3.0),
    ),
    "outer": lambda draw: ((draw.array((3,)), draw.array((4,))), minidl.outer),
    "tensordot": lambda draw: (
        (draw.array((2, 3, 4)), draw.array((4, 3, 2))), lambda a, b: minidl.tensordot(a, b, ([1, 2], [1, 0]))
    ),
    "glu": lambda draw: ((draw.array((3, 4)),), lambda x: F.glu(x, 1)),
    "repeat_interleave": lambda draw: ((draw.array((3, 2)),), lambda x: minidl.repeat_interleave(x, 2, 1)),
    "tile": lambda draw: ((draw.array((3, 2)),), lambda x: minidl.tile(x, (2, 1, 3))),
    "group_norm": lambda draw: (
        (draw.array((2, 4, 3)) * 2, draw.array((4,)), draw.array((4,))), lambda x, w, b: F.group_norm(x, 2, w, b, 0.1)
    ),
    "layer_norm": lambda draw: (
        (draw.array((2, 4, 3)) * 2, draw.array((4, 3)), draw.array((4, 3))),
        lambda x, w, b: F.layer_norm(x, (4, 3), w, b, 0.1),
    ),
    "local_response_norm": lambda draw: (
        (draw.array((2, 5, 3)),), lambda x: F.local_response_norm(x, 3, alpha=0.7, beta=0.75, k=1.2)
    ),
    "normalize": lambda draw: ((draw.array((3, 4), reals(0.3, 2)),), lambda x: F.normalize(x, dim=1)),
    "cosine_similarity": lambda draw: (
        (draw.array((3, 4), reals(0.3, 2)), draw.array((3, 4), reals(-2, -0.3))), F.cosine_similarity
    ),
    "conv1d": lambda draw: (
        (draw.array((2, 4, 7)), draw.array((6, 2, 3)), draw.array((6,))),
        lambda x, w, b: F.conv1d(x, w, b, stride=2, padding=1, groups=2),
    ),
    "conv_transpose2d": lambda draw: (
        (draw.array((2, 4, 3, 2)), draw.array((4, 3, 3, 2)), draw.array((6,))),
        lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1, groups=2),
    ),
}  # fmt: skip


@composite
def std(draw: Draw) -> Sample:
    x = draw.array(draw.shape(1, 3, 4), distinct=True)
    dims, keepdim = draw.dims(x.ndim), draw.flag()
    return (x + draw.array(x.shape),), lambda x: minidl.std(x, dims, correction=0, keepdim=keepdim)


@composite
def norm(draw: Draw) -> Sample:
    p = draw.choice([1, 3, 2.5, float("inf"), -float("inf"), "fro"])
    x = draw.array(draw.shape(1, 3), distinct=True)
    x = (x - x.min() + 0.3) * np.where(draw.array(x.shape) > 0, 1.0, -1.0)  # no two of one size
    dims, keepdim = draw.dims(x.ndim), draw.flag()
    return (x,), lambda x: minidl.norm(x, p, dims, keepdim)


@composite
def products(draw: Draw) -> Sample:
    x = draw.array(draw.shape(1, 3))
    if draw.flag():
        x[np.unravel_index(draw.integer(0, x.size - 1), x.shape)] = 0.0
    dim = draw.dim(x.ndim)
    return (x,), draw.choice([minidl.prod, lambda x: minidl.prod(x, dim), lambda x: minidl.cumprod(x, dim)])


@composite
def ordered(draw: Draw) -> Sample:
    x = draw.array(draw.shape(1, 3), distinct=True)
    dim, down = draw.dim(x.ndim), draw.flag()
    k = draw.integer(1, x.shape[dim])
    return (x,), draw.choice(
        [
            lambda x: minidl.sort(x, dim, down).values,
            lambda x: minidl.topk(x, k, dim, largest=down).values,
            lambda x: minidl.max(x, dim).values,
            lambda x: minidl.min(x, dim, keepdim=True).values,
        ]
    )


@composite
def masked(draw: Draw) -> Sample:
    x = draw.array((3, 4))
    mask = draw.array((3, 4)) > 0
    return (x,), draw.choice(
        [lambda x: minidl.masked_select(x, like(mask, x)), lambda x: minidl.masked_fill(x, like(mask, x), 2.0)]
    )


@composite
def scattered(draw: Draw) -> Sample:
    x, source = draw.array((3, 4)), draw.array((2, 4))
    index = np.array([[0, 1, 2, 0], [1, 2, 0, 1]])
    rows = draw.indices((2,), 3)
    return (x, source), draw.choice(
        [
            lambda x, s: minidl.scatter(x, 0, like(index, x), s),
            lambda x, s: minidl.scatter_add(x, 0, like(index * 0, x), s),
            lambda x, s: minidl.index_add(x, 0, like(rows, x), s, alpha=0.5),
        ]
    )


@composite
def embedding(draw: Draw) -> Sample:
    index = draw.indices((2, 3), 4)
    return (draw.array((4, 3)),), lambda w: F.embedding(like(index, w), w)


@composite
def prelu(draw: Draw) -> Sample:
    x = draw.array((2, 3, 2), reals(-3, 3, kinks=[0]))
    return (x, draw.array((draw.choice([1, 3]),))), F.prelu


@composite
def pad(draw: Draw) -> Sample:
    mode = draw.choice(["reflect", "replicate", "circular"])
    widths = [draw.integer(0, 2) for _ in range(4)]
    return (draw.array((1, 2, 3, 4)),), lambda x: F.pad(x, widths, mode)


@composite
def adaptive_pool(draw: Draw) -> Sample:
    out = draw.integer(1, 4), draw.integer(1, 5)
    pool = draw.choice([F.adaptive_avg_pool2d, F.adaptive_max_pool2d])
    return (draw.array((2, 2, 4, 5), distinct=True),), lambda x: pool(x, out)


@composite
def batch_norm(draw: Draw) -> Sample:
    x = draw.array((3, 2, 2)) * 2
    mean, variance, training = draw.array((2,)), draw.array((2,), reals(0.5, 2)), draw.flag()
    return (x, draw.array((2,)), draw.array((2,))), lambda x, w, b: F.batch_norm(
        x, like(mean.copy(), x), like(variance.copy(), x), w, b, training, 0.1, 0.1
    )


def _reduction(draw: Draw) -> str:
    return draw.choice(["mean", "sum", "none"])


@composite
def cross_entropy(draw: Draw) -> Sample:
    shape = draw.choice([(4,), (3, 4), (2, 4, 3)])
    x, reduction, smoothing = draw.array(shape), _reduction(draw), draw.choice([0.0, 0.2])
    classes = shape[0] if len(shape) == 1 else shape[1]
    weight = draw.choice([None, np.arange(1.0, classes + 1)])
    if draw.flag():
        target = draw.array(shape, reals(0.1, 1))
        return (x, target), lambda x, t: F.cross_entropy(
            x, t, None if weight is None else like(weight, x), reduction=reduction, label_smoothing=smoothing
        )
    labels = draw.indices((shape[0], *shape[2:]) if len(shape) > 1 else (), classes)
    labels = np.asarray(labels)
    if labels.size > 1:
        labels.ravel()[0] = -100
        labels.ravel()[1] = 0
    return (x,), lambda x: F.cross_entropy(
        x, like(labels, x), None if weight is None else like(weight, x), reduction=reduction, label_smoothing=smoothing
    )


@composite
def regression_losses(draw: Draw) -> Sample:
    x, reduction = draw.array((3, 4), reals(-3, 3, kinks=[-0.7, 0, 0.7])), _reduction(draw)
    loss: Any = draw.choice(
        [
            F.mse_loss,
            F.l1_loss,
            lambda x, t, reduction: F.huber_loss(x, t, reduction, 0.7),
            lambda x, t, reduction: F.smooth_l1_loss(x, t, reduction, 0.7),
        ]
    )
    shift = draw.array((3, 4))
    return (x + shift, shift), lambda x, t: loss(x, t, reduction=reduction)


@composite
def two_class_losses(draw: Draw) -> Sample:
    reduction, weight = _reduction(draw), draw.choice([None, draw.array((3, 4), reals(0.5, 2))])
    target, positive = draw.array((3, 4), reals(0, 1)), draw.array((4,), reals(0.5, 2))
    given = lambda w, x: None if w is None else like(w, x)  # noqa: E731
    if draw.flag():
        p = draw.array((3, 4), reals(0.25, 0.75))
        return (p, target), lambda p, t: F.binary_cross_entropy(p, t, given(weight, p), reduction)
    pos = draw.choice([None, positive])
    return (draw.array((3, 4)), target), lambda x, t: F.binary_cross_entropy_with_logits(
        x, t, given(weight, x), reduction, given(pos, x)
    )


@composite
def margin_losses(draw: Draw) -> Sample:
    x, reduction, p = draw.array((3, 4), distinct=True), _reduction(draw), draw.integer(1, 2)
    labels, signs = draw.indices((3,), 4), np.where(draw.array((3, 4)) > 0, 1.0, -1.0)
    far = draw.array((3, 4), reals(-3, 3, kinks=[-1, 0, 1]))
    return draw.choice(
        [
            ((x,), lambda x: F.multi_margin_loss(x, like(labels, x), p, 0.55, reduction=reduction)),
            ((far,), lambda x: F.hinge_embedding_loss(x, like(signs, x), reduction=reduction)),
            ((far,), lambda x: F.hinge_loss(x, like(signs, x), reduction)),
        ]
    )


@composite
def kl_div(draw: Draw) -> Sample:
    reduction, logs = draw.choice(["mean", "sum", "none", "batchmean"]), draw.flag()
    return (draw.array((3, 4)), draw.array((3, 4), reals(0.1, 1))), lambda x, t: F.kl_div(x, t, reduction, logs)
