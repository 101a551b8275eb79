"""Features of a frozen backbone, computed once: they are those that the whole net makes in evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

from dlzoo.data.base import InMemoryData
from dlzoo.data.features import CachedFeatures
from dlzoo.data.loaders import Arrays
from dlzoo.errors import UserError
from dlzoo.nets.torchvision_net import TorchvisionNet
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes
from dlzoo.tasks.finetuning import Features, Finetune
from dlzoo.tasks.supervised import Supervised
from dlzoo.training import trainer

SPEC = ImageSpec(3, 16, 16, Classes(("dark", "light")))


class Shades(InMemoryData):
    """uint8 pictures with weights."""

    def declare(self) -> ImageSpec:
        return SPEC

    def load(self, split: Any) -> Arrays:
        generator = torch.Generator().manual_seed(len(split))
        x = torch.randint(256, (20, *SPEC.shape), generator=generator, dtype=torch.uint8)
        return Arrays(x, torch.arange(20) % 2, torch.linspace(0.5, 2, 20))


def task_of(folder: Path, transfer: Any = None) -> Supervised:
    torch.manual_seed(0)
    torch.save(TorchvisionNet(SPEC, name="resnet20").state_dict(), folder / "weights.pth")
    net = TorchvisionNet(SPEC, name="resnet20", weights=str(folder / "weights.pth"), dropout=0.5)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that are not those of a batch
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return Supervised(net, SPEC, transfer=transfer or Features())


def trainer_in(folder: Path) -> pl.Trainer:
    return pl.Trainer(default_root_dir=folder, accelerator="cpu", logger=False, enable_checkpointing=False)


def pixels(rows: Arrays) -> Tensor:
    return rows.x.double().div(255).float()


def test_cached_features_are_those_of_the_net_in_evaluation(tmp_path: Path) -> None:
    """A new net is in training mode: BatchNorm would take each batch's statistics, and change its own."""
    task, data = task_of(tmp_path), Shades(batch_size=4, eval_batch_size=7, seed=3)
    assert task.net.training
    before = {name: value.clone() for name, value in task.net.state_dict().items()}
    data.setup("fit")
    cached = trainer.cached_features(task, data, trainer_in(tmp_path))
    assert all(torch.equal(value, before[name]) for name, value in task.net.state_dict().items())
    task.net.eval()
    for split, num in (("train", 18), ("val", 2)):
        rows, found = data.arrays(split), cached.arrays(split)  # type: ignore[arg-type,attr-defined]
        assert found.num_rows == num
        with torch.no_grad():
            expected = task.net.features(pixels(rows))
            torch.testing.assert_close(task.net(found.x), task.net(pixels(rows)))  # and its head takes them as they are
        torch.testing.assert_close(found.x, expected)
        assert found.x.dtype == torch.float
        assert torch.equal(found.y, rows.y)
        assert torch.equal(found.weight, rows.weight)  # type: ignore[arg-type]
    assert (cached.batch_size, cached.eval_batch_size, cached.seed) == (4, 7, 3)
    assert cached.spec == data.spec
    assert cached.declare() == data.declare()
    with pytest.raises(NotImplementedError):
        cached.load("train")  # they would be pictures


def test_only_a_frozen_backbone_s_features_are_kept(tmp_path: Path) -> None:
    data = Shades()
    data.setup("fit")
    with pytest.raises(UserError, match=r"cache_features=true .*use it with transfer=features"):
        trainer.cached_features(task_of(tmp_path, Finetune()), data, trainer_in(tmp_path))


def test_pictures_that_change_are_not_kept() -> None:
    data = Shades(augment=nn.Identity())
    data.setup("fit")
    with pytest.raises(UserError, match=r"cache_features=true .*augment=none"):
        CachedFeatures(data, lambda x: x, device=torch.device("cpu"), context=torch.no_grad)


def test_rows_without_weights_are_cached_without() -> None:
    class Plain(Shades):
        def load(self, split: Any) -> Arrays:
            return super().load(split)._replace(weight=None)

    data = Plain(eval_batch_size=7)
    data.setup("fit")
    cached = CachedFeatures(data, lambda x: x.flatten(1), device=torch.device("cpu"), context=torch.no_grad)
    rows, found = data.arrays("train"), cached.arrays("train")
    torch.testing.assert_close(found.x, pixels(rows).flatten(1))
    assert torch.equal(found.y, rows.y)
    assert found.weight is None
