"""Baselines for nets that predict sound: their test results become the metrics ``baseline/<metric>_<method>``."""

from __future__ import annotations

import lightning.pytorch as pl

from dlzoo.callbacks.base import Report, data_of
from dlzoo.data.base import InMemoryData
from dlzoo.errors import UserError, between
from dlzoo.metrics.linear_prediction import LinearPredictor
from dlzoo.tasks.base import Task


class LinearPredictionBaseline(Report):
    """``baseline/bits_per_sample_linear``: each sample from those before it by least squares, fitted to the training
    recordings.

    Args:
        order: samples that the prediction is made from.
    """

    needs_data = True

    def __init__(self, *, order: int = 2) -> None:
        between(1, 64, "callbacks.linear_prediction", order=order)
        self.order = order

    def applies_to(self, task: Task) -> bool:
        if task.as_sound_model() is None:
            raise UserError(
                f"callbacks.linear_prediction is a baseline for nets that predict sound, but {type(task).__name__} "
                f"learns {task.spec.target.what}; remove it from callbacks"
            )
        return True

    def measure(self, trainer: pl.Trainer, task: Task) -> None:
        data = data_of(trainer)
        assert isinstance(data, InMemoryData)
        model = LinearPredictor(data.arrays("train").x.cpu(), self.order)
        task.log("baseline/bits_per_sample_linear", model.bits_per_sample(data.arrays("test").x.cpu()))
