"""The DDP strategy of a run: as Lightning's, but a process that dies leaves the others time to say so.

Lightning looks every five seconds for a process that it has started and that has failed, and then ends the first one
by SIGKILL: nothing is said. Here each process watches the others that it can see, the first those that it has started
and these the first. Most learn of a death from the exchange that breaks off; whoever does not, because it computes or
waits for ever, is ended after a while.

It overrides two private methods of Lightning 2.6: ``DDPStrategy._configure_launcher`` and
``_SubprocessScriptLauncher._call_children_scripts``; tests/distributed/test_launcher.py says when they are gone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from dlzoo.distributed import launch as ranks
from dlzoo.errors import RankLost

LOOK_EVERY = 1.0
"""Seconds."""
GRACE = 20.0
"""Seconds that a process has to end by itself once another has died."""


class Strategy(DDPStrategy):
    """DDP, whose first process starts the others by a `Launcher`."""

    def _configure_launcher(self) -> None:
        super()._configure_launcher()
        launcher = self._launcher
        if isinstance(launcher, _SubprocessScriptLauncher):
            self._launcher = Launcher(launcher.cluster_environment, launcher.num_processes, launcher.num_nodes)
            if ranks.by_lightning():
                parent = os.getppid()
                watch(lambda: os.getppid() != parent)


class Launcher(_SubprocessScriptLauncher):
    """Starts a process for each further device of this machine."""

    children: list[subprocess.Popen[Any]]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.children = []

    def _call_children_scripts(self) -> None:
        super()._call_children_scripts()
        self.children, self.procs = self.procs, []  # those of which Lightning knows it would watch by itself
        watch(self.has_lost)

    def has_lost(self) -> bool | None:
        codes = [child.poll() for child in self.children]
        return None if not any(code is None or code for code in codes) else any(codes)

    def kill(self, signum: Any) -> None:
        for child in self.children:
            child.send_signal(signum)


def watch(is_lost: Callable[[], bool | None], every: float = LOOK_EVERY, grace: float = GRACE) -> threading.Thread:
    """Look for the death of another process; end this one ``grace`` seconds later, if it has not ended by then.

    Args:
        is_lost: None: all others have ended well.
    """

    def run() -> None:
        while (lost := is_lost()) is False:
            time.sleep(every)
        if lost is None:
            return
        time.sleep(grace)
        print(f"\nerror: {RankLost(ranks.rank())}", file=sys.stderr, flush=True)
        os._exit(1)

    thread = threading.Thread(target=run, daemon=True, name="rank-watch")  # a daemon ends with the main thread
    thread.start()
    return thread


def is_lost_connection(error: BaseException) -> bool:
    """Whether an exchange between processes broke off: gloo's errors are plain ones and known by their text."""
    kinds = (torch.distributed.DistBackendError, torch.distributed.DistNetworkError, torch.distributed.DistStoreError)
    return isinstance(error, kinds) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())
