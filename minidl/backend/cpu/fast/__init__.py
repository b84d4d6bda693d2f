"""Kernels compiled by Numba. Each has its plain twin among the reference kernels, and a test that holds the two equal.

The first argument of most is a team (``minidl.backend.cpu.threads.team``): the threads that share the work.
"""

from minidl.backend.cpu.fast.amx import permitted
from minidl.backend.cpu.fast.depthwise import depthwise, depthwise_input_grad, depthwise_weight_grad
from minidl.backend.cpu.fast.direct import MULTIPLE, correlates, direct_conv, direct_weight_grad
from minidl.backend.cpu.fast.elementwise import add, hardtanh, hardtanh_back, relu, relu_back, sigmoid_back
from minidl.backend.cpu.fast.functions import sigmoid
from minidl.backend.cpu.fast.gemm import matmul, matmul_small, matmul_transposed, pack
from minidl.backend.cpu.fast.jit import check, is_kept
from minidl.backend.cpu.fast.loss import cross_entropy_back, cross_entropy_rows
from minidl.backend.cpu.fast.norm import (
    channel_products,
    channel_sums,
    normalize,
    normalize_back,
    normalize_batch,
    normalize_by,
)
from minidl.backend.cpu.fast.norm_groups import normalize_groups, normalize_groups_back
from minidl.backend.cpu.fast.norm_rows import normalize_rows, normalize_rows_back
from minidl.backend.cpu.fast.optim import adam_update, sgd_update
from minidl.backend.cpu.fast.pool import max_pool_rows, max_pool_scatter, sum_pool_rows, sum_pool_spread
from minidl.backend.cpu.fast.regroup import join_channels, split_channels
from minidl.backend.cpu.fast.scatter import add_rows
from minidl.backend.cpu.fast.softmax import log_softmax_back, log_softmax_rows, softmax_back, softmax_rows
from minidl.backend.cpu.fast.split import UNIT, layout, matmul_split
from minidl.backend.cpu.fast.team import serve
from minidl.backend.cpu.fast.transpose import turn
from minidl.backend.cpu.fast.windows import (
    convolve_windows,
    correlate_windows,
    fold_images,
    spread_windows,
    sum_weight,
    unfold_rows,
)
from minidl.backend.cpu.fast.winograd import (
    add_weight_points,
    add_weight_tiles,
    convolve_points,
    convolve_tiles,
    kernel_matrix,
    weight_from_tiles,
    weight_tiles,
)

__all__ = [
    "MULTIPLE",
    "UNIT",
    "adam_update",
    "add",
    "add_rows",
    "add_weight_points",
    "add_weight_tiles",
    "channel_products",
    "channel_sums",
    "check",
    "convolve_points",
    "convolve_tiles",
    "convolve_windows",
    "correlate_windows",
    "correlates",
    "cross_entropy_back",
    "cross_entropy_rows",
    "depthwise",
    "depthwise_input_grad",
    "depthwise_weight_grad",
    "direct_conv",
    "direct_weight_grad",
    "fold_images",
    "hardtanh",
    "hardtanh_back",
    "is_kept",
    "join_channels",
    "kernel_matrix",
    "layout",
    "log_softmax_back",
    "log_softmax_rows",
    "matmul",
    "matmul_small",
    "matmul_split",
    "matmul_transposed",
    "max_pool_rows",
    "max_pool_scatter",
    "normalize",
    "normalize_back",
    "normalize_batch",
    "normalize_by",
    "normalize_groups",
    "normalize_groups_back",
    "normalize_rows",
    "normalize_rows_back",
    "pack",
    "permitted",
    "relu",
    "relu_back",
    "serve",
    "sgd_update",
    "sigmoid",
    "sigmoid_back",
    "softmax_back",
    "softmax_rows",
    "split_channels",
    "spread_windows",
    "sum_pool_rows",
    "sum_pool_spread",
    "sum_weight",
    "turn",
    "unfold_rows",
    "weight_from_tiles",
    "weight_tiles",
]
