"""Folders that stand for a checkpoint: that of a published model, and that of a run.

A published model is plain files: ``model.safetensors`` with the weights, ``config.yaml`` with the config of net, task
and data, and ``config.json`` with the spec and everything else of the manifest.
"""

from __future__ import annotations

from pathlib import Path

from dlzoo.errors import UserError
from dlzoo.utils import files

WEIGHTS, CONFIG, MANIFEST = "model.safetensors", "config.yaml", "config.json"
FILES = (WEIGHTS, CONFIG, MANIFEST)
"""Of a published model, without its card and its example."""
CHECKPOINTS = ("checkpoints/best.ckpt", "checkpoints/last.ckpt")
"""Of a run, the first that exists is loaded."""


def is_published(path: Path) -> bool:
    """Whether this is the folder of a published model; one of its files is enough, so that the others are missed."""
    return path.is_dir() and any((path / name).is_file() for name in FILES)


def checkpoint(text: str, key: str) -> Path:
    """The checkpoint that an option names.

    Args:
        text: a file; the folder of a published model, which is returned as it is; or a run folder, for its best
            checkpoint.

    Raises:
        UserError: there is none.
    """
    path = files.existing(text, key)
    if not path.is_dir():
        return files.existing_file(text, key)
    found = (
        path if is_published(path) else next((p for p in (path / name for name in CHECKPOINTS) if p.is_file()), None)
    )
    if found is None:
        raise UserError(
            f"{key}={text} has no checkpoint: it has neither {CHECKPOINTS[0]} nor {CHECKPOINTS[1]}, as a run has, nor "
            f"{WEIGHTS}, as a published model has"
        )
    return found


def parts(ckpt: Path) -> list[Path]:
    """The files that a checkpoint consists of, which no output may replace."""
    return [path for path in map(ckpt.joinpath, FILES) if path.is_file()] if ckpt.is_dir() else [ckpt]
