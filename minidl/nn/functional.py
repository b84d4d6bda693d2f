"""The functions behind the layers, under PyTorch's names: ``import minidl.nn.functional as F``."""

from minidl.ops.activation import (
    celu,
    elu,
    gelu,
    glu,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    selu,
    silu,
    softsign,
    tanhshrink,
    threshold,
)
from minidl.ops.conv import conv1d, conv2d, conv_transpose2d
from minidl.ops.dropout import dropout, dropout1d, dropout2d
from minidl.ops.indexing import embedding, one_hot
from minidl.ops.linalg import linear
from minidl.ops.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cosine_similarity,
    cross_entropy,
    hinge_embedding_loss,
    hinge_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    multi_margin_loss,
    nll_loss,
    smooth_l1_loss,
)
from minidl.ops.normalization import batch_norm, group_norm, layer_norm, local_response_norm, normalize
from minidl.ops.padding import pad
from minidl.ops.pool import adaptive_avg_pool2d, adaptive_max_pool2d, avg_pool2d, max_pool2d
from minidl.ops.softmax import log_softmax, softmax, softmin
from minidl.ops.unary import sigmoid, softplus, tanh

__all__ = [name for name in dir() if not name.startswith("_") and name != "minidl"]
