"""What Hydra calls for each run, and how a mistake is reported."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from dlzoo.config import compose as config
from dlzoo.config.files import as_checked
from dlzoo.distributed import launch as ranks
from dlzoo.errors import MISTAKES, RankLost, RunFailed, UserError, one_line, visible
from dlzoo.training import ranks as training_ranks
from dlzoo.training.resume import Resumption, resumed
from dlzoo.training.run import run
from dlzoo.utils import archives as durable

if TYPE_CHECKING:
    from dlzoo.checkpoint.format import StoredCheckpoint

# torch, lightning and all that needs them are imported in run(): a typo and --help answer without them.

FAILED: list[str] = []
"""What the last command of this process complained of."""


_exit_code = 0
"""Of what Hydra called."""


class Sweeps(Protocol):
    """What takes over where a command line asks for many runs: `dlzoo.sweep`, which is built on this module."""

    def is_requested(self, argv: Sequence[str], /) -> bool: ...
    def run(self, argv: Sequence[str], /) -> int: ...


def main(sweeps: Sweeps | None = None) -> None:
    """The command: exit code 0 when the run did what was asked, 1 when it had to end, 2 for a mistake of the words."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # we say ourselves what is wrong
    global _exit_code
    FAILED.clear()
    _exit_code = 0
    try:
        words = config.prepare(sys.argv[1:])
        run_words = Resumption(words, None) if ranks.launched_by_lightning() else resumed(words)
        sys.argv[1:] = training_ranks.prepared(run_words.words)
        if sweeps is not None and sweeps.is_requested(sys.argv[1:]):
            sys.exit(sweeps.run(sys.argv[1:]))
        texts = config.check_hydra(sys.argv[1:])
        job = _job_of(run_words)
        with as_checked(texts):
            hydra.main(config_path=str(config.CONFIG_DIR), config_name="train", version_base="1.3")(job)()
    except UserError as error:
        sys.exit(_complain(str(error)))
    except (HydraException, OmegaConfBaseException) as error:
        if isinstance(error.__cause__, UserError):
            sys.exit(_complain(str(error.__cause__)))
        sys.exit(_complain(config.explain(error)))
    except OSError as error:
        if error.errno not in durable.DISK_FULL | durable.NO_PERMISSION:
            raise
        told = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
        sys.exit(_complain(f"{told}; output_dir says where runs are written, data_dir where data are"))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        signum = getattr(error, "signum", None)  # Interrupted, whose module needs torch
        if signum is None:
            raise
        if ranks.rank() == 0:
            print(f"\n{error}; the same command with resume=auto goes on from there", file=sys.stderr)
        # Lightning kills all ranks, the first too, when one that it started says that it has failed
        sys.exit(0 if ranks.launched_by_lightning() else 128 + signum)
    sys.exit(_exit_code)


def _job_of(resumption: Resumption) -> Callable[[DictConfig], None]:
    """What Hydra calls; what a grid's launcher sends to other machines holds no checkpoint."""
    stored = None if {"-m", "--multirun"} & {*sys.argv} else resumption.stored

    def task(cfg: DictConfig) -> None:
        job(cfg, stored)

    return task


def job(cfg: DictConfig, stored: StoredCheckpoint | None = None) -> None:
    """A run, and how it ended.

    Args:
        stored: the checkpoint ``cfg.ckpt``, where it has been read.
    """
    hydra_cfg = HydraConfig.get()
    cfg = config.with_names(cfg, hydra_cfg.runtime.choices)
    run_dir = Path(hydra_cfg.runtime.output_dir)
    try:
        run(cfg, run_dir, list(hydra_cfg.overrides.task), stored)
    except RunFailed as error:
        _complain(str(error), error.reason, code=1, everywhere=isinstance(error, RankLost))
    except (UserError, OmegaConfBaseException, InstantiationException) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        if not isinstance(cause, (UserError, OmegaConfBaseException, *MISTAKES)):
            raise
        _complain(str(cause))
        if hydra_cfg.mode == RunMode.MULTIRUN:
            raise  # one of the runs that Hydra sent off: it tells the command that did so
        from dlzoo.utils import locks

        if ranks.rank() == 0 and {path.name for path in run_dir.iterdir()} <= {".hydra", locks.NAME}:
            shutil.rmtree(run_dir)  # nothing was run
    except (MemoryError, RuntimeError) as error:
        from dlzoo.training import out_of_memory as memory
        from dlzoo.utils.memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        _complain(memory.before_training(error), code=1)


def _complain(message: str, reason: str = "", code: int = 2, *, everywhere: bool = False) -> int:
    global _exit_code
    message = visible(message) if reason else one_line(message)
    FAILED.append(reason or message)
    _exit_code = code
    if everywhere or not ranks.launched_by_lightning():  # rank 0 prints it too, unless torchrun kills it first
        print(f"error: {message}", file=sys.stderr, flush=True)
    return code
