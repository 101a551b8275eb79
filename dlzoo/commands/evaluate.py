"""Test a checkpoint again: the metrics of the test split, as its run printed them, or those on other data.

    dlzoo evaluate ckpt=<run>/checkpoints/best.ckpt
    dlzoo evaluate ckpt=… data.data_dir=/elsewhere
    dlzoo evaluate ckpt=… data=fashion_mnist json=true

Options:
    ckpt                    the checkpoint; no other file of its run is needed
    data                    a name in configs/data; default: the data of the checkpoint's config, with the same splits
    data.<option>           overrides an option of the data, such as data.path=rows.csv
    batch_size              test batch size; default: that of the run
    trainer.<option>        accelerator, precision, deterministic or limit_test_batches; default: that of the run
    trust                   a package of your own that the checkpoint uses: trust=mypkg, or trust=[a,b]
    json                    true for JSON output (false)

Published data sets are read from data.data_dir, else from DLZOO_DATA_DIR, else from data/: a folder that the checkpoint
names is never written to. The data must match the checkpoint: the same shape, columns and classes, in the same order.
Statistics fitted in training (means, vocabularies, categories, fill values) come from the checkpoint. Rows that the
model was trained on are refused, such as those of a file that has grown or whose split has changed. Exit code 0 on
success, 2 on an error.
"""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from dlzoo.commands import cli
from dlzoo.errors import MISTAKES, UserError, at_least, nearest, short
from dlzoo.inference.datasets import TRAINER_OPTIONS, build_data, composed
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    import lightning.pytorch as pl
    from omegaconf import DictConfig

    from dlzoo.config.run_config import Claim
    from dlzoo.training.results import Verdict


class Evaluation(TypedDict):
    """Metrics of a test, claims with the values reached, and what they depend on."""

    ckpt: str
    model: str | None
    data: str | None
    limit_test_batches: int | float | None
    device: str
    precision: str
    num_parameters: int
    metrics: dict[str, float]
    expect: list[Verdict]
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Options:
    ckpt: str
    data: str | None = None
    batch_size: int | None = None
    trust: str | None = None
    json: bool = False


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Evaluate as the arguments specify."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from dlzoo.config import compose as config

    options, overrides = cli.parse(Options, argv, others=("data.", "trainer."))
    for override in overrides:
        group, _, key = override.split("=", 1)[0].partition(".")
        if group == "trainer" and key not in TRAINER_OPTIONS:
            raise UserError(f"trainer.{key} is not an option of a test; {nearest(key, TRAINER_OPTIONS)}")
    config.prepare([*([f"data={options.data}"] if options.data else []), *overrides])  # typos, before torch is imported
    at_least(1, batch_size=options.batch_size)
    ckpt = paths.existing_file(options.ckpt, "ckpt")
    try:
        outcome = evaluate(
            ckpt, data=options.data, overrides=overrides, batch_size=options.batch_size, trust=options.trust
        )
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(config.explain(error)) from None
    show(outcome, as_json=options.json)


def evaluate(
    ckpt: Path,
    *,
    data: str | None = None,
    overrides: Sequence[str] = (),
    batch_size: int | None = None,
    trust: str | None = None,
) -> Evaluation:
    """Test a checkpoint: metrics, claims with the values reached, and what they depend on.

    Args:
        data: a name in configs/data; None is the data of the checkpoint's config.
        overrides: ``data.<option>=…`` and ``trainer.<option>=…``.
        trust: packages of the user's that the checkpoint may use.

    Raises:
        UserError: the checkpoint cannot be loaded, or the data are missing or do not match it.
    """
    import lightning.pytorch as pl

    from dlzoo.checkpoint import data_changes as changed_data
    from dlzoo.config import instantiate as build
    from dlzoo.config.run_config import RunConfig
    from dlzoo.training import results

    task, stored = cli.load(ckpt, trust)
    cfg = composed(stored, data, overrides, trust)
    _quiet()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    source = build_data(cfg, task.spec)
    if batch_size is not None:
        source.eval_batch_size = batch_size
    source.prepare_data()
    changed_data.check_unseen(ckpt, RunConfig.from_hydra(cfg), source, is_run_data=is_own(data, overrides))
    with tempfile.TemporaryDirectory() as scratch:  # for the figures of callbacks that log metrics
        trainer = _build_trainer(cfg, scratch)
        task.setup_trainer(trainer)
        trainer.test(task, source, verbose=False)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return {
        "ckpt": str(ckpt),
        "model": stored.names.model,
        "data": cfg.names.data,
        "limit_test_batches": cfg.trainer.get("limit_test_batches"),
        "device": trainer.strategy.root_device.type,
        "precision": str(trainer.precision),
        "num_parameters": build.num_parameters(task.net),
        "metrics": metrics,
        "expect": [claim for claim in results.judge(_claims(cfg), metrics) if claim["met"] is not None],
        "versions": results.versions(),
    }


def is_own(data: str | None, overrides: Sequence[str]) -> bool:
    """Whether the data are those of the run, unchanged."""
    return data is None and not any(override.startswith("data.") for override in overrides)


def show(outcome: Evaluation, *, as_json: bool = False) -> None:
    """The metrics as JSON, or as the table that a run prints."""
    from rich.console import Console
    from rich.markup import escape

    from dlzoo.training import metrics_table
    from dlzoo.utils import formatting

    if as_json:
        print(json.dumps(formatting.finite(outcome), indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(metrics_table.table(outcome["metrics"], outcome["expect"]))
    limit = outcome["limit_test_batches"]
    part = f", limited by trainer.limit_test_batches={limit}" if limit not in (None, 1.0) else ""
    console.print(
        f"[dim]{escape(short(outcome['model']))} on the test split of {escape(short(outcome['data']))}{part}; "
        f"{outcome['device']}, {outcome['precision']}, {outcome['num_parameters']:,} parameters[/dim]"
    )


def _claims(cfg: DictConfig) -> list[Claim]:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(cfg.expect)  # type: ignore[return-value]


def _build_trainer(cfg: DictConfig, folder: str) -> pl.Trainer:
    import lightning.pytorch as pl
    from hydra.utils import instantiate
    from lightning.pytorch.utilities.exceptions import MisconfigurationException

    try:
        return pl.Trainer(
            **{key: cfg.trainer[key] for key in TRAINER_OPTIONS if key in cfg.trainer},
            devices=1,
            callbacks=[instantiate(node) for node in cfg.callbacks.values()],
            default_root_dir=folder,
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, *MISTAKES) as error:
        raise UserError(f"trainer: {error}") from None


def _quiet() -> None:
    """Silence Lightning's advice about workers and accelerators, which does not matter in a test."""
    from lightning.fabric.utilities.warnings import PossibleUserWarning

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore", PossibleUserWarning)
