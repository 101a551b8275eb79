"""What distribution an energy-based model has learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning.pytorch as pl
import torch
from torch import Tensor

from dlzoo.callbacks.base import Report, Step, eval_mode
from dlzoo.callbacks.sinks import publish, run_name
from dlzoo.errors import at_least
from dlzoo.tasks.base import Task
from dlzoo.tasks.interfaces import EVAL_SEED, EnergyBased
from dlzoo.visualization import energies as plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_IMAGES = 20
"""Of distribution.png."""


class EnergyReport(Report):
    """Writes distribution.png, the probability of the most probable images, exact and sampled, beside that in the test
    data, for models whose states can be enumerated; and weights.png, the weights between all units.

    Args:
        num_samples: images that are sampled.
    """

    def __init__(self, *, num_samples: int = 2000) -> None:
        at_least(1, "callbacks.energy", num_samples=num_samples)
        self.num_samples = num_samples
        self.images: list[Tensor] = []

    def applies_to(self, task: Task) -> bool:
        return task.as_energy_model() is not None

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.images = []

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        if trainer.is_global_zero:  # it shows its own part
            self.images.append(step.batch[0])

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        model = task.as_energy_model()
        if model is None or not self.images:
            return
        with eval_mode(task):
            probabilities = model.image_probabilities()
            if probabilities is not None:
                figure = self.draw_distribution(model, probabilities.cpu(), run_name(trainer))
                publish(trainer, "distribution", figure)
        weights = model.interactions().cpu()
        num_visible = model.spec.num_features
        names = [f"v{i + 1}" if i < num_visible else f"h{i + 1 - num_visible}" for i in range(len(weights))]
        publish(trainer, "weights", plots.interactions(weights, names, heading=run_name(trainer)))
        self.images = []

    def draw_distribution(self, model: EnergyBased, probabilities: Tensor, heading: str) -> Figure:
        data = fractions(model.image_numbers(torch.cat(self.images)).cpu(), len(probabilities))
        samples = model.sample(self.num_samples, seed=EVAL_SEED)
        sampled = fractions(model.image_numbers(samples).cpu(), len(probabilities))
        errors = (probabilities * (1 - probabilities) / self.num_samples).sqrt()
        shown = (data + probabilities).topk(min(MAX_IMAGES, len(probabilities))).indices.sort(descending=True).values
        num_visible = model.spec.num_features
        bits = shown[:, None] >> torch.arange(num_visible - 1, -1, -1) & 1
        images = bits.view(-1, *model.spec.shape).float().mean(1)
        columns = (column[shown] for column in (data, probabilities, sampled, errors))
        return plots.distribution(images, *columns, heading=heading)


def fractions(numbers: Tensor, num: int) -> Tensor:
    """How often each number from 0 to num - 1 occurs, as a fraction: (num,) float64."""
    return numbers.bincount(minlength=num).double() / len(numbers)
