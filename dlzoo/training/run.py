"""One run from config to results: build, fit, test, report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from dlzoo.config.run_config import RunConfig
from dlzoo.errors import UserError
from dlzoo.utils.output import quietly

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from dlzoo.checkpoint.format import StoredCheckpoint
    from dlzoo.training.results import RunResults


def run(cfg: DictConfig, run_dir: Path, overrides: list[str], stored: StoredCheckpoint | None = None) -> RunResults:
    """Train, test the best checkpoint, and write ``results.json`` and everything else into the run folder.

    The composed config enters training here; everything that follows gets a `RunConfig`, or the fields that it needs.

    Args:
        stored: the checkpoint ``cfg.ckpt``, if it has been read already.

    Returns:
        The contents of ``results.json``.

    Raises:
        UserError: the config has a mistake, or its parts do not fit together; nothing has been read or downloaded yet.
    """
    started = time.perf_counter()
    config = RunConfig.checked(cfg, overrides)
    if cfg.get("sweep"):
        raise UserError("sweep is an option of several runs: add -m, or in Python use dlzoo.search")

    from dlzoo.training import stages  # imports torch: mistakes in the config are reported before

    with quietly(enabled=config.quiet):
        session = stages.build(config, run_dir, overrides, stored)
        session.seconds["setup"] = time.perf_counter() - started
        with stages.handling_failures(session):
            stages.fit(session)
            stages.test(session)
    return stages.report(session)
