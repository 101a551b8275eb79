"""Checkpoints: atomic, plain data only, no untrusted classes, equal results after reload."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_runs import changed, run, with_target

from dlzoo.checkpoint import format as checkpoint_format
from dlzoo.checkpoint.io import CheckpointIO
from dlzoo.checkpoint.load import load_task
from dlzoo.config.compose import compose
from dlzoo.config.instantiate import build_data
from dlzoo.config.run_config import RunConfig
from dlzoo.errors import UserError
from dlzoo.specs.inputs import Column, ImageSpec, TableSpec
from dlzoo.specs.plain import from_plain, to_plain
from dlzoo.specs.targets import Classes, Values
from dlzoo.training import results
from dlzoo.utils.checkpoint_files import read


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run on a table, standardised."""
    path = tmp_path_factory.mktemp("run")
    run(path, "data=wine", "seed=2", "task.label_smoothing=0.0")
    return path


@pytest.fixture(scope="module")
def ckpt(folder: Path) -> Path:
    return folder / "checkpoints" / "best.ckpt"


def card(**changes: Any) -> dict[str, Any]:
    plain = RunConfig.from_hydra(compose(["data=wine"])).to_plain()
    return {**checkpoint_format.make_manifest(plain, ["data=wine"], ROOMS), **changes}


ROOMS = TableSpec((Column("size", "m2"), Column("town", categories=("x", "y"), fill="x")), Values(("price",), ("$",)))


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.ckpt"
    weights = {"w": torch.randn(3), "b": torch.arange(2)}
    CheckpointIO(card()).save_checkpoint({"state_dict": weights, "epoch": 7}, path)
    content = CheckpointIO({}).load_checkpoint(path)
    assert content["epoch"] == 7
    assert content["dlzoo"] == card()
    assert all(torch.equal(content["state_dict"][name], weight) for name, weight in weights.items())
    assert from_plain(content["dlzoo"]["spec"]) == ROOMS
    assert [file.name for file in path.parent.iterdir()] == ["a.ckpt"]


@pytest.mark.parametrize(
    "spec", [ROOMS, ImageSpec(3, 4, 5, Classes(("a", "b"), (1, 2)), (0.1, 0.2, 0.3), (1.0, 1.0, 1.0))]
)
def test_a_spec_survives_as_plain_data(spec: Any) -> None:
    assert from_plain(to_plain(spec)) == spec


@pytest.mark.parametrize("where", ["in the middle of writing", "before the file has its name"])
@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file(
    where: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    CheckpointIO(card()).save_checkpoint({"state_dict": {"w": torch.ones(2)}}, path)
    old = path.read_bytes()

    def fail(*given: Any) -> None:
        if where == "in the middle of writing":
            given[1].write(b"half")
        raise error

    name = "torch.save" if where == "in the middle of writing" else "os.replace"
    monkeypatch.setattr(name, fail)
    with pytest.raises(UserError if isinstance(error, OSError) else KeyboardInterrupt):
        CheckpointIO(card()).save_checkpoint({"state_dict": {"w": torch.zeros(2)}}, path)
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_other_errors_are_not_reported_as_disk_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("torch.save", fail)
    with pytest.raises(RuntimeError, match=r"^a fault of ours$"):
        CheckpointIO(card()).save_checkpoint({"state_dict": {}}, tmp_path / "deeper" / "still" / "a.ckpt")
    assert [*(tmp_path / "deeper" / "still").iterdir()] == []


def test_a_run_keeps_its_files_and_removes_those_of_other_runs(tmp_path: Path) -> None:
    path, before = tmp_path / "last.ckpt", tmp_path / "last.previous.ckpt"

    def save(io: CheckpointIO, step: int) -> list[int | None]:
        io.save_checkpoint({"state_dict": {}, "step": step}, path)
        return [read(file)["step"] if file.is_file() else None for file in (path, before)]

    first, second = CheckpointIO(card()), CheckpointIO(card())
    assert [save(first, 1), save(first, 2), save(first, 3)] == [[1, None], [2, 1], [3, 2]]
    assert save(second, 4) == [4, None]
    assert save(second, 5) == [5, 4]
    third = CheckpointIO(card())
    assert third.load_checkpoint(path)["step"] == 5  # it goes on from there
    assert save(third, 6) == [6, 5]


def test_results_are_equal_after_reload(folder: Path, ckpt: Path) -> None:
    task, cfg = load_task(ckpt)
    x, y, _ = build_data(cfg.data).arrays("test")
    with torch.no_grad():
        output = task(x)
    assert not task.training
    accuracy = (output.argmax(1) == y).float().mean().item()
    metrics = results.read(folder)["metrics"]
    assert accuracy == pytest.approx(metrics["test/accuracy"], abs=1e-6)
    assert torch.nn.functional.cross_entropy(output, y).item() == pytest.approx(metrics["test/loss"], abs=1e-6)
    assert torch.equal(load_task(ckpt)[0](x), output)


def test_the_manifest_holds_fitted_statistics(ckpt: Path) -> None:
    task, cfg = load_task(ckpt)
    data = build_data(cfg.data)
    data.setup("fit")
    assert task.spec == data.spec
    assert len(task.spec.mean) == 13
    assert read(ckpt)["dlzoo"]["overrides"] == ["data=wine", "seed=2", "task.label_smoothing=0.0"]
    assert cfg.seed == 2


class Harmful:
    """Code that runs when it is unpickled."""

    def __init__(self, touch: Path) -> None:
        self.touch = touch

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.touch),)


def spoil(name: str, path: Path, good: Path) -> None:
    content = good.read_bytes()
    harmful = Harmful(path.with_name("harm"))
    if name.startswith("cut at "):
        path.write_bytes(content[: int(len(content) * float(name.removeprefix("cut at ")))])
    elif name == "bytes changed":
        middle = content.index(b"PK", 4) - 2000
        path.write_bytes(content[:middle] + bytes(1500) + content[middle + 1500 :])
    elif name == "harmful":
        torch.save({**torch.load(good, weights_only=True), "more": harmful}, path)
    elif name == "harmful pickle":
        path.write_bytes(pickle.dumps(harmful, protocol=2))
    elif name == "a zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("x.txt", "text")
    elif name == "another format":
        changed(good, path, lambda content: content["dlzoo"].update(format=99))
    else:
        foreign = {"text": b"no checkpoint", "empty": b""}
        if name in foreign:
            path.write_bytes(foreign[name])
        else:
            torch.save({"weights": {"w": torch.ones(2)}, "tensor": torch.ones(2)}[name], path)


SPOILT = {
    "cut at 0.2": "damaged", "cut at 0.7": "damaged", "cut at 0.99": "damaged", "text": "damaged", "empty": "damaged",
    "bytes changed": "", "harmful": "contains more than plain data", "harmful pickle": "damaged or not a checkpoint",
    "a zip": "damaged", "weights": "was not written by dlzoo", "tensor": "was not written by dlzoo",
    "another format": "has format 99, but this version of dlzoo reads format 1",
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_files_that_are_not_checkpoints_are_rejected(name: str, ckpt: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    spoil(name, path, ckpt)
    with pytest.raises(UserError) as caught:
        load_task(path)
    assert SPOILT[name] in str(caught.value)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "harm").exists()


ODD: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no manifest": (lambda content: content.pop("dlzoo"), "was not written by dlzoo"),
    "a manifest that is text": (lambda content: content.update(dlzoo="x"), "was not written by dlzoo"),
    "no weights": (lambda content: content.pop("state_dict"), "was not written by dlzoo"),
    "a config that is no text": (
        lambda content: content["dlzoo"].update(config={}),
        "is damaged: its config is not text",
    ),
    "no overrides": (lambda content: content["dlzoo"].pop("overrides"), "its overrides are not a list of texts"),
    "an override that is a number": (
        lambda content: content["dlzoo"]["overrides"].append(1),
        "its overrides are not a list",
    ),
    "no format": (
        lambda content: content["dlzoo"].pop("format"),
        "has format None, but this version of dlzoo reads format 1",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_incomplete_checkpoints_are_rejected(name: str, ckpt: Path, tmp_path: Path) -> None:
    change, message = ODD[name]
    with pytest.raises(UserError, match=message):
        read(changed(ckpt, tmp_path / "x.ckpt", change))


def edited(card: dict[str, Any], old: str, new: str) -> None:
    card["config"] = card["config"].replace(old, new)


CARDS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no spec": (lambda card: card.pop("spec"), "does not say what data it was trained on"),
    "no YAML": (lambda card: card.update(config="a: ["), "its config is damaged or not YAML"),
    "a list": (lambda card: card.update(config="[1, 2]"), "config is damaged: it is not a mapping"),
    "an option that is gone": (lambda card: edited(card, "hidden:", "hiden:"), "net.hiden: dlzoo.nets.mlp.MLP has no"),
    "a module that is gone": (lambda card: edited(card, "nets.mlp", "nets.mlp2"), "no module dlzoo.nets.mlp2"),
}


@pytest.mark.parametrize("name", CARDS)
def test_a_card_that_cannot_be_used(name: str, ckpt: Path, tmp_path: Path) -> None:
    change, message = CARDS[name]
    refused(changed(ckpt, tmp_path / "x.ckpt", lambda content: change(content["dlzoo"])), message)


@pytest.mark.parametrize("node", ["net", "task", "data"])
@pytest.mark.parametrize("value", [None, 7, ["dlzoo.nets.mlp.MLP"]])
def test_a_config_without_a_part(node: str, value: Any, ckpt: Path, tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        config = yaml.safe_load(content["dlzoo"]["config"])
        config[node] = value
        content["dlzoo"]["config"] = yaml.safe_dump(config)

    refused(changed(ckpt, tmp_path / "x.ckpt", change), f"its config has no {node}")


def test_a_checkpoint_trusts_no_packages(ckpt: Path, tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["dlzoo"]["config"] += "\ntrust: mypkg\n"

    refused(changed(ckpt, tmp_path / "x.ckpt", change), "names packages to trust")


@pytest.mark.parametrize("name", ["nothing.ckpt", "."])
def test_missing_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / name)


STRANGERS = {
    "net": "os.mkdir",
    "task": "dlzoo.nets.mlp.MLP",
    "data": "torch.utils.data.DataLoader",
    "net.hidden": "os.mkdir",
    "net.deeper.still": "os.mkdir",
    "task.loss": "builtins.exec",
    "data.augment": "pathlib.Path",
}


@pytest.mark.parametrize(("place", "target"), STRANGERS.items())
def test_untrusted_targets_are_not_built(place: str, target: str, ckpt: Path, tmp_path: Path) -> None:
    change = with_target(place, target, _args_=[str(tmp_path / "harm")])
    refused(changed(ckpt, tmp_path / "x.ckpt", change), f"wants to build {place}._target_={target}; only classes from")


@pytest.mark.parametrize(
    "target",
    [
        "dlzoo.nets.filters.pick",  # a function
        "dlzoo.nets.mlp.nn.Linear",
        "dlzoo.nets.mlp.MLP.__init__",
        "dlzoo.nets.",
        "dlzoo.netsuke.Net",
        ["dlzoo.nets.mlp.MLP"],
    ],
)
def test_only_dlzoo_classes_are_allowed(target: Any, ckpt: Path, tmp_path: Path) -> None:
    refused(changed(ckpt, tmp_path / "x.ckpt", with_target("net", target)), "net._target_")


def test_classes_only_imported_by_dlzoo_are_rejected(ckpt: Path, tmp_path: Path) -> None:
    path = changed(ckpt, tmp_path / "x.ckpt", with_target("data", "dlzoo.data.loaders.DataLoader"))
    refused(path, "data._target_=dlzoo.data.loaders.DataLoader")


HIDDEN: dict[str, Callable[[str], str]] = {
    "a node behind a reference": lambda text: text.replace("hidden:\n  - 8", "hidden: ${evil}"),
    "a target behind a reference": lambda text: text.replace("dlzoo.nets.mlp.MLP", "${evil._target_}"),
    "a reference in a list": lambda text: text.replace("  - 8", "  - ${evil}"),
}


@pytest.mark.parametrize("way", HIDDEN)
def test_untrusted_targets_behind_references_are_rejected(way: str, ckpt: Path, tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        text = content["dlzoo"]["config"]
        assert HIDDEN[way](text) != text
        content["dlzoo"]["config"] = HIDDEN[way](text) + f"evil: {{_target_: os.mkdir, _args_: ['{tmp_path}/harm']}}\n"

    refused(changed(ckpt, tmp_path / "x.ckpt", change), "net")


def refused(path: Path, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_task(path)
    assert message in str(caught.value)
    assert not path.with_name("harm").exists()


def test_weights_of_a_different_net(ckpt: Path, tmp_path: Path) -> None:
    path = changed(ckpt, tmp_path / "x.ckpt", lambda content: content["state_dict"].popitem())
    with pytest.raises(UserError, match="does not match its net"):
        load_task(path)


def test_a_spec_of_a_different_version(ckpt: Path, tmp_path: Path) -> None:
    path = changed(ckpt, tmp_path / "x.ckpt", lambda content: content["dlzoo"]["spec"].update(type="SoundSpec"))
    with pytest.raises(UserError, match="SoundSpec"):
        load_task(path)
