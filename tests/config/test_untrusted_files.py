"""A stranger's config file stays inside of the run: what it may not write, read, start or leave out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_runs import Outcome
from trust_runs import experiment, refused

from dlzoo.commands import train
from dlzoo.data.images.folder import ImageFolder
from dlzoo.errors import UserError


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


def test_a_file_does_not_start_workers_without_end(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.num_workers=10000: 10,000 processes are more than this machine's"):
        ImageFolder(path=tmp_path, num_workers=10_000)


NO_CONFIGS = {
    "defaults: null": "defaults must be a list",
    "defaults: 5": "defaults must be a list",
    "defaults: [5]": "Unsupported type in defaults",
    "defaults: {a: b}": "defaults must be a list",
    "5": "is not a config",
    **{f"{node}: -1": f"{node}=-1 must be a group of settings" for node in ("net", "callbacks")},
    "seed: true": "seed=True must be an integer",
    "net: {dropout: '%s'}" % ("${seed}" * 1000): "has 7,000 characters",
}


@pytest.mark.parametrize("text", NO_CONFIGS)
def test_a_file_that_is_no_config(text: str, canary: Path, tmp_path: Path, train: Callable[..., Outcome]) -> None:
    refused(train(*experiment(tmp_path, text)), canary, NO_CONFIGS[text])


@pytest.mark.parametrize("header", ["# @package", "# @package a b"])
def test_a_header_that_is_none(header: str, canary: Path, tmp_path: Path, train: Callable[..., Outcome]) -> None:
    refused(train(*experiment(tmp_path, "seed: 1", f"{header}\n")), canary, "is not a config")


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
