"""What a grid says of settings that are repeated with other seeds, and how trials are ranked."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from dlzoo.sweep import record as records
from dlzoo.sweep.channel import EpochReport
from dlzoo.sweep.plots import draw, setting_bars
from dlzoo.sweep.record import Record, Trial
from dlzoo.sweep.report import settings_table


def trial(number: int, model: str, seed: int, value: float | None, tie_break: float = 0.0) -> Trial:
    words = [f"model={model}", f"seed={seed}"]
    state = "complete" if value is not None else "failed"
    metrics = {} if value is None else {"test/accuracy": value - 0.01}
    params = {"model": model, "seed": str(seed)}
    return Trial(number, words, params, state=state, value=value, tie_break=tie_break, metrics=metrics)  # type: ignore[arg-type]


def grid(*trials: Trial) -> Record:
    return Record([], "val/accuracy", "max", list(trials))


TWO = grid(
    trial(0, "mlp", 0, 0.95), trial(1, "mlp", 1, 0.97), trial(2, "lenet", 0, 0.99), trial(3, "lenet", 1, 0.80)
)  # fmt: skip


def test_settings_are_compared_by_their_mean_not_by_their_luckiest_seed() -> None:
    best, other = TWO.settings()
    assert best.words == ["model=mlp"]
    assert best.over_seeds() == pytest.approx((0.96, 0.01 * math.sqrt(2)))
    assert best.over_seeds("test/accuracy") == pytest.approx((0.95, 0.01 * math.sqrt(2)))
    assert other.mean == pytest.approx(0.895)
    won = TWO.best()
    assert won is not None
    assert won.number == 0, "the first seed of the best setting, not trial 2"


def test_a_setting_with_a_failed_seed_is_not_the_best() -> None:
    record = grid(
        trial(0, "mlp", 0, 0.9), trial(1, "mlp", 1, 0.9), trial(2, "lenet", 0, 0.99), trial(3, "lenet", 1, None)
    )
    assert [setting.words for setting in record.settings()] == [["model=mlp"], ["model=lenet"]]


def test_failed_trials_are_never_the_best() -> None:
    trials = [Trial(0, ["a=1"], {}, state="failed", value=0.1), Trial(1, ["a=2"], {}, state="complete", value=0.2)]
    best = Record([], "val/loss", "min", trials).best()
    assert best is not None
    assert best.number == 1
    assert Record([], "val/loss", "min", trials[:1]).best() is None


def test_without_repeats_trials_are_compared() -> None:
    record = grid(trial(0, "mlp", 0, 0.9), trial(1, "lenet", 0, 0.99))
    assert not record.has_repeats
    best = record.best()
    assert best is not None
    assert best.number == 1


def test_the_table_shows_means_and_deviations() -> None:
    console = Console(width=200, file=io.StringIO())
    console.print(settings_table(TWO, width=200))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "96.00 ± 1.41%" in text
    assert "95.00 ± 1.41%" in text
    assert "seed=" not in text
    assert text.index("model=mlp") < text.index("model=lenet")


def test_no_plot_has_an_axis_for_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[list[str]] = []
    monkeypatch.setattr("dlzoo.sweep.plots.parallel_coordinates", lambda record, trials, names: shown.append(names))
    monkeypatch.setattr("dlzoo.sweep.plots.importance_bars", lambda record, trials, names: shown.append(names))
    monkeypatch.setattr("dlzoo.visualization.plots.save", lambda figure, path: path.touch())
    draw(TWO, tmp_path)
    assert shown == [["model"], ["model"]]
    assert (tmp_path / "settings.png").is_file()


def test_bars_have_the_deviation_as_error() -> None:
    (ax,) = setting_bars(TWO).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["model=mlp", "model=lenet"]
    first = ax.containers[0]
    assert first.lines[0].get_xdata()[0] == pytest.approx(0.96)  # type: ignore[attr-defined]
    (segment,) = first.lines[2][0].get_segments()  # type: ignore[attr-defined]
    assert segment[1][0] - segment[0][0] == pytest.approx(2 * 0.01 * math.sqrt(2))


def test_equal_accuracies_are_ranked_by_the_loss() -> None:
    record = grid(trial(0, "a", 0, 0.9, 0.5), trial(1, "b", 0, 0.9, 0.3), trial(2, "c", 0, 0.95, 0.9))
    assert [t.number for t in record.ranked()] == [2, 1, 0]


def test_the_best_epoch_has_the_lowest_loss_of_the_highest_accuracy() -> None:
    own = Trial(0, [], {})
    for epoch, (accuracy, loss) in enumerate([(0.9, 0.5), (0.95, 0.6), (0.95, 0.4), (0.94, 0.1)], 1):
        own.add(EpochReport(epoch, 4, "val/accuracy", "max", accuracy, loss), "max")
    assert (own.value, own.tie_break, own.best_epoch) == (0.95, 0.4, 3)


def test_a_loss_that_is_lost_fails_the_trial_whatever_its_accuracy() -> None:
    own = Trial(0, [], {})
    own.add(EpochReport(1, 4, "val/accuracy", "max", 0.1, math.nan, "val/loss"), "max")
    assert (own.state, own.reason) == ("failed", "val/loss is nan in epoch 1")


def test_a_record_of_an_earlier_version_has_no_tie_break(tmp_path: Path) -> None:
    TWO.write(tmp_path)
    file = tmp_path / records.FILE
    file.write_text(file.read_text().replace('"tie_break": 0.0,', ""))
    assert [t.tie_break for t in records.read(tmp_path).trials] == [None] * 4
