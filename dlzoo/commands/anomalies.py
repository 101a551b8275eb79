"""``dlzoo predict`` with a checkpoint that finds anomalies: the error of each step of a file, and whether it is one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlzoo.commands import cli
from dlzoo.commands.inputs import Options, csv_style, recent
from dlzoo.errors import UserError
from dlzoo.inference.anomalies import detect
from dlzoo.inference.records import to_records

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from dlzoo.tasks.interfaces import Detecting


def records(task: Detecting, options: Options, cfg: DictConfig, source: Path | None) -> list[dict[str, Any]]:
    """A record for each step but the first, which have no whole window before them."""
    from dlzoo.specs.targets import Values

    for key in ("top_k", "pictures", "fit", "text"):
        if getattr(options, key) != getattr(Options, key):
            raise UserError(f"{key} does not apply: this checkpoint finds anomalies in {task.spec.describe()}; omit it")
    known = recent(cli.standard_input() if source is None else source, task.spec, cfg, csv_style(options, cfg))
    times, found = detect(task, known, options.input)
    return to_records(times, found, Values(("error", "anomaly")), 0)
