"""Servers that would keep a download busy forever, or claim numbers that no machine can represent."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from dlzoo.errors import UserError
from dlzoo.utils import download as files
from dlzoo.utils.http import RetryPolicy
from dlzoo.utils.time_limits import TookTooLong, within

CONTENT = b"x" * 5000
QUICK = RetryPolicy(
    tries=3, progress=4096, connect=0.5, answer=0.4, stall=0.2, offline=0.2, first_pause=0.01, longest_pause=5
)
LONGEST = 10.0
"""Seconds that a download may take here; the servers would go on for longer."""

Answer = Callable[[bytes, int], Iterable[bytes]]
"""From a request and its number: the pieces of the answer, sent one at a time."""


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """The address of a server."""
    is_over, numbers = threading.Event(), itertools.count()

    def reply(connection: socket.socket, number: int) -> None:
        with connection, contextlib.suppress(OSError):
            for piece in answer(connection.recv(4096), number):
                connection.sendall(piece)
                if is_over.wait(0 if len(piece) > 100 else 0.05):
                    return

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=reply, args=(connection, next(numbers)), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        is_over.set()


def head(*headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()


def dripping(start: bytes, piece: bytes) -> Answer:
    return lambda request, number: itertools.chain([start], itertools.repeat(piece, 1000))


def always(content: bytes) -> Answer:
    return lambda request, number: [content]


def restarting(refusal: bytes) -> Answer:
    """Part of a file that is never continued."""
    part = head("Content-Length: 900000") + b"y" * 8000
    return lambda request, number: [refusal if b"Range:" in request else part]


def shrinking(request: bytes, number: int) -> Iterator[bytes]:
    yield head("Content-Length: 900000") + b"y" * (8000 if number % 2 else 100)


CHUNKED = head("Transfer-Encoding: chunked")
ENDLESS: dict[str, Answer] = {
    "status": dripping(b"HTTP/1.1 200 ", b"O"),
    "header": dripping(b"HTTP/1.1 200 OK\r\nX: ", b"a"),
    "continue": dripping(b"", head(status="100 Continue")),
    "size of a chunk": dripping(CHUNKED, b"0"),
    "extension of a chunk": dripping(CHUNKED + b"5;", b"a"),
    "trailer": dripping(CHUNKED + b"0\r\n", b"a: b\r\n"),
    "shorter": restarting(head("Content-Range: bytes */3", "Content-Length: 0", status="416 No")),
    "another range": restarting(head("Content-Range: bytes 7-8/9", "Content-Length: 2", status="206 Part") + b"ab"),
    "from the start": shrinking,
}
CLAIMS: dict[str, bytes] = {
    "length": head(f"Content-Length: {'9' * 400}") + CONTENT,
    "length of too many digits": head(f"Content-Length: {'9' * 5000}", "Connection: close") + CONTENT[1:],
    "wait": head(f"Retry-After: {'9' * 400}", "Content-Length: 0", status="503 No"),
    "wait of too many digits": head(f"Retry-After: {'9' * 5000}", "Content-Length: 0", status="503 No"),
    "date": head("Retry-After: Mon, 01 Jan 99999999999 00:00:00 GMT", "Content-Length: 0", status="503 No"),
}


def refuse(answer: Answer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(files, "RETRY_POLICY", QUICK)
    digest = hashlib.sha256(CONTENT).hexdigest()
    with serving(answer) as url, pytest.raises(UserError, match=r"a\.bin could not be downloaded"):
        files.download("a.bin", sha256=digest, folder=folder, mirrors=[url], max_bytes=1_000_000)


@pytest.mark.parametrize("name", ENDLESS)
def test_an_answer_without_end_is_given_up(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = time.monotonic()
    refuse(ENDLESS[name], tmp_path, monkeypatch)
    assert time.monotonic() - started < LONGEST


@pytest.mark.parametrize("name", CLAIMS)
def test_numbers_that_a_server_claims(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(always(CLAIMS[name]), tmp_path, monkeypatch)


def test_a_server_that_restarts_once_is_followed_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is another than that of the part that was kept, and its connection breaks now and then."""

    def answer(request: bytes, number: int) -> Iterator[bytes]:
        start = int(request.partition(b"bytes=")[2].partition(b"-")[0] or 0)
        if number == 0:
            yield head("Content-Range: bytes */3", "Content-Length: 0", status="416 No")
            return
        status = "206 Part" if start else "200 OK"
        rest = f"Content-Length: {len(large) - start}"
        yield head(rest, f"Content-Range: bytes {start}-{len(large)}/*", status=status) + large[start : start + 5000]

    large = bytes(range(256)) * 200
    (tmp_path / ".a.bin.part").write_bytes(b"y" * 60_000)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(files, "RETRY_POLICY", QUICK)
    with serving(answer) as url:
        files.download("a.bin", sha256=hashlib.sha256(large).hexdigest(), folder=tmp_path, mirrors=[url])
    assert (tmp_path / "a.bin").read_bytes() == large


def test_what_comes_with_a_redirection_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be kept in memory, however much it is."""
    sent = []

    def answer(request: bytes, number: int) -> Iterator[bytes]:
        if b"GET /there" in request:
            yield head(f"Content-Length: {len(CONTENT)}") + CONTENT
            return
        yield head("Location: /there", "Content-Length: 99999999999", status="302 Found")
        for _ in range(1000):
            sent.append(100_000)
            yield bytes(100_000)

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(files, "RETRY_POLICY", QUICK)
    with serving(answer) as url:
        files.download("a.bin", sha256=hashlib.sha256(CONTENT).hexdigest(), folder=tmp_path, mirrors=[url])
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert sum(sent) < 20_000_000  # what the connection itself buffers


def test_a_call_within_a_time_limit() -> None:
    assert within(5, lambda: 7) == 7
    with pytest.raises(KeyError):
        within(5, lambda: {}["a"])
    is_over = threading.Event()
    with pytest.raises(TookTooLong):
        within(0.05, lambda: is_over.wait(LONGEST))  # returns early only when the test says so
    is_over.set()
