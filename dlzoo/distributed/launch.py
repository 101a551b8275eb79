"""Which of a run's processes this is, as its starter says in the environment: known before torch is imported.

A run of several processes is started by torchrun or by SLURM's srun, each rank with the same command, or by Lightning,
which starts the further ranks of a machine itself and hands them the run's folder.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence

from dlzoo.config import compose as config
from dlzoo.errors import UserError


def rank() -> int:
    """0 for the first, which writes and reports."""
    if by_torchrun():
        return int(os.environ["RANK"])
    if by_srun():
        return int(os.environ["SLURM_PROCID"])
    return int(os.environ.get("LOCAL_RANK", 0)) or int(os.environ.get("NODE_RANK", 0))


def by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def by_srun() -> bool:
    """Whether SLURM started this process as one of several; in a job's shell most of its variables are set as well."""
    several = int(os.environ.get("SLURM_NTASKS", 1)) > 1
    return several and "SLURM_STEP_ID" in os.environ and not by_torchrun()


def by_lightning() -> bool:
    """Whether another process of this run, on this machine, has started it."""
    return int(os.environ.get("LOCAL_RANK", 0)) > 0 and not by_torchrun() and not by_srun()


def num_started() -> int:
    """Processes of the run that were started from outside, this one included."""
    if by_torchrun():
        return int(os.environ["WORLD_SIZE"])
    return int(os.environ["SLURM_NTASKS"]) if by_srun() else 1


def prepared(argv: Sequence[str]) -> list[str]:
    """The command line of this rank: only the first makes the run's folder, whose name holds the time by the second.

    What another rank needs a folder for, such as Hydra, it finds in a temporary one.

    Raises:
        UserError: a sweep that was started several times.
    """
    if num_started() > 1 and ("-m" in argv or "--multirun" in argv):
        raise UserError(
            f"a sweep starts the processes of its trials itself, but here are {num_started()} sweeps: start one "
            "without torchrun or srun, with trainer=ddp trainer.devices=2"
        )
    if rank() == 0 and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        warn_of_shared_store()
    if rank() == 0 or by_lightning():
        return list(argv)
    if any(word.startswith("hydra.run.dir=") for word in argv):
        return [*argv, "hydra.output_subdir=null"]
    folder = tempfile.mkdtemp(prefix="dlzoo-rank-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return [*argv, config.quoted("hydra.run.dir", folder), "hydra.output_subdir=null"]


def warn_of_shared_store() -> None:
    """Say that torchrun could not start the ranks again, where it could not."""
    # https://github.com/pytorch/pytorch/issues/167288: ranks that are started again find the addresses of dead ones
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        print(
            "warning: --max-restarts will not help: torchrun's store keeps the addresses of killed processes; start "
            "it as TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun --standalone --max-restarts=… (several machines: "
            "--rdzv-backend=c10d in place of --standalone)",
            file=sys.stderr,
        )
