"""Detect data that changed since a checkpoint was written, and refuse to evaluate on rows it was trained on.

A run is resumed with its original training and validation rows, and the statistics fitted on them. A checkpoint is
evaluated on its original test rows, or on unseen rows; see `dlzoo.data.fingerprint`.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlzoo.checkpoint import load as checkpoint
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


def check_continued(cfg: DictConfig, data: DataModule, rows: Fingerprint, content: dict[str, Any]) -> None:
    """Refuse to resume ``cfg.ckpt`` if its rows, or what is fitted on them, have changed.

    Args:
        data: after ``setup("fit")``.
        rows: its fingerprint.
        content: of the checkpoint.

    Raises:
        UserError: says what changed, and the remedy.
    """
    stored = fingerprint.from_plain(content["dlzoo"].get("rows"), cfg.ckpt)
    if stored is None:
        _warn_no_fingerprint(cfg.ckpt)
    elif not stored.same_rows(rows):
        raise UserError(
            f"ckpt={cfg.ckpt} cannot be resumed: {_now(stored, rows, cfg)}{_changed(content, cfg)}. It would be "
            "validated or tested on rows it was trained on: use the rows and options of its run, or train again "
            "without ckpt= and resume="
        )
    fields = different_fields(from_plain(content["dlzoo"].get("spec")), data.spec)
    if fields:
        raise UserError(
            f"ckpt={cfg.ckpt} cannot be resumed: its {', '.join(fields)} (from its training rows and the options of "
            f"the data) have changed{_changed(content, cfg)}: use the rows and options of its run, or "
            "train again without ckpt= and resume="
        )


def check_unseen(ckpt: Any, cfg: DictConfig, data: DataModule, *, is_run_data: bool) -> None:
    """Refuse to test a checkpoint on rows that it was trained or validated on.

    Args:
        data: after ``prepare_data()`` and ``adopt()``.
        is_run_data: whether the user asked for the unchanged data of the run.

    Raises:
        UserError: says how many rows it has seen, what changed, and the remedy.
    """
    content = checkpoint_files.read(ckpt)
    stored = fingerprint.from_plain(content["dlzoo"].get("rows"), ckpt)
    if stored is None:
        _warn_no_fingerprint(ckpt)
        return
    if is_run_data and stored.same_rows(data.fit_fingerprint()):
        return
    test = data.test_ids()
    overlap = stored.overlap(test)
    if not stored.is_tested_by(test, may_repeat=not is_run_data):
        raise UserError(
            f"ckpt={ckpt} was trained or validated on {overlap.share:.0%} of these test rows: "
            f"{_now(stored, data.fit_fingerprint(), cfg)}{_changed(content, cfg)}. Test it on unseen rows "
            "(a separate file), use the rows and options of its run, or train again"
        )
    if overlap.seen:
        of = "" if overlap.looked_at == len(test) else f" in a sample of {overlap.looked_at}"
        print(
            f"warning: {overlap.seen} test rows{of} equal rows that ckpt={ckpt} was trained or validated on",
            file=sys.stderr,
        )
    elif is_run_data:
        print(
            f"warning: {_source(cfg)} has changed since ckpt={ckpt} was trained; it has seen none of these test rows, "
            "but they may differ from those of its run",
            file=sys.stderr,
        )


def different_fields(stored: Any, now: Spec) -> list[str]:
    """The fields in which two specs differ, up to rounding."""
    if type(stored) is not type(now):
        return ["kind of data"]
    names = [field.name for field in dataclasses.fields(stored)]
    return [n for n in names if not _alike(to_plain(getattr(stored, n)), to_plain(getattr(now, n)))]


def _alike(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return a == b or math.isclose(a, b, rel_tol=1e-5)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_alike(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_alike, a, b))
    return bool(a == b)


def _now(stored: Fingerprint, rows: Fingerprint, cfg: DictConfig) -> str:
    then = f"it was trained on {stored.train.num_rows:,} rows and validated on {stored.val.num_rows:,}"
    if (stored.train.num_rows, stored.val.num_rows) == (rows.train.num_rows, rows.val.num_rows):
        return f"{then}, and {_source(cfg)} now gives as many, but different ones"
    return f"{then}, and {_source(cfg)} now gives {rows.train.num_rows:,} and {rows.val.num_rows:,}"


def _source(cfg: DictConfig) -> str:
    return f"data.path={cfg.data.path}" if cfg.data.get("path") else f"data={cfg.names.data}"


def _changed(content: dict[str, Any], cfg: DictConfig) -> str:
    """The data options that differ from those of the run."""
    now = OmegaConf.to_container(cfg.data, resolve=True)
    then = OmegaConf.to_container(checkpoint.config_of(content).get("data") or OmegaConf.create({}))
    assert isinstance(then, dict)
    assert isinstance(now, dict)
    keys = [key for key in {**then, **now} if key not in HARMLESS and then.get(key) != now.get(key)]
    changes = [f"data.{key}={_short(now.get(key))}, previously {_short(then.get(key))}" for key in keys]
    return f" ({'; '.join(changes)})" if changes else ""


def _short(value: Any) -> str:
    text = "not given" if value is None else str(value)
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"


def _warn_no_fingerprint(ckpt: Any) -> None:
    if ranks.rank() == 0:
        print(
            f"warning: ckpt={ckpt} stores no fingerprint of its rows (older version): cannot check that "
            "the data are those of its run",
            file=sys.stderr,
        )
