"""What a user can feed to a run: each fault gives one line that names it, or a run; never a traceback.

    DLZOO_WRITE_RESULTS=1 pytest -m 'slow or not slow' tests/runs/test_bad_input.py

also writes the faults with their outcomes to results/reliability/input.json.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import reliability_tables
from bad_input import FAULTS, PATHS, TRAINS
from small_runs import Outcome

ALIKE = [*PATHS][1:]
"""Faults whose path another takes too."""
SMOKE = ("trainer=smoke", "trainer.accelerator=cpu", "callbacks=none", "logger=none")


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, str]]:
    """By fault; written when all were met and the environment asks for it."""
    found: dict[str, str] = {}
    yield found
    if found.keys() == FAULTS.keys():
        refused = sum(said != TRAINS for said in found.values())
        reliability_tables.write(
            __file__,
            "input",
            select="-m 'slow or not slow' ",
            title="Bad input",
            columns=["fault", "outcome"],
            rows=[[name, found[name]] for name in FAULTS],
            note=f"{len(found)} faults in files given to a run: {refused} refused in one line and with exit code 2 "
            f"before anything is trained, {len(found) - refused} right results; no traceback, no hang.",
        )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in ALIKE else name for name in FAULTS]
)
def test_a_fault(name: str, train: Callable[..., Outcome], tmp_path: Path, outcomes: dict[str, str]) -> None:
    folder = tmp_path / "input"
    folder.mkdir()
    fault = FAULTS[name]
    with pytest.warns(UserWarning, match="skipped so far") if "skipped" in name else contextlib.nullcontext():
        done = train(*fault.make(folder), *SMOKE)
    if fault.outcome == TRAINS:
        assert done.code == 0, done.err
        outcomes[name] = TRAINS
        return
    assert (done.code, done.err.count("\n"), done.err[:7]) == (2, 1, "error: "), done
    assert re.search(fault.outcome, done.err), done.err
    assert len(done.err) < 1200
    assert not [*(tmp_path / "outputs").glob("*/*")], "nothing was run"
    outcomes[name] = "refused: " + done.err[7:].strip().replace(f"{folder}/", "").replace(f"{folder}", "…")[:160]
