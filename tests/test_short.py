"""The short way of sums, differences and products gives what the ordinary way gives: numbers, graph and errors."""

from __future__ import annotations

import operator
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl
from minidl import nn
from minidl.ops import elementwise, short

OPERATORS = {
    "add": (elementwise.Add, operator.add),
    "sub": (elementwise.Sub, operator.sub),
    "mul": (elementwise.Mul, operator.mul),
}
SHAPES = ((), (1,), (3,), (2, 3), (2, 1), (0, 3), (4, 2, 3), (4, 3))  # not all of them broadcast


class Subclass(np.ndarray):
    """Not what the short way is for."""


def tensors(dtypes=("float32", "float64", "int64", "uint8", "bool")):
    def make(shape, dtype, grad, how, seed):
        values = np.random.default_rng(seed).uniform(-3, 3, shape)
        x = minidl.tensor(values.astype(dtype))
        if x.is_floating_point() and grad:
            x.requires_grad_()
        if how == "computed":
            x = abs(x) if x.dtype.kind != "b" else ~x
        elif how == "view":
            x = x.reshape(*shape, 1).transpose(0, -1).squeeze(0) if shape else x.reshape(1)[0]
        elif how == "subclass":
            x = minidl.Tensor.wrap(x.array.view(Subclass))
        elif how == "parameter" and x.is_floating_point():
            x = nn.Parameter(x.detach())
        return x

    return st.builds(
        make, st.sampled_from(SHAPES), st.sampled_from(dtypes), st.booleans(),
        st.sampled_from(["leaf", "computed", "view", "parameter", "subclass"]), st.integers(0, 99),
    )  # fmt: skip


others = st.one_of(
    tensors(),
    tensors(("float32",)),
    st.sampled_from([2.5, -3, True, 0, 1e300, 10**400, float("nan"), None, "x", [1.0], np.float64(2), np.int32(3)]),
    st.sampled_from([np.float64(2), np.float32(2), 1e38, -1e38]),
    st.builds(lambda shape: np.ones(shape, "float32"), st.sampled_from(SHAPES)),
    st.builds(lambda shape: minidl.Tensor.wrap(np.ones(shape, "float32").view(Subclass)), st.sampled_from(SHAPES)),
)


def as_array(x):
    return x.array if isinstance(x, minidl.Tensor) else np.asarray(x if isinstance(x, np.ndarray) else 0)


def outcome(compute, a, b):
    """The result, or the error; and what NumPy warned of. The operands stay as they were."""
    before = as_array(a).tobytes(), as_array(b).tobytes()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            y = compute(a, b)
        except Exception as error:
            y = type(error), str(error), type(error.__cause__), error.__cause__ and error.__cause__.__context__
    assert before == (as_array(a).tobytes(), as_array(b).tobytes())
    return y, [str(w.message) for w in caught]


def place(edge):
    """The same for an edge to the same leaf or node; a cast's node is made anew by each operation."""
    if edge is None:
        return None
    target, output = edge
    return (id(target) if isinstance(target, minidl.Tensor) or target.name != "CastBackward" else target.name), output


def described(y, a, b, cotangent):
    """All that can be seen of a result, and the gradients that come of it."""
    if isinstance(y, tuple):
        return y
    node, gradients = y.grad_fn, []
    if node is not None:
        wanted = [x for x in (a, b) if isinstance(x, minidl.Tensor) and x.requires_grad]
        found = minidl.autograd.grad(y, wanted, minidl.tensor(cotangent.astype(y.dtype)), allow_unused=True)
        gradients = [None if g is None else (g.numpy().tobytes(), g.shape, g.dtype) for g in found]
    graph = None if node is None else (node.name, *map(place, node.next_functions), node.needs, node.input_shapes)
    array = y.array
    memory = array.strides, array.flags.writeable, [np.shares_memory(array, as_array(x)) for x in (a, b)]
    history = y._version, y._base, set(vars(y))
    return type(y), type(array), array.tobytes(), y.shape, y.dtype, y.requires_grad, memory, history, graph, gradients


@settings(max_examples=400, deadline=None)
@given(which=st.sampled_from(sorted(OPERATORS)), a=tensors(), b=others, recorded=st.booleans(), seed=st.integers(0, 99))
def test_same_as_the_ordinary_way(which, a, b, recorded, seed):
    op, compute = OPERATORS[which]
    with minidl.set_grad_enabled(recorded):
        (usual, warned), (quick, as_well) = outcome(op(), a, b), outcome(compute, a, b)
    assert warned == as_well
    if not isinstance(usual, tuple) and not isinstance(quick, tuple):
        cotangent = np.random.default_rng(seed).uniform(-1, 1, usual.shape)
        first, second = described(usual, a, b, cotangent), described(quick, a, b, cotangent)
        assert first == second
    else:
        assert usual == quick


@pytest.mark.parametrize("which", sorted(OPERATORS))
def test_what_is_saved_is_watched(which):
    a, b = minidl.ones(3, requires_grad=True), minidl.full((3,), 2.0)
    y = OPERATORS[which][1](a, b)
    b += 1
    if which == "mul":
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()
    else:
        y.sum().backward()


def test_who_takes_the_short_way(monkeypatch):
    taken = []
    monkeypatch.setattr(elementwise.Mul, "__call__", lambda self, *inputs: taken.append(inputs))
    x = minidl.ones(4)
    assert (x * x).shape == (4,) and (x * 2.0).shape == (4,) and (3 * x).shape == (4,)
    assert (x * minidl.ones(2, 1)).shape == (2, 4)
    assert not taken
    large = minidl.ones(short.SMALL)
    for a, b in ((large, x[:1]), (x[:1], large), (x, x.double()), (x, True), (x.long(), x.long()), (x, minidl.ones(3))):
        a * b
        assert taken.pop() == (a, b) and not taken
