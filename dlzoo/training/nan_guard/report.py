"""Reports a step with a non-finite loss or gradients, and saves what is needed to repeat it.

The run folder gets ``nonfinite.ckpt``: the batch as the task saw it, the weights and random states before the step, and
everything needed to rebuild the task, as plain data. ``dlzoo rerun_step`` repeats the step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeGuard, runtime_checkable

import lightning.pytorch as pl
import torch
from torch import Tensor

from dlzoo.checkpoint.io import CheckpointIO
from dlzoo.errors import NonFinite
from dlzoo.specs.batch import Batch, tensors
from dlzoo.tasks.base import Task

CHECKPOINT_NAME = "nonfinite.ckpt"
REPORT_NAME = "nonfinite.txt"
ELSEWHERE = "another process computed non-finite values; see its message"
MAX_ROWS = 12
"""Maximum number of row numbers on the terminal; the text file lists all."""


class Moment(NamedTuple):
    """The state of training when a batch began."""

    batch: object
    """A `Batch`, or an agent's block of environment steps."""
    batch_idx: int
    step: int
    """Number of steps before it."""
    epoch: int
    random: Mapping[str, Tensor]
    """Random states of PyTorch, by kind of device."""
    carried_state: Mapping[str, object]

    @property
    def place(self) -> str:
        return f"step {self.step + 1} (epoch {self.epoch + 1}, batch {self.batch_idx + 1})"


def report(
    trainer: pl.Trainer,
    task: Task,
    moment: Moment,
    loss: Tensor | None,
    state: Mapping[str, object],
    manifest: Mapping[str, object] | None,
    *,
    behind: int = 0,
    in_a_row: int = 0,
) -> NonFinite:
    """The error for a step before it is repeated; also writes the file to repeat it from.

    Args:
        state: the weights before the step, or before the step ``behind`` steps earlier.
        manifest: of the run's checkpoints; None: no file is written.
        in_a_row: number of consecutive skipped steps; 0 if the first one ends the run.
    """
    rows = row_numbers(trainer, moment)
    reason = f"{moment.place}: {describe_failure(task, loss)}"
    if in_a_row:
        reason = f"{in_a_row} steps in a row had non-finite values; the last was {reason}"
    facts = [("input", sentence) for sentence in describe_inputs(moment.batch, rows)]
    if means := nonfinite_means(task):
        facts.append(("means", f"not finite: {', '.join(means)}"))
    if rows is not None:
        facts.append(("rows", f"of train in this batch: {format_rows(rows)}"))
    if behind:
        facts.append(("weights", f"saved from {behind} steps earlier, since a GPU is not checked at each step"))
    file = None
    if manifest is not None and is_batch(moment.batch):
        file = Path(trainer.default_root_dir) / CHECKPOINT_NAME
        if trainer.global_rank:
            file = file.with_name(f"nonfinite-rank{trainer.global_rank}.ckpt")
        content: dict[str, object] = {
            "state_dict": state,
            "moment": _to_plain(moment, moment.batch, rows),
            "wrong": reason,
        }
        CheckpointIO(manifest).save_checkpoint(content, file)
    return NonFinite(reason, facts, file, "" if rows is None else " ".join(map(str, rows.tolist())))


def _to_plain(moment: Moment, batch: Sequence[object], rows: Tensor | None) -> dict[str, object]:
    """A moment and its batch as they are stored, see `dlzoo.training.nan_guard.probe.run_step`."""
    return {
        "batch": tuple(batch),
        "batch_idx": moment.batch_idx,
        "step": moment.step,
        "epoch": moment.epoch,
        "random": moment.random,
        "carried": moment.carried_state,
        "rows": rows,
    }


def describe_failure(task: Task, loss: Tensor | None) -> str:
    """Which value is not finite: the loss, or the gradient of which parameters."""
    if loss is not None and not torch.isfinite(loss).all():
        return f"the loss is {float(loss)}"
    bad = [(name, p.grad) for name, p in task.named_parameters() if p.grad is not None and not is_finite(p.grad)]
    if bad:
        others = f" and {len(bad) - 1} others" if len(bad) > 2 else f" and {bad[1][0]}" if bad[1:] else ""
        return f"the loss is {'finite' if loss is None else f'{float(loss):.4g}'}, but the gradient of {bad[0][0]}" + (
            f"{others} contains {nonfinite_kinds(bad[0][1])}"
        )
    return "loss or gradients were not finite"


def nonfinite_means(task: Task) -> list[str]:
    """The training means that this step has made non-finite, which tell the part of the loss."""
    return [f"train/{name}" for name, mean in task.train_means.items() if not torch.isfinite(torch.tensor(mean.read()))]


@runtime_checkable
class NumbersRows(Protocol):
    """A loader that knows the rows of each batch."""

    def rows_of(self, batch_idx: int, /) -> Tensor: ...


def row_numbers(trainer: pl.Trainer, moment: Moment) -> Tensor | None:
    """The row numbers of a batch, if the loader knows them."""
    loader: object = trainer.train_dataloader
    return loader.rows_of(moment.batch_idx).cpu() if isinstance(loader, NumbersRows) else None


def describe_inputs(batch: object, rows: Tensor | None) -> list[str]:
    """A sentence for each tensor of a batch: shape, range, and which rows are not finite."""
    if not is_batch(batch):
        return []
    named = zip(Batch._fields, batch, strict=False)
    parts = [(name, tree.items() if isinstance(tree, dict) else [("", tree)]) for name, tree in named]
    facts = [(f"{name} {key}".strip(), t) for name, trees in parts for key, t in trees if t is not None]
    return [f"{name} {describe(t, rows)}" for name, t in facts]


def describe(values: Tensor, rows: Tensor | None = None) -> str:
    """Shape, range and mean; and if values are not finite, how many, and in which of these rows."""
    text = "x".join(map(str, values.shape))
    if not values.is_floating_point():
        return f"{text}, {values.min()} to {values.max()}" if values.numel() else text
    finite = values.isfinite()
    finite_values = values[finite]
    if finite_values.numel():
        mean = finite_values.double().mean()
        text += f", {finite_values.min():.4g} to {finite_values.max():.4g}, mean {mean:.4g}"
    if num_bad := int((~finite).sum()):
        text += f"; {nonfinite_kinds(values)} in {num_bad} of {values.numel():,} values"
        samples = (~finite).flatten(1).any(1) if values.ndim > 1 else ~finite
        if rows is not None and len(rows) == len(samples):
            text += f", of row {format_rows(rows[samples.cpu()])} of train"
    return text


def is_batch(batch: object) -> TypeGuard[Sequence[Tensor | dict[str, Tensor] | None]]:
    """Whether a training batch consists of inputs and targets; that of an agent is a block of environment steps."""
    if not isinstance(batch, tuple | list) or not batch:
        return False
    return all(part is None or tensors(part) for part in batch)


def is_finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())


def nonfinite_kinds(values: Tensor) -> str:
    """nan, inf or both."""
    kinds = [name for name, test in (("nan", torch.isnan), ("inf", torch.isinf)) if bool(test(values).any())]
    return " and ".join(kinds) or "finite values"


def format_rows(rows: Tensor) -> str:
    shown = ", ".join(map(str, rows[:MAX_ROWS].tolist()))
    return f"{shown}, … ({len(rows)} in total, see {REPORT_NAME})" if len(rows) > MAX_ROWS else shown
