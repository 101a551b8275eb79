"""Print the command that reproduces the best trial of a sweep.

    dlzoo best <sweep folder>
    dlzoo best <sweep folder> trust=mypkg     if its trials used parts of a package of your own

``dlzoo train …`` is printed to standard output, and what the trial reached to standard error. Trials are compared
by the metric of the sweep, on validation data; the command trains the same net with the same hyperparameters, then
tests it. Only options of a run are printed. Exit code 0 on success, 2 on an error.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from dlzoo.commands import cli
from dlzoo.config import allowlist, groups, stored_overrides
from dlzoo.config.overrides import extra_dirs, key_of, split
from dlzoo.errors import UserError, short
from dlzoo.sweep import record as records
from dlzoo.sweep.record import Record, Trial
from dlzoo.utils import files as paths
from dlzoo.utils.formatting import format_metric


@dataclass(frozen=True, kw_only=True)
class Options:
    trust: str | None = None


def main() -> None:
    """The command."""
    cli.execute(show, __doc__)


def show(argv: Sequence[str]) -> None:
    """Print the command."""
    folders = [arg for arg in argv if not arg.startswith("trust=")]
    options, _ = cli.parse(Options, [arg for arg in argv if arg.startswith("trust=")])
    if len(folders) != 1:
        raise UserError("give one sweep folder: dlzoo best outputs/multirun/…")
    record = records.read(paths.existing(folders[0], "the sweep folder"))
    best = record.best()
    if best is None:
        raise UserError(
            f"{folders[0]}: no trial has a validation metric, so there is no best one; see sweep.csv for what failed"
        )
    overrides = safe_overrides(record, best, folders[0], options.trust)
    running = sum(trial.state == "running" for trial in record.trials)
    note = f", {running} still running" if running else ""
    value = format_metric(str(record.metric), best.value)
    metric = short(record.metric)
    print(
        f"trial {best.number} of {len(record.trials)}{note}: {metric} {value} in epoch {best.best_epoch}",
        file=sys.stderr,
    )
    print(shlex.join(["dlzoo", "train", *overrides]))


def safe_overrides(record: Record, best: Trial, folder: str, trust: str | None) -> list[str]:
    """The overrides of the best trial, checked: whoever pastes a command trusts everything in it.

    Raises:
        UserError: an override that does more than set options of a run, or that contains control characters.
    """
    flags, overrides = split([*record.words, *best.words, *best.found])
    if any(not arg.isprintable() for arg in (*flags, *overrides)):
        raise UserError(
            f"{folder}: the trial's overrides contain control characters, which no sweep writes: do not trust it"
        )
    if other := {flag.partition("=")[0] for flag in flags if flag.startswith("-")} - {"--config-dir", "-cd"}:
        raise UserError(f"{folder} stores the flag {short(min(other))}, which is not an option of a run")
    for path in extra_dirs(flags):
        print(
            f"warning: {folder} reads configs from {short(path, 200)}: check them before you run the command",
            file=sys.stderr,
        )
    candidates = [override for override in overrides if key_of(override) != "trust"]
    trusted = allowlist.Trust(allowlist.packages_in(trust))
    kept = stored_overrides.check(candidates, folder, trusted, groups.known_keys(flags))
    for override in candidates:
        if override not in kept:
            print(
                f"warning: {short(override)} of {folder} is omitted: add it yourself if you still want it",
                file=sys.stderr,
            )
    trust_override = [] if trust is None else [f"trust={trust}"]
    return [*flags, *(override.lstrip("+") for override in kept), *trust_override]
