"""Runs of several processes: ranks that are started as torchrun starts them, without the seconds that imports take."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from killing import FORKS, main_in

QUICK = (
    "trainer.accelerator=cpu",
    "trainer.max_epochs=2",
    "deterministic=true",
    "logger=none",
    "callbacks=[history,classification,checkpoint]",
)


def rank_in(folder: Path, words: Sequence[str], environment: dict[str, str]) -> None:
    os.environ.update(environment)
    main_in(folder, words)


def start_ranks(folder: Path, words: Sequence[str], world: int = 2) -> list[Any]:
    """``torchrun --nproc-per-node=<world> train.py trainer=ddp …``; all ranks write into log.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = {"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GROUP_RANK": "0"}
    said |= {
        "GROUP_WORLD_SIZE": "1",
        "LOCAL_WORLD_SIZE": str(world),
        "WORLD_SIZE": str(world),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    processes = []
    for rank in range(world):
        own = said | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        processes.append(FORKS.Process(target=rank_in, args=(folder, ["trainer=ddp", *words], own)))
        processes[-1].start()
    return processes


def finish_ranks(folder: Path, words: Sequence[str], world: int = 2, timeout: float = 120) -> list[int]:
    """Run to the end; the exit codes."""
    processes = start_ranks(folder, words, world)
    for process in processes:
        process.join(timeout)
        if process.exitcode is None:
            for other in processes:
                other.kill()
            raise AssertionError(f"it hangs: {(folder / 'log.txt').read_text()}")
    return [process.exitcode for process in processes]
