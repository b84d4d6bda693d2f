"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import minidl
from minidl.nn import functional as F
from minidl.nn import init
from minidl.nn.module import Module
from minidl.nn.parameter import Parameter, tensors_of
from minidl.ops.base import at_place
from minidl.tensor import Tensor


class _AffineNorm(Module):
    """What the normalisations share: after it, a learned scale (``weight``) and shift (``bias``), at first 1 and 0."""

    weight: Parameter | None
    bias: Parameter | None

    def _make_affine(self, shape: tuple[int, ...], weight: bool, bias: bool, device: Any, dtype: Any) -> None:
        for name, wanted in (("weight", weight), ("bias", weight and bias)):
            value = Parameter(minidl.empty(*shape, device=device, dtype=dtype)) if wanted else None
            self.register_parameter(name, value)

    def reset_parameters(self) -> None:
        """Set the scale to 1 and the shift to 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


_TENSORS = "running_mean", "running_var", "weight", "bias", "num_batches_tracked"


class _BatchNorm(_AffineNorm):
    """Batch normalisation but for the check of the input's dimensions; described at `BatchNorm2d`."""

    _optional_in_state_dict = frozenset({"num_batches_tracked"})  # files from before it existed lack it
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self._make_affine((num_features,), affine, bias, device, dtype)
        track = track_running_stats
        self.register_buffer("running_mean", minidl.zeros(num_features, device=device, dtype=dtype) if track else None)
        self.register_buffer("running_var", minidl.ones(num_features, device=device, dtype=dtype) if track else None)
        self.register_buffer(
            "num_batches_tracked", minidl.zeros((), device=device, dtype=minidl.int64) if track else None
        )
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the running estimates: mean 0, variance 1, no batches."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Start afresh: running estimates, scale and shift."""
        self.reset_running_stats()
        super().reset_parameters()

    def _check_input_dim(self, input: Tensor) -> None:
        raise NotImplementedError

    def forward(self, input: Tensor, then: str | None = None) -> Tensor:
        """``then``: an activation to apply to the result (see ``F.batch_norm``), which a `Sequential` asks for."""
        self._check_input_dim(input)
        norm = F.batch_norm if then is None else partial(F.batch_norm, then=then)
        mean, var, weight, bias, batches = tensors_of(self, *_TENSORS)
        if not self.training and mean is not None and var is not None:
            return norm(input, mean, var, weight, bias, eps=self.eps)
        factor = 0.0 if self.momentum is None else self.momentum
        track = self.training and self.track_running_stats
        if track and batches is not None:
            batches.array += 1
            batches.bump_version("batch_norm")
            if self.momentum is None:
                factor = 1.0 / batches.item()
        if not track:  # nothing is to be updated
            mean = var = None
        return norm(input, mean, var, weight, bias, True, factor, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """`BatchNorm2d` for input of shape (N, C) or (N, C, L)."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim not in (2, 3):
            raise ValueError(f"expected 2D or 3D input (got {input.ndim}D input){at_place()}")


class BatchNorm2d(_BatchNorm):
    """y = (x − mean) / sqrt(var + eps) · weight + bias, mean and variance per channel (Ioffe & Szegedy 2015, Alg. 1).

    In training, mean and (biased) variance are the batch's, and the running estimates follow them:
    running = (1 − momentum) · running + momentum · batch, with the unbiased variance. In evaluation the running
    estimates are used. Without them (``track_running_stats=False``) it is always the batch's.

    Args:
        num_features: number of channels C.
        eps: added to the variance.
        momentum: see above; None makes the running estimates the plain average of all batches so far.
        affine: whether to have ``weight`` and ``bias``.
        track_running_stats: whether to have ``running_mean`` and ``running_var``, each (C,), and
            ``num_batches_tracked``.
        bias: False leaves out the shift only.

    Shapes: (N, C, H, W) to the same.

    Raises:
        ValueError: when called, for an input with another number of dimensions, or with one value per channel in
            training.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim != 4:
            raise ValueError(f"expected 4D input (got {input.ndim}D input){at_place()}")


class LayerNorm(_AffineNorm):
    """y = (x − mean) / sqrt(var + eps) · weight + bias over the last dimensions of each sample (Ba et al. 2016, eq. 3).

    Args:
        normalized_shape: the sizes of those dimensions, or of the last one; also the shape of ``weight`` and ``bias``.
        eps: added to the (biased) variance.
        elementwise_affine: whether to have ``weight`` and ``bias``.
        bias: False leaves out the shift only.

    Shapes: (*, *normalized_shape) to the same.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self._make_affine(self.normalized_shape, elementwise_affine, bias, device, dtype)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class GroupNorm(_AffineNorm):
    """Normalisation over groups of channels of each sample (Wu & He 2018, eq. 7); independent of the batch.

    Args:
        num_groups: groups; 1 normalises over all channels, ``num_channels`` over each one alone.
        num_channels: channels C, divisible by ``num_groups``.
        eps: added to the (biased) variance.
        affine: whether to have ``weight`` and ``bias``, each (C,).
        bias: False leaves out the shift only.

    Shapes: (N, C, *) to the same.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self._make_affine((num_channels,), affine, bias, device, dtype)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class LocalResponseNorm(Module):
    """y = x / (k + alpha · m)^beta, m the mean of x² over ``size`` neighbouring channels (Krizhevsky et al.
    2012, §3.3).

    The paper sums the squares where this, like PyTorch, averages them: ``alpha`` here is ``size`` times the paper's.

    Shapes: (N, C, *) to the same.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
