"""Formats numbers and sizes as text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any


def format_metric(name: str, value: float | None, other: str = ".4g") -> str:
    """Fractions in percent, other values with four significant digits, or in another format.

    >>> format_metric("test/accuracy", 0.98765), format_metric("test/loss", 0.012345)
    ('98.77%', '0.01235')
    """
    if value is None:
        return "-"
    return f"{100 * value:.2f}%" if is_fraction(name) else f"{value:{other}}"


def is_fraction(name: str) -> bool:
    """Whether a metric is displayed in percent.

    >>> [is_fraction(name) for name in ("test/accuracy", "baseline/probe_accuracy_pca", "val/f1", "test/loss")]
    [True, True, True, False]
    """
    base = name.rsplit("/", 1)[-1]
    return base in ("f1", "exact_match") or any(part in base for part in ("accuracy", "share", "mape"))


def finite(value: Any) -> Any:
    """Replace NaN and infinity by None, since JSON has neither."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def size_of(path: Path) -> str:
    """The size of a file in kB or MB (powers of 1000)."""
    num = path.stat().st_size
    return f"{num / 1e3:,.1f} kB" if num < 1e6 else f"{num / 1e6:,.1f} MB"
