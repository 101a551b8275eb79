"""``dlzoo options`` and ``dlzoo schema`` as their user sees them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import Terminal, imported

from dlzoo.commands import options, schema

MISTAKES = {
    ("model=vea",): "error: model=vea: there is no such model; did you mean 'vae'?\n",
    ("modle=vae",): "error: modle: unknown key; did you mean 'model'?\n",
    ("schduler",): "error: schduler: there is no such group; did you mean 'scheduler'?\n",
    ("model=vae", "part=nett"): "error: part=nett is unknown; did you mean 'net'?\n",
    ("model=vae", "net.latent_dimm=3"): "did you mean 'latent_dim'?\n",
    ("data", "model=vae"): "give one group, such as dlzoo options data, or the overrides of a run\n",
    ("--config-dir", "/nowhere"): "error: --config-dir=/nowhere: there is no such folder\n",
    ("--cfg", "job"): "error: --cfg: this command takes no flag but --config-dir\n",
}


@pytest.fixture(autouse=True)
def _columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_every_part_is_listed(terminal: Terminal) -> None:
    code, out, err = terminal(options.main, "model=vae", "data=mnist", "net.latent_dim=2")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    heads = [line.partition(":")[0] for line in lines if not line.startswith(" ") and line]
    assert {"net", "task", "data", "optimizer", "scheduler", "trainer", "callbacks.checkpoint", "settings"} <= {*heads}
    assert "  net.latent_dim=2                  an integer" in lines
    assert "  data.batch_size=128               an integer or 'auto', 1 or more" in lines
    assert "  data.eval_batch_size=512          an integer, 1 or more" in lines
    assert "  seed=0                            an integer, 0 to 4,294,967,295" in lines
    assert max(map(len, lines)) <= 80


def test_as_json(terminal: Terminal) -> None:
    code, out, _ = terminal(options.main, "data=csv", "part=data", "format=json")
    (part,) = json.loads(out)
    assert (code, part["target"]) == (0, "dlzoo.data.tables.csv.CsvTable")
    found = {option["key"]: option for option in part["options"]}
    assert found["data.target"]["required"]
    assert found["data.batch_size"].pop("about").startswith("samples per training batch")
    assert found["data.batch_size"] == {
        "key": "data.batch_size",
        "value": 32,
        "required": False,
        "default": 128,
        "type": "an integer or 'auto', 1 or more",
    }


def test_groups_and_their_names(terminal: Terminal) -> None:
    assert "data=        what it learns from (" in terminal(options.main)[1]
    lines = terminal(options.main, "scheduler")[1].splitlines()
    assert "none         A constant learning rate." in lines
    assert max(map(len, lines)) <= 80
    assert "mnist " in terminal(options.main, "data")[1]


@pytest.mark.parametrize("words", MISTAKES, ids=" ".join)
def test_mistakes(words: tuple[str, ...], terminal: Terminal) -> None:
    code, out, err = terminal(options.main, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.endswith(MISTAKES[words])


@pytest.mark.parametrize("command", ["options", "schema"])
def test_torch_is_not_imported(command: str, tmp_path: Path) -> None:
    words = ["model=vae", "part=net"] if command == "options" else ["group=trainer", f"out={tmp_path / 's'}"]
    program = imported(f"dlzoo.commands.{command}", words)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0"


def test_schemas_of_one_group_or_all(tmp_path: Path, terminal: Terminal) -> None:
    folder = tmp_path / "conf" / "schema"
    code, out, err = terminal(schema.main, "group=trainer", f"out={folder}")
    assert (code, err, [path.name for path in folder.iterdir()]) == (0, "", ["trainer.json"])
    assert f"{folder / 'trainer.json'}" in out
    assert terminal(schema.main, "group=experiment", f"out={folder}")[0] == 0
    assert {path.name for path in folder.iterdir()} == {"trainer.json", "config.json"}
    assert "$schema=../schema/config.json" in terminal(schema.main, "group=model", f"out={folder}")[1]
    (tmp_path / "file").touch()
    for words, message in {
        ("group=modle",): "group=modle: there is no such group; did you mean 'model'?",
        (f"out={tmp_path / 'file'}",): "is a file: give a folder",
        ("--help-me",): "--help-me: there is no such flag",
    }.items():
        code, _, err = terminal(schema.main, *words)
        assert (code, err.count("\n")) == (2, 1)
        assert message in err


def test_files_of_a_folder_are_marked(tmp_path: Path, terminal: Terminal) -> None:
    header = "# @package _global_\n"
    experiment, data = tmp_path / "conf" / "experiment" / "mine.yaml", tmp_path / "conf" / "data" / "mine.yaml"
    for path, text in {experiment: f"{header}seed: 3\n", data: "_target_: dlzoo.data.tables.csv.CsvTable\n"}.items():
        path.parent.mkdir(parents=True)
        path.write_text(text)
    words = ["--config-dir", str(tmp_path / "conf"), "mark=true"]
    assert terminal(schema.main, *words)[0] == 0
    assert experiment.read_text() == f"{header}# yaml-language-server: $schema=../schema/config.json\nseed: 3\n"
    assert data.read_text().splitlines()[0] == "# yaml-language-server: $schema=../schema/data.json"
    content = json.loads((tmp_path / "conf" / "schema" / "config.json").read_text())
    assert "mine" in content["properties"]["defaults"]["items"]["then"]["properties"]["override /data"]["examples"]
    before = experiment.read_text()
    assert "names its schema now" not in terminal(schema.main, *words)[1]
    assert experiment.read_text() == before
    assert "would be ignored" in terminal(schema.main, "mark=true")[2]


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path, terminal: Terminal) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "private.yaml").write_text("x: 1\n")
    (tmp_path / "conf" / "experiment" / "mine.yaml").symlink_to(tmp_path / "private.yaml")
    words = ["--config-dir", str(tmp_path / "conf"), "mark=true", "group=trainer"]
    assert terminal(schema.main, *words)[0] == 0
    assert (tmp_path / "private.yaml").read_text() == "x: 1\n"
    (tmp_path / "conf" / "schema" / "trainer.json").unlink()
    (tmp_path / "conf" / "schema" / "trainer.json").symlink_to(tmp_path / "private.yaml")
    assert "is a link and is not written to" in terminal(schema.main, *words)[2]
    (tmp_path / "conf" / "schema" / "trainer.json").unlink()
    (tmp_path / "conf" / "schema").rmdir()
    (tmp_path / "conf" / "schema").symlink_to(tmp_path / "elsewhere")
    code, _, err = terminal(schema.main, *words)
    assert (code, [*(tmp_path / "elsewhere").iterdir()]) == (2, [])
    assert "links outside the folder of --config-dir" in err
