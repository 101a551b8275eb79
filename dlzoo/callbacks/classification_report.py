"""Per-class test results."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import Tensor

from dlzoo.callbacks.base import Report, Step
from dlzoo.callbacks.sinks import publish, run_folder, tensorboard
from dlzoo.errors import visible
from dlzoo.metrics.examples import class_labels
from dlzoo.specs.batch import part_of
from dlzoo.specs.sentences import Tags
from dlzoo.specs.targets import Classes
from dlzoo.tasks.base import Task
from dlzoo.utils import csv_writer as csv_files
from dlzoo.utils.files import open_text
from dlzoo.visualization import plots


class ClassificationReport(Report):
    """After a test: confusion_matrix.png, and precision, recall, F1 and support of each class in report.txt and .csv.

    For tasks that predict the data's classes, or a tag for each word; targets may be classes (B,) or, after mixing,
    probabilities (B, K). The counts of all ranks are summed. Each of several predictions has its own files,
    confusion_matrix_<name>.png.
    """

    def __init__(self) -> None:
        self.counts: dict[str, Tensor] = {}
        """(K * K,), indexed by true and predicted class, by the prediction's name."""

    def applies_to(self, task: Task) -> bool:
        return task.as_predictor() is not None and bool(classes_of(task))

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.counts = {
            name: torch.zeros(classes.num_outputs**2, dtype=torch.long, device=task.device)
            for name, classes in classes_of(task).items()
        }

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        for name, counts in self.counts.items():
            output, target = (part_of(step.outputs[key], name) for key in ("output", "target"))
            counts += torch.bincount(class_labels(target) * output.shape[1] + output.argmax(1), minlength=len(counts))

    def gather(self, trainer: pl.Trainer, task: Task) -> None:
        self.counts = {name: trainer.strategy.reduce(counts, reduce_op="sum") for name, counts in self.counts.items()}

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        for name, classes in classes_of(task).items():
            counts, suffix = self.counts[name].view(classes.num_outputs, -1).cpu(), f"_{name}" if name else ""
            if counts.sum():
                publish(trainer, f"confusion_matrix{suffix}", plots.confusion_matrix(counts, classes.names))
                write_report(trainer, counts, classes.names, f"report{suffix}")
        self.counts = {}


def classes_of(task: Task) -> dict[str, Classes | Tags]:
    """The classes that a task predicts, of rows or of words, by name."""
    target = task.predicted_target
    parts = {} if target is None else {name: part.classes or part.tags for name, part in target.by_name.items()}
    return {name: part for name, part in parts.items() if part is not None}


def write_report(trainer: pl.Trainer, counts: Tensor, names: tuple[str, ...], file_name: str) -> None:
    from sklearn.metrics import classification_report

    true, predicted = (
        cells.repeat_interleave(counts.flatten()).numpy()
        for cells in torch.cartesian_prod(torch.arange(len(names)), torch.arange(len(names))).T
    )
    names = tuple(visible(name, keep="") for name in names)
    options = {"labels": range(len(names)), "target_names": names, "zero_division": 0}
    text = classification_report(true, predicted, digits=4, **options)
    folder = run_folder(trainer)
    with open_text(folder / f"{file_name}.txt", "w") as file:
        file.write(text)
    table = classification_report(true, predicted, output_dict=True, **options)
    with open_text(folder / f"{file_name}.csv", "w") as file:
        writer = csv_files.Writer(file)
        writer.writerow(["class", "precision", "recall", "f1", "support"])
        for name in (*names, "macro avg", "weighted avg"):
            precision, recall, f1, support = table[name].values()
            writer.writerow([name, f"{precision:.6f}", f"{recall:.6f}", f"{f1:.6f}", int(support)])
    if summary := tensorboard(trainer):
        # four spaces: a code block in Markdown
        summary.add_text(file_name, "\n".join(f"    {line}" for line in text.split("\n")), trainer.global_step)
