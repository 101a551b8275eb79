"""The config of a run as typed fields, created once from the composed config.

The nodes from which `dlzoo.config.instantiate` builds parts remain plain data, ``{"_target_": …, option: value}``.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from dlzoo.config import optional_packages, schema
from dlzoo.config.settings import Claim

Node = Mapping[str, object]
"""A part, as its ``_target_`` and its options; empty if there is none."""

FIRST_BATCH_SIZE = 16
"""Rows of the first batch that ``data.batch_size=auto`` tries."""


def target_of(node: Node) -> str:
    """The dotted name of a part's class.

    >>> target_of({"_target_": "dlzoo.nets.mlp.MLP", "hidden": [8]})
    'dlzoo.nets.mlp.MLP'
    """
    return str(node["_target_"])


@dataclass(frozen=True)
class Names:
    """The names chosen on the command line: ``model=mlp data=digits``."""

    model: str | None
    data: str | None
    experiment: str | None

    def of(self, group: Literal["model", "data"]) -> str | None:
        """The name chosen in a group.

        >>> Names("mlp", "digits", None).of("data")
        'digits'
        """
        return self.model if group == "model" else self.data


@dataclass(frozen=True)
class RunConfig:
    """The config of one run; immutable: options that the run chooses itself give a new one, see `with_options`."""

    names: Names
    net: Node
    task: Node
    data: Node
    optimizer: Node
    scheduler: Node
    trainer: Node
    callbacks: Mapping[str, Node]
    logger: Mapping[str, Node]
    seed: int
    ckpt: str | None
    """The checkpoint that the run resumes."""
    compile: bool
    cache_features: bool
    profile: bool
    quiet: bool
    """Whether only warnings and the results are printed."""
    test: bool
    on_nan: Literal["stop", "skip"]
    skip_limit: int
    lr_find: bool | Literal["use"]
    expect: list[Claim]
    """Claims about the metrics, see `dlzoo.training.results.judge`."""
    composed: Mapping[str, object] = dataclasses.field(repr=False)
    """The whole config as plain data, in the order of the files."""
    finds_batch_size: bool = False
    """Whether ``data.batch_size=auto`` was given; `data` contains `FIRST_BATCH_SIZE` until a size is found."""

    @classmethod
    def checked(cls, cfg: DictConfig, overrides: Sequence[str] = ()) -> RunConfig:
        """From a composed config, which is checked but not modified.

        Args:
            overrides: those of the command line.

        Raises:
            UserError: the config contains a mistake, or names a part whose package is not installed.
        """
        cfg = copy.deepcopy(cfg)
        data = cfg.get("data")
        finds_batch_size = OmegaConf.is_dict(data) and data.get("batch_size") == "auto"
        if finds_batch_size:
            cfg.data.batch_size = FIRST_BATCH_SIZE
        optional_packages.check(
            cfg.get("net"), cfg.get("data"), cfg.get("logger")
        )  # first, for the next line imports torch
        schema.check(cfg, overrides)
        return dataclasses.replace(cls.from_hydra(cfg), finds_batch_size=finds_batch_size)

    @classmethod
    def from_hydra(cls, cfg: DictConfig) -> RunConfig:
        """From a config that `schema.check` has accepted."""
        plain: Any = OmegaConf.to_container(cfg, resolve=True)
        names = plain.get("names") or {}
        return cls(
            names=Names(names.get("model"), names.get("data"), names.get("experiment")),
            net=plain.get("net") or {},
            task=plain.get("task") or {},
            data=plain.get("data") or {},
            optimizer=plain.get("optimizer") or {},
            scheduler=plain.get("scheduler") or {},
            trainer=plain.get("trainer") or {},
            callbacks={key: node for key, node in (plain.get("callbacks") or {}).items() if node},
            logger={key: node for key, node in (plain.get("logger") or {}).items() if node},
            seed=plain["seed"],
            ckpt=plain.get("ckpt"),
            compile=plain["compile"],
            cache_features=plain["cache_features"],
            profile=plain["profile"],
            quiet=plain.get("quiet", False),
            test=plain["test"],
            on_nan=plain.get("on_nan", "stop"),
            skip_limit=plain.get("skip_limit", 20),
            lr_find=plain["lr_find"],
            expect=plain.get("expect") or [],
            composed=plain,
        )

    @property
    def precision(self) -> str:
        """The trainer's precision, in Lightning's notation."""
        return str(self.trainer.get("precision") or "32-true")

    @property
    def strategy(self) -> str:
        return str(self.trainer.get("strategy") or "auto")

    @property
    def accelerator(self) -> str:
        return str(self.trainer.get("accelerator") or "auto")

    @property
    def averages_weights(self) -> bool:
        """Whether a callback keeps a second, averaged copy of the weights."""
        return any("WeightAveraging" in str(node.get("_target_")) for node in self.callbacks.values())

    def with_options(self, node: Literal["data", "optimizer"], **options: object) -> RunConfig:
        """A copy with other options of a node."""
        changed = {**getattr(self, node), **options}
        return dataclasses.replace(self, **{node: changed})  # type: ignore[arg-type]

    def to_plain(self) -> dict[str, object]:
        """The whole config as plain data to store, including the options that the run chose."""
        chosen = {"data": self.data, "optimizer": self.optimizer}
        return {**self.composed, **{name: dict(node) for name, node in chosen.items() if node}}
