"""PyTorch's files are read without PyTorch, and nothing in them is run."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.io.torch_file import load_torch
from minidl.io.weights import load_weights
from tests import torch_files as make

ARRAYS = {
    "f8": np.linspace(-1, 1, 6).reshape(2, 3),
    "f4": np.arange(24, dtype="<f4").reshape(2, 3, 4) / 7,
    "f2": np.array([1.5, -2, 65504], "<f2"),
    "i8": np.array([[2**62, -1]], "<i8"),
    "i4": np.array([-(2**31), 7], "<i4"),
    "i2": np.array([-300], "<i2"),
    "i1": np.array([-128, 127], "i1"),
    "u1": np.array([0, 255], "u1"),
    "b1": np.array([True, False, True]),
    "a number": np.array(3.25, "<f4"),
    "none": np.zeros((0, 3), "<f4"),
}
FORMS = {"zip": False, "pickles": True}


def same(got: dict, wanted: dict) -> None:
    assert list(got) == list(wanted)
    for name, array in wanted.items():
        assert isinstance(got[name], np.ndarray), name
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape), name
        np.testing.assert_array_equal(got[name], array, err_msg=name)


def both(value: bytes, storages: dict[str, tuple[int, bytes]]) -> list[bytes]:
    return [make.zipped(value, {k: content for k, (_, content) in storages.items()}), make.chained(value, storages)]


def loaded(tmp_path: Path, content: bytes):
    return load_torch(make.write(tmp_path / "some.pth", content))


@pytest.mark.parametrize("form", FORMS)
def test_numbers_of_every_kind(tmp_path, form):
    got = loaded(tmp_path, make.of_arrays(ARRAYS, FORMS[form]))
    same(got, ARRAYS)
    got["f4"][...] = 0  # arrays of their own, which may be written


def test_bfloat16_becomes_float32(tmp_path):
    wanted = np.array([1.0, -2.5, 3.0e38, np.inf, 2.0**-130], "<f4")
    halves = wanted.view("<u4") >> 16
    value = make.ordered({"a": make.tensor("BFloat16", "0", 5, [5], [1])})
    wanted = (halves << 16).view("<f4")
    for content in both(value, {"0": (5, halves.astype("<u2").tobytes())}):
        same(loaded(tmp_path, content), {"a": wanted})


def test_views_of_one_storage(tmp_path):
    numbers = np.arange(12, dtype="<f4")
    parts = {
        "whole": make.tensor("Float", "7", 12, [3, 4], [4, 1]),
        "transposed": make.tensor("Float", "7", 12, [4, 3], [1, 4]),
        "a column": make.tensor("Float", "7", 12, [3], [4], offset=2),
        "expanded": make.tensor("Float", "7", 12, [3, 2], [0, 1], offset=10),
        "the last": make.tensor("Float", "7", 12, [], [], offset=11),
    }
    table = numbers.reshape(3, 4)
    wanted = {"whole": table, "transposed": table.T, "a column": table[:, 2], "expanded": np.tile(numbers[10:], (3, 1)),
              "the last": numbers[11]}  # fmt: skip
    wanted["the last"] = np.array(numbers[11])
    for content in both(make.ordered(parts), {"7": (12, numbers.tobytes())}):
        got = loaded(tmp_path, content)
        same(got, wanted)
        got["whole"][...] = -1
        np.testing.assert_array_equal(got["transposed"], table.T)  # no memory is shared


def test_big_endian_files(tmp_path):
    array = np.array([1.5, -2.25, 1e10], ">f4")
    value = make.ordered({"a": make.tensor("Float", "0", 3, [3], [1])})
    zipped = make.zipped(value, {"0": array.tobytes()}, byteorder=b"big")
    chained = make.chained(value, {"0": (3, array.tobytes())}, {**make.SYSTEM, "little_endian": False})
    for content in (zipped, chained):
        same(loaded(tmp_path, content), {"a": array.astype("<f4")})
    value = make.ordered({"a": make.tensor("Float", "0", 3, [3], [1])})  # files of before PyTorch 2.1 do not say
    same(loaded(tmp_path, make.zipped(value, {"0": array.astype("<f4").tobytes()}, None)), {"a": array.astype("<f4")})


def test_a_checkpoint_with_nested_dicts_and_parameters(tmp_path):
    part = make.tensor("Float", "0", 2, [2], [1])
    parameter = make.call("torch._utils", "_rebuild_parameter", part, b"\x88", make.call("collections", "OrderedDict"))
    state = make.ordered({"module.w": parameter, "module.b": part})
    state += b"}(" + make.text("_metadata") + make.ordered({"": make.integer(1)}) + b"ub"  # an attribute: left out
    size = make.call("torch", "Size", make.integers([2, 3]))
    value = b"}(" + make.text("epoch") + b"K\x05" + make.text("sizes") + b"](" + size + b"K\x01e"
    value += make.text("state_dict") + state + b"u"
    numbers = np.array([1, 2], "<f4")
    for content in both(value, {"0": (2, numbers.tobytes())}):
        got = loaded(tmp_path, content)
        assert list(got) == ["epoch", "sizes", "state_dict"]
        assert got["epoch"] == 5 and got["sizes"] == [(2, 3), 1]
        same(got["state_dict"], {"module.w": numbers, "module.b": numbers})
        weights = load_weights(tmp_path / "some.pth")
        same({name: t.numpy() for name, t in weights.items()}, {"w": numbers, "b": numbers})


@pytest.mark.parametrize("form", FORMS)
def test_an_ordered_dict_that_python_2_wrote(tmp_path, form):
    """OrderedDict([[name, tensor], …]): so are the weights that were published first (resnet18-5c106cde.pth)."""
    numbers = np.array([1, 2], "<f4")
    part = make.tensor("Float", "0", 2, [2], [1], legacy=True)
    pairs = b"](](" + make.text("w") + part + b"e](U\x01b" + part + b"ee"
    content = both(make.call("collections", "OrderedDict", pairs), {"0": (2, numbers.tobytes())})[FORMS[form]]
    same(loaded(tmp_path, content), {"w": numbers, "b": numbers})


# -- refusals ----------------------------------------------------------------------------------------------------------

GOOD = make.tensor("Float", "0", 2, [2], [1])
TWO = {"0": (2, np.array([1, 2], "<f4").tobytes())}


def refused(value: bytes) -> dict[str, tuple[bytes, str]]:
    """What stands for a value, and what the message must say."""
    return {
        "a shell command": (make.call("os", "system", make.text("touch it_ran")), r"os\.system"),
        "posix": (make.call("posix", "system", make.text("touch it_ran")), r"posix\.system"),
        "eval": (make.call("builtins", "eval", make.text("1")), r"builtins\.eval"),
        "a whole module": (b"ctorch.nn.modules.linear\nLinear\n)\x81}b", r"torch\.nn\.modules\.linear\.Linear"),
        "another function of PyTorch": (make.call("torch", "load", make.text("x")), r"torch\.load is not supported"),
        "a device": (make.call("torch", "device", make.text("cpu")), r"torch\.device is not supported"),
        "a number of another dtype": (
            make.call(
                "numpy.core.multiarray", "scalar", make.call("numpy", "dtype", make.text("O8"), b"K\x00", b"K\x01")
            ),
            "dtype 'O8'",
        ),
        "a number that is none": (make.call("numpy.core.multiarray", "scalar", b"K\x01", b"C\x01a"), "damaged"),
        "a tensor of no storage": (
            make.call("torch._utils", "_rebuild_tensor_v2", b"K\x00", b"K\x00", b")", b")", b"\x89", b"}"),
            r"_rebuild_tensor_v2",
        ),
        "a parameter of no tensor": (
            make.call("torch._utils", "_rebuild_parameter", b"K\x00", b"\x88", b"}"),
            r"_rebuild_parameter",
        ),
        "a persistent id of another kind": (make.many(make.text("module"), *[b"N"] * 4) + b"Q", r"persistent id"),
        "a storage of another kind": (make.tensor("Quantized", "0", 2, [2], [1]), r"torch\.QuantizedStorage"),
        "a text as persistent id": (b"P0\n", r"PERSID"),
    }


@pytest.mark.parametrize("what", sorted(refused(GOOD)))
def test_nothing_else_is_read_and_nothing_is_run(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    value, names = refused(GOOD)[what]
    for content in both(make.ordered({"good": GOOD, "bad": value}), TWO):
        with pytest.raises(ValueError, match=rf"some\.pth, at byte \d+: .*{names}"):
            loaded(tmp_path, content)
    assert [p.name for p in tmp_path.iterdir()] == ["some.pth"]


BROKEN = {
    "behind the end": make.tensor("Float", "0", 2, [2], [1], offset=1),
    "a long stride": make.tensor("Float", "0", 2, [2], [2]),
    "before the beginning": make.tensor("Float", "0", 2, [2], [1], offset=-1),
    "backwards": make.tensor("Float", "0", 2, [2], [-1], offset=1),
    "a negative size": make.tensor("Float", "0", 2, [-2], [1]),
    "other strides than sizes": make.tensor("Float", "0", 2, [2], [1, 1]),
    "a storage longer than there is": make.tensor("Float", "0", 2000, [2000], [1]),
    "a storage that is not there": make.tensor("Float", "1", 2, [2], [1]),
    "a size of text": make.call("torch._utils", "_rebuild_tensor", make.storage("Float", "0", 2), b"K\x00",
                                make.many(make.text("a")), make.integers([1])),
    "an offset of text": make.call("torch._utils", "_rebuild_tensor", make.storage("Float", "0", 2), make.text("a"),
                                   make.integers([1]), make.integers([1])),
    "an offset of a fraction": make.call("torch._utils", "_rebuild_tensor", make.storage("Float", "0", 2),
                                         b"G\x3f\xe0\x00\x00\x00\x00\x00\x00", make.integers([1]), make.integers([1])),
    "a storage by itself": make.storage("Float", "0", 2),
    "a function by itself": b"ctorch\nSize\n",
    "an array half made": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR",
    "a list within itself": b"]q\x00h\x00a",
    "a call with no arguments": make.call("torch._utils", "_rebuild_tensor_v2"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("form", FORMS)
def test_what_makes_no_sense_is_a_value_error(tmp_path, what, form):
    content = both(make.ordered({"good": GOOD, "bad": BROKEN[what]}), TWO)[FORMS[form]]
    with pytest.raises(ValueError, match=r"some\.pth"):
        loaded(tmp_path, content)


def test_two_tensors_may_not_disagree_about_their_storage(tmp_path):
    value = make.ordered({"a": GOOD, "b": make.tensor("Double", "0", 1, [1], [1])})
    got = []
    for content in both(value, TWO):
        with pytest.raises(ValueError, match=r"some\.pth"):
            got.append(loaded(tmp_path, content))
    assert not got


HEAD = pickle.dumps(make.MAGIC, 2) + pickle.dumps(1001, 2) + pickle.dumps(make.SYSTEM, 2)
BODY = make.pickled(make.ordered({"a": GOOD}))
OTHERS = {
    "nothing": (b"", "some"),
    "text": (b"hello, this is no weights file\n", "some"),
    "a page of the web": (b"<!DOCTYPE html><html></html>", "some"),
    "a plain pickle": (pickle.dumps({"a": 1}, 2), "no PyTorch file"),
    "a zip archive of other things": (None, "without data.pkl"),
    "keys that are no list": (HEAD + BODY + pickle.dumps(5, 2) + b"\2" + bytes(15), "some"),
    "no keys": (HEAD + BODY + pickle.dumps([], 2), "some"),
    "keys that belong to nothing": (HEAD + BODY + pickle.dumps(["9"], 2) + bytes(16), "belongs to no tensor"),
    "a negative length": (HEAD + BODY + pickle.dumps(["0"], 2) + b"\xff" * 8 + bytes(8), "some"),
    "an enormous length": (HEAD + BODY + pickle.dumps(["0"], 2) + b"\xff" * 7 + b"\x7f" + bytes(8), "some"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_files_of_other_kinds(tmp_path, what):
    content, message = OTHERS[what]
    if content is None:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.txt", "hello")
        content = file.getvalue()
    with pytest.raises(ValueError, match=message):
        loaded(tmp_path, content)


FILES = {form: make.of_arrays({"w": ARRAYS["f4"], "n": ARRAYS["i8"]}, legacy) for form, legacy in FORMS.items()}


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_file_that_is_cut_off(tmp_path_factory, form, data):
    content = FILES[form]
    end = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(ValueError, match="cut"):
        load_torch(make.write(tmp_path_factory.getbasetemp() / "cut.pth", content[:end]))


def flip(content: bytes, data: st.DataObject) -> bytes:
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 2))):
        changed[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    return bytes(changed)


def whole_or_refused(path: Path) -> None:
    try:
        load_torch(path)
    except ValueError as error:
        assert path.name in str(error)  # noqa: PT017


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
@settings(max_examples=250, deadline=None)
def test_changed_bytes_anywhere(tmp_path_factory, form, data):
    path = tmp_path_factory.getbasetemp() / "changed.pth"
    whole_or_refused(make.write(path, flip(FILES[form], data)))


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_changed_bytes_in_the_pickle_of_an_archive_whose_checksums_are_right(tmp_path_factory, data):
    value = flip(make.ordered({"w": GOOD, "v": make.tensor("Float", "0", 2, [1, 2], [2, 1])}), data)
    path = tmp_path_factory.getbasetemp() / "changed.pth"
    whole_or_refused(make.write(path, make.zipped(value, {"0": TWO["0"][1]})))


# -- where PyTorch is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "pickles"])
def test_files_that_pytorch_writes(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    table = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    tensors = {
        **{str(d): torch.tensor([[1, 0, 3]]).to(d) for d in (torch.float64, torch.float32, torch.float16, torch.int64,
                                                             torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)},
        "bfloat16": torch.tensor([1.5, -3.0, 1e30]).to(torch.bfloat16),
        "view": table[1:, 1:3], "transposed": table.T, "expanded": table[:1].expand(5, 4), "empty": torch.zeros(0, 3),
        "number": torch.tensor(2.5), "parameter": torch.nn.Parameter(torch.ones(2, 2)),
        "channels last": torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
    }  # fmt: skip
    path = tmp_path / "some.pth"
    deep = {"epoch": 3, "state_dict": tensors, "list": [table, (1.5, "text", None)], "lr": {"a": True}}
    torch.save(deep, path, _use_new_zipfile_serialization=zipped)
    got = load_torch(path)
    wanted = {n: (t.float() if t.dtype == torch.bfloat16 else t).detach().numpy() for n, t in tensors.items()}
    same(got["state_dict"], wanted)
    assert got["epoch"] == 3 and got["list"][1] == (1.5, "text", None) and got["lr"] == {"a": True}
    np.testing.assert_array_equal(got["list"][0], table.numpy())

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=zipped)
    same(load_torch(path), {n: t.numpy() for n, t in model.state_dict().items()})
    torch.save(model, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"Sequential|opcode"):
        load_torch(path)


def test_a_tensor_that_repeats_its_numbers_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.zeros(1, 3).expand(10**6, 3)}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x.pth: a tensor of shape \(1000000, 3\) repeats its storage of 3 numbers"):
        load_torch(tmp_path / "x.pth")


def test_what_is_referred_to_more_than_once_is_resolved_once(tmp_path):
    x = [1]
    for _ in range(16):  # 2**16 lists, if each were copied wherever it stands
        x = [x, x]
    got = loaded(tmp_path, make.zipped(pickle.dumps(x, 2)[2:-1], {}))
    assert got == x and got[0] is got[1]
    part = make.tensor("Float", "0", 2, [2], [1])
    value = b"}(" + make.text("a") + part + b"q\x05" + make.text("b") + b"h\x05u"
    for content in both(value, {"0": (2, np.array([1, 2], "<f4").tobytes())}):
        got = loaded(tmp_path, content)
        same(got, {"a": np.array([1, 2], "<f4"), "b": np.array([1, 2], "<f4")})
        assert got["a"] is got["b"]


@pytest.mark.parametrize("number", [np.float64(0.5), np.float32(0.25), np.int64(-3), np.bool_(True)])
def test_numpys_single_numbers(tmp_path, number):
    got = loaded(tmp_path, make.zipped(pickle.dumps({"accuracy": number}, 2)[2:-1], {}))
    assert got == {"accuracy": number} and type(got["accuracy"]) is type(number)


DEEP = b"K\x01\x85" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(12))  # pairs of one pair: 2**12 numbers to print


@pytest.mark.parametrize(
    "value",
    [
        make.many(make.text("storage"), DEEP, make.text("0"), make.text("cpu"), make.integer(1)) + b"Q",
        make.many(make.text("storage"), b"ctorch\nFloatStorage\n", DEEP, make.text("cpu"), make.integer(1)) + b"Q",
        make.call("torch._utils", "_rebuild_tensor", make.storage("Float", "0", 1), DEEP, b")", b")"),
        make.call("numpy", "dtype", DEEP, b"K\x00", b"K\x01"),
        make.call("numpy", "dtype", make.text("f8"), b"K\x00", b"K\x01") + make.many(b"K\x03", DEEP) + b"b",
    ],
    ids=["persistent id", "key", "offset", "dtype", "state"],
)
def test_a_message_is_short_whatever_it_tells_of(tmp_path, value):
    with pytest.raises(ValueError, match=r"some\.pth, at byte") as info:
        loaded(tmp_path, make.zipped(value, {}))
    assert len(str(info.value)) < 1000


def test_weights_have_names_and_are_real_numbers(tmp_path):
    value = b"}(" + make.integer(0) + GOOD + b"u"
    for content in both(value, TWO):
        with pytest.raises(ValueError, match=r"some\.pth: expected a name for each tensor, found 0"):
            load_weights(make.write(tmp_path / "some.pth", content))
    for wrong in (np.array("text"), np.array("2020", "M8[D]"), np.array(1j)):
        np.savez(tmp_path / "some.npz", good=np.ones(2), bad=wrong)
        with pytest.raises(
            ValueError, match=r"some\.npz: expected numbers in 'bad', found the dtype (<U4|datetime|complex)"
        ):
            load_weights(tmp_path / "some.npz")
