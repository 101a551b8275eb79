"""However often a run is killed and started again, it is the run that was never stopped, bit for bit.

``DLZOO_WRITE_RESULTS=1 pytest -m reliability tests/runs/test_kills.py`` writes the counts for RESULTS.md.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import reliability_tables
from killing import FAMILIES, PHASES, differences, finish, kill_while, left_by, words_of

pytestmark = pytest.mark.reliability

SERIES = ("training", "saving", "starting", "validating", "saving", "training", "testing")
"""What a run is doing when it is killed for the first time, the second time, …; then it may end."""
LONGEST = {"starting": 0.3, "training": 0.3, "validating": 0.02, "saving": 0.006, "testing": 0.02}
"""Up to so many seconds later; by then it may be doing something else."""


@pytest.fixture(scope="module")
def counts() -> Iterator[dict[str, tuple[Counter[str], int]]]:
    """For each family: kills by what the run was doing, and how many runs were compared."""
    counted: dict[str, tuple[Counter[str], int]] = {}
    yield counted
    if counted.keys() != FAMILIES.keys():
        return
    stored = counted.items()
    phases = [name for name in PHASES if any(kills[name] for kills, _ in counted.values())]
    rows = [[name, kills.total(), *(kills[phase] for phase in phases), runs, True] for name, (kills, runs) in stored]
    reliability_tables.write(
        __file__,
        "kills",
        title="Killed and continued",
        columns=["family", "kills", *(f"while {name}" for name in phases), "runs", "identical"],
        rows=reliability_tables.with_total(rows),
        note="SIGKILL at random moments, each time followed by the same command with `resume=auto`. Identical: the "
        "weights, optimizer, schedule, random state, metrics and the rows of metrics.csv are, bit for bit, those of a "
        "run that was never killed. On the CPU with `deterministic=true`.",
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_killed_runs_end_as_the_run_that_was_never_killed(
    family: str, tmp_path: Path, counts: dict[str, tuple[Counter[str], int]]
) -> None:
    words, draw, kills, runs = words_of(family), random.Random(family), Counter[str](), 0
    assert finish(tmp_path / "whole", words) == 0, (tmp_path / "whole" / "log.txt").read_text()
    expected = left_by(tmp_path / "whole")
    while kills.total() < 13:
        folder = tmp_path / str(runs)
        folder.mkdir()
        for target in SERIES:
            doing = kill_while(target, folder, [*words, "resume=auto"], draw.uniform(0, LONGEST[target]))
            if doing is None:
                break
            kills[doing] += 1
        assert finish(folder, [*words, "resume=auto"]) == 0, (folder / "log.txt").read_text()
        assert differences(expected, left_by(folder)) == []
        runs += 1
        assert runs < 6, f"only {kills.total()} kills hit a live run"
    counts[family] = kills, runs
