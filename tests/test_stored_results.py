"""Files in results/ of a stranger become text of RESULTS.md only if the scripts could have written them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dlzoo.errors import UserError
from scripts import export_matrix, results_table


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "latin"])
def test_a_benchmark_is_a_text_file_of_the_results(kind: str, tmp_path: Path) -> None:
    """What a link leads to would be published."""
    path = tmp_path / "results" / "a.md"
    path.parent.mkdir()
    (tmp_path.parent / "secret").write_text("secret")
    {
        "link": lambda: path.symlink_to(tmp_path.parent / "secret"),
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "latin": lambda: path.write_bytes(b"\xff"),
    }[kind]()
    with pytest.raises(UserError, match=r"results/a\.md"):
        results_table.write_table(tmp_path)
    assert not (tmp_path / "RESULTS.md").exists()


RELIABILITY = {"title": "a", "command": "b", "columns": ["c"], "rows": [["d"]], "note": ""}
SEARCHES: dict[str, Any] = {
    "metric": "val/accuracy", "told": "a",
    "runs": [{
        "method": "a", "trials": 1, "epochs": 1, "value": 0.5, "test/accuracy": 0.5, "seconds": 1.0, "versions": {},
        "device": "gpu", "commit": "c",
    }],
}  # fmt: skip
MATRIX: dict[str, Any] = {
    "runs": {"mlp": {"data": "iris", "commit": "c"} | {key: {"difference": 0.0} for key in export_matrix.FORMATS}},
    "not_run": None, "versions": {},
}  # fmt: skip
OF_OTHER_SCRIPTS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "reliability/a.json": (
        RELIABILITY,
        [
            [], "", *(RELIABILITY | part for part in (
                {"title": None}, {"title": "<script>"}, {"title": "a\n# b"}, {"title": "![a](http://b)"}, {"note": 7},
                {"columns": 7}, {"columns": [7]}, {"rows": "ab"}, {"rows": [7]},
            )),
        ],
    ),
    "searches.json": (
        SEARCHES,
        [
            [], {}, *(SEARCHES | part for part in ({"runs": []}, {"runs": "ab"}, {"told": 7}, {"told": "<img src=b>"})),
            *(SEARCHES | {"runs": [SEARCHES["runs"][0] | part]} for part in ({"value": "a"}, {"versions": 7})),
        ],
    ),
    f"{export_matrix.NAME}.json": (
        MATRIX,
        [
            {"runs": MATRIX["runs"]}, *(MATRIX | {"runs": {"mlp": row}} for row in (7, {}, MATRIX["runs"]["mlp"] | {
                "onnx": {}
            }, MATRIX["runs"]["mlp"] | {"onnx": {"difference": "a"}}, MATRIX["runs"]["mlp"] | {"onnx": 7})),
            MATRIX | {"versions": 7}, MATRIX | {"versions": {"<script>": "1"}},
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_OTHER_SCRIPTS)
def test_forged_results_of_the_other_scripts_are_a_sentence(name: str, tmp_path: Path) -> None:
    good, forged = OF_OTHER_SCRIPTS[name]
    path = tmp_path / "results" / name
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(good))
    results_table.write_table(tmp_path)
    before = (tmp_path / "RESULTS.md").read_text()
    for text in ("{", "[" * 100_000, "1" * 5000, *map(json.dumps, forged)):
        path.write_text(text)
        with pytest.raises(UserError, match=path.name):
            results_table.write_table(tmp_path)
    assert (tmp_path / "RESULTS.md").read_text() == before
