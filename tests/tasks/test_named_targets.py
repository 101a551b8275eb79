"""Several named targets in a trainer: the loss, the factors and the figures of each, against numbers by hand."""

from __future__ import annotations

from math import log
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

from dlzoo.data.base import InMemoryData
from dlzoo.data.loaders import Arrays
from dlzoo.errors import UserError
from dlzoo.nets.base import Net
from dlzoo.specs.inputs import Column, TableSpec
from dlzoo.specs.named import NamedSpec, Targets
from dlzoo.specs.targets import Classes, Values
from dlzoo.tasks.supervised import Supervised

TARGET = Targets.of({"price": Values(("y",)), "coast": Classes(("no", "yes"))})


def spec_of(mean: tuple[float, ...] = (), std: tuple[float, ...] = ()) -> NamedSpec:
    left, right = (TableSpec((Column(name),), TARGET, mean, std) for name in "ab")
    return NamedSpec.of({"left": left, "right": right}, TARGET)


class Shown(Net):
    """The price is the left input; the logit of the coast is the right one."""

    accepts = (NamedSpec,)

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"coast": x["right"] + 0 * self.unused, "price": x["left"] + 0 * self.unused}


class Rows(InMemoryData):
    """Three rows: errors of the price 1, 1 and 4; the coast is right by a chance of 3/4, but in the last row 1/4."""

    def __init__(self, weight: Tensor | None = None, **options: Any) -> None:
        super().__init__(batch_size=2, eval_batch_size=2, **options)
        left, right = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[log(3)], [log(3)], [-log(3)]])
        y = {"price": torch.tensor([[2.0], [1.0], [7.0]]), "coast": torch.tensor([1, 1, 1])}
        self.rows = Arrays({"left": left, "right": right}, y, weight)
        self._arrays = dict.fromkeys(("train", "val", "test"), self.rows)
        self.spec = spec_of()

    def declare(self) -> NamedSpec:
        return spec_of()

    def load(self, split: Any) -> Arrays:
        return self.rows


def metrics_of(folder: Path, data: Rows, **options: Any) -> dict[str, float]:
    task = Supervised(Shown(), data.spec, optimizer=lambda p: torch.optim.SGD(p, lr=0.1), **options)
    quiet = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    trainer = pl.Trainer(default_root_dir=folder, accelerator="cpu", max_epochs=1, num_sanity_val_steps=0, **quiet)
    trainer.fit(task, datamodule=data)
    found = dict(trainer.callback_metrics)
    trainer.test(task, datamodule=data, verbose=False)
    return {name: value.item() for name, value in {**found, **trainer.callback_metrics}.items()}


PRICE = (1 + 1 + 16) / 3
COAST = (2 * log(4 / 3) + log(4)) / 3


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize(
    ("weights", "price", "coast"),
    [({}, 1.0, 1.0), ({"loss_weights": {"coast": 0.5}}, 1.0, 0.5), ({"loss_weights": {"price": 0.0}}, 0.0, 1.0)],
)
def test_the_loss_is_the_weighted_sum_of_the_losses(
    tmp_path: Path, split: str, weights: dict[str, Any], price: float, coast: float
) -> None:
    found = metrics_of(tmp_path, Rows(), **weights)
    assert found[f"{split}/price/loss"] == pytest.approx(PRICE, rel=1e-5)
    assert found[f"{split}/coast/loss"] == pytest.approx(COAST, rel=1e-5)
    assert found[f"{split}/loss"] == pytest.approx(price * PRICE + coast * COAST, rel=1e-5)


def test_each_target_has_its_figures(tmp_path: Path) -> None:
    found = metrics_of(tmp_path, Rows())
    assert found["test/price/mae"] == pytest.approx(2.0)
    assert found["test/price/rmse"] == pytest.approx(PRICE**0.5)
    assert found["test/coast/accuracy"] == found["train/coast/accuracy"] == pytest.approx(2 / 3)
    assert "test/mae" not in found
    assert "test/accuracy" not in found


def test_rows_of_weight_nought_count_for_no_target(tmp_path: Path) -> None:
    found = metrics_of(tmp_path, Rows(torch.tensor([1.0, 1.0, 0.0])))
    for split in ("train", "test"):
        assert found[f"{split}/price/loss"] == pytest.approx(1.0)
        assert found[f"{split}/coast/loss"] == pytest.approx(log(4 / 3), rel=1e-5)
        assert found[f"{split}/loss"] == pytest.approx(1.0 + log(4 / 3), rel=1e-5)


def test_a_target_has_a_loss_of_its_own(tmp_path: Path) -> None:
    found = metrics_of(tmp_path, Rows(), loss={"price": "mae"})
    assert found["test/price/loss"] == pytest.approx(2.0)
    assert found["test/coast/loss"] == pytest.approx(COAST, rel=1e-5)


def test_each_input_is_standardised_by_its_own_statistics() -> None:
    data = Rows(standardize=True)
    spec = data.fit_spec(data.rows)
    assert spec.named is not None
    assert spec.named.by_name["left"].mean == pytest.approx((2.0,))
    assert spec.named.by_name["right"].mean == pytest.approx((log(3) / 3,))
    answers = Supervised(Shown(), spec).predict({"left": torch.tensor([[2.0]]), "right": torch.tensor([[log(3) / 3]])})
    assert answers["price"].item() == pytest.approx(0.0)
    assert answers["coast"].tolist() == [pytest.approx([0.5, 0.5])]


def test_a_net_with_one_output_learns_all_targets_side_by_side() -> None:
    class Beside(Net):
        def forward(self, x: Tensor) -> Tensor:
            return x

    task = Supervised(Beside(), TableSpec(tuple(Column(c) for c in "abc"), TARGET))
    answers = task.predict(torch.tensor([[5.0, 0.0, log(3)]]))
    assert answers["price"].tolist() == [[5.0]]
    assert answers["coast"][0].tolist() == pytest.approx([0.25, 0.75])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_weights": {"prize": 1.0}}, "there is no target prize; did you mean 'price'"),
        ({"loss_weights": (1.0, 0.5)}, r"several targets \(price, coast\); say which one is meant"),
        ({"loss_weights": {"price": -1.0}}, r"task\.loss_weights\.price=-1\.0 must be a finite number of at least 0"),
        ({"loss_weights": {"price": 0.0, "coast": 0.0}}, "nothing to learn"),
        ({"loss": "mae"}, r"task\.loss=mae: this data gives several targets"),
        ({"loss": {"cost": "mae"}}, "there is no target cost"),
        ({"class_weights": {"price": "balanced"}}, r"task\.class_weights are for classes"),
    ],
)
def test_options_for_no_target_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Supervised(Shown(), spec_of(), **options)


def test_options_by_name_need_named_targets() -> None:
    with pytest.raises(
        UserError, match=r"task\.loss_weights=.* is given by names, but there is one output for one target"
    ):
        Supervised(Shown(), TableSpec((Column("a"),), Values(("y",))), loss_weights={"y": 1.0})
