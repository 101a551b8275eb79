"""The results of a run: what ``results.json`` holds, and its checks."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict, cast

from dlzoo.checkpoint.run_paths import to_relative
from dlzoo.config import run_files
from dlzoo.config.run_config import Claim
from dlzoo.errors import short
from dlzoo.utils import untrusted
from dlzoo.utils.files import replaced
from dlzoo.utils.formatting import finite

TEXTS = ("experiment", "model", "data", "device", "precision", "commit", "status", "reason")
NUMBERS = ("seed", "num_parameters", "epochs", "steps", "skipped_steps")
TABLES = ("metrics", "seconds", "versions", "checkpoints")
MAX_NAMES = 5_000
"""Maximum number of entries of a table."""


class Verdict(Claim, total=False):
    """A claim about a metric, and whether the run met it."""

    reached: float | None
    met: bool | None
    """None if the metric was not measured."""


class RunResults(TypedDict, total=False):
    """The contents of ``results.json``; those of a run that did not finish are incomplete."""

    model: str | None
    data: str | None
    experiment: str | None
    seed: int
    batch_size: int | None
    device: str
    precision: str
    num_parameters: int
    versions: dict[str, str]
    commit: str | None
    found: list[str]
    """Options that the run determined itself, as overrides that reproduce it."""
    seconds: dict[str, float]
    """Duration of each stage: setup, fit and test."""
    epochs: int
    steps: int
    skipped_steps: int
    metrics: dict[str, float | None]
    """Those of the last epoch and of the test; NaN and infinity are stored as null."""
    expect: list[Verdict]
    checkpoints: dict[str, str | None]
    """The paths of best and last, relative to the run folder once they are stored."""
    status: str
    """finished, interrupted or failed."""
    reason: str
    """Why the run failed."""


def judge(expect: Sequence[Claim], metrics: Mapping[str, float]) -> list[Verdict]:
    """Each claim with the value that was reached; ``met`` is None if the metric was not measured. A run is one seed, so
    that a claim's ``each`` takes the place of its goal for the mean.

    >>> judge([{"metric": "test/accuracy", "min": 0.9}], {"test/accuracy": 0.95})
    [{'metric': 'test/accuracy', 'min': 0.9, 'reached': 0.95, 'met': True}]
    """
    verdicts: list[Verdict] = []
    for claim in expect:
        reached = metrics.get(claim["metric"])
        met = None
        if reached is not None:
            goal = claim.get("each", claim.get("min", claim.get("max")))
            assert goal is not None
            met = reached >= goal if "min" in claim else reached <= goal
        verdicts.append({**claim, "reached": reached, "met": met})
    return verdicts


def write(run_dir: Path, results: RunResults) -> Path:
    """Write ``results.json`` into the run folder, atomically; NaN and infinity become null.

    The paths of checkpoints are stored relative to the run folder, which may be moved.
    """
    if "checkpoints" in results:
        paths = results["checkpoints"].items()
        relative = {name: path and to_relative(Path(path).resolve(), run_dir.resolve()) for name, path in paths}
        results = results | {"checkpoints": relative}
    path = run_dir / "results.json"
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(finite(results), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return path


def read(folder: Path) -> RunResults:
    """The contents of ``results.json``; empty if there is none.

    Raises:
        UserError: a known key has a value that no run writes.
    """
    path = run_files.find(folder, "results.json")
    if path is None:
        return {}
    content = run_files.mapping(untrusted.read_json(path), path)
    check(content, path)
    return cast(RunResults, content)  # checked above


def are_complete(results: RunResults) -> bool:
    """Whether these are all the results of a run that has finished."""
    return (
        results.get("status") == "finished"
        and "fit" in results.get("seconds", {})
        and {"epochs", "metrics"} <= {*results}
    )


def check(content: Mapping[str, object], path: Path, prefix: str = "") -> None:
    """`UserError` for the first known key, named behind ``prefix``, whose value is not what a run writes."""
    for key in TEXTS:
        if not isinstance(content.get(key), str | None):
            run_files.refuse(path, f"{prefix}{key}", content[key], "a string")
    for key in NUMBERS:
        if not run_files.is_number(content.get(key, 0)) and content[key] is not None:
            run_files.refuse(path, f"{prefix}{key}", content[key], "a number")
    for key in TABLES:
        table = run_files.mapping(content.get(key, {}), path, f"{prefix}{key}")
        if len(table) > MAX_NAMES:
            run_files.refuse(path, f"{prefix}{key}", f"{len(table):,} names", f"at most {MAX_NAMES:,}")
        for name, value in table.items():
            is_valid = run_files.is_number(value) if key in ("metrics", "seconds") else isinstance(value, str)
            if not is_valid and value is not None:
                kind = "a number" if key in ("metrics", "seconds") else "a string"
                run_files.refuse(path, f"{prefix}{key}.{short(name)}", value, kind)
    if not run_files.is_list_of_str(content.get("found", [])):
        run_files.refuse(path, f"{prefix}found", content["found"], "a list of overrides")
    claims = content.get("expect", [])
    if not isinstance(claims, list):
        run_files.refuse(path, f"{prefix}expect", claims, "a list")
    for i, claim in enumerate(claims):
        place = f"{prefix}expect[{i}]"
        check_claim(run_files.mapping(claim, path, place), path, place)


def check_claim(claim: Mapping[str, object], path: Path, key: str) -> None:
    """Check that a stored claim is a `Verdict` with either ``min`` or ``max``."""
    if not isinstance(claim.get("metric"), str):
        run_files.refuse(path, f"{key}.metric", claim.get("metric"), "the name of a metric")
    bounds = [claim[name] for name in ("min", "max") if name in claim]
    if len(bounds) != 1 or not run_files.is_number(bounds[0]):
        run_files.refuse(path, key, bounds, "a number as min or as max")
    if not isinstance(claim.get("source"), str | None):
        run_files.refuse(path, f"{key}.source", claim["source"], "a text")
    if not isinstance(claim.get("met"), bool | None):
        run_files.refuse(path, f"{key}.met", claim["met"], "true, false or null")
    if claim.get("reached") is not None and not run_files.is_number(claim["reached"]):
        run_files.refuse(path, f"{key}.reached", claim["reached"], "a number")


def versions() -> dict[str, str]:
    """Versions of the software that metrics depend on."""
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
    """The commit of the source checkout, with ``+changes`` if files differ from it; None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        command = ["git", "-C", str(here), "describe", "--always", "--abbrev=10", "--exclude=*", "--dirty=+changes"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
