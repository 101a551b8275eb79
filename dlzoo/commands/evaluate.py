"""Test a checkpoint again: the metrics of the test split, as its run printed them, or those on other data.

    python scripts/evaluate.py ckpt=<run>/checkpoints/best.ckpt
    python scripts/evaluate.py ckpt=… data.data_dir=/elsewhere
    python scripts/evaluate.py ckpt=… data=fashion_mnist json=true

Options:
    ckpt                    the checkpoint; nothing else of its run is needed
    data                    a name of configs/data; else the data of its own config, with its own splits
    data.<option>           changes an option of the data, such as data.path=rows.csv
    batch_size              of the test batches; else as in the run
    trainer.<option>        accelerator, precision, deterministic or limit_test_batches; else as in the run
    trust                   a package of yours whose parts the checkpoint names: trust=mypkg, or trust=[a,b]
    json                    true for JSON (false)

Published data are read in data.data_dir, else in DLZOO_DATA_DIR, else in data/: no folder that a checkpoint names is
written to. The data must fit the checkpoint: the same shape, columns and classes, in the same order; what was fitted in
training (means, vocabularies, categories, fill values) is the checkpoint's. Rows that it has learned from are no test:
where a file has grown or its split has changed, they are found, and refused. Exit code 0 when it was tested, 2 for a
mistake.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlzoo.commands import cli
from dlzoo.errors import MISTAKES, UserError, at_least, nearest, short
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    import lightning.pytorch as pl
    from omegaconf import DictConfig

    from dlzoo.data.base import DataModule
    from dlzoo.specs.inputs import Column, Spec, TextSpec

TRAINER_OPTIONS = ("accelerator", "precision", "deterministic", "limit_test_batches")
"""What the test of a run takes from its trainer, so that testing again gives its figures."""


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
    """Evaluate as the words of a command line say."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from dlzoo.config import compose as config

    options, words = cli.parse(Options, argv, others=("data.", "trainer."))
    for word in words:
        group, _, key = word.split("=", 1)[0].partition(".")
        if group == "trainer" and key not in TRAINER_OPTIONS:
            raise UserError(f"trainer.{key}: a test takes no such option; {nearest(key, TRAINER_OPTIONS)}")
    config.prepare([*([f"data={options.data}"] if options.data else []), *words])  # typos, before torch is imported
    at_least(1, batch_size=options.batch_size)
    ckpt = paths.existing_file(options.ckpt, "ckpt")
    try:
        outcome = evaluate(ckpt, data=options.data, overrides=words, batch_size=options.batch_size, trust=options.trust)
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
) -> dict[str, Any]:
    """Test a checkpoint: metrics, claims with what was reached, and what they depend on.

    Args:
        data: a name of configs/data; None is the data of the checkpoint's own config.
        overrides: words ``data.<option>=…`` and ``trainer.<option>=…``.
        trust: packages whose parts the checkpoint may name.

    Raises:
        UserError: a checkpoint that is not to be loaded, data that do not fit it or are not there.
    """
    import lightning.pytorch as pl

    from dlzoo.checkpoint import data_changes as changed_data
    from dlzoo.config import instantiate as build
    from dlzoo.training import results

    task, stored = cli.load(ckpt, trust)
    cfg = composed(stored, data, overrides, trust)
    _quiet()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    source = build_data(cfg, task.spec)
    if batch_size is not None:
        source.eval_batch_size = batch_size
    source.prepare_data()
    changed_data.check_unseen(ckpt, cfg, source, is_own=is_own(data, overrides))
    with tempfile.TemporaryDirectory() as nowhere:  # for what measures draw
        trainer = _build_trainer(cfg, nowhere)
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


def composed(stored: DictConfig, data: str | None, overrides: Sequence[str], trust: str | None = None) -> DictConfig:
    """A checked config whose data are to be tested on.

    Other data bring their own defaults, the run's seed and no claims; limits on the number of batches were meant for
    the run's own data.
    """
    from omegaconf import open_dict

    from dlzoo.config import compose as config
    from dlzoo.config.allowlist import packages_in
    from dlzoo.config.introspection import arguments, locate

    plain = ["callbacks=measures", "logger=none", f"seed={stored.get('seed', 0)}"]
    ours = stored.get("trainer") or {}
    kept = {key: ours[key] for key in TRAINER_OPTIONS if isinstance(ours.get(key), str | int | float)}
    if data is not None:
        cfg = config.compose([*plain, f"data={data}", *(word for word in overrides if word.startswith("data."))])
        kept.pop("limit_test_batches", None)
    else:
        cfg = config.compose(plain)
        with open_dict(cfg):
            cfg.data = stored.data
            cfg.expect = stored.get("expect") or []
            cfg.names.data = stored.names.data
            if "data_dir" in arguments(locate(cfg.data._target_, "data._target_")):
                cfg.data.data_dir = cfg.data_dir
        _override(cfg, [word for word in overrides if word.startswith("data.")])
    if kept.get("accelerator") != "cpu":
        kept["accelerator"] = "auto"  # the run's accelerator may not be here
    with open_dict(cfg):
        cfg.data.pop("augment", None)  # only training batches are augmented
        cfg.trainer.update(kept)
    _override(cfg, [word for word in overrides if word.startswith("trainer.")])
    config.check(cfg, overrides, packages_in(trust))
    return cfg


def is_own(data: str | None, overrides: Sequence[str]) -> bool:
    """Whether the data of the run are meant, as they are."""
    return data is None and not any(word.startswith("data.") for word in overrides)


def build_data(cfg: DictConfig, trained: Spec) -> DataModule:
    """The data of a config made by `composed`, which encode their rows as the checkpoint has learned to.

    Nothing is downloaded. `UserError` if they do not fit the checkpoint.
    """
    from hydra.errors import InstantiationException

    from dlzoo.config import instantiate as build

    try:
        source = build.build_data(cfg)
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError | TypeError):
            raise UserError(str(error.__cause__)) from None
        raise
    source.adopt(trained)
    check_fit(trained, source.declare(), f"data={cfg.names.data}")
    return source


def check_fit(trained: Spec, given: Spec, data: str) -> None:
    """Refuse data that the checkpoint was not trained for, saying what each has.

    Statistics and class counts may differ; a unit that one of them does not know is no difference.
    """
    from dlzoo.specs.inputs import Classes, SeriesSpec, TableSpec, TextSpec

    def refuse(ours: str, theirs: str) -> None:
        raise UserError(f"{data} does not fit this checkpoint: it was trained on {ours}, but {data} gives {theirs}")

    if type(trained) is not type(given):
        refuse(trained.describe(), given.describe())
    if isinstance(trained, TextSpec) and isinstance(given, TextSpec):
        differ = text_options(trained).items() - text_options(given).items()
        if differ:
            words = " ".join(f"data.{key}={json.dumps(value)}" for key, value in sorted(differ)).replace('"', "")
            refuse(trained.describe(), f"{given.describe()}; set {words}")
    elif trained.shape != given.shape:  # type: ignore[union-attr]
        refuse(trained.describe(), given.describe())
    if isinstance(trained, TableSpec) and isinstance(given, TableSpec):
        for number, (own, its) in enumerate(zip(trained.columns, given.columns, strict=False), 1):
            what = [(column.name, column.categories, column.fill) for column in (own, its)]
            if what[0] != what[1] or _differ(own.unit, its.unit):
                refuse(f"column {number} {_column(own)}", _column(its))
    if isinstance(trained, SeriesSpec) and isinstance(given, SeriesSpec) and trained.frequency != given.frequency:
        refuse(f"values by the {trained.frequency}", f"values by the {given.frequency}")
    mine, other = trained.target, given.target
    if type(mine) is not type(other) or mine.names != other.names:
        pairs = enumerate(zip(mine.names, other.names, strict=False))
        same = next((i for i, (a, b) in pairs if a != b), min(len(mine.names), len(other.names)))
        refuse(_target(mine, same), _target(other, same))
    if not isinstance(mine, Classes) and not isinstance(other, Classes):
        for name, our_unit, unit in zip(mine.names, mine.units, other.units, strict=False):
            if _differ(our_unit, unit):
                refuse(f"{name} in {our_unit}", f"{name} in {unit}")


def text_options(spec: TextSpec) -> dict[str, Any]:
    """How the text of a spec is cut, by the data's options; the vocabulary is the checkpoint's, whatever the data."""
    return dataclasses.asdict(spec.tokenizer) | {"max_length": spec.max_length, "keep": spec.keep}


def show(outcome: dict[str, Any], *, as_json: bool = False) -> None:
    """The metrics as JSON, or as the table that a run prints."""
    from rich.console import Console
    from rich.markup import escape

    from dlzoo.training import results

    if as_json:
        print(json.dumps(results.finite(outcome), indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(results.table(outcome["metrics"], outcome["expect"]))
    limit = outcome["limit_test_batches"]
    part = f", as far as trainer.limit_test_batches={limit}" if limit not in (None, 1.0) else ""
    console.print(
        f"[dim]{escape(short(outcome['model']))} on the test split of {escape(short(outcome['data']))}{part}; "
        f"{outcome['device']}, {outcome['precision']}, {outcome['num_parameters']:,} parameters[/dim]"
    )


def _override(cfg: DictConfig, words: Sequence[str]) -> None:
    """Apply ``key=value`` words to a config that Hydra did not compose, in Hydra's own grammar."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    from dlzoo.config import compose as config

    words = [config.readable(word) for word in words]
    for word, override in zip(words, OverridesParser.create().parse_overrides(list(words)), strict=True):
        if override.is_sweep_override():
            raise UserError(f"{word}: give one value; a list is written [a,b]")
        OmegaConf.update(cfg, override.key_or_group, override.value(), force_add=True)


def _claims(cfg: DictConfig) -> list[dict[str, Any]]:
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
    """Lightning's advice about workers and accelerators does not concern a test."""
    from lightning.fabric.utilities.warnings import PossibleUserWarning

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore", PossibleUserWarning)


def _differ(a: str, b: str) -> bool:
    return bool(a and b and a != b)


def _column(column: Column) -> str:
    parts = [f"one of {_list(column.categories)}" if column.categories else "a number"]
    parts += [f"in {column.unit}"] if column.unit else []
    parts += [f"missing values filled with {column.fill}"] if column.fill is not None else []
    return f"{column.name} ({', '.join(parts)})"


def _target(target: Any, same: int, most: int = 20) -> str:
    """All names, or of very many those around the first that differ; ``same`` is how many agree."""
    start = max(0, same - 2) if len(target.names) > most else 0
    before = "…, " if start else ""
    return f"{len(target.names)} {target.what}: {before}{_list(target.names[start:], most)}"


def _list(names: Sequence[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
