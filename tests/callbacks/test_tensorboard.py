"""Histograms and the graph, in TensorBoard; without it they are no error."""

import math

import pytest
import torch
from PIL import Image
from tiny_runs import Tiny, events, make
from torch import nn

from dlzoo.callbacks.classification_report import ClassificationReport
from dlzoo.callbacks.graph import ModelGraph
from dlzoo.callbacks.prediction_grid import PredictionGrid
from dlzoo.callbacks.weight_histograms import WeightHistograms
from dlzoo.errors import UserError


def test_histograms_hold_weights_and_gradients(tmp_path):
    trainer, task, data = make(tmp_path, WeightHistograms(every_n_epochs=2), epochs=3, tensorboard=True)
    trainer.fit(task, data)
    found = events(tmp_path)
    names = [name for name, _ in task.net.named_parameters()]
    assert sorted(found.Tags()["histograms"]) == sorted(
        f"{kind}/{n}" for kind in ("gradients", "weights") for n in names
    )
    first, last = found.Histograms("weights/1.weight")
    assert (first.step, last.step) == (4, 12)
    values = task.net[1].weight.detach().double()
    assert last.histogram_value.num == values.numel() == sum(last.histogram_value.bucket)
    assert last.histogram_value.sum == pytest.approx(values.sum().item(), rel=1e-4, abs=1e-4)
    assert last.histogram_value.max == pytest.approx(values.max().item())
    assert any(found.Histograms("gradients/1.weight")[0].histogram_value.bucket)


def test_histograms_of_large_tensors_are_sampled(tmp_path):
    trainer, task, data = make(tmp_path, WeightHistograms(most=10), epochs=1, tensorboard=True)
    task.net.broken = nn.Parameter(torch.tensor([math.nan, math.inf, 2.0, 3.0]))  # outside forward
    task.net.lost = nn.Parameter(torch.tensor([math.nan]))
    trainer.fit(task, data)
    found = events(tmp_path)
    assert found.Histograms("weights/1.weight")[0].histogram_value.num == 11  # every 14th of 144
    assert found.Histograms("weights/broken")[0].histogram_value.num == 2
    assert "weights/lost" not in found.Tags()["histograms"]


def test_histograms_refuse_zero():
    with pytest.raises(UserError, match="every_n_epochs=0"):
        WeightHistograms(every_n_epochs=0)


def test_graph_is_drawn_and_frozen_parts_stay_frozen(tmp_path):
    trainer, task, data = make(tmp_path, ModelGraph(), epochs=1, tensorboard=True)
    trainer.fit(task, data)
    nodes = {node.name for node in events(tmp_path).Graph().node}
    assert any("Linear[1]" in name for name in nodes)
    assert any("BatchNorm1d" in name for name in nodes)
    modes = []
    trainer, task, data = make(tmp_path / "frozen", ModelGraph(), epochs=1, tensorboard=True)
    task.on_train_start = lambda: task.net[2].eval()
    task.on_train_end = lambda: modes.extend(module.training for module in task.net)
    trainer.fit(task, data)
    assert modes == [True, True, False, True]


def test_a_net_that_cannot_be_traced_gives_one_line(tmp_path, capsys):
    class Stubborn(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))

        def forward(self, x):
            if torch.jit.is_tracing():
                raise RuntimeError("not\nme")  # what torch.jit raises; add_graph prints it
            return x.mean() + self.weight.expand(len(x), 3)

    trainer, _, data = make(tmp_path, ModelGraph(), epochs=1, tensorboard=True)
    trainer.fit(Tiny(data.spec, net=Stubborn()), data)
    assert capsys.readouterr().out == "no graph for TensorBoard: Stubborn cannot be traced (not)\n"


@pytest.mark.parametrize("callback", [WeightHistograms, ModelGraph, PredictionGrid, ClassificationReport])
def test_no_tensorboard_is_no_error(tmp_path, callback):
    trainer, task, data = make(tmp_path, callback(), epochs=1)
    trainer.fit(task, data)
    trainer.test(task, data, verbose=False)


def test_a_figure_is_the_same_in_its_file_and_in_tensorboard(tmp_path):
    trainer, task, data = make(tmp_path, ClassificationReport(), tensorboard=True)
    trainer.test(task, data, verbose=False)
    (shown,) = events(tmp_path).Images("confusion_matrix")
    assert shown.encoded_image_string == (tmp_path / "confusion_matrix.png").read_bytes()
    with Image.open(tmp_path / "confusion_matrix.png") as image:
        assert (shown.width, shown.height) == image.size
