"""What the test says about each class."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from dlzoo.callbacks.base import Observer
from dlzoo.callbacks.sinks import publish, run_folder, spec_of, tensorboard
from dlzoo.errors import visible
from dlzoo.specs.targets import Classes
from dlzoo.utils import csv_writer as csv_files
from dlzoo.visualization import plots


class ClassificationReport(Observer):
    """After a test: confusion_matrix.png, and precision, recall, F1 and support of each class in report.txt and .csv.

    Works where the spec's target is `Classes` and `test_step` returns "output" (B, K) and "target" (B,) or (B, K).
    With several ranks the counts of all are added.
    """

    def __init__(self) -> None:
        self.counts: Tensor | None = None
        self.names: tuple[str, ...] = ()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        spec = spec_of(pl_module)
        self.counts = None
        if spec is not None and isinstance(spec.target, Classes):
            self.names = spec.target.names
            self.counts = torch.zeros(len(self.names) ** 2, dtype=torch.long, device=pl_module.device)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.counts is None or not isinstance(outputs, dict) or "output" not in outputs:
            return
        output, target = outputs["output"], outputs["target"]
        labels = target.argmax(1) if target.ndim == 2 else target
        cells = labels * output.shape[1] + output.argmax(1)
        self.counts += torch.bincount(cells, minlength=len(self.counts))

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.counts is None:
            return
        summed = trainer.strategy.reduce(self.counts, reduce_op="sum")
        self.counts = None
        counts = summed.view(len(self.names), -1).cpu()
        if trainer.is_global_zero and counts.sum():
            publish(trainer, "confusion_matrix", plots.confusion_matrix(counts, self.names))
            write_report(trainer, counts, self.names)


def write_report(trainer: pl.Trainer, counts: Tensor, names: tuple[str, ...]) -> None:
    from sklearn.metrics import classification_report

    true, predicted = (
        cells.repeat_interleave(counts.flatten()).numpy()
        for cells in torch.cartesian_prod(torch.arange(len(names)), torch.arange(len(names))).T
    )
    names = tuple(visible(name, keep="") for name in names)
    given = {"labels": range(len(names)), "target_names": names, "zero_division": 0}
    text = classification_report(true, predicted, digits=4, **given)
    folder = run_folder(trainer)
    (folder / "report.txt").write_text(text)
    table = classification_report(true, predicted, output_dict=True, **given)
    with (folder / "report.csv").open("w", newline="") as file:
        writer = csv_files.Writer(file)
        writer.writerow(["class", "precision", "recall", "f1", "support"])
        for name in (*names, "macro avg", "weighted avg"):
            precision, recall, f1, support = table[name].values()
            writer.writerow([name, f"{precision:.6f}", f"{recall:.6f}", f"{f1:.6f}", int(support)])
    if summary := tensorboard(trainer):
        # four spaces: a block of code in Markdown
        summary.add_text("report", "\n".join(f"    {line}" for line in text.split("\n")), trainer.global_step)
