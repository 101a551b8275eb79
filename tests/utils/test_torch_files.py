"""Pickles of a stranger that keep `torch.load` busy, exhaust memory, or fail with errors of any type."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dlzoo.errors import UserError
from dlzoo.layers import pretrained
from dlzoo.utils import archives, checkpoint_files, torch_files


def text(value: str) -> bytes:
    content = value.encode()
    return b"X" + len(content).to_bytes(4, "little") + content


MANY = 1_000_000_000
NUMBER = b"J" + (MANY).to_bytes(4, "little")
SHARED = b"\x80\x02(K\x01t" + b"q\0h\0\x86" * 40
"""A tuple of two equal tuples, forty times."""
BUSY = {
    "a key": b"\x80\x02}(" + SHARED + b"K\1u.",
    "one key": b"\x80\x02}" + SHARED + b"K\1s.",
    "a set": b"\x80\x02cbuiltins\nset\n](" + SHARED + b"e\x85R.",
    "a storage": b"\x80\x02(" + text("storage") + b"ctorch\nFloatStorage\n" + SHARED + text("cpu") + b"K\1tQ.",
    "keys that share a tuple": b"\x80\x02(" + b"K\1" * 50_000 + b"tq\1}" + b"h\1K\1\x86K\1s" * 50_000 + b".",
    "sets of one list": b"\x80\x02](" + b"K\1" * 50_000 + b"eq\1](" + b"cbuiltins\nset\nh\1\x85R" * 50_000 + b"e.",
    "counters of one text": b"\x80\x02](" + b"ccollections\nCounter\n" + text("a") + b"\x85Re.",
    "tuples without end": b"\x80\x02}" + b"(K\1t" + b"\x85" * 100_000 + b"K\1s.",
    "tuples in lists": b"\x80\x02](" * 100 + b"t" * 100 + b".",
    "bytes": b"\x80\x02cbuiltins\nbytearray\n" + NUMBER + b"\x85R.",
    "a tensor": b"\x80\x02ctorch\nFloatTensor\n" + NUMBER + b"\x85R.",
    "bytes through a tensor": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(cbuiltins\nbytearray\n"
    + NUMBER
    + b"tR.",
    "an encoding": b"\x80\x02c_codecs\nencode\n" + text("ä" * 50) + text("punycode") + b"\x86R.",
    "an object": b"\x80\x02ctorch\nFloatTensor\n" + NUMBER + b"\x85\x81.",
    "methods": b"\x80\x02ccollections\nOrderedDict\n)R}" + text("items") + b"K\1sb.",
    "methods beside": b"\x80\x02ccollections\nOrderedDict\n)R}" + text("_metadata") + b"}s" + text("items") + b"K\1sb.",
    "a function": b"\x80\x02cos\nsystem\n" + text("true") + b"\x85R.",
    "a class by its place": b"\x80\x02ctorch\nhub\n.",
}
DAMAGED = {
    "empty": b"", "no end": b"\x80\x02}", "no value": b"\x80\x02.", "no part": b"\x80\x02\x85.",
    "no mark": b"\x80\x02t.",
    "half a number": b"\x80\x02J\1.", "half a text": b"\x80\x02X\x05", "no memo": b"\x80\x02h\x05.",
    "open": b"\x80\x02(((",
    "half a key": b"\x80\x02}K\1s.", "no storage": b"\x80\x02(" + text("storage") + text("a") * 3 + b"K\1tQ.",
    "three of storage": b"\x80\x02(" + text("storage") + b"K\1tQ.", "no argument": b"\x80\x02ctorch\ndevice\n)R.",
    "no such file": b"\x80\x02(" + text("storage") + b"ctorch\nFloatStorage\n" + text("7") + text("cpu") + b"K\1tQ.",
    "a dict of a number": b"\x80\x02}K\1\x85K\1s}}s.",
}  # fmt: skip


def write(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in {
            "data.pkl": content,
            "version": b"3\n",
            "byteorder": b"little",
            "data/0": b"\0" * 16,
        }.items():
            archive.writestr(f"archive/{name}", part)
    return path


@pytest.mark.parametrize("name", BUSY)
def test_a_pickle_that_would_keep_the_reader_busy_is_not_read(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.ckpt", BUSY[name])
    with pytest.raises(UserError, match="contains more than plain data and is not loaded"):
        checkpoint_files.read(path)
    with pytest.raises(UserError, match="a state dict of plain tensors"):
        pretrained.read_weights(str(path))


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_pickle_is_a_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"damaged|was not written by dlzoo"):
        checkpoint_files.read(write(tmp_path / "a.ckpt", DAMAGED[name]))


def plain() -> dict[str, Any]:
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    net[0].bias = net[0].bias.requires_grad_(False)
    shared = [1, 2.5, "a", None, True]
    return {
        "state_dict": net.state_dict(), "parameter": nn.Parameter(torch.ones(2)), "size": torch.Size([1, 2]),
        "set": {1, (2, "b")}, "counter": Counter("abba"), "ordered": OrderedDict(_metadata=1, b=2),
        "device": torch.device("cpu"), "sparse": torch.eye(2).to_sparse(),
        "dtype": torch.bfloat16, "half": torch.ones(2, dtype=torch.bfloat16), "large": 2**70,
        "shared": [shared, shared],
        "long": [*range(300_000)], "empty": [(), [], {}, set(), ""], "metadata": {"_metadata": 1},
    }  # fmt: skip


@pytest.mark.parametrize("archive", [True, False])
def test_plain_data_are_read(archive: bool, tmp_path: Path) -> None:
    content, path = plain(), tmp_path / "a.pt"
    torch.save(content, path, _use_new_zipfile_serialization=archive)
    read: Any = torch_files.load(path)
    assert read.keys() == content.keys()
    for name in (
        "size",
        "set",
        "counter",
        "ordered",
        "device",
        "dtype",
        "large",
        "shared",
        "long",
        "empty",
        "metadata",
    ):
        assert read[name] == content[name]
    assert read["state_dict"]._metadata == content["state_dict"]._metadata


def test_the_old_format_is_scanned_too(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    end = content.index(pickle.dumps({}, 2))
    path.write_bytes(content[:end] + BUSY["a key"] + content[end + len(pickle.dumps({}, 2)) :])
    with pytest.raises(pickle.UnpicklingError, match="expands to more than"):
        torch_files.load(path)


def test_a_file_that_only_ends_like_an_archive_is_no_checkpoint(tmp_path: Path) -> None:
    """PyTorch would read its start, whose storages may claim any size, in the old format."""
    old = io.BytesIO()
    torch.save({"state_dict": {}, "dlzoo": {}}, old, _use_new_zipfile_serialization=False)
    path = tmp_path / "a.ckpt"
    archives.write(path, lambda file: torch.save({}, file))
    path.write_bytes(old.getvalue() + path.read_bytes())
    with pytest.raises(archives.Damaged, match="not a checkpoint"):
        checkpoint_files.read(path)
