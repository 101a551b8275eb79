"""Sweeps, ``dlzoo train -m …``: a grid of every combination, or a search over a space.

`driver` controls the sweep: it takes the next trial from a grid or from `search` (Optuna), has `runner` execute it in
another process, and finishes with the table and the plots of `report`. A trial is one run of ``dlzoo train`` with its
own overrides.

Only a grid that is submitted to SLURM, ``hydra/launcher=submitit_slurm``, is left to Hydra: all its jobs are submitted
together.
"""

from __future__ import annotations

from collections.abc import Sequence

from dlzoo.errors import UserError
from dlzoo.utils import extras


def is_requested(argv: Sequence[str]) -> bool:
    """Whether a command line requests a sweep, and not just help or the composed config."""
    informational = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i"}
    return bool({"-m", "--multirun"} & {*argv}) and not informational & {*argv} and not is_submitted(argv)


def is_submitted(argv: Sequence[str]) -> bool:
    """Whether Hydra's launcher submits the runs of a grid to SLURM.

    Raises:
        UserError: the launcher is not installed, or a search is requested.
    """
    chosen = [override for override in argv if override.startswith("hydra/launcher=submitit_")]
    if not chosen:
        return False
    extras.require(chosen[-1], "submitit", "hydra_plugins.hydra_submitit_launcher")
    if any(override.startswith("sweep=") for override in argv):
        raise UserError(
            f"{chosen[-1]}: a search needs reports from its trials while they run; start the same search in several "
            "SLURM jobs instead, or submit a grid: seed=0,1,2"
        )
    return True


def run(argv: Sequence[str]) -> int:
    """Run a sweep and return its exit code."""
    from dlzoo.sweep import driver

    return driver.run(argv)
