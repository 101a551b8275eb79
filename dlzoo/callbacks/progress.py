"""Output while a run trains: a table with a line for each epoch, and a progress bar within it."""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from dlzoo.callbacks.base import task_of
from dlzoo.callbacks.epoch_metrics import EpochRows
from dlzoo.callbacks.epoch_table import EpochTable, epoch_text
from dlzoo.callbacks.metrics_csv import Row
from dlzoo.errors import visible
from dlzoo.utils.output import in_notebook, terminal_width


class Progress(EpochRows, ProgressBar):
    """An `EpochTable` that is as wide as the terminal, and on a terminal or in a notebook a bar.

    The bar is refreshed by time, not by step, and only then is the loss read from the device; in between a step costs 3
    microseconds, including Lightning's call.

    Args:
        refresh_seconds: between refreshes of the bar.
    """

    def __init__(self, *, refresh_seconds: float = 0.2) -> None:
        super().__init__()
        self.refresh_seconds = refresh_seconds
        self.enabled = True
        self.bar: tqdm | None = None
        self.table: EpochTable | None = None
        self.next = float("inf")

    def enable(self) -> None:
        self.enabled = True

    def disable(self) -> None:
        self.enabled = False

    def print(self, *args: object, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.clear()
        print(*args, **kwargs)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.table = EpochTable(trainer.max_epochs, task_of(pl_module).monitor[0], terminal_width())

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if time.monotonic() >= self.next:
            text = f"loss {task_of(pl_module).running_loss:.4f}"
            name = f"epoch {epoch_text(trainer.current_epoch + 1, trainer.max_epochs)}"
            self.draw(name, batch_idx, self.total_train_batches, text)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if time.monotonic() >= self.next:
            self.draw("validation", batch_idx, trainer.num_val_batches[dataloader_idx])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        self.stop()

    def on_row(self, trainer: pl.Trainer, pl_module: pl.LightningModule, row: Row) -> None:
        if self.enabled and self.table is not None:
            print(visible("\n".join(self.table.lines(row))), flush=True)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.stop()
        super().on_exception(trainer, pl_module, exception)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start()

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if time.monotonic() >= self.next:
            self.draw("test", batch_idx, trainer.num_test_batches[dataloader_idx])

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop()

    def start(self) -> None:
        """Enable the bar, after a delay: a short epoch needs none."""
        if self.enabled and (sys.stdout.isatty() or in_notebook()):
            self.next = time.monotonic() + self.refresh_seconds

    def draw(self, name: str, batch_idx: int, total: float, text: str = "") -> None:
        if self.bar is not None and self.bar.desc != name:
            self.bar.close()
            self.bar = None
        if self.bar is None:
            known = total if total != float("inf") else None
            options = {"leave": False, "dynamic_ncols": True, "file": sys.stdout}
            self.bar = bar_class()(desc=name, total=known, initial=batch_idx + 1, **options)
        self.bar.n = batch_idx + 1
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.refresh()
        self.next = time.monotonic() + self.refresh_seconds

    def stop(self) -> None:
        self.next = float("inf")
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def bar_class() -> type[tqdm]:
    """The bar of a notebook, where ipywidgets can draw it, or that of a terminal."""
    if in_notebook() and importlib.util.find_spec("ipywidgets") is not None:
        from tqdm.notebook import tqdm_notebook

        return tqdm_notebook
    return tqdm
