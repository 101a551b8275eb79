"""The command ``train``: what Hydra calls for each run, and how errors are reported."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import TaskFunction
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from dlzoo import __version__
from dlzoo.config import compose as config
from dlzoo.config import groups, help_text, hydra_composition, part_help
from dlzoo.config import overrides as config_overrides
from dlzoo.config import run_dir as run_folder
from dlzoo.config.allowlist import Trust
from dlzoo.config.files import as_checked
from dlzoo.config.locations import with_absolute_paths
from dlzoo.config.prepare import prepare
from dlzoo.config.schema import NODES
from dlzoo.config.yaml_files import CONFIG_DIR
from dlzoo.distributed import launch as ranks
from dlzoo.errors import MISTAKES, RankLost, RunFailed, UserError, one_line, short, visible
from dlzoo.training import ranks as training_ranks
from dlzoo.training.resume import Resumption, resolve_resume
from dlzoo.training.run import run
from dlzoo.utils import archives as durable
from dlzoo.utils.output import discard_output, visible_output

if TYPE_CHECKING:
    from dlzoo.checkpoint.format import StoredCheckpoint
    from dlzoo.training.results import RunResults

# torch, lightning and everything that needs them are imported in run(), so that typos and --help are answered at once.


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    """Of the process: 0 on success, 1 if the run failed, 2 if the command line has a mistake, 128 plus the number of a
    signal."""
    reason: str = ""
    """Why the run failed, or what the mistake is."""


class Finished(NamedTuple):
    """A run that did what was asked."""

    folder: Path
    results: RunResults


class SweepRunner(Protocol):
    """Runs a command line that asks for several runs: `dlzoo.sweep`, which is a layer above this module."""

    def is_requested(self, argv: Sequence[str], /) -> bool: ...
    def run(self, argv: Sequence[str], /) -> int: ...


def main(sweeps: SweepRunner | None = None) -> None:
    """Run the command line, and exit."""
    sys.exit(attempt(lambda: run_command(sweeps)).code)


def run_command(sweeps: SweepRunner | None = None) -> int:
    """Run the command line of this process; its exit code."""
    _answer_flags(sys.argv[1:])
    resumption = resolve(sys.argv[1:])
    if resumption.finished is not None:
        print(f"{visible(resumption.finished)} is finished: there is nothing to resume")
        return 0
    sys.argv[1:] = training_ranks.argv_of_rank(resumption.argv)
    if sweeps is not None and sweeps.is_requested(sys.argv[1:]):
        return sweeps.run(sys.argv[1:])
    shows = {*sys.argv} & config_overrides.SHOW_ONLY
    with visible_output() if shows else contextlib.nullcontext():
        run_argv(resumption.stored)
    sys.stdout.flush()
    return 0


def resolve(argv: Sequence[str]) -> Resumption:
    """The run that a command line starts or resumes, with its overrides checked as far as Hydra does not."""
    prepared = prepare(argv)
    return Resumption(prepared, None) if ranks.launched_by_lightning() else resolve_resume(prepared)


def run_argv(stored: StoredCheckpoint | None = None) -> Finished | None:
    """The run of ``sys.argv``, which `resolve` has returned; None if its flags only show something.

    Args:
        stored: the checkpoint to resume from, if it has been read already.

    Raises:
        UserError: a mistake in the overrides, or parts that do not fit together.
        RunFailed: the run began, and failed.
        Interrupted: a signal stopped it.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors are reported here
    with explained_errors(), as_checked(config.check_hydra(sys.argv[1:])):
        if {"--help", "-h"} & {*sys.argv}:
            _show_help(sys.argv[1:])
            return None
        job = _Job(stored)
        try:
            _hydra_main(job)
        except run_folder.Refused as refused:
            raise refused.error from None
        except RecursionError:  # of Hydra: those of the job are in `job.error`
            chosen = " ".join(arg for arg in sys.argv[1:] if not arg.startswith("-"))
            raise UserError(f"{short(chosen)}: the defaults list of a file includes the file itself") from None
        if job.error is not None:
            raise job.error
        return job.finished


@contextlib.contextmanager
def explained_errors() -> Iterator[None]:
    """Errors of the config and of the disk become a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except (HydraException, OmegaConfBaseException) as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise UserError(hydra_composition.explain(error)) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno not in durable.DISK_FULL | durable.NO_PERMISSION:
            raise
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
        raise UserError(f"{message}; output_dir sets where runs are written, data_dir where data is stored") from error


def attempt(body: Callable[[], int]) -> Ended:
    """Call ``body``, which returns an exit code, and print why it failed, if it did."""
    try:
        with explained_errors():
            return Ended(body())
    except UserError as error:
        return _report_error(one_line(error))
    except RunFailed as error:
        return _report_error(visible(error), error.reason, code=1, on_all_ranks=isinstance(error, RankLost))
    except BrokenPipeError:
        discard_output()
        return Ended(1, "its output was closed")
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return Ended(130, "interrupted")
    except Exception as error:
        signum = getattr(error, "signum", None)  # Interrupted, whose module needs torch
        if signum is None:
            raise
        if ranks.rank() == 0:
            print(f"\n{error}; the same command with resume=auto resumes from there", file=sys.stderr)
        # Lightning kills all ranks, rank zero included, if one that it started reports a failure
        return Ended(0 if ranks.launched_by_lightning() else 128 + signum, f"{error}")


def _report_error(message: str, reason: str = "", code: int = 2, *, on_all_ranks: bool = False) -> Ended:
    if on_all_ranks or not ranks.launched_by_lightning():  # rank zero prints it too, unless torchrun kills it first
        print(f"error: {message}", file=sys.stderr, flush=True)
    return Ended(code, reason or message)


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


def _show_help(argv: Sequence[str]) -> None:
    """Print the screen of help, or the options of the model and the data that a command line chooses."""
    flags, overrides = config_overrides.split(argv)
    folders = groups.search_dirs(flags)
    first = {config_overrides.key_of(override).lstrip("~").partition(".")[0] for override in overrides}
    if not first & {*NODES, *groups.names(folders)}:
        print("\n".join(help_text.lines(folders)))
        return
    parts = part_help.parts(config.compose_with_hydra(overrides, flags), part_help.LEARNING, Trust.of(overrides))
    print("The options of the chosen parts, with their values; dlzoo options lists all.")
    print("\n".join(part_help.lines(parts)))


def _hydra_main(job: TaskFunction) -> None:
    hydra.main(config_path=str(CONFIG_DIR), config_name="train", version_base="1.3")(job)()


class _Job:
    """What Hydra calls. Errors are kept, since Hydra would announce them in its own words."""

    def __init__(self, stored: StoredCheckpoint | None) -> None:
        self.stored = stored
        self.finished: Finished | None = None
        self.error: Exception | None = None

    def __call__(self, cfg: DictConfig) -> None:
        try:
            self.finished = job(cfg, self.stored)
        except Exception as error:
            self.error = error


def job(cfg: DictConfig, stored: StoredCheckpoint | None = None) -> Finished:
    """Run training, in the folder and with the overrides that Hydra has recorded.

    Args:
        stored: the checkpoint ``cfg.ckpt``, if it has been read already.

    Raises:
        UserError: a mistake, before anything has been run; the run folder is as it was before.
    """
    hydra_cfg = HydraConfig.get()
    cfg = config.with_names(cfg, hydra_cfg.runtime.choices)
    run_dir = Path(hydra_cfg.runtime.output_dir)
    if hydra_cfg.job.chdir:
        cfg = with_absolute_paths(cfg, Path(hydra_cfg.runtime.cwd))
    try:
        return Finished(run_dir, run(cfg, run_dir, list(hydra_cfg.overrides.task), stored))
    except (UserError, OmegaConfBaseException, InstantiationException) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        if not isinstance(cause, (UserError, OmegaConfBaseException, *MISTAKES)):
            raise
        _undo(run_dir)
        raise UserError(str(cause)) from error
    except (MemoryError, RuntimeError) as error:
        from dlzoo.training import out_of_memory as memory
        from dlzoo.utils.memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        raise RunFailed(one_line(memory.explain_before_training(error))) from error


def _undo(run_dir: Path) -> None:
    """Leave a run folder as it was before a run that did not begin."""
    from dlzoo.utils import locks

    if ranks.rank() != 0:
        return
    run_folder.restore_config(run_dir)
    if {path.name for path in run_dir.iterdir()} <= {".hydra", locks.NAME}:
        shutil.rmtree(run_dir)
