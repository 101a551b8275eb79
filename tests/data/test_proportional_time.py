"""Quadratic time makes hours of a megabyte: long cells, many spellings, rows of several lines, long keys."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from dlzoo.checkpoint.published import INNER_FOLDER
from dlzoo.config import yaml_files
from dlzoo.config.locations import refusal_reason
from dlzoo.data import categories
from dlzoo.data.csv_reader import read_table
from dlzoo.data.loaders import Arrays
from dlzoo.data.series import times
from dlzoo.data.splits import holdout, sample_per_class
from dlzoo.data.tables.csv import CsvTable
from dlzoo.data.text.csv import TextCsv
from dlzoo.errors import UserError
from dlzoo.specs.frequency import Step
from dlzoo.specs.targets import Classes, few_enough

MOST_SECONDS = 6.0
"""Each took at least twice as long, and takes a tenth now."""
MANY = 20_000


def in_time(body: Callable[[], object]) -> None:
    start = time.monotonic()
    body()
    assert time.monotonic() - start < MOST_SECONDS


def test_a_long_number_is_spelled_plainly() -> None:
    in_time(lambda: categories.plain_spelling("1." + "0" * 200_000 + "10"))
    assert categories.plain_spelling("1." + "0" * 10 + "10") == "1." + "0" * 10 + "1"


def test_many_numbers_with_two_spellings_are_merged() -> None:
    text = pd.Series([f"{i}{end}" for i in range(MANY) for end in ("", ".0")] + [None])
    in_time(lambda: categories.merge_spellings(text))
    assert categories.merge_spellings(text).nunique() == MANY


def test_many_unknown_categories_are_looked_up() -> None:
    text = pd.Series(["b", "1.0", *(f"x{i}" for i in range(2 * MANY)), "a", None])
    in_time(lambda: categories.category_indices(text, ["a", "b", "1"]))
    found = categories.category_indices(text, ["a", "b", "1"])
    assert (found[:2].tolist(), found[2:-2].max(), found[-2:].tolist()) == ([1, 2], -1, [0, -1])


@pytest.mark.parametrize("cell", ["T" * 30_000, "1" + " " * 30_000 + "x", "1/2/2020 " + "T1:11" * 6000 + "\n"])
def test_a_long_cell_is_no_time(cell: str) -> None:
    cells = pd.Series(["2020-01-01", cell, cell], name="t")

    def read() -> None:
        with pytest.raises(UserError, match="in row 2 is not a time"):
            times.read_times(cells)

    in_time(read)
    assert times.read_times(cells, step=Step(1, "row")).equals(cells)  # labels of equal steps


@pytest.mark.parametrize("reader", [CsvTable, functools.partial(TextCsv, text="text")])
def test_metrics_take_the_square_of_the_classes_which_have_a_limit(reader: Any, tmp_path: Path) -> None:
    rows = "".join(f"a text,label {i}\n" for i in range(MANY))
    (tmp_path / "many.csv").write_text("text,label\n" + rows + rows)

    def read() -> None:
        data = reader(path=str(tmp_path / "many.csv"), target="label")
        with pytest.raises(UserError, match=r"data\.target=label has 20,000 classes, but at most 4,096"):
            data.setup()

    in_time(read)
    few_enough(4096, "data.target=label")


def test_rows_of_many_classes_are_split() -> None:
    classes = Classes(tuple(map(str, range(MANY))))
    rows = Arrays(torch.zeros(4 * MANY), torch.arange(4 * MANY) // 4)
    in_time(lambda: holdout(rows, classes, 0.3, seed=0))
    kept, held = holdout(rows, classes, 0.3, seed=0)
    assert (len(held), int(rows.y[held].bincount().min()), int(rows.y[kept].bincount().min())) == (24_000, 1, 2)
    in_time(lambda: sample_per_class(rows, kept, classes, 2, seed=0))
    assert rows.y[sample_per_class(rows, kept, classes, 2, seed=0)].bincount().tolist() == [2] * MANY


def test_rows_of_several_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("text,label\n" + "".join(f'"a ""good"", long film,\nor not {i}",{i % 2}\n' for i in range(MANY)))
    in_time(lambda: read_table(path))
    path.write_text(path.read_text() + '"open,1\nb,2\n')
    with pytest.raises(UserError, match=rf"line {2 * MANY + 2}\b"):
        read_table(path)


def test_a_long_key_and_a_long_override_are_checked() -> None:
    in_time(lambda: refusal_reason("data." + "[1]" * 100_000 + "x", "v"))
    assert refusal_reason("data.mirrors[0][1]", "x")
    in_time(lambda: INNER_FOLDER.search(",~" * MANY))


@pytest.mark.parametrize("text", ["${" * 100_000, "${a}" * 100_000, "${" + "a." * 1_000_000 + "}"])
def test_references_without_end_are_refused(text: str) -> None:
    def read() -> None:
        with pytest.raises(UserError, match="references"):
            yaml_files.parse_yaml(f"x: '{text}'", "x.yaml")

    in_time(read)
