"""The command line of a sweep, taken apart: what all trials share, what is swept, and what is told to the sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from dlzoo.config import compose as config
from dlzoo.config import overrides as config_overrides
from dlzoo.config.allowlist import Trust
from dlzoo.errors import UserError
from dlzoo.sweep import settings
from dlzoo.sweep.settings import Settings


@dataclass(frozen=True)
class Line:
    """What ``python train.py -m …`` was given."""

    flags: list[str]
    """Hydra's own, without -m."""
    words: list[str]
    """Overrides that every trial has."""
    swept: list[Override]
    settings: Settings
    is_search: bool
    base: Any
    """The config of the words that every trial has, with Hydra's node."""

    @property
    def shared(self) -> list[str]:
        """What a command for any one trial starts with."""
        return [*self.flags, *self.words]

    def folder_of(self, number: int, point: Sequence[str], sweep_folder: Path) -> Path:
        """The run folder of a trial, by ``hydra.sweep.subdir``.

        Raises:
            UserError: the words of the trial hold a mistake.
        """
        words = [*self.words, *point, f"hydra.job.num={number}"]
        return sweep_folder / composed(words, self.flags).hydra.sweep.subdir

    def run_words(self, point: Sequence[str], folder: Path) -> list[str]:
        """The command line of a run that reports to the sweep."""
        words = [*self.shared, *point, config_overrides.quoted("hydra.run.dir", folder)]
        words.append("++callbacks.trial._target_=dlzoo.sweep.reporter.Trial")
        return words if self.metric is None else [*words, f"++callbacks.trial.metric={self.metric}"]

    @property
    def metric(self) -> str | None:
        """What is compared, unless that is left to the task."""
        return self.settings.metric or ("val/loss" if self.is_search else None)


def read(argv: Sequence[str]) -> Line:
    """Take apart what `config.prepare` gave.

    Raises:
        UserError: a mistake in the words that all trials share, or in what the sweep is told.
    """
    flags, words = config_overrides.split([word for word in argv if word not in ("-m", "--multirun")])
    overrides = parsed(words)
    about = [word for word, override in zip(words, overrides, strict=True) if _key(override).split(".")[0] == "sweep"]
    others = [pair for pair in zip(words, overrides, strict=True) if pair[0] not in about]
    for override in overrides:
        if _key(override) in ("hydra/launcher", "hydra/sweeper"):
            raise UserError(
                f"{_key(override)}: trials run in dlzoo's own processes; to use several, or several machines, start "
                "the same search in each, with sweep.storage=<URL of a database> where they share no folder; a grid "
                "can go to SLURM: hydra/launcher=submitit_slurm"
            )
        if _key(override) == "sweep" and override.is_sweep_override():
            raise UserError(
                f"{override.input_line}: choose one method; a list joins files: sweep=[hyperband,mlp_mnist]"
            )
    is_search = any(_key(override) == "sweep" for override in overrides)
    found = settings.read(about, flags)
    settings.check_files(found, Trust.of(words), config.known_keys(flags))
    given = {_key(override) for _, override in others}
    first = [word for word in found.words if word.split("=")[0].lstrip("+") not in given]
    fixed = [word for word, override in others if not override.is_sweep_override()]
    shared = [*config.prepare(first), *fixed]
    swept = [override for _, override in others if override.is_sweep_override()]
    return Line(flags, shared, swept, found, is_search, composed(shared, flags))


def composed(words: Sequence[str], flags: Sequence[str]) -> Any:
    """The config of a run with Hydra's node, whose references can be read."""
    cfg = config.compose_with_hydra(words, flags)
    HydraConfig.instance().set_config(cfg)
    return cfg


def parsed(words: Sequence[str]) -> list[Override]:
    """The words as Hydra understands them; ``glob(*)`` looks into the groups."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config.CONFIG_DIR), version_base="1.3"):
        hydra = GlobalHydra.instance()
        assert hydra is not None
        return OverridesParser.create(config_loader=hydra.config_loader()).parse_overrides(list(words))


def _key(override: Override) -> str:
    return override.key_or_group
