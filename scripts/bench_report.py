"""The table of scripts/bench.py, and the machine that it was measured on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scripts.machine import cpu_name


@dataclass(frozen=True)
class Row:
    """A row of the table. ``value`` is ours / bare (unit x) or ours - bare, and is compared with ``target``."""

    name: str
    part: str
    ours: float
    bare: float
    unit: str
    value: float
    value_unit: str
    cpu_value: float | None = None
    target: float | None = None

    @property
    def met(self) -> bool | None:
        return None if self.target is None else self.value <= self.target


def environment_info() -> dict[str, Any]:
    import torch

    from dlzoo.training import results

    return {
        "machine": {"processor": cpu_name(), "cores": os.cpu_count(), "load": os.getloadavg()[0]},
        "threads": torch.get_num_threads(),
        "versions": results.versions(),
        "commit": results.commit(),
    }


def show(rows: Sequence[Row], environment: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "", "ours", "bare", "compared", "CPU time", "target", ""):
        table.add_column(heading, justify="right" if heading else "left")
    for row in rows:
        sides = (f"{side:.0f} MB" if row.unit == "MB" else f"{side:.2f} {row.unit}" for side in (row.ours, row.bare))
        ratios = (with_unit(value, row.value_unit) for value in (row.value, row.cpu_value))
        target = "" if row.target is None else f"<= {with_unit(row.target, row.value_unit)}"
        mark = {True: "[green]met[/green]", False: "[red]missed[/red]", None: ""}[row.met]
        table.add_row(row.name, row.part, *sides, *ratios, target, mark)
    machine = environment["machine"]
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(
        f"[dim]{machine['processor']}, {machine['cores']} cores (load {machine['load']:.1f}), "
        f"{environment['threads']} threads, torch {environment['versions']['torch']}, commit {environment['commit']}, "
        f"{environment['data']}, repeats={environment['repeats']}[/dim]"
    )


def with_unit(value: float | None, unit: str) -> str:
    """A ratio as 1.23x, a difference with its sign and unit."""
    if value is None:
        return ""
    return f"{value:.2f}x" if unit == "x" else f"{value:+.0f} MB" if unit == "MB" else f"{value:+.2f} {unit}"
