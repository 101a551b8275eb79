"""What a piece of code does to the machine, by Python's audit events: processes, connections, files, imports.

``with audited(folder) as violations: …`` collects what must not happen while something of a stranger's is handled. What
writes below ``folder`` is allowed. The events of every thread of this process are seen; those of its children are not,
but that they were started is. An audit hook cannot be removed, so there is one for all uses, and it is silent outside
of the ``with``.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROCESSES = {
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.startfile",
    "pty.spawn",
}  # fmt: skip
CONNECTIONS = {
    "socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "urllib.Request",
}  # fmt: skip
CHANGES = {
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "shutil.rmtree", "shutil.move", "shutil.copyfile", "sqlite3.connect",
}  # fmt: skip
"""Events whose arguments are paths that are changed."""
SOURCES = {"shutil.copyfile": 1, "os.link": 1, "os.symlink": 1}
"""Of which only the arguments from this one on are changed."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
HARMLESS = ("/dev/null", "/dev/tty", "/dev/shm/", "/proc/self/")


@dataclass
class Watch:
    """One use of the hook."""

    allowed: tuple[str, ...]
    canaries: Collection[str]
    programs: Collection[str]
    violations: list[str] = field(default_factory=list)

    def see(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "import":
            if args and str(args[0]).partition(".")[0] in self.canaries:
                self.violations.append(f"import {args[0]}")
        elif event == "open":
            path, _, flags = args
            if isinstance(flags, int) and flags & WRITING:
                self.see_path("open", path)
        elif event in PROCESSES:
            program = os.fspath(args[0]) if args and isinstance(args[0], str | bytes | os.PathLike) else ""
            if os.path.basename(os.fsdecode(program)) not in self.programs:
                self.violations.append(f"{event} {args!r}"[:300])
        elif event in CONNECTIONS:
            self.violations.append(f"{event} {args!r}"[:300])
        elif event in CHANGES:
            for path in args[SOURCES.get(event, 0) :]:
                self.see_path(event, path)

    def see_path(self, event: str, path: Any) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return  # a descriptor, whose file was opened before
        text = os.path.realpath(os.fsdecode(os.fspath(path)))
        if text.startswith(HARMLESS) or "__pycache__" in text or text == ":memory:":
            return
        if not any(text == folder or text.startswith(folder + os.sep) for folder in self.allowed):
            self.violations.append(f"{event} {text}")


class Hook:
    """The one hook of this process, which tells the watch of the moment."""

    def __init__(self) -> None:
        self.watch: Watch | None = None
        self.is_inside = threading.local()
        sys.addaudithook(self)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        watch = self.watch
        if watch is None or getattr(self.is_inside, "now", False):
            return
        self.is_inside.now = True
        try:
            watch.see(event, args)
        finally:
            self.is_inside.now = False


_hook: list[Hook] = []


@contextlib.contextmanager
def audited(
    *allowed: str | Path, canaries: Collection[str] = (), programs: Collection[str] = ()
) -> Iterator[list[str]]:
    """The violations while the block runs.

    Args:
        allowed: folders below which files may be written, made and removed.
        canaries: names of packages that must not be imported.
        programs: base names of executables that may be started.
    """
    if not _hook:
        _hook.append(Hook())
    assert _hook[0].watch is None, "audited() cannot be nested"
    watch = Watch(tuple(os.path.realpath(folder) for folder in allowed), canaries, programs)
    _hook[0].watch = watch
    try:
        yield watch.violations
    finally:
        _hook[0].watch = None
