"""Pictures of components after a test."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import Tensor

from dlzoo.callbacks.base import Report, Step, eval_mode
from dlzoo.callbacks.sinks import publish
from dlzoo.metrics.examples import BalancedSample
from dlzoo.tasks.base import Task
from dlzoo.visualization import latent as latent_plots
from dlzoo.visualization import plots, unsupervised


class ComponentsReport(Report):
    """Writes explained_variance.png, the share of each component; components.png, as images where the inputs are, with
    the mean first, or as the weight of each feature; and, of tables, latent_space.png, the scores of test rows.

    Args:
        num_components: shown at most.
        num_codes: random test rows, balanced by class, whose scores are plotted.
    """

    def __init__(self, *, num_components: int = 31, num_codes: int = 2000) -> None:
        self.num_components = num_components
        self.num_codes = num_codes
        self.sample = BalancedSample(num_codes)

    def applies_to(self, task: Task) -> bool:
        return task.as_decomposition() is not None

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.sample = BalancedSample(self.num_codes)

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        if trainer.is_global_zero and task.spec.images is None:  # rank zero shows its own part
            labels: Tensor = step.batch[1]
            self.sample.add((step.outputs["code"], labels), None if task.spec.target.classes is None else labels)

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        decomposition = task.as_decomposition()
        assert decomposition is not None
        components, variances = decomposition.components, decomposition.variances
        if not bool(variances.any()):
            return  # never fitted
        publish(trainer, "explained_variance", unsupervised.explained_variance(variances, len(components)))
        shown = components[: self.num_components]
        shares = [f"{share:.1%}" for share in (variances / variances.sum()).tolist()][: len(shown)]
        if (spec := task.spec.images) is not None:
            with eval_mode(task):
                mean = decomposition.decode(components.new_zeros(1, len(components)))
            images = [*mean.cpu(), *unsupervised.as_pictures(shown, spec.shape)]
            heading = f"the mean, and {len(shown)} of {len(components)} components with their share of the variance"
            figure = plots.image_grid(torch.stack(images), ["mean", *shares], heading=heading)
        else:
            names = [f"{k} ({share})" for k, share in enumerate(shares, 1)]
            features = task.spec.table.feature_names if task.spec.table is not None else ()
            columns = features or [str(i) for i in range(shown.shape[1])]
            figure = unsupervised.weights_of_features(shown, names, columns, title="components")
        publish(trainer, "components", figure)
        if len(self.sample):
            codes, labels = self.sample.stacked()
            classes = task.spec.target.classes
            publish(trainer, "latent_space", latent_plots.latent_space(codes, labels, classes.names if classes else ()))
        self.begin_test(trainer, task)
