"""What a run says at its end: ``results.json`` for programs, a table for people."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dlzoo.checkpoint.run_paths import to_relative
from dlzoo.config import run_files
from dlzoo.errors import short, visible
from dlzoo.utils import untrusted
from dlzoo.utils.files import replaced
from dlzoo.utils.formatting import finite, format_metric

TEXTS = ("experiment", "model", "data", "device", "precision", "commit", "status", "reason")
NUMBERS = ("seed", "num_parameters", "epochs", "steps", "skipped_steps")
TABLES = ("metrics", "seconds", "versions", "checkpoints")
MOST_NAMES = 5_000
"""In one of the tables."""


def judge(expect: Sequence[dict[str, Any]], metrics: dict[str, float]) -> list[dict[str, Any]]:
    """Each claim with what was reached; ``met`` is None where the metric was not measured.

    >>> judge([{"metric": "test/accuracy", "min": 0.9}], {"test/accuracy": 0.95})
    [{'metric': 'test/accuracy', 'min': 0.9, 'reached': 0.95, 'met': True}]
    """
    verdicts = []
    for claim in expect:
        reached = metrics.get(claim["metric"])
        met = None
        if reached is not None:
            met = reached >= claim["min"] if "min" in claim else reached <= claim["max"]
        verdicts.append({**claim, "reached": reached, "met": met})
    return verdicts


def write(run_dir: Path, results: dict[str, Any]) -> Path:
    """``results.json`` in the run folder, written whole or not at all; NaN and infinities become null.

    The paths of checkpoints start from the run folder, which may be moved.
    """
    if "checkpoints" in results:
        paths = results["checkpoints"].items()
        relative = {name: path and to_relative(Path(path).resolve(), run_dir.resolve()) for name, path in paths}
        results = results | {"checkpoints": relative}
    path = run_dir / "results.json"
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(finite(results), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return path


def read(folder: Path) -> dict[str, Any]:
    """``results.json``, each known key of the kind that a run writes; empty where there is none."""
    path = run_files.find(folder, "results.json")
    if path is None:
        return {}
    found = run_files.mapping(untrusted.read_json(path), path)
    for key in TEXTS:
        if not isinstance(found.get(key), str | None):
            run_files.refuse(path, key, found[key], "a text")
    for key in NUMBERS:
        if not run_files.is_number(found.get(key, 0)) and found[key] is not None:
            run_files.refuse(path, key, found[key], "a number")
    for key in TABLES:
        table = run_files.mapping(found.get(key, {}), path, key)
        if len(table) > MOST_NAMES:
            run_files.refuse(path, key, f"{len(table):,} names", f"at most {MOST_NAMES:,}")
        for name, value in table.items():
            is_right = run_files.is_number(value) if key in ("metrics", "seconds") else isinstance(value, str)
            if not is_right and value is not None:
                kind = "a number" if key in ("metrics", "seconds") else "a text"
                run_files.refuse(path, f"{key}.{short(name)}", value, kind)
    if not run_files.is_texts(found.get("found", [])):
        run_files.refuse(path, "found", found["found"], "a list of overrides")
    claims = found.get("expect", [])
    if not isinstance(claims, list):
        run_files.refuse(path, "expect", claims, "a list")
    for i, claim in enumerate(claims):
        check_claim(run_files.mapping(claim, path, f"expect[{i}]"), path, f"expect[{i}]")
    return found


def check_claim(claim: Mapping[str, Any], path: Path, key: str) -> None:
    """``{"metric": …, "min" or "max": …, "source", "reached", "met"}``."""
    if not isinstance(claim.get("metric"), str):
        run_files.refuse(path, f"{key}.metric", claim.get("metric"), "the name of a metric")
    bounds = [claim[name] for name in ("min", "max") if name in claim]
    if len(bounds) != 1 or not run_files.is_number(bounds[0]):
        run_files.refuse(path, key, bounds, "a number as min or as max")
    if not isinstance(claim.get("met"), bool | None):
        run_files.refuse(path, f"{key}.met", claim["met"], "true, false or null")
    if claim.get("reached") is not None and not run_files.is_number(claim["reached"]):
        run_files.refuse(path, f"{key}.reached", claim["reached"], "a number")


def versions() -> dict[str, str]:
    """Of what a figure depends on."""
    import lightning
    import torch

    import dlzoo

    return {
        "dlzoo": dlzoo.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "lightning": lightning.__version__,
    }


def commit() -> str | None:
    """The commit of the checkout that runs, with ``+changes`` if files differ from it; None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        say = ["git", "-C", str(here), "describe", "--always", "--abbrev=10", "--exclude=*", "--dirty=+changes"]
        return subprocess.run(say, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def show(results: dict[str, Any], run_dir: Path) -> None:
    """The last lines of a run: test figures, claims, the folder, and how to look at it in TensorBoard."""
    console = Console(highlight=False, soft_wrap=True)
    claimed = {claim["metric"] for claim in results["expect"]}
    measured = {
        name: value
        for name, value in results["metrics"].items()
        if name.startswith(("test/", "baseline/")) or name in claimed
    }
    seconds = results["seconds"]
    console.print()
    console.print(table(measured, results["expect"]))
    console.print(
        f"[dim]{results['epochs']} epochs in {seconds['fit']:.1f} s on {results['device']}, "
        f"{results['num_parameters']:,} parameters, seed {results['seed']}[/dim]"
    )
    shown = _short(run_dir)
    console.print(f"\nresults   {shown}\nlook      tensorboard --logdir {shown}")


def table(metrics: dict[str, Any], expect: Sequence[dict[str, Any]]) -> Table:
    """Metrics beside what is claimed of them; claims that none of them is about stand below."""
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
    """A text of somebody else's in a table of rich's."""
    return escape(visible(text, keep=""))


def _claim(claim: dict[str, Any] | None) -> tuple[str, str]:
    if claim is None:
        return "", ""
    sign, bound = (">=", claim["min"]) if "min" in claim else ("<=", claim["max"])
    mark = {True: "[green]met[/green]", False: "[red]missed[/red]", None: "?"}[claim["met"]]
    return f"{sign} {format_metric(claim['metric'], bound)} {mark}", _cell(claim.get("source", ""))


def _short(path: Path) -> str:
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
