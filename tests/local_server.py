"""For tests of downloads: a web server on this machine that also misbehaves, and a moment without root's rights."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock


class Server:
    """Answers ``GET /name`` with ``files[name]``; ``asked`` lists the names in order, ``ranges`` what part was wanted.

    ``trouble`` says what goes wrong, answer by answer, the last for ever: "", an HTTP status such as "404", or the name
    of a method of `Answer`.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.trouble = [""]
        self.asked: list[str] = []
        self.ranges: list[str | None] = []
        self.takes_ranges = True
        self.has_tags = True
        self.retry_after: str | None = None
        self.silence = 30.0
        """Seconds after which it hangs up itself; `outlasted` says that nobody had lost patience before."""
        self.outlasted = False
        self.closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.httpd.server_port}/"

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        name = request.path.lstrip("/")
        self.asked.append(name)
        self.ranges.append(request.headers["Range"])
        trouble = self.trouble.pop(0) if len(self.trouble) > 1 else self.trouble[0]
        if trouble.isdigit():
            self._refuse(request, int(trouble))
        elif name not in self.files:
            self._refuse(request, 404)
        else:
            with contextlib.suppress(OSError):
                answer = Answer(self, request, name)
                getattr(answer, trouble or "whole")()

    def _refuse(self, request: BaseHTTPRequestHandler, status: int) -> None:
        request.send_response(status)
        if self.retry_after is not None:
            request.send_header("Retry-After", self.retry_after)
        request.send_header("Content-Length", "0")
        request.end_headers()


class Answer:
    """To one request, as it should be (`whole`), or wrong in a way that has a name."""

    def __init__(self, server: Server, request: BaseHTTPRequestHandler, name: str) -> None:
        self.server, self.request, self.name = server, request, name
        self.content = server.files[name]
        self.tag = f'"{hashlib.md5(self.content).hexdigest()}"'
        wanted = request.headers["Range"]
        is_same = request.headers["If-Range"] in (None, self.tag)
        self.start = int(wanted[6:-1]) if wanted and server.takes_ranges and is_same else None

    def head(self, length: int | None = None, **headers: str) -> bytes:
        """Send the head; gives what is to follow."""
        body = self.content[self.start or 0 :]
        if self.start is not None and not body:
            headers["Content-Range"] = f"bytes */{len(self.content)}"
        elif self.start is not None:
            headers["Content-Range"] = f"bytes {self.start}-{len(self.content) - 1}/{len(self.content)}"
        self.request.send_response(200 if self.start is None else 206 if body else 416)
        if self.server.has_tags:
            headers["ETag"] = self.tag
        headers["Content-Length"] = str(len(body) if length is None else length)
        for key, value in headers.items():
            self.request.send_header(key.replace("_", "-"), value)
        self.request.end_headers()
        return body

    def send(self, content: bytes) -> None:
        self.request.wfile.write(content)

    def whole(self) -> None:
        self.send(self.head())

    def cut(self) -> None:
        """The connection breaks in the middle."""
        body = self.head()
        self.send(body[: len(body) // 2])

    def stall(self) -> None:
        """Half comes, then nothing."""
        self.cut()
        self.hush()

    def trickle(self) -> None:
        """A byte now and then."""
        end = time.monotonic() + self.server.silence
        for value in self.head():
            self.send(bytes([value]))
            if self.server.closing.wait(0.05):
                return
            if time.monotonic() > end:
                self.server.outlasted = True
                return

    def slow(self) -> None:
        """Two seconds for all of it."""
        body = self.head()
        for i in range(0, len(body), len(self.content) // 100):
            self.send(body[i : i + len(self.content) // 100])
            time.sleep(0.02)  # what the answer is: slow; nobody waits for it to be over

    def silent(self) -> None:
        """Nothing comes at all."""
        self.hush()

    def hush(self) -> None:
        """Say nothing until the test is over, or for as long as the server can."""
        self.server.outlasted |= not self.server.closing.wait(self.server.silence)

    def damaged(self) -> None:
        """A wrong byte."""
        body = self.head()
        self.send(body[:-1] + bytes([body[-1] ^ 1]))

    def short(self) -> None:
        """A part, called the whole."""
        half = len(self.content) // 2
        self.send(self.head(half)[:half])

    def long(self) -> None:
        """The whole, called a part of more."""
        body = self.head(len(self.content) + 1000)
        self.send(body)

    def huge(self) -> None:
        """The whole, called more than any disk holds."""
        self.send(self.head(1 << 60))

    def nonsense(self) -> None:
        """A part that nobody asked for."""
        self.start = 7 if self.start is not None else None
        self.send(self.head())

    def web_page(self) -> None:
        """A login page, with 200."""
        self.content, self.start = b"<!DOCTYPE html><html><body>Please log in</body></html>", None
        self.send(self.head(Content_Type="text/html"))

    def gzip(self) -> None:
        """It says that the content is encoded, to who accepts that."""
        encoded = "gzip" in self.request.headers["Accept-Encoding"]
        self.send(self.head(**{"Content_Encoding": "gzip"} if encoded else {}))

    def chunked(self) -> None:
        """In pieces, of a length that is not told before; the last is missing."""
        self.request.protocol_version = "HTTP/1.1"
        self.request.send_response(200)
        self.request.send_header("Transfer-Encoding", "chunked")
        self.request.end_headers()
        half = self.content[: len(self.content) // 2]
        self.send(b"%x\r\n%b\r\n" % (len(half), half))

    def endless(self) -> None:
        """In pieces without an end."""
        self.request.protocol_version = "HTTP/1.1"
        self.request.send_response(200)
        self.request.send_header("Transfer-Encoding", "chunked")
        self.request.end_headers()
        piece = b"%x\r\n%b\r\n" % (1 << 16, bytes(1 << 16))
        end = time.monotonic() + self.server.silence
        while not self.server.closing.is_set():
            if time.monotonic() > end:
                self.server.outlasted = True
                return
            self.send(piece)

    def flood(self) -> None:
        """More than it said, and never an end."""
        self.head()
        while not self.server.closing.is_set():
            self.send(bytes(1 << 16))

    def large(self) -> None:
        """It says that it has a hundred megabytes, and gives them."""
        self.head(100_000_000)
        for _ in range(100):
            self.send(bytes(1_000_000))

    def elsewhere(self) -> None:
        """A redirection to the same file."""
        self.request.send_response(302)
        self.request.send_header("Location", f"/{self.name}")
        self.request.send_header("Content-Length", "0")
        self.request.end_headers()

    def changed(self) -> None:
        """Half of an older version comes, with its tag; who asks for the rest gets the present one."""
        older = bytes(value ^ 255 for value in self.content)
        now, self.content = self.content, older
        self.tag = '"older"'
        self.cut()
        self.content = now


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    with mock.patch.dict(os.environ, NO_PROXY="127.0.0.1"):
        yield server
    server.closing.set()
    server.httpd.shutdown()
    server.httpd.server_close()


@contextlib.contextmanager
def public_folder() -> Iterator[Path]:
    """An empty folder that another user may reach too, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """All below the folder can be read but not written; root becomes nobody, since root may write everywhere."""
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    folder.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        if is_root:
            os.setresuid(0, 0, 0)
        for path in (folder, *folder.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)
