"""Options that would be ignored beside the others, which is a mistake of whoever gave them.

Which option needs which other is known to the part that takes it: a task, a net and a source of data answer with
`option_uses`. What a model's or a data set's own file sets is no mistake: ``model=denoising_autoencoder
task.noise=none`` leaves the level of noise that stands there without a use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from omegaconf import DictConfig, OmegaConf

from dlzoo.config.compose import CONFIG_DIR
from dlzoo.config.run_dir import is_given
from dlzoo.errors import ignored_option

NEEDED = (("trainer", "gradient_clip_algorithm", "gradient_clip_val"), ("optimizer", "dampening", "momentum"))
"""The same of what libraries build: a node, its option, and the one without which they ignore it."""

OptionUses = Mapping[str, tuple[bool, str]]
"""By option: whether it has an effect beside the others, and with what it would."""


class Part(Protocol):
    def option_uses(self) -> OptionUses: ...


def check(cfg: DictConfig, parts: Mapping[str, Part], overrides: Sequence[str] = ()) -> None:
    """Refuse an option that has no effect.

    Args:
        parts: what was built of each node of the config.
        overrides: what was typed; it is looked at even where a file says the same.

    Raises:
        UserError: the option, what it needs, and how to leave it out.
    """
    for node, part in parts.items():
        by_file = _of_file(node, cfg)
        for key, (is_used, needs) in part.option_uses().items():
            value = cfg[node].get(key)
            is_own = value != by_file.get(key) or is_given(f"{node}.{key}", overrides)
            if value is not None and not is_used and is_own:
                raise ignored_option(f"{node}.{key}", value, needs)
    for node, key, needs in NEEDED:
        options = cfg.get(node) or {}
        if options.get(key) and not options.get(needs):
            raise ignored_option(f"{node}.{key}", options[key], f"{node}.{needs}")


def _of_file(node: str, cfg: DictConfig) -> Any:
    """What the chosen model's or data set's own file says of a node."""
    group = "data" if node == "data" else "model"
    file = CONFIG_DIR / group / f"{cfg.names[group]}.yaml"
    if not file.is_file():
        return {}
    content: Any = OmegaConf.load(file)
    return (content if group == "data" else content.get(node)) or {}
