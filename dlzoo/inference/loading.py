"""Loading a checkpoint for use, and the data that it names.

Torch is imported only when a checkpoint is loaded, so that a command answers --help and a typo at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlzoo.errors import UserError, one_line

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from dlzoo.data.base import DataModule
    from dlzoo.tasks.base import Task


def load(ckpt: Path, trust: str | None = None) -> tuple[Task, DictConfig]:
    """The trained task, on the CPU, and its config; errors of a config that somebody else wrote become a `UserError`.

    Args:
        trust: the user's packages whose classes may be built, as the option ``trust`` names them.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from dlzoo.checkpoint.load import load_task
    from dlzoo.config.allowlist import packages_in

    packages = packages_in(trust)
    try:
        return load_task(ckpt, packages)
    except UserError:
        raise
    except (
        HydraException, OmegaConfBaseException, YAMLError, LookupError, TypeError, ValueError, AttributeError,
        AssertionError, RuntimeError, ArithmeticError,
    ) as error:  # fmt: skip
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"ckpt={ckpt}: this version of dlzoo cannot rebuild the model from the stored config ({reason})"
        ) from None


def data_of(cfg: DictConfig, ckpt: Path, **options: object) -> DataModule:
    """The data that a checkpoint names, with ``options`` replaced; arguments are checked against the signature."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from dlzoo.config import introspection as signatures

    node: Any = OmegaConf.to_container(cfg.data)
    signatures.check_arguments(node, "data", set())
    try:
        return instantiate(cfg.data, **options)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise UserError(f"ckpt={ckpt}: its data cannot be built ({one_line(error, 200)})") from None
