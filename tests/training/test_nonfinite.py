"""Numbers that go wrong: step, rows and layer are named, nothing good is written over, steps are left out."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import Terminal, Train, newest_run
from torch import Tensor, nn

from dlzoo.commands import rerun_step
from dlzoo.data.tables.synthetic import Synthetic
from dlzoo.nets import mlp
from dlzoo.tasks import optimization
from dlzoo.training.nan_guard import guard as finite
from dlzoo.utils import checkpoint_files

PLAIN = ("trainer=cpu", "trainer.max_epochs=3", "logger=none", "callbacks=[history,checkpoint]")
BLOBS = (*PLAIN, "model=mlp", "data=synthetic", "data.kind=blobs", "net.hidden=[8,8]", "data.standardize=false")
SKIP = "on_nan=skip"


class RootOf(nn.Module):
    """x -> x + sqrt(0^2): finite, but the slope of the root, inf times 0, is not."""

    def forward(self, x: Tensor) -> Tensor:
        return x + (x - x.detach()).square().sqrt()


class Grower(nn.Module):
    """x -> exp(exp(exp(|x| + 2))): too large for float32."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.abs() + 2).exp().exp().exp()


class Odd(mlp.MLP):
    """A perceptron whose third hidden layer is something else."""

    third: type[nn.Module] = RootOf

    def __init__(self, spec: Any, *, hidden: tuple[int, ...] = (8, 8)) -> None:
        super().__init__(spec, hidden=hidden)
        self.hidden.insert(2, self.third())


@pytest.fixture
def odd_net(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[nn.Module]], str]:
    """The word for a net with this part in its third place; checkpoints accept nets of dlzoo.nets only."""

    def word(third: type[nn.Module]) -> str:
        monkeypatch.setattr(Odd, "__module__", "dlzoo.nets.mlp")
        monkeypatch.setattr(Odd, "third", third)
        monkeypatch.setattr(mlp, "Odd", Odd, raising=False)
        return "net._target_=dlzoo.nets.mlp.Odd"

    return word


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a number into some rows of the training split, which the data are given whenever they are set up."""

    def rows(*numbers: int, value: float = float("nan"), target: bool = False) -> None:
        setup = Synthetic.setup

        def spoilt(self: Synthetic, stage: str | None = None) -> None:
            setup(self, stage)
            if "train" in self._arrays:
                (self._arrays["train"].y if target else self._arrays["train"].x)[list(numbers)] = value

        monkeypatch.setattr(Synthetic, "setup", spoilt)

    return rows


def results_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def batch_with(row: int, num_rows: int, size: int = 32, seed: int = 0, epoch: int = 0) -> int:
    """In which batch of an epoch a row comes: dlzoo/data/loaders.py's rule, written out."""
    order = torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
    return int((order == row).nonzero()) // size


def num_train(train: Train) -> int:
    from dlzoo.config import compose as config
    from dlzoo.config import instantiate as build

    data = build.build_data(config.compose(BLOBS).data)
    data.setup("fit")
    return data.arrays("train").num_rows  # type: ignore[attr-defined]


def test_a_row_that_is_not_finite_is_named(
    train: Train, tmp_path: Path, spoil: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = num_train(train)
    spoil(17)
    batch = batch_with(17, rows)
    done = train(*BLOBS)
    folder = newest_run(tmp_path)
    assert done.code == 1
    assert f"error: step {batch + 1} (epoch 1, batch {batch + 1}): the loss is nan; first in the inputs" in done.err
    assert "of row 17 of train" in done.err
    assert "Traceback" not in done.err
    assert results_in(folder)["status"] == "failed"
    assert "first in the inputs" in results_in(folder)["reason"]
    moment = checkpoint_files.read(folder / "nonfinite.ckpt")["moment"]
    assert moment["rows"].tolist().count(17) == 1
    assert moment["batch"][0][moment["rows"] == 17].isnan().all()
    assert not moment["batch"][0][moment["rows"] != 17].isnan().any()
    again = Terminal(monkeypatch, capsys)(rerun_step.main, f"ckpt={folder / 'nonfinite.ckpt'}")
    assert again.code == 0
    assert "first: in the inputs of the batch" in again.out
    assert "! net.hidden.0 (Linear)" in again.out
    usual = Terminal(monkeypatch, capsys).mistake(rerun_step.main, f"ckpt={good_checkpoint(train, tmp_path)}")
    assert "nonfinite.ckpt that a failed run wrote" in usual


def good_checkpoint(train: Train, tmp_path: Path) -> Path:
    assert train(*PLAIN, "model=mlp", "data=iris", "net.hidden=[4]", "trainer.max_epochs=1").code == 0
    return newest_run(tmp_path) / "checkpoints" / "last.ckpt"


def test_a_target_that_is_not_finite_is_named(train: Train, spoil: Any) -> None:
    spoil(3, target=True, value=float("inf"))
    done = train(*BLOBS, "data.kind=friedman")
    assert done.code == 1
    assert "the loss is inf; first in the target of the batch" in done.err
    assert "inf in 1 of 32 values, of row 3 of train" in done.err


@pytest.mark.parametrize(
    ("third", "wrong", "first"),
    [
        (Grower, "the loss is nan", "first in the output of net.hidden.2 (Grower)"),
        (RootOf, "but the gradient of net.hidden.0.weight", "first in the gradient of net.hidden.2 (RootOf)"),
    ],
)
def test_the_first_layer_is_named(
    third: type[nn.Module], wrong: str, first: str, train: Train, odd_net: Any, tmp_path: Path
) -> None:
    done = train(*BLOBS, odd_net(third))
    assert done.code == 1
    assert "step 1 (epoch 1, batch 1)" in done.err
    assert first in done.err
    assert wrong in done.err
    assert ("by the derivative of Pow" in done.err) == (third is RootOf)


def test_the_last_good_checkpoint_stays(train: Train, tmp_path: Path, spoil: Any) -> None:
    """A rate so high that some later step overflows; what was saved before is as it was."""
    grow = ("optimizer=sgd", "optimizer.lr=1e5", "data.kind=friedman", "callbacks.last_checkpoint.every_n_steps=1")
    done = train(*BLOBS, *grow)
    assert done.code == 1
    assert "lower optimizer.lr" in done.err
    folder = newest_run(tmp_path)
    stored = checkpoint_files.read(folder / "checkpoints" / "last.ckpt")
    assert all(value.isfinite().all() for value in stored["state_dict"].values())
    reached = results_in(folder)
    assert stored["global_step"] == reached["steps"] > 0
    before = checkpoint_files.read(folder / "nonfinite.ckpt")
    assert before["moment"]["step"] == reached["steps"]
    assert all(torch.equal(before["state_dict"][name], value) for name, value in stored["state_dict"].items())


@pytest.mark.parametrize(
    "words",
    [
        ("net.dropout=0.2", "net.norm=batch", "optimizer=momentum", "scheduler=cosine"),
        ("trainer.accumulate_grad_batches=3", "trainer.gradient_clip_val=1", "callbacks=[history,checkpoint,ema]"),
    ],
)
@pytest.mark.parametrize("mode", ["stop", "skip"])
def test_a_watched_run_is_the_run_without_it(
    mode: str, words: tuple[str, ...], train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = (*PLAIN, "model=mlp", "net.hidden=[8]", "data=digits", "data.train_per_class=20", *words)
    assert train(*digits, f"on_nan={mode}").code == 0
    watched = checkpoint_files.read(newest_run(tmp_path) / "checkpoints" / "last.ckpt")
    for hook in ("on_train_start", "on_train_batch_start", "on_before_backward"):
        monkeypatch.setattr(finite.FiniteWatch, hook, None)
    assert train(*digits).code == 0
    free = checkpoint_files.read(newest_run(tmp_path) / "checkpoints" / "last.ckpt")
    assert watched["global_step"] == free["global_step"]
    assert all(torch.equal(watched["state_dict"][name], value) for name, value in free["state_dict"].items())


@pytest.fixture
def good_batches(monkeypatch: pytest.MonkeyPatch) -> Callable[[set[int]], None]:
    """Leave batches of these numbers out of each epoch: what a run that skips them must be like."""
    from dlzoo.data.loaders import TensorLoader

    def without(bad: set[int]) -> None:
        batches = TensorLoader.batches
        monkeypatch.setattr(
            TensorLoader,
            "batches",
            lambda self, device="cpu": tuple(
                rows for i, rows in enumerate(batches(self, device)) if not (self.shuffle and i in bad)
            ),
        )
        monkeypatch.setattr(
            TensorLoader, "__len__", lambda self: len(self.batches()) if self.shuffle else -(-self.num_rows // 512)
        )

    return without


@pytest.mark.parametrize("optimizer", ["adam", "momentum", "rmsprop"])
def test_a_skipped_step_changes_nothing(
    optimizer: str, train: Train, tmp_path: Path, spoil: Any, good_batches: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, optimizer, schedule, averages of weights and of losses are those of a run without the batch."""
    words = (*BLOBS, f"optimizer={optimizer}", "scheduler=exponential", "trainer.max_epochs=1", SKIP)
    words = (*words, "net.norm=batch", "callbacks=[history,checkpoint,ema]", "callbacks.ema.decay=0.5")
    rows = num_train(train)
    plan = optimization.Plan  # a schedule goes by the number of batches, of which the second run has one less
    monkeypatch.setattr(optimization, "Plan", lambda total, each, *watched: plan(20, 20, *watched))
    spoil(17)
    done = train(*words)
    assert done.code == 0, done.err
    assert "1 step was skipped" in done.out
    assert done.err.count("the step is skipped") == 1
    folder = newest_run(tmp_path)
    with (folder / "skipped_steps.csv").open() as file:
        (line,) = csv.DictReader(file)
    batch = batch_with(17, rows)
    assert (line["step"], line["batch"], line["loss"]) == (str(batch + 1), str(batch + 1), "nan")
    assert "17" in line["rows"].split()
    skipped, told = checkpoint_files.read(folder / "checkpoints" / "last.ckpt"), results_in(folder)
    assert told["skipped_steps"] == 1
    good_batches({batch})
    assert train(*words).code == 0
    folder = newest_run(tmp_path)
    clean = checkpoint_files.read(folder / "checkpoints" / "last.ckpt")
    assert skipped["global_step"] == clean["global_step"] == -(-rows // 32) - 1
    assert skipped["lr_schedulers"] == clean["lr_schedulers"]
    for name, value in clean["state_dict"].items():
        assert torch.equal(skipped["state_dict"][name], value), name
    assert told["metrics"] == results_in(folder)["metrics"]
    assert str(skipped["optimizer_states"]) == str(clean["optimizer_states"])


def test_one_bad_batch_spoils_the_step_that_it_belongs_to(train: Train, tmp_path: Path, spoil: Any) -> None:
    words = (*BLOBS, "trainer.accumulate_grad_batches=2", "trainer.max_epochs=1", SKIP)
    rows = num_train(train)
    spoil(17)
    assert train(*words).code == 0
    stored = checkpoint_files.read(newest_run(tmp_path) / "checkpoints" / "last.ckpt")
    batches = -(-rows // 32)
    assert stored["global_step"] == -(-batches // 2) - 1
    assert all(value.isfinite().all() for value in stored["state_dict"].values())
    assert train(*words, "on_nan=stop").code == 1
    moment = checkpoint_files.read(newest_run(tmp_path) / "nonfinite.ckpt")["moment"]
    assert moment["batch_idx"] == batch_with(17, rows), "the batch, not the last one of the step"


def test_too_many_on_end_stop_the_run(train: Train, tmp_path: Path, odd_net: Any) -> None:
    done = train(*BLOBS, odd_net(Grower), SKIP, "skip_limit=3")
    assert done.code == 1
    assert "4 steps in a row had non-finite values; the last was step 1 (epoch 1, batch 4)" in done.err
    assert results_in(newest_run(tmp_path))["steps"] == 0


def test_wrong_words(train: Train) -> None:
    assert "on_nan=perhaps must be stop or skip" in train(*BLOBS, "on_nan=perhaps").err
    assert "skip_limit=0" in train(*BLOBS, "skip_limit=0").err
    assert "lbfgs" in train(*BLOBS, "optimizer=lbfgs", SKIP).err
