"""The benchmark times what it says, both sides do the same work, and what made steps cheaper stays in place."""

from __future__ import annotations

import importlib.util
import inspect
import json
import operator
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from dlzoo.callbacks.csv_history import History
from dlzoo.config import compose as config
from dlzoo.errors import UserError
from dlzoo.tasks.running_mean import RunningMean
from dlzoo.tasks.supervised import Classification, Supervised
from dlzoo.training.run import run as run_training


def load_script() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "bench.py"
    spec = importlib.util.spec_from_file_location("bench", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


bench = load_script()
bench_data = importlib.import_module("scripts.bench_data")
bench_runs = importlib.import_module("scripts.bench_runs")


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    bench_data.write_noise(folder)
    return folder


class Turns:
    """The benchmark's side of a connection: says "go" for so many epochs, then "end"."""

    def __init__(self, epochs: int) -> None:
        self.words = ["go"] * epochs + ["end"]
        self.sent: list[Any] = []

    def recv(self) -> str:
        return self.words.pop(0)

    def send(self, value: Any) -> None:
        self.sent.append(value)


def tiny(data_dir: Path, *words: str) -> Any:
    """The first workload with 1,000 training pictures and two epochs."""
    few = ["data.val_size=59000", "data.eval_batch_size=59000", "trainer.max_epochs=2", f"data_dir='{data_dir}'"]
    return config.compose([*bench.SPEED["mlp"][0], *few, *words])


@pytest.mark.parametrize("run", [bench.run_ours, bench.run_bare])
def test_each_side_takes_all_its_steps_and_sends_a_lap_for_each_epoch(
    run: Any, noise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, rates, step = [], set(), torch.optim.Adam.step

    def counting(self: torch.optim.Adam, *args: Any, **options: Any) -> Any:
        shapes = [p.shape for group in self.param_groups for p in group["params"]]
        if shapes != [(64, 64)]:  # in which the check before training measures the optimizer's memory
            steps.append(shapes)
        rates.add(self.param_groups[0]["lr"])
        return step(self, *args, **options)

    monkeypatch.setattr(torch.optim.Adam, "step", counting)
    turns = Turns(epochs=2)
    run(turns, tiny(noise, "optimizer.lr=0.007"))
    *laps, peak = turns.sent
    assert len(steps) == 2 * 8  # 1,000 pictures in batches of 128
    assert [shape[0] for shape in steps[0]][::4] == [64, 128, 64, 10]
    assert rates == {0.007}
    assert len(laps) == 2
    assert all(0 < lap["train"] < lap["epoch"] for lap in laps)
    assert all(lap["cpu"] > 0 for lap in laps)
    assert peak > 100


@pytest.mark.parametrize("name", ["vae", "dcgan", "resnet18"])
def test_the_bare_side_learns_pictures_of_each_kind(name: str, noise: Path) -> None:
    few = [
        "trainer.limit_train_batches=2",
        "trainer.limit_val_batches=1",
        "data.batch_size=8",
        "data.eval_batch_size=8",
    ]
    turns = Turns(epochs=1)
    bench.run_bare(turns, config.compose([*bench.SPEED[name][0], *few, f"data_dir='{noise}'"]))
    assert 0 < turns.sent[0]["train"] < turns.sent[0]["epoch"]


def test_an_epoch_of_ours_holds_what_callbacks_do_at_its_end(noise: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns, sent_before_the_end = Turns(epochs=2), []
    monkeypatch.setattr(History, "on_train_epoch_end", lambda *_: time.sleep(0.4))
    monkeypatch.setattr(History, "on_train_end", lambda *_: sent_before_the_end.append(len(turns.sent)))
    bench.run_ours(turns, tiny(noise, "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"))
    for lap in turns.sent[:2]:
        assert lap["epoch"] - lap["train"] > 0.4
    assert sent_before_the_end == [2]  # but not what they do when the fit ends


def test_both_sides_learn_from_the_same_windows_of_hours(tmp_path: Path) -> None:
    from dlzoo.config.instantiate import build_data

    path, turns = tmp_path / "hours.csv", Turns(epochs=1)
    bench_data.write_hours(path)
    cfg = config.compose([*bench.SPEED["lstm"][0], f"data.path='{path}'"])
    ours = build_data(cfg.data).arrays("train")  # type: ignore[attr-defined]
    bare = bench_data.read_hours(path, window=24, day=24)[:-24]
    assert bare.shape == (20_000 - 24 - 2 * 24 - 24, 25, 1)
    torch.testing.assert_close(bare[:, :-1], ours.x, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(bare[:, -1], ours.y, rtol=1e-4, atol=1e-4)
    bench.run_bare(turns, cfg)
    assert 0 < turns.sent[0]["train"] < turns.sent[0]["epoch"]


def test_a_process_that_dies_ends_the_benchmark() -> None:
    with bench.worker(operator.is_, config.compose()) as other, pytest.raises(EOFError):
        other.recv()


def test_ratios_are_of_neighbours() -> None:
    ours, bare = ([{"epoch": seconds} for seconds in side] for side in ([2.0, 40.0, 3.0], [1.0, 10.0, 3.0]))
    assert bench.ratio(ours, bare, "epoch") == 2.0  # of 2, 4 and 1; the ratio of medians would be 1
    assert bench.medians(ours, bare, "epoch") == (3.0, 3.0)


@pytest.mark.parametrize(("value", "met"), [(1.5, True), (1.51, False)])
def test_a_target_is_met_up_to_its_value(value: float, met: bool) -> None:
    assert bench.Row("mlp", "epoch", 3, 2, "s", value, "x", target=1.5).met is met
    assert bench.Row("mlp", "epoch", 3, 2, "s", value, "x").met is None


def test_the_report(noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    asked: list[tuple[Sequence[str], int]] = []

    def take_turns(words: Sequence[str], repeats: int) -> Any:
        asked.append((words, repeats))
        laps = [[{"train": s, "epoch": s + 1, "cpu": s} for s in side] for side in ([5.0] * repeats, [2.0] * repeats)]
        return (*laps, 500.0, 300.0)

    monkeypatch.setattr(bench, "alternate", take_turns)
    monkeypatch.setenv("DLZOO_DATA_DIR", str(noise))
    bench.main(["mlp1024", "memory", "repeats=3", f"out={tmp_path / 'out.json'}"])
    report = json.loads((tmp_path / "out.json").read_text())
    rows = {(row["name"], row["part"]): (row["value"], row["target"], row["met"]) for row in report["rows"]}
    assert rows == {
        ("mlp1024", "training"): (2.5, None, None),
        ("mlp1024", "epoch"): (2.0, 1.2, False),
        ("memory", "peak"): (200.0, 250.0, True),
    }
    assert "data.batch_size=1024" in asked[0][0]
    assert [repeats for _, repeats in asked] == [3, 1]
    assert report["data"] == "MNIST"
    assert {"machine", "threads", "versions", "commit"} <= set(report)
    table = capsys.readouterr().out
    assert "missed" in table
    assert "+200 MB" in table


def test_the_start_is_timed_up_to_the_first_step(tmp_path: Path) -> None:
    before = time.time()
    stepped, cpu = bench_runs.last_line(bench_runs.first_step, "data=gates", f"output_dir='{tmp_path}'")
    assert before < stepped < time.time()
    assert cpu > 0


def test_drawing_is_timed(
    noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["trainer.limit_train_batches=1", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"]
    words = [*bench.VAE, *few, "trainer.max_epochs=1", "data.eval_batch_size=128", f"data_dir='{noise}'"]
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path), *words])
    bench_runs.time_drawing()
    whole, drawing = map(float, capsys.readouterr().out.splitlines()[-1].split())
    assert 0 < drawing < whole


def test_without_mnist_the_pictures_are_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLZOO_DATA_DIR", str(tmp_path))
    with bench_data.mnist_folder() as (folder, what):
        x, y = bench_data.read_mnist(folder)
    assert "noise" in what
    assert (x.shape, y.shape) == ((60_000, 1, 28, 28), (60_000,))
    assert (x.min(), x.max(), y.max()) == (0, 1, 9)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lennet"], "did you mean 'lenet'"),
        (["repeats=0"], "repeats=0 must be at least 1"),
        (["repeat=3"], "did you mean 'repeats'"),
    ],
)
def test_mistakes(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        bench.main(words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the question has another answer")
def test_no_step_searches_for_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[int] = []
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # as Lightning sets it
    monkeypatch.setattr(torch.cuda, "_is_compiled", lambda: True)
    monkeypatch.setattr(torch.cuda, "_raw_device_count_nvml", lambda: searches.append(at[0]) or -1)
    at, training_step = [-1], Supervised.training_step

    def numbered(self: Supervised, batch: Any, batch_idx: int) -> Any:
        at[0] = batch_idx
        return training_step(self, batch, batch_idx)

    monkeypatch.setattr(Supervised, "training_step", numbered)
    words = ["data=gates", "trainer=smoke", "trainer.accelerator=cpu", "callbacks=none", "logger=none"]
    run_training(config.compose([*words, "data.batch_size=1"]), tmp_path, [])
    assert at[0] == 1
    assert -1 in searches  # Lightning asks before the fit: the count works
    assert 0 not in searches


@pytest.mark.parametrize("task", [Supervised, Classification])
def test_the_signature_of_training_step_is_made_once(task: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect, "_signature_from_function", lambda *_: pytest.fail("made anew"))
    assert inspect.getfullargspec(task.training_step).args == ["self", "batch", "batch_idx"]  # type: ignore[attr-defined]


def test_a_running_mean_is_weighted_and_leaves_its_terms_alone() -> None:
    mean, terms = RunningMean(), [torch.tensor(4.0, dtype=torch.bfloat16), torch.tensor(1.0, requires_grad=True)]
    assert mean.read() == 0.0
    for term, count in zip(terms, [1, 3], strict=True):
        mean.add(term, count)
    assert mean.read() == 7 / 4
    assert [term.item() for term in terms] == [4, 1]
    mean.reset()
    for _ in range(1000):
        mean.add(terms[0], 1)  # a sum in bfloat16 would stop growing at 1024
    assert mean.read() == 4
