"""Mistakes that are found before torch is imported, and what they are read from: the sources of classes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from small_runs import Outcome, imported

from dlzoo.config import compose as config
from dlzoo.config import early_checks, nested, source
from dlzoo.config.allowlist import ALLOWED_TARGETS
from dlzoo.config.instantiate import build_data
from dlzoo.config.introspection import arguments, locate
from dlzoo.config.prepare import prepare
from dlzoo.config.yaml_files import CONFIG_DIR
from dlzoo.errors import SpecError, UserError

MISTAKES = {
    ("optimizer.lrr=0.1",): "optimizer.lrr: torch.optim.Adam has no such option; did you mean 'lr'?",
    ("model=lenet", "data=wine"): "lenet takes images, but data=wine gives tables; models for tables: adaline",
    ("model=lennet",): "did you mean 'lenet'?",
    ("trainer.max_epoch=3",): "did you mean 'max_epochs'?",
    ("task.lose=mse",): "did you mean 'loss'?",
    ("data.batchsize=3",): "did you mean 'batch_size'?",
    ("callbacks=[default,early_stopping]", "callbacks.early_stopping.patient=3"): "did you mean 'patience'?",
    ("logger.tensorboard.nome=a",): "did you mean 'name'?",
    ("net.spec=1",): "has no such option",
}


@pytest.mark.parametrize("words", [*MISTAKES][:3], ids=" ".join)
def test_a_mistake_is_found_without_torch(words: tuple[str, ...]) -> None:
    program = imported("dlzoo.commands.train", words)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n", "torch and lightning are not imported"
    assert (done.stderr.count("\n"), done.stderr[:7]) == (1, "error: ")
    assert MISTAKES[words] in done.stderr


@pytest.mark.parametrize("words", [*MISTAKES][3:], ids=" ".join)
def test_a_mistake_is_found_as_the_config_is_composed(words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        config.check_hydra(prepare(words))
    assert MISTAKES[words] in str(caught.value)


def test_a_sweep_says_so_before_its_first_trial(train: Callable[..., Outcome], tmp_path: Path) -> None:
    done = train("-m", "optimizer.lrr=0.1", "seed=0,1")
    assert (done.code, done.out) == (2, "")
    assert "optimizer.lrr" in done.err
    assert not [*tmp_path.glob("outputs/*")]


def targets() -> list[str]:
    names = {*ALLOWED_TARGETS}
    for file in CONFIG_DIR.glob("*/*.yaml"):
        names |= {str(part["_target_"]) for _, part in nested.targets(yaml.safe_load(file.read_text()), "")}
    return sorted(names)


def test_a_source_says_what_the_class_says() -> None:
    for target in targets():
        found = source.arguments(target)
        assert found is not None, target
        assert found == (frozenset(arguments(locate(target, "x"))), True), target


def test_nothing_is_concluded_from_a_source_that_is_not_known() -> None:
    early_checks.check_options({"_target_": "mypkg.Net", "anything": 1}, "net", set())
    early_checks.check_options({"_target_": "dlzoo.nets.nothing.Net", "anything": 1}, "net", set())
    assert source.find("torch.nosuchmodule.Adam") is None
    assert source.arguments("numpy.array") == source.Arguments(frozenset(), False)


def test_an_option_under_its_old_name_is_no_mistake(train: Callable[..., Outcome]) -> None:
    words = ["++callbacks.mine={_target_: dlzoo.callbacks.film.Film}", "callbacks.mine.every_n_epochs=1"]
    cfg = config.compose_with_hydra(words)
    early_checks.check(cfg, words, reads_user_files=False)
    with pytest.raises(UserError, match=r"callbacks\.mine\.evry: .*SampleAnimation has no such option"):
        early_checks.check(config.compose_with_hydra(w := [*words, "callbacks.mine.evry=1"]), w, reads_user_files=False)


@pytest.mark.parametrize("data", ["digits", "iris", "gates", "air_passengers", "counting", "cartpole", "frozen_lake"])
def test_a_model_is_refused_early_only_if_it_does_not_fit(data: str) -> None:
    node = yaml.safe_load((CONFIG_DIR / "data" / f"{data}.yaml").read_text())
    spec = build_data({key: value for key, value in node.items() if "${" not in str(value)}).declare()
    refused = []
    for file in (CONFIG_DIR / "model").glob("*.yaml"):
        net = yaml.safe_load(file.read_text())["net"]
        fits = isinstance(spec, locate(net["_target_"], "net").accepts)  # type: ignore[attr-defined]
        try:
            early_checks.check_kinds({"net": net, "data": node}, {"model": file.stem, "data": data})
        except SpecError:
            assert not fits, file
            refused.append(file.stem)
    assert refused
