"""A package of a user's own: a spec and a target, nets, tasks, data and a callback, as they would write them."""

from __future__ import annotations

import re
from pathlib import Path

SPECS = """from __future__ import annotations

from dataclasses import dataclass

from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes


@dataclass(frozen=True)
class Grades(Classes):
    what = "grades"


@dataclass(frozen=True)
class ScanSpec(ImageSpec):
    what = "scans"
    device_name: str = ""
"""

PARTS = """from pathlib import Path

import torch
from lightning.pytorch import Callback
from torch import nn

from dlzoo.data.base import InMemoryData
from dlzoo.data.loaders import Arrays
from dlzoo.nets.base import EncoderDecoder, Net
from dlzoo.nets.gan import GAN
from dlzoo.tasks.autoencoder import Autoencoding
from dlzoo.tasks.supervised import Supervised
from mypkg.specs import Grades, ScanSpec

SPEC = ScanSpec(1, 6, 6, Grades(("low", "high")), device_name="bench")


class Scans(InMemoryData):
    kind = ScanSpec

    def declare(self):
        return SPEC

    def load(self, split):
        draw = torch.Generator().manual_seed(len(split))
        y = torch.arange(60) % 2
        x = torch.rand(60, 1, 6, 6, generator=draw) * 0.4 + 0.5 * y.view(-1, 1, 1, 1)
        return Arrays((x * 255).byte(), y)


class MyNet(Net):
    accepts = (ScanSpec,)

    def __init__(self, spec, *, width: int = 4):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(spec.num_features, width), nn.ReLU(), nn.Linear(width, 2))

    def forward(self, x):
        return self.layers(x)


class MyCoder(EncoderDecoder):
    accepts = (ScanSpec,)

    def __init__(self, spec):
        super().__init__()
        self.shape = spec.shape
        self.down = nn.Linear(spec.num_features, 3)
        self.up = nn.Linear(3, spec.num_features)

    def encode(self, x):
        return self.down(x.flatten(1))

    def decode(self, codes):
        return self.up(codes).view(-1, *self.shape)

    def forward(self, x):
        return self.decode(self.encode(x)).sigmoid()


class MyPair(GAN):
    accepts = (ScanSpec,)


class MyTask(Supervised):
    targets = (Grades,)


class MyCoding(Autoencoding):
    targets = (Grades,)


class Note(Callback):
    def on_train_end(self, trainer, pl_module):
        Path(trainer.default_root_dir, "note.txt").write_text("noted")
"""


def _of(name: str, code: str) -> str:
    """The code of a package of this name; its specs have names of their own, as a process may import several."""
    prefix = "".join(part.capitalize() for part in name.split("_"))
    return re.sub(r"\b(Grades|ScanSpec)\b", rf"{prefix}\1", code.replace("mypkg", name))


def write(folder: Path, name: str) -> None:
    """The package ``name`` in a folder that is to be on the path."""
    package = folder / name
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for file, content in {"specs.py": SPECS, "parts.py": PARTS}.items():
        (package / file).write_text(_of(name, content))


def install(folder: Path, name: str, *, group: str = "dlzoo.plugins") -> None:
    """What pip leaves in a folder on the path for a distribution with an entry point that names a package."""
    info = folder / f"{group.replace('.', '_')}_{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {info.name.partition('-')[0]}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\nmine = {name}\n")


CONFIGS = {
    "model/{name}_net.yaml": """# @package _global_
# A small net for scans.
net: {{_target_: {name}.parts.MyNet, width: 5}}
task: {{_target_: {name}.parts.MyTask}}
""",
    "data/{name}_scans.yaml": """# Made-up scans.
_target_: {name}.parts.Scans
batch_size: 20
""",
    "callbacks/{name}_note.yaml": """# Writes a note.
note: {{_target_: {name}.parts.Note}}
""",
    "experiment/{name}_first.yaml": """# @package _global_
# The net on the scans.
defaults:
  - override /model: {name}_net
  - override /data: {name}_scans
breadth: 6
net: {{width: "${{breadth}}"}}
trainer: {{max_epochs: 1, accelerator: cpu}}
""",
}
"""Its configs, which a plugin brings along."""


def write_configs(folder: Path, name: str) -> Path:
    """The configs of the package, in it."""
    configs = folder / name / "configs"
    for path, text in CONFIGS.items():
        file = configs / path.format(name=name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.format(name=name))
    return configs


def words(name: str) -> dict[str, list[str]]:
    """What trains its nets, by what they are: ``classifier``, ``coder`` and ``pair``."""
    common = [f"data._target_={name}.parts.Scans", "data=digits", "trainer=cpu", "trainer.max_epochs=1", "logger=none"]
    return {
        "classifier": [
            *common, f"net._target_={name}.parts.MyNet", f"task._target_={name}.parts.MyTask",
            f"+callbacks.note._target_={name}.parts.Note",
        ],
        "coder": [
            *common, "model=autoencoder", f"net._target_={name}.parts.MyCoder", f"task._target_={name}.parts.MyCoding",
        ],
        "pair": [*common, "model=gan", f"net._target_={name}.parts.MyPair"],
    }  # fmt: skip
