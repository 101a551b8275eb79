"""The paths in a checkpoint and in ``results.json``: relative to the run folder, so that it can be moved.

Lightning's `ModelCheckpoint` keeps absolute ones, and forgets its best checkpoint where the folder is another.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlzoo.distributed import launch as ranks
from dlzoo.errors import UserError, short
from dlzoo.utils.files import replaced

PATHS = ("dirpath", "best_model_path", "kth_best_model_path", "last_model_path")
"""Of the state of a `ModelCheckpoint`; the keys of its ``best_k_models`` are paths too."""
CHECKPOINTS = "checkpoints"
"""The folder of a run's checkpoints."""

State = dict[str, Any]


def to_relative(path: str | Path, run_dir: Path) -> str:
    """A path below the run folder as seen from there; others, and none, as they are.

    >>> to_relative("/runs/a/checkpoints/best.ckpt", Path("/runs/a")), to_relative("/big/best.ckpt", Path("/runs/a"))
    ('checkpoints/best.ckpt', '/big/best.ckpt')
    """
    whole = Path(path)
    if not str(path) or not whole.is_absolute() or not whole.is_relative_to(run_dir):
        return str(path)
    return whole.relative_to(run_dir).as_posix()


def stored(callbacks: State, run_dir: Path) -> State:
    """The states of the callbacks for a checkpoint of this run."""
    return {key: mapped(state, lambda path: to_relative(path, run_dir)) for key, state in callbacks.items()}


def loaded(callbacks: State, ckpt: Path, run_dir: Path) -> State:
    """The states of the callbacks of a run that goes on in this folder.

    What they have saved is taken along if the checkpoint lies in another run's folder, and forgotten, with a warning,
    if it is missing.
    """
    return {key: _loaded(state, ckpt, run_dir) for key, state in callbacks.items()}


def _loaded(state: Any, ckpt: Path, run_dir: Path) -> Any:
    if not (isinstance(state, dict) and "best_model_path" in state):
        return state
    before = Path(state.get("dirpath") or "")

    def relative(path: str) -> str:
        """Older checkpoints hold absolute paths: of the folder that theirs was when they were written."""
        moved = before.is_absolute() and before.name == ckpt.parent.name == CHECKPOINTS and before != ckpt.parent
        if moved and Path(path).is_relative_to(before):
            return f"{CHECKPOINTS}/{Path(path).relative_to(before).as_posix()}".removesuffix("/.")
        return path

    def here(path: str) -> str:
        place = relative(path)
        if not path or Path(place).is_absolute():
            return path
        if ".." in Path(place).parts:
            raise UserError(f"ckpt={ckpt} keeps its checkpoints in {short(place)}, which is not below its run's folder")
        take_along(ckpt.parent.parent / place, run_dir / place)
        return str(run_dir / place)

    return without_missing(mapped(state, here), ckpt)


def mapped(state: Any, change: Callable[[str], str]) -> Any:
    """A callback's state with its paths changed."""
    if not (isinstance(state, dict) and "best_model_path" in state):
        return state
    changed: dict[str, Any] = {key: change(state[key]) for key in PATHS if isinstance(state.get(key), str)}
    best = state.get("best_k_models")
    if isinstance(best, dict):
        changed["best_k_models"] = {change(path): score for path, score in best.items()}
    return state | changed


def take_along(source: Path, target: Path) -> None:
    """Copy a checkpoint, and the arrays beside it, into the folder of the run that goes on with it."""
    if ranks.rank() != 0 or target.exists() or not source.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    for file in (*source.parent.glob(f"{source.stem}.replay*.npz"), source):
        with replaced(target.with_name(file.name)) as temporary:
            shutil.copyfile(file, temporary)


def without_missing(state: State, ckpt: Path) -> State:
    """The state of a `ModelCheckpoint` without checkpoints that are not there."""
    paths = {path for path in (state["best_model_path"], *(state.get("best_k_models") or {})) if path}
    missing = sorted(path for path in paths if not Path(path).is_file())
    if not missing:
        return state
    print(
        f"warning: {missing[0]} is missing, of which {ckpt} knows; the best checkpoint is chosen anew from here on",
        file=sys.stderr,
    )
    none: State = {"best_model_score": None, "best_model_path": "", "current_score": None, "best_k_models": {}}
    return state | none | {"kth_best_model_path": ""}
