"""The section of RESULTS.md on reliability: a table for each file, in the order of their names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlzoo.errors import UserError
from scripts import reliability


def save(root: Path, part: str, **changes: object) -> Path:
    table = {
        "title": f"The {part}",
        "command": f"python scripts/{part}.py",
        "columns": ["fault", "noticed"],
        "rows": [["a kill", True], ["a|b", 0.25]],
        "note": "On two cores.",
    }
    return reliability.save(root, part, **(table | changes))  # type: ignore[arg-type]


def test_each_file_is_a_table(tmp_path: Path) -> None:
    assert reliability.section(tmp_path) == []
    save(tmp_path, "later", note="")
    save(tmp_path, "kills")
    assert "\n".join(reliability.section(tmp_path)) == (
        "## Reliability\n\n"
        "### The kills\n\n| fault | noticed |\n| --- | --- |\n| a kill | yes |\n| a\\|b | 0.25 |\n\n"
        "On two cores.\n\nFrom `python scripts/kills.py`.\n\n"
        "### The later\n\n| fault | noticed |\n| --- | --- |\n| a kill | yes |\n| a\\|b | 0.25 |\n\n"
        "From `python scripts/later.py`.\n"
    )


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    path = save(tmp_path, "kills", rows=[["a kill"]])
    with pytest.raises(UserError, match=r"kills.json: \['a kill'\] does not match the columns fault, noticed"):
        reliability.section(tmp_path)
    path.write_text(json.dumps({"title": "T", "columns": [], "rows": []}))
    with pytest.raises(UserError, match=r"kills.json lacks command, note"):
        reliability.section(tmp_path)
