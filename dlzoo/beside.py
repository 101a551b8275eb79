"""Arrays too large for a checkpoint that is passed on: they stand beside it, as NumPy's plain ``.npz``.

A task puts them under the key `BESIDE` of what Lightning saves, and finds them there when a run is continued. A
checkpoint without its arrays can still be evaluated and played with.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from dlzoo.errors import UserError

BESIDE = "arrays_beside"


def place(ckpt: Path) -> Path:
    """``last.replay.npz`` for ``last.ckpt``."""
    return ckpt.with_suffix(".replay.npz")


def write(ckpt: Path, arrays: dict[str, np.ndarray] | None) -> None:
    """The arrays of a checkpoint, whole or not at all; those of an older one of this name go."""
    path = place(ckpt)
    if arrays is None:
        path.unlink(missing_ok=True)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read(ckpt: Path) -> dict[str, Any]:
    """``{BESIDE: arrays}``, or nothing where there are none."""
    path = place(ckpt)
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {BESIDE: dict(stored)}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged: {error}") from None
