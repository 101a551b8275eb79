"""Sequence tagging: what it learns, what it predicts, and that it resumes and exports as other families do."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tagged_stand_ins as stand_ins
import torch
import torch.nn.functional as F
from picture_runs import content, resume, run, same

import dlzoo
from dlzoo.callbacks.tag_report import frequent_tag_scores
from dlzoo.commands import export, predict
from dlzoo.data.text.conll import Sentence
from dlzoo.data.text.tagged import TaggedData
from dlzoo.errors import UserError
from dlzoo.nets.tagger import Tagger
from dlzoo.specs.sentences import NO_WORD, UNSEEN_TAG, SentenceSpec, Tags
from dlzoo.specs.tokenizer import SPECIAL
from dlzoo.tasks.tagging import Tagging

SPEC = SentenceSpec(
    Tags(("DET", "NOUN", "VERB")), vocabulary=(*SPECIAL, "the", "dog", "barks"), characters=(*SPECIAL, *"abdeghkorst")
)
SMALL = ("net.num_units=16", "net.embedding=8", "net.character_embedding=8", "net.character_filters=16")
QUICK = ("model=tagger", *SMALL, "net.dropout=0.1", "net.embedding_dropout=0.1", "data.batch_size=8")


def task(**options: Any) -> Tagging:
    torch.manual_seed(0)
    return Tagging(Tagger(SPEC, num_units=8, embedding=6, **options), SPEC).eval()


@pytest.mark.parametrize("crf", [False, True])
def test_padding_and_company_change_neither_loss_nor_tags(crf: bool) -> None:
    tagging = task(crf=crf)
    x, target = SPEC.example(6)
    padded = F.pad(x, (0, 0, 0, 3)), F.pad(target, (0, 3), value=NO_WORD)
    torch.testing.assert_close(tagging.loss(tagging(padded[0]), padded[1]), tagging.loss(tagging(x), target))
    together = tagging.predict(x)
    torch.testing.assert_close(tagging.predict(padded[0])[:, : x.shape[1]], together)
    assert not tagging.predict(padded[0])[:, x.shape[1] :].any()
    total = torch.zeros(())
    for row, tags, found in zip(x, target, together, strict=True):
        length = int((tags != NO_WORD).sum())
        alone = row[None, :length]
        torch.testing.assert_close(tagging.predict(alone)[0], found[:length])
        total = total + tagging.loss(tagging(alone), tags[None, :length]) * length
    torch.testing.assert_close(total / (target != NO_WORD).sum(), tagging.loss(tagging(x), target))


def test_the_loss_is_the_mean_over_words() -> None:
    tagging, (x, target) = task(), SPEC.example(4)
    scores = tagging(x)
    each = [
        -scores[i, t].log_softmax(0)[target[i, t]]
        for i in range(4)
        for t in range(target.shape[1])
        if target[i, t] != NO_WORD
    ]
    torch.testing.assert_close(tagging.loss(scores, target), torch.stack(each).mean())


@pytest.mark.parametrize("crf", [False, True])
def test_an_unseen_tag_is_a_mistake_without_a_loss(crf: bool) -> None:
    tagging = task(crf=crf)
    x = torch.tensor([SPEC.encode("the dog barks"), SPEC.encode("the dog dog")])
    target = torch.tensor([[0, 1, 2], [0, 1, UNSEEN_TAG]])
    known = tagging.loss(tagging(x)[:1], target[:1]) if crf else tagging.loss(tagging(x), target.clamp(min=NO_WORD))
    torch.testing.assert_close(tagging.loss(tagging(x), target), known)
    tagging.measure((x, target))
    assert float(tagging.counts["words"].compute()) == 6
    assert float(tagging.counts["right"].compute()) <= 5


def test_sentences_are_encoded_as_their_words() -> None:
    x = SPEC.encode("The dog groks")
    assert [row[0] for row in x] == [2, 3, 1], "lower-case words, and <unk>"
    characters = ["".join(SPEC.characters[i] for i in row[1:] if i) for row in x]
    assert characters == ["<unk>he", "dog", "groks"], "characters keep their case"
    assert all(len(row) == 1 + SPEC.max_characters for row in x)
    assert SPEC.encode("") == [[1] + [0] * SPEC.max_characters]
    long = "".join(SPEC.characters[i] for i in SPEC.encode("dog" * 20 + "bark")[0][1:])
    assert long == "dogdogdogd" + "gdogdogbark"[-10:], "the first and the last ones"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("tagger")
    words = (*QUICK, *stand_ins.write_conllu(folder / "data", 200), "trainer.max_epochs=8", "optimizer.lr=0.01")
    words = (*words, "callbacks=[history,checkpoint,tags,classification]")
    return folder / "run", run(folder / "run", *words)


def test_it_learns_from_context_and_from_characters(trained: tuple[Path, dict[str, Any]]) -> None:
    metrics = trained[1]["metrics"]
    assert metrics["test/accuracy"] > 0.97, "the tag of an ambiguous word depends on the one before"
    assert metrics["test/accuracy_unknown"] > 0.9, "that of an unknown one on its ending"
    assert metrics["baseline/accuracy_frequent_tags"] < 0.95
    assert metrics["baseline/accuracy_unknown_frequent_tags"] < 0.6
    assert "test/f1" not in metrics, "these tags mark no spans"


def test_reports(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, results = trained
    assert (folder / "confusion_matrix.png").is_file()
    with (folder / "report.csv").open() as file:
        assert {row["class"] for row in csv.DictReader(file)} > {"DET", "NOUN", "ADV", "PUNCT"}
    with (folder / "confused_words.csv").open() as file:
        wrong = sum(int(row["count"]) for row in csv.DictReader(file))
    test = stand_ins.sentences(66, 2)
    num = sum(map(len, test))
    assert wrong == round(num * (1 - results["metrics"]["test/accuracy"]))
    assert "words of 66 sentences are tagged wrong" in (folder / "confused_words.txt").read_text()


def test_a_sentence_is_tagged(
    trained: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ckpt = trained[0] / "checkpoints" / "best.ckpt"
    model = dlzoo.load(ckpt)
    frame = model.predict(["The walk .", "walk zatlly ."])
    assert frame["words"].tolist() == ["The walk .", "walk zatlly ."]
    assert frame["tags"].tolist() == ["DET NOUN PUNCT", "VERB ADV PUNCT"]
    (record,) = model.records("The walk.")
    assert [each["word"] for each in record["words"]] == ["The", "walk", "."], "punctuation is split off"
    assert all(0 <= each["probability"] <= 1 for each in record["words"])
    assert model.records([""])[0]["words"] == []
    predict.command([f"ckpt={ckpt}", "input=The walk."])
    assert "The/DET walk/NOUN ./PUNCT" in capsys.readouterr().out
    (tmp_path / "texts.txt").write_text("The walk .\nwalk .\n")
    predict.command([f"ckpt={ckpt}", f"input={tmp_path / 'texts.txt'}", "format=json"])
    assert [len(each["words"]) for each in json.loads(capsys.readouterr().out)] == [3, 2]
    for name, text in {
        "tagged.conllu": stand_ins.conllu([[("The", "_"), ("walk", "_")], [("walk", "_")]]),
        "tagged.txt": "The\tDET\nwalk\tNOUN\n\nwalk\tVERB\n",
        "spaces.txt": "The DET\nwalk NOUN\n\nwalk VERB\nThe DET\nwalk NOUN\n",
    }.items():
        (tmp_path / name).write_text(text)
        predict.command([f"ckpt={ckpt}", f"input={tmp_path / name}", "format=json"])
        found = [each["input"] for each in json.loads(capsys.readouterr().out)]
        assert found == ["The walk", "walk" if "spaces" not in name else "walk The walk"], name
        assert [*model.predict(tmp_path / name).index] == found
    with pytest.raises(UserError, match="3: give a text, or a list of texts"):
        model.predict(3)
    with pytest.raises(UserError, match="predicts tags, not classes"):
        model.predict_proba(["The walk ."])


def test_spans_are_scored(tmp_path: Path) -> None:
    for seed, name in enumerate(("train", "dev", "test")):
        (tmp_path / f"{name}.txt").write_text(stand_ins.columns(stand_ins.named_sentences(60, seed)))
    data = (
        "data=conll",
        *(
            f"data.{key}={tmp_path}/{name}.txt"
            for key, name in (("path", "train"), ("val_path", "dev"), ("test_path", "test"))
        ),
    )
    words = (*QUICK, *data, "net.crf=true", "trainer.max_epochs=8", "optimizer.lr=0.02")
    metrics = run(tmp_path / "run", *words)["metrics"]
    assert metrics["test/f1"] > 0.95
    assert {"test/precision", "test/recall", "val/f1"} <= metrics.keys()


@pytest.mark.parametrize("crf", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, crf: bool) -> None:
    """Stopped in the middle of an epoch."""
    words = (*QUICK, f"net.crf={crf}", *stand_ins.write_conllu(tmp_path / "data", 60), "net.word_dropout=0.2")
    run(tmp_path / "whole", *words)
    step = Tagging.training_step

    def stopped(self: Tagging, batch: Any, batch_idx: int) -> torch.Tensor:
        if (self.current_epoch, batch_idx) == (1, 3):
            raise RuntimeError("stopped")
        return step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tagging, "training_step", stopped)
        with pytest.raises(RuntimeError, match="stopped"):
            run(tmp_path / "parts", *words, "callbacks.last_checkpoint.every_minutes=1e-9")
    resume(tmp_path / "parts")
    assert same(content(tmp_path / "whole")["state_dict"], content(tmp_path / "parts")["state_dict"])


@pytest.mark.parametrize("crf", [False, True])
def test_an_export_is_verified(tmp_path: Path, crf: bool) -> None:
    run(tmp_path, *QUICK, f"net.crf={crf}", *stand_ins.write_conllu(tmp_path / "data", 40), "trainer.max_epochs=1")
    export.command([f"ckpt={tmp_path / 'checkpoints' / 'last.ckpt'}", f"output={tmp_path / 'net.onnx'}"])
    assert (tmp_path / "net.onnx").is_file()


def test_an_export_takes_longer_sentences_than_the_shortest(tmp_path: Path) -> None:
    """The first batch of a test split that is sorted by length may hold sentences of one word only."""
    data = stand_ins.write_conllu(tmp_path / "data", 40)
    test = tmp_path / "data" / "test.conllu"
    test.write_text(stand_ins.conllu([[("walk", "NOUN")]] * 8) + test.read_text())
    run(tmp_path, *QUICK, "data.eval_batch_size=4", *data, "trainer.max_epochs=1")
    export.command([f"ckpt={tmp_path / 'checkpoints' / 'last.ckpt'}", f"output={tmp_path / 'net.onnx'}"])


def test_mistakes_are_sentences(tmp_path: Path) -> None:
    data = stand_ins.write_conllu(tmp_path / "data", 20)
    for words, message in (
        (("model=tagger", "data=iris"), "tagger takes sentences, but data=iris gives a table"),
        (("model=text_cnn", *data), "text_cnn takes texts, but data=conll gives sentences of lower-case words"),
        (("model=tagger", *data, "net.character_widths=[]"), r"net\.character_widths=\[\] must give filter widths"),
    ):
        with pytest.raises(UserError, match=message):
            run(tmp_path, *words)


def test_half_precision_and_vectors_of_words(tmp_path: Path) -> None:
    """bf16: the conditional random field stays in single precision; vectors of a file are those of the net."""
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("the 1 2 3 4 5 6 7 8\nwalk 8 7 6 5 4 3 2 1\n")
    words = (*QUICK, *stand_ins.write_conllu(tmp_path / "data", 40), "net.crf=true", "trainer.precision=bf16-mixed")
    words = (*words, f"net.vectors={vectors}", "net.freeze_vectors=true")
    metrics = run(tmp_path / "run", *words)["metrics"]
    assert 0 < metrics["test/loss"] < 10
    assert 0 <= metrics["test/accuracy"] <= 1
    net = dlzoo.load(tmp_path / "run" / "checkpoints" / "last.ckpt")
    spec: Any = net.spec
    table: Any = net.net.inputs.words.table.weight  # type: ignore[union-attr]
    assert table[spec.vocabulary.index("the")].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_transformer_learns_too(tmp_path: Path) -> None:
    small = ("net.num_units=16", "net.num_heads=2", "net.embedding=8", "net.character_filters=16")
    words = ("model=transformer_tagger", *small, *stand_ins.write_conllu(tmp_path / "data", 200), "data.batch_size=8")
    metrics = run(tmp_path / "run", *words, "trainer.max_epochs=8", "optimizer.lr=0.01")["metrics"]
    assert metrics["test/accuracy"] > 0.95


def test_a_net_without_characters_knows_words_by_number_alone() -> None:
    tagging = Tagging(Tagger(SPEC, num_units=8, character_filters=0), SPEC).eval()
    x = SPEC.example(3)[0]
    other = x.clone()
    other[..., 1:] = x[..., 1:].flip(2)
    assert torch.equal(tagging.predict(x), tagging.predict(other))
    assert not torch.equal(task().predict(x), task().predict(other))


def test_the_most_frequent_tag_of_a_form_is_not_that_of_its_lower_case() -> None:
    """ "May" is a month twice and "may" an auxiliary once: each form has its own tag, and "MAY" that of both."""

    def sentence(words: str, tags: str) -> Sentence:
        return Sentence(tuple(words.split()), tuple(tags.split()), ())

    class Data(TaggedData):
        spec = SimpleNamespace(knows=lambda word: word != "new")  # type: ignore[assignment]
        read = None  # type: ignore[assignment]

    train = [sentence("May May may sun", "PROPN PROPN AUX NOUN")]
    test = [sentence("May may MAY new", "PROPN AUX PROPN AUX")]
    known, unknown = frequent_tag_scores(train, test, Data.__new__(Data))
    assert (known, unknown) == (1.0, 1.0), "of words that occur once, AUX is first in alphabetical order"
