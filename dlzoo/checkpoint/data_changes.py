"""Detect data that changed since a checkpoint was written, and refuse to evaluate on rows it was trained on.

A run is resumed with its original training and validation rows, and the statistics fitted on them. A checkpoint is
evaluated on its original test rows, or on unseen rows; see `dlzoo.data.fingerprint`.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping
from pathlib import Path

from omegaconf import OmegaConf

from dlzoo.checkpoint import load as checkpoint
from dlzoo.config.run_config import RunConfig
from dlzoo.data import fingerprint
from dlzoo.data.base import DataModule
from dlzoo.data.fingerprint import Fingerprint
from dlzoo.distributed import launch as ranks
from dlzoo.errors import UserError
from dlzoo.specs.base import Spec
from dlzoo.specs.plain import from_plain, to_plain
from dlzoo.utils import checkpoint_files

HARMLESS = ("batch_size", "eval_batch_size", "placement", "augment", "memory_mb", "num_workers", "mirrors")
"""Data options that affect neither the choice of rows nor what is fitted on them."""
MAX_CHARACTERS = 200
"""Longest option value in a message."""


def check_continued(config: RunConfig, data: DataModule, rows: Fingerprint, content: Mapping[str, object]) -> None:
    """Refuse to resume ``config.ckpt`` if its rows, or what is fitted on them, have changed.

    Args:
        data: after ``setup("fit")``.
        rows: its fingerprint.
        content: of the checkpoint.

    Raises:
        UserError: says what changed, and the remedy.
    """
    manifest = checkpoint_files.manifest_in(content)
    stored = fingerprint.from_plain(manifest.get("rows"), config.ckpt)
    if stored is None:
        _warn_no_fingerprint(config.ckpt)
    elif not stored.same_rows(rows):
        raise UserError(
            f"ckpt={config.ckpt} cannot be resumed: {_now(stored, rows, config)}{_changed(content, config)}. It would "
            "be validated or tested on rows it was trained on: use the rows and options of its run, or train again "
            "without ckpt= and resume="
        )
    fields = different_fields(from_plain(manifest.get("spec")), data.spec)
    if fields:
        raise UserError(
            f"ckpt={config.ckpt} cannot be resumed: its {', '.join(fields)} (from its training rows and the options of "
            f"the data) have changed{_changed(content, config)}: use the rows and options of its run, or "
            "train again without ckpt= and resume="
        )


def check_unseen(ckpt: str | Path, config: RunConfig, data: DataModule, *, is_run_data: bool) -> None:
    """Refuse to test a checkpoint on rows that it was trained or validated on.

    Args:
        data: after ``prepare_data()`` and ``adopt()``.
        is_run_data: whether the user asked for the unchanged data of the run.

    Raises:
        UserError: says how many rows it has seen, what changed, and the remedy.
    """
    content = checkpoint_files.read(ckpt)
    stored = fingerprint.from_plain(checkpoint_files.manifest_in(content).get("rows"), ckpt)
    if stored is None:
        _warn_no_fingerprint(ckpt)
        return
    if is_run_data and stored.same_rows(data.fit_fingerprint()):
        return
    test = data.test_ids()
    overlap = stored.overlap(test)
    if not stored.accepts_test(test, may_repeat=not is_run_data):
        raise UserError(
            f"ckpt={ckpt} was trained or validated on {overlap.fraction:.0%} of these test rows: "
            f"{_now(stored, data.fit_fingerprint(), config)}{_changed(content, config)}. Test it on unseen rows "
            "(a separate file), use the rows and options of its run, or train again"
        )
    if overlap.num_seen:
        of = "" if overlap.num_checked == len(test) else f" in a sample of {overlap.num_checked}"
        print(
            f"warning: {overlap.num_seen} test rows{of} equal rows that ckpt={ckpt} was trained or validated on",
            file=sys.stderr,
        )
    elif is_run_data:
        print(
            f"warning: {_source(config)} has changed since ckpt={ckpt} was trained; it has seen none of these test "
            "rows, but they may differ from those of its run",
            file=sys.stderr,
        )


def different_fields(stored: object, now: Spec) -> list[str]:
    """The fields in which two specs differ, up to rounding."""
    if type(stored) is not type(now):
        return ["kind of data"]
    names = [field.name for field in dataclasses.fields(now)]
    return [n for n in names if not _alike(to_plain(getattr(stored, n)), to_plain(getattr(now, n)))]


def _alike(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return a == b or math.isclose(a, b, rel_tol=1e-5)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_alike(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_alike, a, b))
    return bool(a == b)


def _now(stored: Fingerprint, rows: Fingerprint, config: RunConfig) -> str:
    then = f"it was trained on {stored.train.num_rows:,} rows and validated on {stored.val.num_rows:,}"
    if (stored.train.num_rows, stored.val.num_rows) == (rows.train.num_rows, rows.val.num_rows):
        return f"{then}, and {_source(config)} now gives as many, but different ones"
    return f"{then}, and {_source(config)} now gives {rows.train.num_rows:,} and {rows.val.num_rows:,}"


def _source(config: RunConfig) -> str:
    path = config.data.get("path")
    return f"data.path={path}" if path else f"data={config.names.data}"


def _changed(content: Mapping[str, object], config: RunConfig) -> str:
    """The data options that differ from those of the run."""
    now = config.data
    then = OmegaConf.to_container(checkpoint.config_of(content).get("data") or OmegaConf.create({}))
    assert isinstance(then, dict)
    keys = [key for key in {**then, **now} if key not in HARMLESS and then.get(key) != now.get(key)]
    changes = [f"data.{key}={_short(now.get(key))}, previously {_short(then.get(key))}" for key in keys]
    return f" ({'; '.join(changes)})" if changes else ""


def _short(value: object) -> str:
    text = "not given" if value is None else str(value)
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"


def _warn_no_fingerprint(ckpt: str | Path | None) -> None:
    if ranks.rank() == 0:
        print(
            f"warning: ckpt={ckpt} stores no fingerprint of its rows (older version): cannot check that "
            "the data are those of its run",
            file=sys.stderr,
        )
