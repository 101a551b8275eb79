"""The table that a run prints while it trains."""

from __future__ import annotations

from dlzoo.callbacks.epoch_table import EpochTable

SEEN = {"epoch": 3, "step": 1, "seconds": 1.23, "lr": 0.1, "train/loss": 0.12341}


def test_a_header_once_then_columns() -> None:
    table = EpochTable(20, "val/accuracy", 80)
    row = SEEN | {"val/f1": 0.5, "val/accuracy": 0.971, "val/loss": 0.11}
    assert table.lines(row) == [
        "          train  val ------------------------",
        "epoch      loss      loss  accuracy        f1  seconds",
        " 3/20    0.1234    0.1100    97.10%    50.00%      1.2",
    ]
    assert table.lines(row | {"epoch": 12, "val/loss": 1e-5, "val/f1": 1.0}) == [
        "12/20    0.1234     1e-05    97.10%   100.00%      1.2"
    ]


def test_without_validation_and_without_an_end() -> None:
    row = {"epoch": 3, "step": 1, "seconds": 0.04, "lr": 0.1, "train/loss": 0.5, "train/accuracy": 0.9}
    header, names, line = EpochTable(-1, "val/accuracy", 80).lines(row)
    assert header == "       train ------------"
    assert (names.split(), line.split()) == (
        ["epoch", "loss", "accuracy", "seconds"],
        ["3", "0.5000", "90.00%", "0.0"],
    )


def test_metrics_of_a_later_epoch_give_a_new_header() -> None:
    """With a validation every second epoch: one header for each kind of epoch, not one an epoch."""
    table = EpochTable(4, "val/loss", 80)
    unseen, validated = SEEN | {"train/accuracy": 0.5}, SEEN | {"val/loss": 2.0}
    assert [len(table.lines(row)) for row in (unseen, validated, unseen, validated)] == [3, 3, 1, 1]
    assert table.lines(unseen)[-1].split() == ["3/4", "0.1234", "-", "1.2"]


def test_named_outputs_fit_80_columns() -> None:
    """Two outputs with four metrics each: what has no space is named, and the monitored output is shown first."""
    names = [f"val/{output}/{name}" for output in ("auxiliary", "main") for name in ("loss", "mae", "r2", "rmse")]
    table = EpochTable(20, "val/main/rmse", 80)
    lines = table.lines(SEEN | {"val/loss": 123456.7} | dict.fromkeys(names, -0.00058581))
    assert max(map(len, lines)) <= 80
    assert lines[0].split()[::2] == ["train", "val/main"]
    assert lines[1].split() == ["epoch", "loss", "loss", "loss", "rmse", "mae", "r2", "seconds"]
    assert " ".join(lines[2:-1]) == f"(no space for {', '.join(names[:4])})"
    assert lines[-1].split() == ["3/20", "0.1234", "123,457", *["-0.00059"] * 4, "1.2"]
    wide = EpochTable(20, "val/main/rmse", 200).lines(SEEN | dict.fromkeys(names, 1.0))
    assert len(wide) == 3


def test_a_long_name_of_an_output_widens_its_column() -> None:
    name = "a_long_name_of_a_target"
    lines = EpochTable(20, "val/loss", 80).lines(SEEN | {f"val/{name}/loss": 1.5})
    assert len(lines[1]) == len(lines[2])
    assert lines[0].endswith(f"val/{name}")


def test_a_fraction_above_one_stays_a_percentage() -> None:
    assert EpochTable(20, "val/loss", 80).lines(SEEN | {"val/mape": 1234.567})[-1].split()[2] == "1.2e+05%"
