"""Which rank of a run this process is, from the launcher's environment variables, before torch is imported.

A distributed run is launched by torchrun or SLURM's srun, each rank with the same command, or by Lightning, which
launches the other ranks of a machine itself and passes them the run folder.
"""

from __future__ import annotations

import os


def rank() -> int:
    """The rank; 0 is the main process, which writes and reports."""
    if launched_by_torchrun():
        return int(os.environ["RANK"])
    if launched_by_srun():
        return int(os.environ["SLURM_PROCID"])
    return int(os.environ.get("LOCAL_RANK", 0)) or int(os.environ.get("NODE_RANK", 0))


def launched_by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def launched_by_srun() -> bool:
    """Whether srun launched this process as one of several; most SLURM variables are also set in a job's shell."""
    several = int(os.environ.get("SLURM_NTASKS", 1)) > 1
    return several and "SLURM_STEP_ID" in os.environ and not launched_by_torchrun()


def launched_by_lightning() -> bool:
    """Whether another process of this run on this machine launched it."""
    return int(os.environ.get("LOCAL_RANK", 0)) > 0 and not launched_by_torchrun() and not launched_by_srun()


def num_started() -> int:
    """The number of processes launched externally, including this one."""
    if launched_by_torchrun():
        return int(os.environ["WORLD_SIZE"])
    return int(os.environ["SLURM_NTASKS"]) if launched_by_srun() else 1
