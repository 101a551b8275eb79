"""What training takes at least is counted before it starts, and held against the memory that there is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from hydra.utils import instantiate
from torch import nn

from dlzoo.config import compose as config
from dlzoo.config import instantiate as build
from dlzoo.config import memory_check as training_memory
from dlzoo.config.run_config import RunConfig
from dlzoo.errors import UserError
from dlzoo.utils import memory as free_memory

KEPT = {  # bytes of state for each byte of weights
    "sgd optimizer.momentum=0": 0,
    "momentum": 1,
    "nesterov": 1,
    "adagrad": 1,
    "adam": 2,
    "adam optimizer.amsgrad=true": 3,
    "adamw": 2,
    "adamax": 2,
    "nadam": 2,
    "adadelta": 2,
    "rmsprop": 1,
    "rmsprop optimizer.momentum=0.9 optimizer.centered=true": 3,
    "lbfgs optimizer.history_size=5": 13,
}


def needed(*words: str) -> dict[str, float]:
    cfg = config.compose(["data=digits", "model=mlp", "net.hidden=[100]", *words])
    data = build.build_data(cfg.data)
    with torch.device("meta"):
        task = build.build_task(RunConfig.from_hydra(cfg), data.declare())
    run = RunConfig.from_hydra(cfg)
    return training_memory.of_training(
        task,
        instantiate(cfg.optimizer, _partial_=True),
        precision=run.precision,
        strategy=run.strategy,
        averages_weights=run.averages_weights,
    )


@pytest.mark.parametrize("words", KEPT)
def test_the_state_of_each_optimizer(words: str) -> None:
    found = needed(*f"optimizer={words}".split())
    state = sum(size for name, size in found.items() if name.startswith("state of"))
    assert state / found["gradients"] == pytest.approx(KEPT[words], abs=0.01)


@pytest.mark.parametrize("words", [words for words in KEPT if "lbfgs" not in words])
def test_it_is_what_a_real_net_s_optimizer_keeps(words: str) -> None:
    optimizer = instantiate(config.compose(f"optimizer={words}".split()).optimizer, _partial_=True)
    net = nn.Sequential(nn.Linear(100, 50), nn.Linear(50, 10))
    made = optimizer(net.parameters())
    net(torch.ones(2, 100)).sum().backward()
    made.step()
    kept = sum(v.numel() * 4 for s in made.state.values() for v in s.values() if torch.is_tensor(v) and v.dim())
    ratio = training_memory.state_ratio(optimizer([nn.Parameter(torch.ones(64, 64))]))
    assert kept == pytest.approx(ratio * 4 * sum(p.numel() for p in net.parameters()))


def test_what_else_is_counted() -> None:
    plain = needed("optimizer=adam")
    assert plain["weights"] > 4 * 100 * 64
    assert needed("callbacks=[checkpoint,ema]")["averaged weights"] == plain["weights"]
    assert needed("trainer=ddp")["DDP's buckets"] == plain["gradients"]
    assert needed("trainer.precision=64-true")["weights"] == 2 * plain["weights"]


def test_both_nets_of_a_gan_and_the_target_network(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = config.compose(["model=gan", "data=digits"])
    with torch.device("meta"):
        task = build.build_task(RunConfig.from_hydra(cfg), build.build_data(cfg.data).declare())
    found = training_memory.of_training(task, instantiate(cfg.optimizer, _partial_=True))
    assert found["weights"] >= 4 * build.num_parameters(task.net)


def test_a_frozen_weight_has_no_gradient() -> None:
    net = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 10))
    net[0].requires_grad_(False)
    cfg = config.compose(["optimizer=adam"])
    found = training_memory.of_training(net, instantiate(cfg.optimizer, _partial_=True))
    assert found == {"weights": 880, "gradients": 440, "state of Adam": 880}


def test_weights_that_fit_and_training_that_does_not(
    train: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Weights of 60% of the memory: with their gradients and Adam's state they take 2.4 times of it."""
    monkeypatch.setattr(free_memory, "limit", lambda: 2**20)
    width = int(0.6 * 2**20 / 4 / 75)
    done = train("model=mlp", "data=digits", f"net.hidden=[{width}]", "trainer=cpu")
    assert done.code == 2
    for part in ("of weights", "of gradients", "of state of Adam", "this machine has 1.0 MiB", "optimizer=sgd"):
        assert part in done.err, done.err
    cfg = config.compose(["model=mlp", "data=digits", f"net.hidden=[{width // 4}]", "trainer=cpu"])
    build.check_fit(RunConfig.from_hydra(cfg), build.build_data(cfg.data))


@pytest.mark.parametrize(("most", "expected"), [("max", 8 * 2**20), ("1048576", 2**20)])
def test_the_limit_is_the_least_of_machine_and_container(
    most: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=8 * 2**20))
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text("0::/job\n")
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "memory.max").write_text(most)
    (tmp_path / "job" / "memory.current").write_text("10")
    monkeypatch.setattr(free_memory, "PROC", tmp_path)
    monkeypatch.setattr(free_memory, "CGROUP", tmp_path)
    monkeypatch.setattr(free_memory, "_ulimits", list)
    assert free_memory.limit() == expected
    monkeypatch.setattr(free_memory, "_ulimits", lambda: [("VmSize", 1000.0)])
    assert free_memory.limit() == 1000


def test_a_system_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_memory, "PROC", tmp_path)
    monkeypatch.setattr(free_memory, "CGROUP", tmp_path)
    monkeypatch.setattr(free_memory, "_ulimits", list)
    assert free_memory.limit() == psutil.virtual_memory().total


def test_the_error_is_the_user_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_memory, "limit", lambda: 1000.0)
    cfg = config.compose(["model=mlp", "data=digits", "trainer=cpu", "trainer.strategy=fsdp"])
    build.check_fit(RunConfig.from_hydra(cfg), build.build_data(cfg.data))  # each device has a share
    cfg.trainer.strategy = "auto"
    with pytest.raises(UserError, match="needs at least"):
        build.check_fit(RunConfig.from_hydra(cfg), build.build_data(cfg.data))


def test_metrics_count() -> None:
    metric = "{_target_: torchmetrics.classification.MulticlassCohenKappa, num_classes: 60000}"
    assert needed(f"+task.metrics.kappa={metric}")["metrics"] > 60_000**2 * 8
