"""Reads YAML files, within limits."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dlzoo.errors import UserError, one_line
from dlzoo.utils.untrusted import check_yaml, read_text

_PACKAGE = Path(__file__).resolve().parents[1]
CONFIG_DIR = next(path for path in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if path.is_dir())
"""The YAML files of the groups: inside the package if installed from a wheel, next to it in a checkout."""

ERRORS = (
    YAMLError, OmegaConfBaseException, ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
    AssertionError, RecursionError,
)  # fmt: skip
"""What building the values of YAML raises: for a tag that does not fit its text, such as ``!!bool x``, a `KeyError`."""


def read_yaml(path: Path) -> object:
    """The content of a YAML file as plain containers, with references to other keys unresolved."""
    return parse_yaml(read_text(path), path)


def parse_yaml(text: str, source: object) -> object:
    """YAML as plain containers.

    Args:
        source: its name in messages.

    Raises:
        UserError: it is not YAML, or exceeds the limits of `dlzoo.utils.untrusted`.
    """
    return OmegaConf.to_container(create(text, source))


def create(text: str, source: object) -> DictConfig | ListConfig:
    """YAML as a config; see `parse_yaml`."""
    check_yaml(text, source)
    try:
        return OmegaConf.create(text)
    except ERRORS as error:
        raise UserError(f"{source} is damaged or not YAML: {one_line(error, 200)}") from None
