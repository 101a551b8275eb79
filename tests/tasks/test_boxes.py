"""Boxes: their loss and metrics by hand, learned beside a class, drawn, and told by predict."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_runs import same, whole_and_parts
from small_runs import Terminal, run
from torchvision.ops import box_iou, generalized_box_iou

from dlzoo.commands import export, predict
from dlzoo.errors import UserError
from dlzoo.losses.boxes import BoxObjective, generalised_iou, iou
from dlzoo.nets.localizer import Localizer
from dlzoo.specs.boxes import Boxes, box_of
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.named import Targets
from dlzoo.specs.targets import Classes
from dlzoo.tasks.supervised import Supervised

SMALL = ("data=placed_digits", "data.num_samples=600", "data.num_test=100", "data.canvas=32", "data.clutter=1")
NET = ("model=localizer", "net.num_filters=[8,16]", "net.hidden=[64]")
WORDS = [*NET, *SMALL, "augment=shift", "callbacks=default", "trainer.max_epochs=10", "optimizer.lr=5e-3"]


def random_boxes(num: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return box_of(torch.cat([torch.rand(num, 2, generator=draw), 0.05 + torch.rand(num, 2, generator=draw) / 2], 1))


def test_overlaps_are_those_of_torchvision() -> None:
    a, b = random_boxes(50, 0), random_boxes(50, 1)
    torch.testing.assert_close(iou(a, b), box_iou(a, b).diag())
    torch.testing.assert_close(generalised_iou(a, b), generalized_box_iou(a, b).diag())
    assert (iou(a, b) > 0).any()
    assert (generalised_iou(a, b) < 0).any()


@pytest.mark.parametrize(("loss", "expected"), [("smooth_l1", 0.7), ("giou", 1.0), ("smooth_l1_giou", 1.7)])
def test_the_loss_by_hand(loss: Any, expected: float) -> None:
    """Centre 0.5 and sides 0.5 against [0.75, 0.25, 1, 0.75]: the boxes touch, and cover the rectangle around both."""
    objective = BoxObjective(Boxes(), loss=loss)
    output = torch.zeros(2, 4)
    target = torch.tensor([[0.75, 0.25, 1.0, 0.75], [math.nan] * 4])
    found = objective.criterion(output, target)
    # 1 - GIoU is 1: neither overlap nor empty space. Smooth L1 with beta 0.05: |0.5| - 0.025 for the left edge, and
    # |0.25| - 0.025 for the right one: 0.475 + 0.225 = 0.7.
    assert found.tolist() == pytest.approx([expected, 0.0])
    metrics = objective.metrics()
    metrics.update(*objective.measured(output, target))
    assert float(metrics.compute()["iou"]) == 0.0, "only the image with an object counts"


def test_the_box_is_not_learned_where_there_is_none() -> None:
    spec = ImageSpec(1, 16, 16, Targets.of({"class": Classes(("a", "none")), "box": Boxes("none")}))
    task = Supervised(Localizer(spec, num_filters=[4], hidden=[8]), spec)
    x = torch.rand(4, 1, 16, 16)
    target = {"class": torch.ones(4, dtype=torch.long), "box": torch.full((4, 4), torch.nan)}
    task.loss(task(x), target).backward()
    net: Any = task.net
    assert net.outputs[1].weight.grad.abs().sum() == 0
    assert net.outputs[0].weight.grad.abs().sum() > 0


def test_losses_of_boxes() -> None:
    with pytest.raises(UserError, match=r"task\.loss"):
        BoxObjective(Boxes(), loss="mse")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("boxes") / "run"
    return folder, run(folder, *WORDS)


def test_it_learns_where_the_digit_is(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, found = trained
    metrics = found["metrics"]
    assert metrics["test/box/iou"] > 0.45, "a box of the mean size in the middle of the image has 0.25"
    assert metrics["test/class/accuracy"] > 0.3
    assert 0 < metrics["test/map_50"] < metrics["test/localized"] <= metrics["test/class/accuracy"]
    assert (folder / "boxes.png").exists()
    assert (folder / "training_batch.png").exists()


def test_predict_and_export(trained: tuple[Path, dict[str, Any]], terminal: Terminal, tmp_path: Path) -> None:
    from PIL import Image

    from dlzoo.data.images.placed_digits import PlacedDigits

    x, _, _ = PlacedDigits(num_samples=600, num_test=100, canvas=32, clutter=1).load("test")
    for i in range(2):
        Image.fromarray(x[i, 0].numpy()).save(tmp_path / f"{i}.png")
    ckpt, output = trained[1]["checkpoints"]["best"], tmp_path / "out.json"
    terminal(predict.main, f"ckpt={ckpt}", f"input={tmp_path / '0.png'}", f"output={output}")
    (record,) = json.loads(output.read_text())
    box = record["targets"]["box"]["values"]
    assert list(box) == ["left", "top", "right", "bottom"]
    assert all(0 <= edge <= 1 for edge in box.values())
    terminal(predict.main, f"ckpt={ckpt}", f"input={tmp_path / '0.png'}", f"pictures={tmp_path / 'drawn'}")
    drawn = torch.from_numpy(np.array(Image.open(tmp_path / "drawn" / "0.png"))).int()
    scale = drawn.shape[1] / 32
    is_orange = (drawn - torch.tensor([0xFF, 0x8F, 0])).abs().sum(2) == 0
    columns = is_orange.any(0).nonzero()[:, 0] / scale / 32
    assert [float(columns[0]), float(columns[-1])] == pytest.approx([box["left"], box["right"]], abs=0.02)
    terminal(export.main, f"ckpt={ckpt}", f"output={tmp_path / 'model.onnx'}", "format=onnx")


def test_average_precision_and_localized_by_hand() -> None:
    """Three images: right class and box; right class, box elsewhere; no object, and none is claimed."""
    from dlzoo.callbacks.box_report import BoxReport

    report = BoxReport()
    spec = ImageSpec(1, 8, 8, Targets.of({"class": Classes(("a", "b", "none")), "box": Boxes("none")}))
    task = Supervised(Localizer(spec, num_filters=[4], hidden=[8]), spec)
    logged: dict[str, Any] = {}
    task.log_dict = logged.update  # type: ignore[method-assign, assignment]
    report.begin_test(None, task)  # type: ignore[arg-type]
    true = torch.tensor([[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.5], [math.nan] * 4])
    predicted = torch.tensor([[0.1, 0.1, 0.5, 0.45], [0.6, 0.6, 0.9, 0.9], [0.1, 0.1, 0.2, 0.2]])
    labels, target = torch.tensor([0, 0, 2]), spec.target.by_name
    probabilities = torch.eye(3)[labels] * 0.8 + 0.1
    report._count(probabilities, labels, predicted, true, target["class"], target["box"])  # type: ignore[arg-type]
    report.measure(None, task)  # type: ignore[arg-type]
    assert float(logged["test/localized"]) == pytest.approx(2 / 3)
    assert float(logged["test/map_50"]) == pytest.approx(51 / 101, abs=1e-3), "precision 1 up to a recall of one half"
    assert float(logged["test/map_75"]) == pytest.approx(51 / 101, abs=1e-3)


def test_a_continued_run_is_the_same(tmp_path: Path) -> None:
    one, other = whole_and_parts(tmp_path, *NET, *SMALL, "augment=flips", "data.num_samples=200")
    assert same(one["state_dict"], other["state_dict"])
    assert same(one["optimizer_states"], other["optimizer_states"])
