"""Processes that watch each other, and the message when one of them dies."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from killing import FORKS
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers import subprocess_script

from dlzoo.distributed import ddp as launcher
from dlzoo.distributed.ddp import Launcher, Strategy, is_lost_connection, watch
from dlzoo.errors import RankLost


def test_lightning_still_has_the_overridden_methods() -> None:
    message = "Lightning has moved what dlzoo/distributed/ddp.py overrides: see its docstring"
    assert hasattr(DDPStrategy, "_configure_launcher"), message
    assert hasattr(subprocess_script._SubprocessScriptLauncher, "_call_children_scripts"), message
    assert hasattr(subprocess_script, "_launch_process_observer"), message


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer"), True),
        (torch.distributed.DistBackendError("NCCL error"), True),
        (torch.distributed.DistNetworkError("no answer"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("gloo"), False),
    ],
)
def test_lost_connections_are_recognized(error: Exception, lost: bool) -> None:
    assert is_lost_connection(error) is lost


def child(code: str) -> subprocess.Popen[Any]:
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)


def launched(*children: subprocess.Popen[Any]) -> Launcher:
    launcher_ = Launcher(None, len(children) + 1, 1)
    launcher_.children = [*children]
    return launcher_


def test_the_main_process_knows_the_state_of_the_others() -> None:
    waiting, ended, failed = child("input()"), child(""), child("raise SystemExit(3)")
    ended.wait()
    failed.wait()
    assert launched(waiting, ended).has_lost() is False
    assert launched(ended).has_lost() is None
    assert launched(waiting, failed).has_lost() is True
    launched(waiting).kill(15)
    assert waiting.wait(10) == -15


def hang(is_lost: bool | None) -> None:
    watch(lambda: is_lost, every=0.01, grace=0.01).join()


@pytest.mark.parametrize(("is_lost", "code"), [(True, 1), (None, 0)])
def test_a_hanging_process_exits(is_lost: bool | None, code: int) -> None:
    process = FORKS.Process(target=hang, args=(is_lost,))
    process.start()
    process.join(60)
    assert process.exitcode == code


def test_lightning_does_not_watch_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would kill the main process with SIGKILL."""
    monkeypatch.setattr(subprocess_script._SubprocessScriptLauncher, "_call_children_scripts", start)
    monkeypatch.setattr(launcher, "watch", lambda is_lost: None)
    strategy = Strategy(cluster_environment=subprocess_script.ClusterEnvironment)  # type: ignore[arg-type]
    strategy._configure_launcher()
    launcher_: Any = strategy.launcher
    launcher_._call_children_scripts()
    assert launcher_.procs == []
    assert launcher_.children == ["a process"]


def start(self: Any) -> None:
    self.procs = ["a process"]


def test_the_error_message() -> None:
    assert "rank 3 stops because another process of the run has ended" in str(RankLost(3))
