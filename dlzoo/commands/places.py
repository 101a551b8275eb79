"""Where a command writes if its option does not say it: into the folder of the checkpoint's run."""

from __future__ import annotations

from pathlib import Path

from dlzoo.config import run_files
from dlzoo.errors import UserError


def run_of(ckpt: Path) -> Path | None:
    """The run folder that a checkpoint lies in, ``<run>/checkpoints/best.ckpt``; None if it lies elsewhere.

    >>> print(run_of(Path("lenet/checkpoints/best.ckpt")), run_of(Path("lenet.ckpt")))
    lenet None
    """
    return ckpt.parent.parent if ckpt.parent.name == "checkpoints" else None


def default_path(name: str, key: str, ckpt: Path | None) -> Path:
    """A file or folder of the run, or of the current folder if there is no run.

    Args:
        key: the option that names another place.

    Raises:
        UserError: a link of this name leads out of the run folder.
    """
    run = None if ckpt is None else run_of(ckpt)
    if run is None:
        return Path(name)
    path = run / name
    if not run_files.is_inside(run, path):
        raise UserError(f"{path} links outside the run folder and is not written to: give {key}=…")
    return path
