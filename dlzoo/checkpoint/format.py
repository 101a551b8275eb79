"""The format of checkpoints: what they contain, and how they are read and checked."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from dlzoo.checkpoint import sidecar
from dlzoo.config.overrides import key_of
from dlzoo.data.fingerprint import Fingerprint
from dlzoo.errors import UserError, visible
from dlzoo.specs.base import Spec
from dlzoo.specs.plain import to_plain
from dlzoo.utils.archives import Damaged, previous_path
from dlzoo.utils.checkpoint_files import FORMAT, Manifest, read


def make_manifest(
    config: Mapping[str, object], overrides: Sequence[str], spec: Spec, rows: Fingerprint | None = None
) -> Manifest:
    """What a checkpoint contains besides the weights to be rebuilt, and the fingerprint of its rows. The packages that
    its user trusts are not stored."""
    plain = {key: value for key, value in config.items() if key != "trust"}
    return {
        "format": FORMAT,
        "config": OmegaConf.to_yaml(OmegaConf.create(plain)),
        "overrides": [override for override in overrides if key_of(override) != "trust"],
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
    content: dict[str, object]


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
            previous = read_stored(previous_path(path))
        except UserError:
            raise damage from None
        print(visible(f"warning: {path} is {damage.reason}; using the previous one, {previous.path}"), file=sys.stderr)
        return previous
