"""Every mistake stops before data are read, and its message names the nearest right name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from small_runs import Outcome, with_experiment

from dlzoo.config import compose as config
from dlzoo.config import groups, schema
from dlzoo.config.prepare import prepare
from dlzoo.config.yaml_files import CONFIG_DIR
from dlzoo.errors import UserError

TYPOS = {
    "model=mpl": "did you mean 'mlp'",
    "model=mlp,lennet": "did you mean 'lenet'",
    "callbacks=[default,early_stoping]": "did you mean 'early_stopping'",
    "augment=[flips,mixpu]": "augment=mixpu: there is no such augment; did you mean 'mixup'",
    "modle=mlp": "did you mean 'model'",
    "seeed=7": "did you mean 'seed'",
    "trainr.max_epochs=2": "did you mean 'trainer'",
    "optimizer=[adam": "is not a valid override",
    "just_a_word": "write key=value",
    "net=mlp": "choose it with model=",
}
WRONG = {
    "optimizer.lrr=0.1": "optimizer.lrr: torch.optim.Adam has no such option; did you mean 'lr'",
    "net.hiden=[3]": "did you mean 'hidden'",
    "net.activation=rleu": "did you mean 'relu'",
    "net.hidden=three": "net.hidden=three must be a list, each an integer",
    "optimizer.lr=1e300": "optimizer.lr=1e+300 is too large for a number of single precision; at most 3.4e+38",
    "net.hidden=[true]": "net.hidden=[True] must be a list, each an integer",
    "data.batch_size=true": "data.batch_size=True must be an integer",
    "net.spec=1": "has no such option",
    "trainer.max_epochs=abc": "must be an integer or null",
    "trainer.max_epoch=3": "did you mean 'max_epochs'",
    "trainer.precision=bf17-mixed": "did you mean 'bf16-mixed'",
    "data.batch_sise=3": "did you mean 'batch_size'",
    "task.lose=mse": "did you mean 'loss'",
    "callbacks.histori.x=1": "callbacks.histori: unknown key",
    "net._target_=dlzoo.nets.mlp.MPL": "did you mean 'MLP'",
    "net._target_=dlzoo.nets.mpl.MLP": "did you mean 'mlp'",
    "net._target_=nosuchpackage.Net": "no module nosuchpackage",
    "seed=a": "seed=a must be an integer",
    "seed=-1": "must be 0 to 4,294,967,295",
    "+expect=[{metrik: x, min: 0}]": "did you mean 'metric'",
    "+expect=[{metric: x}]": "either min or max",
    "+expect=[{metric: x, min: 1, each: low}]": "max and each numbers",
}


@pytest.mark.parametrize(("word", "message"), TYPOS.items())
def test_typos_of_groups_and_keys(word: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        prepare([word])


@pytest.mark.parametrize(("word", "message"), WRONG.items())
def test_wrong_options_and_values(word: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        schema.check(config.compose([word]), [word])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeed: 7", "seeed: unknown key; did you mean 'seed'"),
        ("trainer: {max_epoch: 7}", "did you mean 'max_epochs'"),
        ("net: {_target_: dlzoo.nets.mlp.MLP, dropuot: 0.1}", "did you mean 'dropout'"),
        ("defaults: [{override /model: lennet}]", "did you mean 'lenet'"),
        ("callbacks: {mine: {patience: 3}}", "callbacks.mine: unknown key"),
    ],
)
def test_typos_inside_an_experiment_file(
    text: str, message: str, tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    """The best-known template trains silently with ``seeed: 7``."""
    done = train(*with_experiment(tmp_path, text))
    assert done.code == 2, done
    assert message in done.err
    assert "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) <= 2, done.err
    assert not list(tmp_path.glob("outputs/*/*")), "a run that never began leaves no folder"


def test_values_need_no_plus_though_their_default_is_in_python() -> None:
    cfg = config.compose(["net.hidden=[300,100]", "optimizer.weight_decay=0.1", "trainer.gradient_clip_val=1.0"])
    schema.check(cfg)
    assert cfg.net.hidden == [300, 100]
    assert cfg.optimizer.weight_decay == 0.1


def test_a_model_chooses_its_optimizer_but_the_command_line_wins() -> None:
    assert config.compose(["model=cnn"]).optimizer._target_.endswith("Adadelta")
    assert config.compose(["model=cnn", "optimizer=sgd"]).optimizer._target_.endswith("SGD")


def test_a_list_of_augmentations_merges() -> None:
    cfg = config.compose(["augment=[crop_flip,none,mixup]", "data.augment.mixup=0.4"])
    assert cfg.data.augment == {"_target_": "dlzoo.data.images.augment.Augment", "flip": 0.5, "crop": 4, "mixup": 0.4}
    assert "augment" not in config.compose(["augment=none"]).data


def test_a_list_on_the_command_line_replaces_that_of_an_experiment(
    tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    words = with_experiment(tmp_path, "defaults: [override /data: digits, override /augment: [flips, cutmix]]")
    words += ["--cfg", "job", "--package", "data.augment"]
    assert "cutmix: 1.0" in train(*words).out
    chosen = train(*words, "augment=[shift,erasing]").out
    assert "shift: 0.1" in chosen
    assert "flip" not in chosen
    assert "cutmix" not in chosen


@pytest.mark.parametrize("group", sorted(set(groups.names()) - {"experiment"}))
def test_every_file_of_a_group_composes_and_passes_the_check(group: str) -> None:
    for name in groups.names()[group]:
        nodes = OmegaConf.to_container(OmegaConf.load(CONFIG_DIR / group / f"{name}.yaml"))
        nodes = nodes if group == "model" else {group: nodes}
        left_open = [  # for the user to give
            f"{node}.{key}=something"
            for node, options in nodes.items()
            if isinstance(options, dict)
            for key, value in options.items()
            if value == "???"
        ]
        words = [f"{group}={name}", *left_open]
        schema.check(config.compose(words), words)


@pytest.mark.parametrize("argv", [["--help"], ["model=mpl"], ["--cfg", "job"]])
def test_help_and_group_typos_do_not_import_torch(argv: list[str]) -> None:
    code = (
        "import sys\nfrom dlzoo.commands.train import main\nsys.argv = ['train.py', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.exit(42 if {'torch', 'lightning', 'sklearn'} & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("optimizer", sorted(set(groups.names()["optimizer"]) - {"lbfgs", "none"}))
def test_an_agent_learns_by_any_optimizer(optimizer: str) -> None:
    """What model=dqn says of its optimizer is no option of one kind only."""
    schema.check(config.compose(["model=dqn", "data=cartpole", f"optimizer={optimizer}"]))
