"""A config from a stranger that names os.system: refused in one line, and nothing is executed."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from small_runs import Outcome, Terminal
from trust_runs import PARTS, experiment, refused, yaml

from dlzoo import train
from dlzoo.config import allowlist as trust
from dlzoo.config import compose as config
from dlzoo.config import hydra_settings, schema, stored_overrides
from dlzoo.config import introspection as signatures
from dlzoo.config import overrides as config_overrides
from dlzoo.data.images.folder import ImageFolder
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


TARGET = re.compile(r"^(?!#).*_target_: *([\w.]+)", re.M)


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
    monkeypatch.setattr(config, "_check_user_files", lambda *_: None)
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


OWN = [
    "net._target_=my_parts.Net",
    "optimizer._target_=my_parts.Adam",
    "++callbacks.mine._target_=my_parts.Watch",
    "++data.augment._target_=my_parts.Mirror",
]


@pytest.fixture
def my_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of the user's own; the file that is there once it was imported."""
    (tmp_path / "my_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("my_parts", None)
    yield tmp_path / "imported"
    sys.modules.pop("my_parts", None)


def test_a_part_of_the_users_own_is_as_good_as_ours(my_parts: Path) -> None:
    schema.check(config.compose(OWN), OWN)
    assert my_parts.exists()


def test_a_part_that_a_file_names_needs_trust(
    my_parts: Path, canary: Path, tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    words = [*experiment(tmp_path, "net: {_target_: my_parts.Net}"), "trainer=smoke", "trainer.accelerator=cpu"]
    words += ["callbacks=checkpoint", "data=digits"]
    refused(train(*words), canary, "net._target_=my_parts.Net is not allowed in a config file or a checkpoint; ")
    refused(train(*words), canary, "add trust=my_parts")
    refused(train(*words, "net._target_=dlzoo.nets.mlp.MLPP"), canary, "did you mean 'MLP'")
    assert not my_parts.exists()
    assert train(*words, "trust=my_parts").code == 0
    assert my_parts.exists()


@pytest.mark.parametrize("target", ["my_parts.system", "my_parts.os.system", "my_parts.harm", "my_parts.MLP"])
def test_what_a_trusted_package_does_not_hold(
    target: str, my_parts: Path, canary: Path, tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    done = train(*experiment(tmp_path, f"net: {{_target_: {target}}}"), "trust=my_parts")
    assert (done.code, done.err.count("\n"), canary.exists()) == (2, 1, False), done


ENVIRONMENT = """
import pathlib
import gymnasium
import made_environments

pathlib.Path(__file__).with_name("imported").touch()
gymnasium.register("Mine-v0", entry_point=made_environments.Chain, max_episode_steps=9)
"""


def test_an_environment_of_the_users_own_needs_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: Callable[..., Outcome], terminal: Terminal
) -> None:
    from dlzoo.commands import play

    (tmp_path / "my_rooms.py").write_text(ENVIRONMENT)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["model=dqn", "data=gym", "data.id=my_rooms:Mine-v0", "data.steps_per_epoch=20", "data.val_episodes=1"]
    words += ["data.test_episodes=1", "trainer.max_epochs=1", "callbacks=checkpoint", "logger=none"]
    words += [f"hydra.run.dir={tmp_path / 'run'}"]
    asked = "data.id=my_rooms:Mine-v0 imports the module my_rooms: if you trust my_rooms, add trust=my_rooms"
    assert asked in train(*words).err
    assert "imports the module os: give the id alone" in train(*words, "data.id=os:Mine-v0").err
    assert not (tmp_path / "imported").exists()
    done = train(*words, "trust=my_rooms")
    assert done.code == 0, done.err
    (tmp_path / "imported").unlink()
    sys.modules.pop("my_rooms")
    ckpt = f"ckpt={tmp_path / 'run' / 'checkpoints' / 'best.ckpt'}"
    assert asked in terminal.mistake(play.main, ckpt)
    assert not (tmp_path / "imported").exists()
    assert "episode 1   return" in terminal(play.main, ckpt, "trust=my_rooms").out


@pytest.mark.parametrize("name", ["os", "torch", "lightning.pytorch", "dlzoo", "'1x'", "[a,3]"])
def test_not_every_package_can_be_trusted(name: str, canary: Path, train: Callable[..., Outcome]) -> None:
    refused(train(f"trust={name}"), canary, "trust=")


def test_a_plug_in_is_trusted(my_parts: Path, canary: Path, tmp_path: Path, train: Callable[..., Outcome]) -> None:
    words = experiment(tmp_path, "net: {_target_: my_parts.Net}")
    info = tmp_path / "my_dist-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-dist\nVersion: 1.0\n")
    refused(train(*words), canary, "add trust=my_parts")
    (info / "entry_points.txt").write_text("[dlzoo.plugins]\nmine = my_parts\n")
    importlib.invalidate_caches()
    words += ["trainer=smoke", "trainer.accelerator=cpu", "callbacks=checkpoint", "data=digits"]
    assert train(*words).code == 0


def test_every_listed_part_is_what_it_says() -> None:

    kinds = {
        "torch.optim.": torch.optim.Optimizer,
        "lightning.pytorch.callbacks.": pl.Callback,
        "lightning.pytorch.loggers.": pl.loggers.Logger,
        "lightning.pytorch.profilers.": pl.profilers.Profiler,
        "lightning.pytorch.strategies.": pl.strategies.Strategy,
        "lightning.pytorch.Trainer": pl.Trainer,
    }
    for name in trust.ALLOWED_TARGETS:
        kind = next(kind for start, kind in kinds.items() if name.startswith(start))
        assert issubclass(signatures.locate(name, ""), kind), name
    optimizers = {name for name, cls in vars(torch.optim).items() if isinstance(cls, type)} - {"Optimizer"}
    assert {f"torch.optim.{name}" for name in optimizers} <= trust.ALLOWED_TARGETS


def test_every_target_of_ours_is_allowed() -> None:
    found = [target for file in config.CONFIG_DIR.rglob("*.yaml") for target in TARGET.findall(file.read_text())]
    assert len(found) > 100
    for target in {*found} - {"dlzoo.config.run_dir.RunFolder"}:
        trust.Trust().check_target(target, "")


def test_names_are_decided_without_importing_torch() -> None:
    program = (
        "import sys; from dlzoo.config.allowlist import Trust; t = Trust(); t.check_target('torch.optim.Adam', 'x')\n"
        "try: t.check_target('torch.optim.Adamm', 'x')\n"
        "except ValueError as error: print(error)\n"
        "print({'torch', 'lightning', 'hydra'} & {*sys.modules})"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "did you mean 'torch.optim.Adam'" in said
    assert said.splitlines()[-1] == "set()"


def test_hydra_reads_its_files_through_ours(tmp_path: Path) -> None:
    """`dlzoo.config.files` takes the place of a part that is internal to Hydra: this says when it has moved."""
    experiment(tmp_path, "seed: 3")
    flags = ["--config-dir", str(tmp_path)]
    assert config._composed(["experiment=mine", *config_overrides.search_path(flags)], flags, {})[1]
    assert not config._composed(["experiment=lenet_mnist"], [], {})[1]


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


@pytest.mark.parametrize("flags", [["--cfg", "job", "--resolve"], ["--cfg", "all", "--resolve"]])
def test_what_only_shows_a_config_follows_no_reference_either(
    flags: list[str], canary: Path, tmp_path: Path, train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "topsecret")
    done = train(*experiment(tmp_path, "net: {dropout: '${oc.env:A_SECRET}'}"), *flags)
    refused(done, canary, "but not oc.env:")
    assert "topsecret" not in done.out


@pytest.mark.parametrize("devices", ["10000", "'10000'"])
def test_a_file_does_not_start_processes_without_end(
    devices: str, canary: Path, tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    done = train(*experiment(tmp_path, f"trainer: {{accelerator: cpu, devices: {devices}}}"))
    refused(done, canary, "10,000 processes are more than this machine's")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("strategy: ddp_spawn", "trainer.strategy=ddp_spawn: dlzoo does not start processes this way"),
        ("strategy: ddp_fork_find_unused_parameters_true", "dlzoo does not start processes this way"),
        ("profiler: xla", "trainer.profiler=xla is unknown"),
    ],
)
def test_trainers_that_no_run_can_work_with(
    option: str, said: str, canary: Path, tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    refused(train(*experiment(tmp_path, f"trainer: {{accelerator: cpu, devices: 2, {option}}}")), canary, said)


def test_a_number_of_thousands_of_digits_is_no_override(train: Callable[..., Outcome]) -> None:
    word = f"seed={'9' * 6000}"
    stored_overrides.check(
        [word], "ckpt=x", trust.Trust.of([word]), config.known_keys()
    )  # as text, which seed= refuses
    assert config_overrides.value_of(word) == "9" * 6000
    done = train(word)
    assert (done.code, "Traceback" in done.err) == (2, False)


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


def test_a_file_does_not_start_workers_without_end(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.num_workers=10000: 10,000 processes are more than this machine's"):
        ImageFolder(path=tmp_path, num_workers=10_000)


NO_CONFIGS = {
    "defaults: null": "defaults must be a list",
    "defaults: 5": "defaults must be a list",
    "defaults: [5]": "Unsupported type in defaults",
    "defaults: {a: b}": "defaults must be a list",
    "5": "is not a config",
    **{f"{node}: -1": f"{node}=-1 must be a group of settings" for node in schema.NODES if node != "trainer"},
    "seed: true": "seed=True must be an integer",
    "net: {dropout: '%s'}" % ("${seed}" * 1000): "has 7,000 characters",
}


@pytest.mark.parametrize("text", NO_CONFIGS)
def test_a_file_that_is_no_config(text: str, canary: Path, tmp_path: Path, train: Callable[..., Outcome]) -> None:
    refused(train(*experiment(tmp_path, text)), canary, NO_CONFIGS[text])


@pytest.mark.parametrize("header", ["# @package", "# @package a b"])
def test_a_header_that_is_none(header: str, canary: Path, tmp_path: Path, train: Callable[..., Outcome]) -> None:
    words = experiment(tmp_path, "")
    (tmp_path / "experiment" / "mine.yaml").write_text(f"{header}\nseed: 1\n")
    refused(train(*words), canary, "is not a config")


OUTSIDE = {
    "output_dir: /tmp/x": "output_dir=/tmp/x is set in a file",
    "data_dir: /tmp/x": "data_dir=/tmp/x is set in a file",
    "trust: my_parts": "trust=my_parts is set in a file",
    "ckpt: /tmp/x": "ckpt=/tmp/x is set in a file",
    "data: {data_dir: /tmp/x}": "data.data_dir=/tmp/x is not allowed",
    "data: {mirrors: ['http://127.0.0.1:9']}": "data.mirrors",
    "callbacks: {checkpoint: {dirpath: /tmp/x}}": "callbacks.checkpoint.dirpath=/tmp/x is not allowed",
    "callbacks: {checkpoint: {filename: ../../x}}": "it is outside the run's folder",
    "trainer: {profiler: {_target_: lightning.pytorch.profilers.SimpleProfiler, dirpath: /tmp/x}}": "trainer.profiler",
    "hydra: {run: {dir: /tmp/x}}": "hydra.run.dir=/tmp/x is set in a file",
    "hydra: {sweep: {subdir: ../../x}}": "hydra.sweep.subdir",
    "hydra: {output_subdir: ../x}": "hydra.output_subdir",
    "hydra: {job: {chdir: true}}": "hydra.job.chdir",
    "hydra: {searchpath: ['file:///tmp']}": "searchpath",
    "hydra: {mode: MULTIRUN}": "hydra.mode=",
    "hydra: {job: {name: ../../../x}}": "hydra.job.name=../../../x is set in a file",
    "hydra: {job: {id: ../x}}": "hydra.job.id",
    "hydra: {runtime: {output_dir: /tmp/x}}": "hydra.runtime.output_dir",
    "hydra: {overrides: {task: [seed=1, callbacks.checkpoint.dirpath=/tmp/x]}}": "hydra.overrides=",
    "{hydra: {overrides: {task: ['callbacks.mine._target_=canary_module.Net']}},"
    " callbacks: {mine: {_target_: canary_module.Net}}}": "hydra.overrides=",
    "hydra: {overrides: {hydra: ['hydra.run.dir=/tmp/x']}}": "hydra.overrides=",
    "hydra: {overrides: {task: null}}": "hydra.overrides",
    "hydra: {overrides: null}": "hydra",
    "seed: ../../x": "seed=../../x must be an integer",
    "defaults: [{override /optimizer: ../../../x}]": "is a path",
    "defaults: [{override /optimizer: /../x}]": "is a path",
    "net: {dropout: '${oc.env:HOME}'}": "but not oc.env:",
    "net: {dropout: \"${oc.create:${oc.decode:'{a: 1}'}}\"}": "but not oc.create:",
    "net: {dropout: '${oc.${trainer.accelerator}:HOME}'}": "is not allowed",
    "net: {dropout: '${oc.'}": "no viable alternative",
    "defaults: [{override /optimizer: '${oc.env:HOME}'}]": "but not oc.env:",
    "net: {_args_: [1]}": "net._args_: dlzoo.nets.mlp.MLP has no such option",
    "net: {dropout: {_target_: dlzoo.data.images.digits.Digits}}": "net.dropout._target_=dlzoo.data.images",
}


@pytest.mark.parametrize("text", OUTSIDE)
def test_a_file_stays_inside_of_the_run(
    text: str, canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    words = [*experiment(tmp_path, text), "data=mnist"]
    folder = [] if "hydra" in text else [f"hydra.run.dir={tmp_path / 'run'}"]
    monkeypatch.setattr(sys, "argv", ["train.py", *words, *folder])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        train.main()
    refused(Outcome(int(left.value.code or 0), "", capsys.readouterr().err), canary, OUTSIDE[text])


@pytest.mark.parametrize("flag", ["--help", "--cfg=job", "--info=config"])
def test_a_file_does_not_configure_the_logging_of_help(
    flag: str, canary: Path, tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    handlers = f"{{x: {{class: logging.FileHandler, filename: {canary}}}}}"
    text = f"hydra: {{hydra_logging: {{version: 1, handlers: {handlers}, root: {{handlers: [x]}}}}}}"
    refused(train(*experiment(tmp_path, text), *flag.split("=")), canary, "only the command line may set Hydra")


SEARCHES = {
    "words: [net._target_=canary_module.Net]": "sweep stores the override net._target_=canary_module.Net",
    "words: [output_dir=/tmp/x]": "where a run writes may only be set on the command line",
    "words: ['hydra.run.dir=/tmp/x']": "sweep stores the override hydra.run.dir=/tmp/x",
    "space: {net._target_: [canary_module.Net]}": "sweep stores the override net._target_=canary_module.Net",
    "space: {hydra.run.dir: [/tmp/x]}": "sweep stores the override hydra.run.dir=/tmp/x",
    "space: {net.dropout: ['{_target_: os.system}']}": "sweep stores the override net.dropout={_target_: os.system}",
    'space: {net.hidden: {length: [2], each: ["p,\',{_target_: canary_module.X}"]}}': "this is not one value",
    'space: {net.hidden.each: ["p,\',{_target_: canary_module.X}"]}': "this is not one value",
    "space: {net.hidden: {length: [1], each: ['{_target_: canary_module.X}']}}": "sweep stores the override",
    "storage: 'sqlite:////tmp/x'": "sweep.storage=sqlite:////tmp/x is set in a file",
    "name: ../../x": "sweep.name=../../x: give the name of a folder",
}


@pytest.mark.parametrize("text", SEARCHES)
def test_a_search_stays_inside_of_the_run(
    text: str, canary: Path, tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text(f"{text}\n")
    words = ["--config-dir", str(tmp_path), "-m", "sweep=[random,mine]", "optimizer.lr=interval(0.1,0.2)"]
    refused(train(*words), canary, SEARCHES[text])
