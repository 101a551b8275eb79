"""What ``dlzoo train --help`` prints: one screen, with the names of each group, and the models by family."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dlzoo.config import families
from dlzoo.config.group_files import ABOUT, File, files_by_group
from dlzoo.errors import visible

USAGE = """\
Train a classic deep-learning system: choose names from groups, and set options.
  dlzoo train model=lenet data=mnist optimizer.lr=0.01 trainer.max_epochs=5
  dlzoo train -m model=mlp,lenet seed=0,1   each combination, then one table
  dlzoo train … resume=auto                 resume the run with these overrides
"""
REST = """\
  dlzoo options data                   what each name in a group is
  dlzoo options model=vae data=mnist   every option, such as net.latent_dim=20
  dlzoo train … --cfg job              the config of a command line
"""
LONG = {
    "backbones of torchvision and timm": ("resnet18", "resnet50", "vgg16", "timm"),
    "augment": ("none", "shift", "mixup"),
    "optimizer": ("adam", "adamw", "sgd", "none"),
    "callbacks": ("default", "early_stopping", "none"),
    "experiment": ("lenet_mnist", "vae_mnist"),
}
"""Groups and families of models with many names, and some of them; not all are listed."""
WIDTH = 80


def lines(folders: Sequence[Path]) -> Iterator[str]:
    """The screen.

    Args:
        folders: of configs.
    """
    yield from USAGE.splitlines()
    found = files_by_group(folders)
    for group in [*(group for group in ABOUT if group in found), *(group for group in found if group not in ABOUT)]:
        yield from _group(group, found[group])
    yield from REST.splitlines()


def _group(group: str, files: Sequence[File]) -> Iterator[str]:
    names = [file.name for file in files]
    if group == "model":
        yield f"model=  {ABOUT[group]}; by what it takes or does:"
        found = families.models(files)
        yield from _packed(f"  {family}: {', '.join(_some(family, members))}" for family, members in found.items())
        return
    about = f"{ABOUT[group]}: " if group in ABOUT else ""
    yield from _listed(f"{group}=  {about}", _some(group, names))


def _some(of: str, names: Sequence[str]) -> Sequence[str]:
    return [*LONG[of], f"… ({len(names)})"] if of in LONG else names


def _packed(entries: Iterable[str]) -> Iterator[str]:
    """The entries, as many to a line as fit; one that is longer than a line stands alone, wrapped."""
    line = ""
    for entry in entries:
        joined = f"{line}; {entry.strip()}" if line else entry
        if line and len(joined) > WIDTH:
            yield from _listed(line, [])
            joined = entry
        line = joined
    yield from _listed(line, [])


def _listed(start: str, names: Sequence[str]) -> list[str]:
    return textwrap.wrap(visible(start + ", ".join(names)), WIDTH, subsequent_indent="    ", break_on_hyphens=False)
