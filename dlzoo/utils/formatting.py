"""Formats numbers and sizes as text."""

from __future__ import annotations

import math
from pathlib import Path


def format_metric(name: str, value: float | None) -> str:
    """Fractions in percent, other values with four significant digits.

    >>> format_metric("test/accuracy", 0.98765), format_metric("test/loss", 0.012345), format_metric("rmse", 46816.2)
    ('98.77%', '0.01235', '46,816')
    """
    if value is None:
        return "-"
    if is_fraction(name):
        return f"{100.0 * value:.2f}%"  # an integer of a stranger's may be almost as large as a float can be
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def fitted(value: float, width: int) -> str:
    """A number in at most ``width`` characters, seven or more, with as many of four significant digits as fit.

    >>> fitted(-0.00058581, 8), fitted(123456789.0, 8), fitted(float("-inf"), 8)
    ('-0.00059', '1.23e+08', '-inf')
    """
    texts = [f"{value:.{digits}g}" for digits in (4, 3, 2, 1)]
    return next((text for text in texts if len(text) <= width), texts[-1])


def is_fraction(name: str) -> bool:
    """Whether a metric is displayed in percent.

    >>> [is_fraction(name) for name in ("test/accuracy", "baseline/accuracy_pca", "baseline/f1_mean", "test/loss")]
    [True, True, True, False]
    >>> [is_fraction(name) for name in ("test/precision", "val/event_recall", "test/coverage")]
    [True, True, True]
    """
    base = name.rsplit("/", 1)[-1]
    words = ("f1", "precision", "recall", "coverage")
    return any(word in words for word in base.split("_")) or any(
        part in base for part in ("accuracy", "share", "mape", "exact_match")
    )


def counted(num: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "epoch"), counted(2, "epoch")
    ('1 epoch', '2 epochs')
    """
    return f"{num} {noun}" if num == 1 else f"{num} {noun}s"


def finite(value: object) -> object:
    """Replace NaN and infinity by None, since JSON has neither."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def size_of(path: Path) -> str:
    """The size of a file in kB or MB (powers of 1000)."""
    return size_in_bytes(path.stat().st_size)


def size_in_bytes(num: int) -> str:
    """A size in kB, MB or GB (powers of 1000).

    >>> size_in_bytes(1200), size_in_bytes(3_456_000), size_in_bytes(7_890_000_000)
    ('1.2 kB', '3.5 MB', '7.9 GB')
    """
    unit, name = next((pair for pair in ((1e9, "GB"), (1e6, "MB")) if num >= pair[0]), (1e3, "kB"))
    return f"{num / unit:,.1f} {name}"
