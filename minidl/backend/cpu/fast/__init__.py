"""Kernels compiled by Numba. Each has its plain twin among the reference kernels, and a test that holds the two equal."""

from minidl.backend.cpu.fast.depthwise import depthwise, depthwise_input_grad, depthwise_weight_grad
from minidl.backend.cpu.fast.direct import direct_conv, direct_weight_grad
from minidl.backend.cpu.fast.elementwise import hardtanh_back, hardtanh_flat, relu_back
from minidl.backend.cpu.fast.gemm import ROWS, add_matmul, matmul_strips, matmul_whole, pack_columns, pack_rows
from minidl.backend.cpu.fast.jit import check
from minidl.backend.cpu.fast.loss import cross_entropy_back, cross_entropy_rows
from minidl.backend.cpu.fast.norm import (
    column_moments,
    normalize_back,
    normalize_columns,
    normalize_sums,
    normalize_whole,
)
from minidl.backend.cpu.fast.optim import adam_update, sgd_update
from minidl.backend.cpu.fast.pool import max_pool_rows, max_pool_scatter
from minidl.backend.cpu.fast.windows import fold_images, unfold_rows
from minidl.backend.cpu.fast.winograd import (
    add_products,
    add_weight_tiles,
    convolve_tiles,
    grad_tiles,
    input_tiles,
    kernel_matrix,
    multiply_points,
    output_tiles,
    weight_from_tiles,
    weight_tiles,
)

__all__ = [
    "ROWS",
    "adam_update",
    "add_matmul",
    "add_products",
    "add_weight_tiles",
    "check",
    "column_moments",
    "convolve_tiles",
    "cross_entropy_back",
    "cross_entropy_rows",
    "depthwise",
    "depthwise_input_grad",
    "depthwise_weight_grad",
    "direct_conv",
    "direct_weight_grad",
    "fold_images",
    "grad_tiles",
    "hardtanh_back",
    "hardtanh_flat",
    "input_tiles",
    "kernel_matrix",
    "matmul_strips",
    "matmul_whole",
    "max_pool_rows",
    "max_pool_scatter",
    "multiply_points",
    "normalize_back",
    "normalize_columns",
    "normalize_sums",
    "normalize_whole",
    "output_tiles",
    "pack_columns",
    "pack_rows",
    "relu_back",
    "sgd_update",
    "unfold_rows",
    "weight_from_tiles",
    "weight_tiles",
]
