"""A fresh virtual environment that sees the packages of this one, so that only what is tested is installed into it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import own_package

ROOT = Path(__file__).parent.parent


class Environment(NamedTuple):
    """A virtual environment, and a folder to work in."""

    folder: Path

    @property
    def scripts(self) -> Path:
        return self.folder / "venv" / ("Scripts" if os.name == "nt" else "bin")

    @property
    def site(self) -> Path:
        (site,) = (self.folder / "venv").rglob("site-packages")
        return site

    def call(self, *words: str, at: str | Path = ".") -> subprocess.CompletedProcess[str]:
        """``dlzoo <words>`` in a folder."""
        here = self.folder / at
        here.mkdir(parents=True, exist_ok=True)
        return output([str(self.scripts / "dlzoo"), *words], here)

    def pip(self, *words: str) -> None:
        done = output([sys.executable, "-m", "pip", "--python", str(self.scripts / "python"), *words], self.folder)
        assert done.returncode == 0, done.stderr

    def install(self, source: Path) -> None:
        """Build the wheel of a source folder, and install it."""
        dist = self.folder / "dist" / source.name
        done = output([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(dist)], source)
        assert done.returncode == 0, done.stderr
        (wheel,) = dist.glob("*.whl")
        self.pip("install", "-q", "--no-deps", "--no-index", str(wheel))

    def install_editable(self, source: Path, name: str) -> None:
        """What ``pip install -e`` leaves, which would download what builds it."""
        (self.site / f"{name}.pth").write_text(f"{source / 'src'}\n")
        own_package.install(self.site, name)


def create(folder: Path) -> Environment:
    """An environment with dlzoo, from its wheel."""
    made = Environment(folder)
    output([sys.executable, "-m", "venv", "--without-pip", "venv"], folder)
    (made.site / "packages_of_the_tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    made.install(ROOT)
    return made


def output(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """What a program prints, in a folder; ruff is that of this environment."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    program = shutil.which(command[0]) or command[0]
    return subprocess.run([program, *command[1:]], cwd=folder, env=env, capture_output=True, text=True, check=False)
