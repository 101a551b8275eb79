"""Downloads a file over HTTP and resumes when the connection breaks: received bytes are kept, the rest is requested.

`requests` sends the request and `urllib3` reads the body; neither they nor libraries based on them resume a partial
download. The rules are those of RFC 9110, section 14: ``Range``, ``If-Range``, ``Content-Range`` and 416.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dlzoo.utils.output import is_quiet, note
from dlzoo.utils.time_limits import TookTooLong, watched, within

if TYPE_CHECKING:
    from requests import Response
    from urllib3 import HTTPResponse

CHUNK_SIZE = 1 << 16
TRANSIENT_STATUSES = (408, 425, 429, 500, 502, 503, 504)
"""Status codes of errors that may be temporary."""
PARTIAL, NOT_SATISFIABLE = 206, 416
MEGABYTE = 1e6
MAX_LENGTH = 1 << 62
"""Of a file; a server may claim a length of hundreds of digits."""


@dataclass(frozen=True)
class RetryPolicy:
    """Limits on retries and timeouts; in seconds, except for the first three."""

    tries: int = 5
    """Consecutive attempts at one mirror that made no progress."""
    progress: int = 1 << 20
    """Bytes that an attempt must receive to count as progress."""
    slowest: float = 1000.0
    """Minimum bytes per second, measured over ``stall``."""
    connect: float = 3.0
    """Timeout to resolve a server's name, and to connect to it."""
    answer: float = 40.0
    """Timeout until a response begins, redirections included."""
    stall: float = 10.0
    """Timeout between two chunks of a response."""
    offline: float = 8.0
    """Unresponsive mirrors are retried while less than half of this has elapsed."""
    first_pause: float = 0.5
    longest_pause: float = 60.0
    """A server that asks for a longer pause is skipped."""
    report: float = 30.0
    """Interval between progress lines when stderr is not a terminal."""

    def pause(self, failures: int) -> float:
        """Exponential backoff with jitter, so that clients do not retry in lockstep."""
        return min(self.longest_pause, self.first_pause * 2 ** (failures - 1)) * random.uniform(0.5, 1)


class MirrorError(Exception):
    """A mirror does not deliver the file; the message says why."""


class MirrorUnreachable(MirrorError):
    """A mirror did not respond."""


class TransferInterrupted(Exception):
    """An attempt ended early; the message says why.

    Args:
        pause: seconds that the server asks to wait.
    """

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class Transfer:
    """Downloads a file from one URL into ``part``.

    Bytes already in ``part``, from another mirror or an earlier run, are kept; they are discarded only if the complete
    file has the wrong checksum.

    Args:
        is_valid: whether ``part`` is the complete file.
        max_bytes: size limit; a server that announces or sends more is skipped.
    """

    def __init__(self, url: str, part: Path, is_valid: Callable[[], bool], policy: RetryPolicy, max_bytes: int) -> None:
        self.url = url
        self.max_bytes = max_bytes
        self.part = part
        self.is_valid = is_valid
        self.policy = policy
        self.has_responded = False
        self.validator = ""
        """The ETag or Last-Modified of the version whose bytes are in ``part``, if this server sent one."""

    @property
    def size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self) -> None:
        """Retry until the file is valid.

        Raises:
            MirrorError: this mirror does not deliver it.
            OSError: it cannot be stored.
        """
        failures = wrong_files = 0
        reached, has_restarted = self.size, False
        while True:
            before, interruption = self.size, None
            try:
                self.request_rest()
            except TransferInterrupted as error:
                interruption = error
            if self.size and self.is_valid():
                return
            if interruption is None:
                wrong_files += 1
                reason = "a web page instead of the file" if self.is_web_page() else "a wrong checksum"
                self.discard()
                if wrong_files > 1:
                    raise MirrorError(reason)
                continue
            if self.size < before and not has_restarted:  # a server that makes each attempt restart gets nowhere
                reached, has_restarted = 0, True
            failures = 1 if self.size - reached >= self.policy.progress else failures + 1
            reached = max(reached, self.size)
            if failures >= self.policy.tries:
                raise MirrorError(str(interruption))
            pause = self.policy.pause(failures) if interruption.pause is None else interruption.pause
            if pause > 1:
                note(f"{urlsplit(self.url).netloc}: {interruption}; retrying in {pause:.0f} s")
            time.sleep(pause)

    def request_rest(self) -> None:
        """Request the missing bytes once, and append them."""
        import requests
        from requests import exceptions as http

        headers = {"Accept-Encoding": "identity"}  # a .gz must arrive unchanged
        if start := self.size:
            headers["Range"] = f"bytes={start}-"
            if self.validator:
                headers["If-Range"] = self.validator
        limits = (self.policy.connect, self.policy.stall)
        try:
            resolve_host(self.url, self.policy.connect)
            hooks = {"response": close_redirection}
            get = partial(requests.get, self.url, headers=headers, stream=True, timeout=limits, hooks=hooks)
            with within(self.policy.answer, get) as response:
                self.has_responded = True
                self.receive(response, start)
        except (http.Timeout, TookTooLong):
            raise self.connection_error("no response in time") from None
        except http.ConnectionError:
            raise self.connection_error("the connection failed") from None
        except (http.RequestException, ValueError) as error:
            raise MirrorError(str(error)) from None

    def connection_error(self, reason: str) -> Exception:
        """A server that has responded before is worth retrying; one that never has may not exist."""
        return TransferInterrupted(reason) if self.has_responded else MirrorUnreachable(reason)

    def receive(self, response: Response, start: int) -> None:
        """Append a partial response, or replace the file with a complete one."""
        if response.status_code == NOT_SATISFIABLE and start:
            if response.headers.get("Content-Range", "").endswith(f"/{start}"):
                return  # the file is complete already
            self.discard()
            raise TransferInterrupted("its file is shorter than the part already downloaded")
        if response.status_code in TRANSIENT_STATUSES:
            pause = retry_after(response)
            if pause is not None and pause > self.policy.longest_pause:
                raise MirrorError(f"HTTP {response.status_code}: it asks to wait {pause:.0f} s")
            raise TransferInterrupted(f"HTTP {response.status_code}", pause)
        if not 200 <= response.status_code < 300:
            raise MirrorError(f"HTTP {response.status_code}")
        if response.status_code == PARTIAL:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                self.discard()
                raise TransferInterrupted("it sent a different range than requested")
        else:
            start = 0
        tag = response.headers.get("ETag", "")
        self.validator = "" if tag.startswith("W/") else tag or response.headers.get("Last-Modified", "")
        rest = min(response.raw.length_remaining or 0, MAX_LENGTH)
        free = shutil.disk_usage(self.part.parent).free
        if rest > free:
            sizes = f"{rest / MEGABYTE:,.0f} MB, and {free / MEGABYTE:,.0f} MB are free"
            raise MirrorError(f"not enough disk space: {sizes} in {self.part.parent}")
        if start + rest > self.max_bytes:
            raise self.oversized(f"{(start + rest) / MEGABYTE:,.1f} MB")
        self.read(response.raw, start, start + rest)

    def read(self, body: HTTPResponse, start: int, total: int) -> None:
        """Write chunks as they arrive; `TransferInterrupted` if they stop or arrive too slowly."""
        from urllib3 import exceptions as http

        window_began, window_bytes, received = time.monotonic(), 0, start
        with (
            open(self.part, "ab", buffering=0, opener=open_without_links) as file,
            progress(start, total, self.policy) as advance,
            watched(1.5 * self.policy.stall, body.shutdown) as watch,
        ):
            file.truncate(start)
            while True:
                try:
                    chunk = body.read1(CHUNK_SIZE)
                except http.ReadTimeoutError:
                    raise TransferInterrupted("it stopped sending") from None
                except http.HTTPError:
                    reason = "it stopped sending" if watch.has_expired else "the connection was lost"
                    raise TransferInterrupted(reason) from None
                if watch.has_expired:
                    raise TransferInterrupted("it stopped sending")
                if not chunk:
                    break
                watch.heard()
                if (received := received + len(chunk)) > self.max_bytes:
                    raise self.oversized(f"more than {received / MEGABYTE:,.1f} MB")
                file.write(chunk)
                advance(len(chunk))
                window_bytes += len(chunk)
                if (seconds := time.monotonic() - window_began) > self.policy.stall:
                    if window_bytes < self.policy.slowest * seconds:
                        raise TransferInterrupted("it was sending too slowly")
                    window_began, window_bytes = time.monotonic(), 0
            os.fsync(file.fileno())

    def oversized(self, size: str) -> MirrorError:
        """The error for a response that is too large; the received bytes are discarded."""
        self.discard()
        return MirrorError(f"it sends {size}, but the file has at most {self.max_bytes / MEGABYTE:,.1f}")

    def is_web_page(self) -> bool:
        """Whether it is HTML, such as a captive portal or an error page with status 200."""
        with self.part.open("rb") as file:
            return file.read(512).lstrip().lower().startswith((b"<!doctype html", b"<html"))

    def discard(self) -> None:
        self.validator = ""
        self.part.unlink(missing_ok=True)


def close_redirection(response: Response, *_: object, **__: object) -> None:
    """Close a response that leads elsewhere: `requests` would read all that the server sends with it into memory."""
    if response.is_redirect:
        response.close()


def open_without_links(path: str, flags: int) -> int:
    """An opener for `open` that does not follow symlinks, which another user may have placed there.

    Windows lacks the flag.
    """
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def retry_after(response: Response) -> float | None:
    """Seconds to wait according to ``Retry-After``, which may be a date."""
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry

    with contextlib.suppress(InvalidHeader, OverflowError, ValueError):  # dates that no clock reaches
        return Retry().get_retry_after(response.raw)
    return None


def resolve_host(url: str, seconds: float) -> None:
    """Resolve the name of the server, or of the proxy.

    A DNS lookup has no timeout, and behind a firewall that drops it, it takes half a minute for each mirror.

    Raises:
        requests.exceptions.ConnectTimeout: it takes longer. An unknown name is reported by the request itself.
    """
    import requests

    proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    host = urlsplit(proxy or url).hostname

    try:
        with contextlib.suppress(OSError, UnicodeError):
            within(seconds, partial(socket.getaddrinfo, host, None))
    except TookTooLong:
        raise requests.exceptions.ConnectTimeout(f"{host} was not resolved in time") from None


@contextlib.contextmanager
def progress(start: int, total: int, policy: RetryPolicy) -> Iterator[Callable[[int], object]]:
    """A progress bar on a terminal, otherwise lines; yields a callback that takes the number of new bytes."""
    if sys.stderr.isatty() and not is_quiet():
        from tqdm import tqdm

        options = {"unit": "B", "unit_scale": True, "leave": False, "dynamic_ncols": True, "file": sys.stderr}
        with tqdm(initial=start, total=total or None, **options) as bar:
            yield bar.update
        return
    done, last_line = start, time.monotonic()

    def advance(num_bytes: int) -> None:
        nonlocal done, last_line
        done += num_bytes
        if time.monotonic() - last_line >= policy.report:
            last_line = time.monotonic()
            of = f" of {total / MEGABYTE:,.1f}" if total else ""
            note(f"  {done / MEGABYTE:,.1f}{of} MB")

    yield advance
