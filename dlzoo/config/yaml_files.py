"""YAML files of runs, read within limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dlzoo.errors import UserError, one_line
from dlzoo.utils.untrusted import check_yaml, read_text


def read_yaml(path: Path) -> Any:
    """The content of a YAML file as plain containers; references to other keys stay as they are written."""
    return parse_yaml(read_text(path), path)


def parse_yaml(text: str, source: object) -> Any:
    """A YAML text as plain containers.

    Args:
        source: how messages name it.

    Raises:
        UserError: it is no YAML, or is larger or deeper than any config.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    check_yaml(text, source)
    try:
        return OmegaConf.to_container(OmegaConf.create(text))
    except (YAMLError, OmegaConfBaseException, ValueError, TypeError, AssertionError, RecursionError) as error:
        raise UserError(f"{source} is damaged or not YAML: {one_line(error, 200)}") from None
