"""What every source of data has in common: statistics of the training rows alone, splits, batches as nets want them."""

from __future__ import annotations

import dataclasses
from itertools import chain
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor, nn

from dlzoo.data.base import InMemoryData, moments
from dlzoo.data.loaders import Arrays
from dlzoo.errors import UserError
from dlzoo.specs.batch import Batch, tensors
from dlzoo.specs.inputs import Column, ImageSpec, TableSpec
from dlzoo.specs.targets import Classes, Values

CLASSES, VALUES = Classes(("a", "b", "c")), Values(("y",))


class Table(InMemoryData):
    """Thirty rows of two features, the second constant; the test rows are others."""

    def __init__(self, target: Classes | Values = CLASSES, **common: Any) -> None:
        super().__init__(**common)
        self.target = target
        self.loaded: list[str] = []

    def declare(self) -> TableSpec:
        return TableSpec((Column("number"), Column("constant")), self.target)

    def load(self, split: Any) -> Arrays:
        self.loaded.append(split)
        number = torch.arange(30.0) if split == "train" else torch.arange(100.0, 112)
        y = number.long() % 3 if isinstance(self.target, Classes) else number[:, None]
        return Arrays(torch.stack([number, torch.full_like(number, 7.0)], 1), y)


class ImageObservation(InMemoryData):
    def declare(self) -> ImageSpec:
        return ImageSpec(1, 2, 2, CLASSES)

    def load(self, split: Any) -> Arrays:
        return Arrays(torch.arange(0, 240, 2, dtype=torch.uint8).view(30, 1, 2, 2), torch.arange(30) % 3)


# Moments


def parts_of(x: Tensor, *sizes: int) -> list[Tensor]:
    return list(x.split(list(sizes)))


@pytest.mark.parametrize("sizes", [(60,), (1, 59), (20, 20, 20), (7, 50, 3)])
def test_moments_of_parts_are_those_of_the_whole(sizes: tuple[int, ...]) -> None:
    x = 3 + 2 * torch.randn(60, 4)
    mean, std = moments(parts_of(x, *sizes))
    np.testing.assert_allclose(mean, x.double().numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(std, x.double().numpy().std(0), rtol=1e-12)
    assert mean.dtype == std.dtype == torch.double


@pytest.mark.parametrize("sizes", [(12,), (5, 7)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float])
def test_moments_of_pictures_are_those_of_each_channel(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.randint(256, (12, 3, 5, 4), dtype=torch.uint8)
    x[:, 1] //= 4
    as_nets_see_it = x.numpy() / 255
    given = x if dtype == torch.uint8 else torch.from_numpy(as_nets_see_it)
    mean, std = moments(parts_of(given, *sizes))
    np.testing.assert_allclose(mean, as_nets_see_it.mean((0, 2, 3)), rtol=1e-10)
    np.testing.assert_allclose(std, as_nets_see_it.std((0, 2, 3)), rtol=1e-10)


def test_moments_by_hand() -> None:
    """1, 2, 3, 6: mean 3, squares 4 + 1 + 0 + 9 over four."""
    x = torch.tensor([[1.0], [2.0], [3.0], [6.0]])
    for sizes in ((4,), (1, 3), (2, 2)):
        mean, std = moments(parts_of(x, *sizes))
        assert (mean.item(), std.item()) == pytest.approx((3, 3.5**0.5))


def test_moments_do_not_lose_digits_far_from_zero() -> None:
    x = torch.tensor([[1e6], [1e6 + 1], [1e6 + 2]])
    assert moments(parts_of(x, 2, 1))[1].item() == pytest.approx((2 / 3) ** 0.5)


# Setup


def test_statistics_are_fitted_on_the_training_rows_alone() -> None:
    data = Table(standardize=True, val_size=10)
    data.setup("fit")
    train = data.arrays("train").x[:, 0].double()
    assert data.spec.mean == pytest.approx((train.mean().item(), 7.0))
    assert data.spec.std == pytest.approx((train.std(correction=0).item(), 1.0)), "a constant feature stays at zero"
    assert data.loaded == ["train"], "the test rows are not even read"


def test_without_standardize_there_are_no_statistics() -> None:
    data = Table(val_size=10)
    data.setup()
    assert (data.spec.mean, data.spec.std) == ((), ())
    assert data.loaded == ["train", "test"]


def test_a_spread_too_small_to_divide_by() -> None:
    class Nearly(Table):
        def load(self, split: Any) -> Arrays:
            rows = super().load(split)
            rows.x[:, 1] = torch.where(rows.x[:, 0] > 15, 1e-14, 0.0)
            rows.x[:, 0] *= 1e-9
            return rows

    data = Nearly(standardize=True)
    data.setup("fit")
    assert data.spec.std[1] == 1.0
    assert 1e-10 < data.spec.std[0] < 1e-7


def test_counts_of_the_classes_are_of_the_training_rows() -> None:
    data = Table(val_size=6)
    data.setup("fit")
    assert data.spec.target.counts == (8, 8, 8)
    target = data.declare().target.fit(torch.tensor([0, 0, 1]))
    assert target == dataclasses.replace(CLASSES, counts=(2, 1, 0))
    assert VALUES.fit(torch.zeros(3, 1)) == VALUES


def numbers(data: InMemoryData, split: Any) -> list[int]:
    return data.arrays(split).x[:, 0].long().tolist()


def test_each_row_is_on_one_side() -> None:
    data = Table(val_fraction=0.2)
    train, val = numbers(data, "train"), numbers(data, "val")
    assert (len(train), len(val)) == (24, 6)
    assert sorted(train + val) == list(range(30))
    assert numbers(data, "test") == list(range(100, 112))
    assert numbers(Table(), "val") == numbers(Table(val_size=3), "val"), "by default a tenth"
    assert numbers(Table(val_size=4, val_fraction=0.5), "val") == numbers(Table(val_size=4), "val")
    assert numbers(Table(val_size=9, seed=1), "val") != numbers(Table(val_size=9), "val")
    assert numbers(Table(val_size=4, val_last=True), "val") == [26, 27, 28, 29]


def test_training_on_the_validation_rows_leaves_them_where_they_are() -> None:
    data = Table(val_size=6, train_on_val=True)
    assert numbers(data, "train") == list(range(30))
    assert numbers(data, "val") == numbers(Table(val_size=6), "val")


def test_few_of_each_class() -> None:
    data = Table(val_size=6, train_per_class=4)
    assert data.arrays("train").y.bincount().tolist() == [4, 4, 4]
    assert not {*numbers(data, "train")} & {*numbers(data, "val")}
    assert numbers(data, "train") != numbers(Table(val_size=6, train_per_class=4, seed=1), "train")


def test_rows_are_loaded_once() -> None:
    data = Table()
    for stage in ("fit", "fit", "validate", "test", "predict", None):
        data.setup(stage)
    assert data.loaded == ["train", "test"]
    data = Table()
    data.setup("predict")
    assert data.loaded == ["test"]
    data = Table()
    data.setup("validate")
    assert data.loaded == ["train"]


# Batches


def rows_in(loader: Any) -> list[list[int]]:
    return [batch[0][:, 0].long().tolist() for batch in loader]


def test_training_batches_are_shuffled_by_seed_and_epoch_and_others_are_in_order() -> None:
    data = Table(val_size=6, batch_size=5, eval_batch_size=4)
    loader = data.train_dataloader()
    first = rows_in(loader)
    loader.set_epoch(1)
    second = rows_in(loader)
    assert [len(rows) for rows in first] == [5, 5, 5, 5, 4]
    assert first != second
    assert sorted(chain(*first)) == sorted(chain(*second)) == numbers(data, "train")
    assert rows_in(Table(val_size=6, batch_size=5).train_dataloader()) == first
    split, order = Table(val_last=True), Table(val_last=True, seed=1)
    assert numbers(split, "train") == numbers(order, "train")
    assert rows_in(split.train_dataloader()) != rows_in(order.train_dataloader())
    val = numbers(data, "val")
    assert rows_in(data.val_dataloader()) == [val[:4], val[4:]]
    assert rows_in(data.test_dataloader()) == [list(range(i, i + 4)) for i in (100, 104, 108)]
    assert [*chain(*rows_in(data.batches("train")))] == numbers(data, "train")


def test_overfitting_a_few_batches_sees_the_same_in_each_epoch() -> None:
    data = Table(val_size=6, batch_size=5)
    assert hasattr(data.train_dataloader(), "sampler")
    data.trainer = type("Trainer", (), {"overfit_batches": 2})()
    data._home = lambda num_bytes: torch.device("cpu")  # type: ignore[method-assign]
    assert not hasattr(data.train_dataloader(), "sampler"), "nothing tells it of epochs"
    data.trainer = type("Trainer", (), {"overfit_batches": 0})()
    assert hasattr(data.train_dataloader(), "sampler")


def test_pictures_become_numbers_from_zero_to_one_and_the_rest_stays() -> None:
    x = torch.tensor([[[[0, 51], [102, 255]]]], dtype=torch.uint8)
    y, weight = torch.tensor([1]), torch.tensor([0.5])
    found = ImageObservation().prepared((x, y, weight))
    torch.testing.assert_close(found[0], torch.tensor([[[[0, 0.2], [0.4, 1.0]]]]))
    assert found[1] is y
    assert found[2] is weight
    floats = torch.rand(1, 1, 2, 2)
    assert ImageObservation().prepared((floats, y))[0] is floats


class Darker(nn.Module):
    """Half as bright; the label is that of the next class."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x / 2, (y + 1) % self.num_classes  # type: ignore[operator]


def test_only_training_batches_are_augmented() -> None:
    data = ImageObservation(augment=Darker())
    data.setup("fit")
    batch = (torch.full((2, 1, 2, 2), 255, dtype=torch.uint8), torch.tensor([1, 2]), torch.ones(2))
    for training in (True, False):
        data.trainer = SimpleNamespace(training=training, precision_plugin=Precision())
        x, y, weight = data.on_after_batch_transfer(batch, 0)
        assert x.unique().tolist() == [0.5 if training else 1.0]
        assert y.tolist() == ([2, 0] if training else [1, 2])
        assert weight is batch[2]
    data.trainer = None
    assert data.on_after_batch_transfer(batch, 0)[0].max() == 1.0


def test_tensors_go_to_the_device_unless_they_are_there() -> None:
    batch = Batch(torch.zeros(2), {"a": torch.ones(2), "b": torch.ones(2)})
    local = Table().transfer_batch_to_device(batch, torch.device("cpu"), 0)
    assert all(a is b for a, b in zip(tensors(local), tensors(batch), strict=True))
    moved = Table().transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert [t.device.type for t in tensors(moved)] == ["meta"] * 3


@pytest.mark.parametrize(
    ("placement", "num_bytes", "home"),
    [
        ("auto", 249, "cuda"),
        ("auto", 250, "cuda"),
        ("auto", 251, "cpu"),
        ("device", 10**9, "cuda"),
        ("host", 1, "cpu"),
    ],
)
def test_where_tensors_live(placement: Any, num_bytes: int, home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an accelerator if they take at most a quarter of what is free of it."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 5000))
    data = Table(placement=placement)
    assert data._home(num_bytes).type == "cpu", "without a trainer"
    for device in ("cuda", "cpu"):
        data.trainer = type("T", (), {"strategy": type("S", (), {"root_device": torch.device(device)})()})()
        assert data._home(num_bytes).type == (home if device == "cuda" else "cpu")


class InOrder(Table):
    is_ordered = True


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Table(batch_size=0), r"data\.batch_size=0"),
        (lambda: Table(eval_batch_size=0), r"data\.eval_batch_size=0"),
        (lambda: Table(train_per_class=0), r"data\.train_per_class=0"),
        (lambda: Table(val_fraction=0.0), r"data\.val_fraction=0\.0 must lie between 0 and 1"),
        (lambda: Table(val_fraction=1.0), r"data\.val_fraction=1\.0"),
        (lambda: InOrder(train_on_val=True), r"data\.train_on_val=true: here the validation data follow"),
    ],
)
def test_mistakes(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_the_least_that_is_allowed_and_what_holds_by_default() -> None:
    data = Table(batch_size=1, eval_batch_size=1, train_per_class=1)
    assert [len(rows) for rows in rows_in(data.train_dataloader())] == [1, 1, 1]
    data = Table()
    assert (data.batch_size, data.eval_batch_size, data.seed, data.placement) == (128, 512, 0, "auto")
