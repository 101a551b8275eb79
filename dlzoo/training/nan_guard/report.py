"""What is said and kept of a step whose loss or gradients are not finite.

The run folder gets ``nonfinite.ckpt``: the batch as the task saw it, the weights and random numbers before the step,
and all that is needed to build the task again, as plain data. ``scripts/rerun_step.py`` takes the step once more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor

from dlzoo.checkpoint.io import CheckpointIO
from dlzoo.errors import NonFinite
from dlzoo.specs.batch import Batch, tensors

FILE = "nonfinite.ckpt"
TEXT = "nonfinite.txt"
ELSEWHERE = "numbers that are not finite came from another process; it says more"
MOST_SHOWN = 12
"""Row numbers on the terminal; all are in the text file."""


class Moment(NamedTuple):
    """What a training batch found when it began."""

    batch: Any
    batch_idx: int
    step: int
    """Steps taken before."""
    epoch: int
    random: dict[str, Tensor]
    carried: dict[str, Any]

    @property
    def place(self) -> str:
        return f"step {self.step + 1} (epoch {self.epoch + 1}, batch {self.batch_idx + 1})"


def report(
    trainer: pl.Trainer,
    task: Any,
    moment: Moment,
    loss: Tensor | None,
    state: dict[str, Any],
    card: dict[str, Any] | None,
    *,
    behind: int = 0,
    in_a_row: int = 0,
) -> NonFinite:
    """What is known of a step before it is run again; writes the file that shows it.

    Args:
        state: the weights before the step, or ``behind`` steps earlier.
        in_a_row: steps that were left out on end; 0 where the first ends the run.
    """
    rows = rows_of(trainer, moment)
    wrong = f"{moment.place}: {what_is_wrong(task, loss)}"
    if in_a_row:
        wrong = f"{in_a_row} steps on end had numbers that are not finite; the last was {wrong}"
    facts = [("input", sentence) for sentence in input_facts(moment.batch, rows)]
    if means := lost_means(task):
        facts.append(("means", f"not finite: {', '.join(means)}"))
    if rows is not None:
        facts.append(("rows", f"of train in this batch: {numbers(rows)}"))
    if behind:
        facts.append(("weights", f"kept are those of {behind} steps before: a GPU is not asked at each step"))
    file = None
    if card is not None and is_plain(moment.batch):
        file = Path(trainer.default_root_dir) / FILE
        if trainer.global_rank:
            file = file.with_name(f"nonfinite-rank{trainer.global_rank}.ckpt")
        plain = {**moment._asdict(), "batch": tuple(moment.batch), "rows": rows}
        content = {"state_dict": state, "moment": plain, "wrong": wrong}
        CheckpointIO(card).save_checkpoint(content, file)
    return NonFinite(wrong, facts, file, "" if rows is None else " ".join(map(str, rows.tolist())))


def what_is_wrong(task: Any, loss: Tensor | None) -> str:
    if loss is not None and not torch.isfinite(loss).all():
        return f"the loss is {float(loss)}"
    lost = [(name, p.grad) for name, p in task.named_parameters() if p.grad is not None and not is_finite(p.grad)]
    if lost:
        others = f" and {len(lost) - 1} others" if len(lost) > 2 else f" and {lost[1][0]}" if lost[1:] else ""
        return f"the loss is {'finite' if loss is None else f'{float(loss):.4g}'}, but the gradient of {lost[0][0]}" + (
            f"{others} holds {kinds_in(lost[0][1])}"
        )
    return "loss or gradients were not finite"


def lost_means(task: Any) -> list[str]:
    """The training means that this step has spoilt: they say which part of the loss it was."""
    return [f"train/{name}" for name, mean in task.train_means.items() if not torch.isfinite(torch.tensor(mean.read()))]


def rows_of(trainer: pl.Trainer, moment: Moment) -> Tensor | None:
    """The row numbers of a batch, where the loader knows any."""
    loader: Any = trainer.train_dataloader
    if not hasattr(loader, "rows_of"):
        return None
    return loader.rows_of(moment.batch_idx).cpu()


def input_facts(batch: Any, rows: Tensor | None) -> list[str]:
    """A sentence for each tensor of a batch: shape, range, and which samples are not finite."""
    if not is_plain(batch):
        return []
    named = zip(Batch._fields, batch, strict=False)
    parts = [(name, tree.items() if type(tree) is dict else [("", tree)]) for name, tree in named]
    facts = [(f"{name} {key}".strip(), t) for name, trees in parts for key, t in trees if t is not None]
    return [f"{name} {describe(t, rows)}" for name, t in facts]


def describe(values: Tensor, rows: Tensor | None = None) -> str:
    """Shape, range and mean; and where numbers are not finite, how many, and in which of these rows."""
    told = "x".join(map(str, values.shape))
    if not values.is_floating_point():
        return f"{told}, {values.min()} to {values.max()}" if values.numel() else told
    finite = values.isfinite()
    known = values[finite]
    if known.numel():
        told += f", {known.min():.4g} to {known.max():.4g}, mean {known.double().mean():.4g}"
    if bad := int((~finite).sum()):
        told += f"; {kinds_in(values)} in {bad} of {values.numel():,} numbers"
        samples = (~finite).flatten(1).any(1) if values.ndim > 1 else ~finite
        if rows is not None and len(rows) == len(samples):
            told += f", of row {numbers(rows[samples.cpu()])} of train"
    return told


def is_plain(batch: Any) -> bool:
    """Whether a batch is inputs and targets: an agent's is a block of play."""
    if not isinstance(batch, tuple | list) or not batch:
        return False
    return all(part is None or tensors(part) for part in batch)


def is_finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())


def kinds_in(values: Tensor) -> str:
    """nan, inf or both."""
    found = [name for name, test in (("nan", torch.isnan), ("inf", torch.isinf)) if bool(test(values).any())]
    return " and ".join(found) or "finite numbers"


def numbers(rows: Tensor) -> str:
    shown = ", ".join(map(str, rows[:MOST_SHOWN].tolist()))
    return f"{shown}, … ({len(rows)} in all, see {TEXT})" if len(rows) > MOST_SHOWN else shown
