"""Checkpoints from a stranger: containers that repeat themselves, names of files, claimed sizes."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from dlzoo.checkpoint import load, run_paths, sidecar
from dlzoo.config.introspection import check_number
from dlzoo.errors import UserError
from dlzoo.layers.pretrained import read_weights
from dlzoo.specs.base import Spec
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.plain import to_plain
from dlzoo.specs.targets import Classes
from dlzoo.utils import archives, checkpoint_files, untrusted


def repeated(levels: int) -> list[Any]:
    value: list[Any] = ["a"]
    for _ in range(levels):
        value = [value, value]
    return value


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {"type": "Classes"}
    value["names"] = [value]
    return value


def deep() -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(5_000):
        value = {"a": value}
    return value


NESTS: dict[str, tuple[Callable[[], Any], str]] = {
    "repeated": (lambda: repeated(40), "expands to more than"),
    "repeated tuples": (lambda: tuple_of(40), "expands to more than"),
    "cyclic": (cyclic, "contains itself"),
    "deep": (deep, "nested more than"),
}


def tuple_of(levels: int) -> tuple[Any, ...]:
    value: tuple[Any, ...] = (1,)
    for _ in range(levels):
        value = (value, value)
    return value


@pytest.mark.parametrize("name", NESTS)
def test_containers_without_end(name: str) -> None:
    make, message = NESTS[name]
    with pytest.raises(UserError, match=message):
        untrusted.check_nested({"x": 1, "y": make()}, "a.ckpt")


def test_containers_of_a_run() -> None:
    shared = [1, 2, 3]
    untrusted.check_nested({"a": shared, "b": (shared, {"c": shared}), "d": [*range(500_000)], "e": {1, 2}}, "a.ckpt")


def test_a_checkpoint_that_repeats_its_parts_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    card = {"format": 1, "config": "a: 1", "overrides": [], "spec": {"type": "Classes", "names": repeated(40)}}
    archives.write(path, lambda file: torch.save({"state_dict": {}, "dlzoo": card}, file))
    assert path.stat().st_size < 10_000
    with pytest.raises(UserError, match="expands to more than"):
        checkpoint_files.read(path)


@pytest.mark.parametrize("name", ["", "/", "..", "../x.npz", "a" * 300 + ".npz", "a\0.npz", "x.ckpt", "\x1b.npz", 7])
def test_arrays_are_in_a_file_beside_the_checkpoint(name: Any) -> None:
    with pytest.raises(archives.Damaged, match="not the name of a file"):
        sidecar.place(Path("run/last.ckpt"), {sidecar.NAME: name})


@pytest.mark.parametrize("content", [[1], {sidecar.NAME: ""}])
def test_arrays_of_a_checkpoint_that_is_none_are_kept(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "last.ckpt")
    arrays = tmp_path / "last.replay-1.npz"
    arrays.write_bytes(b"")
    sidecar.remove_unused(tmp_path / "last.ckpt")
    assert arrays.exists()


def continued(tmp_path: Path, path: str) -> Any:
    state = {"best_model_path": path, "best_k_models": {path: 0.5}, "dirpath": "checkpoints"}
    return run_paths.loaded({"c": state}, tmp_path / "a" / "checkpoints" / "last.ckpt", tmp_path / "b")["c"]


def test_links_of_another_run_are_not_copied(tmp_path: Path) -> None:
    (tmp_path / "a" / "checkpoints").mkdir(parents=True)
    (tmp_path / "secret").write_text("key")
    for link in ("best.ckpt", "worst.replay-1.npz"):
        (tmp_path / "a" / "checkpoints" / link).symlink_to(tmp_path / "secret")
    (tmp_path / "a" / "checkpoints" / "worst.ckpt").write_text("whole")
    for name in ("best", "worst"):
        with pytest.raises(UserError, match="is a link to outside of the run's folder and is not copied"):
            continued(tmp_path, f"checkpoints/{name}.ckpt")
    assert not [path for path in (tmp_path / "b").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["a" * 5_000, "\x1b[2J.ckpt", "a\0.ckpt"])
def test_names_that_no_checkpoint_has(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no name of a file") as error:
        continued(tmp_path, f"checkpoints/{name}")
    assert "\x1b" not in str(error.value)


def test_a_name_is_no_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "**a.ckpt").write_text("whole")
    continued(tmp_path, "checkpoints/**a.ckpt")
    assert (tmp_path / "b" / "checkpoints" / "**a.ckpt").read_text() == "whole"


SIZES: dict[str, Callable[[], dict[str, torch.Tensor]]] = {
    "without a storage": lambda: {"weight": torch.empty(2_000, 2_000, device="meta")},
    "of one storage": lambda: dict.fromkeys(map(str, range(2_000)), torch.zeros(2_000)),
    "expanded": lambda: {"weight": torch.zeros(1).expand(2_000, 2_000)},
}


@pytest.mark.parametrize("name", SIZES)
def test_claimed_sizes_are_not_stored_weights(name: str) -> None:
    with torch.device("meta"):
        net: Any = nn.Linear(2_000, 2_000, bias=False)
    with pytest.raises(UserError, match="4,000,000 weights"):
        load._check_size(net, SIZES[name]())


def test_weights_that_share_their_memory_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        net: Any = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 4))
    flat = torch.zeros(sum(p.numel() for p in net.parameters()))  # as cuDNN's recurrent layers keep theirs
    load._check_size(net, {str(i): part for i, part in enumerate(flat.split([12, 3, 12, 4]))})
    net[1].weight = net[0].weight  # tied
    load._check_size(net, {"0.weight": flat[:12], "0.bias": flat[12:15], "1.weight": flat[:12], "1.bias": flat[15:19]})


@pytest.mark.parametrize("name", ["/tmp/x", "../x", "a" * 300, "\x1b[2J", ".x", "-rf", "~root", ["a"], 7])
def test_names_of_a_checkpoints_parts_are_no_paths(name: Any) -> None:
    with pytest.raises(UserError, match=r"names\.model.*no name of a config"):
        load._check_names({"model": name, "data": "digits"})
    load._check_names({"model": "mlp", "data": "digits", "experiment": None})


def test_layers_without_end_are_not_built() -> None:
    check_number("net.hidden", [8] * 1_000)
    check_number("data.columns", [8] * 5_000)
    with pytest.raises(UserError, match="5,000 layers"):
        check_number("net.hidden", [8] * 5_000)


def zeros(path: Path) -> Path:
    """A checkpoint whose weights take 40 megabytes, and compressed a few kilobytes."""
    torch.save({"state_dict": {"a": torch.zeros(10_000_000)}, "dlzoo": {}}, path)
    return path


def pack(source: Path, to: Path | io.BytesIO) -> None:
    """Write the entries of an archive into another one, compressed."""
    with zipfile.ZipFile(source) as stored, zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in stored.infolist():
            target.writestr(entry.filename, stored.read(entry))


def refused_though_sealed(path: Path, as_checkpoint: str, as_weights: str) -> None:
    """A small file, whose digest is right, is refused by everything that reads weights."""
    with path.open("r+b") as file:
        archives.append_digest(file)
    assert path.stat().st_size < 100_000
    with pytest.raises(UserError, match=as_checkpoint):
        checkpoint_files.read(path)
    with pytest.raises(UserError, match=as_weights):
        read_weights(str(path))


def test_a_sealed_checkpoint_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    packed = tmp_path / "packed.ckpt"
    pack(zeros(tmp_path / "a.pt"), packed)
    refused_though_sealed(packed, "is corrupted", "compressed")


def two_faced(path: Path, source: Path) -> None:
    """An archive in which Python finds the entries of another one, and PyTorch, at the offset that its last record
    names, the same ones, compressed: what they unpack to is limited by nothing."""
    packed = io.BytesIO()
    pack(source, packed)
    content = packed.getvalue()
    size, offset = struct.unpack("<II", content[-10:-2])
    directory = bytearray(content[offset : offset + size])
    place = 0
    while place < size:  # the same entries, as if what is there were stored
        compressed = directory[place + 20 : place + 24]
        directory[place + 10 : place + 12], directory[place + 24 : place + 28] = b"\0\0", compressed
        place += 46 + int.from_bytes(directory[place + 28 : place + 30], "little")
    path.write_bytes(content[: offset + size] + directory + content[offset + size :])


def test_an_archive_with_a_second_directory_is_refused(tmp_path: Path) -> None:
    faced = tmp_path / "faced.ckpt"
    two_faced(faced, zeros(tmp_path / "a.pt"))
    with zipfile.ZipFile(faced) as archive:
        assert not any(entry.compress_type for entry in archive.infolist()), "Python finds none compressed"
    assert torch.load(faced)["state_dict"]["a"].numel() == 10_000_000, "PyTorch unpacks it"
    refused_though_sealed(faced, "damaged or not a checkpoint", "several directories")


@pytest.mark.parametrize("saved_by", ["torch", "numpy"])
def test_archives_of_pytorch_and_numpy_have_one_directory(saved_by: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    archives.write(path, (lambda f: torch.save([1], f)) if saved_by == "torch" else (lambda f: np.savez(f, a=[1])))
    archives.check(path)


@pytest.mark.parametrize("header", ["((((", "{'a': [", "  x\n y"])
def test_arrays_beside_a_checkpoint_whose_header_is_no_python(header: str, tmp_path: Path) -> None:
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
    with zipfile.ZipFile(tmp_path / "last.replay.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(UserError, match="is damaged"):
        sidecar.read(tmp_path / "last.ckpt", {})


def content_of(net: str, spec: Spec, metrics: Any = None, **options: Any) -> dict[str, Any]:
    """A checkpoint with more weights than its net has."""
    task = {"_target_": "dlzoo.tasks.supervised.Supervised", "metrics": metrics}
    config = {"net": {"_target_": f"dlzoo.nets.{net}", **options}, "task": task}
    return {
        "dlzoo": {"config": yaml.safe_dump(config), "overrides": [], "spec": to_plain(spec)},
        "state_dict": {"w": torch.zeros(10_000)},
    }


TEN = Classes(tuple("0123456789"))
CONFUSION = {"kappa": {"_target_": "torchmetrics.classification.MulticlassCohenKappa", "num_classes": 60_000}}
PICTURE = ImageSpec(1, 8, 8, TEN)
UNSTORED = {
    "a picture for a net of tables": (
        lambda: content_of("wide_deep.WideDeep", ImageSpec(10**6, 8, 8, TEN)), "WideDeep does not take",
    ),
    "a constant": (lambda: content_of("filters.Filters", PICTURE, blur_size=10**9 + 1), "numbers besides its"),
    "a metric": (lambda: content_of("linear.Linear", PICTURE, CONFUSION), r"need 3,600,\d+,\d+ numbers besides its"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSTORED)
def test_what_no_checkpoint_stores_takes_no_memory_without_end(name: str) -> None:
    content, message = UNSTORED[name][0](), UNSTORED[name][1]
    with pytest.raises(UserError, match=message):
        load.build(content)


def test_a_net_with_a_metric_of_its_size_is_built() -> None:
    metrics = {"kappa": {**CONFUSION["kappa"], "num_classes": 10}}
    task, _ = load.build(content_of("linear.Linear", PICTURE, metrics))
    assert sum(p.numel() for p in task.parameters()) == 650
