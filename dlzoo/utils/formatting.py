"""Numbers and sizes as text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


def format_metric(name: str, value: float | None) -> str:
    """Shares in percent, the rest with four digits.

    >>> format_metric("test/accuracy", 0.98765), format_metric("test/loss", 0.012345)
    ('98.77%', '0.01235')
    """
    if value is None:
        return "-"
    return f"{100 * value:.2f}%" if is_share(name) else f"{value:.4g}"


def is_share(name: str) -> bool:
    """Whether a metric is read in percent.

    >>> [is_share(name) for name in ("test/accuracy", "baseline/probe_accuracy_pca", "test/loss")]
    [True, True, False]
    """
    what = name.rsplit("/", 1)[-1]
    return what == "f1" or any(word in what for word in ("accuracy", "share", "mape"))


def finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: they become null."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def size_of(path: Path) -> str:
    """In kB or MB, as disks count."""
    num = path.stat().st_size
    return f"{num / 1e3:,.1f} kB" if num < 1e6 else f"{num / 1e6:,.1f} MB"
