"""The runs in a folder: which there are, their tags, and renaming and deleting them with care."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dlzoo.api.frames import printable
from dlzoo.config import run_dir, run_files
from dlzoo.errors import UserError, nearest, short
from dlzoo.utils import files, locks, untrusted

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from dlzoo.training.results import RunResults

TAGS = "tags.json"
TAG = re.compile(r"\w[\w.:-]{0,39}")
MAX_TAGS = 50
FOLDERS = (".hydra", run_dir.EARLIER, "checkpoints", "film", "profile", "csv", "wandb", "mlflow", "trackio")
"""Folders that runs, their callbacks and their loggers write, besides those of TensorBoard's projector: numbers."""
SUFFIXES = (
    *run_files.WRITTEN_SUFFIXES, ".jpg", ".svg", ".pdf", ".mp4", ".pbtxt", ".ckpt", ".npz", ".onnx", ".pt2", ".pt",
    ".safetensors", ".jsonl", ".db",
)  # fmt: skip
"""Of the files that runs and commands write into a run folder."""


EARLIEST, LATEST = 0.0, 253_402_128_000.0
"""Times in seconds since 1970: up to the year 9999, in any time zone. A file's may be of the year 30,000,000."""


@dataclass(frozen=True)
class Entry:
    """A run as it is listed."""

    path: Path
    started: float
    """Seconds since 1970."""
    model: str
    data: str
    metric: str
    """The name of its first claim's metric, or of its first test metric other than the loss."""
    value: float | None
    status: str
    """finished, interrupted, failed, running, unfinished or unreadable."""
    tags: tuple[str, ...]
    num_bytes: int

    @property
    def start(self) -> datetime:
        """When it started, in local time; the nearest that can be written if the file's time is of no calendar."""
        return datetime.fromtimestamp(min(max(self.started, EARLIEST), LATEST))


def runs(folder: str | Path = "outputs", *, tag: str | None = None) -> pd.DataFrame:
    """The runs in a folder and its subfolders, the newest first: a row for each, with its path as index.

    Args:
        tag: only those that have it.

    Returns:
        The columns ``started`` (in local time), ``model``, ``data``, ``metric`` (the name of a test metric), ``value``,
        ``status``, ``tags`` and ``bytes``.

    Raises:
        UserError: there is no such folder.
    """
    import pandas as pd

    listed = entries(folder, tag=tag)
    rows = [
        {
            "started": pd.Timestamp(entry.start),
            "model": entry.model,
            "data": entry.data,
            "metric": entry.metric,
            "value": entry.value,
            "status": entry.status,
            "tags": [*entry.tags],
            "bytes": entry.num_bytes,
        }
        for entry in listed
    ]
    columns = ["started", "model", "data", "metric", "value", "status", "tags", "bytes"]
    return printable(pd.DataFrame(rows, columns=columns, index=[str(entry.path) for entry in listed]))


def entries(folder: str | Path, *, tag: str | None = None) -> list[Entry]:
    """The runs in a folder and its subfolders, the newest first."""
    listed = [entry_of(path) for path in find(files.existing(str(folder), "folder"))]
    kept = [entry for entry in listed if tag is None or tag in entry.tags]
    return sorted(kept, key=lambda entry: (entry.started, str(entry.path)), reverse=True)


def find(folder: Path) -> Iterator[Path]:
    """The run folders in a folder, or the folder itself; links are not followed."""
    for path, folders, _ in files.walk(folder):
        if os.path.isfile(os.path.join(path, run_files.CONFIG)):
            folders.clear()
            yield Path(path)


def entry_of(folder: Path) -> Entry:
    """A run as it is listed; also one whose files are damaged."""
    from dlzoo.training import results

    content: RunResults = {}
    chosen: Mapping[str, str | None] = {}
    tags: tuple[str, ...] = ()
    status = "unreadable"
    with contextlib.suppress(UserError):
        content, chosen, tags = results.read(folder), run_files.choices(folder), tags_of(folder)
        status = content.get("status") or "unfinished"
    if locks.is_held(folder):
        status = "running"
    name, value = main_metric(content)
    return Entry(
        path=folder,
        started=os.path.getmtime(folder / run_files.CONFIG),
        model=content.get("model") or chosen.get("model") or "",
        data=content.get("data") or chosen.get("data") or "",
        metric=name,
        value=value,
        status=status,
        tags=tags,
        num_bytes=sum(path.lstat().st_size for path in files.paths_in(folder) if not path.is_dir()),
    )


def main_metric(results: RunResults) -> tuple[str, float | None]:
    """The metric to list, and its value.

    >>> main_metric({"metrics": {"val/loss": 1.0, "test/loss": 0.3, "test/accuracy": 0.9}})
    ('test/accuracy', 0.9)
    """
    metrics = results.get("metrics", {})
    claimed = [claim["metric"] for claim in results.get("expect", []) if claim["metric"] in metrics]
    tested = sorted((name for name in metrics if name.startswith("test/")), key=lambda name: name == "test/loss")
    name = next(iter([*claimed, *tested]), "")
    return name, metrics.get(name)


def tags_of(folder: Path) -> tuple[str, ...]:
    """The tags of a run.

    Raises:
        UserError: the file of its tags is damaged, or links to outside of the run.
    """
    path = run_files.find(folder, TAGS)
    if path is None:
        return ()
    content = untrusted.read_json(path)
    if not run_files.is_list_of_str(content) or len(content) > MAX_TAGS or not all(map(TAG.fullmatch, content)):
        run_files.refuse(path, "", content, "a list of tags")
    return tuple(content)


def tag(run: str | Path, *tags: str) -> tuple[str, ...]:
    """Add tags to a run; returns all that it has.

    Raises:
        UserError: it is no run, or a tag is not of letters, digits, ``_``, ``-``, ``.`` and ``:``.
    """
    folder = run_folder(run)
    if wrong := next((text for text in tags if not TAG.fullmatch(text)), None):
        raise UserError(f"tag {short(wrong)!r}: a tag consists of up to 40 letters, digits, '_', '-', '.' and ':'")
    return _write_tags(folder, tuple(dict.fromkeys([*tags_of(folder), *tags])))


def untag(run: str | Path, *tags: str) -> tuple[str, ...]:
    """Remove tags from a run; returns those that it still has.

    Raises:
        UserError: it is no run, or does not have such a tag.
    """
    folder = run_folder(run)
    known = tags_of(folder)
    if wrong := next((text for text in tags if text not in known), None):
        raise UserError(f"{folder} has no tag {short(wrong)!r}; {nearest(wrong, known)}")
    return _write_tags(folder, tuple(text for text in known if text not in tags))


def _write_tags(folder: Path, tags: tuple[str, ...]) -> tuple[str, ...]:
    if len(tags) > MAX_TAGS:
        raise UserError(f"{folder}: a run has at most {MAX_TAGS} tags")
    files.write(folder / TAGS, (json.dumps(tags, ensure_ascii=False) + "\n").encode())
    return tags


def rename(run: str | Path, name: str) -> Path:
    """Give a run folder another name in the same folder; returns the new path.

    Raises:
        UserError: it is no run, is running, is a trial of a sweep, or the name is taken or none of a folder.
    """
    folder = run_folder(run)
    checked = os.lstat(folder)
    _check_sweep(folder)
    target = folder.with_name(name) if files.is_file_name(name) else folder
    if target == folder or name.startswith("."):
        raise UserError(f"name={short(name)}: give another name for the folder, without / and not beginning with a dot")
    if os.path.lexists(target):
        raise UserError(f"{target} exists already: choose another name")
    with _locked(folder):
        _rename(folder, target, checked)
    return target


def delete(run: str | Path) -> int:
    """Delete a run folder with everything in it; returns its size in bytes.

    Links in it are removed, not followed.

    Raises:
        UserError: it is no run, is running, is a trial of a sweep, is or holds the current folder, or holds something
            that no run writes.
    """
    folder = run_folder(run)
    checked = os.lstat(folder)
    check_deletable(folder)
    with _locked(folder):
        size = entry_of(folder).num_bytes
        trash = folder.with_name(f".{folder.name[:200]}.{secrets.token_hex(4)}.deleted")
        _rename(folder, trash, checked)  # at once, so that an interruption leaves no half of a run
        try:
            shutil.rmtree(trash)
        except OSError as error:
            raise UserError(f"{trash} cannot be deleted ({error.strerror})") from None
    return size


def check_deletable(folder: Path) -> None:
    """`UserError` if more would be deleted than a run wrote."""
    _check_sweep(folder)
    if Path.cwd().resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{folder} is or holds the current folder: change to another one first")
    for path in sorted(folder.iterdir()):
        if not _is_written_by_run(path):
            raise UserError(f"{short(path, 200)} was not written by a run: move it out of the folder first")


def _is_written_by_run(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        is_known = path.name in FOLDERS or path.name.isdecimal()
        return is_known and not any(inside.name == ".git" for inside in files.paths_in(path))
    return path.suffix in SUFFIXES or path.name == locks.NAME or path.name.startswith("events.out.tfevents.")


def _check_sweep(folder: Path) -> None:
    from dlzoo.sweep.record import FILE

    if (folder.parent / FILE).is_file():
        raise UserError(f"{folder} is a trial of the sweep in {folder.parent}, whose record names it: keep it there")


def run_folder(run: str | Path) -> Path:
    """The folder of a run, as it was given.

    Raises:
        UserError: there is none, it is a link, or it is no run folder.
    """
    path = files.existing(str(run), "run")
    if path.is_symlink():
        raise UserError(f"{path} is a link to {short(os.path.realpath(path), 200)}: give that path")
    if not (path / run_files.CONFIG).is_file() or (path / run_files.HYDRA_FOLDER).is_symlink():
        raise UserError(f"{path} is not a run folder: it has no file {run_files.CONFIG}")
    return path if path.name not in ("", "..") else path.resolve()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run that is not running."""
    if locks.is_held(folder):
        raise UserError(f"{folder} is running: wait until it ends, or stop it first")
    try:
        acquired = locks.lock(folder, timeout=0)
    except OSError as error:
        raise UserError(f"{folder} cannot be changed ({error.strerror})") from None
    try:
        yield
    finally:
        locks.unlock(acquired)


def _rename(folder: Path, target: Path, checked: os.stat_result) -> None:
    """Rename a run folder, if it is still the one that was checked: another user may put a link or a folder there."""
    try:
        folder.rename(target)
        if not os.path.samestat(os.lstat(target), checked):
            target.rename(folder)
            raise UserError(f"{folder} has been replaced by something else in the meantime: nothing was changed")
        (target / locks.NAME).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be renamed to {target} ({error.strerror})") from None
