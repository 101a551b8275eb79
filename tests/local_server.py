"""For tests of downloads: a web server on this machine that also misbehaves, and a moment without root's rights."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock


class Server:
    """Answers ``GET /name`` with ``files[name]``; ``asked`` lists the names in order.

    ``trouble`` says what goes wrong, answer by answer, the last for ever: "", "404", "cut", "damaged", "gzip" (says
    that the content is encoded to who accepts that), or "silent".
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.trouble = [""]
        self.asked: list[str] = []
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
        trouble = self.trouble.pop(0) if len(self.trouble) > 1 else self.trouble[0]
        if trouble == "silent":
            time.sleep(2)
        if trouble == "404" or name not in self.files:
            request.send_error(404)
            return
        content = self.files[name]
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        if trouble == "gzip" and "gzip" in request.headers["Accept-Encoding"]:
            request.send_header("Content-Encoding", "gzip")
        request.end_headers()
        if trouble == "cut":
            content = content[: len(content) // 2]
        if trouble == "damaged":
            content = content[:-1] + bytes([content[-1] ^ 1])
        with contextlib.suppress(OSError):
            request.wfile.write(content)


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    with mock.patch.dict(os.environ, NO_PROXY="127.0.0.1"):
        yield server
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
