"""Self-organising maps: schedules, labels, resuming, and data that a map must cope with."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from picture_runs import content, resume, run, run_until, same

from dlzoo.checkpoint import load as checkpoint
from dlzoo.commands import export, predict
from dlzoo.errors import UserError
from dlzoo.nets.som import SelfOrganizingMap
from dlzoo.specs.inputs import Column, TableSpec
from dlzoo.specs.targets import Classes, Unlabelled
from dlzoo.tasks import som
from dlzoo.tasks.som import SelfOrganization

CLASSES = TableSpec((Column("a"), Column("b")), Classes(("p", "q")))
PLAIN = TableSpec((Column("a"), Column("b")), Unlabelled())
ONLINE = "task.algorithm=online"


def a_map(spec: TableSpec = CLASSES, **options: Any) -> SelfOrganization:
    """Four units at the corners of the unit square."""
    net = SelfOrganizingMap(spec, rows=2, columns=2)
    with torch.no_grad():
        net.weights.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    return SelfOrganization(net, spec, **options).eval()


def test_the_course_run_has_its_rate_and_radius_in_each_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    learn = som.online_pass

    def spy(weights: Any, x: Any, rates: Any, neighborhood: Any, sigma: float) -> Any:
        assert weights.shape == (900, 3)
        assert float(x.min()) == 0
        assert float(x.max()) == 1
        seen.append((len(x), float(rates.min()), float(rates.max()), sigma))
        return learn(weights, x, rates, neighborhood, sigma)

    monkeypatch.setattr(som, "online_pass", spy)
    run(tmp_path, "experiment=som_colors", "trainer.max_epochs=8", "trainer.limit_val_batches=0")
    passes = [(16, 0.5 * (1 - i / 8), 0.5 * (1 - i / 8), 10 * (1 - i / 8)) for i in range(8)]
    assert [pytest.approx(each) for each in passes] == seen


def test_rate_and_radius_may_decrease_after_each_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    radii = []
    learn = som.online_pass

    def spy(weights: Any, x: Any, rates: Any, neighborhood: Any, sigma: float) -> Any:
        radii.append(sigma)
        return learn(weights, x, rates, neighborhood, sigma)

    monkeypatch.setattr(som, "online_pass", spy)
    words = ("data.batch_size=4", "task.sigma=3", "task.final_sigma=1", "task.decay=batch", ONLINE)
    results = run(tmp_path, "model=som", "data=colors", *words, "trainer.max_epochs=2")
    assert radii == pytest.approx([3 - 2 * i / 8 for i in range(8)])
    assert results["steps"] == 8


def test_a_map_of_iris_classifies_flowers(tmp_path: Path) -> None:
    chain = ("net.rows=1", "net.columns=30")
    for name, words in {"batch": (), "online": (ONLINE, "net.grid=hexagonal"), "chain": chain}.items():
        results = run(tmp_path / name, "model=som", "data=iris", *words, "trainer.max_epochs=20")
        metrics = results["metrics"]
        assert metrics["test/accuracy"] >= 0.9, name
        assert metrics["test/quantization_error"] < 0.6
        assert 0 <= metrics["test/topographic_error"] < 0.3
        assert results["steps"] == 20 * (7 if name == "online" else 1)


def test_units_take_the_label_of_the_majority() -> None:
    """A row whose nearest unit won no training row gets the label of the nearest unit that did."""
    task = a_map()
    task.net.labels.copy_(torch.tensor([[3.0, 1.0], [0.0, 0.0], [0.0, 0.0], [1.0, 2.0]]))
    x = torch.tensor([[0.1, 0.1], [0.9, 0.2], [0.4, 0.5]])
    assert task.predict(x).tolist() == [[1, 0], [0, 1], [1, 0]]
    torch.testing.assert_close(task.outputs(x)[0], torch.tensor([0.75, 0.25]))
    assert task.as_predictor() is task
    assert task.predicted_target.names == ("p", "q")


def test_without_classes_the_unit_is_predicted() -> None:
    task = a_map(PLAIN)
    assert task.as_predictor() is None
    assert task.predict(torch.tensor([[0.9, 0.2]])).tolist() == [[0, 1, 0, 0]]
    assert task.predicted_target.names[1] == "row 1, column 2"


def test_labels_are_those_of_the_weights_that_are_evaluated(tmp_path: Path) -> None:
    """The labels in a checkpoint are counts of the training rows by the units of the checkpoint."""
    run(tmp_path, "model=som", "data=iris", "trainer.max_epochs=3")
    for name in ("best", "last"):
        task: Any = checkpoint.load_task(tmp_path / "checkpoints" / f"{name}.ckpt")[0]
        assert task.net.labels.sum() == 108
    task.net.labels.zero_()
    run(tmp_path / "unvalidated", "model=som", "data=iris", "trainer.max_epochs=1", "trainer.limit_val_batches=0")
    task = checkpoint.load_task(tmp_path / "unvalidated" / "checkpoints" / "last.ckpt")[0]
    assert task.net.labels.sum() == 108


@pytest.mark.parametrize("words", [(), (ONLINE,), ("task.init=pca",)], ids=["batch", "online", "pca"])
def test_a_run_that_was_stopped_in_an_epoch_resumes_bit_for_bit(words: tuple[str, ...], tmp_path: Path) -> None:
    words = ("model=som", "data=iris", *words, "trainer.max_epochs=3")
    run(tmp_path / "whole", *words)
    run_until(SelfOrganization, (1, 3), tmp_path / "parts", *words)
    resume(tmp_path / "parts")
    whole, parts = content(tmp_path / "whole"), content(tmp_path / "parts")
    assert same(whole["state_dict"], parts["state_dict"])
    assert curves(tmp_path / "whole") == curves(tmp_path / "parts")


def test_equal_seeds_give_equal_maps(tmp_path: Path) -> None:
    states = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tmp_path / name, "model=som", "data=colors", ONLINE, f"seed={seed}")
        states.append(content(tmp_path / name)["state_dict"])
    assert same(states[0], states[1])
    assert not same(states[0], states[2])


def curves(folder: Path) -> list[dict[str, str]]:
    """The metrics of a run's epochs."""
    with (folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if "seconds" not in k} for row in csv.DictReader(file)]


def colors_csv(folder: Path) -> Path:
    path = folder / "mine.csv"
    lines = [f"{i % 3},7,{i % 5}.5,shade {i % 9}" for i in range(40)]  # a constant column, duplicates
    path.write_text("\n".join(["cyan,same,blue,shade", *lines]))
    return path


@pytest.mark.parametrize("words", [(ONLINE, "data.scaling=minmax"), ("task.init=pca",)], ids=["online", "pca"])
def test_constant_columns_duplicates_and_fewer_rows_than_units(words: tuple[str, ...], tmp_path: Path) -> None:
    data = ("data=csv", f"data.path={colors_csv(tmp_path)}", "data.target=null", "data.names=shade")
    results = run(tmp_path / "run", "model=som", *data, *words, "trainer.max_epochs=20")
    assert results["metrics"]["test/quantization_error"] < 0.3
    state = content(tmp_path / "run")["state_dict"]
    assert state["net.weights"].shape == (100, 3)
    assert state["net.weights"].isfinite().all()


def test_the_command_predicts_units_and_an_export_does_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = colors_csv(tmp_path)
    data = ("data=csv", f"data.path={table}", "data.target=null", "data.names=shade")
    run(tmp_path / "run", "model=som", *data)
    ckpt = f"ckpt={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}"
    capsys.readouterr()
    predict.command([ckpt, f"input={table}", "format=json"])
    units = [record["predictions"][0]["class"] for record in json.loads(capsys.readouterr().out)]
    assert len(units) == 40
    assert units[0] == units[15]  # equal rows
    assert units[0].startswith("row ")
    export.command([ckpt, "format=onnx", f"output={tmp_path / 'map.onnx'}"])
    assert (tmp_path / "map.onnx").is_file()


def test_metrics_match_their_definitions() -> None:
    """Of the rows, one has its two nearest units at opposite corners of a chain, so they are no neighbours."""
    net = SelfOrganizingMap(PLAIN, rows=1, columns=3)
    with torch.no_grad():
        net.weights.copy_(torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 3.0]]))
    task = SelfOrganization(net, PLAIN)
    x, weight = torch.tensor([[0.0, 1.0], [5.0, 0.0]]), torch.tensor([1.0, 3.0])
    task.validation_step((x, torch.zeros(2), weight), 0)  # type: ignore[arg-type]
    values = {name: float(metric.compute()) for name, metric in task.eval_means.items() if metric.update_called}
    assert values == {"loss": 12.25, "quantization_error": 3.25, "topographic_error": 0.25}


def test_distances_are_exact_for_units_next_to_a_row() -> None:
    """A matrix product alone would cancel: 1e4^2 - 2e8 + 1e4^2."""
    net = SelfOrganizingMap(PLAIN, rows=3, columns=4)
    with torch.no_grad():
        net.weights.copy_(1e4 + 0.25 * torch.arange(12.0)[:, None].expand(12, 2))
        distances, units = net.nearest(net.weights[[5]], 2)
    assert units[0, 0] == 5
    assert distances.tolist() == [[0.0, 0.125]]


def test_weights_of_rows_count(tmp_path: Path) -> None:
    """Rows of weight 0 do not move the map."""
    lines = [f"{i % 2 * 50},{i % 2},{1 - i % 2}" for i in range(40)]
    (tmp_path / "weighted.csv").write_text("\n".join(["a,b,w", *lines]))
    data = ("data=csv", f"data.path={tmp_path / 'weighted.csv'}", "data.target=null", "data.weight=w")
    for words in ((), (ONLINE, "task.sigma=9", "task.final_sigma=9", "trainer.max_epochs=30")):
        run(tmp_path / "run", "model=som", *data, "data.standardize=false", "net.rows=2", "net.columns=2", *words)
        weights = content(tmp_path / "run")["state_dict"]["net.weights"]
        assert weights.abs().max() < 1, "all rows that count are at 0"


def test_invalid_options(tmp_path: Path) -> None:
    for overrides, message in (
        (("net.rows=1", "net.columns=1"), "a map needs at least two"),
        (("net.grid=round",), r"net\.grid=round"),
        (("task.sigma=-1",), r"task\.sigma=-1"),
        (("task.learning_rate=2", ONLINE), r"task\.learning_rate=2"),
        (("task.learning_rate=0.1",), r"task\.algorithm=online"),
        (("trainer.accumulate_grad_batches=2",), "accumulate_grad_batches=2: the batch map moves"),
        (("trainer.max_epochs=-1",), r"set trainer\.max_epochs or trainer\.max_steps"),
        (("optimizer=adam",), "learns without an optimizer"),
    ):
        with pytest.raises(UserError, match=message):
            run(tmp_path, "model=som", "data=iris", *overrides)


def test_a_run_of_steps_decreases_over_its_steps(tmp_path: Path) -> None:
    results = run(tmp_path, "model=som", "data=iris", "trainer.max_epochs=-1", "trainer.max_steps=4")
    assert (results["steps"], results["epochs"]) == (4, 4)
    assert len(curves(tmp_path)) == 4
