"""Reports after a test: classes, values, and a task of another kind, which is left alone."""

import csv
import re

import pytest
import torch
from plain_nets import as_net
from tiny_runs import VALUES, Foretold, Tiny, events, make, picture
from torch import nn

from dlzoo.callbacks.agent_report import AgentReport
from dlzoo.callbacks.classification_report import ClassificationReport
from dlzoo.callbacks.csv_history import History
from dlzoo.callbacks.forecast_report import ForecastReport
from dlzoo.callbacks.latent_report import LatentReport
from dlzoo.callbacks.progress import Progress
from dlzoo.callbacks.regression_report import RegressionReport
from dlzoo.callbacks.sample_animation import SampleAnimation
from dlzoo.tasks.base import Task


@pytest.mark.parametrize("soft", [False, True])
def test_classification_report(tmp_path, soft):
    trainer, _, data = make(tmp_path, ClassificationReport(), RegressionReport(), tensorboard=True)
    trainer.test(Tiny(data.spec, net=Foretold(), soft=soft), data, verbose=False)
    with (tmp_path / "report.csv").open() as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    assert rows["left"] == {
        "class": "left",
        "precision": "0.333333",
        "recall": "1.000000",
        "f1": "0.500000",
        "support": "20",
    }
    assert rows["right"]["recall"] == "0.000000"
    assert rows["right"]["support"] == "20"
    assert rows["macro avg"]["f1"] == "0.166667"
    assert re.search(r"left +0\.3333 +1\.0000 +0\.5000 +20\n", (tmp_path / "report.txt").read_text())
    assert picture(tmp_path / "confusion_matrix.png")[2] > 0
    assert not (tmp_path / "predicted_against_true.png").exists()
    found = events(tmp_path)
    assert "confusion_matrix" in found.Tags()["images"]
    assert "left" in found.Tensors("report/text_summary")[0].tensor_proto.string_val[0].decode()


def test_regression_report(tmp_path):
    trainer, task, data = make(tmp_path, ClassificationReport(), RegressionReport(), target=VALUES)
    trainer.test(task, data, verbose=False)
    assert picture(tmp_path / "predicted_against_true.png")[2] > 0
    assert not (tmp_path / "confusion_matrix.png").exists()


def test_a_task_that_predicts_nothing_is_left_alone(tmp_path):
    """Its test_step returns nothing either."""

    class Bare(Task):
        def training_step(self, batch, batch_idx):
            return self.net(batch[0]).mean()

        def test_step(self, batch, batch_idx):
            return None

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    callbacks = [
        ClassificationReport(),
        RegressionReport(),
        ForecastReport(),
        LatentReport(),
        AgentReport(),
        SampleAnimation(),
    ]
    trainer, _, data = make(tmp_path, *callbacks, History(), Progress(), tensorboard=True)
    task = Bare(as_net(nn.Sequential(nn.Flatten(), nn.Linear(36, 3))), data.spec)
    trainer.fit(task, data)
    trainer.test(task, data, verbose=False)
    assert not list(tmp_path.glob("*.png")) or [p.name for p in tmp_path.glob("*.png")] == ["learning_curves.png"]
