"""Callbacks: what they leave behind, in every kind of run."""

import csv
import io
import math
import re
import sys

import lightning.pytorch as pl
import matplotlib.image
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from dlzoo.callbacks.classification import ClassificationReport
from dlzoo.callbacks.graph import ModelGraph
from dlzoo.callbacks.history import History
from dlzoo.callbacks.loss_ratio import LossRatio
from dlzoo.callbacks.progress import Progress
from dlzoo.callbacks.regression import RegressionReport
from dlzoo.callbacks.samples import SamplePictures, worst
from dlzoo.callbacks.weights import WeightHistograms
from dlzoo.data.augment import Augment
from dlzoo.data.base import InMemoryData
from dlzoo.data.loaders import Arrays
from dlzoo.errors import UserError
from dlzoo.specs import Classes, ImageSpec, Values

CLASSES = Classes(("left", "right", "middle"))
VALUES = Values(("mean",), ("shade",))


class Pictures(InMemoryData):
    def __init__(self, target=CLASSES, **common):
        super().__init__(**common)
        self.target = target

    def declare(self):
        return ImageSpec(1, 6, 6, self.target)

    def load(self, split):
        generator = torch.Generator().manual_seed(len(split))
        x = torch.randint(256, (60, 1, 6, 6), generator=generator, dtype=torch.uint8)
        y = torch.arange(60) % 3 if isinstance(self.target, Classes) else x.float().mean((1, 2, 3))[:, None] / 255
        return Arrays(x, y)


class Tiny(pl.LightningModule):
    """The contract of a task, in little. Its outputs are its net's, whatever the batch, so tests can foretell them."""

    def __init__(self, spec, *, net=None, soft=False):
        super().__init__()
        self.spec = spec
        self.net = net or nn.Sequential(
            nn.Flatten(), nn.Linear(36, 4), nn.BatchNorm1d(4), nn.Linear(4, spec.target.num_outputs)
        )
        self.soft = soft
        self.losses = []
        self.seen = []

    @property
    def running_loss(self):
        return sum(self.losses) / len(self.losses)

    def loss(self, output, target):
        return (
            nn.functional.cross_entropy(output, target)
            if isinstance(self.spec.target, Classes)
            else (output - target).square().mean()
        )

    def on_train_epoch_start(self):
        self.losses.clear()

    def training_step(self, batch, batch_idx):
        self.seen.append(batch[0].clone())
        loss = self.loss(self.net(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def on_train_epoch_end(self):
        self.log("train/loss", self.running_loss)

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.loss(self.net(batch[0]), batch[1]))

    def test_step(self, batch, batch_idx):
        output, target = self.net(batch[0]), batch[1]
        if self.soft:
            target = nn.functional.one_hot(target, 3).float()
        return {"output": output, "target": target, "loss": self.loss(output, target)}

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]


def make(folder, *callbacks, epochs=2, target=CLASSES, augment=None, tensorboard=False, **options):
    """(trainer, task, data), not run yet."""
    torch.manual_seed(0)
    data = Pictures(target, batch_size=16, augment=augment)
    data.setup("fit")
    trainer = pl.Trainer(
        default_root_dir=folder,
        callbacks=list(callbacks),
        logger=TensorBoardLogger(str(folder), name="", version="") if tensorboard else False,
        max_epochs=epochs,
        accelerator="cpu",
        enable_progress_bar=any(isinstance(c, Progress) for c in callbacks),
        enable_model_summary=False,
        **{"num_sanity_val_steps": 0, "enable_checkpointing": False, **options},
    )
    return trainer, Tiny(data.spec), data


def table(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def events(folder):
    found = EventAccumulator(str(folder), size_guidance={"images": 0, "histograms": 0, "tensors": 0})
    found.Reload()
    return found


def picture(path):
    """(height, width, spread of its pixels): a blank picture has no spread."""
    pixels = matplotlib.image.imread(path)
    return (*pixels.shape[:2], float(np.std(pixels[..., :3])))


# ------------------------------------------------------------------------------------------------ history


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
    assert all(0 < float(row["seconds"]) < 60 for row in rows)
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
    assert all(0 < float(row["seconds"]) < 60 for row in rows)
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


# ------------------------------------------------------------------------------------------------ reports


class Foretold(nn.Module):
    """Says class 0 with growing confidence, whatever the picture."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        logits = torch.zeros(len(x), 3)
        logits[:, 0] = torch.linspace(1, 2, len(x))
        return logits + self.weight


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


def test_a_task_of_another_kind_is_left_alone(tmp_path):
    """No spec, and a test_step that returns nothing."""

    class Bare(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(36, 1)

        def training_step(self, batch, batch_idx):
            return self.layer(batch[0].flatten(1)).mean()

        def test_step(self, batch, batch_idx):
            return None

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    callbacks = [ClassificationReport(), RegressionReport(), SamplePictures(), ModelGraph(), WeightHistograms()]
    trainer, _, data = make(tmp_path, *callbacks, History(), Progress(), tensorboard=True)
    task = Bare()
    trainer.fit(task, data)
    trainer.test(task, data, verbose=False)
    assert not list(tmp_path.glob("*.png")) or [p.name for p in tmp_path.glob("*.png")] == ["learning_curves.png"]


# ------------------------------------------------------------------------------------------------ pictures


@pytest.mark.parametrize("target", [CLASSES, VALUES], ids=["classes", "values"])
def test_sample_pictures(tmp_path, target):
    augment = Augment(shift=0.2, mixup=0.4)
    trainer, task, data = make(tmp_path, SamplePictures(), target=target, augment=augment, tensorboard=True)
    trainer.fit(task, data)
    trainer.test(task, data, verbose=False)
    for name in ("training_batch", "predictions"):
        assert picture(tmp_path / f"{name}.png")[2] > 0
    assert {"training_batch", "predictions"} <= set(events(tmp_path).Tags()["images"])


def test_sample_pictures_do_not_disturb_the_run(tmp_path):
    seen = []
    for callbacks in ([], [SamplePictures()], [ModelGraph(), WeightHistograms(), History()]):
        trainer, task, data = make(tmp_path, *callbacks, augment=Augment(shift=0.2, flip=0.5), tensorboard=True)
        trainer.fit(task, data)
        seen.append([*task.seen, *task.parameters(), *task.buffers(), torch.rand(3)])
    assert all(torch.equal(a, b) for other in seen[1:] for a, b in zip(seen[0], other, strict=True))


def test_sample_pictures_show_the_first_and_the_worst(tmp_path, monkeypatch):
    shown = {}
    monkeypatch.setattr(
        "dlzoo.pictures.plots.predictions", lambda *args, **named: shown.update(args=args, **named) or figure()
    )
    trainer, _, data = make(tmp_path, SamplePictures(num_first=5, num_mistakes=4))
    data.eval_batch_size = 13
    trainer.test(Tiny(data.spec, net=Foretold()), data, verbose=False)
    images, targets, _outputs, _names = shown["args"]
    stored = data.arrays("test").x
    assert torch.equal(images[:5].mul(255).round().byte(), stored[:5])
    assert targets[:5].tolist() == [0, 1, 2, 0, 1]
    assert (targets[5:] != 0).all()
    assert len(targets) == 9
    # 60 = 4 * 13 + 8 pictures, the last of a batch is surest: rows 25, 38, 59 are wrong, and of the rest the surest
    rows = [(stored == image.mul(255).round().byte()).flatten(1).all(1).nonzero().item() for image in images[5:]]
    surety = {i: (i % 13) / ((13 if i < 52 else 8) - 1) for i in range(60) if i % 3}
    wanted = sorted(surety.values(), reverse=True)[:4]
    assert [surety[row] for row in rows] == pytest.approx(wanted)
    assert shown["heading"] == "the first 5 of the test set, then the 4 most confident mistakes"


def figure():
    from matplotlib.figure import Figure

    return Figure(figsize=(1, 1))


def test_worst_of_none():
    x, y = torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 2])
    assert len(worst((x, y, torch.eye(3)), 2)[0]) == 0


# ------------------------------------------------------------------------------------------------ tensorboard


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
    assert capsys.readouterr().out == "no graph in TensorBoard: Stubborn cannot be traced (not)\n"


@pytest.mark.parametrize("callback", [WeightHistograms, ModelGraph, SamplePictures, ClassificationReport])
def test_no_tensorboard_is_no_error(tmp_path, callback):
    trainer, task, data = make(tmp_path, callback(), epochs=1)
    trainer.fit(task, data)
    trainer.test(task, data, verbose=False)


# ------------------------------------------------------------------------------------------------ cost


def test_a_step_calls_only_what_has_something_to_do():
    kinds = [Progress, History, ClassificationReport, RegressionReport, SamplePictures, WeightHistograms, ModelGraph]
    hooks = ["on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step"]
    hooks += ["on_train_batch_start", "on_train_batch_end"]
    called = {(kind, hook) for kind in kinds for hook in hooks if callable(getattr(kind(), hook))}
    assert called == {(Progress, "on_train_batch_end"), (WeightHistograms, "on_train_batch_end")}


# ------------------------------------------------------------------------------------------------ progress

LINE = r"epoch {}/3   loss \d\.\d{{4}}   val/loss \d\.\d{{4}}   \d+\.\d s"


def test_progress_off_a_terminal_is_one_line_an_epoch(tmp_path, capsys):
    trainer, task, data = make(tmp_path, Progress(refresh_seconds=0), epochs=3, num_sanity_val_steps=2)
    trainer.fit(task, data)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for number, line in enumerate(lines, 1):
        assert re.fullmatch(LINE.format(number), line)
    trainer.test(task, data, verbose=False)
    assert capsys.readouterr().out == ""


def test_progress_reads_the_loss_only_when_it_draws(tmp_path, monkeypatch):
    """On a terminal: bars within the epochs, the same lasting lines; at a slow refresh, no bar at all."""
    for refresh, drawn in ((0.0, True), (1000.0, False)):
        reads = []
        monkeypatch.setattr(Tiny, "running_loss", property(lambda task, reads=reads: reads.append(1) or 0.5))
        text = on_a_terminal(tmp_path, refresh, monkeypatch)
        assert len(re.findall(r"epoch \d/3   loss 0\.5000   val/loss", text)) == 3
        assert (
            ("epoch 2/3:" in text) == ("loss 0.5000]" in text) == ("validation:" in text) == ("test:" in text) == drawn
        )
        assert (len(reads) > 3) == drawn  # the task itself reads it three times, to log it


class Terminal(io.StringIO):
    def isatty(self):
        return True


def on_a_terminal(folder, refresh, monkeypatch):
    """What fit and test write to a terminal."""
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        trainer, task, data = make(folder, Progress(refresh_seconds=refresh), epochs=3)
        trainer.fit(task, data)
        trainer.test(task, data, verbose=False)
    return terminal.getvalue()


def test_progress_of_metrics_and_open_ends():
    from dlzoo.callbacks.progress import epoch_line

    row = {
        "epoch": 3,
        "step": 1,
        "seconds": 1.23,
        "lr": 0.1,
        "train/loss": 0.12341,
        "val/accuracy": 0.971,
        "val/loss": 0.11,
    }
    assert epoch_line(row, 20) == "epoch  3/20   loss 0.1234   val/loss 0.1100   val/accuracy 97.10%   1.2 s"
    row = {"epoch": 3, "step": 1, "seconds": 0.04, "lr": 0.1, "train/loss": 0.5, "train/accuracy": 0.9}
    assert epoch_line(row, -1) == "epoch 3   loss 0.5000   train/accuracy 90.00%   0.0 s"
