"""A checkpoint from a stranger: its overrides, config and paths are data, and build nothing that is not listed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from small_runs import Outcome, Terminal, changed, run, with_target
from trust_runs import experiment, refused

from dlzoo.checkpoint.load import load_task
from dlzoo.commands import encode, evaluate, predict
from dlzoo.commands import export as export_command
from dlzoo.commands import inspect_model as inspection
from dlzoo.config import groups, hydra_settings, stored_overrides
from dlzoo.config.allowlist import Trust
from dlzoo.errors import UserError
from dlzoo.training import launch
from dlzoo.training.resume import resolve_resume


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run(folder, "data=digits", "trainer.max_epochs=1")
    return folder / "checkpoints" / "best.ckpt"


WORDS = {
    "a callback": ["++callbacks.mine._target_=os.system", "++callbacks.mine.command='touch {}'"],
    "a callback as a dict": ["+callbacks.mine={{_target_: os.system, command: 'touch {}'}}"],
    "a net": ["net._target_=os.system"],
    "Hydra's callback": ["+hydra.callbacks.mine._target_=os.system", "+hydra.callbacks.mine.command='touch {}'"],
    "a place of Hydra's": ["+callbacks@hydra.callbacks=default"],
    "a flag": ["--config-dir=/tmp"],
    "a target out of text": ["net.dropout=${{oc.create:${{oc.decode:'{{_targ${{oc.decode:et}}_: os.system}}'}}}}"],
    "a reference": ["net.dropout=${{seed}}"],
    "a nested target": ["++net.dropout={{x: [{{_target_: os.system, command: 'touch {}'}}]}}"],
    "a list of arguments": ["++net._args_=[1]"],
    "a target of PyTorch's": ["++net.dropout._target_=torch.distributed.elastic.multiprocessing.SubprocessHandler"],
    "whom to trust": ["trust=os"],
    "a search": ["sweep.storage='sqlite:///{}'"],
    "a sweep": ["seed=1,2"],
    "a group's place": ["optimizer@hydra.callbacks=adam"],
    "a group of Hydra's": ["hydra/launcher=basic"],
    "no override": ["net"],
    "an address": ["++data.path='http://127.0.0.1:9/x.csv'"],
    "a path out of the run": ["++callbacks.checkpoint.filename='../../x'"],
    "an unknown key": ["nett.hidden=[8]"],
}


@pytest.mark.parametrize("name", WORDS)
def test_words_that_a_checkpoint_brings(
    name: str, ckpt: Path, canary: Path, tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    def change(content: dict[str, Any]) -> None:
        content["dlzoo"]["overrides"] = ["data=digits", *(word.format(canary) for word in WORDS[name])]

    spoilt = changed(ckpt, tmp_path / "spoilt.ckpt", change)
    refused(train(f"ckpt={spoilt}", "trainer.max_epochs=2"), canary, "stores the override")


@pytest.mark.parametrize(
    ("command", "node"),
    [*((predict, node) for node in ("net", "task", "data", "net.inner")), (evaluate, "net"), (encode, "net")],
)
def test_targets_of_a_checkpoint(
    command: Any, node: str, ckpt: Path, canary: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    change = with_target(node, "os.system", command=f"touch {canary}")
    spoilt = changed(ckpt, tmp_path / "spoilt.ckpt", change)
    picture = tmp_path / "a.png"
    picture.write_bytes(b"")
    words = [f"ckpt={spoilt}", *([f"input={picture}"] if command is predict else [])]
    said = Terminal(monkeypatch, capsys).mistake(command.main, *words)
    assert f"the checkpoint wants to build {node}._target_=os.system" in said
    assert not canary.exists()


class Pickled:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        import os

        return os.system, (self.command,)


@pytest.mark.parametrize("as_zip", [True, False])
def test_a_pickle_that_calls(as_zip: bool, ckpt: Path, canary: Path, tmp_path: Path, train: Any) -> None:
    content = torch.load(ckpt, weights_only=True) | {"extra": Pickled(f"touch {canary}")}
    torch.save(content, tmp_path / "spoilt.ckpt", _use_new_zipfile_serialization=as_zip)
    refused(train(f"ckpt={tmp_path / 'spoilt.ckpt'}"), canary, "spoilt.ckpt")
    torch.load(tmp_path / "spoilt.ckpt", weights_only=False)
    assert canary.exists()  # so it would have called


@pytest.mark.parametrize(
    ("key", "value"),
    [("config", 7), ("config", None), ("overrides", None), ("overrides", [1]), ("overrides", "data=digits")],
)
def test_a_card_that_is_none(key: str, value: Any, ckpt: Path, tmp_path: Path) -> None:
    from dlzoo.utils.checkpoint_files import read

    spoilt = changed(ckpt, tmp_path / "spoilt.ckpt", lambda content: content["dlzoo"].update({key: value}))
    with pytest.raises(UserError, match="is damaged: its config is not text, or its overrides are not a list of texts"):
        read(spoilt)


def test_every_run_is_checked(monkeypatch: pytest.MonkeyPatch, train: Callable[..., Outcome]) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(hydra_settings, "check", asked.append)
    monkeypatch.setattr(launch, "run", lambda *_: {})
    train("data=digits")
    assert len(asked) == 1
    assert "callbacks" in asked[0]


NEVER_FOLLOWED = ["data_dir=/tmp/x", "++callbacks.checkpoint.dirpath=/tmp/x", "++data.mirrors=['http://127.0.0.1:9']"]


@pytest.mark.parametrize("word", NEVER_FOLLOWED)
def test_where_a_checkpoints_run_wrote_is_not_followed(word: str, ckpt: Path, tmp_path: Path, capsys: Any) -> None:
    def change(content: dict[str, Any]) -> None:
        content["dlzoo"]["overrides"] = ["data=digits", "net.hidden=[8]", word]

    spoilt = changed(ckpt, tmp_path / "spoilt.ckpt", change)
    key = word.lstrip("+").partition("=")[0]
    words = resolve_resume([f"ckpt={spoilt}"]).argv
    assert not any(key in each for each in words)
    assert f"warning: {word}"[:30] in capsys.readouterr().err
    again = resolve_resume([f"ckpt={spoilt}", word]).argv
    assert word in again


ARGUMENTS = {
    "net.hidden": "a",
    "net.hidden ": [8, "a"],
    "net.dropout": {"a": 1},
    "net.nope": 1,
    "net.spec": {"type": "Tokenizer"},
    "task.label_smoothing": "x",
    "data.batch_size": [1],
    "data.seed": True,
}


@pytest.mark.parametrize("place", ARGUMENTS)
def test_arguments_of_a_checkpoints_parts_are_held_against_their_signatures(
    place: str, ckpt: Path, tmp_path: Path
) -> None:
    from omegaconf import OmegaConf

    def change(content: dict[str, Any]) -> None:
        cfg = OmegaConf.create(content["dlzoo"]["config"])
        OmegaConf.update(cfg, place.strip(), ARGUMENTS[place], merge=False, force_add=True)
        content["dlzoo"]["config"] = OmegaConf.to_yaml(cfg)

    with pytest.raises(UserError, match=f"^{place.strip()}[:=]"):
        load_task(changed(ckpt, tmp_path / "spoilt.ckpt", change))


def test_files_that_a_run_reads_are_followed(ckpt: Path, tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["dlzoo"]["overrides"] = ["data=csv", "data.path=/tmp/rows.csv", "net.weights=/tmp/w.pt"]

    spoilt = changed(ckpt, tmp_path / "spoilt.ckpt", change)
    assert {"++data.path=/tmp/rows.csv", "++net.weights=/tmp/w.pt"} <= {*resolve_resume([f"ckpt={spoilt}"]).argv}


@pytest.fixture(scope="module")
def own_ckpt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of a net of the user's own."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_parts.py").write_text("from dlzoo.nets.mlp import MLP\nclass Net(MLP): pass\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        run(folder / "run", "data=digits", "trainer.max_epochs=1", "net.hidden=[8]", "net._target_=own_parts.Net")
        yield folder / "run" / "checkpoints" / "best.ckpt"


@pytest.mark.parametrize("name", ["predict", "evaluate", "export", "inspect"])
def test_a_net_of_the_users_own_in_every_command(
    name: str, own_ckpt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    command, *words = {
        "predict": (predict, f"input={tmp_path / 'a.png'}"),
        "evaluate": (evaluate,),
        "export": (export_command, f"output={tmp_path / 'net.safetensors'}", "format=safetensors"),
        "inspect": (inspection, f"input={tmp_path / 'a.png'}", f"output={tmp_path / 'looks'}"),
    }[name]
    terminal = Terminal(monkeypatch, capsys)
    said = terminal.mistake(command.main, f"ckpt={own_ckpt}", *words)
    assert "wants to build net._target_=own_parts.Net" in said
    assert "add trust=own_parts" in said
    assert terminal(command.main, f"ckpt={own_ckpt}", "trust=own_parts", *words).code == 0


def test_a_run_of_the_users_own_net_is_continued(own_ckpt: Path, canary: Path, train: Callable[..., Outcome]) -> None:
    words = [f"ckpt={own_ckpt}", "trainer.max_epochs=2", f"hydra.run.dir={canary.parent / 'run'}"]
    refused(train(*words), canary, "add trust=own_parts")
    assert train(*words, "trust=own_parts").code == 0
    assert train(*words, "net._target_=own_parts.Net").code == 0
    card = torch.load(canary.parent / "run" / "checkpoints" / "last.ckpt", weights_only=True)["dlzoo"]
    assert "trust" not in card["config"]
    assert not any("trust" in word for word in card["overrides"])


def test_every_command_that_loads_a_checkpoint_takes_trust() -> None:
    loading = [*Path(encode.__file__).parent.glob("*.py")]
    loading = [file for file in loading if "loading.load(" in file.read_text()]
    assert len(loading) >= 7
    assert [file.name for file in loading if "trust" not in file.read_text()] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("trust: os\n", "names packages to trust"),
        ("evil: ${oc.env:HOME}\n", "contains the reference evil=${oc.env:HOME}"),
        ("names: {x: ['${seed}']}\n", "contains the reference"),
    ],
)
def test_the_config_of_a_checkpoint_is_data(change: str, said: str, ckpt: Path, tmp_path: Path) -> None:
    def spoil(content: dict[str, Any]) -> None:
        lines = [line for line in content["dlzoo"]["config"].splitlines(True) if not line.startswith(("trust:",))]
        kept = "".join(lines)
        content["dlzoo"]["config"] = kept.partition("names:")[0] + change if "names" in change else kept + change

    with pytest.raises(UserError) as caught:
        load_task(changed(ckpt, tmp_path / "spoilt.ckpt", spoil))
    assert said in str(caught.value)


def test_no_folder_of_a_checkpoint_is_written_to(ckpt: Path, tmp_path: Path) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["dlzoo"]["config"] = content["dlzoo"]["config"].replace(
            "data:\n", f"data:\n  data_dir: {tmp_path}/x\n  mirrors: ['http://127.0.0.1:9']\n", 1
        )

    cfg = load_task(changed(ckpt, tmp_path / "spoilt.ckpt", spoil))[1]
    assert not {"data_dir", "mirrors"} & {*cfg.data}


def test_no_run_waits_for_machines_that_a_file_or_a_checkpoint_names(
    ckpt: Path, canary: Path, tmp_path: Path, train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "the run would wait for other machines"
    refused(train(*experiment(tmp_path, "trainer: {accelerator: cpu, num_nodes: 2}")), canary, said)
    for word in ("trainer.num_nodes=2", "++trainer={num_nodes: 2}"):
        with pytest.raises(UserError, match=said):
            stored_overrides.check([word], "ckpt=x", Trust(), groups.known_keys())
    assert stored_overrides.check(["trainer.num_nodes=1"], "ckpt=x", Trust(), groups.known_keys())
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")  # torchrun has started them
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert stored_overrides.check(["trainer.num_nodes=2"], "ckpt=x", Trust(), groups.known_keys())
