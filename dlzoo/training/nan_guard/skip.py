"""Steps that are left out because their numbers were not finite: they change nothing, and are counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import Tensor
from torch.optim import Optimizer

from dlzoo.callbacks.sinks import run_folder, tensorboard, warn
from dlzoo.training.nan_guard.report import Moment, rows_of
from dlzoo.utils import csv_writer as csv_files


class Skipped:
    """The account of a run, and what a batch must not have changed: running means, and what it hands on."""

    def __init__(self) -> None:
        self.in_a_row = 0
        self.now = False
        """Whether the step under way is left out."""
        self.is_bad = False
        """Whether the batch under way is why."""
        self.is_counted = False
        """Whether the trainer counts the step, although its optimizer has nothing to do."""
        self.step = 0
        self.means: dict[str, tuple[Tensor | None, int]] = {}
        self.loss = float("nan")

    def begin(self, trainer: pl.Trainer, task: Any) -> None:
        self.is_bad, self.step = False, trainer.global_step
        self.means = {k: (None if m.total is None else m.total.clone(), m.count) for k, m in task.train_means.items()}

    def found(self, task: Any, losses: list[Tensor]) -> None:
        """A batch of the step under way is not finite."""
        self.is_bad = True
        self.loss = float(losses[-1].detach()) if losses else float("nan")
        if not self.now:
            self.now = task.step_skipped = True
            self.in_a_row += 1

    def leave_out(self, trainer: pl.Trainer, optimizer: Optimizer) -> None:
        """Without gradients an optimizer changes neither weights nor its own state."""
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = None
        self.is_counted |= optimizer is trainer.optimizers[0]

    def end(self, trainer: pl.Trainer, task: Any, moment: Moment) -> None:
        """A batch has ended, and perhaps the step."""
        if self.is_bad:
            self.undo(task, moment)
            self.note(trainer, moment)
        if trainer.global_step == self.step:  # further batches belong to the step
            return
        if not self.now:
            self.in_a_row = 0
            return
        if self.is_counted:
            uncount(trainer)
        task.skipped_steps += 1
        self.now = self.is_counted = task.step_skipped = False
        if writer := tensorboard(trainer):
            writer.add_scalar("train/skipped_steps", task.skipped_steps, self.step)

    def undo(self, task: Any, moment: Moment) -> None:
        for name, mean in task.train_means.items():
            mean.total, mean.count = self.means.get(name, (None, 0))
        for name, value in moment.carried.items():
            setattr(task, name, value)

    def note(self, trainer: pl.Trainer, moment: Moment) -> None:
        """A line in skipped_steps.csv, and a warning for the first."""
        if not trainer.is_global_zero:
            return
        path: Path = run_folder(trainer) / "skipped_steps.csv"
        is_first = not path.exists()
        rows = rows_of(trainer, moment)
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv_files.Writer(file)
            if is_first:
                writer.writerow(["step", "epoch", "batch", "loss", "rows"])
            told = "" if rows is None else " ".join(map(str, rows.tolist()))
            writer.writerow([moment.step + 1, moment.epoch + 1, moment.batch_idx + 1, self.loss, told])
        if is_first:
            warn(trainer, f"{moment.place}: loss or gradients are not finite; the step is left out (on_nan=skip)")

    def tell(self, trainer: pl.Trainer, task: Any) -> None:
        if task.skipped_steps and trainer.is_global_zero:
            were = "step was" if task.skipped_steps == 1 else "steps were"
            taken = trainer.global_step
            print(f"{task.skipped_steps} {were} left out, beside {taken} taken: see skipped_steps.csv")


def uncount(trainer: pl.Trainer) -> None:
    """A step that was left out is none: max_steps, schedules and averages of weights go by the steps taken."""
    loop = trainer.fit_loop.epoch_loop
    if trainer.lightning_module.automatic_optimization:
        progress: Any = loop.automatic_optimization.optim_progress.optimizer.step
    else:
        progress = loop.manual_optimization.optim_step_progress
    for part in (progress.total, progress.current):
        part.ready -= 1
        part.completed -= 1
