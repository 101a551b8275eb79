"""Files of weights from a stranger: plain, dense tensors by name, or a sentence."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dlzoo.checkpoint.sidecar import remove_unused
from dlzoo.errors import UserError
from dlzoo.layers.pretrained import Weights, read_weights
from dlzoo.utils import checkpoint_files

W = torch.ones(4, 3)
CARD = {"format": 1, "config": "a: 1", "overrides": [], "spec": None}
STATES: dict[str, Callable[[], Any]] = {
    "without a storage": lambda: {"fc.weight": W.to("meta")},
    "sparse": lambda: {"fc.weight": W.to_sparse()},
    "expanded": lambda: {"fc.weight": torch.ones(1).expand(10**9, 512)},
    "named by a number": lambda: {7: W},
    "a text": lambda: {"fc.weight": "x"},
    "a checkpoint without a spec": lambda: {"state_dict": {"net.fc.weight": W}, "dlzoo": CARD},
    "a checkpoint of a target": lambda: {"state_dict": {}, "dlzoo": CARD | {"spec": {"type": "Target"}}},
    "a checkpoint of texts": lambda: {
        "state_dict": {"net.fc.weight": "x"},
        "dlzoo": CARD | {"spec": {"type": "TableSpec", "columns": [], "target": {"type": "Classes", "names": ["a"]}}},
    },
}


@pytest.mark.parametrize("name", STATES)
def test_weights_that_are_no_plain_tensors(name: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(STATES[name](), path)
    with pytest.raises(UserError, match=f"net.weights={path}"):
        read_weights(str(path))


def test_plain_tensors_are_read(tmp_path: Path) -> None:
    torch.save({"fc.weight": W, "fc.bias": W[:, 0], "num": torch.tensor(3)}, tmp_path / "w.pth")
    assert read_weights(str(tmp_path / "w.pth")).num_outputs("fc") == 4
    assert Weights({"fc.weight": torch.tensor(1.0)}, "w").num_outputs("fc") == 0


def test_a_pickle_that_claims_more_memory_than_there_is(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02cbuiltins\nbytearray\n\x8a\x07\0\0\0\0\0\0\x40\x85R.")
        archive.writestr("a/version", "3\n")
        archive.writestr("a/byteorder", "little")
    with pytest.raises(UserError, match="contains more than plain data"):
        checkpoint_files.read(path)
    with pytest.raises(UserError, match="or it is damaged"):
        read_weights(str(path))
    arrays = tmp_path / "last.replay-1.npz"
    arrays.write_bytes(b"")
    remove_unused(path)
    assert arrays.exists(), "they may be of the checkpoint that was here before"
