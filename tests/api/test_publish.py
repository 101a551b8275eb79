"""A published model: plain files that load as the same model, say what it is, and hold nothing private."""

from __future__ import annotations

import functools
import json
import os
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load, load_file, save_file
from small_runs import Terminal, table_words

import dlzoo
from dlzoo.api import hub, model_card, seeds
from dlzoo.api.publish import copy
from dlzoo.checkpoint import published
from dlzoo.commands import evaluate, export, predict, publish
from dlzoo.errors import UserError
from dlzoo.utils.checkpoint_files import read

KINDS = {
    "lenet": ("model=lenet", "data=digits"),
    "vae": ("model=vae", "data=digits", "net.latent_dim=3"),
    "nar": ("model=nar", "data=air_passengers", "net.hidden=[8]"),
    "q_table": ("model=q_table", "data=frozen_lake"),
    "char_rnn": ("model=char_rnn", "data=text_file", "data.path=FOLDER/book.txt", "net.num_units=8"),
}
PLAIN = ("callbacks=checkpoint", "logger=none", "trainer=cpu", "trainer.max_epochs=1", "quiet=true")
BOOK = "the quick brown fox jumps over the lazy dog\n" * 40

ModelOf = Callable[[str], dlzoo.Model]


@pytest.fixture(scope="module")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> ModelOf:
    """A trained model of a kind."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "book.txt").write_text(BOOK)
    kinds = KINDS | {"table": ("model=mlp", "net.hidden=[8]", *table_words(folder))}

    @functools.cache
    def get(kind: str) -> dlzoo.Model:
        words = [word.replace("FOLDER", str(folder)) for word in kinds[kind]]
        return dlzoo.train(*PLAIN, *words, output_dir=folder / "outputs").model

    return get


USES: dict[str, Callable[[dlzoo.Model], Any]] = {
    "lenet": lambda model: model.predict_proba(np.arange(128, dtype=np.uint8).reshape(2, 8, 8)).to_numpy(),
    "table": lambda model: model.predict([{"size": 3.5, "colour": "red"}, {"size": 7.0, "colour": None}]).to_numpy(),
    "vae": lambda model: np.asarray(model.sample(3, seed=1)),
    "nar": lambda model: model.forecast(horizon=4).to_numpy(),
    "q_table": lambda model: model.play(episodes=2).to_numpy(),
    "char_rnn": lambda model: model.generate("the ", length=30, seed=2),
}


@pytest.mark.parametrize("kind", USES)
def test_it_is_the_same_model_in_another_folder(
    kind: str, model_of: ModelOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, folder = model_of(kind), tmp_path / "published"
    assert model.publish(folder) == str(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "config.json", "config.yaml", "example.py", "model.safetensors",
    ]  # fmt: skip
    again = dlzoo.load(folder)
    assert np.array_equal(USES[kind](again), USES[kind](model))
    published.check_same(read(model.checkpoint()), read(folder))  # bitwise
    if kind == "nar":
        pd.DataFrame({"month": pd.date_range("1950", periods=60, freq="MS"), "passengers": range(100, 160)}).to_csv(
            tmp_path / "series.csv", index=False
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["example.py", *(["series.csv"] if kind == "nar" else [])])
    runpy.run_path(str(folder / "example.py"))
    assert kind == "vae" or len(capsys.readouterr().out) > 20


@pytest.mark.parametrize("kind", ["table", "lenet"])
def test_nothing_names_the_machine(kind: str, model_of: ModelOf, tmp_path: Path) -> None:
    model = model_of(kind)
    home = str(model.checkpoint().parents[5])
    assert home in str(read(model.checkpoint())["dlzoo"])  # so it is there to be found
    model.publish(tmp_path / "published")
    for path in (tmp_path / "published").iterdir():
        assert home.encode() not in path.read_bytes(), path.name
    if kind == "table":
        assert 'data.path="houses.csv"' in (tmp_path / "published" / "README.md").read_text().replace("'", "")


def test_the_card(model_of: ModelOf, tmp_path: Path) -> None:
    model = model_of("lenet")
    run = dlzoo.Run(model.checkpoint().parents[1])
    model.publish(tmp_path / "published", license="cc-by-4.0")
    _, front, text = (tmp_path / "published" / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["pipeline_tag"] == "image-classification"
    measured = metadata["model-index"][0]["results"][0]["metrics"]
    assert {entry["name"]: entry["value"] for entry in measured}["test/accuracy"] == run.metrics["test/accuracy"]
    headings = ["Figures", "How to load it", "Data", "Training", "Limits", "Licence"]
    assert [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")] == headings
    assert f"| `test/accuracy` | {100 * (run.metrics['test/accuracy'] or 0):.2f}% |" in text
    assert "One run has no interval" in text
    assert (
        "dlzoo train callbacks=checkpoint logger=none trainer=cpu trainer.max_epochs=1 model=lenet data=digits" in text
    )
    assert "Proceedings" in text or "LeCun" in text
    assert "1,294 rows" in text


def test_the_figures_of_another_checkpoint_are_not_claimed(model_of: ModelOf, tmp_path: Path) -> None:
    best = model_of("lenet").checkpoint()
    dlzoo.load(best.with_name("last.ckpt")).publish(tmp_path / "published")
    assert "this checkpoint has no stored test" in (tmp_path / "published" / "README.md").read_text()


def test_an_interval_over_the_seeds_of_a_sweep(tmp_path: Path) -> None:
    words = [*PLAIN, "model=mlp", "data=iris", "trainer.max_epochs=2"]
    runs = [
        dlzoo.train(*words, f"net.hidden=[{width}]", f"seed={seed}", f"hydra.run.dir={tmp_path}/{width}-{seed}")
        for width, seed in [(4, 0), (4, 1), (5, 0)]
    ]
    runs[0].model.publish(tmp_path / "alone")
    assert "One run has no interval" in (tmp_path / "alone" / "README.md").read_text()
    (tmp_path / "sweep.json").touch()
    runs[0].model.publish(tmp_path / "published")
    text = (tmp_path / "published" / "README.md").read_text()
    mean = np.mean([run.metrics["test/accuracy"] or 0.0 for run in runs[:2]])
    assert f"{100 * mean:.2f}% [" in text
    assert "2 seeds of the same sweep" in text


def test_an_interval_of_the_stored_experiment(tmp_path: Path) -> None:
    hydra = tmp_path / "run" / ".hydra"
    hydra.mkdir(parents=True)
    (hydra / "hydra.yaml").write_text("hydra: {runtime: {choices: {experiment: mlp_iris}}}")
    (hydra / "overrides.yaml").write_text("- experiment=mlp_iris\n- seed=7\n- trainer=cpu\n")
    found = seeds.of_run(tmp_path / "run")
    assert found is not None
    assert len(found.results) >= 5
    assert "seeds of experiment=mlp_iris, as stored with commit " in found.source
    worst = min(found.values("test/accuracy"))
    assert model_card.is_met_over_seeds({"metric": "test/accuracy", "min": worst}, found)
    assert not model_card.is_met_over_seeds({"metric": "test/accuracy", "min": 1.01}, found)
    assert not model_card.is_met_over_seeds({"metric": "test/loss", "max": 0.0}, found)
    assert model_card.is_met_over_seeds({"metric": "test/other", "max": 0.0}, found)
    (hydra / "overrides.yaml").write_text("- experiment=mlp_iris\n- optimizer.lr=1\n")
    assert seeds.of_run(tmp_path / "run") is None


def test_text_of_the_data_is_no_markup() -> None:
    hostile = "<img src=x>|[a](javascript:b)`c`\n# d"
    shown = model_card.escape(hostile)
    assert "<" not in shown
    assert "\n" not in shown
    assert "\\|" in shown
    assert "\\[a\\]" in shown
    assert model_card.escape("- x").startswith("\\-")


def test_commands_take_the_folder(model_of: ModelOf, tmp_path: Path, terminal: Terminal) -> None:
    model = model_of("table")
    said = terminal(publish.main, f"ckpt={model.checkpoint()}", f"to={tmp_path / 'p'}")
    assert said.code == 0, said.err
    assert "states no licence" in said.out
    folder = tmp_path / "p"
    table = next(path for path in model.checkpoint().parents if (path / "houses.csv").is_file()) / "houses.csv"
    told = [terminal(predict.main, f"ckpt={ckpt}", f"input={table}") for ckpt in (model.checkpoint(), folder)]
    assert told[0] == told[1]
    assert told[0].code == 0
    of_run = model.checkpoint().parents[1]
    assert terminal(predict.main, f"ckpt={of_run}", f"input={table}") == told[0]
    said = terminal(evaluate.main, f"ckpt={folder}", f"data.path={table}", "json=true")
    assert said.code == 0, said.err
    outcome, run = json.loads(said.out)["metrics"], dlzoo.Run(of_run)
    assert outcome["test/rmse"] == run.metrics["test/rmse"]
    error = terminal.mistake(
        export.main, f"ckpt={folder}", "format=safetensors", f"output={folder}/model.safetensors", f"data.path={table}"
    )
    assert "overwrite an input file" in error


def test_it_is_not_resumed(model_of: ModelOf, tmp_path: Path) -> None:
    model_of("lenet").publish(tmp_path / "p")
    with pytest.raises(dlzoo.UserError, match="cannot be resumed"):
        dlzoo.train("model=lenet", "data=digits", ckpt=str(tmp_path / "p"))


def test_a_folder_is_not_overwritten_by_accident(model_of: ModelOf, tmp_path: Path, terminal: Terminal) -> None:
    model, folder = model_of("q_table"), tmp_path / "p"
    folder.mkdir()
    (folder / "thesis.tex").write_text("x")
    words = [f"ckpt={model.checkpoint()}", f"to={folder}"]
    assert "holds something else" in terminal.mistake(publish.main, *words)
    assert "holds something else" in terminal.mistake(publish.main, *words, "overwrite=true")
    (folder / "thesis.tex").unlink()
    assert terminal(publish.main, *words).code == 0
    (folder / "README.md").write_text("mine")
    assert "overwrite=true" in terminal.mistake(publish.main, *words)
    assert (folder / "README.md").read_text() == "mine"
    assert terminal(publish.main, *words, "overwrite=true").code == 0
    assert (folder / "README.md").read_text() != "mine"
    (tmp_path / "link").symlink_to(folder)
    assert "a file or a link" in terminal.mistake(publish.main, words[0], f"to={tmp_path / 'link'}", "overwrite=true")
    assert "short name" in terminal.mistake(publish.main, words[0], f"to={tmp_path / 'q'}", "license=Do what you want")
    assert "private=true would be ignored" in terminal.mistake(
        publish.main, words[0], f"to={tmp_path / 'q'}", "private=true"
    )


def of_config(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / "config.yaml").read_text()
        assert old in text
        (folder / "config.yaml").write_text(text.replace(old, new))

    return change


def of_manifest(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        manifest = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**manifest, **values}))

    return change


def without_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({name: weight for name, weight in weights.items() if "bias" not in name}, folder / "model.safetensors")


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-9])


ATTACKS: dict[str, tuple[Callable[[Path], None], str]] = {
    "target": (of_config("dlzoo.nets.mlp.MLP", "os.system"), "only classes from dlzoo.nets"),
    "partial": (of_config("hidden:", "_partial_: true\n  hidden:"), "no such option"),
    "reference": (of_config("- 8", "- ${oc.env:HOME}"), "reference"),
    "location": (of_config("hidden:", "cache_dir: /etc\n  hidden:"), "only the user decides"),
    "bomb": (of_config("- 8", "- 800000"), "does not match its net"),
    "spec": (of_manifest(spec={"type": "Popen"}), "does not know"),
    "no spec": (of_manifest(spec=None), "what data it was trained on"),
    "format": (of_manifest(format=9), "has format 9"),
    "overrides": (of_manifest(overrides="rm"), "not a list of texts"),
    "trust": (of_config("names:", "trust: evil\nnames:"), "only the command line may set trust"),
    "cut weights": (cut("model.safetensors"), "model.safetensors cannot be read"),
    "cut manifest": (cut("config.json"), "not JSON"),
    "missing": (lambda folder: (folder / "config.yaml").unlink(), "has no file config.yaml"),
    "weight": (without_weight, "does not match its net"),
    "pipe": (lambda folder: _pipe(folder / "config.yaml"), "has no file config.yaml"),
    "list": (lambda folder: (folder / "config.json").write_text("[1]"), "not a mapping"),
}


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_strangers_folder_is_checked_as_a_checkpoint_is(attack: str, model_of: ModelOf, tmp_path: Path) -> None:
    model_of("table").publish(tmp_path / "p")
    change, message = ATTACKS[attack]
    change(tmp_path / "p")
    with pytest.raises(dlzoo.UserError, match=message):
        dlzoo.load(tmp_path / "p")


@pytest.mark.parametrize("name", ["README.md", "example.py", "config.json"])
@pytest.mark.parametrize("target", ["secret.txt", "/proc/self/environ"])
def test_a_link_in_a_strangers_folder_publishes_no_other_file(
    name: str, target: str, model_of: ModelOf, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("{}")
    model_of("lenet").publish(tmp_path / "theirs")
    (tmp_path / "theirs" / name).unlink()
    (tmp_path / "theirs" / name).symlink_to(tmp_path / target)
    with pytest.raises(UserError, match=rf"theirs/{name} (links outside|is a part of the system)"):
        copy(tmp_path / "theirs", tmp_path, None)


def test_names_in_a_card_are_no_markup() -> None:
    for name in ("test/`<img src=x>`", "test/x\n\n<script>", "a|b", "x` [y](http://z) `"):
        shown = model_card.code(name)
        assert not {"<", "\n"} & {*shown}
        assert not {"`", "|", "]"} & {*re.sub(r"\\.", "", shown)}


@pytest.mark.parametrize(
    "override",
    [
        "net._target_=subprocess.Popen", "+task.metrics.m._target_=os.system", "--config-dir=/x", "-m", "trust=evil",
        "net.hidden=${oc.env:HOME}", "net.hidden=[1", "", "a@b=c", "data={path: /home/me/a.csv}",
        "data.paths=[/home/b]", "data.path=file:///home/me/x",
    ],
)  # fmt: skip
def test_the_command_of_a_card_only_sets_options(override: str) -> None:
    assert published.shared_overrides(["model=mlp", override, "seed=2"]) == ["model=mlp", "seed=2"]


def test_weights_that_share_memory_and_half_precision(model_of: ModelOf) -> None:
    content = read(model_of("lenet").checkpoint())
    weight = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3)
    content["state_dict"] = {"a": weight, "b": weight, "c": weight.T, "nan": torch.tensor(torch.nan)}
    back = load(published.files_of(content)["model.safetensors"])
    published.check_same(content, {**content, "state_dict": back})
    assert torch.equal(back["c"], weight.T)
    with pytest.raises(dlzoo.UserError, match="differ"):
        published.check_same(content, {**content, "state_dict": back | {"a": weight.float()}})
    content["state_dict"] = {"a": "text"}
    with pytest.raises(dlzoo.UserError, match="a of the checkpoint's state is no tensor"):
        published.files_of(content)


class Hub:
    """Takes what is uploaded, in place of `huggingface_hub.HfApi`."""

    def __init__(self) -> None:
        self.uploaded: dict[str, bytes] = {}

    def whoami(self) -> dict[str, str]:
        return {"name": "me"}

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> str:
        assert private
        assert exist_ok
        return f"hub/{name}"

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        assert repo_id == "me/lenet"
        self.uploaded = {path.name: path.read_bytes() for path in folder_path.iterdir()}


def test_the_hub_gets_the_same_files(
    model_of: ModelOf, tmp_path: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    there = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda **_: there)
    model = model_of("lenet")
    assert model.publish("hub:me/lenet", private=True) == "hub/me/lenet"
    assert {*there.uploaded} == {"README.md", "config.json", "config.yaml", "example.py", "model.safetensors"}
    assert b"snapshot_download('me/lenet')" in there.uploaded["README.md"]
    model.publish(tmp_path / "p")
    assert there.uploaded["model.safetensors"] == (tmp_path / "p" / "model.safetensors").read_bytes()
    (tmp_path / "p" / "README.md").write_text("my own card")
    said = terminal(publish.main, f"ckpt={tmp_path / 'p'}", "to=hub:me/lenet", "private=true")
    assert said.code == 0, said.err
    assert there.uploaded["README.md"] == b"my own card"


@pytest.mark.parametrize("name", ["lenet", "a/b/c", "../b", "a/..", "a/b c", ""])
def test_names_of_repositories(name: str) -> None:
    with pytest.raises(dlzoo.UserError, match="must be hub:<owner>/<name>"):
        hub.repository_of(f"hub:{name}")


def test_the_hub_says_why_it_cannot_be_used(
    terminal: Terminal, model_of: ModelOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the model is loaded."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    words = [f"ckpt={model_of('lenet').checkpoint()}", "to=hub:me/lenet"]
    monkeypatch.setattr(publish, "load", None)
    here = "http://127.0.0.1:9"  # where nobody listens
    real = huggingface_hub.HfApi
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda **options: real(endpoint=here, **options))
    monkeypatch.setattr("huggingface_hub.hf_api.get_token", lambda: None)
    assert "hf auth login" in terminal.mistake(publish.main, *words)
    monkeypatch.setattr("huggingface_hub.hf_api.get_token", lambda: "hf_x")
    assert f"{here} cannot be reached" in terminal.mistake(publish.main, *words)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'dlzoo[hub]'" in terminal.mistake(publish.main, *words)
