"""Runs of a small model on made pictures, for tests of callbacks: what they leave in every kind of run."""

import csv

import lightning.pytorch as pl
import matplotlib.image
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from plain_nets import as_net
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins import base_plugin
from torch import nn

from dlzoo.callbacks.progress import Progress
from dlzoo.data.base import InMemoryData
from dlzoo.data.loaders import Arrays
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes, Values
from dlzoo.tasks.interfaces import Predicting

CLASSES = Classes(("left", "right", "middle"))
VALUES = Values(("mean",), ("shade",))


class Pictures(InMemoryData):
    def __init__(self, target=CLASSES, **common):
        super().__init__(**common)
        self.target = target

    def declare(self):
        return ImageSpec(1, 6, 6, self.target)

    def load(self, split):
        generator = torch.Generator().manual_seed(len(split))
        x = torch.randint(256, (60, 1, 6, 6), generator=generator, dtype=torch.uint8)
        y = torch.arange(60) % 3 if isinstance(self.target, Classes) else x.float().mean((1, 2, 3))[:, None] / 255
        return Arrays(x, y)


class Tiny(Predicting):
    """A task in little. Its outputs are its net's, whatever the batch, so tests can foretell them."""

    def __init__(self, spec, *, net=None, soft=False):
        layers = nn.Flatten(), nn.Linear(36, 4), nn.BatchNorm1d(4), nn.Linear(4, spec.target.num_outputs)
        super().__init__(as_net(net or nn.Sequential(*layers)), spec)
        self.soft = soft
        self.losses = []
        self.seen = []

    @property
    def running_loss(self):
        return sum(self.losses) / len(self.losses)

    def outputs(self, inputs):
        return self.net(inputs)

    def predict(self, inputs):
        return self.outputs(inputs)

    def loss(self, output, target):
        return (
            nn.functional.cross_entropy(output, target)
            if isinstance(self.spec.target, Classes)
            else (output - target).square().mean()
        )

    def on_train_epoch_start(self):
        self.losses.clear()

    def training_step(self, batch, batch_idx):
        self.seen.append(batch[0].clone())
        loss = self.loss(self.net(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def on_train_epoch_end(self):
        self.log("train/loss", self.running_loss)

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.loss(self.net(batch[0]), batch[1]))

    def test_step(self, batch, batch_idx):
        output, target = self.net(batch[0]), batch[1]
        if self.soft:
            target = nn.functional.one_hot(target, 3).float()
        return {"output": output, "target": target, "loss": self.loss(output, target)}

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]


class Foretold(nn.Module):
    """Says class 0 with growing confidence, whatever the picture."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        logits = torch.zeros(len(x), 3)
        logits[:, 0] = torch.linspace(1, 2, len(x))
        return logits + self.weight


def make(folder, *callbacks, epochs=2, target=CLASSES, augment=None, tensorboard=False, **options):
    """(trainer, task, data), not run yet."""
    torch.manual_seed(0)
    data = Pictures(target, batch_size=16, augment=augment)
    data.setup("fit")
    trainer = pl.Trainer(
        default_root_dir=folder,
        callbacks=list(callbacks),
        logger=TensorBoardLogger(str(folder), name="", version="") if tensorboard else False,
        max_epochs=epochs,
        accelerator="cpu",
        enable_progress_bar=any(isinstance(c, Progress) for c in callbacks),
        enable_model_summary=False,
        **{"num_sanity_val_steps": 0, "enable_checkpointing": False, **options},
    )
    return trainer, Tiny(data.spec), data


def table(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def events(folder):
    found = EventAccumulator(str(folder), size_guidance={"images": 0, "histograms": 0, "tensors": 0})
    found.Reload()
    return found


def board(folder):
    """What TensorBoard's plugins see of the runs below a folder."""
    runs = EventMultiplexer()
    runs.AddRunsFromDirectory(str(folder))
    runs.Reload()
    return base_plugin.TBContext(data_provider=MultiplexerDataProvider(runs, str(folder)), logdir=str(folder))


def picture(path):
    """(height, width, spread of its pixels): a blank picture has no spread."""
    pixels = matplotlib.image.imread(path)
    return (*pixels.shape[:2], float(np.std(pixels[..., :3])))
