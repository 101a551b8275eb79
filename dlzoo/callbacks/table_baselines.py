"""Baselines for tables: their test results become the metrics ``baseline/<metric>_<method>``."""

from __future__ import annotations

import logging

import lightning.pytorch as pl

from dlzoo.callbacks.base import Report, data_of
from dlzoo.callbacks.sinks import warn
from dlzoo.data.base import InMemoryData
from dlzoo.data.loaders import Arrays
from dlzoo.metrics import tables
from dlzoo.specs.batch import first_tensor
from dlzoo.tasks.base import Task

log = logging.getLogger(__name__)

HIGHER_IS_BETTER = ("accuracy", "r2")
"""The metrics in which a net is compared with the baselines: of classes, and of values."""


class TableBaselines(Report):
    """What simple methods reach on the same rows of a table: for classes the most frequent one, logistic regression and
    gradient boosting (``baseline/accuracy_logistic``), for values the mean, linear regression and gradient boosting.

    They are scikit-learn's with its default settings, fitted on the training rows. A net that is worse than one of
    them is pointed out.
    """

    needs_data = True

    def applies_to(self, task: Task) -> bool:
        target = task.spec.target
        has_rival = target.classes is not None or target.values is not None
        return task.as_predictor() is not None and task.spec.table is not None and has_rival

    def measure(self, trainer: pl.Trainer, task: Task) -> None:
        data = data_of(trainer)
        if not isinstance(data, InMemoryData) or not trainer.is_global_zero:  # the other ranks would do the same
            return
        train, test = rows_of(data.arrays("train")), rows_of(data.arrays("test"))
        results, failures = tables.baselines(train, test)
        if len(train.x) > tables.MAX_TRAIN:
            log.warning("baseline/…: fitted on %s of %s training rows", f"{tables.MAX_TRAIN:,}", f"{len(train.x):,}")
        for name, reason in failures.items():
            log.warning("baseline/…_%s is skipped: %s", name, reason)
        metrics = {f"baseline/{metric}_{name}": value for name, own in results.items() for metric, value in own.items()}
        task.log_dict(metrics, rank_zero_only=True)

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        for metric in HIGHER_IS_BETTER:
            if (reached := metrics.get(f"test/{metric}")) is None:
                continue
            prefix = f"baseline/{metric}_"
            rivals = {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
            if better := {name: value for name, value in rivals.items() if round(value, 3) > round(reached, 3)}:
                warn(trainer, self.advice(metric, reached, better, has_rate=task.uses_optimizer))

    @staticmethod
    def advice(metric: str, reached: float, better: dict[str, float], *, has_rate: bool = True) -> str:
        """What to do about a net that simple methods beat."""
        rivals = ", ".join(f"{name} {value:.3f}" for name, value in better.items())
        text = f"test/{metric} {reached:.3f} is below the baseline{'s' if len(better) > 1 else ''} ({rivals})"
        if {*better} <= {"boosting"}:
            return f"{text}: gradient boosting is hard to beat on tables; more epochs or a larger net may help"
        rate = "another optimizer.lr or " if has_rate else ""
        return f"{text}: train longer (trainer.max_epochs), or try {rate}a larger net"


def rows_of(arrays: Arrays) -> tables.Rows:
    """The rows of a split as scikit-learn takes them."""
    weight = None if arrays.weight is None else arrays.weight.cpu().numpy()
    return tables.Rows(first_tensor(arrays.x).cpu().numpy(), first_tensor(arrays.y).cpu().numpy(), weight)
