"""Sweeps, ``python train.py -m …``: a grid of every combination, or a search over a space.

`command` leads: it asks `grid` or `search` (Optuna) for the next trial, has it run by `runner` in another process, and
ends with the table and the pictures of `report`. A trial is one run of ``train.py``, with words of its own.
"""

from __future__ import annotations

from collections.abc import Sequence


def is_asked(argv: Sequence[str]) -> bool:
    """Whether a command line asks for many runs, and not only to be told what they would be."""
    told = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i"}
    return bool({"-m", "--multirun"} & {*argv}) and not told & {*argv}


def run(argv: Sequence[str]) -> int:
    """The exit code of a sweep."""
    from dlzoo.sweep import command

    return command.run(argv)
