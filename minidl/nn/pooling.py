"""Pooling layers."""

from __future__ import annotations

from typing import Any

from minidl.nn import functional as F
from minidl.nn.module import Module
from minidl.tensor import Tensor

Size = int | tuple[int, int]
OutputSize = int | None | tuple[int | None, int | None]


class MaxPool2d(Module):
    """The largest value of each window.

    Args:
        kernel_size, stride, padding, dilation: an int, or (height, width). The stride is the kernel size unless given;
            padding counts as −∞ and may be at most half the kernel.
        return_indices: also return where the maxima are: flat indices into each H × W plane, int64.
        ceil_mode: round the output size up, so that a window that does not fit entirely still counts.

    Shapes: (N, C, H, W) to (N, C, H', W') with
    H' = floor((H + 2·padding − dilation·(kernel_size − 1) − 1) / stride) + 1.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Any:
        return F.max_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            ceil_mode=self.ceil_mode,
            return_indices=self.return_indices,
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
    """The mean of each window.

    Args:
        kernel_size, stride, padding, ceil_mode: as for `MaxPool2d`, except that padding is zeros.
        count_include_pad: whether the padded zeros count in the mean's denominator.
        divisor_override: divide by this number instead of the window's size.

    Shapes: (N, C, H, W) to (N, C, H', W') with H' = floor((H + 2·padding − kernel_size) / stride) + 1.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """Means over a grid of windows laid so that the output has the given size, whatever the input's.

    Output row i averages the input rows floor(i·H / H') to ceil((i + 1)·H / H') − 1.

    Args:
        output_size: an int, or (height, width); None in either keeps the input's.

    Shapes: (N, C, H, W) to (N, C, *output_size).
    """

    def __init__(self, output_size: OutputSize) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool2d(Module):
    """Maxima over the windows of `AdaptiveAvgPool2d`; with ``return_indices=True`` also where they are."""

    def __init__(self, output_size: OutputSize, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        return F.adaptive_max_pool2d(input, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
