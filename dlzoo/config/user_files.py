"""What a config file of the user may not set: only the command line says where a run writes and what Hydra does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from omegaconf import DictConfig, OmegaConf

from dlzoo.config.nested import flatten
from dlzoo.errors import UserError, short

SWEEPER_PARAMS = "hydra.sweeper.params"
"""Where Hydra's sweeper takes what to sweep from, besides the command line."""
COMMAND_LINE_ONLY = ("output_dir", "data_dir", "ckpt", "resume", "trust")
"""Settings that the user's files may not set."""


def check(cfg: DictConfig, reference: DictConfig, cli_values: Mapping[str, object]) -> None:
    """`UserError` if the user's files changed Hydra's settings, or where the run writes.

    Args:
        reference: the config without the user's files.
        cli_values: the values on the command line, by dotted key.
    """

    def settings(config: DictConfig) -> dict[str, object]:
        return flatten(_fixed_settings(OmegaConf.to_container(config.hydra, resolve=False)), "hydra")

    expected, given = settings(reference), settings(cfg)
    for key in sorted({*expected, *given}):
        if expected.get(key) != given.get(key):
            message = f"{key}={short(given.get(key))} is set in a file"
            hint = "; give what to sweep there: -m seed=0,1" if key.startswith(SWEEPER_PARAMS) else ""
            raise UserError(f"{message}: only the command line may set Hydra's settings{hint}")
    for key in COMMAND_LINE_ONLY:
        value, default = (config._get_node(key) for config in (cfg, reference))
        if key not in cli_values and f"{value}" != f"{default}":
            raise UserError(f"{key}={short(value)} is set in a file: only the command line may set it")


def check_recorded(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """`UserError` if a file added to Hydra's record of the command line, which is trusted.

    Hydra appends the overrides of the command line to the lists that it finds in the config.
    """
    recorded = [*cfg.hydra.overrides.hydra, *cfg.hydra.overrides.task]
    if sorted(map(str, recorded)) != sorted(overrides):
        given = [text for text in map(str, recorded) if text not in overrides]
        raise UserError(f"hydra.overrides={short(given)} is set in a file: only the command line may set overrides")


def _fixed_settings(node: object) -> object:
    """Hydra's node without what it derives from the choices and the overrides of the command line."""
    if not isinstance(node, dict):
        return node
    job = {k: v for k, v in node["job"].items() if k != "override_dirname"}
    runtime = {k: v for k, v in node["runtime"].items() if k != "choices"}
    return {k: v for k, v in node.items() if k != "overrides"} | {"job": job, "runtime": runtime}
