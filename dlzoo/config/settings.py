"""The settings of a run: the keys at the top of a config that are no parts, with their types."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required

from typing_extensions import TypedDict

from dlzoo.config.yaml_files import CONFIG_DIR

COMMENTED = re.compile(r"^(\w+):[^#\n]*#\s*(.+)$", re.MULTILINE)
"""A line of train.yaml with a comment, which describes the setting."""


class Claim(TypedDict, total=False):
    """What an experiment expects of a metric: that it is at least ``min``, or at most ``max``; where ``each`` is given,
    that holds for the mean of the seeds, and ``each`` for every one of them."""

    metric: Required[str]
    min: float
    max: float
    each: float
    source: str | None


class Grid(TypedDict):
    """Overrides of an experiment that yields a table."""

    rows: Sequence[str]
    columns: Sequence[str]


SETTINGS: Mapping[str, Any] = {
    "seed": int,
    "deterministic": bool,
    "compile": bool,
    "cache_features": bool,
    "profile": bool,
    "data_dir": str,
    "output_dir": str,
    "ckpt": str | None,
    "resume": Literal["auto"] | None,
    "quiet": bool,
    "test": bool,
    "on_nan": Literal["stop", "skip"],
    "skip_limit": int,
    "lr_find": Literal[True, False, "use"],
    "expect": Sequence[Claim],
    "grid": Grid | None,
    "sweep": Mapping[str, object] | None,
    "trust": str | Sequence[str] | None,
    "names": Mapping[str, object],
}
"""The other top-level keys of a config, with their types."""


BESIDES = {("data", "batch_size"): Literal["auto"]}
"""By node and option, values that a run replaces before its parts see them: ``auto`` finds a batch size that fits."""


def about() -> dict[str, str]:
    """What the comments in train.yaml say about each setting.

    >>> about()["test"]
    'false: leave the test data unread'
    """
    return dict(COMMENTED.findall((CONFIG_DIR / "train.yaml").read_text(encoding="utf-8")))
