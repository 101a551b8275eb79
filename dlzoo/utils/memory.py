"""How much memory this process may still take."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")
MEGABYTE = 2**20


def free_megabytes() -> float:
    """The least of what the machine has left, and what a container (cgroup 2) or ``ulimit`` leaves to this process.

    Infinite where the system does not tell.
    """
    return min((*_of_machine(), *_of_container(), *_of_process())) / MEGABYTE


def limit() -> float:
    """The most bytes that this process can ever have, free or not: of the machine, its container, or ``ulimit``.

    Infinite where the system does not tell.
    """
    groups = [most for most, _ in _groups()]
    return min((_machine_total(), *groups, *(most for _, most in _ulimits())))


def _machine_total() -> float:
    total = _fields(PROC / "meminfo").get("MemTotal")
    if total is not None:
        return total
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # Windows, or a system without these names
        return float("inf")


def _of_machine() -> list[float]:
    return [_fields(PROC / "meminfo").get("MemAvailable", float("inf"))]


def _of_container() -> list[float]:
    return [most - used for most, used in _groups()]


def _groups() -> list[tuple[float, float]]:
    """Most and used bytes of the group that this process is in, and of those around it, where they are limited."""
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
            found.append((float(most), float(used)))
    return found


def _of_process() -> list[float]:
    used = of_process()
    return [most - used.get(field, 0.0) for field, most in _ulimits()]


def _ulimits() -> list[tuple[str, float]]:
    """By ``ulimit -v`` (address space) and ``ulimit -d`` (data), where they are set."""
    try:
        import resource
    except ImportError:  # Windows
        return []
    limits = {"VmSize": resource.RLIMIT_AS, "VmData": resource.RLIMIT_DATA}
    soft = {field: resource.getrlimit(limit)[0] for field, limit in limits.items()}
    return [(field, float(most)) for field, most in soft.items() if most != resource.RLIM_INFINITY]


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


UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


SIGNS = (
    "cuda error: out of memory",
    "backend out of memory",
    "can't allocate memory",
    "not enough memory",
    "alloc_failed",
)
"""In messages of PyTorch's allocators, in lower case."""


def has_run_out(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)


def in_words(count: int) -> str:
    """
    >>> in_words(1536 * 2**20), in_words(3 * 2**20)
    ('1.50 GiB', '3.0 MiB')
    """
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
