"""What a person looks at after a run on texts: its surest and longest mistakes, and what simpler methods reach."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from small_runs import Train, newest_run
from text_stand_ins import write_sentences

from dlzoo.callbacks.text_baselines import NgramBaseline
from dlzoo.data.text.published import SentimentSentences
from dlzoo.inference.predict import predict


def test_mistakes_are_the_surest_and_the_longest(train: Train, stand_in_data: Path, tmp_path: Path) -> None:
    words = ("model=rnn_classifier", "data=sentiment_sentences", f"data_dir={stand_in_data}", "net.num_units=4")
    quick = ("trainer=cpu", "trainer.max_epochs=1", "optimizer.lr=1e-4", "data.eval_batch_size=16")
    assert train(*words, *quick).code == 0
    run_dir = newest_run(tmp_path)
    report = (run_dir / "mistakes.txt").read_text()
    surest, longest = report.split("The longest of")
    num = json.loads((run_dir / "results.json").read_text())
    wrong = round(60 * (1 - num["metrics"]["test/accuracy"]))
    assert 0 < wrong < 60
    assert f"The most confident of {wrong} mistakes" in report
    shares = [float(line.split()[-1].rstrip("%:")) for line in surest.splitlines() if ", mistaken for " in line]
    assert shares == sorted(shares, reverse=True)
    assert len(shares) == min(wrong, 20)
    lengths = [
        len(part.split("\n", 1)[1]) for part in longest.split("\n\n") if ", mistaken for " in part.split("\n")[0]
    ]
    assert lengths == sorted(lengths, reverse=True)

    from dlzoo.checkpoint.load import load_task

    task, _ = load_task(run_dir / "checkpoints" / "best.ckpt")
    data = SentimentSentences(data_dir=stand_in_data)
    data.adopt(task.spec)
    told = dict(zip(data.texts("test"), data.arrays("test").y.tolist(), strict=True))
    x = data.arrays("test").padded(torch.arange(60))
    said = dict(zip(data.texts("test"), predict(task, x).argmax(1).tolist(), strict=True))
    for part in surest.split("\n\n"):
        verdict, _, text = part.strip().partition(":\n  ")
        if ", mistaken for " in verdict:
            names = ("negative", "positive")
            text = " ".join(text.split())
            assert verdict.startswith(f"{names[told[text]]}, mistaken for {names[said[text]]} with")


def test_a_run_without_mistakes_or_texts_leaves_none(train: Train, tmp_path: Path) -> None:
    assert train("data=wine", "trainer=cpu", "trainer.max_epochs=1").code == 0
    left = {file.name for file in newest_run(tmp_path).iterdir()}
    assert not left & {"mistakes.txt", "samples.txt"}


class Recorded(SentimentSentences):
    """Says which split's texts are asked for."""

    asked: list[str]

    def texts(self, split: Any) -> list[str]:
        self.asked.append(split)
        return super().texts(split)


def test_the_baseline_is_fitted_on_the_training_texts_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sentences(tmp_path, 60, monkeypatch)
    data, fitted = Recorded(data_dir=tmp_path), []
    data.asked = []
    fit = TfidfVectorizer.fit_transform

    def fit_transform(self: TfidfVectorizer, raw: Any, y: Any = None) -> Any:
        fitted.append(list(raw))
        return fit(self, raw, y)

    monkeypatch.setattr(TfidfVectorizer, "fit_transform", fit_transform)
    assert NgramBaseline().accuracy(data) > 0.95  # one word tells
    assert fitted == [SentimentSentences(data_dir=tmp_path).texts("train")]
    assert data.asked == ["train", "val", "test"]


def test_baselines_stand_in_the_results(train: Train, stand_in_data: Path, tmp_path: Path) -> None:
    words = ("model=text_cnn", "data=imdb", f"data_dir={stand_in_data}", "trainer=smoke", "trainer.accelerator=cpu")
    small = ("net.embedding=8", "net.num_filters=8", "logger=none")
    assert train(*words, *small, "callbacks=[checkpoint,ngrams]").code == 0
    metrics = json.loads((newest_run(tmp_path) / "results.json").read_text())["metrics"]
    assert metrics["baseline/accuracy_ngrams"] > 0.9


@pytest.mark.parametrize(("name", "message"), [("ngrams", "text classification"), ("trigram", "language models")])
def test_a_baseline_for_other_data_is_one_line(name: str, message: str, train: Train) -> None:
    done = train("data=wine", "trainer=smoke", "trainer.accelerator=cpu", f"callbacks=[checkpoint,{name}]")
    assert done.code == 2
    assert message in done.err.splitlines()[-1]
