"""Fetching files from servers that are missing, wrong or break off; and unpacking archives that are not to be trusted."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
import time

import numpy as np
import pytest

from minidl.io import download, lock
from tests.serving import serving

HOLD = """
import sys, time
from minidl.io.lock import locked
with locked(sys.argv[1], lambda: None):
    print("inside", flush=True)
    time.sleep(60)
"""
CONTENT = np.random.default_rng(0).bytes(700_000)  # more than two pieces
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "TIMEOUT", 5.0)
    with serving({"a.bin": CONTENT}) as server:
        yield server


def raise_(error):
    raise error


def folder(path):
    return sorted(p.name for p in path.iterdir())


def test_a_file_comes_whole_and_once(server, tmp_path, capfd):
    path = tmp_path / "new" / "a.bin"
    assert download.fetch([server("good", "a.bin")], path, MD5) == path
    assert path.read_bytes() == CONTENT and folder(path.parent) == ["a.bin"]
    download.fetch([server("good", "a.bin")], path, MD5)
    download.fetch([server("good", "a.bin")], path)  # no digest: what is there counts
    assert server.asked == [("good/a.bin", None)]
    assert capfd.readouterr() == ("", "")  # no bar where there is no terminal


def test_a_wrong_file_that_is_there_is_fetched_again(server, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"something else")
    download.fetch([server("good", "a.bin")], path, MD5)
    assert path.read_bytes() == CONTENT


def test_mirrors_are_tried_in_turn(server, tmp_path):
    addresses = [
        server("missing", "a.bin"),
        "http://127.0.0.1:9/a.bin",
        server("other", "a.bin"),
        server("good", "a.bin"),
    ]
    assert download.fetch(addresses, tmp_path / "a.bin", MD5).read_bytes() == CONTENT
    assert [path for path, _ in server.asked] == ["missing/a.bin", "other/a.bin", "good/a.bin"]


def test_a_connection_that_breaks_off_is_taken_up_again(server, tmp_path):
    server.drops = 3
    assert download.fetch([server("drops", "a.bin")], tmp_path / "a.bin", MD5).read_bytes() == CONTENT
    assert server.asked == [
        ("drops/a.bin", None),
        ("drops/a.bin", "bytes=350000-"),
        ("drops/a.bin", "bytes=525000-"),
        ("drops/a.bin", "bytes=612500-"),
    ]


def test_without_a_digest_too(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(b"of who knows what")
    assert download.fetch([server("drops", "a.bin")], tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.asked == [("drops/a.bin", None), ("drops/a.bin", "bytes=350000-")]


def test_it_is_given_up_in_the_end_and_another_mirror_goes_on(server, tmp_path):
    server.drops = 100
    path = tmp_path / "a.bin"
    with pytest.raises(download.DownloadError, match=r"broke off after 678125 of 700000 bytes \(attempt 5\)"):
        download.fetch([server("drops", "a.bin")], path, MD5)
    assert folder(tmp_path) == ["a.bin.part"]
    download.fetch([server("stalls", "a.bin"), server("good", "a.bin")], path, MD5)
    assert server.asked[-2:] == [("stalls/a.bin", "bytes=678125-"), ("good/a.bin", "bytes=678125-")]
    assert path.read_bytes() == CONTENT and folder(tmp_path) == ["a.bin"]


def test_an_end_that_the_server_did_not_announce(server, tmp_path):
    path = tmp_path / "a.bin"
    with pytest.raises(download.DownloadError, match="broke off after .* of unknown bytes"):
        download.fetch([server("chunked", "a.bin")], path, MD5)
    begun = (tmp_path / "a.bin.part").read_bytes()
    assert CONTENT.startswith(begun) and len(begun) >= 350_000
    assert download.fetch([server("good", "a.bin")], path, MD5).read_bytes() == CONTENT


@pytest.mark.parametrize("how", ["good", "whole"])
def test_a_partial_file_is_resumed_or_begun_again(server, tmp_path, how):
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1000])
    assert download.fetch([server(how, "a.bin")], tmp_path / "a.bin", MD5).read_bytes() == CONTENT
    assert server.asked == [(f"{how}/a.bin", "bytes=1000-")]


@pytest.mark.parametrize("begun", [b"x" * 1000, CONTENT + b"too long", b"x" * len(CONTENT)])
def test_a_partial_file_of_something_else_is_thrown_away(server, tmp_path, begun):
    (tmp_path / "a.bin.part").write_bytes(begun)
    assert download.fetch([server("good", "a.bin")], tmp_path / "a.bin", MD5).read_bytes() == CONTENT
    assert server.asked == [("good/a.bin", f"bytes={len(begun)}-"), ("good/a.bin", None)]


def test_a_partial_file_that_is_whole_needs_nothing_more(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    assert download.fetch([server("good", "a.bin")], tmp_path / "a.bin", MD5).read_bytes() == CONTENT


def test_another_range_than_was_asked_for_is_refused(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1000])
    with pytest.raises(download.DownloadError, match="asked for bytes from 1000 on, it sent bytes 1001-699999/700000"):
        download.fetch([server("shifted", "a.bin")], tmp_path / "a.bin", MD5)


def test_two_that_want_the_same_file_fetch_it_once(server, tmp_path, capfd, monkeypatch):
    path, found, one_waits, take = tmp_path / "a.bin", [], threading.Event(), lock._take

    def watched(path):
        taken = take(path)
        if taken is None:
            one_waits.set()
        return taken

    monkeypatch.setattr(lock, "_take", watched)
    threads = [
        threading.Thread(
            target=lambda: found.append(download.fetch([server("waits", "a.bin")], path, MD5).read_bytes())
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    assert one_waits.wait(4)
    assert folder(tmp_path) == ["a.bin.lock"] and not found
    server.go.set()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 2 and len(server.asked) == 1 and folder(tmp_path) == ["a.bin"]
    assert capfd.readouterr().err == f"waiting for another process that fetches {path} …\n"


def test_nobody_waits_for_a_process_that_was_killed(server, tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "a.bin.lock")], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "inside\n"
    waiting = []
    with pytest.raises(InterruptedError), lock.locked(tmp_path / "a.bin.lock", lambda: raise_(InterruptedError)):
        waiting.append("not reached")
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert folder(tmp_path) == ["a.bin.lock"] and not waiting
    assert download.fetch([server("good", "a.bin")], tmp_path / "a.bin", MD5).read_bytes() == CONTENT
    assert folder(tmp_path) == ["a.bin"]


def test_one_at_a_time_is_inside(tmp_path):
    inside, most = [], []

    def enter():
        for _ in range(20):
            with lock.locked(tmp_path / "x.lock", lambda: None):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 80 and folder(tmp_path) == []


def test_the_error_says_what_went_wrong_at_each_address(server, tmp_path):
    addresses = [server("missing", "a.bin"), server("other", "a.bin"), "http://127.0.0.1:9/a.bin", "nonsense"]
    with pytest.raises(RuntimeError) as info:
        download.fetch(addresses, tmp_path / "a.bin", MD5)
    head, *reasons = str(info.value).splitlines()
    assert head == "could not download a.bin. Tried:"
    assert [line.split(": ")[0].strip() for line in reasons] == addresses
    assert "404" in reasons[0] and "refused" in reasons[2].lower() and "unknown url type" in reasons[3]
    assert f"has MD5 {hashlib.md5(CONTENT[::-1]).hexdigest()} and 700000 bytes, expected MD5 {MD5}" in reasons[1]
    assert folder(tmp_path) == []  # a wrong file is not kept


def test_a_disk_that_cannot_be_written_is_not_the_servers_fault(server, tmp_path):
    (tmp_path / "a.bin.part").mkdir()
    with pytest.raises(OSError, match=r"a\.bin\.part") as info:
        download.fetch([server("good", "a.bin"), server("whole", "a.bin")], tmp_path / "a.bin", MD5)
    assert not isinstance(info.value, RuntimeError)


def test_the_bar_is_for_terminals(server, tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stderr", Terminal())
    import sys

    download.fetch([server("good", "a.bin")], tmp_path / "a.bin", MD5)
    assert "a.bin" in sys.stderr.getvalue() and "700k" in sys.stderr.getvalue()


def test_integrity(tmp_path):
    path = tmp_path / "x"
    assert not download.check_integrity(path)
    path.write_bytes(b"abc")
    assert download.check_integrity(path) and download.md5_of(path) == download.md5_of(b"abc")
    assert download.check_integrity(path, "900150983cd24fb0d6963f7d28e17f72")
    assert not download.check_integrity(path, "0" * 32)


def test_gunzip(tmp_path):
    packed, to = tmp_path / "a.gz", tmp_path / "a"
    to.write_bytes(b"before")
    packed.write_bytes(gzip.compress(CONTENT)[:-1000])
    with pytest.raises(EOFError):
        download.gunzip(packed, to)
    assert to.read_bytes() == b"before" and folder(tmp_path) == ["a", "a.gz"]
    packed.write_bytes(gzip.compress(CONTENT))
    download.gunzip(packed, to)
    assert to.read_bytes() == CONTENT


def archive(path, members):
    """A tar.gz of (name, content) pairs, where content may be a TarInfo that is put in as it is."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = 0 if info is content else len(content)
            tar.addfile(info, None if info is content else io.BytesIO(content))
    return path


def link(name, to, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return name, info


def test_an_archive(tmp_path):
    path = archive(tmp_path / "a.tar.gz", [("data/one", b"1"), ("data/deep/two", b"2"), ("three", b"3")])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "one").write_bytes(b"old")
    (tmp_path / "data" / "mine").write_bytes(b"stays")
    download.extract_archive(path)
    files = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    del files["a.tar.gz"]
    assert files == {"data/one": b"1", "data/deep/two": b"2", "data/mine": b"stays", "three": b"3"}
    download.extract_archive(path, tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "data" / "deep" / "two").read_bytes() == b"2"


@pytest.mark.parametrize(
    "member",
    [
        ("../outside", b"x"),
        ("data/../../outside", b"x"),
        link("data/link", "../../outside"),
        link("link", "/etc"),
        link("hard", "../outside", tarfile.LNKTYPE),
        link("device", "", tarfile.CHRTYPE),
    ],
    ids=lambda member: member[0],
)
def test_an_archive_that_leads_out_is_refused(tmp_path, member):
    inside = tmp_path / "inside"
    path = archive(tmp_path / "a.tar.gz", [("data/fine", b"1"), member])
    with pytest.raises(ValueError, match=r"a\.tar\.gz was not unpacked"):
        download.extract_archive(path, inside)
    assert folder(inside) == [] and folder(tmp_path) == ["a.tar.gz", "inside"]


def test_an_absolute_path_lands_inside(tmp_path):
    path = archive(tmp_path / "a.tar.gz", [(str(tmp_path / "outside"), b"x")])
    download.extract_archive(path, tmp_path / "inside")
    assert not (tmp_path / "outside").exists()
    assert [p.name for p in (tmp_path / "inside").rglob("*") if p.is_file()] == ["outside"]


@pytest.mark.parametrize("damage", [lambda c: c[: len(c) // 2], lambda c: b"no archive", lambda c: b""])
def test_a_damaged_archive(tmp_path, damage):
    path = archive(tmp_path / "a.tar.gz", [("one", CONTENT), ("two", CONTENT)])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"a\.tar\.gz was not unpacked"):
        download.extract_archive(path, tmp_path / "inside")
    assert folder(tmp_path / "inside") == []


def test_an_old_python_says_so(tmp_path, monkeypatch):
    monkeypatch.delattr(tarfile, "data_filter")
    with pytest.raises(RuntimeError, match=r"3\.11\.4"):
        download.extract_archive(tmp_path / "a.tar.gz")
    assert os.listdir(tmp_path) == []
