"""metrics.csv and learning_curves.png."""

from __future__ import annotations

from typing import Literal, TypedDict

import lightning.pytorch as pl

from dlzoo.callbacks.epoch_metrics import EpochRows
from dlzoo.callbacks.metrics_csv import Row, cells, read_rows, write_rows
from dlzoo.callbacks.sinks import publish, run_folder, run_name
from dlzoo.utils import csv_writer as csv_files
from dlzoo.utils import state_checks
from dlzoo.utils.files import open_text
from dlzoo.visualization import curves


class Stored(TypedDict, total=False):
    """What a checkpoint holds of an epoch whose row is not written yet."""

    row: Row | None
    lr: float


class History(EpochRows):
    """A row of metrics.csv after each epoch, and the curves when the fit ends, even on an error or Ctrl-C.

    A resumed run keeps the rows of its earlier epochs; a new run in the same folder overwrites the file.

    Args:
        monitor: the metric whose best epoch is marked in the curves.
        mode: whether lower or higher is better.
    """

    def __init__(self, *, monitor: str = "val/loss", mode: Literal["min", "max"] = "min") -> None:
        self.monitor = monitor
        self.mode = mode
        self.rows: list[Row] = []
        self.columns: list[str] = []
        self.stored: Stored = {}

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, object]
    ) -> None:
        checkpoint["history"] = {"row": self.pending(trainer), "lr": float(self._lr)}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, object]
    ) -> None:
        self.stored = {**state_checks.mapping(checkpoint.get("history", {}), "history")}
        if self.stored:
            state_checks.number(self.stored.get("lr"), "history.lr")
        if (row := self.stored.get("row")) is not None:
            state_checks.counter(state_checks.mapping(row, "history.row").get("epoch"), "history.row.epoch")
            for name, value in row.items():
                state_checks.number(value, f"history.row.{name}")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._lr = float(self.stored.get("lr", self._lr))
        self.read(trainer, pl_module)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.stored:  # there was nothing left to train
            self.read(trainer, pl_module)
            self.draw(trainer)

    def read(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read the rows of the earlier epochs of a resumed run; later rows belong to an older run."""
        row, self.stored = self.stored.get("row"), {}
        if not trainer.is_global_zero:
            return
        path = run_folder(trainer) / "metrics.csv"
        stored = read_rows(path) if path.exists() else []
        self.rows = [row for row in stored if row["epoch"] <= trainer.current_epoch]
        self.columns = list(dict.fromkeys(column for row in self.rows for column in row))
        if self.rows != stored:
            write_rows(path, self.rows, self.columns)
        if row is not None and row["epoch"] not in [known["epoch"] for known in self.rows]:
            self.on_row(trainer, pl_module, row)  # the run stopped after the epoch ended and before its row was written

    def on_row(self, trainer: pl.Trainer, pl_module: pl.LightningModule, row: Row) -> None:
        if not trainer.is_global_zero:
            return
        self.rows.append(row)
        path = run_folder(trainer) / "metrics.csv"
        new = [column for column in row if column not in self.columns]
        if new or not path.exists():
            self.columns += new
            write_rows(path, self.rows, self.columns)
        else:
            with open_text(path, "a") as file:
                csv_files.Writer(file).writerow(cells(row, self.columns))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        self.draw(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        super().on_exception(trainer, pl_module, exception)
        if trainer.state.fn == "fit":
            self.draw(trainer)

    def draw(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero and self.rows:
            figure = curves.learning_curves(self.rows, (self.monitor, self.mode), heading=run_name(trainer))
            publish(trainer, "learning_curves", figure)
