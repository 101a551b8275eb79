"""The table of what a system reached, beside its rivals, from the stored runs of its experiments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dlzoo.config.group_files import File
from dlzoo.config.run_config import Claim
from dlzoo.config.yaml_files import CONFIG_DIR
from scripts import claims, results_table, rivals
from scripts.docs.systems import ROOT

COLUMNS = (
    "experiment",
    "metric",
    "mean [95% interval]",
    "worst of",
    "goal",
    "met",
    "strongest rival",
    "source of the goal",
)


@cache
def header(kind: str, name: str, root: Path = ROOT) -> str:
    """The comment with which a config begins, as a paragraph."""
    return File(root / "configs" / kind / f"{name}.yaml").comment


def table(experiments: Sequence[str]) -> list[str]:
    """A Markdown table with a row for each claim of each experiment that was run; empty if none was."""
    rows = [row for name in experiments for row in _rows(name)]
    if not rows:
        return []
    return [f"| {' | '.join(COLUMNS)} |", f"| {' | '.join('---' for _ in COLUMNS)} |", *rows]


def not_run(experiments: Sequence[str]) -> list[str]:
    """The experiments without stored runs."""
    return [name for name in experiments if not results_table.load(ROOT, name)["runs"]]


def _rows(name: str) -> Iterator[str]:
    store = results_table.load(ROOT, name)
    runs = results_table.claimed_runs(name, store) if store["runs"] else []
    if not runs:
        return
    seconds = [run["seconds"]["fit"] for run in runs]
    stored = rivals.load(ROOT, name)
    for claim in claims_of(name):
        metric = claim["metric"]
        if any(run["metrics"].get(metric) is None for run in runs):
            continue
        verdict = claims.judge(claim, [run["metrics"][metric] for run in runs], seconds)
        methods = results_table.baselines(metric, runs) | {**stored.get(metric, {})}
        rival = claims.strongest_rival(claim, methods)
        low, high = (results_table.formatted(metric, value) for value in (verdict.low, verdict.high))
        seeds = f"{verdict.num_seeds} seed{'s' * (verdict.num_seeds > 1)}"
        cells = [
            f"`{name}`",
            f"`{metric}`",
            f"{results_table.formatted(metric, verdict.mean)} [{low}, {high}]",
            f"{results_table.formatted(metric, verdict.worst)} ({seeds})",
            results_table.goal_cell(claim),
            verdict.text,
            results_table.rival_cell(claim, verdict.mean, rival),
            str(claim.get("source", "")),
        ]
        yield f"| {' | '.join(cells)} |"


def claims_of(name: str) -> list[Claim]:
    """The claims in an experiment's file, or in that of the experiment that it varies."""
    content = OmegaConf.load(CONFIG_DIR / "experiment" / f"{name}.yaml")
    plain: Any = OmegaConf.to_container(content, resolve=False)
    if "expect" in plain:
        return plain["expect"]
    base = [entry for entry in plain["defaults"] if isinstance(entry, str)]
    return claims_of(base[0]) if base else []
