"""Claims of experiments, judged by all seeds: an interval for the mean, the worst seed, and the strongest rival."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dlzoo.config.run_config import Claim
from dlzoo.utils.averages import interval, mean

SOURCES = ("course", "paper", "peer", "own goal")
"""What the source of a claim begins with: a figure printed in the course, one of a paper, one of another program, or a
goal of this project."""

MIN_FRACTION = 0.9
"""Of the seeds, those that must reach the goal."""

SHORT = 300
"""Seconds: a run that takes less needs `MANY` seeds, a longer one `FEW`."""
MANY, FEW = 5, 3

NOT_RIVALS = ("real",)
"""Methods among ``baseline/…`` that no model competes with: real samples have the figures of a perfect generator."""


class Verdict(NamedTuple):
    """How the seeds of an experiment stand to a claim."""

    mean: float
    low: float
    """Lower end of the 95% interval of the mean."""
    high: float
    worst: float
    num_seeds: int
    num_needed: int
    """Number of seeds that a verdict needs."""
    num_reached: int
    """Number of seeds that reach the goal, or the claim's ``each``."""
    has_enough: bool
    """Whether enough of them do."""
    is_met: bool

    @property
    def text(self) -> str:
        """yes; no, with the reason."""
        if self.is_met:
            return "yes"
        if self.num_seeds < self.num_needed:
            return f"**open**: {self.num_needed} seeds are needed"
        if self.has_enough:
            return "**no**: the interval of the mean"
        return f"**no**: {self.num_reached} of {self.num_seeds} seeds"


def judge(claim: Claim, values: Sequence[float], seconds: Sequence[float]) -> Verdict:
    """A claim is met if the 95% interval of the mean lies within the goal, and so do 90% of the seeds, or every seed
    within the claim's ``each``: of 36 test rows, 98% of a seed would be all of them.

    Args:
        values: of the claimed metric, one for each seed.
        seconds: durations of the trainings, which decide how many seeds are needed.

    >>> judge({"metric": "test/accuracy", "min": 0.9}, [0.95, 0.96, 0.95, 0.97, 0.95], [10.0] * 5).text
    'yes'
    >>> judge({"metric": "test/accuracy", "min": 0.9}, [0.99, 0.99, 0.99, 0.99, 0.72], [10.0] * 5).text
    '**no**: 4 of 5 seeds'
    >>> judge({"metric": "test/accuracy", "min": 0.9}, [0.99, 0.99, 0.99], [10.0] * 3).text
    '**open**: 5 seeds are needed'
    >>> judge({"metric": "test/accuracy", "min": 0.9, "each": 0.8}, [0.96, 0.96, 0.98, 0.97, 0.88], [10.0] * 5).text
    'yes'
    """
    low, high = interval(values)
    is_minimum = "min" in claim
    goal = goal_of(claim)
    needed = claim.get("each", goal)
    num_reached = sum(value >= needed if is_minimum else value <= needed for value in values)
    num_needed = seeds_needed(seconds)
    has_enough = num_reached >= (1 if "each" in claim else MIN_FRACTION) * len(values)
    is_met = len(values) >= num_needed and has_enough and (low >= goal if is_minimum else high <= goal)
    worst = min(values) if is_minimum else max(values)
    return Verdict(mean(values), low, high, worst, len(values), num_needed, num_reached, has_enough, is_met)


def goal_of(claim: Claim) -> float:
    """The value that a claim asks for."""
    return claim["min"] if "min" in claim else claim["max"]


def seeds_needed(seconds: Sequence[float]) -> int:
    """The number of seeds that a claim needs, by the mean duration of its runs.

    >>> seeds_needed([20.0]), seeds_needed([3000.0])
    (5, 3)
    """
    return MANY if mean(seconds) < SHORT else FEW


def strongest_rival(claim: Claim, rivals: Mapping[str, Sequence[float]]) -> tuple[str, float] | None:
    """The method with the best mean, as (name, mean); None if there is none.

    >>> strongest_rival({"metric": "test/rmse", "max": 20.0}, {"naive": [103.0], "holt_winters": [15.0, 16.0]})
    ('holt_winters', 15.5)
    """
    means = {name: mean(values) for name, values in rivals.items() if name not in NOT_RIVALS and values}
    if not means:
        return None
    name = max(means, key=lambda name: means[name]) if "min" in claim else min(means, key=lambda name: means[name])
    return name, means[name]


def loses_to(claim: Claim, mean: float, rival: tuple[str, float] | None) -> bool:
    """Whether a rival's mean is better than the model's.

    >>> 0.3 < 0.1 + 0.2, loses_to({"metric": "test/purity", "min": 0.8}, 0.3, ("kmeans", 0.1 + 0.2))
    (True, False)
    >>> loses_to({"metric": "test/purity", "min": 0.8}, 0.3, ("kmeans", 0.301))
    True
    """
    if rival is None or math.isclose(mean, rival[1], rel_tol=1e-6):
        return False
    return mean < rival[1] if "min" in claim else mean > rival[1]
