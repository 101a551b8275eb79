"""Imports of dlzoo are declared in pyproject.toml, and missing optional packages named before torch is imported."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from dlzoo.utils import extras

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COME_WITH_OTHERS = {"sqlalchemy": "optuna", "huggingface_hub": "timm"}
"""Packages of an optional package, imported beside it."""


def distribution(requirement: str) -> str:
    """``gymnasium[classic-control]>=1.3`` -> ``gymnasium``"""
    name = requirement.replace("[", " ").replace(">", " ").replace("<", " ").split()[0]
    return name.lower().replace("_", "-")


def imported_packages() -> set[str]:
    """The top-level packages that any module of dlzoo imports, anywhere in its code."""
    names: set[str] = set()
    for path in (ROOT / "dlzoo").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add((node.module or "").partition(".")[0])
    return names - {"dlzoo", *sys.stdlib_module_names}


def test_every_import_is_declared() -> None:
    declared = {distribution(requirement) for requirement in PROJECT["dependencies"]}
    of_package = metadata.packages_distributions()
    optional = {package.partition(".")[0] for package in extras.EXTRAS}
    for package in imported_packages() - optional - {*COME_WITH_OTHERS}:
        assert declared & {name.lower().replace("_", "-") for name in of_package[package]}, package


@pytest.mark.parametrize(("package", "extra"), extras.EXTRAS.items())
def test_every_extra_exists(package: str, extra: str) -> None:
    """The test environment lacks some: then only the name of the extra is compared."""
    installs = {distribution(requirement) for requirement in PROJECT["optional-dependencies"][extra]}
    known = metadata.packages_distributions().get(package.partition(".")[0])
    assert installs
    if known and len(installs) > 1:
        assert installs & {name.lower().replace("_", "-") for name in known}, package


def test_missing_packages_are_named_before_torch_is_imported(tmp_path: Path) -> None:
    """As if none were installed: one process for all, since each would compose configs again."""
    lines = [
        ["model=timm", "net.name=resnet18"],
        ["experiment=dqn_lunarlander"],
        ["model=dqn", "data=gym", "data.id=ALE/Breakout-v5"],
        ["-m", "sweep=[tpe,mlp_mnist]"],
        ["-m", "hydra/launcher=submitit_slurm", "seed=0,1"],
        ["model=lenet", "data=image_folder", "data.path=set"],
    ]
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "dataset_dict.json").touch()
    program = f"""
import sys
sys.modules.update(dict.fromkeys({[*extras.EXTRAS]}))
from dlzoo.commands.train import main
for line in {lines}:
    sys.argv = ["train.py", *line]
    try:
        main()
    except SystemExit as end:
        print(end.code)
print({{'torch', 'lightning', 'torchvision'}} & {{*sys.modules}})
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["2"] * len(lines) + ["set()"], done.stderr
    assert done.stderr.splitlines() == [
        "error: net.name=resnet18 needs the package timm, which is not installed: pip install 'dlzoo[timm]'",
        "error: data.id=LunarLander-v3 needs the package Box2D, which is not installed: pip install 'dlzoo[box2d]'",
        "error: data.id=ALE/Breakout-v5 needs the package ale-py, which is not installed: pip install 'dlzoo[atari]'",
        "error: a search needs the package optuna, which is not installed: pip install 'dlzoo[sweep]'",
        "error: hydra/launcher=submitit_slurm needs the package submitit, which is not installed: "
        "pip install 'dlzoo[slurm]'",
        "error: data.path=set needs the package pyarrow, which is not installed: pip install 'dlzoo[parquet]'",
    ]


def test_a_package_within_a_missing_one_is_missing() -> None:
    assert not extras.is_installed("no_such_package.part")
