"""The command line of a sweep, parsed: overrides shared by all trials, swept parameters, and the sweep's settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from dlzoo.config import compose as config
from dlzoo.config import early_checks, groups, hydra_composition
from dlzoo.config import overrides as config_overrides
from dlzoo.config.allowlist import Trust
from dlzoo.config.prepare import prepare
from dlzoo.errors import UserError
from dlzoo.sweep import cluster, settings
from dlzoo.sweep.settings import Settings
from dlzoo.utils import type_checks

LAUNCHER = "hydra/launcher"


@dataclass(frozen=True)
class CommandLine:
    """The arguments of ``dlzoo train -m …``."""

    flags: list[str]
    """Hydra's flags, without -m."""
    overrides: list[str]
    """Overrides shared by all trials, which write their output to files: ``quiet`` is none of them."""
    swept: list[Override]
    settings: Settings
    is_search: bool
    base: DictConfig
    """The config composed from the shared overrides, with Hydra's node."""
    is_quiet: bool = False
    """Whether only warnings and the results are printed."""
    launcher: str | None = None
    """What submits trials as jobs of a cluster, one of `cluster.LAUNCHERS`; None: worker processes run them."""

    @property
    def shared(self) -> list[str]:
        """What the command line of every trial starts with."""
        return [*self.flags, *self.overrides]

    def folder_of(self, number: int, point: Sequence[str], sweep_folder: Path) -> Path:
        """The run folder of a trial, according to ``hydra.sweep.subdir``.

        Raises:
            UserError: the trial's overrides are invalid.
        """
        overrides = [*self.overrides, *point, f"hydra.job.num={number}"]
        return sweep_folder / compose(overrides, self.flags).hydra.sweep.subdir

    def run_overrides(self, point: Sequence[str], folder: Path) -> list[str]:
        """The overrides of a run that reports to the sweep."""
        overrides = [*self.shared, *point, config_overrides.quoted("hydra.run.dir", folder)]
        overrides.append("++callbacks.trial._target_=dlzoo.sweep.reporter.Trial")
        return overrides if self.metric is None else [*overrides, f"++callbacks.trial.metric={self.metric}"]

    @property
    def metric(self) -> str | None:
        """The metric that trials are compared by; None leaves it to the task."""
        return self.settings.metric or ("val/loss" if self.is_search else None)


def read(argv: Sequence[str]) -> CommandLine:
    """Parse the arguments that `config.prepare` returned.

    Raises:
        UserError: the shared overrides or the settings of the sweep are invalid.
    """
    flags, texts = config_overrides.split([text for text in argv if text not in ("-m", "--multirun")])
    overrides = parse(texts)
    pairs = [*zip(texts, overrides, strict=True)]
    sweep_overrides = [text for text, override in pairs if _key(override).split(".")[0] == "sweep"]
    others = [pair for pair in pairs if pair[0] not in sweep_overrides]
    if params := sweeper_params(flags, others):
        return read([*flags, *texts, *prepare(params)])
    is_search = any(_key(override) == "sweep" for override in overrides)
    launcher = _launcher(overrides, is_search=is_search)
    for override in overrides:
        if _key(override) == "hydra.run.dir":
            raise UserError("hydra.run.dir is the folder of a single run: with -m, set hydra.sweep.dir=…")
        if _key(override) == "sweep" and override.is_sweep_override():
            raise UserError(
                f"{override.input_line}: choose one method; to combine files, give a list: sweep=[hyperband,mlp_mnist]"
            )
    parsed_settings = settings.read(sweep_overrides, flags)
    settings.check_files(parsed_settings, Trust.of(texts), groups.known_keys(flags))
    given = {_key(override) for _, override in others}
    first = [text for text in parsed_settings.words if config_overrides.key_of(text) not in given]
    own = [text for text, override in others if _is_of_the_sweep(override)]
    fixed = [text for text, override in others if not override.is_sweep_override() and text not in own]
    shared = [*prepare(first), *fixed]
    swept = [override for _, override in others if override.is_sweep_override()]
    if any(override.is_sweep_override() for override in overrides if _key(override) == "quiet"):
        raise UserError("quiet is an option of the whole sweep: give it one value")
    files: dict[Path, str] = {}
    base = compose([*shared, *own], flags, files)
    type_checks.check_value(base.quiet, bool, "quiet")
    early_checks.check(base, shared, reads_user_files=bool(files))
    return CommandLine(flags, shared, swept, parsed_settings, is_search, base, base.quiet, launcher)


def _is_of_the_sweep(override: Override) -> bool:
    """Whether it sets how the sweep prints, or how its trials are submitted, and nothing of a trial."""
    return _key(override) in ("quiet", LAUNCHER) or _key(override).startswith("hydra.launcher.")


def _launcher(overrides: Sequence[Override], *, is_search: bool) -> str | None:
    """The launcher of a cluster that the command line chooses.

    Raises:
        UserError: it is another one or is not installed, or the sweep cannot use it.
    """
    chosen = [override for override in overrides if _key(override) in (LAUNCHER, "hydra/sweeper")]
    if not chosen:
        return None
    key, name = _key(chosen[-1]), str(chosen[-1].value())
    if key != LAUNCHER or name not in cluster.LAUNCHERS:
        raise UserError(
            f"{key}: trials run in dlzoo's own worker processes: sweep.jobs=4 runs four at a time; to "
            "use several machines, start the same search on each, with sweep.storage=<database URL> if they share "
            "no folder; a grid can be submitted to SLURM: hydra/launcher=submitit_slurm"
        )
    cluster.check_installed(name)
    if is_search:
        raise UserError(
            f"{key}={name}: a search needs reports from its trials while they run; start the same search in several "
            "SLURM jobs instead, or submit a grid: seed=0,1,2"
        )
    if any(_key(override) == "sweep.jobs" for override in overrides):
        raise UserError(
            f"sweep.jobs is the number of worker processes, of which {key}={name} has none: omit it; "
            "hydra.launcher.array_parallelism=4 runs four jobs of SLURM at a time"
        )
    return name


def sweeper_params(flags: Sequence[str], pairs: Sequence[tuple[str, Override]]) -> list[str]:
    """What an experiment sweeps by ``hydra.sweeper.params``, as overrides.

    Args:
        pairs: the overrides of the command line, as text and parsed; they take precedence.
    """
    chosen = [text for text, override in pairs if _key(override) == "experiment" and not override.is_sweep_override()]
    if not chosen:
        return []
    params = config.compose_with_hydra(chosen, flags).hydra.sweeper.get("params") or {}
    given = {_key(override) for _, override in pairs}
    return [f"{key}={value}" for key, value in params.items() if key not in given]


def compose(overrides: Sequence[str], flags: Sequence[str], contents: dict[Path, str] | None = None) -> DictConfig:
    """The config of a run including Hydra's node, with interpolations that can be resolved.

    Args:
        contents: of the user's config files; those that are read are added.
    """
    cfg = config.compose_with_hydra(overrides, flags, contents)
    HydraConfig.instance().set_config(cfg)
    return cfg


def parse(overrides: Sequence[str]) -> list[Override]:
    """Parse overrides as Hydra does; ``glob(*)`` is expanded from the config groups."""
    with hydra_composition.hydra_files({}):
        hydra = GlobalHydra.instance()
        assert hydra is not None
        return OverridesParser.create(config_loader=hydra.config_loader()).parse_overrides(list(overrides))


def _key(override: Override) -> str:
    return override.key_or_group
