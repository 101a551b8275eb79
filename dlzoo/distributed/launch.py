"""Which of a run's processes this is, as its starter says in the environment: known before torch is imported.

A run of several processes is started by torchrun or by SLURM's srun, each rank with the same command, or by Lightning,
which starts the further ranks of a machine itself and hands them the run's folder.
"""

from __future__ import annotations

import os


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
