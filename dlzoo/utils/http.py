"""One file over HTTP, however often the connection breaks: what came is kept, and the rest is asked for again.

`requests` asks and `urllib3` reads; neither of them, nor a library that stands on them, goes on with a file that broke
off. The rules for that are those of RFC 9110, section 14: ``Range``, ``If-Range``, ``Content-Range`` and 416.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PIECE = 1 << 16
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers that may be others in a moment."""
PARTIAL, NOT_SATISFIABLE = 206, 416
MEGABYTE = 1e6


@dataclass(frozen=True)
class Patience:
    """How long a download is tried; seconds, but for the first three."""

    tries: int = 5
    """In a row, of one mirror, that brought next to nothing."""
    progress: int = 1 << 20
    """Bytes that a try must bring to be more than that."""
    slowest: float = 1000.0
    """Bytes per second, over ``stall``."""
    connect: float = 3.0
    """To find a server, and to connect to it."""
    stall: float = 10.0
    """Between two pieces of an answer."""
    offline: float = 8.0
    """Mirrors that do not answer are asked once more while less than half of this has passed."""
    first_pause: float = 0.5
    longest_pause: float = 60.0
    """A server that asks for a longer one is left."""
    report: float = 30.0
    """Between two lines of progress where there is no terminal."""

    def pause(self, failures: int) -> float:
        """Doubles from failure to failure; a random part of it keeps many clients from coming back together."""
        return min(self.longest_pause, self.first_pause * 2 ** (failures - 1)) * random.uniform(0.5, 1)


class Refused(Exception):
    """Why a mirror does not give the file, in words."""


class Unreached(Refused):
    """Nobody answered."""


class Broken(Exception):
    """Why a try ended early, in words.

    Args:
        pause: seconds that the server asks for.
    """

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class Transfer:
    """A file from one address, into ``part``.

    Bytes that are in ``part`` already, from another mirror or another day, are kept as long as ``is_right`` can be
    reached with them: they are thrown away when the end does not have the right checksum.

    Args:
        is_right: whether the file is the wanted one.
        most: bytes that the wanted one has at most; a server that says or sends more is left.
    """

    def __init__(self, url: str, part: Path, is_right: Callable[[], bool], patience: Patience, most: int) -> None:
        self.url = url
        self.most = most
        self.part = part
        self.is_right = is_right
        self.patience = patience
        self.has_answered = False
        self.validator = ""
        """Of the version whose bytes are in ``part``, where this server told it."""

    @property
    def size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self) -> None:
        """Try until the file is right.

        Raises:
            Refused: it cannot be had here.
            OSError: it cannot be stored.
        """
        failures = lies = 0
        while True:
            before, broken = self.size, None
            try:
                self.go_on()
            except Broken as error:
                broken = error
            if self.size and self.is_right():
                return
            if broken is None:
                lies += 1
                reason = "a web page instead of the file" if self.is_web_page() else "a wrong checksum"
                self.discard()
                if lies > 1:
                    raise Refused(reason)
                continue
            failures = 1 if self.size - before >= self.patience.progress else failures + 1
            if failures >= self.patience.tries:
                raise Refused(str(broken))
            pause = self.patience.pause(failures) if broken.pause is None else broken.pause
            if pause > 1:
                say(f"{urlsplit(self.url).netloc}: {broken}; asked again in {pause:.0f} s")
            time.sleep(pause)

    def go_on(self) -> None:
        """Ask once for what is missing, and append it."""
        import requests
        from requests import exceptions as http

        headers = {"Accept-Encoding": "identity"}  # a .gz is to arrive as it is
        if start := self.size:
            headers["Range"] = f"bytes={start}-"
            if self.validator:
                headers["If-Range"] = self.validator
        limits = (self.patience.connect, self.patience.stall)
        try:
            find_host(self.url, self.patience.connect)
            with requests.get(self.url, headers=headers, stream=True, timeout=limits) as answer:
                self.has_answered = True
                self.receive(answer, start)
        except http.Timeout:
            raise self.unreached("no answer in time") from None
        except http.ConnectionError:
            raise self.unreached("the connection failed") from None
        except (http.RequestException, ValueError) as error:
            raise Refused(str(error)) from None

    def unreached(self, reason: str) -> Exception:
        """A server that has answered before will do so again; another may not be there at all."""
        return Broken(reason) if self.has_answered else Unreached(reason)

    def receive(self, answer: Any, start: int) -> None:
        """Append an answer, or replace what is there by one that holds the whole file."""
        if answer.status_code == NOT_SATISFIABLE and start:
            if answer.headers.get("Content-Range", "").endswith(f"/{start}"):
                return  # all is there already
            self.discard()
            raise Broken("it has less than the part that is here")
        if answer.status_code in PASSING:
            pause = asked_pause(answer)
            if pause is not None and pause > self.patience.longest_pause:
                raise Refused(f"HTTP {answer.status_code}: it wants to be left alone for {pause:.0f} s")
            raise Broken(f"HTTP {answer.status_code}", pause)
        if not 200 <= answer.status_code < 300:
            raise Refused(f"HTTP {answer.status_code}")
        if answer.status_code == PARTIAL:
            if not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                self.discard()
                raise Broken("it gave another part than was asked for")
        else:
            start = 0
        tag = answer.headers.get("ETag", "")
        self.validator = "" if tag.startswith("W/") else tag or answer.headers.get("Last-Modified", "")
        rest = answer.raw.length_remaining or 0
        free = shutil.disk_usage(self.part.parent).free
        if rest > free:
            sizes = f"{rest / MEGABYTE:,.0f} MB, and {free / MEGABYTE:,.0f} MB are free"
            raise Refused(f"it needs {sizes} in {self.part.parent}")
        if start + rest > self.most:
            raise self.too_long(f"{(start + rest) / MEGABYTE:,.1f} MB")
        self.read(answer.raw, start, start + rest)

    def read(self, body: Any, start: int, total: int) -> None:
        """Write pieces as they come; `Broken` where they stop to come, or come too slowly."""
        from urllib3 import exceptions as http

        window_began, window_bytes, received = time.monotonic(), 0, start
        with (
            open(self.part, "ab", buffering=0, opener=no_link) as file,
            progress(start, total, self.patience) as advance,
        ):
            file.truncate(start)
            while True:
                try:
                    piece = body.read1(PIECE)
                except http.ReadTimeoutError:
                    raise Broken("it fell silent") from None
                except http.HTTPError:
                    raise Broken("the connection broke off") from None
                if not piece:
                    break
                if (received := received + len(piece)) > self.most:
                    raise self.too_long(f"more than {received / MEGABYTE:,.1f} MB")
                file.write(piece)
                advance(len(piece))
                window_bytes += len(piece)
                if (seconds := time.monotonic() - window_began) > self.patience.stall:
                    if window_bytes < self.patience.slowest * seconds:
                        raise Broken("it all but fell silent")
                    window_began, window_bytes = time.monotonic(), 0
            os.fsync(file.fileno())

    def too_long(self, size: str) -> Refused:
        """What came of it is not the beginning of the file."""
        self.discard()
        return Refused(f"it gives {size}, but the file has at most {self.most / MEGABYTE:,.1f}")

    def is_web_page(self) -> bool:
        """As the login page of a network, or an error page that says 200."""
        with self.part.open("rb") as file:
            return file.read(512).lstrip().lower().startswith((b"<!doctype html", b"<html"))

    def discard(self) -> None:
        self.validator = ""
        self.part.unlink(missing_ok=True)


def no_link(path: str, flags: int) -> int:
    """Open a file as `open` does, but not through a link, which somebody else may have put there."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def asked_pause(answer: Any) -> float | None:
    """Seconds until the time in ``Retry-After``, which may be a date."""
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry

    with contextlib.suppress(InvalidHeader):
        return Retry().get_retry_after(answer.raw)
    return None


def find_host(url: str, seconds: float) -> None:
    """Look up the name of the server, or of the proxy.

    A look-up has no time limit of its own, and where a firewall swallows it, it takes half a minute for each mirror.

    Raises:
        requests.exceptions.ConnectTimeout: it takes longer. That there is no such name is left for others to say.
    """
    import requests

    proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    host = urlsplit(proxy or url).hostname

    def look_up() -> None:
        with contextlib.suppress(OSError, UnicodeError):
            socket.getaddrinfo(host, None)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise requests.exceptions.ConnectTimeout(f"{host} is not found in time")


@contextlib.contextmanager
def progress(start: int, total: int, patience: Patience) -> Iterator[Callable[[int], Any]]:
    """A bar on a terminal, elsewhere a line now and then; gives what is called with the number of new bytes."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        options = {"unit": "B", "unit_scale": True, "leave": False, "dynamic_ncols": True, "file": sys.stderr}
        with tqdm(initial=start, total=total or None, **options) as bar:
            yield bar.update
        return
    done, told = start, time.monotonic()

    def advance(num_bytes: int) -> None:
        nonlocal done, told
        done += num_bytes
        if time.monotonic() - told >= patience.report:
            told = time.monotonic()
            of = f" of {total / MEGABYTE:,.1f}" if total else ""
            say(f"  {done / MEGABYTE:,.1f}{of} MB")

    yield advance


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
