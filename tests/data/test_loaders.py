"""Batches: every row once an epoch, in an order that seed and epoch fix, on one rank or several, under Lightning."""

from __future__ import annotations

import gc
import multiprocessing
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

from dlzoo.data import base
from dlzoo.data.base import InMemoryData, moments
from dlzoo.data.loaders import Arrays, Loader, TensorLoader, WorkerLoader
from dlzoo.errors import UserError
from dlzoo.specs.batch import Batch
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes


def arrays(n: int, weight: bool = False) -> Arrays:
    """Row i holds i everywhere."""
    y = torch.arange(n)
    return Arrays(y[:, None].expand(n, 3).float().contiguous(), y, y.float() if weight else None)


def as_pair(rows: list[int]) -> tuple[Tensor, Tensor]:
    return arrays(100).x[rows], torch.tensor(rows)


def as_batch(pair: Any) -> Batch:
    return Batch(*pair)


def tensor_loader(n: int, batch_size: int, **options: Any) -> Loader:
    return TensorLoader(arrays(n), batch_size, **options)


def worker_loader(n: int, batch_size: int, **options: Any) -> Loader:
    return WorkerLoader(as_pair, as_batch, n, batch_size, **options)


def rows_in(loader: Loader) -> list[list[int]]:
    """The rows of each batch; their inputs must be those of the same rows."""
    batches = []
    for x, y, _ in loader:
        assert x.equal(y[:, None].expand(-1, 3).float())
        batches.append(y.tolist())
    return batches


def flat(batches: list[list[int]]) -> list[int]:
    return [row for batch in batches for row in batch]


both = pytest.mark.parametrize("make", [tensor_loader, worker_loader])


@both
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("n", "batch_size"), [(10, 4), (12, 4), (3, 4), (1, 4), (9, 4), (5, 4), (3, 2), (6, 1)])
def test_each_row_once_an_epoch(make: Callable[..., Loader], shuffle: bool, n: int, batch_size: int) -> None:
    loader = make(n, batch_size, shuffle=shuffle)
    for _ in range(2):
        batches = rows_in(loader)
        assert sorted(flat(batches)) == list(range(n))
        joined = int(shuffle and batch_size == 2 and n % 2 == 1)  # the last row and the batch before it
        assert len(batches) == len(loader) == -(-n // batch_size) - joined
        assert max(map(len, batches)) <= batch_size + joined


@pytest.mark.parametrize(
    ("n", "batch_size", "shuffle", "sizes"),
    [
        (9, 4, True, [4, 3, 2]),
        (5, 4, True, [3, 2]),
        (9, 4, False, [4, 4, 1]),
        (1, 4, True, [1]),
        (7, 2, True, [2, 2, 3]),
        (3, 2, True, [3]),
        (6, 2, True, [2, 2, 2]),
        (7, 2, False, [2, 2, 2, 1]),
    ],
)
def test_no_training_batch_of_one_row_where_it_can_be_helped(
    n: int, batch_size: int, shuffle: bool, sizes: list[int]
) -> None:
    """BatchNorm cannot be trained on a single row."""
    loader = TensorLoader(arrays(n), batch_size, shuffle=shuffle)
    assert [len(y) for _, y, _ in loader] == sizes
    assert len(loader) == len(sizes)
    if n > 1 and shuffle:
        for x, _, _ in loader:
            nn.BatchNorm1d(3)(x)


@both
def test_the_order_is_a_function_of_seed_and_epoch(make: Callable[..., Loader]) -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        loader = make(50, 8, shuffle=True, seed=seed)
        loader.set_epoch(epoch)
        torch.randperm(9)  # what else draws random numbers does not matter
        return rows_in(loader)

    orders = [order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({str(o) for o in orders}) == 4
    assert orders == [order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert orders[0] == [rows.tolist() for rows in TensorLoader(arrays(50), 8, shuffle=True).batches()]
    assert orders[0][0] != list(range(8))


@both
def test_loading_draws_no_random_numbers_from_the_model(make: Callable[..., Loader]) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    rows_in(make(20, 4, shuffle=True))
    assert torch.get_rng_state().equal(before)


def test_weights_travel_with_their_rows() -> None:
    for x, y, weight in TensorLoader(arrays(10, weight=True), 4, shuffle=True):
        assert weight.equal(y.float())
        assert weight.equal(x[:, 0])


def test_a_batch_is_a_copy() -> None:
    kept = arrays(4)
    for x, _, _ in TensorLoader(kept, 2):
        x.zero_()
    assert kept.x.equal(arrays(4).x)


def test_take_and_sizes() -> None:
    rows = arrays(6, weight=True)
    taken = rows.take(torch.tensor([4, 1, 1]))
    assert taken.y.tolist() == [4, 1, 1]
    assert taken.x[:, 0].tolist() == taken.weight.tolist() == [4, 1, 1]
    assert (taken.num_rows, rows.num_bytes) == (3, 6 * (3 * 4 + 8 + 4))


@pytest.mark.parametrize(("make", "options"), [(tensor_loader, {}), (worker_loader, {"num_workers": 2})])
def test_a_look_at_a_batch_takes_nothing_from_a_running_epoch(
    make: Callable[..., Loader], options: dict[str, Any]
) -> None:
    loader = make(20, 4, shuffle=True, **options)
    whole = rows_in(loader)
    epoch = iter(loader)
    batches = [next(epoch)[1].tolist()]
    assert next(iter(loader))[1].tolist() == whole[0]
    batches += [y.tolist() for _, y, _ in epoch]
    assert batches == whole


def test_workers_end_with_their_iteration() -> None:
    """With their last reference, and by themselves: the garbage collector, which breaks circles, ends them by force."""
    gc.collect()
    gc.disable()
    try:
        loader = worker_loader(20, 4, shuffle=True, num_workers=2)
        epoch = iter(loader)
        next(epoch)
        workers = multiprocessing.active_children()
        assert len(workers) == 2
        del epoch, loader
        assert multiprocessing.active_children() == []
        assert [worker.exitcode for worker in workers] == [0, 0]
    finally:
        gc.enable()


class Numbers(InMemoryData):
    """Pictures of 2x2 equal pixels, the row's number; 60 for training and validation, 10 for test."""

    def declare(self) -> ImageSpec:
        return ImageSpec(1, 2, 2, Classes(("even", "odd")))

    def load(self, split: Literal["train", "test"]) -> Arrays:
        x = torch.arange(60 if split == "train" else 10, dtype=torch.uint8)
        return Arrays(x[:, None, None, None].expand(-1, 1, 2, 2).contiguous(), x.long() % 2)


class Recorder(pl.LightningModule):
    """Writes down what arrives, as rows."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.seen: dict[str, list[list[int]]] = {"train": [], "val": [], "test": [], "sanity": []}
        self.types: set[torch.dtype] = set()

    def _step(self, split: str, batch: tuple[Tensor, ...]) -> Tensor:
        x, y, _ = batch
        self.types.add(x.dtype)
        self.seen[split].append((x[:, 0, 0, 0] * 255).round().long().tolist())
        return nn.functional.cross_entropy(self.layer(x.flatten(1)), y)

    def training_step(self, batch: tuple[Tensor, ...], _: int) -> Tensor:
        return self._step("train", batch)

    def validation_step(self, batch: tuple[Tensor, ...], _: int) -> None:
        self._step("sanity" if self.trainer.sanity_checking else "val", batch)

    def test_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        self._step("test", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data: pl.LightningDataModule, **options: Any) -> Recorder:
    recorder = Recorder()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(accelerator="cpu", **quiet, enable_model_summary=False, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(recorder, data)
        trainer.test(recorder, data, verbose=False)
    return recorder


def test_under_lightning() -> None:
    data = Numbers(batch_size=16, eval_batch_size=4, seed=7)
    seen = fit(data, max_epochs=3).seen
    data.setup()
    train, val = (data.arrays(split).x[:, 0, 0, 0].tolist() for split in ("train", "val"))
    epochs = [seen["train"][i : i + 4] for i in (0, 4, 8)]
    assert [sorted(flat(epoch)) for epoch in epochs] == [train] * 3
    loader = data.train_dataloader()
    for epoch, batches in enumerate(epochs):  # Lightning really calls set_epoch
        loader.set_epoch(epoch)
        assert batches == [[train[i] for i in rows.tolist()] for rows in loader.batches()]
    assert epochs[0] != epochs[1]
    assert seen["sanity"] == [val[:4], val[4:]]
    assert seen["val"] == [val[:4], val[4:]] * 3
    assert flat(seen["test"]) == list(range(10))
    assert sorted(train + val) == list(range(60))


def test_a_resumed_epoch_has_the_order_that_it_would_have_had(tmp_path: Any) -> None:
    whole = fit(Numbers(batch_size=54), max_epochs=3).seen["train"]
    data, first = Numbers(batch_size=54), Recorder()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = pl.Trainer(max_epochs=2, enable_model_summary=False, **quiet)
    trainer.fit(first, data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    second = Recorder()
    trainer = pl.Trainer(max_epochs=3, enable_model_summary=False, **quiet)
    trainer.fit(second, Numbers(batch_size=54), ckpt_path=tmp_path / "a.ckpt")
    assert first.seen["train"] + second.seen["train"] == whole


@pytest.mark.parametrize("limit", [2, 0.5])
def test_limits(limit: int | float) -> None:
    seen = fit(Numbers(batch_size=16), max_epochs=2, limit_train_batches=limit, limit_val_batches=1).seen
    assert [len(rows) for rows in seen["train"]] == [16] * 4
    assert len(seen["val"]) == 2


def test_overfitting_sees_the_same_batches_each_epoch() -> None:
    seen = fit(Numbers(batch_size=8), max_epochs=3, overfit_batches=2).seen["train"]
    assert len(seen) == 6
    assert seen[:2] == seen[2:4] == seen[4:]
    assert len({*seen[0], *seen[1]}) == 16


def test_pictures_reach_the_model_as_floats_from_0_to_1() -> None:
    data = Numbers()
    assert fit(data, fast_dev_run=True).types == {torch.float32}
    x = torch.tensor([[[[0, 255], [51, 1]]]], dtype=torch.uint8)
    y = torch.tensor([1])
    ready, label, weight = data.on_after_batch_transfer((x, y, torch.ones(1)), 0)
    assert ready.flatten().tolist() == pytest.approx([0, 1, 0.2, 1 / 255])
    assert (label.tolist(), weight.tolist()) == ([1], [1.0])
    table = torch.tensor([[300.0]])
    assert data.on_after_batch_transfer((table, y), 0)[0] is table


def test_only_training_batches_are_augmented() -> None:
    class Invert(nn.Module):
        num_classes = 0

        def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            return 1 - x, y

    seen = fit(Numbers(augment=Invert()), max_epochs=1).seen
    assert min(flat(seen["train"])) >= 255 - 60
    assert max(flat(seen["val"] + seen["test"] + seen["sanity"])) < 60


@pytest.mark.parametrize(
    ("placement", "device", "free", "home"),
    [
        ("auto", "cpu", 0, "cpu"),
        ("device", "cpu", 0, "cpu"),
        ("auto", "cuda", 400, "cuda"),
        ("auto", "cuda", 399, "cpu"),
        ("device", "cuda", 0, "cuda"),
        ("host", "cuda", 10**9, "cpu"),
    ],
)
def test_placement(placement: Any, device: str, free: int, home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Numbers(placement=placement)
    data.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(device)))  # type: ignore
    monkeypatch.setattr(base.torch.cuda, "mem_get_info", lambda device: (free, 10**9))
    assert data._home(100).type == home


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_validation_comes_out_of_train_with_the_seed(fraction: float) -> None:
    def rows(seed: int) -> list[int]:
        return Numbers(seed=seed, val_fraction=fraction).arrays("val").x[:, 0, 0, 0].tolist()

    assert len(rows(0)) == 60 * fraction
    assert rows(0) == rows(0) != rows(1)
    assert Numbers(val_size=7).arrays("val").num_rows == 7
    assert Numbers(val_size=7, val_last=True).arrays("val").x[:, 0, 0, 0].tolist() == list(range(53, 60))


def test_no_validation_rows_is_an_error_and_not_the_default() -> None:
    with pytest.raises(UserError, match="0 of 60 rows cannot be held out"):
        Numbers(val_size=0).setup("fit")


@pytest.mark.parametrize("shape", [(40, 3, 5, 7), (40, 6)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("part", [40, 7, 1])
def test_moments_of_parts_are_those_of_the_whole(shape: tuple[int, ...], dtype: torch.dtype, part: int) -> None:
    x = torch.randint(0, 256, shape).to(dtype)
    mean, std = moments(x.split(part))
    whole = x.double() / (255 if dtype == torch.uint8 else 1)
    over = tuple(d for d in range(x.ndim) if d != 1)
    torch.testing.assert_close(mean, whole.mean(over), rtol=0, atol=1e-9)
    torch.testing.assert_close(std, whole.std(over, correction=0), rtol=1e-9, atol=0)


def test_a_constant_channel_is_not_divided_by_zero() -> None:
    class Flat(Numbers):
        def load(self, split: Literal["train", "test"]) -> Arrays:
            rows = super().load(split)
            return Arrays(torch.full_like(rows.x, 51), rows.y)

    data = Flat(standardize=True)
    data.setup("fit")
    assert data.spec.mean == pytest.approx((0.2,))
    assert data.spec.std == (1.0,)


def test_few_training_rows_leave_the_validation_rows_alone() -> None:
    from dlzoo.data.images.digits import Digits

    whole, little = Digits(), Digits(train_per_class=3)
    for data in (whole, little):
        data.setup("fit")
    assert little.spec.target.counts == (3,) * 10
    assert torch.equal(little.arrays("val").x, whole.arrays("val").x)
    with pytest.raises(UserError, match=r"data\.train_per_class=0"):
        Digits(train_per_class=0)
