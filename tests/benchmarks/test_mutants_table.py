"""Counts of mutants: modules are tested one at a time, and the others keep their rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import mutate


def rows(root: Path) -> list[list[object]]:
    return json.loads((root / "results" / "reliability" / "mutants.json").read_text())["rows"]


def test_rows_of_other_modules_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutate, "ROOT", tmp_path)
    old, other, new = (
        [module, 3, 3, killed, 0, 0, 3 - killed, commit]
        for module, killed, commit in (("b.py", 2, "aaaa"), ("a.py", 3, "aaaa"), ("b.py", 3, "bbbb"))
    )
    mutate.save({"b.py": old})
    mutate.save({"a.py": other})
    assert rows(tmp_path) == [other, old]
    mutate.save({"b.py": new})
    assert rows(tmp_path) == [other, new]


def test_a_reason_for_what_is_no_mutant_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hide that the module has changed since."""
    (tmp_path / "a.py").write_text("def f(x):\n    return x + 1\n")
    monkeypatch.setattr(mutate, "ROOT", tmp_path)
    monkeypatch.setitem(mutate.TESTS["explained"], "a.py", {"f: x + 1 -> x - 1": "explained: a test"})
    mutate.check_reasons("a.py")
    mutate.TESTS["explained"]["a.py"]["f: y + 1 -> y - 1"] = "explained: a test"
    with pytest.raises(SystemExit, match=r"explains what is no mutant of a\.py: f: y \+ 1 -> y - 1$"):
        mutate.check_reasons("a.py")


def test_modules_and_tests_of_the_table_exist() -> None:
    names = {path.stem.removeprefix("test_") for path in mutate.ROOT.glob("tests/**/test_*.py")}
    for module in {*mutate.TESTS["tests"], *mutate.TESTS["explained"]}:
        assert (mutate.ROOT / module).is_file()
    for module, tests in mutate.TESTS["tests"].items():
        assert {*tests.split()} <= names, module


@pytest.mark.slow
def test_all_reasons_are_of_mutants_that_exist() -> None:
    for module in mutate.TESTS["explained"]:
        mutate.check_reasons(module)
