"""The command that reproduces the best trial of a sweep.

    python scripts/best.py <sweep folder>
    python scripts/best.py <sweep folder> trust=mypkg     where its trials built parts of a package of yours

prints ``python train.py …`` on standard output, and what the trial reached on standard error. Trials are compared by
the metric of the sweep, on validation data; the command trains the same net with the same figures, and then tests it.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from dlzoo.commands import cli
from dlzoo.config import allowlist, compose
from dlzoo.config.overrides import extra_dirs, split
from dlzoo.errors import UserError, short
from dlzoo.sweep import record as records
from dlzoo.sweep.record import Record, Trial
from dlzoo.utils import files as paths
from dlzoo.utils.formatting import format_metric


@dataclass(frozen=True, kw_only=True)
class Options:
    trust: str | None = None


def main() -> None:
    """Exit code 0, or 2 where there is no winner."""
    cli.execute(show, __doc__)


def show(argv: Sequence[str]) -> None:
    """Print the command."""
    folders = [word for word in argv if not word.startswith("trust=")]
    options, _ = cli.parse(Options, [word for word in argv if word.startswith("trust=")])
    if len(folders) != 1:
        raise UserError("give one sweep folder: python scripts/best.py outputs/multirun/…")
    record = records.read(paths.existing(folders[0], "the sweep folder"))
    best = record.best()
    if best is None:
        raise UserError(f"{folders[0]}: no trial was measured on validation data, so none is the best")
    words = followed(record, best, folders[0], options.trust)
    running = sum(trial.state == "running" for trial in record.trials)
    aside = f", {running} still run" if running else ""
    value = format_metric(str(record.metric), best.value)
    metric = short(record.metric)
    print(
        f"trial {best.number} of {len(record.trials)}{aside}: {metric} {value} in epoch {best.best_epoch}",
        file=sys.stderr,
    )
    print(shlex.join(["python", "train.py", *words]))


def followed(record: Record, best: Trial, folder: str, trust: str | None) -> list[str]:
    """The words of the best trial, as they may be typed again: whoever pastes a command vouches for all that is in it.

    Raises:
        UserError: a word that does more than choose options of a run, or that a terminal would obey.
    """
    flags, words = split([*record.words, *best.words, *best.found])
    if any(not word.isprintable() for word in (*flags, *words)):
        raise UserError(f"{folder}: the trial's words hold signs that a terminal would obey; no sweep writes such")
    if other := {flag.partition("=")[0] for flag in flags if flag.startswith("-")} - {"--config-dir", "-cd"}:
        raise UserError(f"{folder} brings the flag {short(min(other))}, which is no option of a run")
    for path in extra_dirs(flags):
        print(f"warning: {folder} reads configs of {short(path, 200)}: look at them first", file=sys.stderr)
    own = [word for word in words if word.partition("=")[0].lstrip("+") != "trust"]
    trusted = allowlist.Trust(allowlist.packages_in(trust))
    kept = allowlist.check_stored(own, folder, trusted, compose.known_keys(flags))
    for word in own:
        if word not in kept:
            print(f"warning: {short(word)} of {folder} is left out: give it again if it still holds", file=sys.stderr)
    vouched = [] if trust is None else [f"trust={trust}"]
    return [*flags, *(word.lstrip("+") for word in kept), *vouched]
