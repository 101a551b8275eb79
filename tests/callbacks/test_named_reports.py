"""Reports of a model with several predictions: files of each, by its name; those for one prediction are left out."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_runs import pair_words, run
from tiny_runs import events, make, picture
from torch import Tensor

from dlzoo.callbacks.prediction_grid import PredictionGrid
from dlzoo.nets.base import Net
from dlzoo.specs.inputs import ImageSpec
from dlzoo.tasks.supervised import Supervised

REPORTS = "callbacks=[checkpoint,classification,regression,graph]"


def test_each_output_for_the_same_classes_has_a_report(tmp_path: Path) -> None:
    run(tmp_path, "model=wide_deep", "data=wine", "data.standardize=true", REPORTS, "logger=tensorboard")
    supports = []
    for name in ("main", "auxiliary"):
        with Image.open(tmp_path / f"confusion_matrix_{name}.png") as image:
            assert image.size[0] > 100
        with (tmp_path / f"report_{name}.csv").open() as file:
            supports.append({row["class"]: row["support"] for row in csv.DictReader(file)})
    assert supports[0] == supports[1]
    assert not (tmp_path / "confusion_matrix.png").exists()
    found = events(tmp_path)
    assert {"confusion_matrix_main", "confusion_matrix_auxiliary"} <= {*found.Tags()["images"]}
    assert any("Linear[auxiliary]" in node.name for node in found.Graph().node)


def test_each_target_has_a_report_of_its_kind(tmp_path: Path) -> None:
    run(tmp_path, *pair_words(tmp_path), "data.target={distance: gap, nearer: side}", REPORTS)
    assert picture(tmp_path / "predicted_against_true_distance.png")[2] > 0
    assert picture(tmp_path / "confusion_matrix_nearer.png")[2] > 0
    left = {path.name for path in tmp_path.glob("*.png")} | {path.name for path in tmp_path.glob("report*")}
    assert left == {
        "predicted_against_true_distance.png", "confusion_matrix_nearer.png", "report_nearer.txt", "report_nearer.csv",
    }  # fmt: skip


class Twice(Net):
    """Two outputs for the classes of an image."""

    accepts = (ImageSpec,)
    output_names = ("main", "other")

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.output = torch.nn.Linear(num_features, num_classes)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.output(x.flatten(1))
        return {"main": logits, "other": -logits}


@pytest.mark.filterwarnings("ignore")
def test_images_with_several_predictions_are_shown_without_them(tmp_path: Path) -> None:
    trainer, _, data = make(tmp_path, PredictionGrid(), epochs=1)
    task = Supervised(
        Twice(data.spec.images.num_features, data.spec.target.num_outputs),
        data.spec,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    )
    trainer.fit(task, data)
    trainer.test(task, data, verbose=False)
    assert (tmp_path / "training_batch.png").is_file()
    assert not (tmp_path / "predictions.png").exists()
