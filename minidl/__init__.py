"""minidl: a deep learning engine made of arrays, NumPy on the CPU and CuPy on the GPU.

    import minidl
    from minidl import nn

    x = minidl.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (x**2).sum().backward()
    x.grad                          # tensor([2., 4., 6.])

Names, defaults and semantics are PyTorch's wherever it has the thing.
"""

from minidl import dtypes, ops
from minidl.autograd.anomaly import detect_anomaly
from minidl.autograd.mode import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from minidl.backend import device, get_num_threads, set_num_threads
from minidl.backend.config import show_config
from minidl.dtypes import (
    bool,
    double,
    float,
    float16,
    float32,
    float64,
    get_default_dtype,
    half,
    int,
    int8,
    int16,
    int32,
    int64,
    long,
    promote_types,
    result_type,
    set_default_dtype,
    short,
    uint8,
)
from minidl.ops.activation import relu, selu
from minidl.ops.comparison import (
    all,
    allclose,
    any,
    argmax,
    argmin,
    bincount,
    bitwise_and,
    bitwise_left_shift,
    bitwise_not,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    count_nonzero,
    eq,
    equal,
    ge,
    gt,
    isclose,
    isfinite,
    isin,
    isinf,
    isnan,
    le,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    ne,
    unique,
)
from minidl.ops.conv import conv1d, conv2d, conv_transpose2d
from minidl.ops.creation import (
    arange,
    as_tensor,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    is_floating_point,
    is_tensor,
    linspace,
    logspace,
    meshgrid,
    numel,
    ones,
    ones_like,
    tensor,
    tril_indices,
    triu_indices,
    zeros,
    zeros_like,
)
from minidl.ops.diagonals import diag, diag_embed, diagonal, trace, tril, triu
from minidl.ops.dropout import dropout
from minidl.ops.elementwise import (
    abs,
    add,
    addcdiv,
    addcmul,
    deg2rad,
    div,
    float_power,
    floor_divide,
    fmod,
    lerp,
    mul,
    neg,
    positive,
    pow,
    rad2deg,
    remainder,
    rsub,
    sub,
)
from minidl.ops.gathering import gather, scatter, scatter_add, take_along_dim
from minidl.ops.indexing import (
    argwhere,
    index_add,
    index_fill,
    index_select,
    masked_fill,
    masked_select,
    narrow,
    nonzero,
    select,
    take,
)
from minidl.ops.joining import cat, chunk, column_stack, hstack, split, stack, unbind, vstack
from minidl.ops.linalg import addmm, addmv, baddbmm, bmm, dot, einsum, inner, matmul, mm, mv, outer, tensordot
from minidl.ops.reduction import (
    amax,
    amin,
    aminmax,
    dist,
    logsumexp,
    max,
    mean,
    min,
    nanmean,
    nansum,
    norm,
    std,
    std_mean,
    sum,
    var,
    var_mean,
)
from minidl.ops.rounding import ceil, floor, frac, round, sign, trunc
from minidl.ops.scan import cumprod, cumsum, prod
from minidl.ops.selection import (
    clamp,
    clamp_max,
    clamp_min,
    fmax,
    fmin,
    heaviside,
    maximum,
    minimum,
    nan_to_num,
    where,
)
from minidl.ops.shape import (
    broadcast_tensors,
    broadcast_to,
    flatten,
    flip,
    fliplr,
    flipud,
    movedim,
    permute,
    ravel,
    repeat_interleave,
    reshape,
    roll,
    squeeze,
    t,
    tile,
    transpose,
    unflatten,
    unsqueeze,
)
from minidl.ops.sorting import argsort, sort, topk
from minidl.ops.softmax import log_softmax, softmax
from minidl.ops.special import hypot, logaddexp, logit, sinc
from minidl.ops.unary import (
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    cos,
    cosh,
    erf,
    exp,
    exp2,
    expm1,
    log,
    log1p,
    log2,
    log10,
    reciprocal,
    rsqrt,
    sigmoid,
    sin,
    sinh,
    sqrt,
    square,
    tan,
    tanh,
)
from minidl.random import (
    Generator,
    bernoulli,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    multinomial,
    normal,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    set_rng_state,
)
from minidl.tensor import Tensor

concat = concatenate = cat
multiply, subtract, divide, true_divide = mul, sub, div, div
absolute, negative, clip, swapaxes, swapdims, moveaxis = abs, neg, clamp, transpose, transpose, movedim
arcsin, arccos, arctan, arctan2, arcsinh, arccosh, arctanh = asin, acos, atan, atan2, asinh, acosh, atanh

from minidl import autograd, backends, cuda, data, datasets, io, nn, optim, testing, training, transforms
from minidl.io import load, save

__version__ = "0.1.0"
