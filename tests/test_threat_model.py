"""docs/threat-model.md is true: each test that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_test_that_is_named_exists() -> None:
    named = 0
    for line in (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8").splitlines():
        file = ""  # `::test_b` behind `tests/test_a.py::test_a` is a test of the same file
        for path, test in re.findall(r"`(tests/[\w/]+\.py)?(?:::(\w+))?`", line):
            file = path or file
            if file:
                text = (ROOT / file).read_text(encoding="utf-8")
                assert not test or f"\ndef {test}(" in text, f"{file} has no {test}"
                named += 1
    assert named > 50
