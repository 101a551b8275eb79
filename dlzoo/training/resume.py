"""Which run a command line continues, and with which words: ckpt=<file>, ckpt=last, resume=auto.

The run that is found is the newest whose own words were the same. It goes on in its own folder, from its last
checkpoint.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dlzoo.config import allowlist as trust
from dlzoo.config import compose as config
from dlzoo.config import overrides as config_overrides
from dlzoo.config import renames, run_files
from dlzoo.config.allowlist import Trust
from dlzoo.config.overrides import value_of
from dlzoo.distributed import launch as ranks
from dlzoo.errors import UserError, short
from dlzoo.training import results
from dlzoo.utils.archives import previous_of

if TYPE_CHECKING:
    from dlzoo.checkpoint.format import StoredCheckpoint

NOT_COMPARED = ("ckpt", "resume", "hydra", "output_dir", "trust")
"""Keys that may differ between a run and the command that continues it."""


class Resumption(NamedTuple):
    """What a command line continues."""

    words: list[str]
    """The command line with the overrides of the run that it continues, in that run's folder."""
    stored: StoredCheckpoint | None
    """What it continues from; None: a run begins."""


def resumed(argv: Sequence[str]) -> Resumption:
    """The run that a command line continues, if it does.

    Raises:
        UserError: no such run, or words that contradict it.
    """
    given = {key_of(word): word for word in argv if not word.startswith("-")}
    ckpt, mode = value_of(given.get("ckpt")), value_of(given.get("resume"))
    if mode not in ("", "null", "auto"):
        raise UserError(f"resume={mode}: this can be auto, which continues the newest unfinished run of these words")
    if ckpt == "last" or (mode == "auto" and ckpt in ("", "null")):
        if mode == "auto" and "hydra.run.dir" in given and status(Path(value_of(given["hydra.run.dir"]))) == "finished":
            print(f"{value_of(given['hydra.run.dir'])} is finished: there is nothing to continue")
            sys.exit(0)
        found = newest(argv, given, unfinished=mode == "auto")
        if found is None and ckpt == "last":
            raise UserError("ckpt=last: there is no run of these words with a checkpoint; start it without ckpt")
        if found is None:
            return Resumption(list(argv), None)
        if ranks.rank() == 0:
            print(f"continues {found}")
        ckpt = str(found)
    if ckpt in ("null", ""):
        return Resumption(list(argv), None)
    from dlzoo.checkpoint.format import read_whole

    stored = read_whole(Path(ckpt).expanduser())
    given["ckpt"] = config_overrides.quoted("ckpt", stored.path)
    words = [*(word for word in argv if key_of(word) != "ckpt"), given["ckpt"]]
    return Resumption(with_words_of(stored, words, given), stored)


def with_words_of(stored_in: StoredCheckpoint, argv: Sequence[str], given: dict[str, str]) -> list[str]:
    """The overrides of the run that wrote a checkpoint, then those given now, in its own folder."""
    ckpt = str(stored_in.path)
    overrides = [renames.updated_override(override) for override in stored_in.content["dlzoo"]["overrides"]]
    flags, typed = config_overrides.split(argv)
    known = config.known_keys(flags)
    fresh = [word for word in overrides if key_of(word) not in given]
    followed = trust.check_stored(fresh, f"ckpt={ckpt}", Trust.of(typed), known)
    for word in fresh:
        if word not in followed and key_of(word) not in NOT_COMPARED and ranks.rank() == 0:
            print(f"warning: {short(word)} of {ckpt} is not followed: give it again if it still holds", file=sys.stderr)
    stored = {key_of(word): word for word in [*followed, *(word for word in overrides if word not in fresh)]}
    for key in ("model", "data"):
        if key in given and given[key] != stored.get(key):
            raise UserError(f"{given[key]}: the run of ckpt={ckpt} is continued with its own {key}")
    words = [word for key, word in stored.items() if key not in given and key not in ("ckpt", "resume")]
    folder = Path(ckpt).resolve().parent
    if folder.name == "checkpoints" and "hydra.run.dir" not in given:
        argv = [*argv, config_overrides.quoted("hydra.run.dir", folder.parent)]
    return [*config.prepare([*flags, *words])[len(flags) :], *argv]


def newest(argv: Sequence[str], given: dict[str, str], *, unfinished: bool) -> Path | None:
    """The last checkpoint of the newest run with the same words."""
    wanted = compared(argv)
    for run_dir in folders(given):
        path = run_dir / "checkpoints" / "last.ckpt"
        overrides = run_dir / run_files.OVERRIDES
        if not (path.is_file() or previous_of(path).is_file()) or not overrides.is_file():
            continue
        if not is_of(run_dir, wanted):
            continue
        if not unfinished or status(run_dir) != "finished":
            return path
    return None


def is_of(run_dir: Path, wanted: list[str]) -> bool:
    """Whether a run has these words; one whose overrides cannot be read is passed over, with a warning."""
    try:
        return compared(run_files.overrides(run_dir)) == wanted
    except UserError as error:
        print(f"warning: {error}; this run is passed over", file=sys.stderr)
        return False


def folders(given: dict[str, str]) -> Iterator[Path]:
    """Run folders, the newest first; only the one given, if it is."""
    if "hydra.run.dir" in given:
        yield Path(value_of(given["hydra.run.dir"]))
        return
    root = Path(value_of(given.get("output_dir")) or "outputs")
    yield from sorted(root.glob("*/*/"), key=lambda path: (path.parent.name, path.name), reverse=True)


def status(run_dir: Path) -> str | None:
    """finished or interrupted, as its results say; None where a run left none."""
    try:
        found = results.read(run_dir)
    except UserError as error:  # the machine may have lost its power
        print(f"warning: {error}", file=sys.stderr)
        return None
    return found.get("status", "finished") if found else None


def compared(words: Sequence[str]) -> list[str]:
    """Words that say what a run is, in an order of their own."""
    told = (word for word in words if not word.startswith("-"))
    return sorted(f"{key_of(word)}={value_of(word)}" for word in told if key_of(word).split(".")[0] not in NOT_COMPARED)


def key_of(word: str) -> str:
    return word.split("=", 1)[0].lstrip("+")
