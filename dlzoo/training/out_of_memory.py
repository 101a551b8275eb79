"""How much memory is available, and the error to report when it runs out."""

from __future__ import annotations

import math
import re
import traceback
from pathlib import Path

import torch

from dlzoo.config.introspection import locate
from dlzoo.config.run_config import Node
from dlzoo.errors import RunFailed
from dlzoo.utils import memory as free_memory
from dlzoo.utils.memory import format_bytes

UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
"""The units in messages of PyTorch's allocators, in bytes."""


class OutOfMemory(RunFailed):
    """The device or the machine has too little memory for the run."""


def explain(error: BaseException, data: Node, device: torch.device) -> OutOfMemory:
    """The error to report: what was running, how much memory was requested and is free, and which key to change.

    Args:
        data: the config of the data whose batches the device was given.
    """
    evaluates = any("evaluation_loop" in frame.filename for frame in traceback.extract_tb(error.__traceback__))
    key, size = ("data.eval_batch_size", data.get("eval_batch_size")) if evaluates else batch_size_of(data)
    stage = "in validation or test" if evaluates else "in training"
    requested, free = requested_bytes(str(error)), available(device)
    request = f"{format_bytes(requested)} more were requested" if requested else "the size of the request is unknown"
    remedy = f"lower {key}" + ("" if evaluates else ", or let data.batch_size=auto choose it")
    return OutOfMemory(
        f"out of memory on {device.type} {stage} with {key}={size}: {request}, {format_bytes(free)} are free; {remedy}"
    )


def explain_before_training(error: BaseException) -> str:
    """The message if memory ran out while the data were read or the net was built."""
    requested, free = requested_bytes(str(error)), format_bytes(available(torch.device("cpu")))
    request = f"{format_bytes(requested)} more were requested, " if requested else ""
    return (
        f"out of memory before training, while the data were read or the net was built: {request}{free} are free; use "
        "fewer rows or a smaller net"
    )


def batch_size_of(data: Node) -> tuple[str, object]:
    """The key of the training batch size and its value, which is by default that of the data class."""
    initializer = getattr(locate(data["_target_"], "data._target_"), "__init__", None)
    default = getattr(initializer, "__kwdefaults__", None) or {}
    return "data.batch_size", data.get("batch_size", default.get("batch_size", 128))


def requested_bytes(message: str) -> int:
    """The size of the failed allocation according to an allocator's message; 0 if it does not say.

    >>> requested_bytes("CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has …")
    1610612736
    >>> requested_bytes("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000 bytes.")
    4000
    """
    match = re.search(r"allocate\s+([\d.]+) (bytes|[KMGT]iB)", message)
    return round(float(match[1]) * UNITS[match[2]]) if match else 0


def available(device: torch.device) -> int:
    """Bytes that can still be allocated."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = free_memory.free_megabytes()
    if math.isinf(free):  # the system does not report it
        total = free_memory.limit()
        return 2**62 if math.isinf(total) else int(total) // 2
    return max(int(free * free_memory.MEGABYTE), 0)


def resident_bytes() -> int:
    """Memory that this process currently uses."""
    return int(free_memory.process_memory().get("VmRSS", 0))


def peak_bytes() -> int:
    """The most memory that this process has used since `reset_peak`, or ever if the kernel cannot reset it."""
    return int(free_memory.process_memory().get("VmHWM", 0))


def reset_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return
