"""A sweep's record whose numbers are as large as numbers can be, or that has very many trials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlzoo.api import page_sweep
from dlzoo.commands import best
from dlzoo.sweep import record, report, tensorboard

TRIAL: dict[str, Any] = {
    "number": 0, "words": ["seed=0"], "params": {"seed": 0}, "state": "complete", "value": 0.5, "best_epoch": 1,
    "epochs": 1, "seconds": 1.0, "reason": "", "metrics": {}, "folder": "0",
}  # fmt: skip


def stored(folder: Path, trials: list[dict[str, Any]]) -> Path:
    plain = {"words": ["model=mlp", "data=iris"], "metric": "val/loss", "mode": "min", "trials": trials}
    (folder / record.FILE).write_text(json.dumps(plain))
    return folder


def test_values_whose_sum_is_no_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    large = {"value": 1.7e308, "tie_break": 1.7e308, "seconds": 1.7e308, "metrics": {"test/loss": 1.7e308}}
    trials = [TRIAL | large | {"number": i, "words": [f"seed={i}"]} for i in range(3)]
    trials[2] |= {"metrics": {"test/loss": -1.7e308}}
    folder = stored(tmp_path, trials)
    assert "1.7e+308 ± 0" in page_sweep.of_folder(folder)
    best.show([str(folder)])
    assert "seed=0" in capsys.readouterr().out


def test_an_integer_almost_as_large_as_a_float_can_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In percent it would be larger."""
    trials = [TRIAL | {"number": i, "words": [f"net.width={i}"], "value": 2**1022} for i in range(2)]
    folder = stored(tmp_path, trials)
    plain = json.loads((folder / record.FILE).read_text()) | {"metric": "val/accuracy"}
    (folder / record.FILE).write_text(json.dumps(plain))
    report.finish(record.read(folder), folder)
    assert "inf%" in capsys.readouterr().out


def test_folders_with_names_of_event_files_are_left_alone(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "0"):
        (folder / "events.out.tfevents.1.sweep" / "notes").mkdir(parents=True)
        (folder / "events.out.tfevents.2.sweep").touch()
    tensorboard.write(record.read(stored(tmp_path, [TRIAL])), tmp_path)
    names = sorted(path.name for path in tmp_path.glob("**/events.*"))
    assert names.count("events.out.tfevents.1.sweep") == 2
    assert "events.out.tfevents.2.sweep" not in names
    assert len(names) == 3


def test_writing_a_record_takes_time_in_proportion_to_its_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of thousands of trials would otherwise look at all of them."""
    looked = []
    names = record.Record.param_names.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(record.Record, "param_names", property(lambda self: looked.append(1) or names(self)))
    record.read(stored(tmp_path, [TRIAL | {"number": i} for i in range(50)])).write(tmp_path)
    assert len(looked) < 5
