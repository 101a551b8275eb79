"""Compares hyperband with random search for an MLP on MNIST, with equal epoch budgets.

    python scripts/compare_searches.py [repeats]

The course's search of `configs/sweep/mlp_mnist.yaml`: at most ten epochs per trial, factor 3. Random search trains five
full trials, 50 epochs; hyperband samples and prunes trials until they have used 50 epochs in total. Each method selects
on validation data, and its winner is retrained and tested. The results go into ``results/searches.json`` and from there
into RESULTS.md. Completed repeats are not run again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlzoo.commands import cli
from dlzoo.config import overrides
from dlzoo.errors import UserError
from dlzoo.sweep import record as records
from dlzoo.training import results
from scripts.machine import cpu_name
from scripts.results_table import write_table

NUM_PER_CLASS = 1000
BUDGET = 50
METHODS = {
    "random": ["sweep=[random,mlp_mnist]", "sweep.trials=5"],
    "hyperband": ["sweep=[hyperband,mlp_mnist]", "sweep.trials=1000"],
}
OVERRIDES = [
    f"data.train_per_class={NUM_PER_CLASS}",
    "data.val_size=5000",
    "data.batch_size=32",
    "trainer=cpu",
    "callbacks=[history,checkpoint]",
    "logger=none",
    f"sweep.epochs={BUDGET}",
]
DESCRIPTION = (
    "`python scripts/compare_searches.py`: depth (0-8), width (16-256), learning rate and optimizer of an MLP on "
    f"MNIST, {NUM_PER_CLASS:,} training rows per class (not all, to save time), batches of 32, at most 10 epochs "
    f"per trial, {BUDGET} epochs per search; `random` is the course's five trials, `hyperband` has factor 3 and "
    "starts with the same samples. The metric is that of the winner's best epoch on validation data; the winner was "
    "retrained, and only the winner was tested."
)


def main() -> None:
    """Exit code 0, or 2 if a search could not be run."""
    cli.execute(compare, __doc__)


def compare(argv: Sequence[str]) -> None:
    """Run what is missing and write the table."""
    repeats = argv[0] if argv else "3"
    if len(argv) > 1 or not repeats.isdigit():
        raise UserError(f"{' '.join(argv)}: give a number of repeats")
    root = Path.cwd()
    runs = []
    for repeat in range(int(repeats)):
        for method in METHODS:
            runs.append(run(method, repeat, root))
            print(f"{method} {repeat}: {runs[-1]}", flush=True)
            store = {"metric": "val/accuracy", "told": DESCRIPTION, "runs": runs}
            path = root / "results" / "searches.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(store, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_table(root)


def run(method: str, repeat: int, root: Path) -> dict[str, Any]:
    """Run one search; returns its cost and the results of its winner."""
    folder = root / "outputs" / "compare_searches" / f"{method}-{repeat}"
    search_overrides = [
        *METHODS[method],
        *OVERRIDES,
        f"seed={repeat}",
        f"sweep.seed={repeat}",
        overrides.quoted("hydra.sweep.dir", folder),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "dlzoo", "train", "-m", *search_overrides],
        capture_output=True,
        text=True,
        check=False,
    )
    record = records.read(folder)
    best = record.best()
    winner = folder / f"winner-{best.number}" / "results.json" if best else folder
    if best is None or not winner.is_file():
        raise UserError(f"{method} {repeat}: the search produced no winner: {done.stderr.strip()[-300:]}")
    tested = results.read(winner.parent)
    return {
        "method": method,
        "repeat": repeat,
        "trials": len(record.trials),
        "failed": record.num_failed,
        "epochs": record.num_epochs,
        "value": best.value,
        "words": best.words,
        "test/accuracy": tested["metrics"]["test/accuracy"],
        "seconds": sum(trial.seconds for trial in record.trials),
        **{key: tested[key] for key in ("device", "versions", "commit")},
        "cpu": cpu_name(),
        "num_cores": os.cpu_count(),
    }


if __name__ == "__main__":
    main()
