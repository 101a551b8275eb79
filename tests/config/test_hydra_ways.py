"""What Hydra's documentation shows, on the command line of training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_runs import Train, with_experiment

from dlzoo.config import compose as config
from dlzoo.config import yaml_files
from dlzoo.config.prepare import prepare
from dlzoo.config.yaml_files import CONFIG_DIR
from dlzoo.errors import UserError
from dlzoo.sweep import command_line

QUICK = ("trainer=smoke", "trainer.accelerator=cpu", "data=iris", "callbacks=checkpoint", "logger=none")


def swept(*words: str) -> dict[str, list[str]]:
    """The parameters of a grid with their values."""
    line = command_line.read(prepare(words))
    return {o.get_key_element(): [*o.sweep_string_iterator()] for o in line.swept}


@pytest.mark.parametrize(
    "params",
    [
        ("hydra.sweeper.params={seed: '0,1', model: 'mlp,lenet'}",),
        ("+hydra.sweeper.params.seed=0,1", "hydra.sweeper.params.model='mlp,lenet'"),
    ],
)
def test_parameters_of_the_sweeper(params: tuple[str, ...]) -> None:
    assert swept("-m", *params) == {"seed": ["0", "1"], "model": ["mlp", "lenet"]}
    assert prepare(["hydra.mode=MULTIRUN", "seed=0,1"]) == ["-m", "seed=0,1"]
    with pytest.raises(UserError, match=r"hydra.sweeper.params.* would be ignored: it has an effect only with -m"):
        prepare(params)


def test_an_experiment_of_dlzoo_says_what_to_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nhydra: {sweeper: {params: {seed: '0,1', optimizer.lr: '0.1,0.2'}}}\n"
    (tmp_path / "experiment" / "swept.yaml").write_text(text)
    for entry in CONFIG_DIR.iterdir():
        if entry.name != "experiment":
            (tmp_path / entry.name).symlink_to(entry)
    monkeypatch.setattr(yaml_files, "CONFIG_DIR", tmp_path)
    assert swept("-m", "experiment=swept") == {"seed": ["0", "1"], "++optimizer.lr": ["0.1", "0.2"]}
    assert swept("-m", "experiment=swept", "seed=7,8")["seed"] == ["7", "8"]


def test_a_file_of_a_stranger_does_not_sweep(tmp_path: Path, train: Train) -> None:
    done = train(*with_experiment(tmp_path, "hydra: {sweeper: {params: {seed: '0,1'}}}"), "-m")
    assert done.code == 2
    assert "only the command line may set Hydra's settings; give what to sweep there: -m seed=0,1" in done.err


def test_a_pattern_stands_for_the_names_that_it_matches() -> None:
    assert swept("-m", "model=glob(*cnn*,exclude=[text*,audio*,seq*])") == {"model": ["cnn", "cnn_pool", "fast_cnn"]}
    with pytest.raises(UserError, match=r"model=glob\(zz\*\) matches no model; choose from: adaline"):
        prepare(["-m", "model=glob(zz*)"])
    assert config.check_hydra(["--cfg", "job", "-m", "model=glob(lin*)"]) is None
    assert config.check_hydra(["-m", "model=glob(lin*)", "data=iris"]) == {}


def test_a_run_in_its_folder_reads_files_from_where_it_was_started(
    tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text("a,b,y\n" + "".join(f"{i},{i % 5},k{i % 2}\n" for i in range(40)))
    words = (*QUICK, "data=csv", "data.path=table.csv", "data.target=y", "hydra.run.dir=run", "hydra.job.chdir=true")
    done = train(*words)
    monkeypatch.chdir(tmp_path)
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "run" / "results.json").read_text())["status"] == "finished"
    assert f"results   {tmp_path / 'run'}" in done.out


def test_keys_of_the_users_to_refer_to(tmp_path: Path, train: Train) -> None:
    words = with_experiment(tmp_path, "width: 12\nnet: {hidden: ['${width}', '${width}']}")
    done = train(*words, *QUICK, "width=20", "hydra.run.dir=" + str(tmp_path / "run"))
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "run" / "results.json").read_text())["num_parameters"] == 583
    assert train(*QUICK, "+width=16", "net.hidden=[${width}]").code == 0
    for words in (
        ["+width=16"],
        [*with_experiment(tmp_path, "seed: 1"), "width=3"],
        with_experiment(tmp_path, "width: 3"),
    ):
        assert "error: width: unknown key; choose from: " in train(*words).err


def test_a_key_of_the_users_builds_nothing(tmp_path: Path, train: Train, canary: Path) -> None:
    node = f"{{_target_: os.system, command: 'touch {canary}'}}"
    done = train(*with_experiment(tmp_path, f"part: {node}\ncallbacks: {{mine: '${{part}}'}}"), *QUICK)
    assert (done.code, canary.exists()) == (2, False)
    assert "callbacks.mine._target_=os.system is not allowed" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config-dir", "nosuchfolder"], "--config-dir=nosuchfolder: there is no such folder"),
        (["-m", "hydra.run.dir=x", "seed=0,1"], "with -m, set hydra.sweep.dir=…"),
        (["model=glob(lin*)"], "requires --multirun"),
    ],
)
def test_a_sentence(words: list[str], said: str, train: Train) -> None:
    done = train(*words)
    assert (done.code, done.err.count("\n")) == (2, 1), done
    assert said in done.err


def test_a_file_without_its_header(tmp_path: Path, train: Train) -> None:
    done = train(*with_experiment(tmp_path, "seed: 3", header=""))
    assert "experiment: the file of experiment=… sets keys below experiment; its first line must be" in done.err
