"""The format of checkpoints: what they hold, and how they are read and checked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlzoo.checkpoint import sidecar
from dlzoo.data.fingerprint import Fingerprint
from dlzoo.errors import UserError
from dlzoo.specs.plain import to_plain
from dlzoo.utils.archives import Damaged, previous_of
from dlzoo.utils.checkpoint_files import FORMAT, read


def make_card(cfg: DictConfig, overrides: Sequence[str], spec: Any, rows: Fingerprint | None = None) -> dict[str, Any]:
    """What a checkpoint holds besides the weights to be rebuilt, and the fingerprint of its rows. The packages that
    its user trusts are not stored."""
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    plain.pop("trust", None)
    return {
        "format": FORMAT,
        "config": OmegaConf.to_yaml(OmegaConf.create(plain)),
        "overrides": [override for override in overrides if override.partition("=")[0].lstrip("+") != "trust"],
        "spec": to_plain(spec),
        "rows": rows.to_plain() if rows is not None else None,
    }


def is_whole(path: Path) -> bool:
    """Whether a checkpoint and its sidecar arrays are intact."""
    try:
        read_stored(path)
    except UserError:
        return False
    return True


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint that was read and verified against its digest once."""

    path: Path
    content: dict[str, Any]


def read_stored(path: Path | str) -> StoredCheckpoint:
    """A checkpoint and its arrays, verified.

    Raises:
        UserError: not a dlzoo checkpoint; `Damaged`: it or its arrays are corrupted.
    """
    stored = StoredCheckpoint(Path(path), read(path))
    sidecar.check(stored.path, stored.content)
    return stored


def read_whole(path: Path) -> StoredCheckpoint:
    """The checkpoint to resume from: this one, or the previous one if it is damaged, with a warning.

    Raises:
        UserError: neither can be used.
    """
    try:
        return read_stored(path)
    except Damaged as damage:
        try:
            previous = read_stored(previous_of(path))
        except UserError:
            raise damage from None
        print(f"warning: {path} is {damage.reason}; using the previous one, {previous.path}", file=sys.stderr)
        return previous
