"""Folders of images: the same batches from memory and from workers, and memory only while there is room."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from photo_folders import CLASSES, ids, ways
from PIL import Image
from torch import Tensor, nn

from dlzoo.data import loaders
from dlzoo.data.images import folder as image_folder
from dlzoo.data.images.decode import Decode
from dlzoo.data.images.folder import ImageFolder
from dlzoo.errors import UserError


def test_the_spec_reads_folder_names_only(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("an image was opened"))
    monkeypatch.setattr(ImageFolder, "_files", property(lambda self: pytest.fail("all files were listed")))
    spec = ImageFolder(path=photos, size=[6, 9], channels=1).declare()
    assert spec.shape == (1, 6, 9)
    assert spec.target.names == CLASSES
    assert spec.mean == ()


@ways
def test_each_image_is_in_one_split_and_has_its_class(photos: Path, way: dict[str, Any]) -> None:
    data = ImageFolder(path=str(photos), size=8, val_fraction=0.25, batch_size=5, seed=1, **way)
    data.setup()
    sizes = {}
    seen = []
    for split, loader in {
        "train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader(),
    }.items():  # fmt: skip
        batches = list(loader)
        x, y = (torch.cat([batch[i] for batch in batches]) for i in (0, 1))
        assert (x.dtype, y.dtype, x.shape[1:]) == (torch.uint8, torch.int64, (3, 8, 8))
        assert [k for k, _ in ids(x)] == y.tolist()
        assert len(batches) == len(loader)
        sizes[split] = y.bincount().tolist()
        seen += ids(x)
    assert sizes == {"train": [6, 6, 6], "val": [2, 2, 2], "test": [2, 2, 2]}
    assert sorted(seen) == [(k, i) for k in range(3) for i in range(10)]


def epochs(data: ImageFolder, num: int = 2) -> Iterator[list[tuple[list[tuple[int, int]], list[int]]]]:
    loader = data.train_dataloader()
    for epoch in range(num):
        loader.set_epoch(epoch)
        yield [(ids(x), y.tolist()) for x, y, _ in loader]


@pytest.mark.parametrize("rank", [(0, 1), (1, 2)])
def test_memory_and_workers_give_the_same_batches(
    photos: Path, rank: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaders, "rank_and_world", lambda: rank)
    common: dict[str, Any] = {"path": photos, "size": 8, "batch_size": 4, "seed": 5, "standardize": True}
    memory = ImageFolder(placement="host", **common)
    workers = ImageFolder(placement="workers", num_workers=2, **common)
    first, second = list(epochs(memory)), list(epochs(workers))
    assert first == second
    assert first[0] != first[1]
    assert [ids(x) for x, _, _ in memory.val_dataloader()] == [ids(x) for x, _, _ in workers.val_dataloader()]
    assert memory.spec == workers.spec
    assert len(memory.spec.mean) == 3
    for split in ("train", "val", "test"):
        assert memory.arrays(split).x.equal(workers.arrays(split).x)


def test_both_ways_train_the_same_model(photos: Path) -> None:
    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 8), nn.Dropout(), nn.Linear(8, 3))

        def training_step(self, batch: tuple[Tensor, ...], _: int) -> Tensor:
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        validation_step = training_step

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def weights(**way: Any) -> Tensor:
        net = Net()
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = pl.Trainer(accelerator="cpu", max_epochs=2, enable_model_summary=False, **quiet)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(net, ImageFolder(path=photos, size=4, batch_size=7, **way))
        assert multiprocessing.active_children() == []
        assert trainer.global_step == 2 * 4  # 30 images, less 6 for test, less 2 for validation: 22 in an epoch
        return torch.cat([p.flatten() for p in net.parameters()])

    assert weights(placement="host").equal(weights(placement="workers", num_workers=1))


@pytest.mark.parametrize(("num_bytes", "in_workers"), [(30 * 3 * 64, False), (30 * 3 * 64 - 1, True)])
def test_auto_takes_memory_while_the_images_fit(photos: Path, num_bytes: int, in_workers: bool) -> None:
    data = ImageFolder(path=photos, size=8, memory_mb=num_bytes / 2**20)
    assert data.in_workers is in_workers
    assert isinstance(data.train_dataloader(), loaders.WorkerLoader if in_workers else loaders.TensorLoader)
    assert not ImageFolder(path=photos, memory_mb=0, placement="device").in_workers
    assert ImageFolder(path=photos, placement="workers").in_workers


def test_workers_refuse_to_give_arrays_beyond_the_memory(photos: Path) -> None:
    data = ImageFolder(path=photos, size=8, memory_mb=0.001)
    assert data.arrays("val").num_rows == 2
    with pytest.raises(UserError, match=r"the train images .* raise data\.memory_mb"):
        data.arrays("train")


def test_statistics_of_a_large_set_come_from_some_training_images(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_folder, "NUM_FIT_IMAGES", 5)
    opened = []
    call = Decode.__call__
    monkeypatch.setattr(Decode, "__call__", lambda self, path: opened.append(path) or call(self, path))
    data = ImageFolder(path=photos, size=8, placement="workers", num_workers=0, standardize=True)
    data.setup("fit")
    assert len(set(opened)) == 5
    paths, rows = data._files
    assert set(opened) <= {paths[i] for i in data._arrays["train"].x.tolist()}
    green = np.mean([np.asarray(Image.open(path))[0, 0, 1] for path in opened]) / 255
    assert data.spec.mean[1] == pytest.approx(green)
    assert rows["test"].num_rows == 6
