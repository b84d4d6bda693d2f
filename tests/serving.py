"""A web server on this machine that behaves well or badly, for tests of downloads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """What is served, and what was asked for.

    The first part of an address says how: ``good`` knows ranges, ``whole`` ignores them, ``drops`` breaks off after half of what
    it should send (as long as ``drops`` says), ``stalls`` breaks off at once, ``chunked`` breaks off without having said how much
    comes, ``missing`` answers 404, ``other`` sends something else, ``shifted`` sends another range than was asked for, and
    ``waits`` sends nothing before ``go`` is set.
    """

    address: str
    files: dict[str, bytes]
    drops: int = 1
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, how: str, name: str = "") -> str:
        return f"{self.address}/{how}/{name}"


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Server]:
    """Serve files by name."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            _, how, name = self.path.split("/", 2)
            wanted = self.headers.get("Range")
            server.asked.append((f"{how}/{name}", wanted))
            content = server.files.get(name)
            if how == "missing" or content is None:
                self.send_error(404, "Not Found")
                return
            if how == "waits":
                server.go.wait(20)
            if how == "other":
                content = content[::-1]
            begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and how != "whole" else 0
            if wanted and begin >= len(content):
                self.send_error(416, "Range Not Satisfiable")
                return
            if how == "shifted" and begin:
                begin += 1
            rest = content[begin:]
            self.send_response(206 if wanted and how != "whole" else 200)
            if wanted and how != "whole":
                self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
            breaks = how in ("stalls", "chunked") or (how == "drops" and server.drops > 0)
            if how == "chunked":
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            if how == "chunked":
                half = rest[: len(rest) // 2]
                self.wfile.write(f"{len(rest):x}\r\n".encode() + half)  # less than the chunk's length
            elif breaks:
                server.drops -= 1
                self.wfile.write(b"" if how == "stalls" else rest[: len(rest) // 2])
            else:
                self.wfile.write(rest)
            self.close_connection = True

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Server(f"http://127.0.0.1:{httpd.server_address[1]}", files)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
