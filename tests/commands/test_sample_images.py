"""Commands on checkpoints that make pictures: samples, codes and reconstructions are those of the task."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_runs import run
from PIL import Image
from small_runs import Terminal
from torch import Tensor

from dlzoo.checkpoint.load import load_task
from dlzoo.commands import encode, evaluate, export, predict, sample
from dlzoo.config.instantiate import build_data
from dlzoo.visualization import image_grid as tiles

SMALL = {
    "vae": ["net.hidden=[16]", "task.num_importance_samples=1"],
    "cvae": ["net.hidden=[16]", "task.num_importance_samples=1"],
    "gan": ["net.generator=[16]", "net.discriminator=[8]"],
    "denoising_autoencoder": ["net.encoder=[16]"],
    "mlp": [],
}


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Terminal:
    monkeypatch.chdir(tmp_path)
    return Terminal(monkeypatch, capsys)


@pytest.fixture(scope="module")
def ckpt_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A checkpoint, alone in its folder."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            words = (f"model={name}", *SMALL[name], "trainer.limit_train_batches=20", "trainer.max_epochs=1")
            made[name] = Path(run(folder, *words)["checkpoints"]["best"]).rename(folder / f"{name}.ckpt")
        return made[name]

    return get


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


# Samples


@pytest.mark.parametrize("name", ["vae", "gan"])
def test_samples_are_what_the_task_makes_of_codes(
    name: str, ckpt_of: Callable[[str], Path], terminal: Terminal
) -> None:
    answer = terminal(sample.main, f"ckpt={ckpt_of(name)}", "n=5", "seed=3", "output=some/where")
    assert answer == (0, "samples   some/where\n", "")
    task, _ = load_task(ckpt_of(name))
    with torch.no_grad():
        expected = task.decode(task.draw(5, 3))  # type: ignore[operator]
    names = sorted(path.name for path in Path("some/where").iterdir())
    assert names == [*(f"{i:05d}.png" for i in range(5)), "grid.png"]
    for i, one in enumerate(expected):
        assert np.array_equal(picture(Path(f"some/where/{i:05d}.png")), tiles.pixels(one))
    assert np.array_equal(picture(Path("some/where/grid.png")), tiles.tile(expected, 3))


def test_seeds_repeat(ckpt_of: Callable[[str], Path], terminal: Terminal) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert terminal(sample.main, f"ckpt={ckpt_of('vae')}", "n=4", f"seed={seed}", f"output={name}").code == 0
    a, b, c = (picture(Path(f"{name}/grid.png")) for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_a_class_on_demand(ckpt_of: Callable[[str], Path], terminal: Terminal) -> None:
    known = f"ckpt={ckpt_of('cvae')}"
    assert terminal(sample.main, known, "n=3", "class=7").code == 0
    task, _ = load_task(ckpt_of("cvae"))
    with torch.no_grad():
        codes = task.draw(3, 0)  # type: ignore[operator]
        expected = task.decode(codes, torch.tensor([7, 7, 7]))  # type: ignore[operator]
        others = task.decode(codes, torch.tensor([0, 1, 2]))  # type: ignore[operator]
    assert np.array_equal(picture(Path("samples/grid.png")), tiles.tile(expected, 2))
    assert terminal(sample.main, known, "n=3").code == 0
    assert np.array_equal(picture(Path("samples/grid.png")), tiles.tile(others, 2))


def test_mistakes_of_sampling(ckpt_of: Callable[[str], Path], terminal: Terminal) -> None:
    says = {
        ("vae", "class=7"): "class=7: this model is not class-conditional; cvae and cgan are",
        ("cvae", "class=seven"): "class=seven is unknown; choose from: 0, 1",
        ("vae", "n=0"): "n=0 must lie between 1 and 100,000",
        ("vae", "n=few"): "n=few must be an integer",
        ("vae", "clas=7"): "did you mean 'class'?",
        ("mlp", "n=3"): "its model (Supervised) is not generative; see dlzoo predict",
        ("denoising_autoencoder", "n=3"): "is not generative",
    }
    for (name, word), message in says.items():
        assert message in terminal.mistake(sample.main, f"ckpt={ckpt_of(name)}", word)
    Path("file").write_text("")
    assert "output=file: there is no such folder" in terminal.mistake(
        sample.main, f"ckpt={ckpt_of('vae')}", "output=file", "n=1"
    )


def test_what_a_command_writes_lands_in_the_folder_of_the_run(
    ckpt_of: Callable[[str], Path], digits: tuple[Path, Tensor], terminal: Terminal, tmp_path: Path
) -> None:
    run_folder = tmp_path / "run"
    (run_folder / "checkpoints").mkdir(parents=True)
    ckpt = shutil.copy(ckpt_of("vae"), run_folder / "checkpoints" / "best.ckpt")
    before = {path.name for path in tmp_path.iterdir()}
    shown = [
        terminal(sample.main, f"ckpt={ckpt}", "n=1").out,
        terminal(encode.main, f"ckpt={ckpt}").out,
        terminal(predict.main, f"ckpt={ckpt}", f"input={digits[0] / 'a.png'}").err,
        terminal(export.main, f"ckpt={ckpt}", "format=safetensors").out,
    ]
    names = ("samples", "codes.npz", "reconstructions", "vae-digits.safetensors")
    for name, text in zip(names, shown, strict=True):
        assert str(run_folder / name) in text
        assert (run_folder / name).exists()
    assert {path.name for path in tmp_path.iterdir()} == before, "nothing in the current folder"
    assert terminal(sample.main, f"ckpt={ckpt}", "n=1", "output=mine").code == 0
    assert Path("mine/grid.png").is_file()


def test_nothing_is_written_through_a_link_of_a_run(
    ckpt_of: Callable[[str], Path], digits: tuple[Path, Tensor], terminal: Terminal, tmp_path: Path
) -> None:
    run_folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    (run_folder / "checkpoints").mkdir(parents=True)
    elsewhere.mkdir()
    ckpt = shutil.copy(ckpt_of("vae"), run_folder / "checkpoints" / "best.ckpt")
    for name in ("samples", "reconstructions"):
        (run_folder / name).symlink_to(elsewhere)
    for name in ("codes.npz", "vae-digits.safetensors"):
        (run_folder / name).symlink_to(elsewhere / name)
    image = f"input={digits[0] / 'a.png'}"
    for command, *words in ((sample, "n=1"), (encode,), (predict, image), (export, "format=safetensors")):
        assert "links outside the run folder and is not written to" in terminal.mistake(
            command.main, f"ckpt={ckpt}", *words
        )
    assert not [*elsewhere.iterdir()]


# Reconstructions


@pytest.fixture
def digits(tmp_path: Path) -> tuple[Path, Tensor]:
    from dlzoo.data.images.digits import Digits

    x = Digits().arrays("test").x[:3]
    folder = tmp_path / "digits"
    (folder / "deep").mkdir(parents=True)
    for name, one in zip(("a", "b", "deep/a"), x, strict=True):
        Image.fromarray(one[0].numpy()).save(folder / f"{name}.png")
    return folder, x / 255


def test_predict_writes_cleaned_pictures(
    ckpt_of: Callable[[str], Path], digits: tuple[Path, Tensor], terminal: Terminal
) -> None:
    folder, x = digits
    answer = terminal(predict.main, f"ckpt={ckpt_of('denoising_autoencoder')}", f"input={folder}", "format=json")
    assert (answer.code, answer.err) == (0, "pictures   reconstructions\n")
    task, _ = load_task(ckpt_of("denoising_autoencoder"))
    with torch.no_grad():
        expected = task.reconstruct(x)  # type: ignore[operator]
    records = json.loads(answer.out)
    assert [Path(r["picture"]).name for r in records] == ["a.png", "b.png", "a_2.png"]
    for record, one, given in zip(records, expected, x, strict=True):
        assert np.array_equal(picture(Path(record["picture"])), tiles.pixels(one))
        assert record["values"]["squared_error"] == pytest.approx(float((one - given).square().mean()), rel=1e-4)


def test_the_score_is_a_table_and_a_csv(
    ckpt_of: Callable[[str], Path], digits: tuple[Path, Tensor], terminal: Terminal
) -> None:
    words = (f"ckpt={ckpt_of('vae')}", f"input={digits[0] / 'a.png'}", "pictures=out")
    table = terminal(predict.main, *words).out.split()
    rows = list(csv.reader(io.StringIO(terminal(predict.main, *words, "format=csv").out)))
    assert table[:2] == rows[0] == ["input", "squared_error"]
    assert float(table[3]) == pytest.approx(float(rows[1][1]), rel=1e-4)
    assert Path("out/a.png").is_file()


def test_mistakes_of_reconstructing(
    ckpt_of: Callable[[str], Path], digits: tuple[Path, Tensor], terminal: Terminal
) -> None:
    given = f"input={digits[0]}"
    message = terminal.mistake(predict.main, f"ckpt={ckpt_of('cvae')}", given)
    assert "needs its class" in message
    message = terminal.mistake(predict.main, f"ckpt={ckpt_of('gan')}", given)
    assert "(Adversarial) predicts neither classes nor values" in message
    message = terminal.mistake(predict.main, f"ckpt={ckpt_of('mlp')}", given, "pictures=x")
    assert "does not output images" in message
    message = terminal.mistake(predict.main, f"ckpt={ckpt_of('vae')}", given, "top_k=2")
    assert "this checkpoint outputs images, not classes" in message


# Codes


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_codes_are_those_of_the_task(split: str, ckpt_of: Callable[[str], Path], terminal: Terminal) -> None:
    answer = terminal(encode.main, f"ckpt={ckpt_of('vae')}", f"split={split}")
    task, cfg = load_task(ckpt_of("vae"))
    rows = build_data(cfg.data).arrays(split)  # type: ignore[attr-defined]
    with torch.no_grad():
        codes = task.encode(rows.x / 255)  # type: ignore[operator]
        errors = (task.decode(codes) - rows.x / 255).square().flatten(1).mean(1)  # type: ignore[operator]
    with np.load("codes.npz") as found:
        np.testing.assert_allclose(found["codes"], codes.numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["errors"], errors.numpy(), rtol=1e-4)
        assert found["labels"].tolist() == rows.y.tolist()
        assert found["names"].tolist() == [*"0123456789"]
    assert answer.out == f"latents   codes.npz: {rows.num_rows:,} of dimension 20\n"


def test_codes_as_a_table(ckpt_of: Callable[[str], Path], terminal: Terminal) -> None:
    known = f"ckpt={ckpt_of('cvae')}"
    assert terminal(encode.main, known, "output=codes.csv").code == terminal(encode.main, known).code == 0
    with np.load("codes.npz") as found, open("codes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
        assert [row["label"] for row in rows] == [str(k) for k in found["labels"]]
        table = [[float(row[f"z{i}"]) for i in range(20)] for row in rows]
        np.testing.assert_allclose(table, found["codes"], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose([float(row["error"]) for row in rows], found["errors"], rtol=1e-4)


def test_mistakes_of_encoding(ckpt_of: Callable[[str], Path], terminal: Terminal) -> None:
    says = {
        ("gan", "split=test"): "its model (Adversarial) does not encode; give",
        ("vae", "output=codes.txt"): "the extension must be .npz or .csv",
        ("vae", "split=all"): "split=all is unknown",
        ("vae", "data=wine"): "data=wine does not fit this checkpoint",
        ("vae", "data.sed=3"): "did you mean 'seed'?",
        ("vae", "splt=test"): "did you mean 'split'?",
    }
    for (name, word), message in says.items():
        assert message in terminal.mistake(encode.main, f"ckpt={ckpt_of(name)}", word)


@pytest.mark.parametrize("command", [sample.main, encode.main])
def test_help_says_every_option(command: Callable[[], None], terminal: Terminal) -> None:
    answer = terminal(command, "--help")
    assert answer.code == 0
    assert all(word in answer.out for word in ("ckpt", "output"))


# Evaluation


def test_evaluation_measures_what_the_run_measured(tmp_path: Path, terminal: Terminal) -> None:
    words = ("model=vae", *SMALL["vae"], "trainer.limit_train_batches=20", "callbacks=[checkpoint,measures]")
    metrics = run(tmp_path / "run", *words, "trainer.max_epochs=1")["metrics"]
    answer = terminal(evaluate.main, f"ckpt={tmp_path / 'run' / 'checkpoints' / 'best.ckpt'}", "json=true")
    found = json.loads(answer.out)["metrics"]
    assert {"test/nll", "test/probe_accuracy", "baseline/mse_pca"} <= found.keys()
    assert found == pytest.approx({name: metrics[name] for name in found})
    assert [path.name for path in tmp_path.iterdir()] == ["run"]  # it draws nothing
