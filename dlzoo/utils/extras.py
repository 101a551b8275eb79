"""Packages that only some parts of dlzoo need: ``pip install 'dlzoo[<extra>]'`` installs them."""

from __future__ import annotations

import importlib.util
import sys

from dlzoo.errors import UserError

EXTRAS = {
    "timm": "timm",
    "statsmodels": "forecast",
    "tokenizers": "bpe",
    "pyarrow": "parquet",
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "export",
    "optuna": "sweep",
    "submitit": "slurm",
    "hydra_plugins.hydra_submitit_launcher": "slurm",
    "imageio_ffmpeg": "video",
    "Box2D": "box2d",
    "ale_py": "atari",
    "huggingface_hub": "hub",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "sqlalchemy": "mlflow",
    "alembic": "mlflow",
    "trackio": "trackio",
}
"""The optional packages, as they are imported, with the extra of pyproject.toml that installs each."""


def is_installed(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    if package in sys.modules:
        return sys.modules[package] is not None
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False


def require(key: str, *packages: str) -> None:
    """`UserError` on how to install the first of these packages that is missing.

    Args:
        key: what needs them, such as ``format=onnx``.
        packages: names in `EXTRAS`.
    """
    for package in packages:
        if not is_installed(package):
            extra = EXTRAS[package]
            name = package.rpartition(".")[2].replace("_", "-")
            raise UserError(f"{key} needs the package {name}, which is not installed: pip install 'dlzoo[{extra}]'")
