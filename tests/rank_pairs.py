"""One process and two that stay alive and train what they are sent, so that comparing them costs no imports."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import socket
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from killing import FORKS

PLAIN = (
    "trainer.accelerator=cpu",
    "logger=none",
    "deterministic=true",
    "trainer.enable_model_summary=false",
)


@contextlib.contextmanager
def mixed_with_itself() -> Iterator[None]:
    """MixUp blends rows that one process has, so which ones it blends is held constant: each with itself."""
    randperm = torch.randperm

    def in_order(num: int, **options: Any) -> torch.Tensor:
        return randperm(num, **options) if options else torch.arange(num)

    def same(self: Any, shape: Any = ()) -> torch.Tensor:
        return torch.full(tuple(shape), 0.3)

    with mock.patch.object(torch, "randperm", in_order), mock.patch("torch.distributions.Beta.sample", same):
        yield


def train_in(folder: Path, words: Sequence[str]) -> None:
    from dlzoo.config import compose as config
    from dlzoo.training import run

    torch.set_num_threads(1)
    cfg = config.compose([*PLAIN, *words])
    with mixed_with_itself():
        run.run(cfg, folder, list(words))


def serve(connection: Any, environment: dict[str, str]) -> None:
    """Train what comes, until nothing does; answers with an error's text, or None."""
    os.environ.update(environment)
    while (job := connection.recv()) is not None:
        folder, words, port = job
        os.environ["MASTER_PORT"] = str(port)
        error = None
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                train_in(folder, words)
        except BaseException as caught:
            error = f"{type(caught).__name__}: {caught}"
            if type(caught).__name__ not in ("UserError", "SpecError", "RunFailed"):
                error += "\n" + traceback.format_exc()
        finally:
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()
        connection.send(error)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Group:
    """Processes that train together; they are started again after a failure, which may leave one of them waiting."""

    def __init__(self, world: int) -> None:
        self.world = world
        self.members: list[tuple[Any, Any]] = []

    def start(self) -> None:
        common = {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo", "PL_GLOBAL_SEED": "0"}
        if self.world > 1:
            common |= {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": str(self.world), "GROUP_RANK": "0"}
            common |= {"LOCAL_WORLD_SIZE": str(self.world), "GROUP_WORLD_SIZE": "1"}
        for rank in range(self.world):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if self.world > 1 else {}
            here, there = FORKS.Pipe()
            process = FORKS.Process(target=serve, args=(there, common | own), daemon=True)
            process.start()
            there.close()
            self.members.append((process, here))

    def send(self, folder: Path, words: Sequence[str]) -> None:
        if not self.members:
            self.start()
        folder.mkdir(parents=True, exist_ok=True)
        words = [*words, "trainer=ddp"] if self.world > 1 else [*words]
        port = free_port()
        for _, connection in self.members:
            connection.send((folder, words, port))

    def answers(self, seconds: float = 60) -> list[str | None]:
        """What went wrong on each; a process that does not answer counts as hanging."""
        said: list[str | None] = []
        for _, connection in self.members:
            patience = 5 if any(said) else seconds  # the others wait for one that has failed
            try:
                said.append(connection.recv() if connection.poll(patience) else "hangs")
            except EOFError:
                said.append("died")
        if any(said):
            self.stop()
        return said

    def stop(self) -> None:
        for process, connection in self.members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.join()
            connection.close()
        self.members = []


def left_in(folder: Path) -> dict[str, Any]:
    """Weights and metrics: {name: tensor or float}."""
    left: dict[str, Any] = {}
    stored = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    left |= {f"weights {name}": value for name, value in stored["state_dict"].items()}
    left |= json.loads((folder / "results.json").read_text())["metrics"]
    with (folder / "metrics.csv").open() as file:
        for i, row in enumerate(csv.DictReader(file)):
            left |= {f"epoch {i} {k}": float(v) for k, v in row.items() if v and k not in ("seconds", "epoch")}
    return left


def distances(one: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    """How far each weight (absolutely) and each metric (relative to its size, where above 1) is from the other's."""
    found = {name: float("inf") for name in one.keys() ^ other.keys()}
    for name in one.keys() & other.keys():
        a, b = (torch.as_tensor(side[name], dtype=torch.float64) for side in (one, other))
        if a.shape != b.shape:
            found[name] = float("inf")
        elif a.numel():
            scale = 1.0 if name.startswith("weights") else max(1.0, float(a.abs().max()))
            gap = torch.where(a.isnan() & b.isnan() | (a == b), 0.0, (a - b).abs())
            found[name] = float(gap.max()) / scale if not gap.isnan().any() else float("inf")
    return found
