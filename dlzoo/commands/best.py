"""The command that reproduces the best trial of a sweep.

    python scripts/best.py <sweep folder>

prints ``python train.py …`` on standard output, and what the trial reached on standard error. Trials are compared by
the metric of the sweep, on validation data; the command trains the same net with the same figures, and then tests it.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from dlzoo.commands import cli
from dlzoo.errors import UserError
from dlzoo.sweep import record as records
from dlzoo.utils import files as paths
from dlzoo.utils.formatting import format_metric


def main() -> None:
    """Exit code 0, or 2 where there is no winner."""
    cli.execute(show, __doc__)


def show(argv: Sequence[str]) -> None:
    """Print the command."""
    if len(argv) != 1:
        raise UserError("give one sweep folder: python scripts/best.py outputs/multirun/…")
    record = records.read(paths.existing(argv[0], "the sweep folder"))
    best = record.best()
    if best is None:
        raise UserError(f"{argv[0]}: no trial was measured on validation data, so none is the best")
    words = [word.lstrip("+") for word in (*record.words, *best.words, *best.found)]
    running = sum(trial.state == "running" for trial in record.trials)
    aside = f", {running} still run" if running else ""
    value = format_metric(str(record.metric), best.value)
    print(
        f"trial {best.number} of {len(record.trials)}{aside}: {record.metric} {value} in epoch {best.best_epoch}",
        file=sys.stderr,
    )
    if any(not word.isprintable() for word in words):
        raise UserError(f"{argv[0]}: the trial's words hold signs that a terminal would obey; no sweep writes such")
    print(shlex.join(["python", "train.py", *words]))
