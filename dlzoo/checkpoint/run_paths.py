"""Paths in checkpoints and ``results.json``, relative to the run folder so that it can be moved.

Lightning's `ModelCheckpoint` stores absolute paths, and loses its best checkpoint if the folder has moved.
"""

from __future__ import annotations

import glob
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeGuard

from dlzoo.config import run_files
from dlzoo.distributed import launch as ranks
from dlzoo.errors import UserError, short, visible
from dlzoo.utils.files import is_file_name, replaced

PATHS = ("dirpath", "best_model_path", "kth_best_model_path", "last_model_path")
"""Keys with paths in the state of a `ModelCheckpoint`; the keys of its ``best_k_models`` are paths too."""
CHECKPOINTS = "checkpoints"
"""Subfolder with a run's checkpoints."""

State = dict[str, object]
"""The state of a `ModelCheckpoint`."""


def to_relative(path: str | Path, run_dir: Path) -> str:
    """A path inside the run folder, relative to it; other and empty paths are returned unchanged.

    >>> to_relative("/runs/a/checkpoints/best.ckpt", Path("/runs/a")), to_relative("/big/best.ckpt", Path("/runs/a"))
    ('checkpoints/best.ckpt', '/big/best.ckpt')
    """
    whole = Path(path)
    if not str(path) or not whole.is_absolute() or not whole.is_relative_to(run_dir):
        return str(path)
    return whole.relative_to(run_dir).as_posix()


def stored(callbacks: Mapping[str, object], run_dir: Path) -> dict[str, object]:
    """Callback states as they are stored in a checkpoint of this run."""
    return {
        key: mapped(state, lambda path: to_relative(path, run_dir)) if has_paths(state) else state
        for key, state in callbacks.items()
    }


def loaded(callbacks: Mapping[str, object], ckpt: Path, run_dir: Path) -> dict[str, object]:
    """Callback states for a run that resumes in this folder.

    Their saved checkpoints are copied if the checkpoint is in another run's folder, and dropped, with a warning,
    if they are missing.
    """
    return {key: _loaded(state, ckpt, run_dir) if has_paths(state) else state for key, state in callbacks.items()}


def has_paths(state: object) -> TypeGuard[State]:
    """Whether the state of a callback is that of a `ModelCheckpoint`."""
    return isinstance(state, dict) and "best_model_path" in state


def _loaded(state: State, ckpt: Path, run_dir: Path) -> State:
    before = Path(str(state.get("dirpath") or ""))

    def relative(path: str) -> str:
        """Relative paths also for older checkpoints, which store absolute paths of their original folder."""
        moved = before.is_absolute() and before.name == ckpt.parent.name == CHECKPOINTS and before != ckpt.parent
        if moved and Path(path).is_relative_to(before):
            return f"{CHECKPOINTS}/{Path(path).relative_to(before).as_posix()}".removesuffix("/.")
        return path

    def in_this_run(path: str) -> str:
        relative_path = relative(path)
        if not path or Path(relative_path).is_absolute():
            return path
        if ".." in Path(relative_path).parts:
            raise UserError(
                f"ckpt={ckpt} keeps its checkpoints in {short(relative_path)}, which is outside its run folder"
            )
        if not all(map(is_file_name, Path(relative_path).parts)):
            raise UserError(f"ckpt={ckpt} keeps its checkpoints in {short(relative_path)}, which is no name of a file")
        copy_with_sidecars(ckpt.parent.parent, run_dir, relative_path)
        return str(run_dir / relative_path)

    return without_missing(mapped(state, in_this_run), ckpt)


def mapped(state: State, change: Callable[[str], str]) -> State:
    """The state of a `ModelCheckpoint` with its paths changed."""
    changed: State = {key: change(path) for key in PATHS if isinstance(path := state.get(key), str)}
    best = state.get("best_k_models")
    if isinstance(best, dict):
        changed["best_k_models"] = {change(path): score for path, score in best.items()}
    return state | changed


def copy_with_sidecars(before: Path, run_dir: Path, name: str) -> None:
    """Copy a checkpoint and its sidecar arrays into the folder of the run that resumes from it.

    Args:
        before: the run folder that it is in.
        name: its path, relative to both folders.

    Raises:
        UserError: it is a link to outside of its run folder, whose content would be carried into this one.
    """
    source, target = before / name, run_dir / name
    if ranks.rank() != 0 or target.exists() or not source.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    for file in (*source.parent.glob(f"{glob.escape(source.stem)}.replay*.npz"), source):
        if not run_files.is_inside(before, file):
            raise UserError(f"{file} is a link to outside of the run's folder and is not copied")
        with replaced(target.with_name(file.name)) as temporary:
            shutil.copyfile(file, temporary)


def without_missing(state: State, ckpt: Path) -> State:
    """The state of a `ModelCheckpoint` without missing checkpoints."""
    best = state.get("best_k_models")
    paths = {str(path) for path in (state["best_model_path"], *(best if isinstance(best, dict) else ())) if path}
    missing = sorted(path for path in paths if not os.path.isfile(path))  # Path.is_file() raises for long names
    if not missing:
        return state
    missing_one = short(missing[0], 200)
    print(
        f"warning: {missing_one} (known to {visible(ckpt)}) is missing; the best checkpoint is chosen from the "
        "remaining epochs",
        file=sys.stderr,
    )
    none: State = {"best_model_score": None, "best_model_path": "", "current_score": None, "best_k_models": {}}
    return state | none | {"kth_best_model_path": ""}
