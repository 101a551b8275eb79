"""metrics.csv and the curves: a row for each epoch, however the run went; the loss ratio beside them."""

import lightning.pytorch as pl
import pytest
from tiny_runs import make, picture, table

from dlzoo.callbacks.csv_history import History
from dlzoo.callbacks.loss_ratio import LossRatio
from dlzoo.visualization import curves


@pytest.mark.parametrize("sanity", [0, 2])
def test_history_has_a_row_for_each_epoch(tmp_path, sanity):
    trainer, task, data = make(tmp_path, History(), epochs=3, num_sanity_val_steps=sanity)
    means = []
    task.on_train_epoch_end = lambda: (means.append(task.running_loss), task.log("train/loss", task.running_loss))
    trainer.fit(task, data)
    rows = table(tmp_path)
    assert list(rows[0]) == ["epoch", "step", "seconds", "lr", "train/loss", "val/loss"]
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["step"] for row in rows] == ["4", "8", "12"]
    assert [float(row["lr"]) for row in rows] == [0.1, 0.05, 0.025]  # while training, not after the scheduler's step
    assert [float(row["train/loss"]) for row in rows] == pytest.approx(means, rel=1e-5)
    assert float(rows[-1]["val/loss"]) == pytest.approx(float(trainer.callback_metrics["val/loss"]), rel=1e-5)
    assert all(float(row["seconds"]) > 0 for row in rows)
    assert picture(tmp_path / "learning_curves.png")[2] > 0


def test_history_without_validation_and_with_it_now_and_then(tmp_path):
    trainer, task, data = make(tmp_path / "never", History(), limit_val_batches=0)
    trainer.fit(task, data)
    assert [sorted(row)[-1] for row in table(tmp_path / "never")] == ["train/loss"] * 2
    trainer, task, data = make(tmp_path / "odd", History(), epochs=3, check_val_every_n_epoch=2)
    trainer.fit(task, data)
    assert [row["val/loss"] != "" for row in table(tmp_path / "odd")] == [False, True, False]


def test_history_of_a_resumed_run_goes_on(tmp_path):
    trainer, task, data = make(tmp_path, History(), epochs=2)
    trainer.fit(task, data)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    before = table(tmp_path)
    trainer, task, data = make(tmp_path, History(), epochs=4)
    trainer.fit(task, data, ckpt_path=tmp_path / "two.ckpt", weights_only=True)
    assert [row["epoch"] for row in table(tmp_path)] == ["1", "2", "3", "4"]
    assert table(tmp_path)[:2] == before
    # once more from epoch 2: what came after it is replaced, not doubled
    trainer, task, data = make(tmp_path, History(), epochs=3)
    trainer.fit(task, data, ckpt_path=tmp_path / "two.ckpt", weights_only=True)
    assert [row["epoch"] for row in table(tmp_path)] == ["1", "2", "3"]
    # and a new run begins a new file
    trainer, task, data = make(tmp_path, History(), epochs=1)
    trainer.fit(task, data)
    assert [row["epoch"] for row in table(tmp_path)] == ["1"]


@pytest.mark.parametrize("every", [{"every_n_epochs": 1}, {"every_n_train_steps": 6}], ids=["epochs", "steps"])
def test_history_of_a_run_resumed_from_its_own_checkpoint(tmp_path, every):
    """From the end of an epoch, or from within one (an epoch has four steps)."""
    saver = pl.callbacks.ModelCheckpoint(tmp_path, filename="saved", **every)
    trainer, task, data = make(tmp_path, History(), saver, epochs=2, enable_checkpointing=True)
    trainer.fit(task, data)
    trainer, task, data = make(tmp_path, History(), epochs=4)
    trainer.fit(task, data, ckpt_path=tmp_path / "saved.ckpt", weights_only=True)
    rows = table(tmp_path)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert all(float(row["seconds"]) > 0 for row in rows)
    assert [float(row["lr"]) for row in rows] == [0.1, 0.05, 0.025, 0.0125]


def test_history_takes_new_columns(tmp_path):
    trainer, task, data = make(tmp_path, History(), epochs=3)
    plain = task.on_train_epoch_end
    task.on_train_epoch_end = lambda: (plain(), trainer.current_epoch == 1 and task.log("train/late", 7.0))
    trainer.fit(task, data)
    # Lightning keeps the value of epoch 2 for epoch 3
    assert [row["train/late"] for row in table(tmp_path)] == ["", "7", "7"]
    assert all(row["val/loss"] for row in table(tmp_path))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_history_of_a_broken_run_is_complete(tmp_path, error, monkeypatch):
    monkeypatch.setattr("signal.signal", lambda *_: None)  # Lightning would make this process deaf to Ctrl-C
    trainer, task, data = make(tmp_path, History(), epochs=5)
    step = task.training_step

    def failing(batch, batch_idx):
        if trainer.current_epoch == 2:
            raise error
        return step(batch, batch_idx)

    task.training_step = failing
    with pytest.raises((RuntimeError, SystemExit)):
        trainer.fit(task, data)
    assert [row["epoch"] for row in table(tmp_path)] == ["1", "2"]
    assert (tmp_path / "learning_curves.png").exists()


@pytest.mark.parametrize("every", [1, 2])
def test_loss_ratio_is_logged_after_each_validation(tmp_path, every):
    ratio = LossRatio()
    options = {"num_sanity_val_steps": 1, "check_val_every_n_epoch": every}
    trainer, task, data = make(tmp_path, ratio, History(), epochs=3, **options)
    logged = []
    log = task.log
    task.log = lambda name, *args, **named: (logged.append((trainer.current_epoch, name)), log(name, *args, **named))
    trainer.fit(task, data)
    assert [epoch for epoch, name in logged if name == "val/loss_ratio"] == ([0, 1, 2] if every == 1 else [1])
    for row in table(tmp_path)[every - 1 :: every]:
        assert float(row["val/loss_ratio"]) == pytest.approx(
            float(row["val/loss"]) / float(row["train/loss"]), rel=1e-4
        )


@pytest.mark.parametrize(("folder", "name"), [("my-run", "my-run"), ("sweep/3", "sweep/3"), ("$x^{$", "$x^{$")])
def test_curves_are_headed_by_the_name_of_the_run(tmp_path, monkeypatch, folder, name):
    seen = []
    draw = curves.learning_curves
    monkeypatch.setattr(curves, "learning_curves", lambda *args, **named: (seen.append(named), draw(*args, **named))[1])
    trainer, task, data = make(tmp_path / folder, History(), epochs=1)
    trainer.fit(task, data)
    assert seen == [{"heading": name}]
    assert (tmp_path / folder / "learning_curves.png").is_file()
