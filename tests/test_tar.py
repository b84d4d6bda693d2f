"""Where the files of a tar archive lie."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.data import tar


def archive(files, format=tarfile.GNU_FORMAT) -> bytes:
    """The bytes of an archive with these (name, content); content may be a TarInfo's type."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as writer:
        for name, content in files:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = content.encode(), "x" * 130
                content = b""
            info.size = len(content)
            writer.addfile(info, io.BytesIO(content))
    return out.getvalue()


def members_of(content: bytes, length=...) -> list:
    length = len(content) if length is ... else length
    return list(tar.read_members(io.BytesIO(content), "x.tar", length))


NAMES = st.text("abä/.€\N{GRINNING FACE} ", min_size=1, max_size=8).filter(lambda n: n.strip("/ .") and n[-1] != "/")
LONG = st.builds(lambda n, times: f"f/{n * times}", NAMES.map(lambda n: n.strip("/")), st.integers(1, 60))


@settings(deadline=None)
@given(
    st.lists(st.tuples(NAMES | LONG, st.binary(max_size=1100) | st.sampled_from("1256")), max_size=6),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_members_are_those_that_tarfile_finds(files, format):
    content = archive(files, format)
    with tarfile.open(fileobj=io.BytesIO(content)) as reader:
        expected = [(m.name, m.offset_data, m.size) for m in reader if m.isreg()]
    assert members_of(content) == expected
    packed = gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(content, 1)))
    contents = []
    for member in tar.read_members(packed, "x"):
        contents.append(tar.read_content(packed, member, "x"))
    assert contents == [c for _, c in files if isinstance(c, bytes)]


def test_names_in_two_parts():
    name = "folder/" * 20 + "x" * 95
    content = archive([(name, b"1"), ("y", b"2")], tarfile.USTAR_FORMAT)
    assert [m.name for m in members_of(content)] == [name, "y"]
    old = bytearray(content[:512])  # GNU's headers have other things where the ustar format has the first part
    old[257:265] = b"ustar  \0"
    with pytest.raises(ValueError, match="checksum"):
        members_of(bytes(old))
    total = sum(old[:148]) + 8 * 32 + sum(old[156:])
    old[148:156] = b"%06o\0 " % total
    assert members_of(bytes(old) + content[512:])[0].name == "x" * 95


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_member_of_more_than_eight_gigabytes(format):
    info = tarfile.TarInfo("x")
    info.size = 2**33 + 5
    found = tar.read_members(io.BytesIO(info.tobuf(format)), "x.tar")
    assert next(found).size == 2**33 + 5


@pytest.mark.parametrize("kind", "12345678")
def test_what_has_a_size_but_no_content(kind):
    info = tarfile.TarInfo("x")
    info.type, info.size = kind.encode(), 700
    content = info.tobuf() + (bytes(1024) if kind in "78" else b"") + archive([("y", b"1")])
    with tarfile.open(fileobj=io.BytesIO(content)) as reader:
        expected = [(m.name, m.offset_data, m.size) for m in reader if m.isreg()]
    assert members_of(content) == expected and expected[-1][0] == "y"


def test_a_checksum_of_signed_bytes():
    block = bytearray(archive([("ä", b"1")])[:512])
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    signed = total - 256 * sum(byte > 127 for byte in block)
    assert signed != total
    block[148:156] = b"%06o\0 " % signed
    assert members_of(bytes(block) + bytes(1536))[0].name == "ä"


def test_a_damaged_archive_is_not_taken_for_a_short_one():
    content = archive([("a", b"1"), ("b", b"2" * 600), ("c", b"3")])
    for at in (1024, 1024 + 130, 1024 + 150):  # tarfile says nothing, and ends there
        damaged = bytearray(content)
        damaged[at] ^= 1
        with pytest.raises(ValueError, match=r"x.tar is damaged: there is no header at byte 1024"):
            members_of(bytes(damaged))
    for content in (b"hello" * 200, bytes(600)[:512].replace(b"\0", b"\1")):
        with pytest.raises(ValueError, match="x.tar is not a tar archive"):
            members_of(content)
    with pytest.raises(ValueError, match="x.tar is truncated: it ends after 0 bytes"):
        members_of(b"")
    for kind in (b"S", b"x"):
        info = tarfile.TarInfo("x")
        if kind == b"S":
            info.type = b"S"
        else:
            info.pax_headers = {"GNU.sparse.major": "1"}
        with pytest.raises(ValueError, match="sparse file"):
            members_of(info.tobuf(tarfile.PAX_FORMAT) + bytes(1024))


def test_sizes_that_would_lead_back_or_fill_the_memory():
    info = tarfile.TarInfo("x")
    info.pax_headers = {"size": "-512"}
    with pytest.raises(ValueError, match="size -512"):
        members_of(info.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    long = tarfile.TarInfo("././@LongLink")
    long.type, long.size = b"L", 1 << 30
    with pytest.raises(ValueError, match="1073741824 bytes of names"):
        members_of(long.tobuf(tarfile.GNU_FORMAT) + bytes(1024), None)
    broken = archive([("ä" * 100, b"1")], tarfile.PAX_FORMAT).replace(b"path=", b"path:")
    with pytest.raises(ValueError, match="no pax header can begin with"):
        members_of(broken)


@pytest.mark.parametrize("compress", [False, True])
def test_wherever_an_archive_is_cut_off_it_is_noticed(compress):
    content = archive([("a.txt", b"1"), ("b" * 120, b"2" * 600), ("c", b"")])
    end = members_of(content)[-1].offset + 512  # behind the first block of zeros
    whole = gzip.compress(content) if compress else content
    for cut in range(0, len(whole) if compress else end, 37 if not compress else 3):
        part = whole[:cut]
        file, length = (gzip.GzipFile(fileobj=io.BytesIO(part)), None) if compress else (io.BytesIO(part), cut)
        with pytest.raises(ValueError, match="x.tar is truncated"):
            for member in tar.read_members(file, "x.tar", length):
                assert compress or member.offset + member.size <= cut  # the length says so before it is read
                tar.read_content(file, member, "x.tar")
            if cut > 100 and compress:  # all members may come before the end of what was compressed
                raise ValueError("x.tar is truncated")
    assert len(members_of(content[:end])) == 3
