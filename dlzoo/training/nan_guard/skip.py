"""Skips steps with non-finite values: they change nothing, and are counted."""

from __future__ import annotations

import lightning.pytorch as pl
from torch import Tensor
from torch.optim import Optimizer

from dlzoo.callbacks.sinks import run_folder, tensorboard, warn
from dlzoo.tasks.base import Task
from dlzoo.training.nan_guard.report import Moment, row_numbers
from dlzoo.utils import csv_writer as csv_files
from dlzoo.utils.files import open_text


class SkippedSteps:
    """Counts skipped steps, and restores what their batches must not change: training means and carried state."""

    def __init__(self) -> None:
        self.in_a_row = 0
        self.is_skipping = False
        """Whether the current step is skipped."""
        self.is_bad_batch = False
        """Whether the current batch is the reason."""
        self.is_counted = False
        """Whether the trainer counts the step although its optimizer has nothing to do."""
        self.step = 0
        self.means: dict[str, tuple[Tensor | None, int | Tensor]] = {}
        self.loss = float("nan")

    def begin_batch(self, trainer: pl.Trainer, task: Task) -> None:
        self.is_bad_batch, self.step = False, trainer.global_step
        self.means = {k: (None if m.total is None else m.total.clone(), m.count) for k, m in task.train_means.items()}

    def mark_batch(self, task: Task, losses: list[Tensor]) -> None:
        """Mark the current batch as non-finite; its step is skipped."""
        self.is_bad_batch = True
        self.loss = float(losses[-1].detach()) if losses else float("nan")
        if not self.is_skipping:
            self.is_skipping = task.step_skipped = True
            self.in_a_row += 1

    def clear_gradients(self, trainer: pl.Trainer, optimizer: Optimizer) -> None:
        """Without gradients, an optimizer changes neither weights nor its own state."""
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = None
        self.is_counted |= optimizer is trainer.optimizers[0]

    def end_batch(self, trainer: pl.Trainer, task: Task, moment: Moment) -> None:
        """Restore what a non-finite batch has changed, and count the step if it ends with this batch."""
        if self.is_bad_batch:
            self.restore(task, moment)
            self.log(trainer, moment)
        if trainer.global_step == self.step:  # the step has further batches
            return
        if not self.is_skipping:
            self.in_a_row = 0
            return
        if self.is_counted:
            uncount_step(trainer)
        task.skipped_steps += 1
        self.is_skipping = self.is_counted = task.step_skipped = False
        if writer := tensorboard(trainer):
            writer.add_scalar("train/skipped_steps", task.skipped_steps, self.step)

    def restore(self, task: Task, moment: Moment) -> None:
        for name, mean in task.train_means.items():
            mean.total, mean.count = self.means.get(name, (None, 0))
        for name, value in moment.carried_state.items():
            setattr(task, name, value)

    def log(self, trainer: pl.Trainer, moment: Moment) -> None:
        """Append a line to skipped_steps.csv, and warn at the first one."""
        if not trainer.is_global_zero:
            return
        path = run_folder(trainer) / "skipped_steps.csv"
        is_first = not path.exists()
        rows = row_numbers(trainer, moment)
        with open_text(path, "a") as file:
            writer = csv_files.Writer(file)
            if is_first:
                writer.writerow(["step", "epoch", "batch", "loss", "rows"])
            text = "" if rows is None else " ".join(map(str, rows.tolist()))
            writer.writerow([moment.step + 1, moment.epoch + 1, moment.batch_idx + 1, self.loss, text])
        if is_first:
            warn(trainer, f"{moment.place}: loss or gradients are not finite; the step is skipped (on_nan=skip)")

    def print_total(self, trainer: pl.Trainer, task: Task) -> None:
        if task.skipped_steps and trainer.is_global_zero:
            were = "step was" if task.skipped_steps == 1 else "steps were"
            print(f"{task.skipped_steps} {were} skipped and {trainer.global_step} taken: see skipped_steps.csv")


def uncount_step(trainer: pl.Trainer) -> None:
    """Take back a skipped step: max_steps, schedules and averages of weights count only steps that were taken."""
    loop = trainer.fit_loop.epoch_loop
    if trainer.lightning_module.automatic_optimization:
        progress = loop.automatic_optimization.optim_progress.optimizer.step
    else:
        progress = loop.manual_optimization.optim_step_progress
    for part in (progress.total, progress.current):
        part.ready -= 1
        part.completed -= 1
