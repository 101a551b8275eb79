"""The metrics of a run as tables, next to those of baselines and to what was claimed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dlzoo.errors import visible
from dlzoo.training.results import RunResults, Verdict
from dlzoo.utils.formatting import counted, format_metric


def show(results: RunResults, run_dir: Path) -> None:
    """Print test metrics, claims, the run folder, and how to view it in TensorBoard."""
    console = Console(highlight=False, soft_wrap=True)
    claimed = {claim["metric"] for claim in results["expect"]}
    measured = {
        name: value
        for name, value in results["metrics"].items()
        if name.startswith(("test/", "baseline/")) or name in claimed
    }
    seconds = results["seconds"]
    rivals = by_method(measured)
    console.print()
    if rivals:
        console.print(rival_table(rivals, results["model"] or "net", measured))
        console.print()
        compared = {f"baseline/{metric}_{method}" for method, metrics in rivals.items() for metric in metrics}
        compared |= {
            f"test/{name}" for metrics in rivals.values() for name in _tested(measured) if _base(name) in metrics
        }
        measured = {name: value for name, value in measured.items() if name not in compared - claimed}
    console.print(table(measured, results["expect"]))
    console.print(
        f"[dim]{counted(results['epochs'], 'epoch')} in {seconds['fit']:.1f} s on {results['device']}, "
        f"{results['num_parameters']:,} parameters, seed {results['seed']}[/dim]"
    )
    shown = _cell(_short(run_dir))
    console.print(f"\nresults   {shown}\nview      tensorboard --logdir {shown}")


def by_method(metrics: Mapping[str, float | None]) -> dict[str, dict[str, float | None]]:
    """What baselines reached in the metrics of the test, by method and metric.

    Of a net with several outputs for the one target, ``test/main/mae`` is compared with ``baseline/mae_mean``.

    >>> by_method({"baseline/mae_mean": 2.0, "test/mae": 1.0, "test/loss": 0.1})
    {'mean': {'mae': 2.0}}
    """
    tested = {_base(name) for name in _tested(metrics)}
    methods: dict[str, dict[str, float | None]] = {}
    for name, value in metrics.items():
        baseline = name.removeprefix("baseline/")
        known = [metric for metric in tested if baseline.startswith(f"{metric}_")]
        if name.startswith("baseline/") and known:
            metric = max(known, key=len)
            methods.setdefault(baseline.removeprefix(f"{metric}_"), {})[metric] = value
    return methods


def rival_table(
    rivals: Mapping[str, Mapping[str, float | None]], model: str, metrics: Mapping[str, float | None]
) -> Table:
    """`rival_rows` for the terminal, those of the net in bold."""
    names, rows = rival_rows(rivals, model, metrics)
    lines = Table(box=None, pad_edge=False, header_style="dim")
    lines.add_column("test", overflow="fold")
    for metric in names:
        lines.add_column(_cell(metric), justify="right", no_wrap=True)
    for row in rows:
        lines.add_row(*map(_cell, row), style=None if row[0].startswith("baseline ") else "bold")
    return lines


def rival_rows(
    rivals: Mapping[str, Mapping[str, float | None]], model: str, metrics: Mapping[str, float | None]
) -> tuple[list[str], list[list[str]]]:
    """The names of metrics, and rows of cells: the net's test metrics, of each of its outputs, then those of the
    baselines, which may have its name: linear and the method linear.

    Args:
        rivals: by method and metric, see `by_method`.
        metrics: of the run, by their whole names.
    """
    names = list(dict.fromkeys(metric for own in rivals.values() for metric in own))
    tested, rows = _tested(metrics), []
    for output in dict.fromkeys(name.rpartition("/")[0] for name in tested if _base(name) in names):
        own = {_base(name): value for name, value in tested.items() if name.rpartition("/")[0] == output}
        rows.append([f"{model} {output}".rstrip(), *_cells(own, names)])
    rows += [[f"baseline {method}", *_cells(reached, names)] for method, reached in rivals.items()]
    return names, rows


def _tested(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    """The metrics of the test without their prefix."""
    return {name.removeprefix("test/"): value for name, value in metrics.items() if name.startswith("test/")}


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _cells(metrics: Mapping[str, float | None], names: Sequence[str]) -> list[str]:
    return [format_metric(name, metrics[name]) if name in metrics else "" for name in names]


def table(metrics: Mapping[str, float | None], expect: Sequence[Verdict]) -> Table:
    """Metrics with the claims about them, followed by claims about metrics that were not measured."""
    lines = Table(show_header=bool(expect), box=None, pad_edge=False, header_style="dim")
    for heading in ("metric", "reached", "expected", "source"):
        lines.add_column(heading, justify="right" if heading == "reached" else "left")
    claims = {claim["metric"]: claim for claim in expect}
    for name, value in metrics.items():
        lines.add_row(_cell(name), format_metric(name, value), *_claim(claims.get(name)))
    for name, claim in claims.items():
        if name not in metrics:
            lines.add_row(_cell(name), "not measured", *_claim(claim))
    return lines


def _cell(text: object) -> str:
    """Untrusted text for a cell of a rich table."""
    return escape(visible(text, keep=""))


def _claim(claim: Verdict | None) -> tuple[str, str]:
    if claim is None:
        return "", ""
    sign, bound = (">=", claim["min"]) if "min" in claim else ("<=", claim["max"])
    bound = claim.get("each", bound)  # a run is one seed
    mark = {True: "[green]met[/green]", False: "[red]missed[/red]", None: "?"}[claim["met"]]
    return f"{sign} {format_metric(claim['metric'], bound)} {mark}", _cell(claim.get("source", ""))


def _short(path: Path) -> str:
    relative = os.path.relpath(path)
    return relative if relative != "." and len(relative) < len(str(path)) else str(path)
