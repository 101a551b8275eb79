"""Latents of tables without a target: rows are labelled by their names, if they have any."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from picture_runs import run

import dlzoo
from dlzoo.commands import encode
from dlzoo.errors import UserError


@pytest.mark.parametrize("names", [False, True])
def test_a_table_without_a_target(names: bool, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("n,a,b\n" + "".join(f"=r{i},{i % 7},{i % 5}\n" for i in range(40)))
    option = "data.names=n" if names else "data.drop=[n]"
    run(tmp_path, "model=kmeans", "net.num_clusters=2", "data=csv", f"data.path={table}", "data.target=null", option)
    arrays = encode.encode(tmp_path / "checkpoints" / "last.ckpt", split="train")
    first, second, *_ = csv.reader(io.StringIO(encode.as_csv(arrays).decode()))
    assert first == [*(["label"] if names else []), "error", "z0", "z1"]
    assert len(second) == len(first)
    if names:
        assert second[0].startswith("'=r")  # no formula
    kept = np.load(io.BytesIO(encode.as_npz(arrays)))
    with pytest.raises(UserError, match=r"does not reconstruct images; it has: predict, encode$"):
        dlzoo.load(tmp_path).reconstruct(np.zeros((2, 2)))
    assert not names or kept["names"][kept["labels"][0]] == second[0].removeprefix("'")
