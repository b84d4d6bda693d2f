"""What the stand-in for CuPy computes is what NumPy computes; its names are CuPy's; minidl finds it as a device."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.backend import backend_for, backend_of
from tests.strict import StrictArray, xp
from tests.strict.backend import strict_backend
from tests.strict.manifest import NAMES, Parameters
from tests.test_strict import host, same

# -- results ---------------------------------------------------------------------------------------------------------

CALLS = {
    "sum": lambda m, a, b: m.sum(a, axis=1, keepdims=True),
    "sum_all": lambda m, a, b: m.sum(a),
    "mean_method": lambda m, a, b: a.mean(axis=(0, 1)),
    "max": lambda m, a, b: a.max(0),
    "argmax": lambda m, a, b: m.argmax(a, 1),
    "var": lambda m, a, b: m.var(a, axis=0, ddof=1),
    "cumsum": lambda m, a, b: m.cumsum(a, axis=1),
    "matmul": lambda m, a, b: a @ b.T,
    "dot": lambda m, a, b: m.dot(a, b.T),
    "einsum": lambda m, a, b: m.einsum("ij,kj->ik", a, b),
    "tensordot": lambda m, a, b: m.tensordot(a, b, axes=([1], [1])),
    "where": lambda m, a, b: m.where(a > b, a, 0),
    "maximum": lambda m, a, b: m.maximum(a, b),
    "clip": lambda m, a, b: m.clip(a, 2, 4),
    "clip_none": lambda m, a, b: m.clip(a, None, 4),
    "power": lambda m, a, b: a**2 / (b + 1),
    "reflected": lambda m, a, b: 1 - a + 2.0**b // 3 % 2,
    "numpy_scalar": lambda m, a, b: np.float64(2) * a,
    "concatenate": lambda m, a, b: m.concatenate((a, b), axis=1),
    "stack": lambda m, a, b: m.stack([a, b], axis=-1),
    "pad": lambda m, a, b: m.pad(a, ((1, 0), (0, 2)), constant_values=3),
    "tile": lambda m, a, b: m.tile(a, (2, 1)),
    "repeat": lambda m, a, b: m.repeat(a, 2, axis=0),
    "roll": lambda m, a, b: m.roll(a, 1, axis=0),
    "sort": lambda m, a, b: m.sort(a, axis=1),
    "argsort": lambda m, a, b: m.argsort(a, axis=1),
    "take_along_axis": lambda m, a, b: m.take_along_axis(a, m.argsort(a, axis=1), axis=1),
    "searchsorted": lambda m, a, b: m.searchsorted(m.arange(5), a),
    "isnan": lambda m, a, b: ~m.isnan(a) & (a != b),
    "all": lambda m, a, b: (a > 0).all(),
    "full_like": lambda m, a, b: m.full_like(a, 3),
    "linspace": lambda m, a, b: m.linspace(0, 1, 5, dtype=m.float32),
    "eye": lambda m, a, b: m.eye(3, 4, 1),
    "tril": lambda m, a, b: m.tril(a),
    "flip": lambda m, a, b: m.flip(a, axis=(0, 1)),
    "reshape": lambda m, a, b: m.reshape(a, (-1,)),
    "divide_by_zero": lambda m, a, b: a / (b * 0),
    "divmod": lambda m, a, b: divmod(a, b)[1],
    "norm": lambda m, a, b: m.linalg.norm(a, axis=1),
    "solve": lambda m, a, b: m.linalg.solve(m.eye(3) * 2, m.ones((3, 1))),
    "modf": lambda m, a, b: m.modf(a / 2)[0],
    "allclose": lambda m, a, b: m.allclose(a, a),
    "count_nonzero": lambda m, a, b: m.count_nonzero(a > 2),
    "bincount": lambda m, a, b: m.bincount(m.arange(4), minlength=6),
    "out": lambda m, a, b: m.add(a, b, out=m.empty_like(a)),
    "reduction_out": lambda m, a, b: m.sum(a, axis=0, out=m.zeros_like(a[0])),
}


@pytest.mark.parametrize("name", CALLS)
def test_results_are_numpys(name):
    a, b = host(), host()[::-1].copy()
    with np.errstate(all="ignore"):
        expected = CALLS[name](np, a, b)
    same(CALLS[name](xp, xp.asarray(a), xp.asarray(b)), expected)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["bool", "int32", "int64", "uint8", "float16", "float32", "float64"]),
    st.sampled_from(["bool", "int32", "int64", "uint8", "float16", "float32", "float64"]),
    st.sampled_from(["add", "multiply", "true_divide", "maximum", "less", "logical_and"]),
    st.sampled_from([((), ()), ((3,), ()), ((2, 3), (3,)), ((2, 1), (1, 3)), ((0,), (1,))]),
)
def test_ufuncs_promote_and_broadcast_as_numpys(dtype_a, dtype_b, name, shapes):
    a, b = host(shapes[0], dtype_a), host(shapes[1], dtype_b)
    same(getattr(xp, name)(xp.asarray(a), xp.asarray(b)), getattr(np, name)(a, b))
    same(getattr(np, name)(xp.asarray(a), xp.asarray(b)), getattr(np, name)(a, b))  # CuPy answers for NumPy
    same(getattr(xp, name)(xp.asarray(a), 2), getattr(np, name)(a, 2))


def test_in_place_operators_keep_array_and_dtype():
    a = xp.asarray(host())
    before = a
    a += np.float64(1)
    a *= a
    assert a is before
    same(a, (host() + 1) ** 2)
    with pytest.raises(TypeError):
        counts = xp.ones(2, np.int32)
        counts += 0.5


def test_reductions_give_arrays():
    a = xp.asarray(host())
    for result in (a.sum(), a[0, 0], xp.max(a), a.argmax(), xp.dot(a[0], a[0]), a.mean(), xp.array_equal(a, a)):
        assert type(result) is StrictArray
        assert result.shape == ()
    assert type(xp.size(a)) is int and xp.ndim(a) == 2 and xp.shape(a) == (3, 4)


def test_constants_and_dtypes():
    assert xp.newaxis is None and xp.pi == np.pi and xp.inf == np.inf and xp.float32 is np.float32
    assert xp.ndarray is StrictArray
    assert xp.finfo(xp.float32).eps == np.finfo(np.float32).eps
    assert xp.get_array_module(xp.ones(1)) is xp and xp.get_array_module(np.ones(1)) is np


def test_copies_and_pickles():
    a = xp.asarray(host())
    for twin in (copy.copy(a), copy.deepcopy(a), pickle.loads(pickle.dumps(a))):
        same(twin, host())
        assert twin is not a
    b = xp.empty((3, 4), np.float32)
    b.set(host())
    same(b, host())
    with pytest.raises(TypeError):
        b.set(host(dtype=np.float64))


# -- the manifest and the backend ------------------------------------------------------------------------------------


def test_manifest():
    assert NAMES["cupy.sum"].rest == "a,axis=,dtype=,out=,keepdims="
    assert NAMES["cupy.add"] == ("ufunc", "2 1 at")
    assert sum(name.startswith("cupy.") and name.count(".") == 1 for name in NAMES) == 485
    parameters = Parameters.parse("a,axis=,*,dtype=,**kwargs")
    assert parameters == (("a", "axis"), frozenset({"a", "axis", "dtype"}), False, True)


def test_every_method_of_the_class_is_cupys():
    own = {name for name in dir(StrictArray) if not name.startswith("_")}
    assert own <= {name.removeprefix("cupy.ndarray.") for name in NAMES if name.startswith("cupy.ndarray.")}
    missing = {n.removeprefix("cupy.ndarray.") for n in NAMES if n.startswith("cupy.ndarray.")} - own
    # NumPy 2.0 still had a `ptp` method to take over, which 2.1 removed
    assert missing | {"ptp"} == {"cstruct", "data", "flat", "mdspan", "reduced_view", "toDlpack", "ptp"}


def test_backend():
    a = strict_backend.from_numpy(host())
    assert backend_of(a) is strict_backend is backend_for("strict")
    assert type(strict_backend.to_numpy(a)) is np.ndarray
    strict_backend.scatter_add(a, xp.asarray([0, 0]), 1.0)
    expected = host()
    expected[0] += 2
    same(a, expected)
    same(strict_backend.exp(a), np.exp(expected))
