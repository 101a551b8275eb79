"""How the records of a prediction are written, as CSV and as a table."""

from __future__ import annotations

import csv
import io
from typing import Any

import torch

from dlzoo.commands import records
from dlzoo.inference.records import to_records
from dlzoo.specs.targets import Classes, Values


def test_a_class_name_is_no_formula_and_no_command_of_the_terminal() -> None:
    names = ("=cmd|' /C calc'!A0", "\x1b]0;owned\x07", "-0.5")
    found: list[Any] = [{"input": "@x.png", "predictions": [{"class": name, "probability": 0.5} for name in names]}]
    first, second = csv.reader(io.StringIO(records.render(found, "csv")))
    assert first[0] == "input"
    assert second[:4] == ["'@x.png", "'=cmd|' /C calc'!A0", "0.5", "\x1b]0;owned\x07"]
    assert second[5] == "-0.5"
    assert "\x1b" not in records.render(found, "table")


def test_units() -> None:
    target = Values(("price", "input"), ("100,000 $", ""))
    found = to_records(["x"], torch.tensor([[1.25, -3.0]]), target, 3)
    assert found == [
        {"input": "x", "values": {"price": 1.25, "input": -3.0}, "units": {"price": "100,000 $", "input": ""}}
    ]
    assert records.render(found, "table").split("\n")[0].split() == ["input", "price", "(100,000", "$)", "input"]
    assert records.render(found, "csv") == "input,price,input\nx,1.25,-3.0\n"


def test_a_long_name_is_not_cut() -> None:
    name = "long/" * 60 + "x.png"
    found = to_records([name], torch.tensor([[0.75, 0.25]]), Classes(("yes", "no")), 1)
    assert records.render(found, "table").splitlines()[1].split() == [name, "yes", "75.00%"]
