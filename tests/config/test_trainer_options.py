"""Options of training at their edges: each does what Lightning documents, or is a sentence with the remedy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from small_runs import Outcome

from dlzoo.config.compose import compose
from dlzoo.errors import UserError
from dlzoo.optim.lr_schedules import Plan

QUICK = ("model=softmax", "data=iris", "trainer=cpu", "trainer.max_epochs=2", "callbacks=checkpoint", "logger=none")
STOPPING = "callbacks=[checkpoint,early_stopping]"
REFUSED = {
    ("callbacks=null",): "callbacks=null: there is no such callback; for none, write callbacks=none",
    ("transfer=null",): "for none, omit it",
    ("~data",): "data=null: a run needs one; choose data=…",
    ("~trainer",): "trainer: only options of a part are set, but none is chosen: choose trainer=…",
    ("~optimizer",): "needs one, such as optimizer=adam",
    (STOPPING, "callbacks.early_stopping.monitor=val_loss"): "callbacks.early_stopping.monitor=val_loss: metrics are "
    "named split/name; did you mean 'val/loss'?",
    (STOPPING, "callbacks.early_stopping.monitor=val/los"): "monitor=val/los: there is no such metric; did you mean "
    "'val/loss'?",
    ("callbacks.checkpoint.monitor=loss",): "callbacks.checkpoint.monitor=loss: there is no such metric",
    (STOPPING, "trainer.limit_val_batches=0"): "callbacks.early_stopping.monitor=val/loss: there is no validation",
    ("trainer.val_check_interval=0",): "must be above 0; trainer.limit_val_batches=0 validates nothing",
    ("trainer.val_check_interval=1000",): "must be less than or equal to the number of the training batches (7)",
    ("trainer.check_val_every_n_epoch=0",): "must be 1 or more; trainer.limit_val_batches=0 validates nothing",
    ("trainer.accumulate_grad_batches=0",): "trainer.accumulate_grad_batches=0 must be 1 or more",
    ("trainer.limit_train_batches=0",): "trainer.max_epochs=0 trains nothing",
    ("trainer.num_nodes=1000000000000",): "trainer.num_nodes=1000000000000 must be 1 to 10,000",
    ("optimizer=rmsprop", "optimizer.capturable=true"): "optimizer.capturable=true is for steps in a CUDA graph",
    ("optimizer=adagrad", "optimizer.differentiable=true"): "optimizer.differentiable=true differentiates through",
    ("optimizer=lbfgs", "optimizer.history_size=0"): "optimizer.history_size=0 must be 1 or more",
    ("optimizer=lbfgs", "optimizer.max_eval=-1"): "optimizer.max_eval=-1 must be 1 or more",
    ("optimizer=lbfgs", "optimizer.line_search_fn=wolfe"): "line_search_fn=wolfe must be strong_wolfe, or null",
    ("model=resnet18", "data=digits", "net.size=1000000000000"): "net.size=1000000000000 must lie between 1 and 4,096",
    (
        "model=dqn",
        "data=cartpole",
        "task.gradient_steps=1000000000000",
    ): "task.gradient_steps=1000000000000 must lie between 1 and 10,000",
    ("trainer.gradient_clip_val=-1",): "null does not clip",
    ("trainer.max_time={second: 3}",): "'second' is an invalid keyword argument",
    ("scheduler=step", "scheduler.every=0"): "scheduler.every=0 must be greater than 0",
    ("trainer.accelerator=tpu",): "trainer.accelerator=tpu is not supported; use auto, cpu, gpu, cuda, mps",
    ("trainer.strategy=dpp",): "trainer.strategy=dpp is unknown; did you mean 'ddp'?",
    ("trainer.precision=transformer-engine",): "Requirement 'transformer_engine",
    ("model=gan", "data=digits", "optimizer=lbfgs"): "use another, such as optimizer=adam",
    ("model=dqn", "data=cartpole", "optimizer=lbfgs"): "use another, such as optimizer=adam",
}


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_a_sentence_with_the_remedy(words: tuple[str, ...], train: Callable[..., Outcome]) -> None:
    done = train(*QUICK, *words)
    assert (done.code, done.err.count("\n"), done.err[:7]) == (2, 1, "error: "), done
    assert REFUSED[words] in done.err


OF_SCHEDULES = {
    ("exponential", "gamma=-1"): "scheduler.gamma=-1 must be greater than 0",
    ("plateau", "factor=1"): "scheduler.factor=1 must lie between 0 and 1",
    ("plateau", "patience=-1"): "scheduler.patience=-1 is too small",
    ("cosine", "warmup=-1"): "scheduler.warmup=-1 is too small",
    ("cosine", "final=-1"): "scheduler.final=-1 is too small",
    ("onecycle", "start=-1"): "scheduler.start=-1 is too small",
}


@pytest.mark.parametrize("words", OF_SCHEDULES, ids=" ".join)
def test_a_schedule_names_its_option(words: tuple[str, str]) -> None:
    node = compose([f"scheduler={words[0]}", f"scheduler.{words[1]}"]).scheduler
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(UserError, match=re.escape(OF_SCHEDULES[words])):
        instantiate(node, _partial_=True)(optimizer, Plan(20, 10, "val/loss", "min"))


WORKING: dict[tuple[str, ...], dict[str, Any]] = {
    ("~callbacks",): {"epochs": 2, "checkpoints": {"best": None, "last": None}},
    ("~logger", "~scheduler", "~augment"): {"epochs": 2},
    ("trainer.enable_checkpointing=false",): {"checkpoints": {"best": None, "last": None}},
    ("trainer.barebones=true",): {"epochs": 2, "checkpoints": {"best": None, "last": None}},
    ("trainer.log_every_n_steps=0", "logger=tensorboard"): {"epochs": 2},
    ("trainer.max_epochs=-1", "trainer.max_steps=9"): {"steps": 9},
    ("trainer.max_epochs=null", "trainer.max_steps=9", "scheduler=cosine"): {"steps": 9},
    ("model=adaline", "trainer.max_epochs=null", "trainer.max_steps=9"): {"steps": 9},
    ("trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=9"): {"epochs": 2},
    ("scheduler=plateau", "trainer.check_val_every_n_epoch=2"): {"epochs": 2},
    ("trainer.max_time={hours: 1}",): {"epochs": 2},
}


@pytest.mark.parametrize("words", WORKING, ids=" ".join)
def test_as_lightning_documents_it(words: tuple[str, ...], train: Callable[..., Outcome], tmp_path: Path) -> None:
    done = train(*QUICK, *words, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.code == 0, done.err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert {key: results[key] for key in WORKING[words]} == WORKING[words]


def test_a_run_without_a_limit_of_epochs_ends_in_time(train: Callable[..., Outcome], tmp_path: Path) -> None:
    run = f"hydra.run.dir={tmp_path / 'run'}"
    done = train(*QUICK, "trainer.max_epochs=-1", "trainer.max_time={milliseconds: 1}", run)
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "run" / "results.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("accelerator", ["gpu", "cuda", "mps"])
def test_a_device_that_this_machine_lacks(
    accelerator: str, train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    done = train(*QUICK, f"trainer.accelerator={accelerator}")
    assert (done.code, done.err.count("\n")) == (2, 1), done
    assert f"trainer.accelerator={accelerator}: " in done.err
    assert "use trainer.accelerator=" in done.err


CSV = "{_target_: lightning.pytorch.loggers.CSVLogger, %s}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["++logger.mine=" + CSV % "name: checkpoints, version: last.ckpt"], "logger: csv_logs cannot work"),
        (["++logger.mine=" + CSV % "flush_logs_every_n_steps: 0"], "logger: csv_logs cannot work"),
        (["trainer.val_check_interval=100000"], "trainer cannot work with these options: `val_check_interval`"),
    ],
)
def test_options_that_lightning_trips_over_are_a_sentence(
    words: list[str], said: str, canary: Path, tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "last.ckpt").write_text("as in a run that is continued")
    quick = ["model=softmax", "data=iris", "trainer.max_epochs=1", "trainer.accelerator=cpu", "callbacks=none"]
    quick += ["test=false", "logger=none", f"hydra.run.dir={tmp_path / 'run'}"]
    done = train(*quick, *words)
    assert (done.code, "Traceback" in done.err) == (2, False), done.err
    assert said in done.err
