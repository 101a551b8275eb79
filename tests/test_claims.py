"""Claims: where their figures come from, and that no mean hides a failed seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from dlzoo.config import groups
from dlzoo.config.yaml_files import CONFIG_DIR
from dlzoo.training import results
from scripts import claims

EXPERIMENTS = groups.names()["experiment"]
COURSE: dict[str, dict[str, float]] = yaml.safe_load(
    (Path(__file__).parent / "course_figures.yaml").read_text(encoding="utf-8")
)

ACCURACY: Any = {"metric": "test/accuracy", "min": 0.95}
RMSE: Any = {"metric": "test/rmse", "max": 15.8}


def claims_of(name: str) -> list[dict[str, Any]]:
    """The claims in an experiment's own file."""
    file: Any = OmegaConf.to_container(OmegaConf.load(CONFIG_DIR / "experiment" / f"{name}.yaml"))  # type: ignore[arg-type]
    return file.get("expect", [])  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_source_says_whose_figure_it_is(name: str) -> None:
    course = COURSE.get(name, {})
    claimed = set()
    for claim in claims_of(name):
        assert str(claim.get("source")).startswith(claims.SOURCES), claim
        if claim["source"].startswith("course"):
            assert claim.get("min", claim.get("max")) == course.get(claim["metric"]), claim
            claimed.add(claim["metric"])
    assert claimed == {*course}, "figures of the course that are not claimed"


def test_the_figures_of_the_course_are_of_experiments() -> None:
    assert {*COURSE} <= {*EXPERIMENTS}


def test_one_failed_seed_of_ten_is_allowed_and_two_are_not() -> None:
    one = [1.0] * 9 + [0.9]
    assert claims.judge(ACCURACY, one, [10.0] * 10).is_met
    verdict = claims.judge(ACCURACY, [1.0] * 8 + [0.94, 0.94], [10.0] * 10)
    assert not verdict.is_met
    assert verdict.low > 0.95, "the mean alone would do"
    assert verdict.text == "**no**: 8 of 10 seeds"


def test_a_mean_above_the_goal_whose_interval_is_not_is_not_met() -> None:
    values = [0.951, 0.951, 0.951, 0.951, 0.951, 0.951, 0.951, 0.951, 0.951, 0.943]
    verdict = claims.judge(ACCURACY, values, [10.0] * 10)
    assert verdict.mean > 0.95
    assert verdict.num_reached == 9
    assert verdict.low < 0.95
    assert not verdict.is_met


def test_where_each_seed_has_a_bound_the_goal_is_that_of_the_mean() -> None:
    claim: Any = ACCURACY | {"each": 0.9}
    values = [1.0, 0.97, 1.0, 0.94, 1.0, 1.0, 1.0, 0.97, 1.0, 1.0]
    assert claims.judge(claim, values, [10.0] * 10).is_met, "each seed is held to 0.9, not to 0.95"
    verdict = claims.judge(claim, [*values, 0.89], [10.0] * 11)
    assert not verdict.is_met, "one of eleven is not excused"
    assert verdict.low > 0.95
    assert verdict.text == "**no**: 10 of 11 seeds"
    assert claims.judge(claim, [0.94] * 10, [10.0] * 10).text == "**no**: the interval of the mean"
    assert [results.judge([claim], {"test/accuracy": value})[0]["met"] for value in (0.91, 0.89)] == [True, False]


def test_errors_are_judged_by_the_upper_end_and_the_largest() -> None:
    verdict = claims.judge(RMSE, [12.0, 13.0, 14.0, 15.0, 15.5], [10.0] * 5)
    assert verdict.is_met
    assert verdict.worst == 15.5
    assert 12 < verdict.low < verdict.mean < verdict.high < 15.5
    assert not claims.judge(RMSE, [15.7, 15.7, 15.7, 15.7, 15.95], [10.0] * 5).is_met


@pytest.mark.parametrize(("seconds", "num"), [(299.0, 5), (301.0, 3)])
def test_long_runs_need_fewer_seeds(seconds: float, num: int) -> None:
    for num_seeds in (num - 1, num):
        verdict = claims.judge(ACCURACY, [0.99] * num_seeds, [seconds] * num_seeds)
        assert verdict.is_met == (num_seeds == num)
        assert ("needed" in verdict.text) == (num_seeds < num)


def test_the_interval_is_that_of_the_mean() -> None:
    """Against the normal approximation, for many values."""
    values = [0.9 + 0.001 * (i % 17) for i in range(400)]
    mean = sum(values) / len(values)
    error = (sum((value - mean) ** 2 for value in values) / 399 / 400) ** 0.5
    low, high = claims.interval(values)
    assert low == pytest.approx(mean - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.1 * error)
    assert claims.interval(values) == (low, high)


def test_real_samples_are_no_rival_and_a_rival_may_win() -> None:
    rivals = {"real": [0.99], "logistic": [0.96, 0.98], "majority": [0.4, 0.4]}
    rival = claims.strongest_rival(ACCURACY, rivals)
    assert rival == ("logistic", pytest.approx(0.97))
    assert claims.loses_to(ACCURACY, 0.96, rival)
    assert not claims.loses_to(ACCURACY, 0.98, rival)
    assert claims.loses_to(RMSE, 16.0, claims.strongest_rival(RMSE, {"naive": [103.0], "ces": [14.6]}))
    assert claims.strongest_rival(ACCURACY, {"real": [0.99]}) is None
