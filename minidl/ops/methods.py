"""The methods and operators of Tensor: ops under another name. They are copied into ``minidl.tensor.Tensor`` at import."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import dtypes
from minidl.backend import backend_for, device
from minidl.ops import (
    activation,
    comparison,
    diagonals,
    elementwise,
    gathering,
    indexing,
    inplace,
    joining,
    linalg,
    reduction,
    rounding,
    scan,
    selection,
    sorting,
    special,
    unary,
)
from minidl.ops import shape as shaping
from minidl.ops import softmax as softmaxes
from minidl.ops.base import Op, cast
from minidl.ops.inplace import in_place, in_place_sum
from minidl.ops.short import short
from minidl.tensor import Tensor, to_array
from minidl.tensor import TensorMethods as RuntimeMethods

bool_ = bool  # the class body below has a method ``bool``


class Transfer(Op):
    """The same numbers on another device; the gradient travels back."""

    promotes = False

    def __init__(self, target):
        self.target = target

    def forward(self, xp, x):
        self.origin = xp
        return self.target.from_numpy(xp.to_numpy(x).copy())

    def vjp(self, g):
        return Transfer(self.origin)(g)

    def samples(draw):
        return (draw.array(draw.shape()),), lambda x: Transfer(
            backend_for(x.device if isinstance(x, Tensor) else None)
        )(x)


class TensorMethods:
    """Methods of Tensor that an op stands behind. See ``minidl.ops`` for what each does."""

    if TYPE_CHECKING:  # what they may count on in Tensor
        array: Any

        @property
        def ndim(self) -> int: ...
        @property
        def dtype(self) -> np.dtype: ...

    __array_priority__ = 1000

    # -- operators ----------------------------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Tensor:
        return short(elementwise.Add, operator.add, self, other)

    def __radd__(self, other: Any) -> Tensor:
        return short(elementwise.Add, operator.add, self, other)

    def __sub__(self, other: Any) -> Tensor:
        return short(elementwise.Sub, operator.sub, self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return elementwise.Sub()(other, self)

    def __mul__(self, other: Any) -> Tensor:
        return short(elementwise.Mul, operator.mul, self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return short(elementwise.Mul, operator.mul, self, other)

    def __truediv__(self, other: Any) -> Tensor:
        return elementwise.Div()(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return elementwise.Div()(other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return elementwise.FloorDivide()(self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return elementwise.FloorDivide()(other, self)

    def __mod__(self, other: Any) -> Tensor:
        return elementwise.Remainder()(self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return elementwise.Remainder()(other, self)

    def __pow__(self, other: Any) -> Tensor:
        return elementwise.pow(self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return elementwise.pow(other, self)

    def __neg__(self) -> Tensor:
        return elementwise.Neg()(self)

    def __pos__(self) -> Tensor:
        return self  # type: ignore[return-value]

    def __abs__(self) -> Tensor:
        return elementwise.Abs()(self)

    def __matmul__(self, other: Any) -> Tensor:
        return linalg.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return linalg.matmul(other, self)

    def __and__(self, other: Any) -> Tensor:
        return comparison.bitwise_and(self, other)

    def __or__(self, other: Any) -> Tensor:
        return comparison.bitwise_or(self, other)

    def __xor__(self, other: Any) -> Tensor:
        return comparison.bitwise_xor(self, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __lshift__(self, other: Any) -> Tensor:
        return comparison.bitwise_left_shift(self, other)

    def __rshift__(self, other: Any) -> Tensor:
        return comparison.bitwise_right_shift(self, other)

    def __rlshift__(self, other: Any) -> Tensor:
        return comparison.bitwise_left_shift(other, self)

    def __rrshift__(self, other: Any) -> Tensor:
        return comparison.bitwise_right_shift(other, self)

    def __invert__(self) -> Tensor:
        return comparison.bitwise_not(self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return comparison.eq(self, other) if _comparable(other) else NotImplemented

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return comparison.ne(self, other) if _comparable(other) else NotImplemented

    def __lt__(self, other: Any) -> Tensor:
        return comparison.lt(self, other)

    def __le__(self, other: Any) -> Tensor:
        return comparison.le(self, other)

    def __gt__(self, other: Any) -> Tensor:
        return comparison.gt(self, other)

    def __ge__(self, other: Any) -> Tensor:
        return comparison.ge(self, other)

    def __getitem__(self, index: Any) -> Tensor:
        return indexing.getitem(self, index)

    __setitem__ = inplace.setitem

    # -- functions as methods -----------------------------------------------------------------------------------------

    add, sub, mul, div, true_divide = (
        elementwise.add, elementwise.sub, elementwise.mul, elementwise.div, elementwise.div
    )  # fmt: skip
    multiply, subtract, divide = elementwise.mul, elementwise.sub, elementwise.div
    pow, floor_divide, remainder = elementwise.pow, elementwise.floor_divide, elementwise.remainder
    maximum, minimum, clamp, clip = selection.maximum, selection.minimum, selection.clamp, selection.clamp
    neg, abs, sign, floor, ceil = elementwise.neg, elementwise.abs, rounding.sign, rounding.floor, rounding.ceil
    trunc, frac, round, lerp = rounding.trunc, rounding.frac, rounding.round, elementwise.lerp
    addcmul, addcdiv = elementwise.addcmul, elementwise.addcdiv
    fmod, float_power, positive = elementwise.fmod, elementwise.float_power, elementwise.positive
    rad2deg, deg2rad = elementwise.rad2deg, elementwise.deg2rad
    clamp_min, clamp_max, fmax, fmin = selection.clamp_min, selection.clamp_max, selection.fmax, selection.fmin
    nan_to_num, heaviside = selection.nan_to_num, selection.heaviside
    hypot, logaddexp, logit, sinc = special.hypot, special.logaddexp, special.logit, special.sinc
    absolute, negative = elementwise.abs, elementwise.neg

    square, sqrt, rsqrt, reciprocal = unary.square, unary.sqrt, unary.rsqrt, unary.reciprocal
    exp, exp2, expm1 = unary.exp, unary.exp2, unary.expm1
    log, log2, log10, log1p = unary.log, unary.log2, unary.log10, unary.log1p
    sin, cos, tan, asin, acos, atan, atan2 = (
        unary.sin, unary.cos, unary.tan, unary.asin, unary.acos, unary.atan, unary.atan2
    )  # fmt: skip
    sinh, cosh, tanh, asinh, acosh, atanh = (
        unary.sinh, unary.cosh, unary.tanh, unary.asinh, unary.acosh, unary.atanh
    )  # fmt: skip
    erf, sigmoid = unary.erf, unary.sigmoid
    relu, softmax, log_softmax = activation.relu, softmaxes.softmax, softmaxes.log_softmax

    eq, ne, lt, le, gt, ge = (
        comparison.eq, comparison.ne, comparison.lt, comparison.le, comparison.gt, comparison.ge
    )  # fmt: skip
    isnan, isinf, isfinite = comparison.isnan, comparison.isinf, comparison.isfinite
    isclose, allclose, equal = comparison.isclose, comparison.allclose, comparison.equal
    logical_and, logical_or, logical_not = comparison.logical_and, comparison.logical_or, comparison.logical_not
    logical_xor, bitwise_not = comparison.logical_xor, comparison.bitwise_not
    bitwise_and, bitwise_or, bitwise_xor = comparison.bitwise_and, comparison.bitwise_or, comparison.bitwise_xor
    bitwise_left_shift, bitwise_right_shift = comparison.bitwise_left_shift, comparison.bitwise_right_shift
    unique, bincount, isin = comparison.unique, comparison.bincount, comparison.isin
    argmax, argmin, all, any, count_nonzero = (
        comparison.argmax, comparison.argmin, comparison.all, comparison.any, comparison.count_nonzero
    )  # fmt: skip

    sum, mean, var, std, prod = reduction.sum, reduction.mean, reduction.var, reduction.std, scan.prod
    max, min, amax, amin = reduction.max, reduction.min, reduction.amax, reduction.amin
    nansum, nanmean, aminmax, dist = reduction.nansum, reduction.nanmean, reduction.aminmax, reduction.dist
    cumsum, cumprod, logsumexp, norm = scan.cumsum, scan.cumprod, reduction.logsumexp, reduction.norm

    reshape, view, flatten, unflatten = shaping.reshape, shaping.view, shaping.flatten, shaping.unflatten
    permute, transpose, movedim, swapaxes, t = (
        shaping.permute, shaping.transpose, shaping.movedim, shaping.transpose, shaping.t
    )  # fmt: skip
    squeeze, unsqueeze, expand, expand_as = shaping.squeeze, shaping.unsqueeze, shaping.expand, shaping.expand_as
    broadcast_to, repeat, tile, repeat_interleave = (
        shaping.broadcast_to, shaping.repeat, shaping.tile, shaping.repeat_interleave
    )  # fmt: skip
    flip, roll, diagonal, diag, tril, triu = (
        shaping.flip, shaping.roll, diagonals.diagonal, diagonals.diag, diagonals.tril, diagonals.triu
    )  # fmt: skip
    split, chunk, unbind, ravel, fliplr, flipud = (
        joining.split, joining.chunk, joining.unbind, shaping.ravel, shaping.fliplr, shaping.flipud
    )  # fmt: skip
    diag_embed, trace, moveaxis, swapdims = diagonals.diag_embed, diagonals.trace, shaping.movedim, shaping.transpose

    gather, scatter, scatter_add, index_add = (
        gathering.gather,
        gathering.scatter,
        gathering.scatter_add,
        indexing.index_add,
    )
    index_select, narrow, select, take_along_dim = (
        indexing.index_select, indexing.narrow, indexing.select, gathering.take_along_dim
    )  # fmt: skip
    masked_fill, masked_select, nonzero = indexing.masked_fill, indexing.masked_select, indexing.nonzero
    argsort, sort, topk = sorting.argsort, sorting.sort, sorting.topk
    index_fill, take, argwhere = indexing.index_fill, indexing.take, indexing.argwhere

    matmul, mm, bmm, mv, dot, outer, addmm = (
        linalg.matmul, linalg.mm, linalg.bmm, linalg.mv, linalg.dot, linalg.outer, linalg.addmm
    )  # fmt: skip
    addmv, baddbmm, inner = linalg.addmv, linalg.baddbmm, linalg.inner

    def where(self, condition: Tensor, other: Any) -> Tensor:
        """This Tensor where ``condition`` holds, ``other`` elsewhere."""
        return selection.where(condition, self, other)

    @property
    def T(self) -> Tensor:  # noqa: N802
        """All dimensions in reverse order."""
        return shaping.permute(self, tuple(range(self.ndim))[::-1])

    @property
    def mT(self) -> Tensor:  # noqa: N802
        """The last two dimensions exchanged."""
        return shaping.transpose(self, -1, -2)

    # -- in place -----------------------------------------------------------------------------------------------------

    add_ = in_place_sum(elementwise.Add, elementwise.add, "add_")
    sub_ = in_place(elementwise.sub, "sub_")
    mul_, div_ = in_place(elementwise.mul, "mul_"), in_place(elementwise.div, "div_")
    pow_, clamp_ = in_place(elementwise.pow, "pow_"), in_place(selection.clamp, "clamp_")
    clip_ = in_place(selection.clamp, "clip_")
    neg_, abs_, lerp_ = (in_place(getattr(elementwise, n), f"{n}_") for n in ("neg", "abs", "lerp"))
    round_, floor_, ceil_, trunc_ = (
        in_place(getattr(rounding, n), f"{n}_") for n in ("round", "floor", "ceil", "trunc")
    )
    floor_divide_, remainder_ = (
        in_place(elementwise.floor_divide, "floor_divide_"),
        in_place(elementwise.remainder, "remainder_"),
    )
    fmod_, nan_to_num_ = in_place(elementwise.fmod, "fmod_"), in_place(selection.nan_to_num, "nan_to_num_")
    clamp_min_, clamp_max_ = in_place(selection.clamp_min, "clamp_min_"), in_place(selection.clamp_max, "clamp_max_")
    square_, rsqrt_, reciprocal_ = (in_place(getattr(unary, n), f"{n}_") for n in ("square", "rsqrt", "reciprocal"))
    sin_, cos_ = in_place(unary.sin, "sin_"), in_place(unary.cos, "cos_")
    logical_not_, bitwise_and_ = (
        in_place(comparison.logical_not, "logical_not_"),
        in_place(comparison.bitwise_and, "bitwise_and_"),
    )
    bitwise_or_, bitwise_xor_ = (
        in_place(comparison.bitwise_or, "bitwise_or_"),
        in_place(comparison.bitwise_xor, "bitwise_xor_"),
    )
    bitwise_left_shift_, bitwise_right_shift_ = (
        in_place(comparison.bitwise_left_shift, "bitwise_left_shift_"),
        in_place(comparison.bitwise_right_shift, "bitwise_right_shift_"),
    )
    addcmul_, addcdiv_ = in_place(elementwise.addcmul, "addcmul_"), in_place(elementwise.addcdiv, "addcdiv_")
    exp_, log_, sqrt_ = (in_place(getattr(unary, n), f"{n}_") for n in ("exp", "log", "sqrt"))
    tanh_, sigmoid_ = in_place(unary.tanh, "tanh_"), in_place(unary.sigmoid, "sigmoid_")
    relu_ = in_place(activation.relu, "relu_")
    masked_fill_ = in_place(indexing.masked_fill, "masked_fill_")
    scatter_, scatter_add_ = in_place(gathering.scatter, "scatter_"), in_place(gathering.scatter_add, "scatter_add_")
    index_add_, index_fill_ = in_place(indexing.index_add, "index_add_"), in_place(indexing.index_fill, "index_fill_")
    copy_, fill_, zero_ = inplace.copy_, inplace.fill_, inplace.zero_

    __iadd__, __isub__, __imul__, __itruediv__, __ipow__ = add_, sub_, mul_, div_, pow_
    __ifloordiv__, __imod__ = floor_divide_, remainder_
    __iand__, __ior__, __ixor__ = bitwise_and_, bitwise_or_, bitwise_xor_
    __ilshift__, __irshift__ = bitwise_left_shift_, bitwise_right_shift_

    def detach_(self) -> Tensor:
        """Make this Tensor a leaf that autograd does not follow."""
        self._node, self._output, self._requires_grad = None, 0, False
        return self  # type: ignore[return-value]

    # -- dtype and device ---------------------------------------------------------------------------------------------

    def to(
        self, *args: Any, device: Any = None, dtype: Any = None, copy: bool = False, non_blocking: bool = False
    ) -> Tensor:
        """This Tensor in another dtype and/or on another device: ``to("cuda")``, ``to(minidl.float64)``, ``to(other)``.

        Returns the Tensor itself if nothing changes and ``copy`` is False. Gradients flow back.

        Raises:
            RuntimeError: if the device is not there.
        """
        device, dtype = parse_to(args, device, dtype)
        x: Any = self
        if dtype is not None and dtype != x.dtype:
            x = cast(x, dtype)
        if device is not None and x.device != device:
            x = Transfer(backend_for(device))(x)
        return x.clone() if copy and x is self else x

    def clone(self) -> Tensor:
        """A copy on memory of its own; gradients flow back."""
        return Clone()(self)

    def contiguous(self) -> Tensor:
        """This Tensor with its elements in row-major order without gaps: itself, or a copy."""
        return self if self.array.flags.c_contiguous else Contiguous()(self)  # type: ignore[return-value]

    def type(self, dtype: Any) -> Tensor:
        """As ``to(dtype)``."""
        return self.to(dtype=dtype)

    def type_as(self, other: Tensor) -> Tensor:
        """As ``to(other.dtype)``."""
        return self.to(dtype=other.dtype)

    def cpu(self) -> Tensor:
        """This Tensor in main memory."""
        return self.to(device="cpu")

    def cuda(self, device: Any = None) -> Tensor:
        """This Tensor on the GPU."""
        return self.to(device="cuda" if device is None else device)

    def float(self) -> Tensor:
        """As float32."""
        return self.to(dtype=dtypes.float32)

    def double(self) -> Tensor:
        """As float64."""
        return self.to(dtype=dtypes.float64)

    def half(self) -> Tensor:
        """As float16."""
        return self.to(dtype=dtypes.float16)

    def long(self) -> Tensor:
        """As int64."""
        return self.to(dtype=dtypes.int64)

    def int(self) -> Tensor:
        """As int32."""
        return self.to(dtype=dtypes.int32)

    def bool(self) -> Tensor:
        """As booleans: True where not 0."""
        return self.to(dtype=dtypes.bool)

    def new_full(
        self, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool_ = False
    ) -> Tensor:
        """One number everywhere, of this Tensor's dtype and device unless they are given."""
        xp = self.backend if device is None else backend_for(device)  # type: ignore[attr-defined]
        x = Tensor.wrap(xp.full(shaping.sizes((size,)), fill_value, dtype=dtype or self.dtype))
        return x.requires_grad_() if requires_grad else x

    def new_zeros(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool_ = False) -> Tensor:
        """Zeros of this Tensor's dtype and device unless they are given."""
        return self.new_full(shaping.sizes(size), 0, dtype=dtype, device=device, requires_grad=requires_grad)

    def new_ones(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool_ = False) -> Tensor:
        """Ones of this Tensor's dtype and device unless they are given."""
        return self.new_full(shaping.sizes(size), 1, dtype=dtype, device=device, requires_grad=requires_grad)

    def new_empty(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool_ = False) -> Tensor:
        """Memory as it comes, of this Tensor's dtype and device unless they are given (here: zeros)."""
        return self.new_full(shaping.sizes(size), 0, dtype=dtype, device=device, requires_grad=requires_grad)

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool_ = False) -> Tensor:
        """A copy of ``data`` of this Tensor's dtype and device unless they are given."""
        xp = self.backend if device is None else backend_for(device)  # type: ignore[attr-defined]
        x = Tensor.wrap(to_array(data, np.dtype(dtype or self.dtype), xp))
        return x.requires_grad_() if requires_grad else x

    def view_as(self, other: Tensor) -> Tensor:
        """This Tensor in the shape of ``other``."""
        return shaping.reshape(self, tuple(other.shape))

    def reshape_as(self, other: Tensor) -> Tensor:
        """This Tensor in the shape of ``other``."""
        return shaping.reshape(self, tuple(other.shape))


class Clone(Op):
    """A copy."""

    promotes = False

    def forward(self, xp, x):
        return x.copy(order="K") if xp.xp is np else x.copy()

    def vjp(self, g):
        return g

    def samples(draw):
        return (draw.array(draw.shape()),), lambda x: Clone()(x)


class Contiguous(Op):
    """A copy in row-major order."""

    promotes = False

    def forward(self, xp, x):
        return xp.ascontiguousarray(x).reshape(x.shape)

    def vjp(self, g):
        return g

    def samples(draw):
        return (draw.array(draw.shape(2)).T,), lambda x: Contiguous()(x)


def _comparable(other: Any) -> Any:
    return isinstance(other, (Tensor, int, float, np.generic)) or hasattr(other, "dtype")


def parse_to(args: tuple[Any, ...], place: Any, dtype: Any) -> tuple[device | None, np.dtype | None]:
    """Sort out what ``to(...)`` was given: devices, dtypes, or a Tensor to be like."""
    for arg in args:
        if isinstance(arg, Tensor):
            place, dtype = arg.device, arg.dtype
        elif isinstance(arg, device) or (isinstance(arg, str) and not _is_dtype_name(arg)):
            place = arg
        elif isinstance(arg, bool):
            continue  # non_blocking
        elif arg is not None:
            dtype = arg
    return (None if place is None else device(place)), (None if dtype is None else np.dtype(dtype))


def _is_dtype_name(name: str) -> bool:
    return name in ("float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")


for _name, _value in vars(TensorMethods).items():
    if _name not in ("__dict__", "__weakref__", "__module__", "__doc__", "__annotations__", "__qualname__", "__hash__"):
        setattr(RuntimeMethods, _name, _value)
