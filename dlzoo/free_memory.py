"""How much memory this process may still take."""

from __future__ import annotations

import re
from pathlib import Path

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")
MEGABYTE = 2**20


def free_megabytes() -> float:
    """The least of what the machine has left, and what a container (cgroup 2) or ``ulimit`` leaves to this process.

    Infinite where the system does not tell.
    """
    return min((*_of_machine(), *_of_container(), *_of_process())) / MEGABYTE


def _of_machine() -> list[float]:
    return [_fields(PROC / "meminfo").get("MemAvailable", float("inf"))]


def _of_container() -> list[float]:
    """Of the group that this process is in, and of those around it."""
    try:
        name = re.search(r"^0::/(.*)$", (PROC / "self" / "cgroup").read_text(), re.MULTILINE)
    except OSError:
        name = None
    found = []
    folder = CGROUP / (name[1] if name else "")
    for group in (folder, *folder.parents):
        try:
            most, used = ((group / f"memory.{what}").read_text().strip() for what in ("max", "current"))
        except OSError:
            continue
        if most != "max":
            found.append(float(int(most) - int(used)))
    return found


def _of_process() -> list[float]:
    """By ``ulimit -v`` (address space) and ``ulimit -d`` (data)."""
    try:
        import resource
    except ImportError:  # Windows
        return []
    used = of_process()
    limits = {"VmSize": resource.RLIMIT_AS, "VmData": resource.RLIMIT_DATA}
    soft = {field: resource.getrlimit(limit)[0] for field, limit in limits.items()}
    return [most - used.get(field, 0.0) for field, most in soft.items() if most != resource.RLIM_INFINITY]


def of_process() -> dict[str, float]:
    """Bytes that this process takes, by the kernel's names for them: VmRSS, VmSize, …"""
    return _fields(PROC / "self" / "status")


def _fields(path: Path) -> dict[str, float]:
    """Bytes by name of a file with lines as ``MemAvailable:  1024 kB``."""
    try:
        lines = re.findall(r"^(\w+):\s+(\d+) kB$", path.read_text(), re.MULTILINE)
    except OSError:
        return {}
    return {name: float(number) * 1024 for name, number in lines}
