"""How much memory this process can still use."""

from __future__ import annotations

import re
from pathlib import Path

import psutil
import torch

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")
MEGABYTE = 2**20


def free_megabytes() -> float:
    """The minimum of the machine's free memory and what a container (cgroup 2) or ``ulimit`` leaves to this process."""
    return min((psutil.virtual_memory().available, *_of_container(), *_of_process())) / MEGABYTE


def limit() -> float:
    """The total bytes that this process could ever use, set by the machine, its container, or ``ulimit``."""
    groups = [limit_bytes for limit_bytes, _ in _groups()]
    return min((psutil.virtual_memory().total, *groups, *(limit_bytes for _, limit_bytes in _ulimits())))


def _of_container() -> list[float]:
    return [limit_bytes - used for limit_bytes, used in _groups()]


def _groups() -> list[tuple[float, float]]:
    """(limit, used) bytes of this process's cgroup and its parents, where limited."""
    try:
        name = re.search(r"^0::/(.*)$", (PROC / "self" / "cgroup").read_text(), re.MULTILINE)
    except OSError:
        name = None
    limits = []
    folder = CGROUP / (name[1] if name else "")
    for group in (folder, *folder.parents):
        try:
            limit_bytes, used = ((group / f"memory.{file}").read_text().strip() for file in ("max", "current"))
        except OSError:
            continue
        if limit_bytes != "max":
            limits.append((float(limit_bytes), float(used)))
    return limits


def _of_process() -> list[float]:
    used = process_memory()
    return [limit_bytes - used.get(field, 0.0) for field, limit_bytes in _ulimits()]


def _ulimits() -> list[tuple[str, float]]:
    """(field, limit) for ``ulimit -v`` (address space) and ``ulimit -d`` (data), where set."""
    try:
        import resource
    except ImportError:  # Windows
        return []
    limits = {"VmSize": resource.RLIMIT_AS, "VmData": resource.RLIMIT_DATA}
    soft = {field: resource.getrlimit(limit)[0] for field, limit in limits.items()}
    return [(field, float(limit_bytes)) for field, limit_bytes in soft.items() if limit_bytes != resource.RLIM_INFINITY]


def process_memory() -> dict[str, float]:
    """Bytes that this process uses, under Linux's names: VmRSS, VmSize, …; elsewhere VmHWM is the current use, except
    on Windows."""
    try:
        status = (PROC / "self" / "status").read_text()
    except OSError:
        status = ""
    if fields := re.findall(r"^(\w+):\s+(\d+) kB$", status, re.MULTILINE):
        return {name: float(number) * 1024 for name, number in fields}
    used = psutil.Process().memory_info()
    return {"VmRSS": used.rss, "VmSize": used.vms, "VmHWM": getattr(used, "peak_wset", used.rss)}


OUT_OF_MEMORY_MESSAGES = (
    "cuda error: out of memory",
    "backend out of memory",
    "can't allocate memory",
    "not enough memory",
    "alloc_failed",
)
"""Parts of the messages of PyTorch's allocators, in lower case."""


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error).lower() for message in OUT_OF_MEMORY_MESSAGES)


def format_bytes(count: int) -> str:
    """
    >>> format_bytes(1536 * 2**20), format_bytes(3 * 2**20)
    ('1.50 GiB', '3.0 MiB')
    """
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
