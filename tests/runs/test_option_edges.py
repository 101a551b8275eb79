"""Every option of every group at its edges (0, -1, null, huge, of another kind), through the whole command: a run, or
one sentence; no traceback, and none that goes on without end.

``DLZOO_WRITE_RESULTS=1 pytest -m reliability tests/runs/test_option_edges.py`` writes the counts for RESULTS.md.
"""

from __future__ import annotations

import contextlib
import io
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import option_edges
import pytest
import reliability_tables
from option_edges import Case

from dlzoo import train

FEW = 9
MOST_SECONDS = 120
"""That a run may take; one with a limit of time takes ten."""


class NoEnd(BaseException):
    """A run that has not ended in time."""


@contextlib.contextmanager
def ending() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise NoEnd

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def problem(argv: Sequence[str]) -> tuple[int | None, str]:
    """The exit code of a run, and what is wrong with how it ended; empty if nothing is."""
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["train.py", *argv]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), ending(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train.main()
    except SystemExit as left:
        code = int(left.code or 0)
    except NoEnd:
        return None, f"not over after {MOST_SECONDS} seconds"
    except BaseException as error:
        return None, "".join(traceback.format_exception(error)[-3:])
    else:
        return None, "no exit code"
    said = err.getvalue()
    if "Traceback" in said:
        return code, said[-600:]
    if code and not any(line.startswith("error: ") for line in said.splitlines()):
        return code, f"exit code {code} without a reason: {said[-300:]}"
    return code, ""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [])
    (tmp_path / "files").mkdir()
    option_edges.write_files(tmp_path / "files")
    return tmp_path / "files"


def test_some_options_at_their_edges(files: Path) -> None:
    broken = {}
    for case in option_edges.sample(FEW):
        _, why = problem(case.argv(files))
        if why:
            broken[f"{case.option}={case.edge}"] = why
    assert not broken, "\n\n".join(f"{key}: {why}" for key, why in broken.items())


def test_the_case_that_breaks_is_counted(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(train, "main", broken)
    assert "KeyError" in problem(["seed=0"])[1]


@pytest.mark.reliability
def test_every_option_at_its_edges(files: Path) -> None:
    tried: Counter[str] = Counter()
    ran: Counter[str] = Counter()
    broken: list[tuple[Case, str]] = []
    for case in option_edges.cases():
        code, why = problem(case.argv(files))
        tried[case.group] += 1
        ran[case.group] += code == 0
        if why:
            broken.append((case, why))
            print(*case.argv(files), why, sep="\n", flush=True)
    wrong = Counter(case.group for case, _ in broken)
    reliability_tables.write(
        __file__,
        "options",
        title="Options at their edges",
        columns=["options of", "tried", "ran", "broken"],
        rows=reliability_tables.with_total([[g, tried[g], ran[g], wrong[g]] for g in sorted(tried)]),
        note="Each option at 0, -1, null, huge, tiny, and with values of other kinds: a run that ends, or one "
        "sentence; a traceback or a run without end counts as broken.",
    )
    assert not broken
