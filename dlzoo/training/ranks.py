"""The command line of each rank of a run."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence

from dlzoo.config import overrides
from dlzoo.distributed.launch import launched_by_lightning, num_started, rank
from dlzoo.errors import UserError


def argv_of_rank(argv: Sequence[str]) -> list[str]:
    """The command line of this rank. Only rank zero creates the run folder, since its name contains the current second.

    The folder that Hydra needs on every other rank is a temporary one.

    Raises:
        UserError: a sweep was started in several processes.
    """
    if num_started() > 1 and ("-m" in argv or "--multirun" in argv):
        raise UserError(
            f"a sweep starts the processes of its trials itself, but {num_started()} sweeps were started: start one "
            "without torchrun or srun, with trainer=ddp trainer.devices=2"
        )
    if rank() == 0 and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        warn_about_shared_store()
    if rank() == 0 or launched_by_lightning():
        return list(argv)
    if any(override.startswith("hydra.run.dir=") for override in argv):
        return [*argv, "hydra.output_subdir=null"]
    folder = tempfile.mkdtemp(prefix="dlzoo-rank-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return [*argv, overrides.quoted("hydra.run.dir", folder), "hydra.output_subdir=null"]


def warn_about_shared_store() -> None:
    """Warn if torchrun was started in such a way that it cannot restart the ranks."""
    # https://github.com/pytorch/pytorch/issues/167288: restarted ranks find the addresses of dead ones
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        print(
            "warning: --max-restarts will not help: torchrun's store keeps the addresses of killed processes; start "
            "it as TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun --standalone --max-restarts=… (on several machines: "
            "--rdzv-backend=c10d instead of --standalone)",
            file=sys.stderr,
        )
