"""Determines which run a command line resumes, and with which overrides: ckpt=<file>, ckpt=last, resume=auto.

The last two choose the newest run with the same overrides. A run resumes in its own folder, from its last checkpoint.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dlzoo.checkpoint import run_paths
from dlzoo.config import groups, renames, run_files, stored_overrides
from dlzoo.config import overrides as config_overrides
from dlzoo.config.allowlist import Trust
from dlzoo.config.overrides import key_of, value_of
from dlzoo.config.prepare import prepare
from dlzoo.distributed import launch as ranks
from dlzoo.errors import UserError, one_line, short, visible
from dlzoo.training import results
from dlzoo.utils.archives import previous_path

if TYPE_CHECKING:
    from dlzoo.checkpoint.format import StoredCheckpoint

NOT_COMPARED = ("ckpt", "resume", "quiet", "hydra", "output_dir", "trust")
"""Keys that may differ between a run and the command that resumes it."""


class Resumption(NamedTuple):
    """The run that a command line starts or resumes."""

    argv: list[str]
    """The command line; for a resumed run, with that run's overrides and in its folder."""
    stored: StoredCheckpoint | None
    """The checkpoint to resume from; None: a new run starts."""
    finished: Path | None = None
    """The folder of the run, if it is complete: there is nothing to resume."""


def resolve_resume(argv: Sequence[str]) -> Resumption:
    """The run that a command line starts or resumes.

    Raises:
        UserError: there is no such run, or the overrides contradict it.
    """
    given = {key_of(override): override for override in argv if not override.startswith("-")}
    if below := next((key for key in given if key.startswith(("ckpt.", "resume."))), None):
        raise UserError(f"{short(below)}: there is no such option; {below.partition('.')[0]} has none below it")
    ckpt, mode = value_of(given.get("ckpt")), value_of(given.get("resume"))
    if mode not in ("", "null", "auto"):
        raise UserError(
            f"resume={mode} must be auto, which resumes the newest unfinished run with these overrides, or null"
        )
    if ckpt == "last" or (mode == "auto" and ckpt in ("", "null")):
        if mode == "auto" and "hydra.run.dir" in given and status(Path(value_of(given["hydra.run.dir"]))) == "finished":
            return Resumption(list(argv), None, Path(value_of(given["hydra.run.dir"])))
        path = newest(argv, given, unfinished=mode == "auto")
        if path is None and ckpt == "last":
            raise UserError("ckpt=last: no run with these overrides has a checkpoint; start a new one without ckpt")
        if path is None:
            return Resumption(list(argv), None)
        if ranks.rank() == 0 and value_of(given.get("quiet")).lower() != "true":
            print(f"resuming {visible(path)}")
        ckpt = str(path)
    if ckpt in ("null", ""):
        return Resumption(list(argv), None)
    from dlzoo.checkpoint.format import read_whole
    from dlzoo.utils.model_folders import is_published

    if is_published(Path(ckpt).expanduser()):
        raise UserError(
            f"ckpt={ckpt} is a published model, which holds its weights but no state of its training: it cannot be "
            "resumed; give a checkpoint of its run"
        )
    stored = read_whole(Path(ckpt).expanduser())
    given["ckpt"] = config_overrides.quoted("ckpt", stored.path)
    overrides = [*(override for override in argv if key_of(override) != "ckpt"), given["ckpt"]]
    return Resumption(with_stored_overrides(stored, overrides, given), stored)


def with_stored_overrides(checkpoint: StoredCheckpoint, argv: Sequence[str], given: dict[str, str]) -> list[str]:
    """The overrides of the run that wrote a checkpoint, then those of the command line, in the run's folder."""
    from dlzoo.utils.checkpoint_files import manifest_in

    ckpt = str(checkpoint.path)
    overrides = [renames.updated_override(override) for override in manifest_in(checkpoint.content)["overrides"]]
    flags, typed = config_overrides.split(argv)
    known = groups.known_keys(flags)
    inherited = [override for override in overrides if key_of(override) not in given]
    accepted = stored_overrides.check(inherited, f"ckpt={ckpt}", Trust.of(typed), known)
    for override in inherited:
        if override not in accepted and key_of(override) not in NOT_COMPARED and ranks.rank() == 0:
            print(
                f"warning: {short(override)} of {visible(ckpt)} is ignored: give it again if it should still apply",
                file=sys.stderr,
            )
    replaced = [override for override in overrides if override not in inherited]
    added = renames.added_overrides(manifest_in(checkpoint.content).get("spec"))
    stored = {key_of(override): override for override in [*added, *accepted, *replaced]}
    for key in ("model", "data"):
        if key in given and given[key] != stored.get(key):
            raise UserError(f"{given[key]}: the run of ckpt={ckpt} can only be resumed with its own {key}; omit {key}")
    kept = [override for key, override in stored.items() if key not in given and key not in ("ckpt", "resume", "quiet")]
    check_place(Path(ckpt))
    folder = Path(ckpt).resolve().parent
    if folder.name == "checkpoints" and "hydra.run.dir" not in given:
        typed = [*typed, config_overrides.quoted("hydra.run.dir", folder.parent)]
    try:
        return [*prepare([*flags, *kept]), *typed]
    except UserError as error:
        if config_overrides.extra_dirs(flags):
            raise
        raise UserError(
            f"{error} (an override of the run of ckpt={ckpt}; if it was started with --config-dir, give that again)"
        ) from None


def check_place(path: Path) -> None:
    """`UserError` for a checkpoint in a run folder that is a link to another: the run would be resumed there."""
    folder = path.absolute().parent
    if folder.name == run_paths.CHECKPOINTS and not run_files.is_inside(folder.parent, path):
        raise UserError(
            f"ckpt={path} links outside its run folder, to {os.path.realpath(path)}: give that path to resume there"
        )


def newest(argv: Sequence[str], given: dict[str, str], *, unfinished: bool) -> Path | None:
    """The last checkpoint of the newest run with the same overrides."""
    wanted = comparable(argv)
    for run_dir in folders(given):
        path = run_dir / "checkpoints" / "last.ckpt"
        overrides = run_dir / run_files.OVERRIDES
        if not (path.is_file() or previous_path(path).is_file()) or not overrides.is_file():
            continue
        if not has_overrides(run_dir, wanted):
            continue
        if not unfinished or status(run_dir) != "finished":
            return path
    return None


def has_overrides(run_dir: Path, wanted: list[str]) -> bool:
    """Whether a run has these overrides; a run whose overrides cannot be read is skipped with a warning."""
    try:
        return comparable(run_files.overrides(run_dir)) == wanted
    except UserError as error:
        print(f"warning: {one_line(error)}; this run is skipped", file=sys.stderr)
        return False


def folders(given: dict[str, str]) -> Iterator[Path]:
    """Run folders, newest first; only the given one, if any."""
    if "hydra.run.dir" in given:
        yield Path(value_of(given["hydra.run.dir"]))
        return
    root = Path(value_of(given.get("output_dir")) or "outputs")
    yield from sorted(root.glob("*/*/"), key=lambda path: (path.parent.name, path.name), reverse=True)


def status(run_dir: Path) -> str | None:
    """finished, failed or interrupted, according to the results of a run; None if there are none."""
    try:
        content = results.read(run_dir)
    except UserError as error:  # after a power failure, for example
        print(f"warning: {one_line(error)}", file=sys.stderr)
        return None
    return content.get("status", "finished") if content else None


def comparable(overrides: Sequence[str]) -> list[str]:
    """The overrides that identify a run, without flags and in a fixed order."""
    pairs = [(key_of(override), value_of(override)) for override in overrides if not override.startswith("-")]
    return sorted(f"{key}={value}" for key, value in pairs if key.split(".")[0] not in NOT_COMPARED)
