"""Mean, with its interval, and standard deviation of any finite numbers.

Those of a stored record may be as large as numbers can be.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def mean(values: Sequence[float]) -> float:
    """The mean of one or more numbers.

    >>> mean([1, 2]), mean([1.5e308, 1.5e308])
    (1.5, 1.5e+308)
    """
    try:
        return statistics.fmean(values)
    except OverflowError:  # of the sum
        return float(statistics.mean(values))  # in fractions, which takes far longer


def deviation(values: Sequence[float]) -> float:
    """The standard deviation (n - 1) of one or more numbers, 0 of one; infinite if no number is as large.

    >>> deviation([1, 3]), deviation([7]), deviation([1.7e308, -1.7e308])
    (1.4142135623730951, 0.0, inf)
    """
    try:
        return statistics.stdev(values) if len(values) > 1 else 0.0
    except OverflowError:
        return math.inf


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95% bootstrap interval (percentiles of 9,999 resamples) of the mean.

    >>> interval([0.5, 0.5, 0.5])
    (0.5, 0.5)
    """
    import numpy as np
    from scipy.stats import bootstrap

    if len({*values}) == 1:
        return values[0], values[0]
    found = bootstrap((np.asarray(values),), np.mean, method="percentile", random_state=0).confidence_interval
    return float(found.low), float(found.high)
