"""Loss functions. ``reduction`` is ``"mean"`` (the default), ``"sum"`` or ``"none"``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.backend import backend_of
from minidl.ops.base import Elementwise, Op, at_place, backend_of_any, raw, same_device
from minidl.ops.gathering import gather
from minidl.ops.reduction import mean, sum
from minidl.ops.samples import reals
from minidl.ops.selection import clamp, where
from minidl.ops.shape import broadcast_to, reshape
from minidl.ops.softmax import log_softmax, softmax
from minidl.ops.unary import exp, log, log1p, softplus
from minidl.tensor import Tensor


def reduce(losses: Any, reduction: str) -> Any:
    """Apply ``reduction``.

    Raises:
        ValueError: if it is not one of the three.
    """
    if reduction == "mean":
        return mean(losses)
    if reduction == "sum":
        return sum(losses)
    if reduction == "none":
        return losses
    raise ValueError(f"{reduction} is not a valid value for reduction")


def _labels(name: str, input: Any, target: Any, ignore_index: int) -> tuple[Any, Any]:
    """Check class labels; return them with ignored ones replaced by 0, and where they count.

    Raises:
        IndexError: if a label is not a class.
    """
    same_device(name, input, target)
    labels, classes = raw(target), input.shape[1]
    if labels.dtype.kind not in "iu":
        raise RuntimeError(f"{name}: expected class labels of an integer dtype, got {labels.dtype}{at_place()}")
    expected = (input.shape[0], *input.shape[2:])
    if tuple(labels.shape) != expected:
        got = f"{name} got input {tuple(input.shape)} and target {tuple(labels.shape)}{at_place()}"
        if labels.ndim and labels.shape[0] == input.shape[0]:
            raise RuntimeError(f"expected class labels of shape {expected}: {got}")
        batch = labels.shape[0] if labels.ndim else 0
        raise ValueError(f"Expected input batch_size ({input.shape[0]}) to match target batch_size ({batch}): {got}")
    counts = labels != ignore_index
    kept = backend_of_any(input).where(counts, labels, 0)
    if kept.size and not (int(kept.min()) >= 0 and int(kept.max()) < classes):
        bad = int(kept.min()) if int(kept.min()) < 0 else int(kept.max())
        raise IndexError(out_of_bounds(name, bad, classes))
    return kept, counts


class CrossEntropy(Op):
    """The mean (or sum) over a batch of −log softmax(x)[label], for x (N, C); labels are an array (N) of integers.

    Several operations in one, because every classifier takes this step.
    """

    quiet = True
    frees = ("p",)

    def __init__(self, labels, ignore_index, mean):
        self.labels, self.ignore_index, self.mean = labels, ignore_index, mean

    def forward(self, xp, x):
        try:
            total, count, self.p = xp.cross_entropy(x, self.labels, self.ignore_index)
        except IndexError as error:
            raise IndexError(out_of_bounds("cross_entropy", error, x.shape[1])) from None
        self.scale = 1.0
        if self.mean:
            self.scale = math.nan if type(count) is int and not count else 1 / count
        return xp.asarray(total * self.scale, dtype=x.dtype)

    def vjp(self, g, x):
        if not isinstance(g, Tensor):
            return backend_of(self.p).cross_entropy_grad(self.p, self.labels, self.ignore_index, g * self.scale)
        # The plain twin of the kernel, in minidl's operators, so that it can be differentiated again.
        xp = x.backend
        counts = (self.labels != self.ignore_index)[:, None]
        onehot = (self.labels[:, None] == xp.arange(x.shape[1])).astype(x.dtype)
        return (softmax(x, 1) - onehot) * (counts * self.scale).astype(x.dtype) * g

    def samples(draw):
        n, classes = draw.integer(0, 4), draw.integer(1, 4)
        labels = draw.indices((n,), classes)
        mean = draw.flag() and n > 0
        ignore = 0 if draw.flag() and n and labels.any() else -100
        x = draw.array((n, classes))
        return (x,), lambda x: CrossEntropy(backend_of_any(x).from_numpy(labels), ignore, mean)(x)


def out_of_bounds(name: str, label: object, classes: int) -> str:
    """The message about a label that is not a class."""
    return f"Target {label} is out of bounds: {name} got {classes} classes, so labels must be 0 to {classes - 1}{at_place()}"


def nll_loss(
    input: Any, target: Any, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
) -> Any:
    """The negative log likelihood: −weight[target] · input[target], for log-probabilities ``input``.

    Args:
        input: (N, C), (N, C, …) or (C).
        target: class labels (N), (N, …) or ().
        weight: one factor per class, (C); ``"mean"`` divides by the sum of the factors used.
        ignore_index: a label that marks samples to leave out.

    Raises:
        IndexError: if a label is not a class.
        ValueError: if the shapes do not fit.
    """
    if input.ndim == 1:
        loss = nll_loss(reshape(input, (1, -1)), reshape(target, (1,)), weight, ignore_index, reduction)
        return reshape(loss, ()) if reduction == "none" else loss
    labels, counts = _labels("nll_loss", input, target, ignore_index)
    picked = gather(input, 1, Tensor.wrap(labels.reshape((labels.shape[0], 1, *labels.shape[1:]))))
    losses = -reshape(picked, labels.shape)
    factor = counts.astype(raw(input).dtype)
    if weight is not None:
        _check_weight("nll_loss", weight, input)
        factor = raw(weight)[labels] * factor
    losses = where(counts, losses, 0) * Tensor.wrap(factor)
    if reduction == "mean":
        return sum(losses) / Tensor.wrap(backend_of_any(input).asarray(factor.sum()))
    return reduce(losses, reduction)


def _check_weight(name: str, weight: Tensor, input: Any) -> None:
    if tuple(weight.shape) != (input.shape[1],):
        raise RuntimeError(
            f"weight tensor should be defined either for all {input.shape[1]} classes or no classes but got weight tensor of "
            f"shape: {list(weight.shape)} ({name}){at_place()}"
        )


def cross_entropy(
    input: Any,
    target: Any,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """The cross entropy between softmax(``input``) and the target: −Σ target · log softmax(input).

    Args:
        input: scores (logits), (N, C), (N, C, …) or (C).
        target: class labels (integers, without the class dimension), or probabilities of the input's shape and dtype.
        weight: one factor per class, (C).
        ignore_index: a label that marks samples to leave out.
        label_smoothing: this share of the target is spread evenly over all classes (Szegedy et al. 2016, section 7).

    Raises:
        IndexError: if a label is not a class.
        ValueError / RuntimeError: if shapes or dtypes do not fit.

    Example:
        >>> cross_entropy(minidl.zeros(2, 4), minidl.tensor([1, 3]))
        tensor(1.3863)
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if input.ndim == 0:
        raise RuntimeError("cross_entropy: expected scores for at least one class, got a 0-d input")
    if input.ndim == 1:
        batch = reshape(target, (1, *target.shape))
        loss = cross_entropy(reshape(input, (1, -1)), batch, weight, ignore_index, reduction, label_smoothing)
        return reshape(loss, ()) if reduction == "none" else loss
    classes = input.shape[1]
    if weight is None and not label_smoothing and reduction in ("mean", "sum") and _is_plain(input, target):
        return CrossEntropy(raw(target), ignore_index, reduction == "mean")(input)
    logs = log_softmax(input, 1)
    if raw(target).dtype.kind == "f":
        if ignore_index >= 0:
            raise RuntimeError(
                f"ignore_index is not supported for floating point target, got {ignore_index}{at_place()}"
            )
        if tuple(target.shape) != tuple(input.shape):
            raise RuntimeError(
                f"cross_entropy: expected class probabilities of shape {tuple(input.shape)} or integer class labels, got "
                f"{raw(target).dtype} of shape {tuple(target.shape)}{at_place()}"
            )
        if label_smoothing:
            target = target * (1 - label_smoothing) + label_smoothing / classes
        products = logs * target
        if weight is not None:
            _check_weight("cross_entropy", weight, input)
            products = products * reshape(weight, (-1, *[1] * (input.ndim - 2)))
        losses = -sum(products, 1)
        return sum(losses) / max(raw(losses).size, 1) if reduction == "mean" else reduce(losses, reduction)
    if input.ndim > 1 and tuple(target.shape) == tuple(input.shape):
        raise RuntimeError(
            f"Expected floating point type for target with class probabilities, got {raw(target).dtype}{at_place()}"
        )
    if not label_smoothing:
        return nll_loss(logs, target, weight, ignore_index, reduction)
    labels, counts = _labels("cross_entropy", input, target, ignore_index)
    sharp = nll_loss(logs, target, weight, ignore_index, "none")
    weighted = logs if weight is None else logs * reshape(weight, (-1, *[1] * (input.ndim - 2)))
    smooth = where(counts, -sum(weighted, 1), 0)
    losses = sharp * (1 - label_smoothing) + smooth * (label_smoothing / classes)
    if reduction == "mean":
        factor = counts.astype(raw(input).dtype)
        if weight is not None:
            factor = raw(weight)[labels] * factor
        return sum(losses) / Tensor.wrap(backend_of_any(input).asarray(factor.sum()))
    return reduce(losses, reduction)


def _is_plain(input: Any, target: Any) -> bool:
    """Whether this is the case of nearly every classifier: (N, C) floats and (N) integer labels in the same place."""
    x, labels = raw(input), raw(target)
    return (
        x.ndim == 2
        and labels.ndim == 1
        and type(x) is type(labels)
        and x.dtype.kind == "f"
        and labels.dtype.kind in "iu"
        and len(x) == len(labels)
        and x.shape[1] > 0
    )


def _same_shape(name: str, input: Any, target: Any) -> None:
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(
            f"{name}: Target size ({tuple(target.shape)}) must be the same as input size ({tuple(input.shape)}){at_place()}"
        )


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """(input − target)²."""
    difference = input - target
    return reduce(difference * difference, reduction)


def l1_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """|input − target|."""
    return reduce(abs(input - target), reduction)


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Any:
    """½d² where |d| ≤ delta, else delta · (|d| − ½ delta), with d = input − target (Huber 1964)."""
    if delta <= 0:
        raise RuntimeError(f"huber_loss does not support non-positive values for delta, got {delta}")
    distance = abs(input - target)
    inner = clamp(distance, max=delta)
    return reduce(inner * (distance - inner * 0.5), reduction)


def smooth_l1_loss(input: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Any:
    """½d²/beta where |d| < beta, else |d| − ½ beta, with d = input − target (Girshick 2015)."""
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss does not support negative values for beta, got {beta}")
    if beta == 0:
        return l1_loss(input, target, reduction)
    return huber_loss(input, target, reduction, beta) * (1 / beta)


class BinaryCrossEntropy(Elementwise):
    """−(t · log p + (1 − t) · log(1 − p)), each logarithm at least −100.

    The slope in p, (p − t) / (p · (1 − p)), has at least 1e-12 for its divisor, as in PyTorch: so it is 0, not NaN, where a
    prediction of 0 or 1 is right.
    """

    quiet = True
    samples = reals(0.1, 0.9), reals(0, 1)

    def forward(self, xp, p, t):
        return -(t * xp.maximum(xp.log(p), -100) + (1 - t) * xp.maximum(xp.log1p(-p), -100))

    def vjp_p(self, g, p, t):
        return g * (p - t) / clamp(p * (1 - p), min=1e-12)

    def vjp_t(self, g, p):
        return g * (clamp(log1p(-p), min=-100.0) - clamp(log(p), min=-100.0))


def binary_cross_entropy(input: Any, target: Any, weight: Any = None, reduction: str = "mean") -> Any:
    """−(t · log p + (1 − t) · log(1 − p)) for probabilities p = ``input``; each logarithm is at least −100."""
    _same_shape("binary_cross_entropy", input, target)
    array = raw(input)
    if array.size and not (float(array.min()) >= 0 and float(array.max()) <= 1):
        raise RuntimeError("binary_cross_entropy: all elements of input should be between 0 and 1")
    losses = BinaryCrossEntropy()(input, target)
    return reduce(losses if weight is None else losses * weight, reduction)


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> Any:
    """``binary_cross_entropy`` of sigmoid(``input``), without overflow or loss of digits."""
    _same_shape("binary_cross_entropy_with_logits", input, target)
    log_one_minus = softplus(-input, threshold=float("inf"))  # −log p; and −log(1 − p) is this + input
    factor = 1 if pos_weight is None else (pos_weight - 1) * target + 1
    losses = (1 - target) * input + factor * log_one_minus
    return reduce(losses if weight is None else losses * weight, reduction)


def kl_div(input: Any, target: Any, reduction: str = "mean", log_target: bool = False) -> Any:
    """target · (log target − input), for log-probabilities ``input``; ``reduction`` may also be ``"batchmean"``."""
    if log_target:
        losses = exp(target) * (target - input)
    else:
        inside = raw(target) != 0
        losses = where(inside, target * (log(where(inside, target, 1)) - input), 0 * input)
    if reduction == "batchmean":
        return sum(losses) / (losses.shape[0] if losses.ndim else 1)
    return reduce(losses, reduction)


def hinge_embedding_loss(input: Any, target: Any, margin: float = 1.0, reduction: str = "mean") -> Any:
    """``input`` where ``target`` is 1, max(0, margin − input) where it is −1 (and, as in PyTorch, both for other targets)."""
    losses = where(raw(target) != -1, input, 0) + where(raw(target) != 1, clamp(margin - input, min=0.0), 0)
    return reduce(losses, reduction)


def multi_margin_loss(
    input: Any, target: Any, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, reduction: str = "mean"
) -> Any:
    """The multi-class hinge loss of Crammer & Singer (2001), summed over the wrong classes i and divided by their number C:

    Σ_{i ≠ y} weight[y] · max(0, margin − x[y] + x[i])ᵖ / C.

    Args:
        input: scores (N, C) or (C).
        target: class labels (N) or ().
        p: 1 or 2.
    """
    if p not in (1, 2):
        raise ValueError(f"only p == 1 and p == 2 supported, got {p}")
    if input.ndim == 1:
        loss = multi_margin_loss(reshape(input, (1, -1)), reshape(target, (1,)), p, margin, weight, reduction)
        return reshape(loss, ()) if reduction == "none" else loss
    labels, _ = _labels("multi_margin_loss", input, target, ignore_index=-(2**62))
    column = labels.reshape((-1, 1))
    right = gather(input, 1, Tensor.wrap(column))
    excess = clamp(input - right + margin, min=0.0)
    xp = backend_of_any(input)
    excess = where(column == xp.arange(input.shape[1]), 0, excess)
    losses = excess if p == 1 else excess * excess
    if weight is not None:
        _check_weight("multi_margin_loss", weight, input)
        losses = losses * Tensor.wrap(raw(weight)[column])
    return reduce(mean(losses, 1), reduction)


def hinge_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """max(0, 1 − target · input) for targets −1 and 1: the loss of a two-class support vector machine."""
    return reduce(clamp(1 - target * input, min=0.0), reduction)


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """x1 · x2 / (|x1| |x2|) along ``dim``."""
    from minidl.ops.reduction import norm

    shape = np.broadcast_shapes(tuple(x1.shape), tuple(x2.shape))
    x1, x2 = broadcast_to(x1, shape), broadcast_to(x2, shape)
    lengths = clamp(norm(x1, 2, dim), min=eps) * clamp(norm(x2, 2, dim), min=eps)
    return sum(x1 * x2, dim) / lengths
