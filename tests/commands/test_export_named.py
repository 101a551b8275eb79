"""Exported models of several named inputs, targets or outputs: each keeps its name in the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from small_runs import Terminal, pair_words, run, table_words

from dlzoo.checkpoint import load as checkpoint
from dlzoo.commands import export as command
from dlzoo.commands import predict
from dlzoo.export import formats, quantize
from dlzoo.inference import loading
from dlzoo.specs.batch import tensors
from dlzoo.training import results
from dlzoo.utils import checkpoint_files

Exported = Callable[[Terminal, Path, str], tuple[Path, str]]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a siamese net with a named target that is called as an input."""
    folder = tmp_path_factory.mktemp("pairs")
    words = [*pair_words(folder), "data.target={distance: gap, other: side}", "data.standardize=true"]
    return Path(run(folder, *words)["checkpoints"]["best"])


@pytest.fixture(scope="module")
def two_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("houses")
    return Path(run(folder, "model=wide_deep", *table_words(folder))["checkpoints"]["best"])


def expected(ckpt: Path, given: Any) -> dict[str, torch.Tensor]:
    task, _ = checkpoint.load_task(ckpt)
    with torch.inference_mode():
        return task.predict(given)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The file of a checkpoint in a format, exported once, and what the command printed."""
    made: dict[tuple[Path, str], tuple[Path, str]] = {}

    def of(terminal: Terminal, ckpt: Path, format: str) -> tuple[Path, str]:
        if (ckpt, format) not in made:
            path = tmp_path_factory.mktemp("exported") / f"m{command.SUFFIXES[format]}"
            code, out, err = terminal(command.main, f"ckpt={ckpt}", f"format={format}", f"output={path}")
            assert (code, err) == (0, ""), err
            made[ckpt, format] = path, out
        return made[ckpt, format]

    return of


def outputs_of(path: Path, format: str, given: dict[str, torch.Tensor], ckpt: Path) -> dict[str, np.ndarray]:
    """Of the file alone, by the format's own library; by name where it knows names."""
    if format == "onnx":
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [port.name for port in session.get_outputs()]
        return dict(zip(names, session.run(None, {name: x.numpy() for name, x in given.items()}), strict=True))
    if format == "torch_export":
        extra = {"metadata.json": ""}
        found = torch.export.load(path, extra_files=extra).module()(*given.values())
        metadata = json.loads(extra["metadata.json"])
        assert [port["name"] for port in metadata["inputs"]] == list(given)
        return {port["name"]: x.detach().numpy() for port, x in zip(metadata["outputs"], found, strict=True)}
    task, _ = checkpoint.build(checkpoint_files.read(ckpt))
    if format == "state_dict":
        weights = torch.load(path, weights_only=True)
    else:
        from safetensors.torch import load_file

        weights = load_file(path)
    task.net.load_state_dict(weights)
    with torch.inference_mode():
        found = task.eval().predict(given.get("x", given))
    return {name: x.numpy() for name, x in found.items()}


@pytest.mark.parametrize("format", command.SUFFIXES)
def test_named_inputs_and_targets_keep_their_names(
    format: str, pairs: Path, terminal: Terminal, exported: Exported
) -> None:
    path, out = exported(terminal, pairs, format)
    assert "verified on 24 real inputs" in out
    assert [line.split()[1] for line in out.splitlines() if line.startswith(("input", "output"))] == [
        "one", "other", "distance", "other_output",
    ]  # fmt: skip
    given = {"one": torch.randn(7, 2), "other": torch.randn(7, 2)}
    wanted, found = expected(pairs, given), outputs_of(path, format, given, pairs)
    for name, port in {"distance": "distance", "other": "other_output"}.items():
        np.testing.assert_allclose(found.get(port, found.get(name)), wanted[name], atol=1e-5)


@pytest.mark.parametrize("format", command.SUFFIXES)
def test_both_outputs_for_one_target_are_exported(
    format: str, two_heads: Path, terminal: Terminal, exported: Exported
) -> None:
    path, _ = exported(terminal, two_heads, format)
    given = {"x": torch.rand(5, 3)}
    wanted, found = expected(two_heads, given["x"]), outputs_of(path, format, given, two_heads)
    assert found.keys() == wanted.keys() == {"main", "auxiliary"}
    assert not torch.allclose(wanted["main"], wanted["auxiliary"])
    for name, output in wanted.items():
        np.testing.assert_allclose(found[name], output, rtol=1e-5, atol=1e-5)


def test_the_metadata_name_the_parts(pairs: Path, two_heads: Path, terminal: Terminal, exported: Exported) -> None:
    told = []
    for ckpt in (pairs, two_heads):
        path, _ = exported(terminal, ckpt, "onnx")
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        told.append({k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()})
    assert [port["name"] for port in told[0]["inputs"]] == ["one", "other"]
    assert {name: part["features"] for name, part in told[0]["parts"].items()} == {
        "one": ["a", "b"],
        "other": ["c", "d"],
    }
    assert told[0]["targets"]["other"] == {"classes": ["left", "right"]}
    assert told[1]["targets"]["auxiliary"]["values"] == told[1]["targets"]["main"]["values"] == ["price"]


@pytest.mark.parametrize(("name", "metric"), [("pairs", "distance/rmse"), ("two_heads", "main/rmse")])
def test_the_cost_of_int8_is_measured_by_the_first_output(
    name: str, metric: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """By the file and the rows that it is calibrated on; before, it is that of the run."""
    ckpt = request.getfixturevalue(name)
    task, cfg = loading.load(ckpt)
    source, path = command.data_of(cfg, task, None, []), tmp_path / "m.onnx"
    view, _ = command.export(task, cfg, source, path, command.Options(ckpt=""))
    found, value, *_ = quantize.measured(formats.read_onnx(path, view)[0], view, source)
    assert found == metric
    assert value == pytest.approx(results.read(ckpt.parents[1])["metrics"][f"test/{metric}"], rel=1e-5)
    batches = [*quantize.calibration(view, source)]
    for port, x in zip(view.inputs, tensors(source.arrays("train").x), strict=True):
        rows = np.concatenate([batch[port.name] for batch in batches])
        assert sorted(map(tuple, rows)) == sorted(map(tuple, x.numpy()))


def test_predict_shows_both_outputs(two_heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("size;colour\n3.5;red\n9.5;blue\n")
    predict.command([f"ckpt={two_heads}", f"input={rows}", "format=json"])
    records = json.loads(capsys.readouterr().out)
    wanted = expected(two_heads, torch.tensor([[3.5, 0.0, 1.0], [9.5, 1.0, 0.0]]))
    for name in ("main", "auxiliary"):
        found = [record["targets"][name]["values"]["price"] for record in records]
        assert found == pytest.approx(wanted[name].flatten().tolist(), rel=1e-5)
    predict.command([f"ckpt={two_heads}", f"input={rows}"])
    assert capsys.readouterr().out.splitlines()[0].split() == ["input", "main", "price", "auxiliary", "price"]
