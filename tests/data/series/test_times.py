"""The format of times is inferred from the whole column, and asked for if several fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from small_runs import Outcome

from dlzoo.data.series.csv import CsvSeries, read_series
from dlzoo.data.series.times import read_times
from dlzoo.errors import UserError
from dlzoo.specs.frequency import check_regular, find_step, following, parse

MONTHS = pd.date_range("2010-01-01", periods=14, freq="MS")
DAYS = pd.date_range("2019-12-25", periods=20, freq="D")
YEARS = pd.date_range("1900-07-01", periods=12, freq="12MS")
HOURS = pd.date_range("2020-01-31 20:00", periods=30, freq="h")


def column(cells: object) -> pd.Series:
    return pd.Series(cells, name="when", dtype=object)


RANGES = {"month": (MONTHS, 12, "2011-03-01"), "day": (DAYS, 7, "2020-01-14"), "year": (YEARS, 1, "1912-07-01"),
          "hour": (HOURS, 24, "2020-02-02 02:00:00")}  # fmt: skip
"""By the name of the step: times, how many of them are a season, and the one that follows."""
FORMATS = {
    "month": ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%y", "%b-%y", "%B %Y", "%m/%Y", "%Y.%m", "%Y%m"),
    "day": ("%d/%m/%Y", "%m/%d/%y", "%d %b %Y", "%b %d, %Y", "%Y%m%d"),
    "year": ("%d/%m/%Y", "%m/%d/%Y"),
    "hour": ("%d/%m/%Y %H:%M", "%m/%d/%Y %I:%M %p"),
}
UNIX = {"seconds": ("hour", 10**9), "milliseconds": ("hour", 10**6), "seconds of months": ("month", 10**9)}
CASES = {
    **{f"{step}, {text}": (RANGES[step][0].strftime(text), step, *RANGES[step][1:])
       for step, texts in FORMATS.items() for text in texts},
    **{f"Unix {name}": (RANGES[step][0].as_unit("ns").astype("int64") // unit, step, *RANGES[step][1:])
       for name, (step, unit) in UNIX.items()},
    "shampoo": ([f"{i // 12 + 1}-{i % 12 + 1:02d}" for i in range(36)], "month", 12, "2004-01-01"),
    "Jan-66 to Dec-70": (pd.date_range("1966", periods=60, freq="MS").strftime("%b-%y"), "month", 12, "1971-01-01"),
    "100 ms": ([f"2020-01-01 00:00:0{i // 10}.{i % 10}00" for i in range(30)], "100 milliseconds", 10,
               "2020-01-01 00:00:03"),
    "fractional Unix seconds": ([f"1577836800.{i}" for i in range(10)], "100 milliseconds", 10, "2020-01-01 00:00:01"),
    "years": ([*range(1950, 1970)], "step", 1, "1970"),
    "steps of eight digits": ([*range(10_000_000, 10_000_020)], "step", 1, "10000020"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_format_is_inferred_with_its_step_and_season(name: str) -> None:
    cells, step_name, period, after = CASES[name]
    times = read_times(column(cells))
    step = find_step(times)
    assert (str(step), step.period) == (step_name, period)
    check_regular(times, step, "x.csv")
    assert following(times, step, 1) == [after]
    known = read_times(column([*cells][-5:]), step=step)  # recent rows of a trained model
    assert following(known, step, 1) == [after]


@pytest.mark.parametrize(
    ("cells", "first", "second"),
    [
        ([f"{i:02d}/01/2020" for i in range(1, 13)], "%m/%d/%Y", "%d/%m/%Y"),
        ([f"05/07/{1900 + i}" for i in range(12)], "%d/%m/%Y", "%m/%d/%Y"),
    ],
)
def test_several_formats_that_fit_are_asked_for(cells: list[str], first: str, second: str) -> None:
    with pytest.raises(UserError, match=r"column when: its times can be .* or .*set data.date_format=%"):
        read_times(column(cells))
    readings = [read_times(column(cells), date_format=text) for text in (first, second)]
    assert not readings[0].equals(readings[1])


def test_a_known_step_decides_between_formats() -> None:
    cells = column([f"{i:02d}/01/2020" for i in range(1, 8)])
    assert read_times(cells, step=parse("month")).iloc[-1] == pd.Timestamp("2020-07-01")
    assert read_times(cells, step=parse("day")).iloc[-1] == pd.Timestamp("2020-01-07")


def test_integers_stay_integers_for_a_model_of_steps() -> None:
    seconds = column([1_580_000_000 + 3_600 * i for i in range(5)])
    assert read_times(seconds, step=parse("3600 steps")).tolist() == seconds.tolist()


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        (["2020-01-31", "soon"], {}, "'soon' in row 2 is not a time"),
        (["0.1", "0.2", "0.3"], {}, "'0.1' in row 1 is not a time.*data.frequency=row"),
        (["31/01/2020", "02/13/2020"], {"date_format": "%d/%m/%Y"}, "'02/13/2020' in row 2 is not a time of data.date"),
        (["31/01/2020"], {"date_format": "%Q"}, r"data.date_format=%Q is not a format such as %d/%m/%Y"),
    ],
)
def test_errors(cells: list[str], options: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_times(column(cells), **options)  # type: ignore[arg-type]


def test_rows_need_no_times(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("t,v\n" + "".join(f"0.{i},{i}\n" for i in range(9)))
    assert len(read_series(tmp_path / "t.csv", frequency="row").values) == 9


def test_a_gap_is_reported_in_the_format_with_the_most_equal_steps(tmp_path: Path) -> None:
    cells = [cell for i, cell in enumerate(MONTHS.strftime("%d/%m/%Y")) if i != 6]
    (tmp_path / "t.csv").write_text("t,v\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells)))
    with pytest.raises(UserError, match="1 x month missing between 2010-06-01"):
        read_series(tmp_path / "t.csv")


def test_a_run_with_day_first_months_forecasts_the_next_ones(train: Callable[..., Outcome], tmp_path: Path) -> None:
    months = pd.date_range("2010-01-01", periods=60, freq="MS").strftime("%d/%m/%Y")
    path = tmp_path / "sales.csv"
    path.write_text("month,sales\n" + "".join(f"{m},{50 + i + 9 * (i % 12)}\n" for i, m in enumerate(months)))
    spec = CsvSeries(path=str(path)).declare()
    assert (spec.frequency, spec.period) == ("month", 12)
    asked = [f"data.path={path}", "data=series", "model=nar", "trainer.max_epochs=1", "data.date_format=%d/%m/%Y"]
    done = train(*asked, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.code == 0, done.err


@pytest.mark.parametrize("digits", ["9" * 20, "9" * 5000, "\uff11", "\u0663"], ids=["20", "5000", "wide", "arabic"])
def test_integers_that_are_no_times(digits: str) -> None:
    with pytest.raises(UserError, match=r"day"):
        read_times(pd.Series([digits] * 5, name="day"))
