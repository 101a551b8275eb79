"""Every experiment composes, states its claim, and runs on stand-ins of the same form as its data."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from small_runs import Outcome

from dlzoo.commands import predict
from dlzoo.config import compose as config
from dlzoo.config import groups, schema
from dlzoo.config import instantiate as build
from dlzoo.config.run_config import RunConfig
from dlzoo.config.yaml_files import CONFIG_DIR
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes

EXPERIMENTS = groups.names()["experiment"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_a_claim(name: str) -> None:
    text = (CONFIG_DIR / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    cfg = config.compose([f"experiment={name}"])
    schema.check(cfg)
    assert text.splitlines()[0] == "# @package _global_"
    assert text.splitlines()[2].startswith("# "), "the header says what it is and what its source claims"
    assert cfg.expect, "an experiment without a claim"
    assert all(claim.get("source") for claim in cfg.expect)
    assert cfg.names.experiment == name


@pytest.mark.parametrize(
    ("name", "num_parameters"),
    [
        ("softmax_mnist", 7_850),
        ("mlp_dropout_mnist", 118_282),
        ("mlp_fashion_mnist", 266_610),
        ("lenet_mnist", 61_706),
        ("cnn_mnist", 20_706),
    ],
)
def test_parameter_counts_of_the_source(name: str, num_parameters: int) -> None:
    cfg = config.compose([f"experiment={name}"])
    task = build.build_task(RunConfig.from_hydra(cfg), build.build_data(cfg.data).declare())
    assert build.num_parameters(task.net) == num_parameters


DEAR = {
    "char_rnn_shakespeare", "dbn_mnist", "dcgan_mnist", "gpt_shakespeare", "rbm_mnist", "resnet18_cifar10_scratch",
    "vgg_cifar10",
}  # fmt: skip
"""Experiments that take longest here; in the usual run, their first steps are compared in test_golden."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in DEAR else name for name in EXPERIMENTS]
)
def test_an_experiment_runs_on_data_of_the_same_form(
    name: str,
    train: Callable[..., Outcome],
    stand_in_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = (f"experiment={name}", f"data_dir={stand_in_data}", "trainer=smoke", "trainer.accelerator=cpu")
    cfg = config.compose([f"experiment={name}"])
    if "Lunar" in cfg.data.get("id", ""):
        pytest.importorskip("Box2D")  # needs a compiler; not in the test extra
    smaller = ["data.val_size=20"] if "val_size" in cfg.data else []
    smaller += ["data.batch_size=4", "data.eval_batch_size=8"] if "torchvision" in cfg.net._target_ else []
    smaller += ["data.val_episodes=2", "data.test_episodes=2"] if "val_episodes" in cfg.data else []
    smaller += ["task.learning_starts=200"] if "learning_starts" in cfg.task else []
    # what is chosen from the two batches of trainer=smoke, which is refused where they hold fewer
    smaller += [f"data.num_patterns={min(100, cfg.data.num_patterns)}"] if cfg.data.get("num_patterns") else []
    if "data.audio" in cfg.data._target_:
        smaller += ["data.batch_size=4", "data.eval_batch_size=4", "data.seconds=0.2"]
    smaller += ["data.num_samples=200", "data.num_test=40"] if "placed_digits" in cfg.data._target_ else []
    smaller += [f"net.num_centers={min(20, cfg.net.num_centers)}"] if "num_centers" in cfg.net else []
    weights = stand_in_weights(name, tmp_path, monkeypatch)
    own = OmegaConf.load(CONFIG_DIR / "experiment" / f"{name}.yaml").get("callbacks", {})  # it has options for
    done = train(*words, *smaller, *weights, f"callbacks=[{','.join(['history', 'checkpoint', *own])}]")
    assert done.code == 0, done.err
    assert list(tmp_path.glob("outputs/*/*/results.json"))


def stand_in_weights(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Random weights, where those would be that an experiment starts from; words for the command line."""
    net = config.compose([f"experiment={name}"]).net
    weights = net.get("weights", "none")
    if weights == "none":
        return []
    models = importlib.import_module("torchvision.models")
    if weights == "imagenet":
        monkeypatch.setenv("TORCH_HOME", str(folder))
        file = folder / "hub" / "checkpoints" / Path(models.get_model_weights(net.name).DEFAULT.url).name
        file.parent.mkdir(parents=True)
        torch.save(models.get_model(net.name, weights=None).state_dict(), file)
        return []
    from dlzoo.nets.torchvision_net import TorchvisionNet

    spec = ImageSpec(1, 28, 28, Classes(tuple("01234")))
    torch.save(TorchvisionNet(spec, name=net.name).state_dict(), folder / "weights.pth")
    return [f"net.weights={folder / 'weights.pth'}"]


@pytest.mark.parametrize(("gate", "learns"), [("and", True), ("or", True), ("not", True), ("xor", False)])
def test_a_perceptron_learns_what_is_separable(gate: str, learns: bool, train: Callable[..., Outcome]) -> None:
    done = train("experiment=perceptron_gates", f"data.gate={gate}", "callbacks=[history,checkpoint]", "logger=none")
    assert done.code == 0, done.err
    assert ("100.00% >= 100.00% met" in " ".join(done.out.split())) == learns, done.out


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_the_perceptron_knows_both_flowers_of_the_course(
    seed: int, train: Callable[..., Outcome], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """[2, 0.5] is a setosa and [3, 1] is not; a threshold unit has no percentage to give."""
    words = (f"seed={seed}", "logger=none", "callbacks=[checkpoint]", f"hydra.run.dir={tmp_path / 'run'}")
    assert train("experiment=perceptron_iris", *words).code == 0
    (tmp_path / "flowers.csv").write_text("petal_length,petal_width\n2,0.5\n3,1\n")
    capsys.readouterr()
    predict.command([f"ckpt={tmp_path / 'run' / 'checkpoints' / 'best.ckpt'}", f"input={tmp_path / 'flowers.csv'}"])
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert lines == [["input", "class"], ["1", "setosa"], ["2", "not setosa"]]


@pytest.mark.parametrize("name", ["mlp_wine", "mlp_iris", "mlp_xor"])
def test_small_experiments_meet_their_claim_on_one_seed(name: str, train: Callable[..., Outcome]) -> None:
    """One split may fall below the mean of ten, so the bound here is lower than the claim."""
    done = train(f"experiment={name}", "seed=1", "callbacks=[history,checkpoint]", "logger=none")
    assert done.code == 0, done.err
    accuracy = float(next(line for line in done.out.splitlines() if "test/accuracy" in line).split()[1].rstrip("%"))
    assert accuracy >= 88
