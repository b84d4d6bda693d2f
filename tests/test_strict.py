"""The stand-in for CuPy: every refusal that it promises is raised."""

from __future__ import annotations

import numpy as np
import pytest

from tests.strict import StrictArray, UndefinedOnGPU, count_syncs, count_uploads, cupyx, xp
from tests.strict.backend import strict_backend


def host(shape=(3, 4), dtype=np.float32):
    return (np.arange(np.prod(shape)).reshape(shape) * 3 % 7 + 1).astype(dtype)


def same(strict, expected):
    """Assert that a StrictArray holds exactly these values, in this shape and dtype."""
    assert type(strict) is StrictArray
    got = strict.get()
    expected = np.asarray(expected)
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    np.testing.assert_array_equal(got, expected)


class Foreign:
    """An operand with operators of its own, as minidl's Tensor is."""

    __array_ufunc__ = None

    def __radd__(self, other):
        return "radd"

    __rmatmul__ = __rtruediv__ = __radd__

    def __lt__(self, other):
        return "lt"

    def __eq__(self, other):
        return "eq"

    __hash__ = None


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("convert", [np.asarray, np.array, lambda a: np.zeros(12).reshape(3, 4).__setitem__(0, a[0])])
def test_implicit_conversion_raises_cupys_message(convert):
    with pytest.raises(TypeError) as error:
        convert(xp.asarray(host()))
    assert str(error.value) == (
        "Implicit conversion to a NumPy array is not allowed. "
        "Please use `.get()` to construct a NumPy array explicitly."
    )


@pytest.mark.parametrize("other", [[1.0], (1.0,), np.ones(4, np.float32), np.array(1.0), None, "1"])
@pytest.mark.parametrize(
    "operate",
    [
        lambda a, b: a + b,
        lambda a, b: b + a,
        lambda a, b: a @ b,
        lambda a, b: a == b,
        lambda a, b: a.__iadd__(b),
        lambda a, b: xp.add(a, b),
        lambda a, b: xp.where(a > 0, a, b if b is not None else []),
        lambda a, b: xp.exp(b),
        lambda a, b: xp.sum(b),
        lambda a, b: xp.concatenate([a, b]),
        lambda a, b: xp.dot(a, b),
        lambda a, b: xp.matmul(a, b),
        lambda a, b: np.add(a, b),
    ],
)
def test_foreign_operands_are_refused(operate, other):
    with pytest.raises(TypeError):
        operate(xp.asarray(host()), other)


def test_an_operand_with_operators_of_its_own_gets_its_turn():
    a, foreign = xp.asarray(host()), Foreign()
    assert a + foreign == "radd"
    assert a @ foreign == "radd"
    assert a / foreign == "radd"
    assert (a > foreign) == "lt"
    assert (a == foreign) == "eq"
    with pytest.raises(TypeError, match="Unsupported type"):
        a += foreign  # CuPy's in-place operators do not ask the other side
    with pytest.raises(TypeError, match="Unsupported type"):
        a + object()


@pytest.mark.parametrize(
    "name",
    ["errstate", "nditer", "insert", "block", "einsum_path", "vecdot", "frompyfunc", "spacing", "_core", "nonsense"],
)
def test_names_that_cupy_lacks_are_absent(name):
    assert not hasattr(xp, name)
    assert not hasattr(strict_backend, name)


@pytest.mark.parametrize("name", ["normal", "choice", "permutation", "shuffle"])
def test_generator_lacks_what_cupys_lacks(name):
    generator = xp.random.default_rng(0)
    assert not hasattr(generator, name)
    same(generator.random(3), np.random.default_rng(0).random(3))


@pytest.mark.parametrize(
    "call",
    [
        lambda a, m: a.sum(where=m),
        lambda a, m: xp.sum(a, where=m),
        lambda a, m: xp.mean(a, where=m),
        lambda a, m: xp.max(a, initial=0.0),
        lambda a, m: xp.var(a, correction=1),
        lambda a, m: xp.add(a, a, where=m),
        lambda a, m: xp.exp(a, order="C"),
        lambda a, m: xp.take(a, xp.asarray([0]), mode="clip"),
        lambda a, m: xp.clip(a, min=0),
        lambda a, m: xp.count_nonzero(a, keepdims=True),
        lambda a, m: xp.zeros(3, like=a),
        lambda a, m: xp.sort(a, stable=True),
        lambda a, m: a.item(0),
        lambda a, m: xp.sum(a, 0, None, None, False, 0.0),
        lambda a, m: xp.argmax(a, dtype=np.int32),
    ],
)
def test_parameters_that_cupy_or_numpy_lacks_are_refused(call):
    a = xp.asarray(host())
    with pytest.raises(TypeError):
        call(a, a > 2)


def test_ufunc_methods():
    a = xp.asarray(host())
    same(xp.add.reduce(a, axis=1), np.add.reduce(host(), axis=1))
    same(xp.multiply.accumulate(a, axis=1), np.multiply.accumulate(host(), axis=1))
    for method in (xp.maximum.reduce, xp.maximum.accumulate, xp.logical_or.reduce):
        with pytest.raises(NotImplementedError, match="is not supported yet"):
            method(a)
    with pytest.raises(NotImplementedError, match="at` is not supported"):
        xp.multiply.at(a, xp.asarray([0]), 1.0)
    with pytest.raises(TypeError):
        np.add.reduce(a)


def test_a_device_array_is_no_shape_and_no_index():
    n = xp.asarray(2)
    for use in (
        lambda: xp.zeros(n),
        lambda: xp.zeros((n, 2)),
        lambda: [1, 2, 3][n],
        lambda: range(n),
        lambda: xp.ones(3)[:n],
    ):
        with pytest.raises(TypeError):
            use()


def test_unsupported_dtypes():
    for make in (lambda: xp.asarray(["a"]), lambda: xp.asarray([None]), lambda: xp.ones(2).astype(object)):
        with pytest.raises(ValueError, match="Unsupported dtype"):
            make()


def test_flags_are_cupys():
    a = xp.asarray(host())
    assert a.flags.c_contiguous and not a.T.flags.c_contiguous and a.T.flags.f_contiguous
    assert a.flags.owndata and not a.T.flags.owndata
    assert a.flags["C_CONTIGUOUS"]
    with pytest.raises(AttributeError):
        a.flags.writeable  # noqa: B018
    assert not hasattr(a, "ctypes") and not hasattr(a, "__array_interface__")
    with pytest.raises(TypeError):
        hash(a)


# -- indices ---------------------------------------------------------------------------------------------------------


def test_index_out_of_range_raises():
    a = xp.asarray(host())
    index = xp.asarray([0, 3])
    for use in (
        lambda: a[3],
        lambda: a[index],
        lambda: a.__setitem__(index, 0.0),
        lambda: xp.take(a, index, axis=0),
        lambda: cupyx.scatter_add(a, index, 1.0),
        lambda: xp.take_along_axis(a, index[:, None], axis=0),
    ):
        with pytest.raises(IndexError):
            use()
    with pytest.raises(IndexError, match="must be of integer or boolean type"):
        a[xp.asarray([0.0])]


def test_assignment_through_duplicate_indices_raises():
    a, twice, once = xp.zeros(4), xp.asarray([1, 1, 2]), xp.asarray([1, -1, 2])
    with pytest.raises(UndefinedOnGPU):
        a[twice] = xp.ones(3)
    with pytest.raises(UndefinedOnGPU):
        a[xp.asarray([1, -3])] = xp.ones(2)  # one place, written in two ways
    with pytest.raises(UndefinedOnGPU):
        xp.zeros((2, 4))[xp.asarray([0, 0]), xp.asarray([1, 1])] = xp.ones(2)
    with pytest.raises(UndefinedOnGPU):
        xp.put_along_axis(a, twice, xp.ones(3), 0)
    same(a, np.zeros(4))
    a[twice] = 5.0  # whichever write comes last, it is the same number
    a[once] = xp.asarray([1.0, 2.0, 3.0])
    same(a, [0.0, 1.0, 3.0, 2.0])


def test_values_that_cannot_be_assigned():
    a = xp.zeros((3, 4))
    with pytest.raises(ValueError, match="non-scalar numpy.ndarray cannot be used for fill"):
        a[0] = np.ones(4)
    with pytest.raises(TypeError):
        a[0] = [1.0, 2.0, 3.0, 4.0]
    a[0], a[1], a[2, 3] = np.float32(2), xp.ones(4), 7
    same(a, np.array([[2.0] * 4, [1.0] * 4, [0, 0, 0, 7.0]]))


@pytest.mark.parametrize(
    "index",
    [
        0,
        (1, 2),
        (..., 1),
        (Ellipsis,),
        slice(None, None, 2),
        (slice(1, 3), None, -1),
        (0, slice(None), slice(1, 3)),
        np.array([2, 0]),
        (np.array([[0], [2]]), slice(None), np.array([1, 1])),
        (slice(None), np.array([1, 0, 1])),
        np.array([True, False, True]),
        np.array(1),
    ],
)
def test_indexing_is_numpys(index):
    a = host((3, 4, 2))
    strict = xp.asarray(a)
    on_device = tuple(map(upload, index)) if isinstance(index, tuple) else upload(index)
    same(strict[on_device], a[index])
    is_view = np.shares_memory(a, a[index]) or not isinstance(a[index], np.ndarray)
    assert (strict[on_device].base is strict) == is_view
    assert strict[on_device].flags.c_contiguous or is_view
    unique = np.unique(np.arange(a.size).reshape(a.shape)[index]).size == np.arange(a.size).reshape(a.shape)[index].size
    if unique:
        value = host(a[index].shape)
        a[index] = value
        strict[on_device] = xp.asarray(value)
        same(strict, a)


def upload(part):
    return xp.asarray(part) if isinstance(part, np.ndarray) else part


def test_scatter():
    index = xp.asarray([0, 2, 2])
    for dtype in ("int32", "float16", "float32", "float64", "uint32", "uint64"):
        a = xp.zeros(3, dtype)
        cupyx.scatter_add(a, index, xp.asarray([1, 2, 3], dtype))
        xp.add.at(a, index, 1)
        same(a, np.array([2, 0, 7], dtype))
    for dtype in ("int64", "int8", "int16", "bool", "complex64"):
        for add in (cupyx.scatter_add, xp.add.at):
            with pytest.raises(TypeError, match="scatter_add only supports"):
                add(xp.zeros(3, dtype), index, 1)
    with pytest.raises(TypeError, match="scatter_max only supports"):
        cupyx.scatter_max(xp.zeros(3, "float16"), index, 1.0)
    a = xp.asarray([5.0, 0.0, 1.0])
    cupyx.scatter_max(a, index, xp.asarray([1.0, 9.0, 2.0]))
    cupyx.scatter_min(a, xp.asarray([1]), -1.0)
    same(a, [5.0, -1.0, 9.0])
    cupyx.scatter_add(a, slice(0, 2), 1.0)
    cupyx.scatter_add(a, a > 8, 1.0)
    same(a, [6.0, 0.0, 10.0])


# -- views and copies ------------------------------------------------------------------------------------------------


def test_base_is_the_root_of_a_view_and_none_for_a_copy():
    a = xp.asarray(host((2, 3, 4)))
    assert a.base is None
    for view in (
        a[0], a[:, None], a[0, 0, 0], a[...], a.T, a.reshape(6, 4), a.ravel(), a.transpose(0, 2, 1), a.swapaxes(0, 1),
        a.view(), xp.moveaxis(a, 0, 1), xp.expand_dims(a, 0), xp.squeeze(a[:1]), xp.broadcast_to(a, (5, 2, 3, 4)),
        a.diagonal(), xp.lib.stride_tricks.sliding_window_view(a, 2, axis=2), xp.split(a, 2, axis=2)[1], a[0].T[1:],
        xp.broadcast_arrays(a, xp.ones((2, 2, 3, 4)))[0], a.astype(np.float32, copy=False)[1], xp.flip(a, 0),
    ):  # fmt: skip
        assert view.base is a
    for new in (
        a.copy(), a + 0, a.T.ravel(), a.flatten(), a[xp.asarray([0, 1])], a[a > 0], a.astype(np.float64), xp.array(a),
        a.sum(0), xp.ascontiguousarray(a.T), xp.take(a, xp.asarray([0]), 0), xp.tensordot(a, a, 3), xp.roll(a, 1),
    ):  # fmt: skip
        assert new.base is None
    for itself in (xp.asarray(a), xp.ascontiguousarray(a), a.astype(np.float32, copy=False), a.real, a[0, 0].T):
        assert itself is a or itself.base is a
    assert xp.asarray(a) is a


def test_writing_into_a_view_writes_into_the_root():
    a = xp.zeros((2, 3))
    a.T[2] += 1.0
    a[0].fill(4)
    b = a[1, 0]
    b += 7
    same(a, [[4.0, 4.0, 4.0], [7.0, 0.0, 1.0]])


def test_input_is_copied():
    source = host()
    a = xp.asarray(source)
    source[0, 0] = 99
    assert float(a[0, 0]) == 1.0
    got = a.get()
    got[0, 0] = 98
    assert float(a[0, 0]) == 1.0


def test_new_results_are_row_major_as_in_cupy():
    channels_last = xp.asarray(host((2, 4, 3))).transpose(0, 2, 1)
    for result in (
        channels_last + 1, -channels_last, xp.exp(channels_last), channels_last.sum(0), channels_last.copy(),
        xp.where(channels_last > 0, channels_last, 0), xp.concatenate([channels_last, channels_last]),
    ):  # fmt: skip
        assert result.flags.c_contiguous
    for result in (xp.empty_like(channels_last), channels_last.copy("K"), channels_last.astype(np.float64)):
        assert np.argsort(result.strides).tolist() == np.argsort(channels_last.strides).tolist()


# -- waiting for the GPU ---------------------------------------------------------------------------------------------


def test_synchronisations_are_counted():
    a = xp.asarray(host())
    with count_syncs() as syncs:
        total = (a * 2 + xp.exp(a)).sum(axis=0).mean()
        a[1:, 0] = total
        xp.array_equal(a, a)
    assert syncs == {}
    with count_syncs() as outer, count_syncs() as inner:
        float(total)
        int(total)
        bool(total > 0)
        total.item()
        a.get()
        a.tolist()
        xp.asnumpy(a)
        a[a > 2]
        xp.nonzero(a)
        xp.where(a > 2)
        xp.unique(a)
    once = dict.fromkeys(["float", "int", "bool", "item", "tolist", "mask", "unique"], 1)
    assert inner == once | {"get": 2, "nonzero": 2}
    float(total)
    assert outer == inner


def test_uploads_are_counted():
    a = xp.asarray(host())
    with count_uploads() as uploads:
        a[1]
        a + 1
        same(a[[0, 2]], host()[[0, 2]])
        same(a[np.array([1])], host()[[1]])
        xp.asarray(host())
    assert uploads == {"index": 2, "array": 1}


def test_bool_of_many_raises():
    with pytest.raises(ValueError, match="ambiguous"):
        bool(xp.ones(2))
