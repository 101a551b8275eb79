"""TensorBoard's HPARAMS tab over a sweep folder: one experiment that knows what all its runs chose and reached."""

from __future__ import annotations
from pathlib import Path
from dlzoo.sweep.record import Record

def write(record: Record, folder: Path) -> None:
    pass
