"""Refuses options that would have no effect in combination with the others.

Tasks, nets and data declare in `option_uses` which of their options depend on others. Values from the file of the
model or the data set are accepted: ``model=denoising_autoencoder task.noise=none`` makes the noise level in that file
unused, which is not a mistake.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from omegaconf import OmegaConf

from dlzoo.config import plugins
from dlzoo.config.overrides import is_given
from dlzoo.config.run_config import Names, Node, RunConfig
from dlzoo.errors import ignored_option

NEEDED = (("trainer", "gradient_clip_algorithm", "gradient_clip_val"), ("optimizer", "dampening", "momentum"))
"""For parts of libraries: a node, its option, and the option that it requires."""

OptionUses = Mapping[str, tuple[bool, str]]
"""By option: whether it has an effect given the others, and what it requires."""


def check(config: RunConfig, uses: Mapping[str, OptionUses], overrides: Sequence[str] = ()) -> None:
    """Refuse an option that has no effect.

    Args:
        uses: of the options of each node of the config.
        overrides: those of the command line, which are checked even if a file sets the same value.

    Raises:
        UserError: names the option and what it requires.
    """
    nodes: dict[str, Node] = {name: getattr(config, name) for name in ("net", "task", "data", "optimizer", "trainer")}
    for node, options_of_node in uses.items():
        defaults = _defaults(node, config.names)
        for key, (is_used, needs) in options_of_node.items():
            value = nodes[node].get(key)
            is_set = value != defaults.get(key) or is_given(f"{node}.{key}", overrides)
            if value is not None and not is_used and is_set:
                raise ignored_option(f"{node}.{key}", value, needs)
    for node, key, needs in NEEDED:
        options = nodes[node]
        if options.get(key) and not options.get(needs):
            raise ignored_option(f"{node}.{key}", options[key], f"{node}.{needs}")


def _defaults(node: str, names: Names) -> Node:
    """The options of a node in the file of the chosen model or data set."""
    group: Literal["data", "model"] = "data" if node == "data" else "model"
    file = plugins.config_files(group).get(f"{names.of(group)}")
    if file is None:
        return {}
    content: Any = OmegaConf.load(file)
    return (content if group == "data" else content.get(node)) or {}
