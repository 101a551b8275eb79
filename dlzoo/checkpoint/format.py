"""The format of checkpoints: what they hold, and how they are read and checked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlzoo.checkpoint import sidecar as beside
from dlzoo.data.fingerprint import Fingerprint
from dlzoo.errors import UserError
from dlzoo.specs.plain import to_plain
from dlzoo.utils.archives import Damaged, previous_of
from dlzoo.utils.checkpoint_files import FORMAT, read


def make_card(cfg: DictConfig, overrides: Sequence[str], spec: Any, rows: Fingerprint | None = None) -> dict[str, Any]:
    """What a checkpoint must hold beside the weights to be rebuilt, and of the rows that it learned from; whom its user
    trusts is no part of it."""
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    plain.pop("trust", None)
    return {
        "format": FORMAT,
        "config": OmegaConf.to_yaml(OmegaConf.create(plain)),
        "overrides": [word for word in overrides if word.partition("=")[0].lstrip("+") != "trust"],
        "spec": to_plain(spec),
        "rows": rows.to_plain() if rows is not None else None,
    }


def is_whole(path: Path) -> bool:
    """Whether a checkpoint and the arrays beside it are what was written."""
    try:
        beside.check(path, read(path))
    except UserError:
        return False
    return True


def whole(path: Path) -> Path:
    """The checkpoint to continue from: this one, or the one before it where this one is damaged, with a warning.

    Raises:
        UserError: neither can be used.
    """
    try:
        beside.check(path, read(path))
    except Damaged as damage:
        before = previous_of(path)
        if not is_whole(before):
            raise
        print(f"warning: {path} is {damage.reason}; {before}, the one before it, is used", file=sys.stderr)
        return before
    return path
