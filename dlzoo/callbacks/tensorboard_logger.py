"""TensorBoard as dlzoo fills it: charts of training with validation, HPARAMS of all runs below a folder."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

CATEGORY = "training and validation"
"""One for all charts: TensorBoard merges the charts of several runs only within those of the first."""


class TensorBoard(TensorBoardLogger):
    """Lightning's logger with three differences.

    - The tab CUSTOM SCALARS has a chart of ``train/loss`` and ``val/loss``, and one for each other validation metric.
    - Charts of a single point that say nothing are not written: ``epoch`` and ``baseline/…``; the learning rate is
      ``train/lr``, so that HPARAMS, which sorts its metrics by name, begins with those of the test.
    - The columns of HPARAMS are not fixed by the run: TensorBoard takes those of the first run that does, for all runs,
      and otherwise the columns of all.
    """

    _known: frozenset[str] = frozenset()
    """The metrics that have been logged."""
    _has_charts = False

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        shown = {tag_of(name): value for name, value in metrics.items() if is_chart(name)}
        super().log_metrics(shown, step)
        self._known |= {*shown}
        if not self._has_charts:
            self._write_charts()

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, object] | Namespace, metrics: dict[str, float] | None = None, step: int | None = None
    ) -> None:
        """Record the hyperparameters of a run that has ended, with its final metrics unless they have been logged."""
        from torch.utils.tensorboard.summary import hparams

        values = dict(vars(params) if isinstance(params, Namespace) else params)
        self.hparams = values  # save() writes them into hparams.yaml
        new = {name: value for name, value in (metrics or {}).items() if tag_of(name) not in self._known}
        if new:
            self.log_metrics(new, step)
        _, start, end = hparams(values, {})
        writer = self.experiment._get_file_writer()
        writer.add_summary(start)
        writer.add_summary(end)

    def _write_charts(self) -> None:
        """Write the layout of the charts, once both training and validation metrics have been logged."""
        bases = [name.removeprefix("val/") for name in sorted(self._known) if name.startswith("val/")]
        if not any(f"train/{base}" in self._known for base in bases):
            return
        charts = {base: ["Multiline", [f"^(train|val)/{re.escape(base)}$"]] for base in bases}
        self.experiment.add_custom_scalars({CATEGORY: charts})
        self._has_charts = True


def is_chart(name: str) -> bool:
    """Whether a metric has a chart in TensorBoard."""
    return name != "epoch" and not name.startswith("baseline/")


def tag_of(name: str) -> str:
    """A metric's name in TensorBoard.

    >>> tag_of("lr"), tag_of("samples/share_7"), tag_of("val/loss")
    ('train/lr', 'test/samples/share_7', 'val/loss')
    """
    if name == "lr":
        return "train/lr"
    return f"test/{name}" if name.startswith("samples/") else name
