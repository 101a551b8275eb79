"""A net of several outputs and one target: their weights, metrics and predictions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from supervised_tasks import CLASSES, OUTPUT, TARGET, VALUES, task_with
from torch import Tensor

from dlzoo.errors import SpecError, UserError
from dlzoo.nets.base import Net
from dlzoo.specs.batch import Batch
from dlzoo.specs.inputs import Column, TableSpec
from dlzoo.specs.named import Targets
from dlzoo.tasks.supervised import Supervised


class Outputs(Net):
    """Its input, and one more: as another output, or in training only."""

    def __init__(self, in_training: bool) -> None:
        super().__init__()
        self.in_training = in_training
        self.output_names = () if in_training else ("main", "other")
        self.training_outputs = ("other",) if in_training else ()

    def forward(self, x: Tensor) -> Any:
        both = {"" if self.in_training else "main": x, "other": x + 1}
        return both if self.training or not self.in_training else x


BOTH = {"main": OUTPUT, "other": OUTPUT + 1}  # squares of the second: 4 and 9


def test_outputs_for_one_target_are_weighted_by_name() -> None:
    task = task_with(Outputs(in_training=False), loss_weights={"other": 0.25})
    assert task.loss(BOTH, TARGET).item() == 2.5 + 0.25 * 6.5
    task = task_with(Outputs(in_training=False), loss={"other": "mae"}, loss_weights={"main": 2.0, "other": 0.5})
    assert task.loss(BOTH, TARGET).item() == 2 * 2.5 + 0.5 * 2.5
    assert task_with(Outputs(in_training=False), loss="mae").loss(BOTH, TARGET).item() == 1.5 + 2.5


def test_each_output_for_one_target_has_its_metrics() -> None:
    task = task_with(Outputs(in_training=False), loss_weights={"main": 0.75, "other": 0.25}).eval()
    logged: dict[str, Tensor] = {}
    task.log_dict = logged.update  # type: ignore[assignment,method-assign]
    found = task.measure(Batch(OUTPUT, TARGET))
    task.log_split("test")
    assert {name: logged[f"test/{name}"].item() for name in ("loss", "main/loss", "other/loss", "other/mae")} == {
        "loss": 0.75 * 2.5 + 0.25 * 6.5, "main/loss": 2.5, "other/loss": 6.5, "other/mae": 2.5,
    }  # fmt: skip
    assert found["loss"].item() == logged["test/loss"].item()
    assert found["output"].keys() == found["target"].keys() == {"main", "other"}
    assert task.monitor == ("val/main/rmse", "min")
    assert task.predict(OUTPUT).keys() == task.predicted_target.by_name.keys() == {"main", "other"}


def test_an_output_of_training_only_is_neither_measured_nor_predicted() -> None:
    task = task_with(Outputs(in_training=True), loss_weights={"other": 0.25})
    logged: dict[str, Any] = {}
    task.log_step = lambda count, **means: logged.update(means)  # type: ignore[method-assign]
    assert task.train().training_step(Batch(OUTPUT, TARGET), 0).item() == 2.5 + 0.25 * 6.5
    assert {name: value.item() for name, value in logged.items()} == {"loss": 2.5 + 0.25 * 6.5, "other/loss": 6.5}
    task.log_dict = logged.update  # type: ignore[assignment,method-assign]
    assert task.eval().measure(Batch(OUTPUT, TARGET))["loss"].item() == 2.5
    task.log_split("test")
    assert {name for name in logged if name.startswith("test/")} == {"test/loss", "test/rmse", "test/mae", "test/r2"}
    assert torch.equal(task.predict(OUTPUT), OUTPUT)
    assert task.predicted_target is task.spec.target
    assert task.monitor == ("val/rmse", "min")


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ((OUTPUT, OUTPUT), "returns a tuple; return a tensor, or of several outputs a dict by the names in"),
        ({"main": OUTPUT}, "returns the outputs 'main', but"),
        (OUTPUT, "returns the outputs 'main', but"),
        ({**BOTH, "third": OUTPUT}, "returns the outputs 'main', 'other', 'third', but"),
    ],
)
def test_outputs_are_those_that_the_net_names(outputs: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"Outputs {message}"):
        task_with(Outputs(in_training=False)).loss(outputs, TARGET)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_weights": [0.9, 0.1]}, r"each output has its own weight \(main, other\).*=\{main: …\}"),
        ({"loss_weights": {"mein": 1.0}}, "there is no output mein; did you mean 'main'"),
        ({"loss_weights": {"main": 0, "other": 0}}, "nothing to learn"),
    ],
)
def test_weights_of_no_output_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        task_with(Outputs(in_training=False), **options)


def test_several_outputs_learn_one_target() -> None:
    targets = Targets.of({"price": VALUES, "coast": CLASSES})
    with pytest.raises(SpecError, match=r"\(main, other\) learn one target, but the data gives several: price, coast"):
        Supervised(Outputs(in_training=False), TableSpec((Column("a"),), targets))


def test_the_training_measures_are_those_of_the_main_output() -> None:
    logits = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    task = task_with(Outputs(in_training=True), CLASSES, 2, loss_weights={"other": 0.5})
    task.forward = lambda x: {"": logits, "other": -logits}  # type: ignore[method-assign]
    tracked: dict[str, float] = {}
    task.log_step = lambda count, **means: tracked.update(means)  # type: ignore[method-assign]
    task.training_step((logits, torch.tensor([1, 1])), 0)
    assert (float(tracked["accuracy"]), float(tracked["other/accuracy"])) == (1.0, 0.0)
