"""Testing a checkpoint again."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from dlzoo.config.overrides import key_of
from dlzoo.errors import MISTAKES, UserError, nearest, one_line, short
from dlzoo.inference import loading
from dlzoo.inference.datasets import TRAINER_OPTIONS, build_data, composed
from dlzoo.utils.logging import quiet

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
        UserError: a mistake in the options, the checkpoint cannot be loaded, or the data are missing or do not fit it.
    """
    from dlzoo.training import launch

    check_options(data, overrides)
    with launch.explained_errors():
        return _tested(ckpt, data, overrides, batch_size, trust)


def check_options(data: str | None, overrides: Sequence[str]) -> None:
    """`UserError` for a mistake in the options of a test, before torch is imported."""
    from dlzoo.config.prepare import prepare

    for override in overrides:
        node, _, option = key_of(override).partition(".")
        if node == "trainer" and option not in TRAINER_OPTIONS:
            raise UserError(f"trainer.{option} is not an option of a test; {nearest(option, TRAINER_OPTIONS)}")
        if node not in ("data", "trainer") or not option:
            raise UserError(f"{short(override)} is not an option of a test: give data.<option>=… or trainer.<option>=…")
    prepare([*([f"data={data}"] if data else []), *overrides])


def _tested(
    ckpt: Path, data: str | None, overrides: Sequence[str], batch_size: int | None, trust: str | None
) -> Evaluation:
    import lightning.pytorch as pl
    from lightning.pytorch.utilities.exceptions import MisconfigurationException

    from dlzoo.checkpoint import data_changes as changed_data
    from dlzoo.config import instantiate as build
    from dlzoo.config.run_config import RunConfig
    from dlzoo.training import results

    task, stored = loading.load(ckpt, trust)
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
        try:
            trainer.test(task, source, verbose=False)
        except MisconfigurationException as error:
            raise UserError(f"trainer: {one_line(error)}") from None
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

    quiet()
    warnings.simplefilter("ignore", PossibleUserWarning)
