"""What Windows and macOS lack is not used: a run in which these names do not exist."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from dlzoo.config import compose as config
from dlzoo.config import overrides as config_overrides
from dlzoo.utils import archives, memory

ROOT = Path(__file__).parents[2]

PROGRAM = """
import errno, os, shutil, signal, sys, types
import lightning.pytorch, torch, psutil._psposix, matplotlib.pyplot, sklearn.linear_model  # not ours
import multiprocessing.synchronize
from lightning.pytorch.trainer.connectors import signal_connector

signal_connector.signal = types.SimpleNamespace(**vars(signal))
psutil._psposix.os = types.SimpleNamespace(**vars(os))
for name in ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGKILL", "SIGALRM", "SIGCHLD"):
    delattr(signal, name)
for name in ("sysconf", "O_NOFOLLOW", "O_CLOEXEC", "O_DIRECTORY", "sched_getaffinity", "getuid", "fork",
             "mkfifo", "killpg", "getpgid", "setsid", "chown", "statvfs"):
    delattr(os, name)
del errno.EDQUOT
shutil._use_fd_functions = False  # rmtree opens folders where it can
real_open = os.open

def open_file(path, *options, **more):
    if os.path.isdir(path):
        raise PermissionError(13, "Windows opens no folder", path)
    return real_open(path, *options, **more)

def kill(pid, signum):
    raise AssertionError(f"on Windows, os.kill({pid}, {signum}) ends that process")

def symlink(*names, **options):
    raise OSError(22, "Windows lets only administrators make links", *names)

os.open, os.kill, os.symlink, os.link = open_file, kill, symlink, symlink
from dlzoo.commands.train import main
main()
"""


def test_a_run_without_the_names_that_windows_lacks(tmp_path: Path) -> None:
    """It is resumed too, which looks for temporary files of processes that have ended."""
    words = ["data=wine", "trainer=smoke", "callbacks=[checkpoint,history,progress]", "logger=none"]
    folder = f"hydra.run.dir={tmp_path / 'run'}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PROGRAM, *words, folder, *more]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    first = run()
    assert first.returncode == 0, first.stderr
    ckpt = tmp_path / "run" / "checkpoints" / "last.ckpt"
    stale = ckpt.with_name(".last.ckpt.0123456789abcdef.999999999.tmp")
    stale.touch()
    second = run(f"ckpt={ckpt}", "trainer.max_epochs=2")
    assert second.returncode == 0, second.stderr
    assert not stale.exists()


def test_without_proc_the_memory_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "PROC", tmp_path)
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.limit() <= psutil.virtual_memory().total
    assert 0 < memory.free_megabytes() < psutil.virtual_memory().total / memory.MEGABYTE
    assert memory.process_memory()["VmRSS"] > 2**20


def test_whether_a_process_is_alive() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert archives.is_alive(os.getpid())
    assert not archives.is_alive(ended.pid)


@pytest.mark.parametrize("path", [r"C:\Users\me\new data\table.csv", r"D:\n\t\x.csv", r"\\server\share\a.csv"])
def test_paths_with_backslashes_stay_as_they_are(path: str) -> None:
    given = config_overrides.quoted("data.path", path)
    assert config.compose(["data=csv", given, "data.target=y"]).data.path == path
    if path.startswith("D:"):  # Hydra reads two backslashes as one, and no blanks without quotes
        typed = f"data.path={path}"
        assert config.compose(["data=csv", typed, "data.target=y"]).data.path == path
