"""Where the files of a tar archive lie, found by going through it from front to back.

Python's ``tarfile`` does this too, but takes four times as long for a member, and a damaged header in the middle of an archive
for its end. Every worker passes over every header in every epoch over shards, so both matter. The tests hold the two equal.

Sources: IEEE Std 1003.1, "pax - portable archive interchange" (the ustar and pax formats); GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple, cast

BLOCK = 512  # bytes: an archive consists of such blocks
_ZEROS = bytes(BLOCK)
_LONGEST = 1 << 20  # bytes of a header's extension, such as a long name

_FILE = (b"0", b"\0", b"7")
_WITHOUT_CONTENT = (
    b"1",
    b"2",
    b"3",
    b"4",
    b"5",
    b"6",
)  # links, devices, folders; their size, if any, is not of data here


class Member(NamedTuple):
    """A file in an archive.

    Attributes:
        name: with the folders, separated by "/".
        offset: where its content begins, counted in the archive unpacked.
        size: of the content, in bytes.
    """

    name: str
    offset: int
    size: int


def open_tar(path: str) -> tuple[IO[bytes], int | None]:
    """Open an archive for ``read_members``, compressed with gzip or not; which of the two its first bytes say.

    Returns:
        the unpacked bytes, and how many there are (None if it is compressed).
    """
    file = open(path, "rb")  # noqa: SIM115  (handed on)
    if file.peek(2)[:2] == b"\x1f\x8b":
        file.close()
        return cast(IO[bytes], gzip.open(path, "rb")), None
    return file, os.fstat(file.fileno()).st_size


def read_members(file: IO[bytes], path: str, length: int | None = None) -> Iterator[Member]:
    """The regular files of an archive in their order. Their contents are passed over, if the caller does not read them.

    Args:
        file: the archive, unpacked, at its beginning. It is never sought backwards.
        path: for messages.
        length: of the archive in bytes, if known.

    Raises:
        ValueError: if the archive is damaged or ends too early, or has sparse files.
    """
    at = 0  # the next header
    long_name: str | None = None
    extended: dict[bytes, bytes] = {}
    while True:
        block = _block(file, at, path)
        if block == _ZEROS:
            return
        kind = block[156:157]
        try:
            _check(block)
            size = _number(block[124:136])
            if kind in _FILE and b"size" in extended:
                size = int(extended[b"size"])
            if size < 0:
                raise ValueError(f"size {size}")
        except ValueError as error:
            what = f"is damaged: there is no header at byte {at}" if at else "is not a tar archive"
            raise ValueError(f"{path} {what} ({error})") from None
        start = at + BLOCK
        at = start if kind in _WITHOUT_CONTENT else start + -(-size // BLOCK) * BLOCK
        if length is not None and at > length:
            raise ValueError(
                f"{path} is truncated: it ends after {length} bytes, within {_name(block)!r}, which ends at {at}"
            )
        if kind == b"L":  # GNU tar: the content is the name of the member that follows
            long_name = _text(_extension(file, start, size, path).split(b"\0")[0])
        elif kind in (b"x", b"X"):  # pax: what is to be known of the member that follows
            extended = _records(_extension(file, start, size, path), path)
        elif kind not in (b"g", b"K"):  # remarks on the whole archive, the target of a link
            if kind == b"S" or any(key.startswith(b"GNU.sparse") for key in extended):
                raise ValueError(f"{path}: {_name(block)!r} is a sparse file, which is not supported")
            if kind in _FILE:
                name = _text(extended[b"path"]) if b"path" in extended else long_name
                yield Member(name or _name(block), start, size)
            long_name, extended = None, {}


def read_content(file: IO[bytes], member: Member, path: str) -> bytes:
    """The content of a member that ``read_members`` stands at, or came by if the file can be sought backwards.

    Raises:
        ValueError: if the file ends before.
    """
    with _damage(path):
        file.seek(member.offset)
        content = file.read(member.size)
    if len(content) < member.size:
        raise ValueError(f"{path} is truncated: {member.name!r} has {len(content)} bytes of {member.size}")
    return content


@contextmanager
def _damage(path: str) -> Iterator[None]:
    """What gzip says of damaged files comes with their path."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is truncated or damaged: {error}") from error


def _block(file: IO[bytes], at: int, path: str) -> bytes:
    try:  # as _damage, which takes as long as all the rest
        file.seek(at)
        block = file.read(BLOCK)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is truncated or damaged: {error}") from error
    if len(block) < BLOCK:
        raise ValueError(f"{path} is truncated: it ends after {at + len(block)} bytes, without an end mark")
    return block


def _check(block: bytes) -> None:
    """Raise ValueError unless the checksum in the header is that of its bytes, where its own count as spaces."""
    rest = block[:148] + b" " * 8 + block[156:]
    stated, total = _number(block[148:156]), sum(rest)
    if stated != total and stated != total - 256 * sum(byte > 127 for byte in rest):  # old programs add up signed bytes
        raise ValueError(f"its checksum is {total}, not {stated}")


def _number(field: bytes) -> int:
    """An octal number, or, after a byte 0x80, a binary one."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    return int(field.split(b"\0")[0].strip() or b"0", 8)


def _name(block: bytes) -> str:
    name = block[:100].split(b"\0")[0]
    if block[257:263] == b"ustar\0" and block[345] != 0:
        name = block[345:500].split(b"\0")[0] + b"/" + name
    return _text(name)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _extension(file: IO[bytes], start: int, size: int, path: str) -> bytes:
    if size > _LONGEST:
        raise ValueError(f"{path} is damaged: {size} bytes of names follow byte {start}")
    return read_content(file, Member("the extension of a header", start, size), path)


def _records(content: bytes, path: str) -> dict[bytes, bytes]:
    """The records of a pax header, each ``"length key=value\\n"``, where the length counts the whole record."""
    records = {}
    while content.strip(b"\0"):
        length = content.split(b" ")[0]
        record = content[len(length) + 1 : int(length) if length.isdigit() else 0]
        key, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise ValueError(f"{path} is damaged: no pax header can begin with {content[:40]!r}")
        records[key] = value[:-1]
        content = content[int(length) :]
    return records
