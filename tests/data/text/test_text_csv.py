"""Labelled text of the user's own: read as it is, split, trained on with one command; mistakes are one clear line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from small_runs import Outcome
from text_stand_ins import texts

from dlzoo.data.text.csv import TextCsv
from dlzoo.errors import UserError
from dlzoo.specs.tokenizer import PAD


def write(path: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = ("id", "review", "label")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def some_rows(n: int = 60, names: Sequence[str] = ("bad", "fine")) -> list[list[str]]:
    own, labels = texts(n)
    return [[str(i), text, names[label]] for i, (text, label) in enumerate(zip(own, labels, strict=True))]


def data(file: Path, **options: Any) -> TextCsv:
    return TextCsv(**{"path": str(file), "text": "review", "target": "label"} | options)


def test_a_table_of_texts(tmp_path: Path) -> None:
    rows = some_rows()
    rows[0][1] = 'A "quoted", broken\nline'
    rows[1][1] = "None"
    rows[2][1] = "?!"
    found = data(write(tmp_path / "reviews.csv", rows), punctuation=False)
    declared = found.declare()
    assert declared.target.names == ("bad", "fine")
    by_text = {text: label for _, text, label in rows}
    seen = []
    for split in ("train", "val", "test"):
        arrays, own = found.arrays(split), found.texts(split)  # type: ignore[arg-type]
        assert [declared.target.names[label] for label in arrays.y.tolist()] == [by_text[text] for text in own]
        for row, text in enumerate(own):
            x = arrays.tokens[arrays.starts[row] : arrays.starts[row + 1]].tolist()
            assert x == found.spec.encode(text)  # type: ignore[union-attr]
            assert PAD not in x
        seen += own
    assert sorted(seen) == sorted(by_text)
    assert len(found.texts("test")) == 12


def test_labels_of_numbers_are_in_the_order_of_their_values(tmp_path: Path) -> None:
    rows = [[a, b, str(i % 3 * 5)] for i, (a, b, _) in enumerate(some_rows())]
    assert data(write(tmp_path / "a.csv", rows)).declare().target.names == ("0", "5", "10")


def test_test_rows_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", some_rows())
    write(tmp_path / "test.csv", [["0", "Lovely phone", "fine"], ["1", "so boring", "bad"]])
    found = data(tmp_path / "train.csv", test_path=str(tmp_path / "test.csv"))
    assert found.texts("test") == ["Lovely phone", "so boring"]
    assert found.arrays("test").y.tolist() == [1, 0]
    assert found.arrays("train").num_rows + found.arrays("val").num_rows == 60
    write(tmp_path / "test.csv", [["0", "Lovely phone", "superb"]])
    found = data(tmp_path / "train.csv", test_path=str(tmp_path / "test.csv"))
    found.setup("fit")
    with pytest.raises(
        UserError, match=r"data\.test_path=.*test\.csv: row 1 has the label 'superb'.*labels are: bad, fine"
    ):
        found.setup("test")


def test_a_line_of_ten_megabytes(tmp_path: Path) -> None:
    rows = some_rows()
    rows[0][1] = "good food " * 1_000_000
    found = data(write(tmp_path / "long.csv", rows), max_length=100, test_fraction=0.1)
    found.setup("fit")
    longest = max(int(found.arrays(split).lengths.max()) for split in ("train", "val", "test"))  # type: ignore[arg-type]
    assert longest == 100


def test_other_separators_and_encodings(tmp_path: Path) -> None:
    text = "review\tlabel\n" + "".join(f"caf\xe9 {i}, {'oui' if i % 2 else 'non'}\t{i % 2}\n" for i in range(40))
    (tmp_path / "a.tsv").write_bytes(text.encode("latin-1"))
    found = data(tmp_path / "a.tsv", separator="\\t", encoding="latin-1")
    found.setup("fit")
    assert "caf\xe9" in found.spec.vocabulary  # type: ignore[union-attr]
    with pytest.raises(
        UserError, match=r"a\.tsv is not utf-8 text \(line 2, byte 16 is 0xe9\); set data\.encoding=latin-1"
    ):
        data(tmp_path / "a.tsv", separator="\\t").declare()


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"text": "reviews"}, r"data\.text=reviews: .*has no such column; did you mean 'review'"),
        ({}, {"target": "lable"}, r"data\.target=lable: .*has no such column; did you mean 'label'"),
        ({}, {"text": "label"}, r"data\.text=label and data\.target=label must be different columns"),
        ({}, {"separator": ";"}, r"has no such column.*change data\.separator"),
        ({}, {"path": "reviws.csv"}, "there is no such file"),
        ({3: ["3", "", "bad"], 8: ["8", "  ", "bad"]}, {}, r"review is empty in 2 of 60 rows \(4, 9\): complete"),
        ({3: ["3", "so so", ""]}, {}, r"label is empty in 1 of 60 rows \(4\)"),
        ({3: ["3", "so so", "mixed"]}, {}, r"1 of 3 classes have a single row, such as 'mixed'"),
        ({i: ["0", "good", "fine"] for i in range(60)}, {}, "only one class, 'fine': there is nothing to learn"),
        ({}, {"test_fraction": 0.0}, r"data\.test_fraction=0\.0"),
    ],
)
def test_mistakes(change: dict[int, list[str]], options: dict[str, Any], message: str, tmp_path: Path) -> None:
    rows = [change.get(i, row) for i, row in enumerate(some_rows())]
    path = write(tmp_path / "reviews.csv", rows)
    if "path" in options:
        options = {"path": str(tmp_path / options["path"])}
    with pytest.raises(UserError, match=message):
        data(path, **options).setup("fit")


def test_one_command_trains_on_labelled_text(train: Callable[..., Outcome], tmp_path: Path) -> None:
    path = write(tmp_path / "reviews.csv", some_rows(400))
    words = ("model=rnn_classifier", "data=text_csv", f"data.path={path}", "data.text=review", "data.target=label")
    small = ("net.embedding=16", "net.num_units=16", "optimizer.lr=0.02", "trainer=cpu", "trainer.max_epochs=8")
    done = train(*words, *small)
    assert done.code == 0, done.err
    (run_dir,) = (file.parent for file in tmp_path.glob("outputs/*/*/results.json"))
    assert json.loads((run_dir / "results.json").read_text())["metrics"]["test/accuracy"] > 0.9
    left = {file.name for file in run_dir.iterdir()}
    assert {"learning_curves.png", "confusion_matrix.png", "report.txt", "checkpoints"} <= left


def test_a_mistake_in_the_file_is_one_line(train: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_bytes(b"review,label\n\xff\xfe,bad\n")
    words = ("data=text_csv", f"data.path={tmp_path}/reviews.csv", "data.text=review", "data.target=label")
    done = train("model=text_cnn", *words)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "is not utf-8 text" in done.err


def test_rows_without_a_text_or_a_label_are_dropped(tmp_path: Path) -> None:
    rows = [f"film {i},{'pn'[i % 2]}" for i in range(40)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["t,y", *rows[:10], ",p", "  ,n", "late,", *rows[10:]]))
    with pytest.raises(UserError, match=r"t is empty in 2 of 43 rows \(11, 12\): .*data.missing=drop"):
        TextCsv(path=str(path), text="t", target="y").declare()
    data = TextCsv(path=str(path), text="t", target="y", missing="drop", test_path=str(path))
    assert data.read_texts("path")[0] == [f"film {i}" for i in range(40)]
    assert len(data.texts("test")) == 40
    assert data.notes()[0] == "t.csv: 3 of 43 rows without a text or a label are dropped"
    path.write_text("t,y\n,p\n")
    with pytest.raises(UserError, match="no row has both t and y"):
        TextCsv(path=str(path), text="t", target="y", missing="drop").declare()


def test_labels_that_are_equal_numbers_are_one_class(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("t,y\n" + "".join(f"film {i},{['1', '1.0', '2'][i % 3]}\n" for i in range(30)))
    data = TextCsv(path=str(path), text="t", target="y")
    assert data.declare().target.names == ("1", "2")
    assert data.read_texts("path")[1] == [0, 0, 1] * 10
