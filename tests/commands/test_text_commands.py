"""Predicting and testing with the checkpoint of a text classifier: what it says is the task's own word."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_runs import Terminal, run
from text_stand_ins import write_imdb, write_sentences

from dlzoo.checkpoint.load import load_task
from dlzoo.commands import evaluate, predict
from dlzoo.data.text.published import SentimentSentences
from dlzoo.training import results

FOOD, PHONE = "The food was awful", "A great, lovely phone!"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        write_sentences(folder, 120, patch)
        write_imdb(folder, 80, patch)
        patch.setenv("DLZOO_DATA_DIR", str(folder))  # no folder that a checkpoint names is followed
        yield folder


@pytest.fixture(scope="module")
def ckpt(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = ["model=rnn_classifier", "net.hidden=8", "net.num_units=8", "data=sentiment_sentences"]
    more = [f"data_dir={data_dir}", "data.max_length=9", "trainer.max_epochs=8", "optimizer.lr=0.02"]
    return Path(run(tmp_path_factory.mktemp("run"), *words, *more)["checkpoints"]["best"])


def probability(ckpt: Path, text: str) -> float:
    """Of the class positive, by the task itself."""
    task, _ = load_task(ckpt)
    with torch.no_grad():
        return float(task(torch.tensor([task.spec.encode(text)])).sigmoid())  # type: ignore[union-attr]


def test_a_text_on_the_command_line(ckpt: Path, terminal: Terminal) -> None:
    code, out, err = terminal(predict.main, f"ckpt={ckpt}", f"input={FOOD}", "format=json")
    assert (code, err) == (0, "")
    (record,) = json.loads(out)
    assert record["input"] == FOOD
    said = {guess["class"]: guess["probability"] for guess in record["predictions"]}
    assert said["positive"] == pytest.approx(probability(ckpt, FOOD), abs=1e-5)
    assert said["negative"] == pytest.approx(1 - said["positive"], abs=1e-5)
    assert said["negative"] > 0.5


def test_a_column_of_a_csv_file(ckpt: Path, terminal: Terminal, tmp_path: Path) -> None:
    rows = [("id", "review"), (1, FOOD), (2, "two\nlines, and a comma"), (3, ""), (4, PHONE)]
    for name, separator in (("rows.csv", ","), ("rows.TSV", "\t"), ("rows.txt", ",")):
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file, delimiter=separator).writerows(rows)
        words = [f"ckpt={ckpt}", f"input={tmp_path / name}", "format=json"]
        code, out, err = terminal(predict.main, *words, "data.text=review")
        assert code == 0, err
        assert [record["input"] for record in json.loads(out)] == [FOOD, "two\nlines, and a comma", PHONE]
        assert "1 rows without a text are skipped (3)" in err
    known = words[0]
    assert "give the column of the texts, text=<column>; choose from: id, review" in terminal.mistake(
        predict.main, known, f"input={tmp_path / 'rows.csv'}"
    )
    assert "text=reviw: " in terminal.mistake(predict.main, *words, "text=reviw")
    assert "separator applies to CSV files" in terminal.mistake(predict.main, *words, "separator=;")
    piped = terminal(predict.main, known, "input=-", "text=review", "format=json", stdin=b"review\n" + FOOD.encode())
    assert json.loads(piped.out)[0]["input"] == FOOD


@pytest.mark.parametrize("end", ["\r", "\r\n"])
def test_lines_end_in_any_way(end: str, ckpt: Path, terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_bytes(f"{FOOD}{end}{end}{PHONE}{end}".encode())
    answer = terminal(predict.main, f"ckpt={ckpt}", f"input={tmp_path / 'rows.txt'}", "format=json")
    assert [record["input"] for record in json.loads(answer.out)] == [FOOD, PHONE]


def test_a_file_and_standard_input_have_a_text_in_each_line(ckpt: Path, terminal: Terminal, tmp_path: Path) -> None:
    long = "so " * 50 + "good"
    content = f"{FOOD}\n\n  {PHONE}\r\n{long}\n"
    (tmp_path / "texts.txt").write_text(content)
    answers = [
        terminal(predict.main, f"ckpt={ckpt}", f"input={tmp_path}/texts.txt", "format=csv", "top_k=1"),
        terminal(predict.main, f"ckpt={ckpt}", "input=-", "format=csv", "top_k=1", stdin=content.encode()),
    ]
    assert answers[0].out == answers[1].out
    rows = list(csv.DictReader(io.StringIO(answers[0].out)))
    assert [row["input"] for row in rows] == [FOOD, PHONE, long.strip()]
    assert [row["class_1"] for row in rows[:2]] == ["negative", "positive"]
    alone = probability(ckpt, FOOD)  # though it was padded to the length of others
    assert float(rows[0]["probability_1"]) == pytest.approx(1 - alone, abs=1e-5)
    table = terminal(predict.main, f"ckpt={ckpt}", f"input={tmp_path}/texts.txt").out
    assert all(len(line) < 130 for line in table.splitlines())
    assert " … " in table.splitlines()[-1]


def test_texts_in_json(ckpt: Path, terminal: Terminal) -> None:
    known = [f"ckpt={ckpt}", "input=-", "format=json"]
    usual = terminal(predict.main, *known, stdin=f"{FOOD}\n{PHONE}\n".encode())
    lines = json.dumps({"text": FOOD, "id": 7}) + "\n" + json.dumps({"review": PHONE})
    assert terminal(predict.main, *known, stdin=lines.encode()) == usual
    (record,) = json.loads(terminal(predict.main, *known, stdin=b"{so good} it is").out)
    assert record["input"] == "{so good} it is"
    message = terminal.mistake(predict.main, *known, stdin=b'{"a": "so good", "b": "so bad"}')
    assert 'entry 1 has no text: write {"text": "…"}' in message


def test_mistakes(ckpt: Path, terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 was good\n")
    (tmp_path / "empty.txt").write_text(" \n")
    for word, message in {
        "input=revews.txt": "there is no such file or folder",
        f"input={tmp_path}/latin.txt": "is not utf-8 text (line 1, byte 3 is 0xe9); set encoding=latin-1",
        f"input={tmp_path}/empty.txt": "contains no text",
        f"input={tmp_path}": "this is a folder, but the checkpoint takes texts of lower-case words",
    }.items():
        assert message in terminal.mistake(predict.main, f"ckpt={ckpt}", word)
    assert "invert does not apply: this checkpoint takes texts" in terminal.mistake(
        predict.main, f"ckpt={ckpt}", f"input={FOOD}", "invert=true"
    )
    assert terminal(predict.main, f"ckpt={ckpt}", f"input={tmp_path}/latin.txt", "encoding=latin-1").code == 0
    assert "unknown to Python" in terminal.mistake(predict.main, f"ckpt={ckpt}", "input=-", "encoding=x", stdin=b"a b")


def test_a_text_is_nothing_for_a_model_of_images(terminal: Terminal, tmp_path: Path) -> None:
    best = run(tmp_path, "data=digits")["checkpoints"]["best"]
    assert "there is no such file or folder" in terminal.mistake(predict.main, f"ckpt={best}", f"input={FOOD}")


def test_the_figures_of_the_run(ckpt: Path, terminal: Terminal) -> None:
    stored = results.read(ckpt.parents[1])["metrics"]
    outcome = json.loads(terminal(evaluate.main, f"ckpt={ckpt}", "json=true").out)
    assert outcome["metrics"] == {name: value for name, value in stored.items() if name.startswith("test/")}


def test_the_vocabulary_is_the_checkpoints_whatever_the_training_rows_are(
    ckpt: Path, terminal: Terminal, data_dir: Path
) -> None:
    """Other validation rows give the data another vocabulary; the model's numbers must not shift with it."""
    stored = results.read(ckpt.parents[1])["metrics"]["test/accuracy"]
    assert stored > 0.8
    other = SentimentSentences(data_dir=data_dir, seed=7)
    other.setup("fit")
    assert other.spec.vocabulary != load_task(ckpt)[0].spec.vocabulary  # type: ignore[union-attr]
    outcome = json.loads(terminal(evaluate.main, f"ckpt={ckpt}", "data.seed=7", "json=true").out)
    assert outcome["metrics"]["test/accuracy"] == pytest.approx(stored)


def test_other_reviews_cut_alike_can_be_tested_on(ckpt: Path, terminal: Terminal, data_dir: Path) -> None:
    words = [f"ckpt={ckpt}", "data=imdb", f"data.data_dir={data_dir}"]
    error = terminal.mistake(evaluate.main, *words)
    assert "at most 9, but data=imdb gives" in error
    assert error.strip().endswith("set data.max_length=9")
    outcome = json.loads(terminal(evaluate.main, *words, "data.max_length=9", "data.keep=first", "json=true").out)
    assert 0 <= outcome["metrics"]["test/accuracy"] <= 1
    error = terminal.mistake(evaluate.main, *words, "data.max_length=9", "data.level=char", "data.lower=false")
    assert "set data.level=word data.lower=true" in error
