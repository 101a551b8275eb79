"""A fault at a known step of each kind of run: it is named, shown again from its file, and can be left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import reliability_tables
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from small_runs import Train, newest_run

from dlzoo.config.run_config import RunConfig
from dlzoo.errors import NonFinite
from dlzoo.training.nan_guard import guard as finite
from dlzoo.training.nan_guard import rerun
from dlzoo.training.nan_guard.guard import FiniteWatch
from dlzoo.utils import checkpoint_files

COMMON = ("trainer=cpu", "trainer.max_epochs=2", "logger=none", "callbacks=[history,checkpoint]")
FEW = ("trainer.limit_train_batches=6", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1")
TEXT = ("data=text_file", "data.num_steps=8", "data.batch_size=4")
FAMILIES = {
    "mlp": ("model=mlp", "net.norm=batch", "net.dropout=0.2", "augment=flips"),
    "cnn": ("model=lenet",),
    "vae": ("model=vae",),
    "autoencoder": ("model=autoencoder",),
    "gan": ("model=dcgan", "net.width=4"),
    "critic": ("model=wgan_gp", "net.width=4", "task.discriminator_steps=2"),
    "perceptron": ("model=perceptron", "trainer.accumulate_grad_batches=2"),
    "kmeans": ("model=kmeans", "task.update=batch", "task.init_rows=32"),
    "som": ("model=som", "data.batch_size=16"),
    "som, online": ("model=som", "task.algorithm=online", "data.batch_size=16"),
    "lstm": ("model=lstm", "data=air_passengers", "data.batch_size=8"),
    "stateful": ("model=gru", "data=air_passengers", "net.stateful=true", "data.window=8", "data.batch_size=2"),
    "text": ("model=char_rnn", *TEXT),
    "accumulated": ("model=mlp", "trainer.accumulate_grad_batches=2"),
    "clipped": ("model=mlp", "trainer.gradient_clip_val=1"),
    "bfloat16": ("model=mlp", "trainer.precision=bf16-mixed"),
}
SHORT = ("gan", "kmeans", "perceptron", "stateful", "text")
"""Tried each time; the others with -m reliability."""
ACCUMULATED = ("accumulated", "perceptron")
"""Two batches make a step."""
CASES = [pytest.param(name, marks=() if name in SHORT else pytest.mark.reliability) for name in FAMILIES]
STEP = 3
"""Batches before the fault."""


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Spoil the input of a batch, or, where that is no real number, a weight for this batch."""

    def at(bad: int, *, weights: bool = False) -> None:
        begin = FiniteWatch.begin_batch
        kept: list[Any] = []

        def begin_batch(self: FiniteWatch, batch: Any, batch_idx: int) -> None:
            first = next(p for p in self.task.net.parameters() if p.requires_grad).data
            if kept:
                first.copy_(kept.pop())
            if batch_idx == bad and self.task.current_epoch == 0:
                if weights:
                    kept.append(first.clone())
                    first.fill_(float("inf"))
                else:
                    batch[0][0] = float("nan")
            begin(self, batch, batch_idx)

        monkeypatch.setattr(FiniteWatch, "begin_batch", begin_batch)

    return at


@pytest.fixture(scope="module", autouse=True)
def outcomes() -> Iterator[dict[str, dict[str, str]]]:
    """What became of the faults, written for RESULTS.md where DLZOO_WRITE_RESULTS is set."""
    found: dict[str, dict[str, str]] = {"stop": {}, "skip": {}}
    yield found
    if {*found["stop"]} == {*found["skip"]} == {*FAMILIES}:
        reliability_tables.write(
            __file__,
            "nonfinite",
            title="Numbers that are not finite",
            select="-m 'reliability or not reliability' ",
            columns=("run", "on_nan=stop says", "on_nan=skip"),
            rows=[(name, found["stop"][name], found["skip"][name]) for name in FAMILIES],
            note="A NaN in one batch (for text, an infinite weight). Each stopped run's step was taken again from its "
            "nonfinite.ckpt, and went wrong in the same place.",
        )


def words_of(name: str, tmp_path: Path) -> list[str]:
    words = [*COMMON, *FAMILIES[name], *FEW]
    if name == "text":
        (tmp_path / "text.txt").write_text("all is well that ends well, said the cat\n" * 40)
        words.append(f"data.path={tmp_path / 'text.txt'}")
    return words


def is_finite(state: dict[str, Any]) -> bool:
    return all(bool(v.isfinite().all()) for v in state.values() if v.is_floating_point())


@pytest.mark.parametrize("name", CASES)
def test_the_fault_is_named_and_shown_again(
    name: str, train: Train, tmp_path: Path, poison: Any, outcomes: Any
) -> None:
    poison(STEP, weights=name == "text")
    done = train(*words_of(name, tmp_path), "callbacks.last_checkpoint.every_n_steps=1")
    assert done.code == 1, done.err
    step = STEP // 2 + 1 if name in ACCUMULATED else STEP + 1
    assert done.err.startswith(f"error: step {step} (epoch 1, batch {STEP + 1}): ")
    where = "in the weights before the step" if name == "text" else "in the inputs of the batch"
    assert f"first {where}" in done.err
    folder = newest_run(tmp_path)
    assert "rows     of train in this batch" in done.err
    again = rerun.rerun(checkpoint_files.read(folder / "nonfinite.ckpt"))
    assert again.first.startswith(where)
    assert any(not layer.is_finite for layer in again.layers)
    stored = checkpoint_files.read(folder / "checkpoints" / "last.ckpt")
    assert is_finite(stored["state_dict"])
    results = json.loads((folder / "results.json").read_text())
    assert results["status"] == "failed"
    outcomes["stop"][name] = results["reason"]


@pytest.mark.parametrize("name", CASES)
def test_the_step_is_left_out(name: str, train: Train, tmp_path: Path, poison: Any, outcomes: Any) -> None:
    poison(STEP, weights=name == "text")
    done = train(*words_of(name, tmp_path), "on_nan=skip")
    assert done.code == 0, done.err
    folder = newest_run(tmp_path)
    results = json.loads((folder / "results.json").read_text())
    stored = checkpoint_files.read(folder / "checkpoints" / "last.ckpt")
    assert is_finite(stored["state_dict"])
    assert results["skipped_steps"] == 1
    batches = 6 if name in ACCUMULATED else 12
    assert stored["global_step"] == results["steps"] == batches - 1 or name == "stateful"
    assert all(value is not None for key, value in results["metrics"].items() if key.startswith("train/"))
    outcomes["skip"][name] = f"1 step skipped, {results['steps']} taken, weights and means finite"


def test_an_agent_that_goes_wrong(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlzoo.tasks.rl.dqn import DQN

    update, counts = DQN.update, []

    def spoilt(self: DQN, lesson: Any) -> None:
        counts.append(1)
        update(self, lesson._replace(target=lesson.target * float("nan")) if len(counts) == 5 else lesson)

    monkeypatch.setattr(DQN, "update", spoilt)
    words = ("model=dqn", "data=cartpole", "data.steps_per_epoch=600", "data.val_episodes=2", "data.test_episodes=2")
    words = (*COMMON, *words, "task.learning_starts=200", "~trainer.log_every_n_steps")
    done = train(*words)
    assert done.code == 1, done.err
    assert "the loss is nan" in done.err
    assert len(counts) == 5, "not one update more"
    assert "on_nan=skip: what an agent has observed stays" in train(*words, "on_nan=skip").err


def test_flags_that_are_read_late(train: Train, tmp_path: Path, poison: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: the right step is named, and nothing is saved until the flags are read."""
    start = FiniteWatch.install_hooks

    def install_hooks(self: FiniteWatch, trainer: Any, task: Any) -> None:
        self.lag = self.every = finite.LAG
        start(self, trainer, task)

    monkeypatch.setattr(FiniteWatch, "install_hooks", install_hooks)
    poison(STEP)
    done = train(*words_of("mlp", tmp_path), "callbacks.last_checkpoint.every_n_steps=6")
    assert done.code == 1, done.err
    assert done.err.startswith(f"error: step {STEP + 1} (epoch 1, batch {STEP + 1}): ")
    assert "first in the inputs of the batch" in done.err
    assert f"saved from {STEP} steps earlier" in done.err
    assert not (newest_run(tmp_path) / "checkpoints" / "last.ckpt").exists()


@pytest.mark.parametrize(("factor", "ends_well"), [(1e3, True), (1e30, False)])
def test_a_loss_scaler_may_look_for_its_scale(
    factor: float, ends_well: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With float16 gradients overflow until the scale fits: no reason to stop, unless it goes on for ever."""
    from dlzoo.config import compose as config
    from dlzoo.config import instantiate as build
    from dlzoo.tasks.supervised import Supervised

    mean_loss = Supervised.mean_loss
    monkeypatch.setattr(Supervised, "mean_loss", lambda self, *given: mean_loss(self, *given) * factor)
    cfg = config.compose([*COMMON, "model=mlp", "net.hidden=[8]", "trainer.max_epochs=1"])
    data = build.build_data(cfg.data)
    data.setup("fit")
    task = build.build_task(RunConfig.from_hydra(cfg), data.spec)
    scaling = MixedPrecision("16-mixed", device="cpu", scaler=torch.amp.GradScaler("cpu", init_scale=2.0**16))
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, plugins=[scaling], callbacks=[FiniteWatch(limit=15)], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
        default_root_dir=str(tmp_path),
    )  # fmt: skip
    if ends_well:
        trainer.fit(task, data)
        assert scaling.scaler is not None
        assert scaling.scaler.get_scale() < 2.0**16, "there were gradients that overflowed"
        assert is_finite(task.state_dict())
    else:
        with pytest.raises(NonFinite, match=r"^step 16 \(epoch 1, batch 16\): "):
            trainer.fit(task, data)
