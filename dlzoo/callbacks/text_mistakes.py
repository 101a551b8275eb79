"""Texts that a classifier misclassified."""

from __future__ import annotations

import textwrap

import lightning.pytorch as pl
from torch import Tensor

from dlzoo.callbacks.base import Report, Step, data_of
from dlzoo.callbacks.sinks import run_folder, tensorboard
from dlzoo.data.text.base import TextData
from dlzoo.distributed.collectives import gather_objects
from dlzoo.errors import visible
from dlzoo.tasks.base import Task
from dlzoo.utils.files import open_text

Mistake = tuple[float, int, int, int]  # probability of the wrong class, row, true class, predicted class


class TextMistakes(Report):
    """After a test: mistakes.txt with the most confident mistakes, and the longest ones.

    Args:
        num_mistakes: texts in each of the two lists.
        most: characters shown of each text.
    """

    needs_data = True

    def __init__(self, *, num_mistakes: int = 20, most: int = 1500) -> None:
        self.num_mistakes = num_mistakes
        self.most = most
        self.mistakes: list[Mistake] = []

    def applies_to(self, task: Task) -> bool:
        target = task.predicted_target
        return task.spec.texts is not None and target is not None and target.classes is not None

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.mistakes = []

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        rows: Tensor = trainer.test_dataloaders.batches()[step.batch_idx]  # type: ignore[union-attr]
        probabilities, predicted = step.outputs["output"].float().softmax(1).max(1)
        target = step.outputs["target"]
        wrong = (predicted != target).nonzero().flatten().cpu()
        columns = (t.cpu()[wrong].tolist() for t in (probabilities, rows, target, predicted))
        self.mistakes += zip(*columns, strict=True)

    def gather(self, trainer: pl.Trainer, task: Task) -> None:
        self.mistakes = [mistake for part in gather_objects(self.mistakes) for mistake in part]

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        data = data_of(trainer)
        if not self.mistakes or not isinstance(data, TextData):
            return
        texts, names = data.texts("test"), task.spec.target.names
        confident = sorted(self.mistakes, reverse=True)[: self.num_mistakes]
        longest = sorted(self.mistakes, key=lambda mistake: -len(texts[mistake[1]]))[: self.num_mistakes]
        parts = []
        for heading, mistakes in {"most confident": confident, "longest": longest}.items():
            parts.append(f"The {heading} of {len(self.mistakes):,} mistakes\n")
            for probability, row, true, predicted in mistakes:
                text = textwrap.shorten(texts[row], self.most, placeholder=" …")
                verdict = f"{names[true]}, mistaken for {names[predicted]} with {probability:.1%}"
                parts.append(f"{verdict}:\n{textwrap.fill(text, 116, initial_indent='  ', subsequent_indent='  ')}\n")
        report = visible("\n".join(parts))
        with open_text(run_folder(trainer) / "mistakes.txt", "w") as file:
            file.write(report)
        if writer := tensorboard(trainer):
            writer.add_text("mistakes", "\n".join(f"    {line}" for line in report.split("\n")), trainer.global_step)
        self.mistakes = []
