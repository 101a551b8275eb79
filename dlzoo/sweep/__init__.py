"""Sweeps, ``python train.py -m …``: a grid of every combination, or a search over a space.

`command` leads: it asks `grid` or `search` (Optuna) for the next trial, has it run by `runner` in another process, and
ends with the table and the pictures of `report`. A trial is one run of ``train.py``, with words of its own.

Only a grid whose runs go to SLURM, ``hydra/launcher=submitit_slurm``, is left to Hydra: its jobs are sent off together.
"""

from __future__ import annotations

from collections.abc import Sequence

from dlzoo.errors import UserError


def is_asked(argv: Sequence[str]) -> bool:
    """Whether a command line asks for many runs, and not only to be told what they would be."""
    told = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i"}
    return bool({"-m", "--multirun"} & {*argv}) and not told & {*argv} and not is_sent_off(argv)


def is_sent_off(argv: Sequence[str]) -> bool:
    """Whether Hydra's launcher gives the runs of a grid to SLURM.

    Raises:
        UserError: the launcher is not installed, or a search is asked for.
    """
    from importlib.util import find_spec

    chosen = [word for word in argv if word.startswith("hydra/launcher=submitit_")]
    if not chosen:
        return False
    if find_spec("submitit") is None or find_spec("hydra_plugins.hydra_submitit_launcher") is None:
        raise UserError(f"{chosen[-1]} needs hydra-submitit-launcher: pip install 'dlzoo[slurm]'")
    if any(word.startswith("sweep=") for word in argv):
        raise UserError(
            f"{chosen[-1]}: a search hears from its trials while they run; start the same search in several jobs of "
            "SLURM instead, or send off a grid: seed=0,1,2"
        )
    return True


def run(argv: Sequence[str]) -> int:
    """The exit code of a sweep."""
    from dlzoo.sweep import driver as command

    return command.run(argv)
