"""Convolution. A convolution, its gradient for the input and its gradient for the weight are three bilinear ops, and the
gradients of each are the other two: so the family is closed, and derivatives of every order are there."""

from __future__ import annotations

import operator
from functools import lru_cache
from typing import Any

import numpy as np

from minidl.backend import backend_of
from minidl.ops import reduction
from minidl.ops.activation import ThenReLU
from minidl.ops.base import Op, at_place
from minidl.ops.shape import reshape, squeeze, unsqueeze
from minidl.tensor import Tensor

Pair = tuple[int, int]


class _Convolution(Op, abstract=True):
    """Shared by the three: the geometry. ``size`` and ``kernel`` are the spatial sizes of input and weight."""

    def __init__(self, stride, padding, dilation, groups, size=None, kernel=None):
        self.geometry = stride, padding, dilation, groups
        self.size, self.kernel = size, kernel


class Conv2d(_Convolution):
    """Cross-correlation of x (N, C, H, W) with weight (O, C/groups, KH, KW), plus bias (O) or None."""

    then: tuple[str, ...] = ()  # what is done to the result in the same pass

    def forward(self, xp, x, weight, bias):
        self.size, self.kernel = x.shape[2:], weight.shape[2:]
        return xp.conv2d(x, weight, *self.geometry, bias, *self.then)

    def vjp_x(self, g, weight):
        return Conv2dInputGrad(*self.geometry, self.size, self.kernel)(g, weight)

    def vjp_weight(self, g, x):
        return Conv2dWeightGrad(*self.geometry, self.size, self.kernel)(g, x)

    def vjp_bias(self, g):
        return reduction.sum(g, (0, 2, 3)) if isinstance(g, Tensor) else backend_of(g).channel_sums(g)

    def samples(draw):
        x, weight, _, geometry = _draw_convolution(draw)
        if draw.flag():
            return (x, weight, draw.array((weight.shape[0],))), lambda x, w, b: conv2d(x, w, b, *geometry)
        return (x, weight), lambda x, w: conv2d(x, w, None, *geometry)


class Conv2dReLU(ThenReLU, Conv2d):
    """``Conv2d``, and of the result what is above 0."""

    then = ("relu",)

    def samples(draw):
        x, weight, _, geometry = _draw_convolution(draw)
        # Far from 0, where there is no derivative: small products, and a bias that decides.
        x, weight = 0.1 * np.tanh(x), 0.1 * np.tanh(weight)
        bias = draw.generator().choice([-1.0, 1.0], len(weight))
        return (x, weight, bias), lambda x, w, b: conv2d(x, w, b, *geometry, then="relu")


class Conv2dInputGrad(_Convolution):
    """The gradient of ``Conv2d`` for its input, from the cotangent g (N, O, OH, OW) and the weight."""

    def forward(self, xp, g, weight):
        self.out = g.shape[2:]
        return xp.conv2d_input_grad(g, weight, self.size, *self.geometry)

    def vjp_g(self, ct, weight):
        return _cut(Conv2d(*self.geometry)(ct, weight, None), self.out)

    def vjp_weight(self, ct, g):
        return Conv2dWeightGrad(*self.geometry, self.size, self.kernel)(g, ct)

    def samples(draw):
        x, weight, g, (stride, padding, dilation, groups) = _draw_convolution(draw)
        geometry = _geometry(weight.shape, stride, padding, dilation, groups)
        return (g, weight), lambda g, w: Conv2dInputGrad(*geometry, x.shape[2:], weight.shape[2:])(g, w)


class Conv2dWeightGrad(_Convolution):
    """The gradient of ``Conv2d`` for its weight, from the cotangent g (N, O, OH, OW) and the input x."""

    def forward(self, xp, g, x):
        self.out = g.shape[2:]
        return xp.conv2d_weight_grad(g, x, self.kernel, *self.geometry)

    def vjp_g(self, ct, x):
        return _cut(Conv2d(*self.geometry)(x, ct, None), self.out)

    def vjp_x(self, ct, g):
        return Conv2dInputGrad(*self.geometry, self.size, self.kernel)(g, ct)

    def samples(draw):
        x, weight, g, (stride, padding, dilation, groups) = _draw_convolution(draw)
        geometry = _geometry(weight.shape, stride, padding, dilation, groups)
        return (g, x), lambda g, x: Conv2dWeightGrad(*geometry, x.shape[2:], weight.shape[2:])(g, x)


def _cut(y: Any, out: Any) -> Any:
    """``y`` without the last positions, where a transposed convolution with much ``output_padding`` used fewer of them."""
    return y if tuple(y.shape[2:]) == tuple(out) else y[:, :, : out[0], : out[1]]


def _draw_convolution(draw: Any) -> tuple[Any, Any, Any, tuple[Any, ...]]:
    """x, weight, a cotangent, and (stride, padding, dilation, groups), such that there is at least one output pixel."""
    groups = draw.integer(1, 2)
    cg, og = draw.integer(1, 2), draw.integer(1, 2)
    kernel, dilation = [(draw.integer(1, 3), draw.integer(1, 3)) for _ in range(2)]
    same = draw.integer(0, 3) == 0
    stride = (1, 1) if same else (draw.integer(1, 3), draw.integer(1, 2))
    padding: Any = "same" if same else (draw.integer(0, 2), draw.integer(0, 1))
    size = [d * (k - 1) + 1 + draw.integer(0, 3) for k, d in zip(kernel, dilation, strict=True)]
    n = draw.integer(0 if draw.integer(0, 9) == 0 else 1, 2)
    x, weight = draw.array((n, groups * cg, *size)), draw.array((groups * og, cg, *kernel))
    s, p, d, _ = _geometry(weight.shape, stride, padding, dilation, groups)
    out = [(size[i] + sum(p[i]) - d[i] * (kernel[i] - 1) - 1) // s[i] + 1 for i in range(2)]
    return x, weight, draw.array((n, groups * og, *out)), (stride, padding, dilation, groups)


def pair(value: Any, name: str) -> Pair:
    """One number for both directions, or two.

    Raises:
        RuntimeError: otherwise.
    """
    if isinstance(value, int):
        return value, value
    value = tuple(int(v) for v in value)
    if len(value) == 1:
        return value[0], value[0]
    if len(value) != 2:
        raise RuntimeError(f"expected {name} to be a single integer value or a list of 2 values, but got {value}")
    return value


def _plain(value: Any) -> Any:
    """A number, a text, or a tuple of numbers, for any arrays or Tensors of them: what may be remembered."""
    if type(value) is int or isinstance(value, str):
        return value
    return int(value) if isinstance(value, int) else tuple([int(v) for v in value])


def _whole(groups: Any) -> int:
    try:
        return operator.index(groups)
    except TypeError:
        raise TypeError(f"conv2d: groups must be a whole number, got {groups!r}{at_place()}") from None


def _geometry(weight: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> tuple[Any, ...]:
    """The parameters of a convolution in full: padding as ((top, bottom), (left, right))."""
    stride, dilation = pair(stride, "stride"), pair(dilation, "dilation")
    if min(stride) < 1:
        raise RuntimeError(f"conv2d: non-positive stride is not supported, got {stride}")
    if min(dilation) < 1:
        raise RuntimeError(f"conv2d: dilation should be greater than zero, got {dilation}")
    if padding == "valid":
        padding = 0
    if padding == "same":
        if stride != (1, 1):
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        totals = [d * (k - 1) for d, k in zip(dilation, weight[2:], strict=True)]
        sides: Any = tuple((t // 2, t - t // 2) for t in totals)
    elif isinstance(padding, str):
        raise RuntimeError(f"Invalid padding string: {padding!r}, should be one of 'valid', 'same'")
    else:
        padding = pair(padding, "padding")
        if min(padding) < 0:
            raise RuntimeError(f"conv2d: negative padding is not supported, got {padding}")
        sides = tuple((p, p) for p in padding)
    return stride, sides, dilation, groups


Shape = tuple[int, ...]


@lru_cache(maxsize=512)
def _checked(
    x: Shape, weight: Shape, bias: Shape | None, stride: Any, padding: Any, dilation: Any, groups: int
) -> tuple[Any, ...]:
    """``_geometry`` for an input, weight and bias (or None) of these shapes.

    Raises:
        RuntimeError: if they do not fit; it names them.
    """
    geometry = _geometry(weight, stride, padding, dilation, groups)
    _, sides, dilation, groups = geometry
    o, cg = weight[:2]
    shape = "×".join(map(str, weight))
    if x[1] != cg * groups:
        raise RuntimeError(
            f"conv2d: input has {x[1]} channels, weight expects {cg * groups} (weight {shape}, groups={groups}); "
            f"input shape {x}{at_place()}"
        )
    if groups < 1 or o % groups:
        raise RuntimeError(
            f"conv2d: {o} output channels cannot be split into {groups} groups (weight {shape}){at_place()}"
        )
    if bias is not None and bias != (o,):
        raise RuntimeError(f"conv2d: expected bias to have shape ({o},), but got {bias} (weight {shape}){at_place()}")
    for i in range(2):
        padded, needed = x[2 + i] + sum(sides[i]), dilation[i] * (weight[2 + i] - 1) + 1
        if padded < needed:
            raise RuntimeError(
                f"conv2d: Calculated padded input size per channel ({padded}) is smaller than the kernel ({needed}): "
                f"Kernel size can't be greater than actual input size (input {x}, weight {shape}){at_place()}"
            )
    return geometry


def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    then: str | None = None,
) -> Any:
    """Slide ``weight`` over ``input`` and take the inner product at every position (cross-correlation).

    Args:
        input: (N, C, H, W) or (C, H, W).
        weight: (O, C / groups, KH, KW).
        bias: (O), or None.
        stride: step between positions: one number or (vertical, horizontal).
        padding: rows and columns of zeros added on each side, ``"valid"`` (none) or ``"same"`` (keeps the size).
        dilation: distance between the taps of the kernel.
        groups: the channels are cut into this many groups, each convolved by itself.
        then: "relu", to have that applied to the result in the same pass.

    Returns:
        (N, O, OH, OW) with OH = (H + 2·padding − dilation·(KH − 1) − 1) // stride + 1.

    Raises:
        RuntimeError: if the shapes do not fit; the message names them and the module.
        ValueError: for another ``then``.
    """
    if input.ndim == 3:
        return squeeze(conv2d(unsqueeze(input, 0), weight, bias, stride, padding, dilation, groups, then=then), 0)
    if then not in (None, "relu"):
        raise ValueError(f"conv2d: then={then!r} is not 'relu'{at_place()}")
    if input.ndim != 4 or weight.ndim != 4:
        raise RuntimeError(
            f"Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: {list(input.shape)} "
            f"(weight {list(weight.shape)}){at_place()}"
        )
    for name, t in (("weight", weight), ("bias", bias)):
        if t is not None and t.dtype != input.dtype:
            raise RuntimeError(
                f"conv2d: Input type ({input.dtype}) and {name} type ({t.dtype}) should be the same{at_place()}"
            )
    stride, padding, dilation = (_plain(v) for v in (stride, padding, dilation))
    shapes = tuple(input.shape), tuple(weight.shape), None if bias is None else tuple(bias.shape)
    op = Conv2d if then is None else Conv2dReLU
    return op(*_checked(*shapes, stride, padding, dilation, _whole(groups)))(input, weight, bias)


def conv1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """As ``conv2d``, along one axis: (N, C, L) with weight (O, C / groups, K)."""
    one = lambda v, other: v if isinstance(v, str) else (other, v if isinstance(v, int) else v[0])  # noqa: E731
    if input.ndim not in (2, 3) or weight.ndim != 3:
        raise RuntimeError(
            f"Expected 2D (unbatched) or 3D (batched) input to conv1d, but got input of size: {list(input.shape)}{at_place()}"
        )
    x, w = unsqueeze(input, -2), unsqueeze(weight, 2)
    return squeeze(conv2d(x, w, bias, one(stride, 1), one(padding, 0), one(dilation, 1), groups), -2)


def conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """The gradient of a convolution, used as a layer: (N, C, H, W) with weight (C, O / groups, KH, KW) grows the image."""
    if input.ndim == 3:
        batch = conv_transpose2d(unsqueeze(input, 0), weight, bias, stride, padding, output_padding, groups, dilation)
        return squeeze(batch, 0)
    geometry = _geometry(weight.shape, stride, padding, dilation, _whole(groups))
    if input.ndim != 4 or input.shape[1] != weight.shape[0]:
        raise RuntimeError(
            f"conv_transpose2d: input has shape {tuple(input.shape)}, weight {tuple(weight.shape)} expects "
            f"{weight.shape[0]} channels{at_place()}"
        )
    (s, p, d, _), extra = geometry, pair(output_padding, "output_padding")
    size = tuple(
        (input.shape[2 + i] - 1) * s[i] - sum(p[i]) + d[i] * (weight.shape[2 + i] - 1) + extra[i] + 1 for i in range(2)
    )
    if any(e >= max(s[i], d[i]) for i, e in enumerate(extra)):
        raise RuntimeError(f"output padding must be smaller than either stride or dilation, but got {extra}, {s}, {d}")
    y = Conv2dInputGrad(stride=s, padding=p, dilation=d, groups=groups, size=size, kernel=tuple(weight.shape[2:]))(
        input, weight
    )
    return y if bias is None else y + reshape(bias, (-1, 1, 1))
