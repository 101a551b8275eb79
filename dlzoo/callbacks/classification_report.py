"""Per-class test results."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import Tensor

from dlzoo.callbacks.base import Report, Step
from dlzoo.callbacks.sinks import publish, run_folder, tensorboard
from dlzoo.errors import visible
from dlzoo.tasks.base import Task
from dlzoo.utils import csv_writer as csv_files
from dlzoo.visualization import plots


class ClassificationReport(Report):
    """After a test: confusion_matrix.png, and precision, recall, F1 and support of each class in report.txt and .csv.

    For tasks that predict classes; targets may be classes (B,) or, after mixing, probabilities (B, K). The counts of
    all ranks are summed.
    """

    def __init__(self) -> None:
        self.counts: Tensor | None = None
        """(K * K,), indexed by true and predicted class."""

    def applies_to(self, task: Task) -> bool:
        return task.as_predictor() is not None and task.spec.target.classes is not None

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.counts = torch.zeros(task.spec.target.num_outputs**2, dtype=torch.long, device=task.device)

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        assert self.counts is not None
        output, target = step.outputs["output"], step.outputs["target"]
        labels = target.argmax(1) if target.ndim == 2 else target
        cells = labels * output.shape[1] + output.argmax(1)
        self.counts += torch.bincount(cells, minlength=len(self.counts))

    def gather(self, trainer: pl.Trainer, task: Task) -> None:
        assert self.counts is not None
        self.counts = trainer.strategy.reduce(self.counts, reduce_op="sum")

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        assert self.counts is not None
        names = task.spec.target.names
        counts, self.counts = self.counts.view(len(names), -1).cpu(), None
        if counts.sum():
            publish(trainer, "confusion_matrix", plots.confusion_matrix(counts, names))
            write_report(trainer, counts, names)


def write_report(trainer: pl.Trainer, counts: Tensor, names: tuple[str, ...]) -> None:
    from sklearn.metrics import classification_report

    true, predicted = (
        cells.repeat_interleave(counts.flatten()).numpy()
        for cells in torch.cartesian_prod(torch.arange(len(names)), torch.arange(len(names))).T
    )
    names = tuple(visible(name, keep="") for name in names)
    options = {"labels": range(len(names)), "target_names": names, "zero_division": 0}
    text = classification_report(true, predicted, digits=4, **options)
    folder = run_folder(trainer)
    (folder / "report.txt").write_text(text)
    table = classification_report(true, predicted, output_dict=True, **options)
    with (folder / "report.csv").open("w", newline="") as file:
        writer = csv_files.Writer(file)
        writer.writerow(["class", "precision", "recall", "f1", "support"])
        for name in (*names, "macro avg", "weighted avg"):
            precision, recall, f1, support = table[name].values()
            writer.writerow([name, f"{precision:.6f}", f"{recall:.6f}", f"{f1:.6f}", int(support)])
    if summary := tensorboard(trainer):
        # four spaces: a code block in Markdown
        summary.add_text("report", "\n".join(f"    {line}" for line in text.split("\n")), trainer.global_step)
