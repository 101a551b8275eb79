"""The DDP strategy of a run: Lightning's, except that when a process dies the others get time to report it.

Lightning checks every five seconds whether a process that it launched has failed, and then kills the main process with
SIGKILL, without a message. Here the main process watches those it launched, and they watch the main process. Most
notice a death because communication fails; a process that does not, because it is computing or waiting forever, exits
after a grace period.

It overrides two private methods of Lightning 2.6: ``DDPStrategy._configure_launcher`` and
``_SubprocessScriptLauncher._call_children_scripts``; tests/distributed/test_launcher.py fails if they disappear.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import torch
from lightning.fabric.plugins import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from dlzoo.distributed import launch as ranks
from dlzoo.errors import RankLost

POLL_INTERVAL = 1.0
"""Seconds."""
GRACE_PERIOD = 20.0
"""Seconds that a process has to exit by itself once another has died."""


class Strategy(DDPStrategy):
    """DDP whose main process launches the others with a `Launcher`."""

    def _configure_launcher(self) -> None:
        super()._configure_launcher()
        launcher = self._launcher
        if isinstance(launcher, _SubprocessScriptLauncher):
            self._launcher = Launcher(launcher.cluster_environment, launcher.num_processes, launcher.num_nodes)
            if ranks.launched_by_lightning():
                parent = os.getppid()
                watch(lambda: os.getppid() != parent)


class Launcher(_SubprocessScriptLauncher):
    """Launches a process for each other device of this machine."""

    children: list[subprocess.Popen[bytes]]

    def __init__(self, cluster_environment: ClusterEnvironment, num_processes: int, num_nodes: int) -> None:
        super().__init__(cluster_environment, num_processes, num_nodes)
        self.children = []

    def _call_children_scripts(self) -> None:
        super()._call_children_scripts()
        self.children, self.procs = self.procs, []  # Lightning watches those in self.procs itself
        watch(self.has_lost)

    def has_lost(self) -> bool | None:
        codes = [child.poll() for child in self.children]
        return None if not any(code is None or code for code in codes) else any(codes)

    def kill(self, signum: int) -> None:
        for child in self.children:
            child.send_signal(signum)


def watch(
    is_lost: Callable[[], bool | None], every: float = POLL_INTERVAL, grace: float = GRACE_PERIOD
) -> threading.Thread:
    """Watch for the death of another process; exit ``grace`` seconds later if this process has not ended by then.

    Args:
        is_lost: whether another process has died; None: all others have finished successfully.
    """

    def run() -> None:
        while (lost := is_lost()) is False:
            time.sleep(every)
        if lost is None:
            return
        time.sleep(grace)
        print(f"\nerror: {RankLost(ranks.rank())}", file=sys.stderr, flush=True)
        os._exit(1)

    thread = threading.Thread(target=run, daemon=True, name="rank-watch")  # a daemon thread ends with the main thread
    thread.start()
    return thread


def is_lost_connection(error: BaseException) -> bool:
    """Whether communication between processes failed; gloo raises plain errors, recognized by their text."""
    kinds = (torch.distributed.DistBackendError, torch.distributed.DistNetworkError, torch.distributed.DistStoreError)
    return isinstance(error, kinds) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())
