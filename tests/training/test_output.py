"""What a run prints: in 80 columns, and with quiet=true."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from dlzoo.training import metrics_table
from dlzoo.training.summary import layer_table

FEW = ("trainer=cpu", "trainer.max_epochs=2", "trainer.limit_train_batches=2", "logger=none", "net.hidden=[8]")


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_layers_fit_the_terminal() -> None:
    convolution = nn.Conv2d(64, 64, (3, 3), padding=(1, 1), padding_mode="circular", bias=False)
    net = nn.Sequential(convolution, nn.ModuleDict({"a_long_name_" * 9: nn.Linear(2**16, 2**13, device="meta")}))
    for width in (80, 120):
        lines = layer_table(net, width)
        assert {len(line) for line in lines} == {width}
        assert [line.split()[-1] for line in lines] == ["36,864", "536,879,104", "536,915,968"]
    assert max(map(len, layer_table(nn.Linear(2, 2), 80))) < 80


def test_shared_parameters_are_counted_once() -> None:
    first, second = nn.Linear(4, 3), nn.Linear(4, 3)
    second.weight = first.weight
    assert [line.split()[-1] for line in layer_table(nn.Sequential(first, second), 80)] == ["15", "3", "18"]


def test_a_run_prints_lines_of_80_columns(train: Callable[..., Any], tmp_path: Path) -> None:
    """Every line but those with paths."""
    words = ("model=lstm", "data=air_passengers", "data.window=12")
    outcome = train(*words, *FEW[:-1], "callbacks=[progress,checkpoint]")
    assert outcome.code == 0, outcome.err
    lines = [line for line in outcome.out.splitlines() if not line.startswith(("results", "view"))]
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    assert sum(line.startswith("epoch ") for line in lines) == 1, "one header"
    table = [line.split() for line in lines[lines.index(next(x for x in lines if x.startswith("test "))) :]]
    assert [row[:2] for row in table[2:4]] == [["baseline", "naive"], ["baseline", "seasonal_naive"]]
    assert len({*map(len, table[2:4])}) == 1 == len(table[1]) - len(table[0]) + 1, "methods by metrics"


def test_quiet_prints_only_warnings_and_results(train: Callable[..., Any]) -> None:
    loud = train("model=mlp", *FEW, "callbacks=[progress,checkpoint]")
    outcome = train("model=mlp", *FEW, "callbacks=[progress,checkpoint]", "quiet=true")
    assert (loud.code, outcome.code) == (0, 0)
    lines = loud.out.splitlines()
    start = lines.index("")
    assert any(line.startswith("epoch") for line in lines[:start])
    first = [re.sub(r" +", " ", line).strip() for line in lines[start:]]
    quiet = [re.sub(r" +", " ", line).strip() for line in outcome.out.splitlines()]
    assert [line for line in quiet if line.startswith("test/")] == [line for line in first if line.startswith("test/")]
    assert len(quiet) == len(first)
    assert outcome.err == ""


def test_quiet_keeps_warnings(train: Callable[..., Any]) -> None:
    words = ("model=mlp", "data=iris", *FEW, "callbacks=[progress,checkpoint,table_baselines]", "optimizer.lr=1e-6")
    assert "warning: test/accuracy" in train(*words, "quiet=true").err


def test_outputs_of_one_target_stand_above_the_baselines() -> None:
    metrics = {
        "baseline/rmse_mean": 1.0,
        "baseline/r2_mean": 0.0,
        "test/loss": 1.0,
        "test/main/rmse": 0.5,
        "test/main/r2": 0.9,
        "test/auxiliary/rmse": 0.7,
    }
    rivals = metrics_table.by_method(metrics)
    assert rivals == {"mean": {"rmse": 1.0, "r2": 0.0}}
    table = metrics_table.rival_table(rivals, "wide_deep", metrics)
    rows = [*zip(*(list(column.cells) for column in table.columns), strict=True)]
    assert rows == [
        ("wide_deep main", "0.5", "0.9"),
        ("wide_deep auxiliary", "0.7", ""),
        ("baseline mean", "1", "0"),
    ]
