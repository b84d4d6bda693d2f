"""Packing folders of images into shards."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from minidl.data import packing
from minidl.data.packing import ShardWriter, main, pack_images
from minidl.data.shards import ShardDataset
from minidl.tensor import Tensor


def image_bytes(color, size=(6, 5), mode="RGB", kind="PNG") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, color).save(out, kind)
    return out.getvalue()


@pytest.fixture
def tree(tmp_path):
    """Images of 3 classes; image n of a class is of one colour, (label, n, 0)."""
    root = tmp_path / "tree"
    for label, name in enumerate(["ant", "bee", "cat"]):
        for n in range(7):
            folder = root / name / ("deep" if n % 2 else "")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{n}.{'PNG' if n == 3 else 'png'}").write_bytes(image_bytes((label, n, 0)))
        (root / name / "notes.txt").write_text("no image")
        (root / name / ".hidden.png").write_bytes(b"")
    (root / "readme.png").write_bytes(b"in no class")
    (root / ".git").mkdir()
    return root


def contents(folder) -> dict:
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))}


def test_what_is_packed_is_read(tree, tmp_path, capfd):
    index = pack_images(tree, tmp_path / "out", samples_per_shard=8)
    assert capfd.readouterr() == ("", "")  # there is no bar where there is no terminal
    assert index["classes"] == ["ant", "bee", "cat"] and index["counts"] == [7, 7, 7] and index["samples"] == 21
    assert [(s["url"], s["nsamples"]) for s in index["shardlist"]] == [
        ("tree-000000.tar", 8),
        ("tree-000001.tar", 8),
        ("tree-000002.tar", 5),
    ]
    files = contents(tmp_path / "out")
    assert sorted(files) == ["shards.json", *(s["url"] for s in index["shardlist"])]
    assert json.loads(files["shards.json"]) == index
    for shard in index["shardlist"]:
        content = files[shard["url"]]
        assert len(content) == shard["bytes"] and hashlib.sha256(content).hexdigest() == shard["sha256"]
        with tarfile.open(fileobj=io.BytesIO(content)) as reader:
            for member in reader:
                assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "") and member.mode == 0o644
    dataset = ShardDataset(tmp_path / "out")
    assert len(dataset) == 21 and dataset.classes == index["classes"]
    samples = [(image.getpixel((0, 0)), label) for image, label in dataset]
    assert Counter(samples) == Counter(((label, n, 0), label) for label in range(3) for n in range(7))
    assert [label for _, label in samples] != sorted(label for _, label in samples)
    raw = ShardDataset(tmp_path / "out", keys=None, decode=None)
    assert (tree / "bee" / "4.png").read_bytes() in [sample["png"] for sample in raw]  # as it was


def test_the_same_bytes_for_the_same_files(tree, tmp_path):
    pack_images(tree, tmp_path / "a", samples_per_shard=8, threads=1)
    for path in tree.rglob("*.png"):
        os.utime(path, (1, 1))
    pack_images(tree, tmp_path / "b", samples_per_shard=8, threads=5)
    pack_images(tree, tmp_path / "c", samples_per_shard=8, seed=1)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b and a.keys() == c.keys() and all(a[name] != c[name] for name in a)


def test_without_shuffling_class_follows_class(tree, tmp_path):
    pack_images(tree, tmp_path / "out", shuffle=False, name="part")
    assert sorted(os.listdir(tmp_path / "out")) == ["part-000000.tar", "shards.json"]
    found = [(label, image.getpixel((0, 0))[1]) for image, label in ShardDataset(tmp_path / "out")]
    assert found == [(label, n) for label in range(3) for n in (0, 2, 4, 6, 1, 3, 5)]  # a folder, then those in it


def test_shards_of_a_largest_size(tree, tmp_path):
    sizes = {len(image_bytes((label, n, 0))) for label in range(3) for n in range(7)}
    assert max(sizes) <= 512
    index = pack_images(tree, tmp_path / "out", samples_per_shard=None, max_bytes=5 * 2048 + 1024)
    assert [s["nsamples"] for s in index["shardlist"]] == [5, 5, 5, 5, 1]
    assert index["shardlist"][0]["bytes"] == 5 * 2048 + 1024
    index = pack_images(tree, tmp_path / "out2", max_bytes=5 * 2048 + 1023)
    assert [s["nsamples"] for s in index["shardlist"]] == [4] * 5 + [1]
    index = pack_images(tree, tmp_path / "out3", max_bytes=1)  # one is always taken
    assert [s["nsamples"] for s in index["shardlist"]] == [1] * 21


def test_images_are_made_smaller(tmp_path):
    folder = tmp_path / "tree" / "a"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    big = Image.fromarray(rng.integers(0, 256, (101, 50, 3), dtype=np.uint8))
    big.save(folder / "0.png")
    Image.new("RGBA", (90, 60), (10, 200, 30, 0)).save(folder / "1.png")
    Image.new("L", (64, 40), 77).save(folder / "2.png")
    (folder / "3.jpeg").write_bytes(image_bytes((1, 2, 3), (32, 90), kind="JPEG"))
    pack_images(tmp_path / "tree", tmp_path / "out", shuffle=False, size=32)
    raw = list(ShardDataset(tmp_path / "out", keys=None, decode=None))
    assert [sorted(s)[2:] for s in raw] == [["cls", "jpg"]] * 3 + [["cls", "jpeg"]]
    images = [Image.open(io.BytesIO(s.get("jpg") or s["jpeg"])) for s in raw]
    assert [i.format for i in images] == ["JPEG"] * 4
    assert [i.size for i in images] == [(32, 64), (48, 32), (51, 32), (32, 90)]  # as torchvision's Resize(32)
    assert [i.mode for i in images] == ["RGB", "RGB", "L", "RGB"]
    assert np.allclose(images[1].getpixel((5, 5)), (10, 200, 30), atol=3) and abs(images[2].getpixel((5, 5)) - 77) <= 1
    expected = io.BytesIO()
    big.resize((32, 64), Image.Resampling.BILINEAR).save(expected, "JPEG", quality=90)
    assert raw[0]["jpg"] == expected.getvalue()
    assert raw[3]["jpeg"] == (folder / "3.jpeg").read_bytes()
    pack_images(tmp_path / "tree", tmp_path / "worse", size=32, quality=20)
    assert sum(map(len, contents(tmp_path / "worse").values())) < sum(map(len, contents(tmp_path / "out").values()))


def test_what_cannot_be_packed(tree, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError, match="nowhere"):
        pack_images(tmp_path / "nowhere", out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="couldn't find any class folder in .*empty"):
        pack_images(tmp_path / "empty", out)
    (tree / "dog").mkdir()
    with pytest.raises(FileNotFoundError, match="found no image in class folder .*dog"):
        pack_images(tree, out)
    (tree / "dog" / "x.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match="cannot decode .*x.jpg"):
        pack_images(tree, out, size=4)
    with pytest.raises(ValueError, match="size should be positive"):
        pack_images(tree, out, size=0)
    assert not out.exists()
    out.mkdir()
    with pytest.raises(ValueError, match="cannot decode"):
        pack_images(tree, out, size=4)
    assert os.listdir(out) == []
    pack_images(tree, out)  # nothing is decoded
    before = contents(out)
    with pytest.raises(FileExistsError, match="there are shards in .*out already: shards.json"):
        pack_images(tree, out)
    (out / "shards.json").unlink()
    with pytest.raises(FileExistsError, match="tree-000000.tar"):
        pack_images(tree, out)
    assert contents(out).keys() | {"shards.json"} == before.keys()


@pytest.mark.parametrize("when", ["writing", "moving"])
def test_a_failure_leaves_no_shard(tree, tmp_path, monkeypatch, when):
    calls = []

    def failing(original, limit):
        def function(*arguments):
            calls.append(arguments)
            if len(calls) > limit:
                raise KeyboardInterrupt
            return original(*arguments)

        return function

    if when == "writing":
        monkeypatch.setattr(packing, "encoded", failing(packing.encoded, 25))
    else:
        monkeypatch.setattr(packing.os, "rename", failing(os.rename, 3))
    out = tmp_path / "a" / "b"
    with pytest.raises(KeyboardInterrupt):
        pack_images(tree, out, samples_per_shard=5)
    assert len(calls) > 3 and os.listdir(tmp_path) == ["tree"]


SLOW = """
import signal, sys, time
from minidl.data import packing
signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run in the background, it is ignored
original = packing._image
def slow(*arguments):
    time.sleep(1)  # long enough for Ctrl-C to come in between, on a machine that is held up for seconds too
    return original(*arguments)
packing._image = slow
sys.exit(packing.main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_ctrl_c(tree, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-c", SLOW, str(tree), str(out), "--samples-per-shard", "2", "--threads", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 20
        while not list(out.glob(".packing-*/tree-000001.tar")) and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=20)
    assert (process.returncode, printed, errors) == (130, "", f"stopped; nothing was left in {out}\n")
    assert not out.exists()


def test_the_command(tree, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(tree), str(out), "--samples-per-shard", "10", "--name", "x", "--no-shuffle", "--size", "4"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("21 images of 3 classes in 3 shards, ") and str(out) in printed.out
    assert printed.err == ""
    expected = pack_images(tree, tmp_path / "same", 10, name="x", shuffle=False, size=4)
    assert json.loads((out / "shards.json").read_text()) == expected
    assert main([str(tree), str(out)]) == 1
    assert "error: there are shards in" in capsys.readouterr().err
    for wrong in (["--samples-per-shard", "0"], ["--max-bytes", "-1"], ["--size", "-2"]):
        assert main([str(tree), str(tmp_path / "other"), *wrong]) == 1
        assert "should be positive" in capsys.readouterr().err
    with pytest.raises(SystemExit) as done:
        main(["--help"])
    printed = capsys.readouterr().out
    assert done.value.code == 0 and all(word in printed for word in ("FOLDER", "OUT", "--max-bytes", "--seed"))


def test_it_runs_as_a_module(tree, tmp_path):
    command = [sys.executable, "-W", "error", "-m", "minidl.data.packing", str(tree), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(ShardDataset(tmp_path / "out")) == 21


def test_the_writer_takes_what_the_dataset_gives(tmp_path):
    samples = [
        {"txt": "ä", "cls": 3, "npy": np.arange(3.0), "json": {"a": [1, "ü"]}, "bin": b"\0"},
        {"cls": np.int64(-4), "left.npy": Tensor.wrap(np.ones((2, 2), np.int8)), "json": [1]},
    ]
    with ShardWriter(tmp_path, "x") as writer:
        for sample in samples:
            writer.write(sample)
    first, second = ShardDataset(tmp_path, keys=None)
    assert first["npy"].tolist() == [0, 1, 2] and second["left.npy"].tolist() == [[1, 1], [1, 1]]
    assert (first["txt"], first["cls"], first["json"], first["bin"]) == ("ä", 3, {"a": [1, "ü"]}, b"\0")
    assert (second["cls"], second["json"], second["__key__"]) == (-4, [1], "00000001")
    assert "classes" not in json.loads((tmp_path / "shards.json").read_text(encoding="utf-8"))


def test_what_the_writer_refuses(tmp_path):
    def write(*samples, **arguments):
        with ShardWriter(tmp_path / "out", "x", **arguments) as writer:
            for sample in samples:
                writer.write(sample)

    good = {"cls": 0}
    for sample, kind, message in [
        ({}, ValueError, "without fields"),
        ({"a/b": b""}, ValueError, "got 'a/b'"),
        ({"": b""}, ValueError, "got ''"),
        ({"cls": True}, TypeError, "got bool"),
        ({"x": None}, TypeError, "got NoneType"),
        ({"npy": np.array([{}])}, ValueError, "allow_pickle"),
    ]:
        with pytest.raises(kind, match=message):
            write(good, sample)
    for sample in ({"cls": 2}, {"cls": -1}, {"cls": b"1"}, {"txt": "x"}):
        with pytest.raises(ValueError, match='"cls" should be the number of one of 2 classes'):
            write(good, sample, classes=["a", "b"])
    with pytest.raises(ValueError, match="no sample was written"):
        write()
    for name in ("", "a/b", ".x"):
        with pytest.raises(ValueError, match="name should be that of a file"):
            ShardWriter(tmp_path, name)
    assert os.listdir(tmp_path) == []


def test_a_sample_that_was_refused_leaves_nothing(tmp_path):
    with ShardWriter(tmp_path, "x") as writer:
        writer.write({"cls": 1})
        with pytest.raises(TypeError):
            writer.write({"txt": "half", "cls": None})
        writer.write({"cls": 2})
    assert list(ShardDataset(tmp_path, keys=("cls",))) == [(1,), (2,)]


@pytest.mark.skipif(sys.platform == "win32", reason="asks for a terminal")
def test_a_bar_on_a_terminal(tree, tmp_path):
    import pty
    import select
    import termios

    ours, theirs = pty.openpty()
    try:
        termios.tcsetwinsize(theirs, (24, 80))
        command = [sys.executable, "-m", "minidl.data.packing", str(tree), str(tmp_path / "out")]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=True)
        assert select.select([ours], [], [], 5)[0]
        assert "/21 [" in os.read(ours, 10_000).decode()
        assert done.stdout.startswith(b"21 images")
    finally:
        os.close(theirs)
        os.close(ours)
