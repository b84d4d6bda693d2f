"""Kernels compiled by Numba. Each has its plain twin among the reference kernels, and a test that holds the two equal."""

from minidl.backend.cpu.fast.activation import relu_grad
from minidl.backend.cpu.fast.depthwise import depthwise, depthwise_input_grad, depthwise_weight_grad
from minidl.backend.cpu.fast.direct import ROWS, direct_conv, direct_weight_grad
from minidl.backend.cpu.fast.jit import check
from minidl.backend.cpu.fast.norm import column_moments, normalize_back, normalize_columns, normalize_sums
from minidl.backend.cpu.fast.pool import max_pool_rows, max_pool_scatter
from minidl.backend.cpu.fast.windows import fold_images, unfold_rows
from minidl.backend.cpu.fast.winograd import (
    gather_taps,
    grad_tiles,
    input_tiles,
    kernel_matrix,
    output_tiles,
    scatter_taps,
)

__all__ = [
    "ROWS",
    "check",
    "column_moments",
    "depthwise",
    "depthwise_input_grad",
    "depthwise_weight_grad",
    "direct_conv",
    "direct_weight_grad",
    "fold_images",
    "gather_taps",
    "grad_tiles",
    "input_tiles",
    "kernel_matrix",
    "max_pool_rows",
    "max_pool_scatter",
    "normalize_back",
    "normalize_columns",
    "normalize_sums",
    "output_tiles",
    "relu_grad",
    "scatter_taps",
    "unfold_rows",
]
