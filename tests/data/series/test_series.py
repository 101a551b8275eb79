"""Series: splits by time, windows, what is fitted on the past alone, and CSV files of one's own."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dlzoo.data.series.air_passengers import PASSENGERS, AirPassengers
from dlzoo.data.series.base import SeriesData, consecutive_windows
from dlzoo.data.series.csv import CsvSeries
from dlzoo.errors import UserError
from dlzoo.specs.plain import from_plain, to_plain
from dlzoo.specs.targets import Values


def write(path: Path, values: list[Any], start: str = "2020-01", header: str = "month,sales") -> Path:
    import pandas as pd

    times = pd.date_range(start, periods=len(values), freq="MS").strftime("%Y-%m")
    rows = [f"{time},{value}" for time, value in zip(times, values, strict=True)]
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def wave(num: int) -> list[float]:
    return [round(50 + 0.3 * t + 5 * (t % 12), 2) for t in range(num)]


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    return write(tmp_path / "sales.csv", wave(80))


def column(values: Tensor) -> list[float]:
    return values.flatten().tolist()


def test_the_embedded_passengers_are_the_published_ones(real_data_dir: Path) -> None:
    file = real_data_dir / "AirPassengers.csv"
    if not file.is_file():
        pytest.skip("AirPassengers.csv is not there")
    with file.open(newline="") as opened:
        rows = list(csv.reader(opened))[1:]
    assert [int(value) for _, value in rows] == list(PASSENGERS)
    assert rows[0][0].startswith("1949-01")


def test_splits_are_by_time() -> None:
    data = AirPassengers(window=12, differences=[], standardize=False)
    train, val, test = (data.arrays(split) for split in ("train", "val", "test"))
    assert column(test.x) == list(PASSENGERS[:132])
    assert column(test.y) == list(PASSENGERS[132:])
    assert column(val.x) == list(PASSENGERS[:120])
    assert column(val.y) == list(PASSENGERS[120:132])
    assert train.num_rows == 120 - 12
    assert column(train.y[-1:]) == [PASSENGERS[119]]  # 1958 ends the training
    for i in (0, 50, 107):
        assert column(train.x[i]) == list(PASSENGERS[i : i + 12])
        assert column(train.y[i]) == [PASSENGERS[i + 12]]


def test_training_windows_are_views_of_one_series() -> None:
    train = AirPassengers(window=48).arrays("train")
    assert train.x.untyped_storage().nbytes() < 4 * 144


def test_earlier_origins() -> None:
    data = AirPassengers(window=12, drop_last=15)
    assert column(data.arrays("test").y) == list(PASSENGERS[117:129])
    assert column(data.arrays("val").x) == list(PASSENGERS[:105])
    with pytest.raises(UserError, match=r"data\.drop_last=-1 is too small"):
        AirPassengers(drop_last=-1)
    with pytest.raises(UserError, match="has 1 rows, but 49 are required"):
        AirPassengers(window=12, drop_last=200).declare()


class Changed(AirPassengers):
    """The same up to a month, and something else from then on."""

    first_changed = 120

    def series(self) -> Any:
        series = super().series()
        values = series.values.clone()
        values[self.first_changed :] = values[self.first_changed :].flip(0) * 3 + 7
        return series._replace(values=values)


@pytest.mark.parametrize("options", [{}, {"log": True, "differences": [1, 12]}, {"consecutive": True, "batch_size": 2}])
def test_nothing_fitted_or_trained_on_looks_past_its_origin(options: dict[str, Any]) -> None:
    common: dict[str, Any] = {"window": 12, **options}
    ours, other = AirPassengers(**common), Changed(**common)
    for a, b in zip(ours.arrays("train")[:2], other.arrays("train")[:2], strict=True):
        assert torch.equal(a, b)  # type: ignore[arg-type]
    assert ours.spec == other.spec
    assert torch.equal(ours.arrays("val").x, other.arrays("val").x)
    assert not torch.equal(ours.arrays("val").y, other.arrays("val").y)
    Changed.first_changed, before = 119, Changed.first_changed  # and what is before it does count
    try:
        assert Changed(**common).arrays("train").num_rows
        moved = Changed(**common)
        moved.setup("fit")
        assert moved.spec != ours.spec
    finally:
        Changed.first_changed = before


def test_the_spec_holds_what_was_fitted_on_the_training_rows() -> None:
    data = AirPassengers(window=12, log=True, differences=[12])
    data.setup("fit")
    spec = data.spec
    logs = torch.tensor(PASSENGERS[:120], dtype=torch.double).log()
    changes = logs[12:] - logs[:-12]
    assert spec.transform.mean == pytest.approx([changes.mean().item()])
    assert spec.transform.std == pytest.approx([changes.std(correction=0).item()])
    values = torch.tensor(PASSENGERS[:120], dtype=torch.double)
    assert spec.scales == pytest.approx([(values[12:] - values[:-12]).abs().mean().item()])
    assert (spec.period, spec.frequency, spec.start) == (12, "month", "1949-01-01")
    assert from_plain(to_plain(spec)) == spec


def test_consecutive_windows_of_two_parts() -> None:
    windows = consecutive_windows(torch.arange(14.0)[:, None], window=3, num_parts=2)[..., 0]
    assert windows.tolist() == [[1, 2, 3, 4], [7, 8, 9, 10], [4, 5, 6, 7], [10, 11, 12, 13]]


def test_consecutive_batches_go_on_where_the_last_ones_ended() -> None:
    data = AirPassengers(window=6, differences=[], standardize=False, consecutive=True, batch_size=3)
    batches = list(data.train_dataloader())
    assert len(batches) == (120 - 1) // 18
    for (x, y, *_), (x_next, *_) in itertools.pairwise(batches):
        assert torch.equal(x[:, 1:], y[:, :-1])
        assert torch.equal(x_next[:, 0], y[:, -1])
    assert batches[-1][1][-1, -1].item() == PASSENGERS[119]


def test_too_few_windows_to_carry_a_state_on() -> None:
    with pytest.raises(
        UserError, match=r"data\.batch_size=16 parts of 108 steps are too short for two windows of data\.window=6"
    ):
        AirPassengers(window=6, differences=[12], consecutive=True, batch_size=16).setup("fit")


# CSV files


def test_a_csv_file_with_all_defaults(sales: Path) -> None:
    data = CsvSeries(path=str(sales))
    spec = data.declare()
    assert spec.target == Values(("sales",))
    assert (spec.frequency, spec.period, spec.window, spec.horizon) == ("month", 12, 12, 12)
    assert spec.transform.differences == (12,)
    assert column(data.arrays("test").y) == wave(80)[-12:]


def test_several_columns_in_the_order_asked_for(tmp_path: Path) -> None:
    rows = [f"2020-01-{d:02},{d},x,{d * d}" for d in range(1, 32)]
    (tmp_path / "two.csv").write_text("\n".join(["day,a,note,b", *rows]))
    data = CsvSeries(path=str(tmp_path / "two.csv"), time="day", values=["b", "a"], window=3, horizon=2, differences=[])
    assert data.declare().target.names == ("b", "a")
    assert data.declare().period == 7
    assert data.arrays("test").y[0].tolist() == [[900, 30], [961, 31]]
    assert data.arrays("train").x.shape == (31 - 4 - 3, 3, 2)
    with pytest.raises(UserError, match=r"column note, row 1 \(2020-01-01\): 'x' is not a finite number, and 30 more"):
        CsvSeries(path=str(tmp_path / "two.csv")).declare()


def broken(change: Callable[[list[str]], None]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        lines = path.read_text().splitlines()
        change(lines)
        path.write_text("\n".join(lines))

    return spoil


def swap(lines: list[str]) -> None:
    lines[5], lines[6] = lines[6], lines[5]


BROKEN: dict[str, tuple[Callable[[list[str]], Any], str]] = {
    "unsorted": (swap, r"sales\.csv: 2020-06-01 \(row 5\) is followed by the earlier 2020-05-01"),
    "double": (lambda lines: lines.insert(4, lines[3]), r"2020-03-01 \(row 3\) and 2020-03-01 \(row 4\) are the same"),
    "gap": (lambda lines: lines.pop(7), r"1 x month missing between 2020-06-01 \(row 6\) and 2020-08-01 \(row 7\)"),
    "missing": (
        lambda lines: lines.__setitem__(3, "2020-03,"),
        r"column sales, row 3 \(2020-03-01\): the value is miss",
    ),
    "marked": (lambda lines: lines.__setitem__(3, "2020-03,NA"), r"row 3 \(2020-03-01\): the value is missing"),
    "text": (lambda lines: lines.__setitem__(3, "2020-03,few"), r"'few' is not a finite number"),
    "infinite": (lambda lines: lines.__setitem__(3, "2020-03,inf"), r"'inf' is not a finite number"),
    "no time": (lambda lines: lines.__setitem__(3, "spring,5"), r"column month: 'spring' in row 3 is not a time"),
    "empty time": (lambda lines: lines.__setitem__(3, ",5"), r"row 3 has no month"),
    "short": (lambda lines: lines.__delitem__(slice(30, None)), r"has 29 rows, but 49 are required: data\.window=12"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_with_a_file_is_one_clear_line(name: str, sales: Path) -> None:
    change, message = BROKEN[name]
    broken(change)(sales)
    with pytest.raises(UserError, match=message) as error:
        CsvSeries(path=str(sales)).declare()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"values": "sale"}, r"data\.values=sale: sales\.csv has no such column; did you mean 'sales'"),
        ({"time": "moth"}, r"data\.time=moth: .*did you mean 'month'"),
        ({"values": ["month"]}, r"data\.values=\['month'\] must name at least one column"),
        ({"values": []}, r"data\.values=\[\] must name at least one column"),
        ({"frequency": "moth"}, r"data\.frequency=moth is unknown; did you mean 'month'"),
        ({"frequency": "day"}, "x day missing between"),
        ({"window": 0}, r"data\.window=0 is too small"),
        ({"differences": [0]}, r"data\.differences=\[0\] must contain lags"),
        ({"path": "sals.csv"}, r"did you mean 'sales\.csv'"),
        ({"window": 70}, r"80 rows, but 107 are required: data\.window=70"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str, sales: Path) -> None:
    path = sales.parent / options.pop("path", "sales.csv")
    with pytest.raises(UserError, match=message):
        CsvSeries(path=str(path), **options).declare()


def test_the_shortest_series_that_will_do(tmp_path: Path) -> None:
    assert CsvSeries(path=str(write(tmp_path / "a.csv", wave(49)))).arrays("train").num_rows == 1
    with pytest.raises(UserError, match="has 48 rows, but 49"):
        CsvSeries(path=str(write(tmp_path / "b.csv", wave(48)))).declare()


def test_the_logarithm_of_what_is_not_positive(tmp_path: Path) -> None:
    values = wave(80)
    values[77] = 0.0  # in the test year: a forecast would start from it one day
    path = write(tmp_path / "zero.csv", values)
    CsvSeries(path=str(path)).declare()
    with pytest.raises(
        UserError, match=r"data\.log=true requires positive values, but sales is 0 in row 78 \(2026-06-01\)"
    ):
        CsvSeries(path=str(path), log=True).declare()


def test_rows_taken_as_they_come(sales: Path) -> None:
    broken(lambda lines: lines.pop(7))(sales)
    spec = CsvSeries(path=str(sales), frequency="row", period=12).declare()
    assert (spec.frequency, spec.period, spec.window) == ("row", 12, 12)


def test_another_style_of_file(tmp_path: Path) -> None:
    rows = "".join(f"{year};{year * 2},5\n" for year in range(1950, 2000))
    (tmp_path / "years.csv").write_text("year;people\n" + rows)
    data: SeriesData = CsvSeries(path=str(tmp_path / "years.csv"), separator=";", decimal=",")
    spec = data.declare()
    assert (spec.frequency, spec.period, spec.window, spec.horizon) == ("step", 1, 12, 12)
    assert spec.transform.differences == (1,)
    assert column(data.arrays("test").y)[-1] == 1999 * 2 + 0.5
