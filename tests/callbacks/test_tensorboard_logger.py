"""What TensorBoard shows of runs: charts of training with validation, HPARAMS of different runs below one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_runs import Outcome
from tensorboard import context
from tensorboard.plugins.custom_scalar import custom_scalars_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment
from tiny_runs import board, events

QUICK = ("trainer=cpu", "trainer.max_epochs=2", "trainer.limit_train_batches=2", "net.hidden=[8]", "data=iris")


@pytest.fixture
def outputs(train: Any, tmp_path: Path) -> Path:
    """Two runs with different options; the second one has baselines."""
    runs: list[Outcome] = [
        train("model=mlp", *QUICK, "net.dropout=0.2", "callbacks=[history,checkpoint]", "trainer.log_every_n_steps=1"),
        train("model=mlp", *QUICK, "optimizer=momentum", "callbacks=[history,checkpoint,table_baselines]"),
    ]
    assert [run.code for run in runs] == [0, 0]
    return tmp_path / "outputs"


def test_all_runs_below_a_folder(outputs: Path) -> None:
    seen, request = board(outputs), api_pb2.GetExperimentRequest(include_metrics=True)
    experiment = get_experiment.Handler(context.RequestContext(), backend_context.Context(seen), "", request).run()
    columns = {info.name for info in experiment.hparam_infos}
    assert columns >= {"net.dropout", "optimizer.momentum", "seed"}, "those of both runs"
    tags = [info.name.tag for info in experiment.metric_infos]
    assert {tag.partition("/")[0] for tag in tags} == {"test", "train", "val"}, "no epoch, no baselines"
    assert tags[0].startswith("test/")
    layout = custom_scalars_plugin.CustomScalarsPlugin(seen).layout_impl(context.RequestContext(), "")
    for chart in ('"^(train|val)/loss$"', '"^(train|val)/accuracy$"'):
        assert layout.count(chart) == 1


def test_each_metric_has_a_point_an_epoch_and_the_command_is_text(outputs: Path) -> None:
    found = events(min(outputs.glob("*/*/")))
    assert [len(found.Scalars(f"{split}/loss")) for split in ("train", "val", "test")] == [2, 2, 1]
    texts = {
        name: found.Tensors(f"{name}/text_summary")[0].tensor_proto.string_val[0].decode()
        for name in ("command", "config")
    }
    assert texts["command"].startswith("    dlzoo train model=mlp trainer=cpu")
    assert "\n      dropout: 0.2\n" in texts["config"]
    assert found.Scalars("train/lr")


@pytest.mark.parametrize("data", ["iris", "digits"])
def test_the_projector_shows_what_the_last_layer_receives(data: str, train: Any, tmp_path: Path) -> None:
    words = ("model=mlp", *QUICK[:-1], f"data={data}", "callbacks=[checkpoint,projector]")
    assert train(*words, "callbacks.projector.num_rows=20").code == 0
    (run_folder,) = tmp_path.glob("outputs/*/*/")
    (points,) = run_folder.rglob("tensors.tsv")
    rows = [line.split("\t") for line in points.read_text().splitlines()]
    labels = (points.parent / "metadata.tsv").read_text().splitlines()
    assert (len(rows), {len(row) for row in rows}) == (20, {8}), "the hidden layer has 8 units"
    assert all(float(cell) >= 0 for row in rows for cell in row), "after ReLU"
    assert len({*labels}) == {"iris": 3, "digits": 10}[data], "balanced by class"
    assert (points.parent / "sprite.png").exists() == (data == "digits")
    assert "last_hidden_layer" in (run_folder / "projector_config.pbtxt").read_text()
