"""How much memory there is, and what is said when it has run out."""

from __future__ import annotations

import math
import re
import traceback
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from dlzoo.errors import RunFailed
from dlzoo.utils import memory as free_memory
from dlzoo.utils.memory import UNITS, format_bytes


class OutOfMemory(RunFailed):
    """The device, or the machine, has too little memory for the run."""


def explain(error: BaseException, cfg: DictConfig, device: torch.device) -> OutOfMemory:
    """What was tried, how much was asked for, how much there is, and which key to change."""
    evaluates = any("evaluation_loop" in frame.filename for frame in traceback.extract_tb(error.__traceback__))
    key, size = ("data.eval_batch_size", cfg.data.get("eval_batch_size")) if evaluates else batch_size_of(cfg)
    when = "in validation or test" if evaluates else "in training"
    asked, free = amount_asked(str(error)), available(device)
    wanted = f"{format_bytes(asked)} more were asked for" if asked else "it is not known how much was asked for"
    remedy = f"lower {key}" + ("" if evaluates else ", or let data.batch_size=auto choose it")
    return OutOfMemory(
        f"out of memory on {device.type} {when} with {key}={size}: {wanted}, {format_bytes(free)} are free; {remedy}"
    )


def before_training(error: BaseException) -> str:
    """The same, of memory that was not there for the data or the net."""
    asked, free = amount_asked(str(error)), format_bytes(available(torch.device("cpu")))
    wanted = f"{format_bytes(asked)} more were asked for, " if asked else ""
    return (
        f"out of memory before training, while the data were read or the net was built: {wanted}{free} are free; take "
        "fewer rows, or a smaller net"
    )


def batch_size_of(cfg: DictConfig) -> tuple[str, Any]:
    """The key of what lies in memory at once in training, and its value; a default is the class's to know."""
    from dlzoo.config.introspection import locate

    default = locate(cfg.data._target_, "data._target_").__init__.__kwdefaults__ or {}
    return "data.batch_size", cfg.data.get("batch_size", default.get("batch_size", 128))


def amount_asked(message: str) -> int:
    """Bytes, as an allocator's message says; 0 if it does not.

    >>> amount_asked("CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has …")
    1610612736
    >>> amount_asked("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000 bytes.")
    4000
    """
    match = re.search(r"allocate\s+([\d.]+) (bytes|[KMGT]iB)", message)
    return round(float(match[1]) * UNITS[match[2]]) if match else 0


def available(device: torch.device) -> int:
    """Bytes that can still be taken."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = free_memory.free_megabytes()
    if math.isinf(free):  # the system does not tell
        total = free_memory.limit()
        return 2**62 if math.isinf(total) else int(total) // 2
    return max(int(free * free_memory.MEGABYTE), 0)


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(free_memory.process_memory().get("VmRSS", 0))


def highest() -> int:
    """The most that it had since `forget_highest`, where the kernel can forget, else ever."""
    return int(free_memory.process_memory().get("VmHWM", 0))


def forget_highest() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return
