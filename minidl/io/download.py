"""Fetching files: mirrors in turn, resumed where they broke off, checked by digest, unpacked without surprises.

A file is fetched into ``NAME.part`` and gets its name when its digest is right; so a file that has its name is whole.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minidl.io.atomic import atomic_write
from minidl.io.lock import locked

PIECE = 1 << 18  # bytes that are read at a time, at most
TIMEOUT = 30.0  # seconds without a byte after which a server is given up
ATTEMPTS = 5  # how often a connection that breaks off is taken up again, at each address


class DownloadError(RuntimeError):
    """No address gave the file. The message lists what went wrong at each."""


class _FailedError(Exception):
    """What went wrong at one address."""


class _DroppedError(_FailedError):
    """The connection broke off after some bytes: trying again continues there."""


def md5_of(content: bytes | str | os.PathLike[str]) -> str:
    """The MD5 of bytes, or of the file at a path, as 32 hexadecimal digits.

    It says whether a file is the one that was published and came over whole; it is no protection against an attacker.
    """
    if isinstance(content, bytes):
        return hashlib.md5(content, usedforsecurity=False).hexdigest()
    with open(content, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of the file at a path, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, hashlib.sha256).hexdigest()


def check_integrity(path: str | os.PathLike[str], md5: str | None = None, sha256: str | None = None) -> bool:
    """Whether there is a file at ``path``, with these digests if they are given; ``sha256`` may be a beginning."""
    return os.path.isfile(path) and _complaint(path, md5, sha256) is None


def _complaint(path: str | os.PathLike[str], md5: str | None, sha256: str | None) -> str | None:
    """Which digest of a file is another one than expected, if one is."""
    if md5 is not None and (found := md5_of(path)) != md5:
        return f"MD5 {found} and {os.path.getsize(path)} bytes, expected MD5 {md5}"
    if sha256 is not None and not (found := sha256_of(path)).startswith(sha256):
        return f"SHA-256 {found} and {os.path.getsize(path)} bytes, expected one that begins with {sha256}"
    return None


def fetch(
    addresses: Sequence[str], path: str | os.PathLike[str], md5: str | None = None, sha256: str | None = None
) -> Path:
    """Fetch a file, unless it is there already and right.

    Args:
        addresses: where it can be had; they are tried in turn.
        path: where it goes; missing folders are made. Until it is whole and right, it is ``path`` with ``.part``
            appended, and if the connection breaks off or the program ends, the next attempt continues there.
        md5, sha256: its digests, of the second one a beginning is enough; without any, a file that is there is taken as it
            is.

    Returns:
        The path.

    A progress bar is shown on a terminal only. If another process is fetching the file, this one waits for it.

    Raises:
        DownloadError: (a RuntimeError) if no address gave the file, with the reason at each.
        OSError: if the file cannot be written.

    Example:
        >>> fetch(["https://example.org/a.gz"], "data/a.gz", "0123456789abcdef0123456789abcdef")  # doctest: +SKIP
    """
    path = Path(path)
    if check_integrity(path, md5, sha256):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part, lock = (path.with_name(f"{path.name}.{end}") for end in ("part", "lock"))
    with locked(lock, lambda: print(f"waiting for another process that fetches {path} …", file=sys.stderr, flush=True)):
        if check_integrity(path, md5, sha256):  # by now
            return path
        reasons = []
        for address in addresses:
            try:
                _fetch_from(address, part, md5, sha256)
            except _FailedError as error:
                reasons.append(f"  {address}: {error}")
            else:
                os.replace(part, path)
                return path
    raise DownloadError("\n".join([f"could not download {path.name}. Tried:", *reasons]))


def _fetch_from(address: str, part: Path, md5: str | None, sha256: str | None) -> None:
    """Fill ``part`` from one address until it is whole and right."""
    if md5 is None and sha256 is None:
        part.unlink(missing_ok=True)  # the rest of what? Only a digest could tell that the pieces fit together
    dropped = 0
    while True:
        begun = part.stat().st_size if part.exists() else 0
        try:
            _receive(address, part, begun)
        except _DroppedError as error:
            dropped += 1
            if dropped == ATTEMPTS or part.stat().st_size <= begun:
                raise _FailedError(f"{error} (attempt {dropped})") from error
            continue
        complaint = _complaint(part, md5, sha256)
        if complaint is None:
            return
        part.unlink()
        if begun == 0:
            raise _FailedError(f"what came has {complaint}")
        # Else the beginning was of another file, or the server had changed it: once more from the start.


def _receive(address: str, part: Path, begun: int) -> None:
    """Ask for the file from byte ``begun`` on, and append what comes to ``part``; or write all, if all comes."""
    import http.client  # what the network needs takes long to import, and most programs never download
    import urllib.error
    import urllib.request

    from tqdm import tqdm

    headers = {"User-Agent": "minidl", "Accept-Encoding": "identity"}
    if begun:
        headers["Range"] = f"bytes={begun}-"
    try:
        answer = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and begun:  # there is nothing from there on: the digest will tell whether it is whole
            return
        raise _FailedError(f"HTTP status {error.code}, {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError and time-outs are OSErrors
        raise _FailedError(str(getattr(error, "reason", error)) or type(error).__name__) from error
    with answer:
        if begun and answer.status != 206:
            begun = 0  # the server does not do ranges and sends everything
        if begun and _starts_at(answer) != begun:
            raise _FailedError(f"asked for bytes from {begun} on, it sent {answer.headers.get('Content-Range')}")
        length = answer.headers.get("Content-Length")
        total = begun + int(length) if length else None
        received = begun
        bar = tqdm(desc=part.stem, total=total, initial=begun, unit="B", unit_scale=True, leave=False, disable=None)
        with open(part, "ab" if begun else "wb") as file, bar:  # disable=None: shown on a terminal only
            broken: str | None = None
            piece = b"more"
            while piece and broken is None:
                piece, broken = _read_piece(answer)
                file.write(piece)
                received += len(piece)
                bar.update(len(piece))
            file.flush()
            os.fsync(file.fileno())  # on the disk before it gets its name
    if broken is not None or (total is not None and received < total):
        reason = f": {broken}" if broken else ""
        raise _DroppedError(f"the connection broke off after {received} of {total or 'unknown'} bytes{reason}")


def _read_piece(answer: Any) -> tuple[bytes, str | None]:
    """The next bytes, none at the end; and why there will be no more, if the connection broke off."""
    import http.client

    try:
        return answer.read1(PIECE), None  # read1: what is there at once, so that little is lost if it breaks off
    except http.client.IncompleteRead as error:
        return error.partial, str(error)
    except (OSError, http.client.HTTPException) as error:
        return b"", str(error) or type(error).__name__


def _starts_at(answer: Any) -> int | None:
    """The first byte of ``Content-Range: bytes 100-199/200``."""
    words = answer.headers.get("Content-Range", "").replace("-", " ").split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else None


def gunzip(path: str | os.PathLike[str], to: str | os.PathLike[str]) -> None:
    """Unpack a gzip file to the file ``to``, which appears when it is whole.

    Raises:
        EOFError, gzip.BadGzipFile, zlib.error: if the file is damaged.
    """
    with atomic_write(to) as temporary, gzip.open(path) as packed, open(temporary, "wb") as file:
        shutil.copyfileobj(packed, file)


def extract_archive(path: str | os.PathLike[str], to: str | os.PathLike[str] | None = None) -> None:
    """Unpack a tar archive, packed with gzip or not, into the folder ``to`` (default: the one that it lies in).

    Each file appears when it is whole, and takes the place of one that has its name. Nothing is written outside ``to``:
    an archive with a path or a link that leads out of it is refused (``tarfile.data_filter``), as are devices. Links to
    folders are left out.

    Raises:
        ValueError: if the archive is refused or cannot be read to its end; then nothing is changed. (Whether its content is
            right, only a digest tells.)
        RuntimeError: if Python's tarfile is too old to refuse anything (before 3.11.4).
    """
    import tarfile  # most programs have nothing to unpack

    if not hasattr(tarfile, "data_filter"):
        raise RuntimeError(f"unpacking {path} safely needs Python 3.11.4 or later; unpack it by hand")
    to = Path(path).parent if to is None else Path(to)
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=to) as temporary:
        try:
            with tarfile.open(path) as archive:
                archive.extractall(temporary, filter="data")
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} was not unpacked: {type(error).__name__}: {error}") from error
        for folder, _, names in os.walk(temporary):
            there = to / Path(folder).relative_to(temporary)
            there.mkdir(exist_ok=True)
            for name in names:
                os.replace(Path(folder) / name, there / name)
