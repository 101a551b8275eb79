"""An installed plugin: its configs are found by name, and its checkpoints load, without further options."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import own_package
import pytest
from small_runs import Terminal, Train

from dlzoo.commands import evaluate, predict
from dlzoo.config import compose as config
from dlzoo.config import early_checks, groups, instantiate, part_help, plugins, source
from dlzoo.config.allowlist import Trust
from dlzoo.config.prepare import prepare
from dlzoo.errors import UserError
from dlzoo.sweep import command_line

NAME = "plug_lab"
QUICK = ("callbacks=checkpoint", "logger=none")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder on the path that holds the plugin: its names are registered once."""
    folder = tmp_path_factory.mktemp("site")
    own_package.write(folder, NAME)
    own_package.write_configs(folder, NAME)
    own_package.install(folder, NAME)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        source.find.cache_clear()
        source.module.cache_clear()
        yield folder


@pytest.fixture(scope="module")
def ckpt(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dlzoo.training.run import run

    words = [f"experiment={NAME}_first", f"callbacks=[checkpoint,{NAME}_note]", "logger=none"]
    folder = tmp_path_factory.mktemp("run")
    run(config.compose(words), folder, words)
    assert (folder / "note.txt").is_file()
    return folder / "checkpoints" / "best.ckpt"


def test_its_names_are_found_without_importing_it(lab: Path) -> None:
    import sys

    known = groups.names()
    assert f"{NAME}_net" in known["model"]
    assert f"{NAME}_first" in known["experiment"]
    assert plugins.packages() == (NAME,)
    assert plugins.config_files("data")[f"{NAME}_scans"] == lab / NAME / "configs" / "data" / f"{NAME}_scans.yaml"
    assert f"{NAME}.parts" not in sys.modules


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([f"model={NAME}_nat"], f"did you mean '{NAME}_net'?"),
        ([f"experiment={NAME}_frist"], f"did you mean '{NAME}_first'?"),
        ([f"model={NAME}_net", f"data={NAME}_scans", "net.widht=3"], "did you mean 'width'?"),
        (["weigth_decay=3"], "did you mean 'optimizer.weight_decay'?"),
    ],
)
def test_a_typo_is_answered_with_its_names(words: list[str], said: str, lab: Path) -> None:
    with pytest.raises(UserError) as caught:
        config.check_hydra(prepare(words))
    assert said in str(caught.value)


def test_a_key_of_its_file_is_set_on_the_command_line(lab: Path) -> None:
    _, overrides = command_line.config_overrides.split(prepare([f"experiment={NAME}_first", "breadth=7"]))
    assert config.compose(overrides).net.width == 7


def test_its_models_are_named_where_they_fit(lab: Path) -> None:
    from plug_lab.parts import SPEC  # type: ignore[import-not-found]

    assert f"{NAME}_net" in instantiate.fitting_models(SPEC)
    for net in ("mlp.MLP", "lenet.LeNet"):  # a scan is an image
        check_kinds(f"{NAME}.parts.Scans", f"dlzoo.nets.{net}")
    with pytest.raises(UserError, match=rf"takes texts, but data=x gives scans; models for scans: .*\b{NAME}_net\b"):
        check_kinds(f"{NAME}.parts.Scans", "dlzoo.nets.text_cnn.TextCNN")


def test_the_python_api_lists_its_names(lab: Path) -> None:
    from dlzoo.api import catalog

    assert catalog.experiments().loc[f"{NAME}_first", "model"] == f"{NAME}_net"


def test_help_lists_its_options(lab: Path) -> None:
    (net,) = part_help.parts(config.compose([f"model={NAME}_net"]), ["net"])
    assert any("net.width=5" in line for line in part_help.lines([net]))


def test_a_sweep_takes_its_names(lab: Path) -> None:
    line = command_line.read(prepare(["-m", f"model=glob({NAME}*)", f"data={NAME}_scans", "seed=0,1"]))
    assert {o.get_key_element(): [*o.sweep_string_iterator()] for o in line.swept} == {
        "model": [f"{NAME}_net"],
        "seed": ["0", "1"],
    }


def test_the_whole_command(lab: Path, train: Train) -> None:
    done = train(f"experiment={NAME}_first", "breadth=3", *QUICK)
    assert done.code == 0, done.err


def test_its_checkpoint_loads_without_options(
    ckpt: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path, train: Train
) -> None:
    from PIL import Image

    Image.new("L", (6, 6), 128).save(tmp_path / "a.png")
    terminal = Terminal(monkeypatch, capsys)
    assert terminal(evaluate.main, f"ckpt={ckpt}").code == 0
    assert "low" in terminal(predict.main, f"ckpt={ckpt}", f"input={tmp_path / 'a.png'}").out
    longer = train(
        f"ckpt={ckpt.with_name('last.ckpt')}", "trainer.max_epochs=2", f"hydra.run.dir={tmp_path / 'longer'}"
    )
    assert longer.code == 0, longer.err


def test_a_checkpoint_of_it_names_parts_of_runs_only(ckpt: Path, tmp_path: Path) -> None:
    from small_runs import changed, with_target

    from dlzoo.checkpoint.load import load_task

    for target, said in {"Path": "its module only imports it", "Note": "it is not a subclass of dlzoo.nets"}.items():
        spoilt = changed(ckpt, tmp_path / "spoilt.ckpt", with_target("net", f"{NAME}.parts.{target}"))
        with pytest.raises(UserError, match=said):
            load_task(spoilt)


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configs of a second plugin, which has no classes."""
    configs = own_package.write_configs(tmp_path, "other_lab")
    own_package.install(tmp_path, "other_lab")
    monkeypatch.syspath_prepend(tmp_path)
    return configs


def test_it_does_not_replace_a_config_of_dlzoo(other: Path, capsys: Any) -> None:
    (other / "model" / "mlp.yaml").write_text("# @package _global_\nnet: {_target_: os.system}\n")
    prepare(["model=mlp"])
    assert f"warning: model=mlp is not {other / 'model' / 'mlp.yaml'}" in capsys.readouterr().err
    assert config.compose(["model=mlp"]).net._target_ == "dlzoo.nets.mlp.MLP"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("net: {_target_: os.system}", "net._target_=os.system is not allowed"),
        ("net: {_target_: elsewhere.Net}", "net._target_=elsewhere.Net is not allowed"),
        ("hydra: {run: {dir: /tmp}}", "only the command line may set Hydra's settings"),
        ("seed: ${oc.env:HOME}", "is not allowed: a file may refer to other keys"),
        ("trust: os", "only the command line may set it"),
        ("a: [", "is damaged or not YAML"),
    ],
)
def test_what_its_files_may_not_do(text: str, said: str, other: Path, train: Train) -> None:
    (other / "experiment" / "bad.yaml").write_text(f"# @package _global_\n{text}\n")
    done = train("experiment=bad", *QUICK)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert said in done.err


def test_a_package_that_cannot_be_found_or_read_does_not_disturb_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_package.install(tmp_path, "no_such_lab")
    own_package.install(tmp_path, "os")
    configs = own_package.write_configs(tmp_path, "broken_lab")
    (tmp_path / "broken_lab" / "parts.py").write_text("class MyNet(:\n")
    (configs / "model" / "damaged.yaml").write_text("net: [\n")
    own_package.install(tmp_path, "broken_lab")
    monkeypatch.syspath_prepend(tmp_path)
    assert "mlp" in instantiate.fitting_models(small_table())
    assert not Trust().covers("os.system")
    with pytest.raises(UserError, match="models for tables: adaline"):
        check_kinds("dlzoo.data.tables.published.Wine", "dlzoo.nets.lenet.LeNet")


@pytest.mark.parametrize("line", ["a", "a =", "a = ..x", "a = /etc", "=", "a = \x1b[2J"])
def test_an_entry_point_that_names_nothing_does_not_disturb_others(
    line: str, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    own_package.install(tmp_path / "more", "third_lab")
    (file,) = (tmp_path / "more").glob("*.dist-info/entry_points.txt")
    file.write_text(f"[dlzoo.plugins]\n{line}\n")
    monkeypatch.syspath_prepend(tmp_path / "more")
    assert "other_lab" in plugins.packages()
    assert "ignored" in (said := capsys.readouterr().err)
    assert "\x1b" not in said


@pytest.mark.parametrize("flags", [[], ["--cfg", "job"]])
def test_a_file_that_includes_itself(flags: list[str], other: Path, train: Train) -> None:
    (other / "experiment" / "bad.yaml").write_text("# @package _global_\ndefaults:\n  - /experiment/bad\n")
    done = train("experiment=bad", *flags)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert "includes the file itself" in done.err


def check_kinds(data: str, net: str) -> None:
    early_checks.check_kinds({"data": {"_target_": data}, "net": {"_target_": net}}, {"model": "m", "data": "x"})


def small_table() -> Any:
    from dlzoo.specs.inputs import Column, TableSpec
    from dlzoo.specs.targets import Classes

    return TableSpec((Column("a"), Column("b")), Classes(("x", "y")))
