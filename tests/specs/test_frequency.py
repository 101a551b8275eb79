"""Time steps: inferred, checked against the rows, and extrapolated."""

from __future__ import annotations

import pandas as pd
import pytest

from dlzoo.data.series.times import read_times
from dlzoo.errors import UserError
from dlzoo.specs import frequency
from dlzoo.specs.frequency import Step, check_regular, find_step, following, parse


def times(*cells: str) -> pd.Series:
    return read_times(pd.Series(cells, name="when"))


CASES = [
    (["1949-01", "1949-02", "1949-03"], "month", 12, ["1949-04-01", "1949-05-01"]),
    (["2023-11-30", "2023-12-31", "2024-01-31"], "month", 12, ["2024-02-29", "2024-03-31"]),
    (["2023-12-30", "2024-01-30", "2024-02-29"], "month", 12, ["2024-03-30", "2024-04-30"]),
    (["2023-03-31", "2023-06-30", "2023-09-30"], "quarter", 4, ["2023-12-31", "2024-03-31"]),
    (["1999-01-01", "2000-01-01", "2001-01-01"], "year", 1, ["2002-01-01", "2003-01-01"]),
    (["2024-02-27", "2024-02-28", "2024-02-29"], "day", 7, ["2024-03-01", "2024-03-02"]),
    (["2024-01-01", "2024-01-08", "2024-01-15"], "week", 52, ["2024-01-22", "2024-01-29"]),
    (["01/12/2024", "01/13/2024", "01/14/2024"], "day", 7, ["2024-01-15", "2024-01-16"]),
    (["2024-01-01 00:00:00.8", "2024-01-01 00:00:00.9"], "100 milliseconds", 10, ["2024-01-01 00:00:01"]),
    (["2024-01-01 22:00", "2024-01-01 23:00", "2024-01-02 00:00"], "hour", 24, ["2024-01-02 01:00:00"]),
    (["2024-01-01 23:30", "2024-01-01 23:45"], "15 minutes", 96, ["2024-01-02"]),
    (["2024-01-01 00:00", "2024-01-01 00:01"], "minute", 60, ["2024-01-01 00:02:00"]),
    (["1990", "1991", "1992"], "step", 1, ["1993", "1994"]),
    (["0", "5", "10"], "5 steps", 1, ["15", "20"]),
]


@pytest.mark.parametrize(("cells", "name", "period", "after"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_a_step_is_inferred_and_extrapolated(cells: list[str], name: str, period: int, after: list[str]) -> None:
    column = times(*cells)
    step = find_step(column)
    assert (str(step), step.period) == (name, period)
    assert parse(name) == step
    check_regular(column, step, "x.csv")
    assert following(column, step, len(after)) == after
    again = frequency.times(frequency.label(column.iloc[0]), name, len(cells))
    assert [frequency.label(time) for time in again] == [frequency.label(time) for time in column]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            ["2024-01", "2024-02", "2024-04", "2024-05"],
            r"1 x month missing between 2024-02-01 \(row 2\) and 2024-04-01",
        ),
        (["2024-01", "2024-02", "2024-02", "2024-03"], r"\(row 2\) and 2024-02-01 \(row 3\) are the same month"),
        (["2024-01", "2024-03", "2024-02", "2024-04"], r"\(row 2\) is followed by the earlier 2024-02-01"),
        (["2024-02", "2024-01", "2024-02", "2024-03"], r"2024-02-01 \(row 1\) is followed by the earlier 2024-01-01"),
        (["2024-01-01", "2024-01-02", "2024-01-03 07:00", "2024-01-04"], "are not one day apart"),
        (["1", "2", "4", "5", "6"], r"1 x step missing between 2 \(row 2\) and 4 \(row 3\)"),
    ],
)
def test_errors_name_the_row(cells: list[str], message: str) -> None:
    column = times(*cells)
    with pytest.raises(UserError, match=rf"x\.csv: .*{message}"):
        check_regular(column, find_step(column), "x.csv")
    check_regular(column, Step(1, "row"), "x.csv")


def test_decreasing_times_are_unsorted() -> None:
    with pytest.raises(UserError, match="sort the rows by it"):
        find_step(times("2024-03", "2024-02", "2024-01"))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["2024-01-01", "soon"], "column when: 'soon' in row 2 is not a time"),
        (["2024-01-01", None], "row 2 has no when"),
    ],
)
def test_a_cell_that_is_not_a_time(cells: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        times(*cells)


def test_a_frequency_that_does_not_fit_the_column() -> None:
    with pytest.raises(UserError, match="column when holds integers"):
        check_regular(times("1", "2"), parse("day"), "x.csv")
    with pytest.raises(UserError, match="are the same month"):
        check_regular(times("2024-01-01", "2024-01-02"), parse("month"), "x.csv")


@pytest.mark.parametrize("text", ["moth", "0 days", "1.5 hours", "", "days 3"])
def test_an_invalid_frequency(text: str) -> None:
    with pytest.raises(UserError, match=r"data\.frequency="):
        parse(text)


def test_rows_are_extrapolated_by_index() -> None:
    assert following(times("2024-01-01", "2024-03-05"), Step(1, "row"), 2) == ["+1", "+2"]
    assert frequency.times("2024-01-01", "row", 3).tolist() == [1, 2, 3]


def test_time_zones_must_match() -> None:
    with pytest.raises(UserError, match="column when: its times are not all in one time zone; write all of them as"):
        times("2020-01-06T10+01", "2020-01-07T10+02")
