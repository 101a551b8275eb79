"""A config from a stranger that names os.system: refused in one line, and nothing is executed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_runs import Outcome
from trust_runs import experiment, refused, yaml

from dlzoo.config import allowlist as trust
from dlzoo.config import compose as config
from dlzoo.config import groups, hydra_composition, hydra_settings, schema, stored_overrides, user_files
from dlzoo.config import introspection as signatures
from dlzoo.config import overrides as config_overrides
from dlzoo.errors import UserError

PLACES = {
    "net": "net: %s",
    "task": "task: %s",
    "data": "data: %s",
    "optimizer": "optimizer: %s",
    "scheduler": "scheduler: %s",
    "trainer": "trainer: %s",
    "callbacks": "callbacks: {mine: %s}",
    "logger": "logger: {mine: %s}",
    "inside data": "data: {augment: %s}",
    "inside a list": "trainer: {strategy: [%s]}",
    "Hydra's callbacks": "hydra: {callbacks: {mine: %s}}",
}


TARGETS = {
    "os.system": {"_target_": "os.system", "command": "touch {}"},
    "arguments by place": {"_target_": "os.system", "_args_": ["touch {}"]},
    "subprocess.Popen": {"_target_": "subprocess.Popen", "args": "touch {}", "shell": True},
    "zipfile.ZipFile": {"_target_": "zipfile.ZipFile", "file": "{}", "mode": "w"},  # not on Hydra's own list
    "builtins.eval": {"_target_": "builtins.eval", "_args_": ["open('{}', 'w')"]},
}


LOGGING = {
    "factory": {"formatters": {"x": {"()": "os.system", "command": "touch {}"}}},
    "handler": {"handlers": {"x": {"class": "subprocess.Popen", "args": "touch {}", "shell": True}}},
}


CASES = [*(("os.system", place) for place in PLACES)]


CASES += [(target, place) for target in TARGETS for place in ("net", "inside data", "Hydra's callbacks")]


@pytest.mark.parametrize(("target", "place"), dict.fromkeys(CASES))
def test_a_file_of_config(target: str, place: str, canary: Path, tmp_path: Path, train: Callable[..., Outcome]) -> None:
    node = yaml(TARGETS[target], canary)
    done = train(*experiment(tmp_path, PLACES[place] % node))
    said = "is set in a file" if place == "Hydra's callbacks" else f"_target_={TARGETS[target]['_target_']}"
    refused(done, canary, said)


@pytest.mark.parametrize("name", LOGGING)
@pytest.mark.parametrize("node", ["job_logging", "hydra_logging"])
def test_a_file_of_config_that_logs(
    node: str, name: str, canary: Path, tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    text = yaml({"hydra": {node: {"version": 1, **LOGGING[name]}}}, canary)
    refused(train(*experiment(tmp_path, text)), canary, "only the command line may set Hydra's settings")


@pytest.mark.parametrize(
    "setting",
    [
        "handlers.x.class=logging.os.system", "handlers.x.class=subprocess.Popen",
        "handlers.x={class: logging.StreamHandler, stream: 'ext://os.system'}", "handlers.x='${names}'",
    ],
)  # fmt: skip
def test_logging_on_the_command_line(setting: str, canary: Path, train: Callable[..., Outcome]) -> None:
    refused(train(f"++hydra.job_logging.{setting}"), canary, "is not allowed")


@pytest.mark.parametrize("factory", ["os.system", "logging.os.system", "${names}"])
def test_what_makes_a_formatter(factory: str) -> None:
    with pytest.raises(UserError, match="only these logging classes are"):
        hydra_settings.check({"job_logging": {"formatters": {"x": {"()": factory}}}})


def test_hydras_plug_ins_on_the_command_line(canary: Path, train: Callable[..., Outcome]) -> None:
    refused(train("+hydra.callbacks.mine._target_=os.system"), canary, "it is not a plugin or callback of Hydra")
    refused(train("+hydra.callbacks.mine='${names}'"), canary, "a reference cannot be used here")


def test_these_would_be_called_without_the_checks(
    canary: Path, tmp_path: Path, train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the tests above would pass for a wrong reason: Hydra refuses os.system itself, but not all that writes."""
    node = yaml(TARGETS["zipfile.ZipFile"], canary)
    monkeypatch.setattr(user_files, "check", lambda *_: None)
    monkeypatch.setattr(hydra_settings, "check", lambda node: None)
    train(*experiment(tmp_path, PLACES["Hydra's callbacks"] % node), "seed=-1")
    assert canary.exists()
    canary.unlink()
    monkeypatch.setattr(trust, "check_part", lambda *_: None)
    monkeypatch.setattr(schema, "check_locations", lambda *_: None)
    monkeypatch.setattr(trust.Trust, "check_target", lambda _, target, key: target)
    monkeypatch.setattr(trust.Trust, "resolve", lambda _, target, key: signatures.locate(target, key))
    with pytest.raises(AttributeError):  # when it is built, as it is no callback
        train(*experiment(tmp_path, PLACES["callbacks"] % node))
    assert canary.exists()


def test_words_of_the_command_line(canary: Path, train: Callable[..., Outcome]) -> None:
    done = train("++callbacks.mine._target_=os.system", f"++callbacks.mine.command='touch {canary}'")
    said = "callbacks.mine._target_=os.system is not allowed: it is not a subclass of lightning.pytorch.Callback"
    refused(done, canary, said)
    refused(train("net._target_=torch.nn.Linear"), canary, "it is not a subclass of dlzoo.nets.base.Net")
    refused(
        train("scheduler._target_=os.system"), canary, "is not a scheduler, which is a function of optimizer and plan"
    )
    refused(train("--config-name", "mine"), canary, "add your files with --config-dir")


def test_hydra_reads_its_files_through_ours(tmp_path: Path) -> None:
    """`dlzoo.config.files` takes the place of a part that is internal to Hydra: this says when it has moved."""
    experiment(tmp_path, "seed: 3")
    flags = ["--config-dir", str(tmp_path)]
    assert hydra_composition.composed(["experiment=mine", *config_overrides.search_path(flags)], flags, {})[1]
    assert not hydra_composition.composed(["experiment=lenet_mnist"], [], {})[1]


def test_a_file_that_changes_after_the_check_is_not_read_again(
    canary: Path, tmp_path: Path, train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hydra composes once more when it runs, and would build what stands in the folder by then."""
    words = [*experiment(tmp_path, "seed: 3"), "trainer=smoke", "trainer.accelerator=cpu", "callbacks=checkpoint"]
    node = yaml(TARGETS["zipfile.ZipFile"], canary)
    check = config.check_hydra

    def swapped(argv: list[str]) -> Any:
        found = check(argv)
        experiment(tmp_path, PLACES["Hydra's callbacks"] % node)
        return found

    monkeypatch.setattr(config, "check_hydra", swapped)
    done = train(*words, "data=digits")
    assert (done.code, canary.exists()) == (0, False), done.err
    experiment(tmp_path, "seed: 3")
    monkeypatch.setattr(config, "check_hydra", lambda argv: (check(argv), {})[1])
    refused(train(*words, "data=digits"), canary, "did not exist when the configs were checked")


def test_a_number_of_thousands_of_digits_is_no_override(train: Callable[..., Outcome]) -> None:
    word = f"seed={'9' * 6000}"
    stored_overrides.check(
        [word], "ckpt=x", trust.Trust.of([word]), groups.known_keys()
    )  # as text, which seed= refuses
    assert config_overrides.value_of(word) == "9" * 6000
    done = train(word)
    assert (done.code, "Traceback" in done.err) == (2, False)
