"""A package of a user's own: a spec and a target, nets, tasks, data and a callback, as they would write them."""

from __future__ import annotations

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


def write(folder: Path, name: str) -> None:
    """The package ``name`` in a folder that is to be on the path."""
    package = folder / name
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "specs.py").write_text(SPECS)
    (package / "parts.py").write_text(PARTS.replace("mypkg", name))


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
