"""Where a run may write and what it may connect to: outside its folder, only what the command line says.

A config file or a checkpoint of unknown origin may name files to read (``data.path``, ``net.weights``), but no place
to write to and no address.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePath

from omegaconf import DictConfig, OmegaConf

from dlzoo.config.allowlist import Trust
from dlzoo.config.nested import walk, without_indices
from dlzoo.distributed import launch as ranks
from dlzoo.errors import UserError, short

LOCATION_KEYS = (
    "data_dir", "output_dir", "mirrors", "dirpath", "save_dir", "root_dir", "default_root_dir", "log_dir", "cache_dir",
    "sub_dir", "path_to_export_trace", "storage", "tracking_uri", "space_id", "entity",
)  # fmt: skip
"""Last parts of the keys whose value is a place to write to or an address to connect to."""

WRITING_NODES = ("callbacks", "logger", "trainer")
"""Nodes whose other strings may become parts of file names."""

TEMPLATE = re.compile(r"([^{}]|\{[\w/ -]+(:0?\d{0,2}(\.\d{1,2})?[defg]?)?\})*")
"""File name templates that Lightning may format. Others could read attributes of objects, and through them environment
variables, or write any character by its number (``{epoch:c}``); TensorBoard's logger expands ``$HOME``."""


def check_locations(cfg: Mapping[str, object], trust: Trust) -> None:
    """Check that a resolved config writes only into the run's folder, and connects to nothing.

    Raises:
        UserError: it does otherwise, and the command line does not say so.
    """
    data_dir = cfg.get("data_dir")
    for node in ("net", "task", "data", "optimizer", "scheduler", *WRITING_NODES):
        for key, value in walk(cfg.get(node), node):
            if key.endswith(".data_dir") and value == data_dir:
                continue
            if not _is_given(key, trust) and (reason := refusal_reason(key, value)):
                raise UserError(f"{key}={short(value)} is not allowed: {reason}; give it on the command line")


READ_KEYS = ("data_dir", "output_dir", "ckpt", "data.path", "data.test_path", "net.weights")
"""Keys whose value is, or may be, a path."""


def with_absolute_paths(cfg: DictConfig, folder: Path) -> DictConfig:
    """The config with its relative paths as seen from a folder, for a run in another (``hydra.job.chdir=true``)."""
    cfg = copy.deepcopy(cfg)
    for key in READ_KEYS:
        value = OmegaConf.select(cfg, key)
        path = folder / value if isinstance(value, str) else None
        if path is not None and (path.exists() or key in ("data_dir", "output_dir")):
            OmegaConf.update(cfg, key, str(path))
    return cfg


def refusal_reason(key: str, value: object) -> str:
    """Why a value may come only from the command line; empty if it may come from anywhere.

    Args:
        key: dotted.
    """
    name = re.split(r"[.\[]", without_indices(key))[-1]
    node = key.split(".")[0]
    if name in LOCATION_KEYS:
        return "" if value is None else "only the user decides where a run writes and what it connects to"
    if key == "trainer.num_nodes" and value not in (None, 1) and ranks.num_started() == 1:
        return "the run would wait for other machines, which torchrun or srun starts"
    if isinstance(value, bytes | PurePath):  # YAML has tags for both
        value = os.fsdecode(value)
    if not isinstance(value, str):
        return ""
    if "://" in value:
        return "a run does not connect to addresses from a file or a checkpoint"
    if node in WRITING_NODES and ("$" in value or not TEMPLATE.fullmatch(value)):
        return (
            "in a file name, braces may contain only a metric and a format, such as {epoch:03d}, and $ is not allowed"
        )
    leads_out = value.startswith(("/", "~", "\\")) or ".." in re.split(r"[/\\]", value) or value[1:3] == ":\\"
    if leads_out and node in WRITING_NODES:
        return "it is outside the run's folder"
    return ""


def _is_given(key: str, trust: Trust) -> bool:
    return without_indices(key) in trust.cli_values or key in trust.cli_values
