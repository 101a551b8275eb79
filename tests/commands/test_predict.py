"""Predictions on files are those of the task on the same tensors, from the checkpoint alone; mistakes are sentences."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from small_runs import Terminal, changed, diverge, run, table_words
from torch import Tensor

from dlzoo.checkpoint.load import load_task
from dlzoo.commands import predict
from dlzoo.config.instantiate import build_data
from dlzoo.config.yaml_files import CONFIG_DIR
from dlzoo.data.images.decode import Decode
from dlzoo.specs.resize import Resize

RUNS = {"digits": ["data=digits", "seed=3"], "wine": ["data=wine"], "csv": []}


@pytest.fixture(scope="module")
def ckpt_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The checkpoint of a run, alone in its folder: what the run left beside it is gone, and so are its data."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp("run")
            results = run(folder, *(table_words(folder) if name == "csv" else RUNS[name]))
            made[name] = Path(results["checkpoints"]["best"]).rename(folder / f"{name}.ckpt")
            for file in [folder / "results.json", *folder.glob("*.csv")]:
                file.unlink()
        return made[name]

    return get


@pytest.fixture(scope="module")
def digits(ckpt_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensor]:
    """A folder with five test images as PNGs, one of them deeper, and the same as (5, 1, 8, 8) uint8."""
    folder = tmp_path_factory.mktemp("some digits")
    (folder / "z deep").mkdir()
    x = build_data(load_task(ckpt_of("digits"))[1].data).arrays("test").x[:5]
    for name, image in zip(["a", "b", "[bold]c", "ä d", "z deep/e"], x, strict=True):
        Image.fromarray(image[0].numpy()).save(folder / f"{name}.png")
    return folder, x[[2, 0, 1, 4, 3]]  # sorted as their names: [ before letters, and ä behind them


def probabilities(ckpt: Path, x: Tensor) -> Tensor:
    """What the task says of images (B, C, H, W) uint8 or rows (B, F) float32."""
    x = x.float() * (1 / 255) if x.dtype == torch.uint8 else x
    with torch.no_grad():
        return load_task(ckpt)[0](x).softmax(1)


def told(answer: Any) -> list[dict[str, float]]:
    """Of each input the probability of each class that JSON names, in its order."""
    assert answer.code == 0, answer.err
    return [{g["class"]: g["probability"] for g in record["predictions"]} for record in json.loads(answer.out)]


def as_predictions(p: Tensor, names: tuple[str, ...], top_k: int) -> list[dict[str, float]]:
    return [dict(sorted(zip(names, row, strict=True), key=lambda item: -item[1])[:top_k]) for row in p.tolist()]


def test_a_folder_of_images(
    ckpt_of: Callable[[str], Path], digits: tuple[Path, Tensor], terminal: Terminal
) -> None:  # fmt: skip
    ckpt, (folder, x) = ckpt_of("digits"), digits
    answer = terminal(predict.main, f"ckpt={ckpt}", f"input={folder}", "format=json")
    expected = as_predictions(probabilities(ckpt, x), tuple("0123456789"), 3)
    assert told(answer) == expected  # exactly: the same tensors through the same net
    assert [[*said] for said in told(answer)] == [[*said] for said in expected]  # the most probable first
    names = [str(Path(record["input"]).relative_to(folder)) for record in json.loads(answer.out)]
    assert names == ["[bold]c.png", "a.png", "b.png", "z deep/e.png", "ä d.png"]


def test_an_archive_of_images(
    ckpt_of: Callable[[str], Path], digits: tuple[Path, Tensor], terminal: Terminal, tmp_path: Path
) -> None:  # fmt: skip
    ckpt, (folder, _) = ckpt_of("digits"), digits
    archive = tmp_path / "digits.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.rglob("*"):
            file.write(path, path.relative_to(folder))
        file.writestr("more.HEIC", b"?")
    answer = terminal(predict.main, f"ckpt={ckpt}", f"input={archive}", "format=json")
    assert told(answer) == told(terminal(predict.main, f"ckpt={ckpt}", f"input={folder}", "format=json"))
    assert json.loads(answer.out)[1]["input"] == str(archive / "a.png")
    assert "skipped files that cannot be read as images: 1 .heic" in answer.err


@pytest.mark.parametrize("name", ["digits", "wine"])
def test_batches(
    name: str, ckpt_of: Callable[[str], Path], digits: tuple[Path, Tensor], wines: tuple[str, Tensor],
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    words = [f"ckpt={ckpt_of(name)}", f"input={digits[0] if name == 'digits' else '-'}", "format=json", "top_k=1"]
    whole = terminal(predict.main, *words, stdin=wines[0].encode())
    monkeypatch.setattr("dlzoo.inference.inputs.BATCH_SIZE", 3)
    batched = terminal(predict.main, *words, stdin=wines[0].encode())
    inputs = [[record["input"] for record in json.loads(answer.out)] for answer in (whole, batched)]
    assert inputs[0] == inputs[1]
    for one, other in zip(told(whole), told(batched), strict=True):
        assert one == pytest.approx(other, abs=1e-6)


@pytest.mark.parametrize("top_k", [1, 4, 10, 99])
def test_top_k(top_k: int, ckpt_of: Callable[[str], Path], digits: tuple[Path, Tensor], terminal: Terminal) -> None:
    words = [f"ckpt={ckpt_of('digits')}", f"input={digits[0] / 'a.png'}", f"top_k={top_k}", "format=json"]
    (said,) = told(terminal(predict.main, *words))
    assert len(said) == min(top_k, 10)
    assert [*said.values()] == sorted(said.values(), reverse=True)


@pytest.mark.parametrize("words", [[], ["invert=true"], ["fit=squash"], ["fit=squash", "invert=true"]])
@pytest.mark.parametrize("trained", ["crop", "squash"])
def test_any_image_becomes_what_the_net_wants(
    words: list[str], trained: str, ckpt_of: Callable[[str], Path], terminal: Terminal, tmp_path: Path
) -> None:
    def as_from_a_folder(content: dict[str, Any]) -> None:
        cfg = OmegaConf.create(content["dlzoo"]["config"])
        folder = OmegaConf.load(CONFIG_DIR / "data" / "image_folder.yaml")
        cfg.data = OmegaConf.merge(folder, {"path": "photos", "size": 8, "channels": 1, "fit": trained, "seed": 0})
        content["dlzoo"]["config"] = OmegaConf.to_yaml(cfg)

    ckpt, path = changed(ckpt_of("digits"), tmp_path / "x.ckpt", as_from_a_folder), tmp_path / "photo.png"
    assert load_task(ckpt)[1].data.fit == trained
    colours = np.random.default_rng(0).integers(0, 256, (20, 31, 4), dtype=np.uint8)  # colour, transparent, not square
    Image.fromarray(colours, "RGBA").save(path)
    decode = Decode(1, 8, 8, Resize("squash" if "fit=squash" in words or trained == "squash" else "crop"))
    x = torch.from_numpy(decode(str(path)).copy())[None]
    answer = terminal(predict.main, f"ckpt={ckpt}", f"input={path}", "format=json", "top_k=10", *words)
    p = probabilities(ckpt, 255 - x if "invert=true" in words else x)
    assert told(answer) == as_predictions(p, tuple("0123456789"), 10)


def test_an_image_on_standard_input(
    ckpt_of: Callable[[str], Path], digits: tuple[Path, Tensor], terminal: Terminal
) -> None:
    path = digits[0] / "ä d.png"
    words = [f"ckpt={ckpt_of('digits')}", "format=json"]
    piped = terminal(predict.main, *words, "input=-", stdin=path.read_bytes())
    assert told(piped) == told(terminal(predict.main, *words, f"input={path}"))
    assert json.loads(piped.out)[0]["input"] == "-"


@pytest.fixture(scope="module")
def wines(ckpt_of: Callable[[str], Path]) -> tuple[str, Tensor]:
    """Four test rows as a CSV file with the columns backwards and one that nobody knows, and as (4, 13)."""
    task, cfg = load_task(ckpt_of("wine"))
    x = build_data(cfg.data).arrays("test").x[:4]
    names = [column.name for column in task.spec.columns]
    lines = [",".join(["bottle", *names[::-1]])]
    lines += [",".join(["green", *(repr(v) for v in row[::-1])]) for row in x.tolist()]
    return "\n".join(lines), x


@pytest.mark.parametrize("way", ["file", "standard input"])
def test_rows_of_a_table(
    way: str, ckpt_of: Callable[[str], Path], wines: tuple[str, Tensor], terminal: Terminal, tmp_path: Path
) -> None:
    text, x = wines
    (tmp_path / "rows.csv").write_text(text)
    source = tmp_path / "rows.csv" if way == "file" else "-"
    answer = terminal(predict.main, f"ckpt={ckpt_of('wine')}", f"input={source}", "format=json", stdin=text.encode())
    assert told(answer) == as_predictions(probabilities(ckpt_of("wine"), x), ("class_0", "class_1", "class_2"), 3)
    assert [record["input"] for record in json.loads(answer.out)] == [1, 2, 3, 4]


ROOMS = "colour;size\nred;4.5\n;7.5\nblue;10.5\n"
"""Separated as the training file was; a colour is missing."""


def rooms(ckpt: Path) -> tuple[Any, Tensor]:
    """The task, and the features of `ROOMS`, worked out by hand."""
    task = load_task(ckpt)[0]
    size, colour = task.spec.columns
    assert (size.name, size.categories, colour.categories) == ("size", (), ("blue", "red"))
    blue, red = (1.0, 0.0), (0.0, 1.0)
    x = torch.tensor([[4.5, *red], [7.5, *(blue if colour.fill == "blue" else red)], [10.5, *blue]])
    return task, x


def test_values(ckpt_of: Callable[[str], Path], terminal: Terminal) -> None:
    task, x = rooms(ckpt_of("csv"))
    answer = terminal(predict.main, f"ckpt={ckpt_of('csv')}", "input=-", "format=json", stdin=ROOMS.encode())
    with torch.no_grad():
        expected = [{"input": i, "values": {"price": v}} for i, v in enumerate(task.predict(x)[:, 0].tolist(), 1)]
        assert not torch.allclose(task.predict(x), task(x)), "the net's values are scaled"
    assert answer == (0, json.dumps(expected, indent=2) + "\n", "")


@pytest.mark.parametrize("words", [["separator=,"], ["data.separator=,"], ["separator=,", "encoding=latin-1"]])
def test_a_file_of_another_style(words: list[str], ckpt_of: Callable[[str], Path], terminal: Terminal) -> None:
    known = [f"ckpt={ckpt_of('csv')}", "input=-"]
    usual = terminal(predict.main, *known, stdin=ROOMS.encode())
    assert usual.code == 0
    assert terminal(predict.main, *known, *words, stdin=ROOMS.replace(";", ",").encode()) == usual
    assert "data.separator" not in terminal.mistake(predict.main, *known, stdin=ROOMS.replace(";", ",").encode())


def test_rows_in_json(ckpt_of: Callable[[str], Path], terminal: Terminal, tmp_path: Path) -> None:
    """Lines of JSON, a JSON list, and files of both predict what the CSV file does, whose style is another."""
    known = [f"ckpt={ckpt_of('csv')}", "format=jsonl"]
    rows = [*csv.DictReader(io.StringIO(ROOMS), delimiter=";")]
    values = [{key: json.loads(row["size"]) if key == "size" else row[key] or None for key in row} for row in rows]
    usual = terminal(predict.main, *known, "input=-", stdin=ROOMS.encode())
    assert [json.loads(line)["input"] for line in usual.out.splitlines()] == [1, 2, 3]
    lines = "".join(json.dumps(row) + "\n" for row in values)
    assert terminal(predict.main, *known, "input=-", stdin=lines.encode()) == usual
    assert terminal(predict.main, *known, "input=-", stdin=json.dumps(values, indent=1).encode()) == usual
    for name, content in {"rows.jsonl": lines, "rows.json": json.dumps(values)}.items():
        (tmp_path / name).write_text(content)
        assert terminal(predict.main, *known, f"input={tmp_path / name}") == usual
    for content, message in {
        '{"size": 3}\n{"size": 3': "standard input, line 2 is damaged or not JSON",
        "{}": "contains no rows",
        '{"size": [3], "colour": "red"}': "entry 1, size is [3]: give a number or a text",
        '{"size": 3}\n7': "entry 2 is 7, not an object",
        '{"size": "x", "colour": "red"}': "column size",
    }.items():
        assert message in terminal.mistake(predict.main, *known, "input=-", stdin=content.encode())


@pytest.mark.filterwarnings("always::UserWarning")  # for users, not the errors that warnings are in tests
def test_an_unseen_category_is_a_warning(ckpt_of: Callable[[str], Path], terminal: Terminal) -> None:
    code, out, err = terminal(
        predict.main, f"ckpt={ckpt_of('csv')}", "input=-", stdin=ROOMS.replace("red", "green").encode()
    )
    assert (code, len(out.splitlines())) == (0, 4)
    assert err.startswith("warning: column colour: 'green' not in the training rows; 1 of 3 rows")
    assert err.count("\n") == 1


def test_formats_agree(ckpt_of: Callable[[str], Path], digits: tuple[Path, Tensor], terminal: Terminal) -> None:
    words = [f"ckpt={ckpt_of('digits')}", f"input={digits[0]}", "top_k=2"]
    records = json.loads(terminal(predict.main, *words, "format=json").out)
    rows = list(csv.DictReader(io.StringIO(terminal(predict.main, *words, "format=csv").out)))
    lines = terminal(predict.main, *words).out.splitlines()
    assert lines[0].split() == ["input", "#1", "#2"]
    for record, row, line in zip(records, rows, lines[1:], strict=True):
        first, second = record["predictions"]
        assert row == {
            "input": record["input"],
            "class_1": first["class"], "probability_1": str(first["probability"]),
            "class_2": second["class"], "probability_2": str(second["probability"]),
        }  # fmt: skip
        assert line.startswith(record["input"])
        words_behind = line.removeprefix(record["input"]).split()
        assert words_behind == [w for g in (first, second) for w in (g["class"], f"{g['probability']:.2%}")]


@pytest.mark.parametrize(("name", "as_json"), [("out.json", True), ("out.txt", False)])
def test_output(
    name: str, as_json: bool, ckpt_of: Callable[[str], Path], digits: tuple[Path, Tensor], terminal: Terminal,
    tmp_path: Path,
) -> None:  # fmt: skip
    words = [f"ckpt={ckpt_of('digits')}", f"input={digits[0]}"]
    printed = terminal(predict.main, *words, *(["format=json"] if as_json else [])).out
    (tmp_path / name).write_text("old")
    code, out, err = terminal(predict.main, *words, f"output={tmp_path / name}")
    assert (code, out, err) == (0, f"predictions   {tmp_path / name}\n", "")
    assert (tmp_path / name).read_text() == printed
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_what_can_be_read_is_predicted(
    ckpt_of: Callable[[str], Path], digits: tuple[Path, Tensor], terminal: Terminal, tmp_path: Path
) -> None:
    words = [f"ckpt={ckpt_of('digits')}", f"input={tmp_path}", "format=json"]
    good = (digits[0] / "a.png").read_bytes()
    for name, content in {"1.png": good, "2.png": good[:60], "3.jpg": b"no image", "4.png": good}.items():
        (tmp_path / name).write_bytes(content)
    code, out, err = terminal(predict.main, *words)
    assert code == 2
    assert [Path(record["input"]).name for record in json.loads(out)] == ["1.png", "4.png"]
    assert err.startswith(f"error: {tmp_path}/2.png cannot be read as an image")
    assert err.endswith(" (and 1 more that cannot be read)\n")


def test_mistakes_about_images(ckpt_of: Callable[[str], Path], terminal: Terminal, tmp_path: Path) -> None:
    known = f"ckpt={ckpt_of('digits')}"
    (tmp_path / "photo.png").write_bytes(b"none")
    (tmp_path / "empty").mkdir()
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    says = {
        f"input={tmp_path}/fhoto.png": "there is no such file or folder; did you mean 'photo.png'?",
        f"input={tmp_path}/nowhere/photo.png": f"there is no folder {tmp_path}/nowhere",
        f"input={tmp_path}/photo.png": "photo.png cannot be read as an image",
        f"input={tmp_path}/rows.csv": "rows.csv cannot be read as an image",
        f"input={tmp_path}/empty": "contains no image (.jpg",
        "input=-": "standard input is empty",
        "inptu=3": "did you mean 'input'",
        "separator=;": "input is missing",
    }
    for word, message in says.items():
        assert message in terminal.mistake(predict.main, known, word)
    assert "standard input cannot be read as an image" in terminal.mistake(predict.main, known, "input=-", stdin=b"?")
    word = f"input={tmp_path}/photo.png"
    says = {
        "top_k=0": "top_k=0 is too small",
        "top_k=few": "top_k=few must be an integer",
        "format=jason": "did you mean 'json'",
        "separator=;": "separator does not apply: this checkpoint takes images of 1x8x8",
        f"output={tmp_path}": "this is a folder",
        f"output={tmp_path}/nowhere/x.json": "is not a writable folder",
        f"output={tmp_path}/photo.png": "would overwrite an input file",
        f"output={ckpt_of('digits')}": "would overwrite an input file",
    }
    for other, message in says.items():
        assert message in terminal.mistake(predict.main, known, word, other)


def test_mistakes_about_tables(ckpt_of: Callable[[str], Path], terminal: Terminal, tmp_path: Path) -> None:
    known = [f"ckpt={ckpt_of('csv')}", "input=-"]
    tables = {
        "": "standard input is empty",
        "size;colour\n": "standard input has a header but no rows",
        "syze;colour\n1;red\n": "the table lacks size (did you mean 'syze'?)",
        "size;colour\n1;red\nbig;red\n": "'big' is not a number",
        "size;colour\n1e99;red\n": "not finite",
        "\x89PNG\r\n\x1a\n\xff\xfe;\n": "standard input",
    }
    for text, message in tables.items():
        assert message in terminal.mistake(predict.main, *known, stdin=text.encode("latin-1"))
    table = ROOMS.encode()
    assert "top_k does not apply: this checkpoint predicts values (price)" in terminal.mistake(
        predict.main, *known, "top_k=3", stdin=table
    )
    assert "invert does not apply: this checkpoint takes a table" in terminal.mistake(
        predict.main, *known, "invert=true", stdin=table
    )
    assert "this is a folder" in terminal.mistake(predict.main, known[0], f"input={tmp_path}")
    lacking = ROOMS.replace(";\n", ";\n").replace("7.5", "")
    assert terminal(predict.main, *known, stdin=lacking.encode()).code == 0  # filled as in training


def test_a_missing_value_without_a_fill(
    ckpt_of: Callable[[str], Path], wines: tuple[str, Tensor], terminal: Terminal
) -> None:
    lines = wines[0].splitlines()
    lines[2] = ",".join([*lines[2].split(",")[:-1], ""])
    message = terminal.mistake(predict.main, f"ckpt={ckpt_of('wine')}", "input=-", stdin="\n".join(lines).encode())
    assert "column alcohol has 1 missing values" in message


def test_a_diverged_net(
    ckpt_of: Callable[[str], Path], digits: tuple[Path, Tensor], terminal: Terminal, tmp_path: Path
) -> None:
    ckpt = changed(ckpt_of("digits"), tmp_path / "nan.ckpt", diverge)
    assert "the net's output is not finite" in terminal.mistake(predict.main, f"ckpt={ckpt}", f"input={digits[0]}")
