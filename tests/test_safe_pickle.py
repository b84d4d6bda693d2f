"""Pickles are read as data and never run."""

from __future__ import annotations

import collections
import contextlib
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.io import safe_pickle

# What Python 2's cPickle wrote with protocol 2, opcode by opcode: the form of the files of CIFAR.
PYTHON_2 = (
    b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15training batch 1 of 5q\x03U\x06labelsq\x04]q\x05(K\x06K\x09e"
    b"U\x04dataq\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85q\tU\x01bq\n\x87q\x0bRq\x0c("
    b"K\x01K\x02K\x03\x86q\rcnumpy\ndtype\nq\x0eU\x02u1q\x0fK\x00K\x01\x87q\x10Rq\x11("
    b"K\x03U\x01|q\x12NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x13b\x89T\x06\x00\x00\x00\x00\x01\x7f\x80\xfe\xffq\x14tq\x15b"
    b"U\tfilenamesq\x16]q\x17(U\x05a.pngq\x18U\x05b.pngq\x19eu."
)


def read(tmp_path: Path, content: bytes):
    path = tmp_path / "some.pickle"
    path.write_bytes(content)
    return safe_pickle.read(path)


def test_a_pickle_of_python_2(tmp_path):
    batch = read(tmp_path, PYTHON_2)
    data = batch.pop("data")
    assert data.dtype == np.uint8 and data.tolist() == [[0, 1, 127], [128, 254, 255]]
    assert batch == {
        "batch_label": "training batch 1 of 5", "labels": [6, 9], "filenames": ["a.png", "b.png"]
    }  # fmt: skip
    assert pickle.loads(PYTHON_2, encoding="latin1")["data"].tolist() == data.tolist()


numbers = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
data = st.recursive(
    numbers | text | st.binary(min_size=1, max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.tuples(inner, inner, inner, inner) | st.just(())
        | st.dictionaries(text | st.binary(min_size=1, max_size=3) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=20,
)  # fmt: skip


@given(data, st.sampled_from([2, 3, 4]))
@settings(max_examples=150, deadline=None)
def test_plain_data_comes_out_as_pickle_reads_it(tmp_path_factory, value, protocol):
    path = tmp_path_factory.getbasetemp() / "plain.pickle"
    path.write_bytes(pickle.dumps([value, value], protocol))
    assert safe_pickle.read(path) == [value, value]


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("dtype", ["u1", "<i4", ">i4", "f8", "?"])
def test_arrays_of_numbers(tmp_path, protocol, dtype):
    for array in (
        np.arange(24).reshape(2, 3, 4).astype(dtype),
        np.asfortranarray(np.arange(6).reshape(2, 3).astype(dtype)),
        np.zeros((0, 3) if protocol > 2 else (1, 3), dtype),  # protocol 2 writes no bytes as a call of bytes()
        np.array(1, dtype),
    ):
        got = read(tmp_path, pickle.dumps({"a": array, "again": array}, protocol))
        assert (got["a"] == array).all() and got["a"].dtype == array.dtype and got["a"].shape == array.shape
        assert got["again"] is got["a"]


class Runs:
    """Pickles as a call of anything."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


class Plain:
    pass


def evil(target: Path) -> dict:
    """What must be refused, and what the refusal must name (in protocols 2 and 4)."""
    return {
        "a shell command": (Runs(os.system, (f"touch '{target}'",)), r"(posix|nt)\.system"),
        "eval": (Runs(eval, (f"open({str(target)!r}, 'w')",)), r"(__builtin__|builtins)\.eval"),
        "open": (Runs(open, (str(target), "w")), r"i?o\.open"),
        "a path": (target, r"pathlib"),
        "getattr": (Runs(getattr, ("text", "upper")), r"getattr"),
        "a function of NumPy": (Runs(np.load, (str(target),)), r"numpy.*load"),
        "a NumPy scalar": (np.float64(3), r"numpy\..*multiarray\.scalar"),
        "an array of records": (np.zeros(2, "i4,f4"), r"dtype 'V8'"),
        "an array of objects": (np.array([{}, None]), r"dtype 'O8'"),
        "an array of text": (np.array(["a"]), r"dtype 'U1'"),
        "a class": (Plain, r"Plain"),
        "an object": (Plain(), r"copyreg|copy_reg|Plain"),
        "a set": ({1, 2}, r"__builtin__\.set|opcode EMPTY_SET"),
        "an ordered dict": (collections.OrderedDict(a=1), r"collections\.OrderedDict"),
    }


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("what", sorted(evil(Path("x"))))
def test_nothing_else_is_read_and_nothing_is_run(tmp_path, what, protocol):
    target = tmp_path / "it ran"
    thing, names = evil(target)[what]
    content = pickle.dumps({"data": [1, thing]}, protocol)
    with pytest.raises(ValueError, match=r"some\.pickle, at byte \d+: ") as info:
        read(tmp_path, content)
    if protocol in (2, 4):
        assert re.search(names, str(info.value)), info.value
    assert not target.exists()


@pytest.mark.parametrize(
    ("opcodes", "names"),
    [
        (b"\x80\x02(cos\nsystem\nU\x04true.", r"os\.system.* do not open it with pickle"),
        (b"\x80\x02ccollections\ndeque\n.", r"byte 2: collections\.deque is not supported: only plain data"),
        (b"(K\x01ios\nsystem\n.", "INST"),
        (b"\x80\x02(U\x04trueo.", "OBJ"),
        (b"\x80\x02U\x01aQ.", "BINPERSID"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "NEWOBJ"),
        (b"\x80\x02cnumpy\nndarray\nK\x05\x85R.", r"call of numpy\.ndarray"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00rot\x86R.", r"call of _codecs\.encode"),
        (b"\x80\x02cnumpy\ndtype\nU\x02u1K\x01K\x01\x87R.", r"call of numpy\.dtype"),
        (b"\x80\x02]U\x01ab.", "BUILD"),
        (b"\x80\x02}]K\x01s.", "key is of type list"),
        (b"\x80\x04\x8c\x05numpyK\x01\x93.", "damaged"),
        (b"\x80\x02K\x01\x86.", "damaged"),
        (b"\x80\x02t.", "damaged"),
        (b"\x80\x02h\x05.", "damaged"),
        (b"\x80\x02K\x01K\x02.", "damaged"),
        (b"\x80\x02}(K\x01u.", "damaged"),
        (b"\x80\x02K\x01K\x02a.", "damaged"),
        (b"", "damaged"),
        (b"no pickle", "at byte"),
        (PYTHON_2[:-40], "damaged"),
        (PYTHON_2.replace(b"K\x03\x86q\r", b"K\x04\x86q\r"), r"shape \(2, 4\).*needs 8 bytes.*found 6"),
        (PYTHON_2.replace(b"U\x02u1", b"U\x02O8"), "dtype 'O8'"),
    ],
)
def test_the_refusal_says_what_it_met(tmp_path, opcodes, names):
    with pytest.raises(ValueError, match=names) as info:
        read(tmp_path, opcodes)
    assert "some.pickle" in str(info.value)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damage_is_an_error_or_other_data(tmp_path_factory, data):
    content = bytearray(data.draw(st.sampled_from([PYTHON_2, pickle.dumps({"a": [np.arange(3), b"x", 1.5]}, 4)])))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.pickle"
    path.write_bytes(content)
    with contextlib.suppress(ValueError):
        safe_pickle.read(path)


def test_pickle_itself_is_not_used(tmp_path, monkeypatch):
    def fail(*_arguments, **_options):
        raise AssertionError("pickle was used")

    for name in ("load", "loads", "Unpickler", "_Unpickler", "_load", "_loads"):
        monkeypatch.setattr(pickle, name, fail)
    assert read(tmp_path, PYTHON_2)["labels"] == [6, 9]


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        safe_pickle.read(tmp_path / "none")
