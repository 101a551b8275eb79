"""Sweeps, ``dlzoo train -m …``: a grid of every combination, or a search over a space.

`driver` controls the sweep: it takes the next trial from a grid or from `search` (Optuna), has `runner` execute it in
another process, and finishes with the table and the plots of `report`. A trial is one run of ``dlzoo train`` with its
own overrides. With ``hydra/launcher=submitit_slurm``, `cluster` submits the trials of a grid as jobs.
"""

from __future__ import annotations

from collections.abc import Sequence


def is_requested(argv: Sequence[str]) -> bool:
    """Whether a command line requests a sweep, and not just help or the composed config."""
    informational = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i"}
    return bool({"-m", "--multirun"} & {*argv}) and not informational & {*argv}


def run(argv: Sequence[str]) -> int:
    """Run a sweep and return its exit code."""
    from dlzoo.sweep import driver

    return driver.run(argv).code
