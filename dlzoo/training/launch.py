"""The command ``train``: what Hydra calls for each run, and how errors are reported."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import TaskFunction
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from dlzoo import __version__
from dlzoo.config import compose as config
from dlzoo.config import overrides as config_overrides
from dlzoo.config import part_help
from dlzoo.config import run_dir as run_folder
from dlzoo.config.files import as_checked
from dlzoo.config.locations import with_absolute_paths
from dlzoo.distributed import launch as ranks
from dlzoo.errors import MISTAKES, RankLost, RunFailed, UserError, one_line, visible
from dlzoo.training import ranks as training_ranks
from dlzoo.training.resume import Resumption, resolve_resume
from dlzoo.training.run import run
from dlzoo.utils import archives as durable
from dlzoo.utils.output import discard_output, visible_output

if TYPE_CHECKING:
    from dlzoo.checkpoint.format import StoredCheckpoint

# torch, lightning and everything that needs them are imported in run(), so that typos and --help are answered at once.

REPORTED_ERRORS: list[str] = []
"""The errors that the last call of `main` in this process reported."""


_exit_code = 0
"""Exit code of what Hydra called."""


class SweepRunner(Protocol):
    """Runs a command line that asks for several runs: `dlzoo.sweep`, which is a layer above this module."""

    def is_requested(self, argv: Sequence[str], /) -> bool: ...
    def run(self, argv: Sequence[str], /) -> int: ...


def main(sweeps: SweepRunner | None = None) -> None:
    """Run the command line: exit code 0 on success, 1 if the run failed, 2 if the command line has a mistake."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors are reported below
    global _exit_code
    REPORTED_ERRORS.clear()
    _exit_code = 0
    try:
        _answer_flags(sys.argv[1:])
        argv = config.prepare(sys.argv[1:])
        resumption = Resumption(argv, None) if ranks.launched_by_lightning() else resolve_resume(argv)
        sys.argv[1:] = training_ranks.argv_of_rank(resumption.argv)
        if sweeps is not None and sweeps.is_requested(sys.argv[1:]):
            sys.exit(sweeps.run(sys.argv[1:]))
        texts = config.check_hydra(sys.argv[1:])
        job = _Job(resumption)
        shows = {*sys.argv} & config_overrides.SHOW_ONLY
        with as_checked(texts), visible_output() if shows else contextlib.nullcontext():
            try:
                _hydra_main(job)
            finally:
                if {"--help", "-h"} & {*sys.argv}:  # Hydra exits
                    _show_options(sys.argv[1:])
        sys.stdout.flush()
        if job.stopped is not None:
            raise job.stopped
    except UserError as error:
        sys.exit(_report_error(str(error)))
    except (HydraException, OmegaConfBaseException) as error:
        if isinstance(error.__cause__, UserError):
            sys.exit(_report_error(str(error.__cause__)))
        sys.exit(_report_error(config.explain(error)))
    except BrokenPipeError:
        discard_output()
        sys.exit(1)
    except OSError as error:
        if error.errno not in durable.DISK_FULL | durable.NO_PERMISSION:
            raise
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
        sys.exit(_report_error(f"{message}; output_dir sets where runs are written, data_dir where data is stored"))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        signum = getattr(error, "signum", None)  # Interrupted, whose module needs torch
        if signum is None:
            raise
        if ranks.rank() == 0:
            print(f"\n{error}; the same command with resume=auto resumes from there", file=sys.stderr)
        # Lightning kills all ranks, rank zero included, if one that it started reports a failure
        sys.exit(0 if ranks.launched_by_lightning() else 128 + signum)
    sys.exit(_exit_code)


def _answer_flags(argv: Sequence[str]) -> None:
    """Print the version or what a shell needs to complete options, and exit, if the command line asks for it."""
    if "--version" in argv:
        print(f"dlzoo {__version__}")
        sys.exit(0)
    if {"-sc", "--shell-completion"} & {*argv}:
        subcommands = ("install", "uninstall", "query")
        if not any(arg.partition("=")[0] in subcommands for arg in argv):
            raise UserError(
                'give what to do: eval "$(python train.py -sc install=bash)" turns completion on for this shell, '
                "uninstall=bash turns it off; zsh and fish likewise"
            )
        _hydra_main(lambda cfg: None)
        sys.exit(0)


def _show_options(argv: Sequence[str]) -> None:
    """Print the options of the parts that a command line chooses, if it chooses any."""
    flags, overrides = config_overrides.split(argv)
    if not overrides:
        return
    cfg = config.compose_with_hydra(overrides, flags)
    print("The options of its parts, with their values:")
    print("\n".join(part_help.lines(cfg)))


def _hydra_main(job: TaskFunction) -> None:
    hydra.main(config_path=str(config.CONFIG_DIR), config_name="train", version_base="1.3")(job)()


class _Job:
    """What Hydra calls."""

    def __init__(self, resumption: Resumption) -> None:
        self.stored = resumption.stored
        self.stopped: Exception | None = None
        """What ended the run and is no error of it, a signal or a closed pipe: Hydra would announce it as one."""

    def __call__(self, cfg: DictConfig) -> None:
        try:
            job(cfg, self.stored)
        except Exception as error:
            if not (hasattr(error, "signum") or isinstance(error, BrokenPipeError)):
                raise
            self.stopped = error


def job(cfg: DictConfig, stored: StoredCheckpoint | None = None) -> None:
    """Run training and report how it ended.

    Args:
        stored: the checkpoint ``cfg.ckpt``, if it has been read already.
    """
    hydra_cfg = HydraConfig.get()
    cfg = config.with_names(cfg, hydra_cfg.runtime.choices)
    run_dir = Path(hydra_cfg.runtime.output_dir)
    if hydra_cfg.job.chdir:
        cfg = with_absolute_paths(cfg, Path(hydra_cfg.runtime.cwd))
    try:
        run(cfg, run_dir, list(hydra_cfg.overrides.task), stored)
    except RunFailed as error:
        _report_error(str(error), error.reason, code=1, on_all_ranks=isinstance(error, RankLost))
    except (UserError, OmegaConfBaseException, InstantiationException) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        if not isinstance(cause, (UserError, OmegaConfBaseException, *MISTAKES)):
            raise
        _report_error(str(cause))
        from dlzoo.utils import locks

        if ranks.rank() == 0:
            run_folder.restore_config(run_dir)
        if ranks.rank() == 0 and {path.name for path in run_dir.iterdir()} <= {".hydra", locks.NAME}:
            shutil.rmtree(run_dir)  # nothing has been run
    except (MemoryError, RuntimeError) as error:
        from dlzoo.training import out_of_memory as memory
        from dlzoo.utils.memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        _report_error(memory.explain_before_training(error), code=1)


def _report_error(message: str, reason: str = "", code: int = 2, *, on_all_ranks: bool = False) -> int:
    global _exit_code
    message = visible(message) if reason else one_line(message)
    REPORTED_ERRORS.append(reason or message)
    _exit_code = code
    if on_all_ranks or not ranks.launched_by_lightning():  # rank zero prints it too, unless torchrun kills it first
        print(f"error: {message}", file=sys.stderr, flush=True)
    return code
