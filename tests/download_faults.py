"""Download faults, each injected by a local test server.

``python tests/download_faults.py`` writes results/reliability/downloads.json; tests/utils/test_transfer.py
checks the outcome of the same faults.
"""

from __future__ import annotations

import hashlib
import json
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from local_server import Server, serving

from dlzoo.errors import UserError
from dlzoo.utils import download as files
from dlzoo.utils.http import RetryPolicy

CONTENT = bytes(range(256)) * 2000
QUICK = RetryPolicy(tries=3, progress=100_000, connect=0.5, stall=0.2, offline=0.2, first_pause=0.01, longest_pause=5)
RESULTS = Path(__file__).resolve().parents[1] / "results" / "reliability" / "downloads.json"


@dataclass(frozen=True)
class Fault:
    """``trouble`` answer by answer, the last one repeats; a second mirror works if ``num_mirrors`` is 2."""

    what: str
    trouble: Sequence[str]
    num_asked: int
    """Total requests to all mirrors."""
    refused: str = ""
    """The expected error; if empty, the download succeeds."""
    num_mirrors: int = 1
    server: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the server."""
    kept: int = 0
    """Bytes of a part that an earlier process left; negative: wrong bytes."""


NO_RANGES = {"takes_ranges": False}
FAULTS = {
    "cut": Fault("connection drops midway, once", ["cut", ""], 2),
    "cut_often": Fault("connection drops midway, always", ["cut"], 4, "the connection was lost"),
    "cut_no_ranges": Fault("drops midway; server ignores Range", ["cut", ""], 2, server=NO_RANGES),
    "cut_no_tags": Fault("drops midway; server sends no ETag", ["cut", ""], 2, server={"has_tags": False}),
    "changed": Fault("drops midway; then the file is another (ETag)", ["changed", ""], 2),
    "changed_no_tags": Fault(
        "drops midway; then the file is another, without ETag", ["changed", "", ""], 3, server={"has_tags": False}
    ),
    "nonsense": Fault("answers with another part than was asked for", ["cut", "nonsense", ""], 3),
    "chunked": Fault("sends chunks, the last is missing", ["chunked", ""], 2),
    "stall": Fault("falls silent midway, once", ["stall", ""], 2),
    "trickle": Fault("sends a byte now and then", ["trickle", ""], 2),
    "silent": Fault("accepts, and never answers", ["silent"], 1, "no response in time"),
    "short": Fault("Content-Length too small, always", ["short"], 2, "a wrong checksum"),
    "long": Fault("Content-Length too large", ["long"], 1),
    "huge": Fault("Content-Length larger than the disk", ["huge"], 1, "MB are free"),
    "damaged": Fault("a wrong byte, once", ["damaged", ""], 2),
    "damaged_always": Fault("a wrong byte, always", ["damaged"], 2, "a wrong checksum"),
    "damaged_mirror": Fault("a wrong byte, always; a second mirror", ["damaged", "damaged", ""], 3, num_mirrors=2),
    "web_page": Fault("an HTML page with 200", ["web_page"], 2, "a web page instead of the file"),
    "403": Fault("HTTP 403", ["403"], 1, "HTTP 403"),
    "404": Fault("HTTP 404", ["404"], 1, "HTTP 404"),
    "404_mirror": Fault("HTTP 404; a second mirror", ["404", ""], 2, num_mirrors=2),
    "429": Fault("HTTP 429 with Retry-After: 0", ["429", ""], 2, server={"retry_after": "0"}),
    "429_long": Fault(
        "HTTP 429 with Retry-After: 3600", ["429"], 1, "asks to wait 3600 s", server={"retry_after": "3600"}
    ),
    "429_odd": Fault("HTTP 429 with a Retry-After that says nothing", ["429", ""], 2, server={"retry_after": "soon"}),
    "500": Fault("HTTP 500, once", ["500", ""], 2),
    "503": Fault("HTTP 503, always", ["503"], 3, "HTTP 503"),
    "elsewhere": Fault("a redirection", ["elsewhere", ""], 2),
    "circle": Fault("redirections in a circle", ["elsewhere"], 31, "redirects"),
    "gzip": Fault("says that the file is encoded", ["gzip"], 1),
    "kept": Fault("an earlier process was killed midway", [""], 1, kept=1000),
    "kept_wrong": Fault("the part that was kept is wrong", ["", ""], 2, kept=-1000),
    "kept_whole": Fault("an earlier process was killed before the file got its name", [""], 0, kept=len(CONTENT)),
    "kept_more": Fault("the part that was kept is longer than the file", ["", ""], 2, kept=-len(CONTENT) - 5),
    "many": Fault(
        "drops, stalls, refuses and lies, one after the other", ["cut", "500", "stall", "429", "damaged", ""], 6
    ),
}


@dataclass(frozen=True)
class Outcome:
    message: str
    """Empty if the download succeeded."""
    num_asked: int
    ranges: Sequence[str | None]
    seconds: float


def inject(fault: Fault, server: Server, folder: Path) -> Outcome:
    """One download with this fault; checks that the folder holds a valid file or none."""
    server.files["a.bin"], server.trouble = CONTENT, [*fault.trouble]
    for name, value in fault.server.items():
        setattr(server, name, value)
    if fault.kept:
        start = CONTENT[: fault.kept] if fault.kept > 0 else bytes(-fault.kept)
        (folder / ".a.bin.part").write_bytes(start)
    mirrors = [server.url] if fault.num_mirrors == 1 else [server.url, server.url.rstrip("/")]
    started, message = time.monotonic(), ""
    with mock.patch.object(files, "RETRY_POLICY", QUICK):
        try:
            files.download("a.bin", md5=hashlib.md5(CONTENT).hexdigest(), folder=folder, mirrors=mirrors)
        except UserError as error:
            message = str(error)
    seconds = time.monotonic() - started
    assert not server.outlasted, "the server hung up before the download timed out"
    if message:
        assert not (folder / "a.bin").exists()
    else:
        assert (folder / "a.bin").read_bytes() == CONTENT
        assert [path.name for path in folder.iterdir()] == ["a.bin"]
    return Outcome(message, len(server.asked), server.ranges, seconds)


def closed_port() -> str:
    """A URL at which nothing listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{s.getsockname()[1]}"


def row(fault: Fault, outcome: Outcome) -> list[str]:
    again = sum(part is not None for part in outcome.ranges)
    end = f"refused: {fault.refused}" if fault.refused else "the right file"
    assert fault.refused in outcome.message
    assert bool(outcome.message) == bool(fault.refused)
    return [fault.what, str(outcome.num_asked), str(again), end, f"{outcome.seconds:.2f}"]


def main() -> None:
    rows = []
    for fault in FAULTS.values():
        with tempfile.TemporaryDirectory() as folder, serving() as server:
            rows.append(row(fault, inject(fault, server, Path(folder))))
    found = {
        "title": "Downloads: faults injected and what came of them",
        "command": "python tests/download_faults.py",
        "columns": ["fault", "requests", "of which for a rest", "outcome", "seconds"],
        "rows": rows,
        "note": f"A server on the same machine, {len(CONTENT) / 1e6:.1f} MB, and pauses of {QUICK.first_pause} s "
        f"instead of {RetryPolicy().first_pause} s, a stall after {QUICK.stall} s instead of {RetryPolicy().stall} s. "
        "No wrong file got the name that is read, and a refusal named the file, the server, the reason and the folder.",
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(f"{len(rows)} faults; {RESULTS}")


if __name__ == "__main__":
    main()
