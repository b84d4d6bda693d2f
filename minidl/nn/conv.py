"""Convolution layers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import minidl
from minidl.nn import functional as F
from minidl.nn.linear import reset_weight_and_bias
from minidl.nn.module import Module
from minidl.nn.parameter import Parameter, tensors_of
from minidl.tensor import Tensor

Size = int | tuple[int, ...]

_PADDING_MODES = {"zeros", "reflect", "replicate", "circular"}


def per_axis(value: Any, axes: int) -> tuple[int, ...]:
    """One number for each axis: an int stands for all of them."""
    return (value,) * axes if isinstance(value, int) else tuple(value)


class _ConvNd(Module):
    """What the convolutions share: settings, their checks, parameters."""

    axes: int
    transposed = False
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size,
        padding: Size | str,
        dilation: Size,
        output_padding: Size,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        if groups <= 0:
            raise ValueError(f"groups must be a positive integer, got {groups}")
        if in_channels % groups:
            raise ValueError(f"in_channels must be divisible by groups, got {in_channels} channels and {groups} groups")
        if out_channels % groups:
            raise ValueError(
                f"out_channels must be divisible by groups, got {out_channels} channels and {groups} groups"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = per_axis(kernel_size, self.axes)
        self.stride = per_axis(stride, self.axes)
        self.dilation = per_axis(dilation, self.axes)
        self.output_padding = per_axis(output_padding, self.axes)
        self.groups = groups
        self.padding: Any = padding if isinstance(padding, str) else per_axis(padding, self.axes)
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string {padding!r}, should be one of 'same', 'valid'")
            if padding == "same" and any(s != 1 for s in self.stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in _PADDING_MODES:
            raise ValueError(
                f"padding_mode must be one of {sorted(_PADDING_MODES)}, but got padding_mode='{padding_mode}'"
            )
        self.padding_mode = padding_mode

        # A transposed convolution is the input gradient of the convolution that has this very weight.
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = Parameter(minidl.empty(first, second // groups, *self.kernel_size, device=device, dtype=dtype))
        self.register_parameter(
            "bias", Parameter(minidl.empty(out_channels, device=device, dtype=dtype)) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values, see `minidl.nn.linear.reset_weight_and_bias`."""
        reset_weight_and_bias(self.weight, self.bias)

    def _pad_beforehand(self, input: Tensor) -> Tensor:
        """``input`` padded by a mode other than zeros, which the convolution itself does not know."""
        if self.padding == "valid":
            return input
        sides: list[int] = []  # (left, right) per axis, the last axis first: the order of F.pad
        for axis in reversed(range(self.axes)):
            if self.padding == "same":
                total = self.dilation[axis] * (self.kernel_size[axis] - 1)
                sides += [total // 2, total - total // 2]
            else:
                sides += [self.padding[axis]] * 2
        return F.pad(input, tuple(sides), mode=self.padding_mode)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * self.axes:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self.axes:
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * self.axes:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class Conv1d(_ConvNd):
    """Convolution along one axis: Conv2d without the height.

    Shapes: input (N, in_channels, L), output (N, out_channels, L'), ``weight`` (out_channels, in_channels / groups, k).
    """

    axes = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            0,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def forward(self, input: Tensor) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = self._pad_beforehand(input), 0
        weight, bias = tensors_of(self, "weight", "bias")
        return F.conv1d(input, weight, bias, self.stride, padding, self.dilation, self.groups)


class Conv2d(_ConvNd):
    """Convolution (cross-correlation, strictly) of images with learned kernels.

    Args:
        in_channels, out_channels: channels of the input and of the output.
        kernel_size, stride, padding, dilation: an int, or one for the height and one for the width. ``padding`` may
            also be ``"valid"`` (none) or ``"same"`` (output as large as the input; stride 1 only).
        groups: into how many independent convolutions the channels are split; ``in_channels`` makes it depthwise.
        bias: whether to add a learned number per output channel.
        padding_mode: what stands outside the image: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.

    Shapes: input (N, in_channels, H, W), output (N, out_channels, H', W') with
    H' = floor((H + 2·padding − dilation·(kernel_size − 1) − 1) / stride) + 1; ``weight`` (out_channels, in_channels /
    groups, kernel height, kernel width), ``bias`` (out_channels,).

    Raises:
        ValueError: at construction, for groups that do not divide the channels, or an unknown padding.

    >>> Conv2d(3, 16, 3, stride=2, padding=1)(minidl.zeros(8, 3, 32, 32)).shape
    (8, 16, 16, 16)
    """

    axes = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            0,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def forward(self, input: Tensor, then: str | None = None) -> Tensor:
        """``then``: "relu", to have that applied to the result, which a `Sequential` asks for."""
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = self._pad_beforehand(input), 0
        conv = F.conv2d if then is None else partial(F.conv2d, then=then)
        weight, bias = tensors_of(self, "weight", "bias")
        return conv(input, weight, bias, self.stride, padding, self.dilation, self.groups)


class ConvTranspose2d(_ConvNd):
    """The input gradient of a Conv2d used as a layer: it undoes that layer's change of size (not of values).

    Args: as for Conv2d, in another order, and ``output_padding``: rows and columns added at the end of the output,
        because with stride s the sizes of s different inputs lead to the same output of the Conv2d.

    Shapes: input (N, in_channels, H, W), output (N, out_channels, H', W') with
    H' = (H − 1)·stride − 2·padding + dilation·(kernel_size − 1) + output_padding + 1; ``weight`` (in_channels,
    out_channels / groups, kernel height, kernel width).

    >>> ConvTranspose2d(16, 8, 2, stride=2)(minidl.zeros(4, 16, 7, 7)).shape
    (4, 8, 14, 14)
    """

    axes = 2
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for ConvTranspose2d, got "{padding_mode}"')
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            output_padding,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Args: input (N, C, H, W); output_size (H', W'), to choose among the sizes that the stride leaves open."""
        output_padding = self.output_padding if output_size is None else self._padding_for(input, output_size)
        return F.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding, output_padding, self.groups, self.dilation
        )

    def _padding_for(self, input: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        wanted = tuple(output_size)[-self.axes :]
        smallest = tuple(
            (input.shape[-self.axes + i] - 1) * self.stride[i]
            - 2 * self.padding[i]
            + self.dilation[i] * (self.kernel_size[i] - 1)
            + 1
            for i in range(self.axes)
        )
        largest = tuple(size + stride - 1 for size, stride in zip(smallest, self.stride, strict=True))
        if len(wanted) != self.axes or not all(a <= w <= b for a, w, b in zip(smallest, wanted, largest, strict=True)):
            raise ValueError(
                f"requested an output size of {tuple(output_size)}, but valid sizes range from {smallest} to {largest} "
                f"(for an input of {tuple(input.shape[-self.axes :])})"
            )
        return tuple(w - a for w, a in zip(wanted, smallest, strict=True))
