"""Every option of every group at its edges (0, -1, null, huge, of another kind), through the whole command: a run, or
one sentence; no traceback, and none that goes on without end.

``DLZOO_WRITE_RESULTS=1 pytest -m reliability tests/runs/test_option_edges.py`` writes the counts for RESULTS.md. Once
all cases have been tried, the same command tries those again that broke.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import option_edges
import pytest
import reliability_tables
from option_edges import Case

from dlzoo.commands import train

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


class Tried(NamedTuple):
    """A case that was tried, and what is wrong with how it ended; empty if nothing is."""

    case: Case
    why: str


PROGRESS = reliability_tables.ROOT / "build" / "option_edges.jsonl"
"""A line for each case that has been tried, so that the hours of all may be interrupted."""


def tried_before() -> dict[str, str]:
    """Why cases broke when they were tried first, by `key_of`."""
    if not PROGRESS.is_file():
        return {}
    lines = PROGRESS.read_text(encoding="utf-8").splitlines()
    return {entry["case"]: entry["why"] for entry in map(json.loads, lines)}


def key_of(case: Case) -> str:
    return " ".join([*case.words, f"{case.option}={case.edge}"])


def kind_of(why: str) -> str:
    """How a run ended that should not have, in a few words."""
    lines = why.strip().splitlines()
    names = [match[1] for line in lines if (match := re.match(r"(?:[\w.]+\.)?(\w*(?:Error|Exception))\b", line))]
    return names[-1] if names else lines[-1]


@pytest.mark.reliability
def test_every_option_at_its_edges(files: Path) -> None:
    PROGRESS.parent.mkdir(exist_ok=True)
    before = tried_before()
    for case in option_edges.cases():
        if key_of(case) in before:
            continue
        _, why = problem(case.argv(files))
        with PROGRESS.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"case": key_of(case), "why": why.replace(str(files), "FILES")}) + "\n")
    first = [Tried(case, tried_before()[key_of(case)]) for case in option_edges.cases()]
    now = [Tried(tried.case, problem(tried.case.argv(files))[1]) for tried in first if tried.why]
    write(first, now)
    broken = [tried for tried in now if tried.why]
    assert not broken, "\n\n".join(f"{key_of(tried.case)}: {tried.why}" for tried in broken)


def write(first: Sequence[Tried], now: Sequence[Tried]) -> None:
    """The counts for RESULTS.md, and the cases that broke.

    Args:
        first: how all cases ended.
        now: how those of them that broke ended when they were tried again.
    """
    tried, broke = Counter(case.group for case, _ in first), Counter(case.group for case, why in first if why)
    breaks = Counter(case.group for case, why in now if why)
    reliability_tables.write(
        __file__,
        "options",
        title="Options at their edges",
        columns=["options of", "tried", "broke at first", "break now"],
        rows=reliability_tables.with_total([[group, tried[group], broke[group], breaks[group]] for group in tried]),
        note="Each option at 0, -1, null, huge, tiny, and with values of other kinds: a run that ends, or one "
        "sentence; a traceback, or no end within two minutes, counts as broken. What broke at first was tried again "
        "after the mends; what held was not.",
    )
    reliability_tables.write(
        __file__,
        "options_that_broke",
        title="Options that broke at first",
        columns=["run", "option", "at first", "now"],
        rows=[
            [" ".join(case.words), f"{case.option}={case.edge}", kind_of(why), kind_of(again) if again else "holds"]
            for (case, why), (_, again) in zip((tried for tried in first if tried.why), now, strict=True)
        ],
        note="",
    )
