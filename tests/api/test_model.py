"""`dlzoo.load` and what a model does with everything that a user may hand to it."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from small_runs import Terminal, changed, run, table_words

import dlzoo
from dlzoo.commands import forecast, predict, sample

KINDS = {
    "digits": ("model=lenet", "data=digits"),
    "vae": ("model=vae", "data=digits", "net.latent_dim=3"),
    "cvae": ("model=cvae", "data=digits"),
    "nar": ("model=nar", "data=air_passengers", "net.hidden=[8]"),
    "q_table": ("model=q_table", "data=frozen_lake", "trainer.max_epochs=1"),
    "char_rnn": ("model=char_rnn", "data=text_file", "data.path=FOLDER/book.txt", "net.num_units=8"),
    "text_cnn": (
        "model=text_cnn",
        "data=text_csv",
        "data.path=FOLDER/texts.csv",
        "data.text=text",
        "data.target=stars",
    ),
}
PLAIN = ("callbacks=checkpoint", "logger=none", "trainer=cpu", "trainer.max_epochs=1", "quiet=true")


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dlzoo.Run]:
    """A short run of a kind."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "book.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 40)
    rows = "".join(f"{('good', 'bad')[i % 2]} film {i},{i % 2}\n" for i in range(60))
    (folder / "texts.csv").write_text("text,stars\n" + rows)
    kinds = KINDS | {"table": ("model=mlp", *table_words(folder))}

    @functools.cache
    def get(kind: str) -> dlzoo.Run:
        words = [word.replace("FOLDER", str(folder)) for word in kinds[kind]]
        return dlzoo.train(*PLAIN, *words, output_dir=folder / "outputs")

    return get


@pytest.fixture(scope="module")
def model_of(run_of: Callable[[str], dlzoo.Run]) -> Callable[[str], dlzoo.Model]:
    """A trained model of a kind."""
    return lambda kind: run_of(kind).model


def forget(content: dict[str, Any]) -> None:
    """Set the weights of a checkpoint to zero."""
    for name, value in content["state_dict"].items():
        if name.endswith("weight"):
            value.zero_()


def test_a_run_folder_and_its_best_checkpoint_are_the_same_model(tmp_path: Path) -> None:
    run(tmp_path, "model=mlp", "data=iris")
    checkpoints = tmp_path / "checkpoints"
    changed(checkpoints / "best.ckpt", checkpoints / "last.ckpt", forget)
    x = np.ones((2, 4))
    probabilities = {name: dlzoo.load(checkpoints / f"{name}.ckpt").predict_proba(x) for name in ("best", "last")}
    assert not probabilities["best"].equals(probabilities["last"])
    assert dlzoo.load(str(tmp_path)).predict_proba(x).equals(probabilities["best"])
    (checkpoints / "best.ckpt").unlink()
    assert dlzoo.load(tmp_path).predict_proba(x).equals(probabilities["last"])
    (checkpoints / "last.ckpt").unlink()
    with pytest.raises(dlzoo.UserError, match="has no checkpoint"):
        dlzoo.load(tmp_path)


@pytest.mark.parametrize("kind", ["path", "folder", "pil", "uint8", "float", "tensor", "channels last", "batch"])
def test_images_in_every_form_are_predicted_alike(
    kind: str, model_of: Callable[[str], dlzoo.Model], tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    given: Any = {
        "path": tmp_path / "a.png",
        "folder": str(tmp_path),
        "pil": Image.fromarray(pixels),
        "uint8": pixels,
        "float": pixels / 255,
        "tensor": torch.from_numpy(pixels / 255)[None, None],
        "channels last": pixels[..., None],
        "batch": [pixels],
    }[kind]
    model = model_of("digits")
    expected = model.predict_proba(pixels).to_numpy()
    assert expected.shape == (1, 10)
    assert np.allclose(model.predict_proba(given).to_numpy(), expected, atol=1e-6)


def test_the_same_predictions_as_those_of_the_command(
    model_of: Callable[[str], dlzoo.Model], tmp_path: Path, terminal: Terminal
) -> None:
    model = model_of("digits")
    for name in "ab":
        Image.fromarray(np.random.default_rng(ord(name)).integers(0, 256, (20, 30, 3), np.uint8)).save(
            tmp_path / f"{name}.png"
        )
    answer = terminal(predict.main, f"ckpt={model.path}", f"input={tmp_path}", "format=json", "top_k=2")
    assert json.loads(answer.out) == model.records(tmp_path, top_k=2)
    frame = model.predict(tmp_path, top_k=2)
    assert [*frame.columns] == ["class_1", "probability_1", "class_2", "probability_2"]
    assert [Path(name).name for name in frame.index] == ["a.png", "b.png"]
    assert (frame.probability_1 >= frame.probability_2).all()
    assert [*model.predict(tmp_path).columns] == ["class", "probability"]


def test_rows_in_every_form_are_predicted_alike(model_of: Callable[[str], dlzoo.Model], tmp_path: Path) -> None:
    model = model_of("table")
    rows = [{"size": 3.5, "colour": "red"}, {"size": 9.5, "colour": None}]
    frame = pd.DataFrame(rows)
    expected = model.predict(frame)
    assert [*expected.columns] == ["price"]
    (tmp_path / "rows.csv").write_text("size;colour\n3.5;red\n9.5;\n")
    for given in (rows, {"size": [3.5, 9.5], "colour": ["red", None]}, tmp_path / "rows.csv"):
        assert np.allclose(model.predict(given), expected)
    assert np.allclose(model.predict(rows[0]), expected[:1])


def test_texts(model_of: Callable[[str], dlzoo.Model], tmp_path: Path) -> None:
    model = model_of("text_cnn")
    assert [*model.predict("good film").index] == ["good film"]
    (tmp_path / "texts.txt").write_text("good film\n\nbad film\n")
    assert model.predict(tmp_path / "texts.txt").equals(model.predict(["good film", "bad film"]))


def test_an_autoencoder_samples_encodes_and_reconstructs(
    model_of: Callable[[str], dlzoo.Model], tmp_path: Path, terminal: Terminal
) -> None:
    model = model_of("vae")
    images = model.sample(5, seed=1)
    assert np.asarray(images).shape == (5, 1, 8, 8)
    assert np.array_equal(model.sample(5, seed=1), images)
    assert not np.array_equal(model.sample(5, seed=2), images)
    assert model.encode(np.asarray(images)).shape == (5, 3)
    assert len(model.reconstruct(images[0])) == 1
    assert images._repr_png_().startswith(b"\x89PNG")
    assert terminal(sample.main, f"ckpt={model.path}", "n=5", "seed=1", f"output={tmp_path / 'command'}").code == 0
    images.save(tmp_path / "function")
    by_command = {path.name: path.read_bytes() for path in (tmp_path / "command").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "function").iterdir()} == by_command


def test_images_and_forecasts_that_are_not_finite_are_refused(model_of: Callable[[str], dlzoo.Model]) -> None:
    vae, nar = (dlzoo.Model(copy.deepcopy(model_of(kind).task), model_of(kind).config) for kind in ("vae", "nar"))
    for model in (vae, nar):
        model.task.load_state_dict({name: value * torch.nan for name, value in model.task.state_dict().items()})
    with pytest.raises(dlzoo.UserError, match="output is not finite"):
        vae.reconstruct(np.zeros((8, 8), np.uint8))
    months = pd.date_range("1960-01-01", periods=100, freq="MS")
    with pytest.raises(dlzoo.UserError, match="output is not finite"):
        nar.forecast(pd.Series(np.arange(1.0, 101.0), index=months.strftime("%Y-%m")))


def test_a_class_is_sampled(model_of: Callable[[str], dlzoo.Model]) -> None:
    model = model_of("cvae")
    assert len(model.sample(2, label="7")) == 2
    with pytest.raises(dlzoo.UserError, match="class=x is unknown"):
        model.sample(2, label="x")
    with pytest.raises(dlzoo.UserError, match="class-conditional"):
        model.encode(np.zeros((1, 1, 8, 8)))


def test_a_series_is_forecast(model_of: Callable[[str], dlzoo.Model], tmp_path: Path, terminal: Terminal) -> None:
    model = model_of("nar")
    index = pd.date_range("1960-01-01", periods=60, freq="MS")
    series = pd.Series(np.arange(60) + 100.0, index=index)
    forecasted = model.forecast(series, horizon=3)
    assert [*forecasted.index] == ["1965-01-01", "1965-02-01", "1965-03-01"]
    series.rename("passengers").to_csv(tmp_path / "series.csv", index_label="month")
    words = [f"ckpt={model.path}", f"input={tmp_path / 'series.csv'}", "horizon=3", "format=json"]
    by_command = [record["values"]["passengers"] for record in json.loads(terminal(forecast.main, *words).out)]
    assert forecasted.passengers.tolist() == by_command
    assert np.allclose(model.forecast(tmp_path / "series.csv", horizon=3), forecasted)
    assert np.allclose(model.forecast(series.rename("passengers").reset_index(), horizon=3), forecasted)
    assert model.forecast(horizon=2).index[0] == "1961-01-01"
    with pytest.raises(dlzoo.UserError, match="needs at least"):
        model.forecast(series[:5])


def test_an_agent_plays(model_of: Callable[[str], dlzoo.Model], tmp_path: Path) -> None:
    model = model_of("q_table")
    played = model.play(2, seed=3)
    assert [*played.columns] == ["return", "steps"]
    assert played.equals(model.play(2, seed=3))
    model.play(1, video=tmp_path / "a.gif")
    assert (tmp_path / "a.gif").read_bytes().startswith(b"GIF8")
    assert [*model.predict([0, 1]).columns] == ["action"]


def test_a_text_is_continued(model_of: Callable[[str], dlzoo.Model]) -> None:
    model = model_of("char_rnn")
    text = model.generate("the ", length=12, seed=2)
    assert text.startswith("the ")
    assert len(text) == 16
    assert model.generate("the ", length=12, seed=2) == text


def test_evidence_is_drawn(model_of: Callable[[str], dlzoo.Model]) -> None:
    few, many = (model_of("digits").explain(np.zeros((num, 8, 8), np.uint8), top_k=2) for num in (1, 3))
    assert few.get_size_inches()[1] < many.get_size_inches()[1]


def test_it_is_tested_again(run_of: Callable[[str], dlzoo.Run]) -> None:
    run = run_of("digits")
    tested = {name: value for name, value in run.metrics.items() if name.startswith("test/")}
    assert run.model.evaluate()["metrics"] == pytest.approx(tested)
    assert run.model.evaluate(None, "trainer.precision=bf16-true")["metrics"] != pytest.approx(tested)
    with pytest.raises(dlzoo.UserError, match="limit_test_batches"):
        run.model.evaluate(None, "trainer.limit_test_batches=0.5")  # of one batch


@pytest.mark.parametrize(
    ("kind", "call", "said"),
    [
        ("digits", lambda model: model.sample(), "does not generate images; it has: predict, explain"),
        ("digits", lambda model: model.forecast(), "does not forecast"),
        ("digits", lambda model: model.generate("a"), "does not continue texts"),
        ("digits", lambda model: model.play(), "does not play"),
        ("digits", lambda model: model.encode(np.zeros((8, 8))), "does not encode"),
        ("digits", lambda model: model.predict([]), "at least one"),
        ("digits", lambda model: model.predict(np.zeros((8, 9))), "8x9, but the model takes 8x8"),
        ("digits", lambda model: model.predict(np.full((8, 8), 2.0)), r"must lie in \[0, 1\]"),
        ("digits", lambda model: model.predict(np.zeros((3, 8, 8, 3))), "holds no images of 1 channel"),
        ("digits", lambda model: model.predict(np.zeros((8, 8, 3), dtype=np.uint8)), "an image in colour"),
        ("digits", lambda model: model.predict("nowhere.png"), "nowhere.png"),
        ("digits", lambda model: model.predict(None), "is not an image"),
        ("digits", lambda model: model.predict(np.zeros((8, 8)), top_k=0), "top_k=0"),
        ("digits", lambda model: model.evaluate(None, "trainer.max_epochs=1"), "max_epochs is not an option of a test"),
        ("digits", lambda model: model.evaluate(None, "seed=1"), "seed=1 is not an option of a test"),
        ("digits", lambda model: model.evaluate(None, "data.val_size"), "data.val_size"),
        ("digits", lambda model: model.evaluate(None, "data.val_size=${nope}"), "nope"),
        ("vae", lambda model: model.predict(np.zeros((8, 8))), "does not predict"),
        ("vae", lambda model: model.sample(seed=2**70), "seed="),
        (
            "q_table",
            lambda model: model.predict_proba(np.zeros(1)),
            "not predict classes or values; it has: predict",
        ),
        ("q_table", lambda model: model.play(seed=-1), "seed=-1"),
        ("char_rnn", lambda model: model.generate("a", seed=-1), "seed=-1"),
        ("table", lambda model: model.predict({"size": 1}), "lacks colour"),
        ("table", lambda model: model.predict([[1.0, 2.0, 3.0]]), "takes 2 columns, size, colour"),
        ("table", lambda model: model.predict_proba({"size": 1, "colour": "red"}), "not classes"),
        ("nar", lambda model: model.predict([1.0]), r"use forecast\(\)"),
        ("nar", lambda model: model.forecast([1.0]), "pandas Series"),
        ("text_cnn", lambda model: model.predict([1]), "give a text"),
    ],
)
def test_what_a_model_does_not_do_is_said(
    kind: str, call: Callable[[dlzoo.Model], object], said: str, model_of: Callable[[str], dlzoo.Model]
) -> None:
    with pytest.raises(dlzoo.UserError, match=said):
        call(model_of(kind))
