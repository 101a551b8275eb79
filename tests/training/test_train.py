"""Whole runs: what they leave, that they repeat, resume, choose the best checkpoint and refuse what does not fit."""

from __future__ import annotations

import csv
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from rich.console import Console
from small_runs import Train, newest_run

from dlzoo.config import compose as config
from dlzoo.config import groups, schema
from dlzoo.config import instantiate as build
from dlzoo.config.run_config import RunConfig
from dlzoo.errors import SpecError
from dlzoo.sweep.record import Record, Trial
from dlzoo.sweep.report import table
from dlzoo.utils import checkpoint_files

QUICK = ("trainer=cpu", "trainer.max_epochs=2", "callbacks=[progress,history,checkpoint]", "logger=none")


def weights(run_dir: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return checkpoint_files.read(run_dir / "checkpoints" / f"{name}.ckpt")["state_dict"]


def test_the_default_run_reaches_its_figure_and_leaves_everything(train: Train, tmp_path: Path) -> None:
    done = train("trainer=cpu")
    assert done.code == 0, done.err
    run_dir = newest_run(tmp_path)
    results = json.loads((run_dir / "results.json").read_text())
    assert results["metrics"]["test/accuracy"] >= 0.97
    keys = (
        "model data experiment seed device precision num_parameters epochs seconds metrics expect checkpoints versions"
    )
    assert set(keys.split()) <= set(results)
    assert (results["model"], results["data"], results["epochs"]) == ("mlp", "digits", 20)
    assert set(results["seconds"]) == {"setup", "fit", "test"}
    pictures = {"learning_curves.png", "confusion_matrix.png", "predictions.png", "training_batch.png"}
    left = {path.name for path in run_dir.iterdir()}
    assert pictures | {"metrics.csv", "checkpoints", ".hydra", "report.txt"} <= left
    written = {"best.ckpt", "best.previous.ckpt", "last.ckpt", "last.previous.ckpt"}
    assert {path.name for path in (run_dir / "checkpoints").iterdir()} == written
    with (run_dir / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 21))
    assert "tensorboard --logdir" in done.out
    assert str(run_dir.name) in done.out
    assert tags(run_dir) >= {"train/loss", "val/loss", "val/accuracy", "train/loss_step", "test/accuracy"}


def tags(run_dir: Path) -> set[str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run_dir))
    events.Reload()
    assert events.Tags()["images"], "no pictures in TensorBoard"
    assert events.Tags()["histograms"]
    assert events.Tags()["graph"]
    assert "_hparams_/session_start_info" in events.summary_metadata
    return set(events.Tags()["scalars"])


def test_equal_seeds_give_equal_weights_and_other_seeds_do_not(train: Train, tmp_path: Path) -> None:
    found = []
    for seed in (1, 1, 2):
        assert train(*QUICK, f"seed={seed}", "augment=shift", "net.dropout=0.1").code == 0
        found.append(weights(newest_run(tmp_path)))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not all(torch.equal(found[0][name], found[2][name]) for name in found[0])


def test_a_continued_run_equals_one_that_never_stopped(train: Train, tmp_path: Path) -> None:
    common = (*QUICK, "scheduler=exponential", "optimizer=momentum")
    assert train(*common, "trainer.max_epochs=4").code == 0
    whole = weights(newest_run(tmp_path))
    assert train(*common).code == 0
    run_dir = newest_run(tmp_path)
    done = train(f"ckpt={run_dir / 'checkpoints' / 'last.ckpt'}", "trainer.max_epochs=4")
    assert done.code == 0, done.err
    assert newest_run(tmp_path) == run_dir, "a continued run stays in its folder"
    continued = weights(run_dir)
    assert all(torch.equal(whole[name], continued[name]) for name in whole)
    with (run_dir / "metrics.csv").open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == [1, 2, 3, 4]


def test_a_continued_run_keeps_its_model(train: Train, tmp_path: Path) -> None:
    assert train(*QUICK, "trainer.max_epochs=1").code == 0
    done = train(f"ckpt={newest_run(tmp_path) / 'checkpoints' / 'last.ckpt'}", "model=lenet")
    assert done.code == 2
    assert "can only be resumed with its own model" in done.err


def test_the_test_uses_the_best_checkpoint_not_the_last(train: Train, tmp_path: Path) -> None:
    """A learning rate that explodes after a few epochs: the last weights are useless."""
    (tmp_path / "callbacks").mkdir()
    (tmp_path / "callbacks" / "ruin.yaml").write_text("ruin: {_target_: test_train.RuinTheLastEpoch}\n")
    done = train(
        "--config-dir", str(tmp_path), *QUICK, "trainer.max_epochs=6", "callbacks=[progress,history,checkpoint,ruin]",
        "trust=test_train",
    )  # fmt: skip
    assert done.code == 0, done.err
    metrics = json.loads((newest_run(tmp_path) / "results.json").read_text())["metrics"]
    assert metrics["val/accuracy"] < 0.5
    assert metrics["test/accuracy"] > 0.85


def test_the_last_checkpoint_is_that_of_the_last_epoch(train: Train, tmp_path: Path) -> None:
    assert train(*QUICK, "optimizer.lr=0.3", "trainer.max_epochs=4").code == 0  # such a rate makes nothing better
    folder = newest_run(tmp_path) / "checkpoints"
    assert checkpoint_files.read(folder / "best.ckpt")["epoch"] < 3
    assert checkpoint_files.read(folder / "last.ckpt")["epoch"] == 3
    results = json.loads((newest_run(tmp_path) / "results.json").read_text())
    assert results["checkpoints"] == {name: f"checkpoints/{name}.ckpt" for name in ("best", "last")}


class RuinTheLastEpoch(__import__("lightning").pytorch.Callback):  # type: ignore[misc]
    """Sets all weights to zero before the last validation."""

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == trainer.max_epochs - 1:
            for p in pl_module.parameters():
                p.data.zero_()


@pytest.mark.parametrize("optimizer", sorted({*groups.names()["optimizer"]} - {"none"}))
def test_every_optimizer_lowers_the_loss(optimizer: str, train: Train, tmp_path: Path) -> None:
    batch = "data.batch_size=5000" if optimizer == "lbfgs" else "data.batch_size=32"
    words = ("trainer.max_epochs=3", f"optimizer={optimizer}", "trainer.limit_train_batches=20", batch)
    assert train(*QUICK, *words).code == 0
    with (newest_run(tmp_path) / "metrics.csv").open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < losses[0]


def test_lbfgs_follows_a_schedule_down_to_zero(train: Train, tmp_path: Path) -> None:
    """At a rate of zero, PyTorch's line search divides by zero."""
    words = ("optimizer=lbfgs", "data.batch_size=5000", "scheduler=step", "scheduler.every=1", "scheduler.gamma=1e-200")
    done = train(*QUICK, *words, "trainer.max_epochs=4")
    assert done.code == 0, done.err
    with (newest_run(tmp_path) / "metrics.csv").open() as file:
        assert [float(row["lr"]) for row in csv.DictReader(file)][-1] == 0


@pytest.mark.parametrize("warmup", [0, 0.5])
@pytest.mark.parametrize("scheduler", groups.names()["scheduler"])
def test_every_scheduler_after_a_warm_up(scheduler: str, warmup: float, train: Train, tmp_path: Path) -> None:
    words = (f"scheduler={scheduler}", f"scheduler.warmup={warmup}", "optimizer.lr=0.01", "trainer.max_epochs=3")
    assert train(*QUICK, *words).code == 0
    with (newest_run(tmp_path) / "metrics.csv").open() as file:
        rates = [float(row["lr"]) for row in csv.DictReader(file)]
    if warmup or scheduler == "onecycle":
        assert rates[0] < 0.001  # the rate when the epoch began
    else:
        assert rates[0] == pytest.approx(0.01)
    assert rates[2] < 0.01 if scheduler in ("cosine", "exponential", "onecycle") else rates[2] == pytest.approx(0.01)


@pytest.mark.parametrize(
    "words",
    [
        ("trainer.precision=bf16-mixed",),
        ("trainer=mixed",),
        ("trainer=smoke",),
        ("trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=1.0"),
        ("callbacks=[progress,history,checkpoint,early_stopping,ema,loss_ratio]",),
        ("task.l1=1e-5", "task.l2=1e-5", "task.activity_l2=1e-3", "net.norm=layer", "net.init=he_normal"),
        ("task.loss=focal", "task.class_weights=balanced", "augment=rotate_shift_shear_zoom"),
        ("deterministic=true", "data.augment._target_=dlzoo.data.images.augment.Augment", "data.augment.mixup=0.2"),
    ],
)
def test_options_run(words: tuple[str, ...], train: Train, tmp_path: Path) -> None:
    done = train(*QUICK, *words)
    assert done.code == 0, done.err
    assert json.loads((newest_run(tmp_path) / "results.json").read_text())["metrics"]["test/accuracy"] > 0.08


def test_a_multirun_ends_with_one_table(train: Train, tmp_path: Path) -> None:
    done = train("-m", *QUICK, "trainer.max_epochs=1", "model=mlp,lenet", "seed=0,1")
    assert done.code == 0, done.err
    table = done.out[done.out.index("mean ± standard deviation over seeds") :]
    assert re.search(r"model=mlp +2 ", table)
    assert re.search(r"model=lenet +2 ", table)
    assert "seed=" not in table
    assert len(list(tmp_path.glob("outputs/multirun/*/*/*/results.json"))) == 4


def test_the_table_of_runs_shows_a_list_as_it_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    words = (["augment=[flips,mixup]"], ["augment=[shift]"])
    record = Record([], "val/loss", "min", [Trial(i, own, {}) for i, own in enumerate(words)])
    Console(width=200).print(table(record, width=200))
    printed = capsys.readouterr().out
    assert "augment=[flips,mixup]" in printed
    assert "augment=[shift]" in printed


def test_a_multirun_goes_on_after_a_pair_that_does_not_fit(train: Train, tmp_path: Path) -> None:
    done = train("-m", *QUICK, "trainer.max_epochs=1", "model=lenet,mlp", "data=wine")
    assert done.code == 2
    assert "lenet takes images" in done.err
    assert len(list(tmp_path.glob("outputs/multirun/*/*/*/results.json"))) == 1


MODELS, DATA = groups.names()["model"], groups.names()["data"]
FITTING = {
    ("dqn", "cartpole"),
    ("q_table", "taxi"),
    ("text_cnn", "imdb"),
    ("counting_rnn", "counting"),
    ("transformer", "text_pairs"),
    ("lstm", "series"),
}
PAIRS = [  # in the usual run each model once, each data set, and pairs of each kind that fit
    pytest.param(model, data, marks=[] if i % len(DATA) == j or (model, data) in FITTING else [pytest.mark.slow])
    for (i, model), (j, data) in itertools.product(enumerate(MODELS), enumerate(DATA))
]


@pytest.mark.parametrize(("model", "data"), PAIRS)
def test_every_pair_builds_or_says_what_would_fit(model: str, data: str, tmp_path: Path) -> None:
    """Before anything is downloaded: data_dir is empty and no network is used."""
    words = [f"model={model}", f"data={data}"]
    if data == "csv":
        table = tmp_path / "table.csv"
        table.write_text("a,b,label\n" + "".join(f"{i},{i % 7},{'xy'[i % 2]}\n" for i in range(40)))
        words += [f"data.path={table}", "data.target=label"]
    if model == "timm":
        words.append("net.name=resnet18")
    if model == "kmeans":
        words.append("net.num_clusters=3")
    if model == "boltzmann_machine":
        words.append("task.statistics=sampled")  # of more than 16 units
    if data == "text_csv":
        table = tmp_path / "reviews.csv"
        table.write_text("review,label\n" + "".join(f"text {i},{'xy'[i % 2]}\n" for i in range(40)))
        words += [f"data.path={table}", "data.text=review", "data.target=label"]
    if data == "sequence_csv":
        table = tmp_path / "sequences.csv"
        rows = [f"{i},{t},{t * (i % 2)},{'xy'[i % 2]}" for i in range(20) for t in range(8)]
        table.write_text("\n".join(["trial,step,value,label", *rows]))
        words += [f"data.path={table}", "data.id=trial", "data.time=step", "data.target=label"]
    if data == "conll":
        (tmp_path / "words.txt").write_text("the DET\ndog NOUN\nbarks VERB\n\n" * 20)
        words += [f"data.path={tmp_path / 'words.txt'}"]
    if data == "audio_folder":
        import soundfile

        for name in ("cat", "dog"):
            (tmp_path / name).mkdir()
            for i in range(5):
                soundfile.write(tmp_path / name / f"{i}.wav", [0.1, -0.1] * 4000, 8000)
        words += [f"data.path={tmp_path}"]
    if data in ("text_file", "text_pairs"):
        words += [f"data.path={tmp_path / 'book.txt'}"]  # not read
    if model in ("word_rnn", "word2vec", "glove") and data in ("text_file", "sentences_stream", "tiny_shakespeare"):
        words += ["data.level=word"]
    if data == "series":
        (tmp_path / "series.csv").write_text("day,sales\n" + "".join(f"{i},{i % 7}\n" for i in range(80)))
        words += [f"data.path={tmp_path / 'series.csv'}"]
    if data == "gym":
        words += ["data.id=Acrobot-v1"]
    if data in ("image_csv", "box_files"):
        from PIL import Image

        for i in range(20):
            Image.new("RGB", (40, 40), (10 * i, 0, 0)).save(tmp_path / f"{i}.png")
        words += [f"data.path={tmp_path}", "data.size=32"]
    if data == "image_csv":
        (tmp_path / "labels.csv").write_text("name,kind\n" + "".join(f"{i},{'xy'[i % 2]}\n" for i in range(20)))
        words += [f"data.table={tmp_path / 'labels.csv'}", "data.target=kind"]
    if data == "box_files":
        images = [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 40} for i in range(20)]
        boxes = [{"image_id": i, "category_id": i % 2, "bbox": [i, i, 10, 10]} for i in range(20)]
        (tmp_path / "boxes.json").write_text(json.dumps({"images": images, "annotations": boxes}))
    if data == "image_folder":
        from PIL import Image

        for name in ("cat", "dog"):
            (tmp_path / name).mkdir()
            for i in range(5):
                Image.new("RGB", (40, 40), (10 * i, 0, 0)).save(tmp_path / name / f"{i}.png")
        words += [f"data.path={tmp_path}", "data.size=32"]
    cfg = config.compose([*words, f"data_dir={tmp_path / 'empty'}"])
    schema.check(cfg)
    module = build.build_data(cfg.data)
    fitting = build.fitting_models(module.declare())
    if model in fitting:
        build.check_fit(RunConfig.from_hydra(cfg), module)
    else:
        with pytest.raises(SpecError) as caught:
            build.check_fit(RunConfig.from_hydra(cfg), module)
        assert all(name in str(caught.value) for name in fitting)
    assert not (tmp_path / "empty").exists()


def test_the_stored_config_is_resolved_and_names_the_parts(train: Train, tmp_path: Path) -> None:
    assert train(*QUICK, "trainer.max_epochs=1", "seed=5").code == 0
    run_dir = newest_run(tmp_path)
    cfg = OmegaConf.create(checkpoint_files.read(run_dir / "checkpoints" / "last.ckpt")["dlzoo"]["config"])
    assert cfg.names.model == "mlp"
    assert cfg.data.seed == 5
    assert (run_dir / ".hydra" / "config.yaml").is_file()


@pytest.mark.realdata
def test_lenet_learns_mnist(train: Train, tmp_path: Path, real_data_dir: Path) -> None:
    words = ("model=lenet", "data=mnist", "optimizer=adamw", "optimizer.lr=5e-3", "scheduler=onecycle")
    assert train(*QUICK, *words, "trainer.max_epochs=2", "seed=3").code == 0
    assert json.loads((newest_run(tmp_path) / "results.json").read_text())["metrics"]["test/accuracy"] > 0.98
