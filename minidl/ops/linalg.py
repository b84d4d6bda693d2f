"""Matrix products."""

from __future__ import annotations

import string
from typing import Any

from minidl.backend import backend_of
from minidl.ops.activation import ThenReLU, relu
from minidl.ops.base import Op, at_place, same_dtype, sum_to
from minidl.ops.diagonals import diagonal
from minidl.ops.reduction import sum
from minidl.ops.samples import reals
from minidl.ops.shape import broadcast_to, permute, reshape, transpose, unsqueeze
from minidl.tensor import Tensor


class MatMul(Op):
    """The product of matrices, over any leading dimensions: (…, n, k) · (…, k, m) → (…, n, m)."""

    label = "matmul"

    def forward(self, xp, a, b):
        self.shapes = a.shape, b.shape
        return xp.matmul(a, b)

    def vjp_a(self, g, b):
        return sum_to(MatMul()(g, transpose(b, -1, -2)), self.shapes[0])

    def vjp_b(self, g, a):
        return sum_to(MatMul()(transpose(a, -1, -2), g), self.shapes[1])

    def samples(draw):
        n, k, m = (draw.integer(0 if draw.integer(0, 9) == 0 else 1, 4) for _ in range(3))
        first, second = (shape[-2:] for shape in draw.broadcast_shapes(2))
        return (draw.array((*first, n, k)), draw.array((*second, k, m))), matmul


class Linear(Op):
    """x · Wᵀ + b for x (N, in), W (out, in), b (out) or None."""

    def forward(self, xp, x, weight, bias):
        return xp.matmul(x, weight.T, bias)

    def vjp_x(self, g, weight):
        return _product(g, weight)

    def vjp_weight(self, g, x):
        return _product(g.T, x)

    def vjp_bias(self, g):
        return sum(g, 0) if isinstance(g, Tensor) else backend_of(g).channel_sums(g)

    def samples(draw):
        n, i, o = draw.integer(0, 4), draw.integer(1, 4), draw.integer(1, 4)
        arrays = (draw.array((n, i)), draw.array((o, i)), draw.array((o,)))
        return arrays[: draw.integer(2, 3)], linear


class LinearReLU(ThenReLU, Linear):
    """``Linear``, and of the result what is above 0."""

    def forward(self, xp, x, weight, bias):
        return xp.matmul(x, weight.T, bias, "relu")

    def samples(draw):
        n, i, o = draw.integer(0, 4), draw.integer(1, 4), draw.integer(1, 4)
        # Far from 0, where there is no derivative: small products, and a bias that decides.
        x, weight = draw.array((n, i), reals(-0.3, 0.3)), draw.array((o, i), reals(-0.3, 0.3))
        bias = draw.generator().choice([-1.0, 1.0], o)
        return (x, weight, bias), lambda x, w, b: linear(x, w, b, then="relu")


class Einsum(Op):
    """A sum of products in Einstein's notation, in which every letter of an operand is in the output or another operand."""

    def __init__(self, operands, output):
        self.operands, self.output = operands, output

    def forward(self, xp, *xs):
        return xp.einsum(
            f"{','.join(self.operands)}->{self.output}", *xs, **({"optimize": True} if len(xs) > 2 else {})
        )

    def vjp(self, g, *xs):
        results = []
        for i, need in enumerate(self.needs):
            others = [j for j in range(len(xs)) if j != i]
            letters = (self.output, *(self.operands[j] for j in others))
            results.append(Einsum(letters, self.operands[i])(g, *(xs[j] for j in others)) if need else None)
        return results

    def samples(draw):
        equation = draw.choice(
            ["ij,jk->ik", "bij,bjk->bik", "ij,ij->", "i,j->ij", "ij->ji", "ii->i", "ii", "ij->", "bij,kj,bl->ikl", "...i,i->...",
             "i,i,i->i", "ij,jk", "i,i"]
        )  # fmt: skip
        lengths = {c: draw.integer(1, 3) for c in "bijkl"}
        arrays = []
        for term in equation.split("->")[0].split(","):
            lead = (2, 3)[: draw.integer(0, 2)] if "..." in term else ()
            arrays.append(draw.array((*lead, *(lengths[c] for c in term.replace("...", "")))))
        return tuple(arrays), lambda *xs: einsum(equation, *xs)


def _product(a: Any, b: Any) -> Any:
    """The product of two matrices of one dtype."""
    return MatMul()(a, b) if isinstance(a, Tensor) else backend_of(a).matmul(a, b)


# -- public functions -------------------------------------------------------------------------------------------------


def matmul(input: Any, other: Any) -> Any:
    """The matrix product, with PyTorch's (and NumPy's) rules for vectors and leading dimensions.

    Raises:
        RuntimeError: if the inner sizes differ.
    """
    a, b = input, other
    same_dtype("matmul", a, b)
    if a.ndim == 0 or b.ndim == 0:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {a.ndim}D and {b.ndim}D")
    inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
    if a.shape[-1] != inner:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({'x'.join(map(str, a.shape))} and "
            f"{'x'.join(map(str, b.shape))}){at_place()}"
        )
    if a.ndim == 1:
        y = matmul(unsqueeze(a, 0), b)
        return reshape(y, (*y.shape[:-2], y.shape[-1]) if b.ndim > 1 else ())
    if b.ndim == 1:
        y = matmul(a, unsqueeze(b, 1))
        return reshape(y, y.shape[:-1])
    if any(m != n and 1 not in (m, n) for m, n in zip(a.shape[-3::-1], b.shape[-3::-1], strict=False)):
        raise RuntimeError(
            f"matmul: the leading (batch) sizes of {tuple(a.shape)} and {tuple(b.shape)} must match or be 1 at every "
            f"non-singleton dimension{at_place()}"
        )
    if a.ndim > 2 and b.ndim == 2:  # one large product instead of many small ones
        return reshape(MatMul()(_flat(a), b), (*a.shape[:-1], b.shape[1]))
    return MatMul()(a, b)


def _flat(a: Any) -> Any:
    rows = 1
    for n in a.shape[:-1]:
        rows *= n
    return reshape(a, (rows, a.shape[-1]))


def linear(input: Any, weight: Any, bias: Any = None, *, then: str | None = None) -> Any:
    """input · weightᵀ + bias: (…, in), (out, in), (out) → (…, out).

    Args:
        then: "relu", to have that applied to the result in the same pass.

    Raises:
        RuntimeError: if the sizes do not fit.
        ValueError: for another ``then``.
    """
    if then not in (None, "relu"):
        raise ValueError(f"linear: then={then!r} is not 'relu'{at_place()}")
    op = Linear if then is None else LinearReLU
    if isinstance(input, Tensor) and input.array.ndim == 2 == weight.array.ndim:  # the most frequent case, for speed
        x, w = input.array, weight.array
        usual = bias is None or (bias.array.dtype is w.dtype and bias.array.shape == w.shape[:1])
        if usual and x.shape[1] == w.shape[1] and x.dtype is w.dtype:
            return op()(input, weight, bias)
    if not hasattr(input, "dtype"):
        raise TypeError(
            f"linear(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}{at_place()}"
        )
    if input.ndim == 0 or input.shape[-1] != weight.shape[-1]:
        rows = "x".join(map(str, input.shape)) or "0-d"
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({rows} and {weight.shape[-1]}x"
            f"{weight.shape[0] if weight.ndim > 1 else 1}): "
            f"linear expects {weight.shape[-1]} input features, got an input of shape {tuple(input.shape)}{at_place()}"
        )
    same_dtype("linear", input, weight, bias)
    if weight.ndim == 1 or (bias is not None and weight.ndim == 2 and tuple(bias.shape) != (weight.shape[0],)):
        y = matmul(input, weight) if weight.ndim == 1 else linear(input, weight)
        y = y if bias is None else y + bias
        return y if then is None else relu(y)
    if input.ndim == 2:
        return op()(input, weight, bias)
    return reshape(op()(_flat(input), weight, bias), (*input.shape[:-1], weight.shape[0]))


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices (no broadcasting)."""
    if input.ndim != 2 or mat2.ndim != 2:
        raise RuntimeError(f"mm: both arguments must be matrices, got shapes {input.shape} and {mat2.shape}")
    return matmul(input, mat2)


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Products of two stacks of matrices of equal length (no broadcasting)."""
    if input.ndim != 3 or mat2.ndim != 3 or input.shape[0] != mat2.shape[0]:
        raise RuntimeError(
            f"bmm: expected two 3D tensors with equal batch size, got shapes {input.shape} and {mat2.shape}"
        )
    return matmul(input, mat2)


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """A matrix times a vector."""
    if input.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(f"mv: expected a matrix and a vector, got shapes {input.shape} and {vec.shape}")
    return matmul(input, vec)


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The inner product of two vectors."""
    if input.ndim != 1 or tensor.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {input.ndim}D and {tensor.ndim}D tensors")
    return matmul(input, tensor)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of an element of one vector with an element of the other."""
    return unsqueeze(input, 1) * unsqueeze(vec2, 0)


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta · input + alpha · (mat1 · mat2)."""
    product = mm(mat1, mat2)
    return (input if beta == 1 else input * beta) + (product if alpha == 1 else product * alpha)


def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta · input + alpha · (mat · vec)."""
    product = mv(mat, vec)
    return (input if beta == 1 else input * beta) + (product if alpha == 1 else product * alpha)


def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta · input + alpha · bmm(batch1, batch2)."""
    product = bmm(batch1, batch2)
    return (input if beta == 1 else input * beta) + (product if alpha == 1 else product * alpha)


def inner(input: Tensor, other: Tensor) -> Tensor:
    """The inner products along the last dimensions."""
    if input.ndim == 0 or other.ndim == 0:
        return input * other
    return tensordot(input, other, ([-1], [-1]))


def einsum(equation: str, *operands: Any) -> Any:
    """A sum of products in Einstein's notation: ``einsum("bij,bjk->bik", a, b)``. ``...`` stands for further dimensions.

    Raises:
        RuntimeError: if the equation does not fit the operands.
    """
    xs = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
    left, arrow, output = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(xs):
        raise RuntimeError(f"einsum(): the equation '{equation}' has {len(terms)} operands, {len(xs)} were given")
    # "..." becomes letters of its own
    spare = [c for c in string.ascii_letters if c not in equation]
    most = 0
    for i, (term, x) in enumerate(zip(terms, xs, strict=True)):
        extra = x.ndim - len(term.replace("...", ""))
        if extra < 0 or (extra and "..." not in term):
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ('{term}') does not match the number of dimensions "
                f"({x.ndim}) for operand {i}, of shape {tuple(x.shape)}"
            )
        most = max(most, extra)
        terms[i] = term.replace("...", f"{{{extra}}}")
    ellipsis = spare[:most]
    terms = [t if "{" not in t else _fill(t, ellipsis) for t in terms]
    if not arrow:
        letters = "".join(terms)
        output = "".join(ellipsis) + "".join(
            sorted(c for c in set(letters) if letters.count(c) == 1 and c not in ellipsis)
        )
    else:
        output = output.replace("...", "".join(ellipsis))
    for c in output:
        if output.count(c) > 1 or not any(c in t for t in terms):
            raise RuntimeError(
                f"einsum(): output subscript {c} of '{equation}' appears more than once or in no operand"
            )
    lengths: dict[str, int] = {}
    for term, x in zip(terms, xs, strict=True):
        for c, n in zip(term, x.shape, strict=True):
            if lengths.setdefault(c, n) not in (n, 1) and n != 1:
                raise RuntimeError(
                    f"einsum(): subscript {c} has size {n} for an operand and {lengths[c]} for another in '{equation}'"
                )
            lengths[c] = max(lengths[c], n) if n != 0 else 0
    for i, x in enumerate(xs):
        x = (
            broadcast_to(x, tuple(lengths[c] for c in terms[i]))
            if any(n != lengths[c] for c, n in zip(terms[i], x.shape, strict=True))
            else x
        )
        xs[i], terms[i] = _diagonals(x, terms[i])
    for i, term in enumerate(terms):  # letters that stand in one operand only are summed before the product
        others = output + "".join(t for j, t in enumerate(terms) if j != i)
        alone = tuple(d for d, c in enumerate(term) if c not in others)
        if alone:
            xs[i], terms[i] = sum(xs[i], alone), "".join(c for c in term if c in others)
    if len(xs) == 1:
        return permute(xs[0], [terms[0].index(c) for c in output])
    return Einsum(tuple(terms), output)(*xs)


def _fill(term: str, letters: list[str]) -> str:
    """Replace "{n}" by the last n of the letters that stand for "..."."""
    start, stop = term.index("{"), term.index("}")
    n = int(term[start + 1 : stop])
    return term[:start] + "".join(letters[len(letters) - n :]) + term[stop + 1 :]


def _diagonals(x: Any, term: str) -> tuple[Any, str]:
    """Resolve letters that come twice in one operand."""
    for c in dict.fromkeys(term):
        while term.count(c) > 1:
            first = term.index(c)
            second = term.index(c, first + 1)
            x = diagonal(x, 0, first, second)
            term = term[:first] + term[first + 1 : second] + term[second + 1 :] + c
    return x, term


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """The sum of products over the last ``dims`` dimensions of a and the first of b, or over two lists of dimensions."""
    if isinstance(dims, int):
        dims = (list(range(a.ndim - dims, a.ndim)), list(range(dims)))
    over_a, over_b = [d % a.ndim for d in dims[0]], [d % b.ndim for d in dims[1]]
    letters_a = list(string.ascii_letters[: a.ndim])
    letters_b = list(string.ascii_letters[a.ndim : a.ndim + b.ndim])
    for i, j in zip(over_a, over_b, strict=True):
        letters_b[j] = letters_a[i]
    out = [c for d, c in enumerate(letters_a) if d not in over_a] + [
        c for d, c in enumerate(letters_b) if d not in over_b
    ]
    return einsum(f"{''.join(letters_a)},{''.join(letters_b)}->{''.join(out)}", a, b)
