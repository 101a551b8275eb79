"""A separate folder for each run and each sweep, even if several start in the same second."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write

from dlzoo.config import run_files
from dlzoo.config.overrides import is_given
from dlzoo.distributed import launch as ranks
from dlzoo.errors import UserError, short, visible

if TYPE_CHECKING:
    from dlzoo.utils.locks import Lock


def claim(folder: Path) -> Path:
    """Create this folder, or if it exists the first of ``<folder>-2``, ``<folder>-3``, … that does not.

    No two processes get the same one, since creating a folder is atomic.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        candidate = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            candidate.mkdir()
        except FileExistsError:
            continue
        return candidate
    raise AssertionError("unreachable")


EARLIER = ".hydra.earlier"
"""The config of the run that a folder holds, until another command has been found to have no mistake."""
PARTS_OF_A_RUN = ("results.json", "metrics.csv", "checkpoints", "events.out.tfevents.*")


def keep_config(folder: Path) -> None:
    """Keep the config of the run in a folder, if there is one: Hydra is about to write another."""
    config, earlier = folder / ".hydra", folder / EARLIER
    holds_run = any(next(folder.glob(pattern), None) for pattern in PARTS_OF_A_RUN)
    if holds_run and config.is_dir() and not earlier.exists():
        shutil.copytree(config, earlier, symlinks=True)


def restore_config(folder: Path) -> None:
    """Put the config back that `keep_config` kept: nothing has been run."""
    if (folder / EARLIER).is_dir():
        shutil.rmtree(folder / ".hydra", ignore_errors=True)
        (folder / EARLIER).rename(folder / ".hydra")


def begin(folder: Path, ckpt: str | None) -> None:
    """Called before a run first writes to its folder: an earlier run in it is moved to another, unless it continues.

    Args:
        ckpt: the checkpoint that the run continues from.
    """
    from dlzoo.utils import locks

    earlier = folder / EARLIER
    if not earlier.is_dir():
        return
    if ckpt is not None and Path(ckpt).expanduser().resolve().parent.parent == folder.resolve():
        shutil.rmtree(earlier)
        return
    target = claim(folder.with_name(f"{folder.name}-earlier"))
    kept = (".hydra", locks.NAME, EARLIER)
    for path in sorted(path for path in folder.iterdir() if path.name not in kept):
        path.rename(target / path.name)
    earlier.rename(target / ".hydra")
    print(f"{visible(folder)} holds an earlier run: it is now {visible(target)}")


class Refused(SystemExit):
    """A run folder that cannot be used. Hydra turns any exception of a callback except SystemExit into a warning.

    Args:
        error: the mistake.
    """

    def __init__(self, error: UserError) -> None:
        super().__init__(2)
        self.error = error


class RunFolder(Callback):
    """Creates and locks the run folder before Hydra writes to it.

    Hydra's folder name is only unique to the second, so it gets a suffix if the folder exists. A folder given on the
    command line is used as it is, since a run may be resumed there; so is that of processes started together by a
    launcher (torchrun, srun), which share one. The first rank holds the lock.
    """

    def __init__(self) -> None:
        self.lock: Lock | None = None

    def on_run_start(self, config: DictConfig, **_: object) -> None:
        HydraConfig.instance().set_config(config)  # the folder name refers to it
        folder = Path(OmegaConf.select(config, "hydra.run.dir"))
        try:
            if ranks.num_started() > 1 or is_given("hydra.run.dir", config.hydra.overrides.hydra):
                folder.mkdir(parents=True, exist_ok=True)
            else:
                folder = claim(folder)
        except OSError as error:
            message = f"output_dir: {short(folder, 200)} cannot be created ({error.strerror})"
            raise Refused(UserError(message)) from error
        with read_write(config.hydra.run):
            config.hydra.run.dir = str(folder)
        self.acquire(folder)
        if self.lock is not None and OmegaConf.select(config, "callbacks.trial") is None:
            keep_config(folder)

    def acquire(self, folder: Path) -> None:
        """Lock the folder, and check that writing to it does not change files elsewhere."""
        from dlzoo.utils import locks

        if ranks.rank() != 0:
            return
        try:
            self.lock = locks.lock(folder)
            run_files.check_links(folder)
            run_files.check_kinds(folder)
            run_files.unshare(folder)
        except UserError as error:
            raise Refused(error) from error
        except OSError as error:
            message = f"output_dir: {short(folder, 200)} cannot be written ({error.strerror})"
            raise Refused(UserError(message)) from error

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: object) -> None:
        from dlzoo.utils import locks

        lock, self.lock = self.lock, None
        locks.unlock(lock)
