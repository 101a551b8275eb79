"""A sweep, as its folder describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dlzoo.api.frames import printable
from dlzoo.api.overrides import literal
from dlzoo.api.run import Run
from dlzoo.config import run_files
from dlzoo.errors import UserError, short, visible
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    import pandas as pd

    from dlzoo.sweep.record import Record, Trial

WIDE = 100
"""The ratio of the ends of an interval from which it is searched on a logarithmic scale."""


def as_override(key: str, values: object) -> str:
    """What to search as on the command line.

    >>> as_override("optimizer.lr", (1e-4, 1e-1)), as_override("seed", [0, 1]), as_override("net.width", (8, 64))
    ('optimizer.lr=tag(log,interval(0.0001,0.1))', 'seed=0,1', 'net.width=range(8,65)')

    Raises:
        UserError: neither a list of values nor an interval.
    """
    if isinstance(values, tuple) and len(values) == 2 and all(isinstance(end, int | float) for end in values):
        low, high = values
        if low >= high:
            raise UserError(f"space[{key!r}]={values}: the first number must be lower than the second")
        if all(isinstance(end, int) for end in values):
            return f"{key}=range({low},{high + 1})"
        interval = f"interval({float(low)!r},{float(high)!r})"
        return f"{key}=tag(log,{interval})" if low > 0 and high / low >= WIDE else f"{key}={interval}"
    if isinstance(values, Sequence) and not isinstance(values, str | tuple) and values:
        return f"{key}={','.join(_choice(value, key) for value in values)}"
    raise UserError(
        f"space[{key!r}]={short(repr(values))}: give a list of values, or an interval (lowest, highest) of numbers"
    )


def _choice(value: object, key: str) -> str:
    return value if isinstance(value, str) and value.isidentifier() else literal(value, key)


class Sweep:
    """The trials of a grid or a search. In a notebook it shows them as a table.

    Args:
        path: the folder of the sweep.
        trust: your own packages whose classes its checkpoints may use.
    """

    def __init__(self, path: str | Path, *, trust: str | None = None) -> None:
        self.path = paths.existing(str(path), "sweep")
        self.trust = trust

    @cached_property
    def record(self) -> Record:
        """Its trials as they were recorded."""
        from dlzoo.sweep import record

        return record.read(self.path)

    @property
    def trials(self) -> pd.DataFrame:
        """A row for each trial, best first: what was varied, the metric, and what else it reached."""
        import pandas as pd

        rows = [
            {**trial.params, str(self.record.metric or "value"): trial.value, "state": trial.state}
            | {"epochs": trial.epochs, "seconds": trial.seconds, **trial.metrics}
            for trial in self.record.ranked()
        ]
        return printable(pd.DataFrame(rows, index=[trial.number for trial in self.record.ranked()]))

    @property
    def best(self) -> Mapping[str, object]:
        """What the best trial chose, by key.

        Raises:
            UserError: no trial has a value.
        """
        return self._best_trial().params

    @property
    def run(self) -> Run:
        """The run of the best trial; of a search, that in which it was trained again and tested.

        Raises:
            UserError: no trial has a value, or the folder is a link that leads out of the sweep's.
        """
        best = self._best_trial()
        winner = self.path / f"winner-{best.number}"
        folder = winner if winner.is_dir() else Path(best.folder)
        if not run_files.is_inside(self.path, folder):
            raise UserError(f"{folder} links outside the folder of the sweep: give that folder to Run")
        return Run(folder, trust=self.trust)

    def _best_trial(self) -> Trial:
        best = self.record.best()
        if best is None:
            raise UserError(f"no trial of {self.path} has reached a value")
        return best

    def __repr__(self) -> str:
        return f"<Sweep of {len(self.record.trials)} trials: {visible(self.path, keep='')}>"

    def _repr_html_(self) -> str:
        return self.trials.to_html()
