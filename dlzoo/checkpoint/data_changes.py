"""Data that changed since a checkpoint was written: refused where its figures would be of rows that it learned from.

A run is continued with its own training and validation rows, and with what was fitted on them. A checkpoint is
evaluated on its own test rows, or on rows that it has not seen; see `dlzoo.data.fingerprint`.
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
"""Options of data that neither choose rows nor fit anything on them."""
MOST_SIGNS = 200
"""Of an option's value in a message."""


def check_continued(cfg: DictConfig, data: DataModule, rows: Fingerprint, content: dict[str, Any]) -> None:
    """Refuse to continue ``cfg.ckpt`` with rows, or with what is fitted on them, that are not those of its run.

    Args:
        data: after ``setup("fit")``.
        rows: its fingerprint.
        content: of the checkpoint.

    Raises:
        UserError: says what changed, and what can be done.
    """
    stored = fingerprint.from_plain(content["dlzoo"].get("rows"), cfg.ckpt)
    if stored is None:
        _warn_of_age(cfg.ckpt)
    elif not stored.same_rows(rows):
        raise UserError(
            f"ckpt={cfg.ckpt} cannot be continued: {_now(stored, rows, cfg)}{_changed(content, cfg)}. Rows that it has "
            "learned from would validate or test it: give it the rows and options of its run, or train anew, without "
            "ckpt= and resume="
        )
    fields = different_fields(from_plain(content["dlzoo"].get("spec")), data.spec)
    if fields:
        raise UserError(
            f"ckpt={cfg.ckpt} cannot be continued: its {', '.join(fields)} (from its training rows and the options of "
            f"the data) would be others now{_changed(content, cfg)}: give it the rows and options of its run, or "
            "train anew, without ckpt= and resume="
        )


def check_unseen(ckpt: Any, cfg: DictConfig, data: DataModule, *, is_own: bool) -> None:
    """Refuse to test a checkpoint on rows that it was trained or validated on.

    Args:
        data: after ``prepare_data()`` and ``adopt()``.
        is_own: whether the user has asked for the data of the run as they are.

    Raises:
        UserError: says how many rows it has seen, what changed, and what can be done.
    """
    content = checkpoint_files.read(ckpt)
    stored = fingerprint.from_plain(content["dlzoo"].get("rows"), ckpt)
    if stored is None:
        _warn_of_age(ckpt)
        return
    if is_own and stored.same_rows(data.fit_fingerprint()):
        return
    test = data.test_ids()
    overlap = stored.overlap(test)
    if not stored.is_tested_by(test, may_repeat=not is_own):
        raise UserError(
            f"ckpt={ckpt} has learned from {overlap.share:.0%} of these test rows: "
            f"{_now(stored, data.fit_fingerprint(), cfg)}{_changed(content, cfg)}. Test it on rows that are new to "
            "it (a file of their own), give it the rows and options of its run, or train anew"
        )
    if overlap.seen:
        of = "" if overlap.looked_at == len(test) else f" in a sample of {overlap.looked_at}"
        print(f"warning: {overlap.seen} test rows{of} equal rows that ckpt={ckpt} has learned from", file=sys.stderr)
    elif is_own:
        print(
            f"warning: {_source(cfg)} has changed since ckpt={ckpt} was trained; it has seen none of these test rows, "
            "but they may not be those of its run",
            file=sys.stderr,
        )


def different_fields(stored: Any, now: Spec) -> list[str]:
    """The parts of a spec in which two differ; numbers may do so by rounding."""
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
        return f"{then}, and {_source(cfg)} now gives as many, but others"
    return f"{then}, and {_source(cfg)} now gives {rows.train.num_rows:,} and {rows.val.num_rows:,}"


def _source(cfg: DictConfig) -> str:
    return f"data.path={cfg.data.path}" if cfg.data.get("path") else f"data={cfg.names.data}"


def _changed(content: dict[str, Any], cfg: DictConfig) -> str:
    """The options of the data that are others than those of the run."""
    now = OmegaConf.to_container(cfg.data, resolve=True)
    then = OmegaConf.to_container(checkpoint.config_of(content).get("data") or OmegaConf.create({}))
    assert isinstance(then, dict)
    assert isinstance(now, dict)
    keys = [key for key in {**then, **now} if key not in HARMLESS and then.get(key) != now.get(key)]
    said = [f"data.{key}={_short(now.get(key))}, which was {_short(then.get(key))}" for key in keys]
    return f" ({'; '.join(said)})" if said else ""


def _short(value: Any) -> str:
    text = "not given" if value is None else str(value)
    return text if len(text) <= MOST_SIGNS else f"{text[:MOST_SIGNS]}…"


def _warn_of_age(ckpt: Any) -> None:
    if ranks.rank() == 0:
        print(
            f"warning: ckpt={ckpt} was written before checkpoints said which rows they learned from: whether the data "
            "are still those of its run is not checked",
            file=sys.stderr,
        )
