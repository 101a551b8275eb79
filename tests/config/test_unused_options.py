"""An option either changes what a run does, or is refused by its name: over all options, losses and kinds of target."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from small_runs import Outcome
from torch import Tensor, nn

from dlzoo.config import compose as config
from dlzoo.config import unused_options
from dlzoo.config.run_config import RunConfig
from dlzoo.config.yaml_files import CONFIG_DIR
from dlzoo.errors import UserError
from dlzoo.losses.functional import ClassLossName, ValueLossName
from dlzoo.nets.autoencoder import Autoencoder
from dlzoo.nets.mlp import MLP
from dlzoo.nets.wide_deep import WideDeep
from dlzoo.specs.inputs import Column, ImageSpec, TableSpec
from dlzoo.specs.targets import Classes, Values
from dlzoo.tasks.autoencoder import Autoencoding
from dlzoo.tasks.base import Task
from dlzoo.tasks.supervised import Supervised

COMMON = {"self", "net", "spec", "optimizer", "scheduler", "args", "options", "common"}
"""Arguments of every task."""


def options_of(task: type[Task]) -> set[str]:
    return set(inspect.signature(task).parameters) - COMMON


def is_refused(make: Callable[..., tuple[Task, Tensor]], key: str, value: Any, options: dict[str, Any]) -> bool:
    try:
        task, _ = make(**options, **{key: value})
    except UserError as error:
        return key in str(error)
    return not task.option_uses().get(key, (True, ""))[0]


def has_effect(make: Callable[..., tuple[Task, Tensor]], key: str, value: Any, options: dict[str, Any]) -> bool:
    return not torch.equal(make(**options)[1], make(**options, **{key: value})[1])


def learned(task: Any, *batch: Tensor) -> tuple[Task, Tensor]:
    """The task, and the loss and the gradients of a training step."""
    task.log_step = lambda *_, **__: None
    torch.manual_seed(1)
    loss = task.training_step(batch, 0)
    loss.backward()
    gradients = [p.grad.flatten() for p in task.parameters() if p.grad is not None]
    return task, torch.cat([loss.detach().view(1), *gradients])


CHANGED: dict[str, Any] = {
    "label_smoothing": 0.3, "gamma": 5.0, "delta": 0.01, "class_weights": [1.0, 4.0],
    "loss_weights": {"auxiliary": 0.5}, "l1": 0.1, "l2": 0.1, "activity_l1": 0.1, "activity_l2": 0.1,
}  # fmt: skip
"""Another value of each option of a supervised task."""

TARGETS: dict[str, tuple[Any, Any]] = {
    "classes": (Classes(("a", "b"), (1, 3)), get_args(ClassLossName)),
    "values": (Values(("y", "z")), get_args(ValueLossName)),
}
NETS = {"deep": lambda s: MLP(s, hidden=(4,)), "linear": lambda s: MLP(s, hidden=()), "two outputs": WideDeep}


def supervised(net: Callable[..., Any], target: Any, **options: Any) -> tuple[Task, Tensor]:
    torch.manual_seed(0)
    spec = TableSpec((Column("a"), Column("b"), Column("c")), target)
    x, y = spec.example(6)
    y = y if target.values is None else y.softmax(1)  # for kl
    return learned(Supervised(net(spec), spec, **options), x, y)


SUPERVISED = [
    (kind, name, net, key)
    for kind, (_, losses) in TARGETS.items()
    for name, net, key in itertools.product(losses, NETS, CHANGED)
]


def test_all_options_of_supervised_tasks_are_looked_at() -> None:
    assert options_of(Supervised) == {*CHANGED, "loss", "transfer", "metrics"}


@pytest.mark.parametrize(("kind", "loss", "net", "key"), SUPERVISED)
def test_an_option_of_a_supervised_task(kind: str, loss: str, net: str, key: str) -> None:
    def make(**options: Any) -> tuple[Task, Tensor]:
        return supervised(NETS[net], TARGETS[kind][0], **options)

    options = {"loss": loss}
    if not is_refused(make, key, CHANGED[key], options):
        assert has_effect(make, key, CHANGED[key], options)
    elif key in CHANGED.keys() - {"class_weights", "loss_weights"}:  # those two cannot even be built
        assert not has_effect(make, key, CHANGED[key], options), "refused, though it has an effect"


SPARSE = {"sparsity_weight": 0.1}
AUTOENCODER: list[tuple[dict[str, Any], str, Any]] = [
    *(({"noise": noise}, "noise_level", 0.2) for noise in ("none", "gaussian", "masking")),
    *((extra, "sparsity", 0.3) for extra in ({}, SPARSE)),
    *(({}, key, 0.1) for key in ("activity_l1", "activity_l2", "sparsity_weight", "contraction")),
    ({}, "loss", "bce"),
    ({}, "noise", "gaussian"),
]


def test_all_options_of_autoencoders_are_looked_at() -> None:
    assert options_of(Autoencoding) == {key for _, key, _ in AUTOENCODER}


@pytest.mark.parametrize(("options", "key", "value"), AUTOENCODER)
def test_an_option_of_an_autoencoder(options: dict[str, Any], key: str, value: Any) -> None:
    def make(**options: Any) -> tuple[Task, Tensor]:
        torch.manual_seed(0)
        spec = ImageSpec(1, 4, 4, Classes(("a", "b")))
        net = Autoencoder(spec, encoder=(3,), code_activation="sigmoid")
        return learned(Autoencoding(net, spec, **options), *spec.example(4))

    assert is_refused(make, key, value, options) != has_effect(make, key, value, options)


DIGITS, VALUES = "model=mlp data=digits", "model=mlp data=synthetic data.kind=sine"
IGNORED = {
    f"{VALUES} task.label_smoothing=0.1": "task.label_smoothing",
    f"{VALUES} task.gamma=3": "task.gamma",
    f"{DIGITS} task.gamma=2.0": "task.gamma",  # the default, which is ignored as well
    f"{DIGITS} task.delta=0.5": "task.delta",
    f"{VALUES} task.delta=0.5": "task.delta",
    f"{DIGITS} net.hidden=[] task.activity_l1=0.1": "task.activity_l1",
    "model=counting_rnn data=counting task.l2=0.1": "task.l2",
    "model=nar data=air_passengers task.delta=0.5": "task.delta",
    "model=autoencoder data=digits task.noise_level=0.3": "task.noise_level",
    "model=autoencoder data=digits task.sparsity=0.1": "task.sparsity",
    "model=gan data=digits task.penalty_every=4": "task.penalty_every",
    "model=vae data=digits task.beta=0 task.kl_warmup=3": "task.kl_warmup",
    "model=dqn data=cartpole task.beta_steps=10": "task.beta_steps",
    "model=dqn data=cartpole data.statistics_steps=10": "data.statistics_steps",
    f"{DIGITS} data.val_size=100 data.val_fraction=0.2": "data.val_fraction",
    f"{DIGITS} skip_limit=5": "skip_limit",
    f"{DIGITS} +trainer.gradient_clip_algorithm=value": "trainer.gradient_clip_algorithm",
    f"{DIGITS} optimizer=sgd optimizer.dampening=0.5": "optimizer.dampening",
    "model=resnet20 data=digits net.strict=false": "net.strict",
}


@pytest.mark.parametrize("words", IGNORED)
def test_an_option_that_would_be_ignored_is_refused(words: str, train: Callable[..., Outcome]) -> None:
    done = train(*words.split(), "logger=none")
    assert (done.code, done.err.count("\n")) == (2, 1), done
    assert done.err.startswith(f"error: {IGNORED[words]}=")
    assert "would be ignored: it has an effect only with" in done.err


TAKEN = (
    f"{DIGITS} task.gamma=3 task.loss=focal",
    f"{VALUES} task.delta=0.5 task.loss=huber",
    f"{VALUES} task.label_smoothing=0",
    VALUES,  # the model's file smooths the labels of classes
    "model=denoising_autoencoder data=digits task.noise=none",  # and this one's has a level of noise
    f"{DIGITS} skip_limit=5 on_nan=skip",
    f"{DIGITS} data.val_fraction=0.2",
)


@pytest.mark.parametrize("words", TAKEN)
def test_an_option_that_has_an_effect_is_taken(words: str) -> None:
    from dlzoo.config import instantiate, schema

    cfg = config.compose(words.split())
    schema.check(cfg, words.split())
    instantiate.check_fit(RunConfig.from_hydra(cfg), instantiate.build_data(cfg.data), words.split())


def test_a_run_that_is_continued_keeps_an_option_that_was_ignored() -> None:
    from dlzoo.config import instantiate, schema

    words = [*VALUES.split(), "task.gamma=3", "skip_limit=5"]
    cfg = config.compose([*words, "ckpt=old.ckpt"])
    schema.check(cfg, words)
    instantiate.check_fit(RunConfig.from_hydra(cfg), instantiate.build_data(cfg.data), words)


def test_a_part_says_what_its_options_need() -> None:
    class Mine(nn.Module):
        def option_uses(self) -> dict[str, tuple[bool, str]]:
            return {"depth": (False, "net.tree=true")}

    cfg, uses = config.compose(["model=mlp"]), {"net": Mine().option_uses()}
    with pytest.raises(UserError, match=r"net\.depth=3 would be ignored: it has an effect only with net\.tree=true"):
        unused_options.check(RunConfig.from_hydra(config.compose(["model=mlp", "+net.depth=3"])), uses)
    unused_options.check(RunConfig.from_hydra(cfg), uses)


@pytest.mark.parametrize("name", sorted(file.stem for file in (CONFIG_DIR / "experiment").glob("*.yaml")))
def test_no_experiment_has_an_option_without_effect(name: str) -> None:
    """Of those whose parts can be built without data."""
    from dlzoo.config import instantiate

    cfg = config.compose([f"experiment={name}"])
    said = ""
    try:
        instantiate.check_fit(RunConfig.from_hydra(cfg), instantiate.build_data(cfg.data))
    except UserError as error:  # a file that is not there
        said = str(error)
    assert "would be ignored" not in said
