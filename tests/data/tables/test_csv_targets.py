"""What the target of a CSV file is: classes, values or several labels, by its columns or as the user says."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from house_tables import Make, houses, maker, split_rows

from dlzoo.errors import UserError
from dlzoo.specs.plain import from_plain, to_plain
from dlzoo.specs.targets import Classes, Labels, Values


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return maker(tmp_path)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("kind", Classes(("flat", "house"))),
        ("label", Classes(("0", "1", "2", "3"))),
        ("price", Values(("price",))),
        (["price", "tax"], Values(("price", "tax"))),
    ],
)
def test_the_target_says_classes_or_values(make: Make, target: Any, expected: Any) -> None:
    data = make(houses(), target=target)
    assert data.declare().target == expected
    rows = split_rows(data, houses(), "train")
    y = houses().loc[rows, target]
    if isinstance(expected, Classes):
        assert [expected.names[i] for i in data.arrays("train").y] == y.tolist()
    else:
        assert np.allclose(data.arrays("train").y.numpy(), y.to_numpy().reshape(len(y), -1))


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([True, False] * 30, ("False", "True")),
        ([10, 9, 100] * 20, ("9", "10", "100")),
        (["10", "9", "x"] * 20, ("10", "9", "x")),
        (["01", "02"] * 30, ("01", "02")),
        (list(range(20)) * 3, tuple(map(str, range(20)))),
        (list(range(21)) * 3, None),
        (list(range(20)), None),
        ([0.5, 1.0] * 30, None),
    ],
)
def test_rule_for_classes(make: Make, values: list[Any], names: tuple[str, ...] | None) -> None:
    text = pd.DataFrame({"a": range(len(values)), "y": values}).to_csv(index=False)
    target = make(text, target="y").declare().target
    assert (target.names if isinstance(target, Classes) else None) == names
    assert isinstance(make(text, target="y", problem="classification" if names else "regression").declare().target,
                      type(target))  # fmt: skip


def test_problem_overrides_the_rule(make: Make) -> None:
    assert make(houses(), target="label", problem="regression").declare().target == Values(("label",))
    table = houses().assign(price=[1.5, 2.5] * 30)
    assert make(table, problem="classification").declare().target == Classes(("1.5", "2.5"))


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("yes", "no"), ("True", "False"), ("1.0", "0.0"), ("YES", "No")])
def test_several_columns_of_yes_and_no_are_labels(make: Make, yes: str, no: str) -> None:
    table = houses()
    spam, urgent = [i % 3 == 0 for i in range(60)], [i % 5 == 0 for i in range(60)]
    table["tax"], table["kind"] = ([yes if each else no for each in column] for column in (spam, urgent))
    data = make(table, target=["tax", "kind"])
    data.setup()
    rows = split_rows(data, table, "train")
    assert data.arrays("train").y.tolist() == [[float(spam[i]), float(urgent[i])] for i in rows]
    counts = (sum(spam[i] for i in rows), sum(urgent[i] for i in rows))
    assert data.spec.target == Labels(("tax", "kind"), counts=counts)
    assert from_plain(to_plain(data.spec)) == data.spec


def test_labels_may_be_taken_as_numbers(make: Make) -> None:
    table = houses()
    table["tax"], table["kind"] = [i % 2 for i in range(60)], [i % 3 // 2 for i in range(60)]
    assert make(table, target=["tax", "kind"], problem="regression").declare().target == Values(("tax", "kind"))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            [i % 7 / 2 for i in range(60)],
            "tax contains yes/no labels, but kind contains '0.5'; give columns of one kind",
        ),
        (["yes"] * 60, "data.target=kind is yes in all rows: there is nothing to learn"),
    ],
)
def test_columns_that_are_not_all_labels_are_refused(make: Make, column: list[Any], message: str) -> None:
    table = houses()
    table["tax"], table["kind"] = [i % 2 for i in range(60)], column
    with pytest.raises(UserError, match=message):
        make(table, target=["tax", "kind"]).declare()


def test_a_test_row_with_another_answer_is_refused(make: Make, tmp_path: Path) -> None:
    table = houses()
    table["tax"], table["kind"] = [i % 2 for i in range(60)], ["yes", "no"] * 30
    other = table.copy()
    other.loc[4, "kind"] = "perhaps"
    other.to_csv(tmp_path / "test.csv", index=False)
    data = make(table, target=["tax", "kind"], test_path=str(tmp_path / "test.csv"))
    with pytest.raises(
        UserError, match=r"data.target=kind contains 'perhaps' \(row 5\), but labels must be one of yes, no"
    ):
        data.load("test")
