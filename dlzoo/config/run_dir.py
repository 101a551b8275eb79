"""A folder of its own for each run and each sweep, also where several start in the same second."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from dlzoo.config import run_files
from dlzoo.distributed import launch as ranks
from dlzoo.errors import UserError


def claim(folder: Path) -> Path:
    """Make this folder, or if it exists the first of ``<folder>-2``, ``<folder>-3``, … that does not.

    No two processes get the same one: the file system makes a folder only once.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        own = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            own.mkdir()
        except FileExistsError:
            continue
        return own
    raise AssertionError("there are folders without end")


def is_given(key: str, words: Sequence[str]) -> bool:
    """Whether an override sets this key."""
    return any(word.split("=")[0].lstrip("+") == key for word in words)


class OwnFolder(Callback):
    """What Hydra calls before it makes the run folder, whose name is a time in seconds.

    A folder that was named on the command line stays as it is, since a run may be continued there. So does that of
    processes which a launcher started together (torchrun, srun): they share one. The first rank locks it, before Hydra
    writes anything into it.
    """

    def __init__(self) -> None:
        self.lock: Any = None

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        HydraConfig.instance().set_config(config)  # the name refers to it
        folder = Path(OmegaConf.select(config, "hydra.run.dir"))
        try:
            if ranks.num_started() > 1 or is_given("hydra.run.dir", config.hydra.overrides.hydra):
                folder.mkdir(parents=True, exist_ok=True)
            else:
                folder = claim(folder)
        except OSError as error:  # Hydra would turn any exception but this one into a warning
            print(f"error: output_dir: {folder} cannot be made ({error.strerror})", file=sys.stderr)
            sys.exit(2)
        with read_write(config.hydra.run):
            config.hydra.run.dir = str(folder)
        self.take(folder)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Of a run of a grid that a launcher has sent off, which had no `on_run_start`."""
        if self.lock is None and config.hydra.mode == RunMode.MULTIRUN:
            self.take(Path(config.hydra.runtime.output_dir))

    def take(self, folder: Path) -> None:
        from dlzoo.utils import locks

        if ranks.rank() != 0:
            return
        try:
            self.lock = locks.lock(folder)
            run_files.check_links(folder)
            run_files.unshare(folder)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except OSError as error:
            print(f"error: output_dir: {folder} cannot be written ({error.strerror})", file=sys.stderr)
            sys.exit(2)

    def on_job_end(self, config: DictConfig, job_return: Any, **_: Any) -> None:
        from dlzoo.utils import locks

        taken, self.lock = self.lock, None
        locks.unlock(taken)
