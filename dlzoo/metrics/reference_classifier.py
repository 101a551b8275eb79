"""A classifier of real images, used to measure generated images.

It is LeNet-5 as in configs/experiment/lenet_mnist.yaml, trained on all official training images of the data with a
fixed recipe and seed, independent of the run: so all runs on the same data are measured by the same net. The metrics
are comparable within this project only: other sources use an Inception net trained on ImageNet, or their own net. The
weights are cached in the user's cache folder, or in the folder set by DLZOO_CACHE_DIR.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path
from typing import TypedDict

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from dlzoo.data.loaders import Arrays, as_float
from dlzoo.nets.lenet import LeNet
from dlzoo.specs.inputs import ImageSpec
from dlzoo.utils import torch_files
from dlzoo.utils.files import replaced
from dlzoo.utils.output import note
from dlzoo.utils.state_checks import mapping


class Recipe(TypedDict):
    """How the reference classifier is trained."""

    version: int
    epochs: int
    least_steps: int
    batch_size: int
    lr: float
    seed: int


RECIPE: Recipe = {"version": 1, "epochs": 4, "least_steps": 400, "batch_size": 128, "lr": 5e-3, "seed": 0}
BATCH_SIZE = 500


class ReferenceClassifier(nn.Module):
    """Images (B, C, H, W) in [0, 1] -> features (B, 84), LeNet's last hidden layer, and logits (B, K)."""

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__()
        self.net = LeNet(spec, activation="relu", pool="max")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.net.layers[:-1](self.net.enlarge(x))
        return features, self.net.layers[-1](features)

    @torch.no_grad()
    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits of many images, computed in batches and returned on the CPU."""
        device = next(self.parameters()).device
        parts = [self(part.to(device)) for part in x.split(BATCH_SIZE)]
        features, logits = (torch.cat(each).float().cpu() for each in zip(*parts, strict=True))
        return features, logits


def load_reference_classifier(spec: ImageSpec, rows: Arrays, device: torch.device) -> ReferenceClassifier:
    """The reference classifier of a data set, from the cache or newly trained.

    Args:
        rows: all training images, uint8 or float in [0, 1], and their labels.
    """
    path = cache_folder() / f"lenet-{fingerprint(rows)}.pt"
    with torch.random.fork_rng():
        classifier = ReferenceClassifier(spec)
    try:
        classifier.load_state_dict(mapping(torch_files.load(path), "state_dict"))
    except Exception as error:  # a missing, damaged or foreign file may raise anything
        if path.exists():
            note(f"{path} cannot be used ({type(error).__name__}) and is recreated")
        started = time.perf_counter()
        note("training LeNet on the real images, once, to measure generated ones …", end=" ")
        train(classifier.to(device), rows)
        note(f"{time.perf_counter() - started:.0f} s")
        save(classifier, path)
    return classifier.to(device).eval().requires_grad_(False)


@torch.enable_grad()
def train(classifier: ReferenceClassifier, rows: Arrays, recipe: Recipe = RECIPE) -> None:
    """Train from the same weights and in the same order each time, without touching the run's random state."""
    device = next(classifier.parameters()).device
    num, size = rows.num_rows, recipe["batch_size"]
    per_epoch = -(-num // size)
    epochs = max(recipe["epochs"], -(-recipe["least_steps"] // per_epoch))
    with isolate_rng():
        torch.manual_seed(recipe["seed"])
        for module in classifier.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.reset_parameters()
        optimizer = torch.optim.Adam(classifier.parameters(), recipe["lr"])
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe["lr"], total_steps=epochs * per_epoch)
        for _ in range(epochs):
            for chosen in torch.randperm(num).split(size):
                x, y = (t.index_select(0, chosen.to(t.device)).to(device) for t in rows[:2])
                loss = F.cross_entropy(classifier(as_float(x))[1], y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()


def fingerprint(rows: Arrays) -> str:
    """Hash of the images, their labels and the recipe."""
    digest = hashlib.sha256(repr(sorted(RECIPE.items())).encode())
    for t in rows[:2]:
        digest.update(f"{t.dtype}{tuple(t.shape)}".encode())
        digest.update(t.cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    import platformdirs

    return Path(os.environ.get("DLZOO_CACHE_DIR") or platformdirs.user_cache_dir("dlzoo")).expanduser()


def save(classifier: ReferenceClassifier, path: Path) -> None:
    """Write the weights atomically; if the folder is not writable, the next run trains again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as temporary:
            torch.save({name: weight.cpu() for name, weight in classifier.state_dict().items()}, temporary)
    except OSError as error:
        print(
            f"warning: {path} cannot be written ({error.strerror}); set DLZOO_CACHE_DIR to another folder",
            file=sys.stderr,
        )
