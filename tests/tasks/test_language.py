"""Language models: state is carried over between batches and reset between epochs; perplexity of the whole text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from picture_runs import same, whole_and_parts
from small_runs import Outcome
from torch import Tensor

from dlzoo.commands import evaluate
from dlzoo.config import compose as config
from dlzoo.data.text.loaders import MIN_PASSAGES
from dlzoo.data.text.stream import TextFile
from dlzoo.errors import SpecError, UserError
from dlzoo.layers.basic import num_parameters
from dlzoo.layers.recurrent import CellName
from dlzoo.nets.char_rnn import CharRNN
from dlzoo.nets.gpt import GPT
from dlzoo.nets.word_rnn import WordRNN
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.targets import Classes, NextTokens
from dlzoo.specs.tokenizer import PAD, SPECIAL, Tokenizer
from dlzoo.tasks import language
from dlzoo.tasks.language import Language, WindowLanguage, measures

CHARS = TextSpec(NextTokens(9), Tokenizer("char"), vocabulary=(*SPECIAL, *"abcdefg"))
WORDS = TextSpec(NextTokens(9), vocabulary=(*SPECIAL, *"abcdefg"))
TEXT = "the cat sat on the mat and the dog sat on the log.\n" * 60


def book(tmp_path: Path, text: str = TEXT) -> str:
    (tmp_path / "book.txt").write_text(text)
    return str(tmp_path / "book.txt")


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "peephole_lstm"])
def test_chunked_reading_equals_reading_at_once(cell: CellName) -> None:
    net = CharRNN(CHARS, cell=cell, num_units=8, num_layers=2).eval()
    x, _ = CHARS.example(3)
    whole, state = net(x), None
    pieces = []
    for part in x.split([1, 4, x.shape[1] - 5], 1):
        logits, state = net.step(part, state)
        pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces, 1), whole)
    assert whole.shape == (3, x.shape[1], 9)


@pytest.mark.parametrize("net", [CharRNN(CHARS, dropout=0.3, num_layers=2), WordRNN(WORDS)])
def test_predictions_depend_only_on_previous_tokens(net: CharRNN) -> None:
    x, _ = CHARS.example(2)
    before = net.eval()(x)
    x[:, 7] = x[:, 7] % 8 + 1
    after = net(x)
    assert torch.equal(before[:, :7], after[:, :7])
    assert not torch.equal(before[:, 7:], after[:, 7:])


def test_weights_are_tied_if_sizes_match() -> None:
    tied, free = WordRNN(WORDS, embedding=16, num_units=16), WordRNN(WORDS, embedding=16, num_units=16, tied=False)
    assert tied.output.weight is tied.embedding.table.weight
    assert num_parameters(free) - num_parameters(tied) == 9 * 16
    assert CharRNN(CHARS).output.weight.shape == (9, 256)
    with pytest.raises(UserError, match=r"net\.tied=true needs net\.embedding=64 and net\.num_units=256"):
        CharRNN(CHARS, tied=True)


@pytest.mark.parametrize(
    ("cls", "spec", "message"),
    [
        (CharRNN, WORDS, r"texts of lower-case words and punctuation; set data\.level=char"),
        (WordRNN, CHARS, r"texts of lower-case characters; set data\.level=word"),
        (CharRNN, TextSpec(Classes(("a", "b"))), "predicts next tokens, but the data gives classes"),
    ],
)
def test_other_kinds_of_text_are_rejected(cls: type[CharRNN], spec: TextSpec, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        cls(spec)


# The task


class Recorder(pl.Callback):
    """The state that each training and validation step starts from."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, bool]] = []

    def on_train_batch_start(self, trainer: Any, task: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append(("train", task.train_state is None))

    def on_validation_batch_start(self, trainer: Any, task: Any, *_: Any) -> None:
        self.steps.append(("val", True))


def make(tmp_path: Path, **options: Any) -> tuple[Language, TextFile]:
    data = TextFile(path=book(tmp_path), batch_size=4, num_steps=50, eval_num_steps=40, eval_batch_size=2)
    data.setup("fit")
    spec = data.spec
    assert isinstance(spec, TextSpec)
    net = CharRNN(spec, embedding=8, num_units=16)
    return Language(net, spec, optimizer=lambda p: torch.optim.Adam(p, lr=0.02), **options), data


def fit(task: Language, data: TextFile, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, callbacks=list(callbacks), **options,
    )  # fmt: skip
    trainer.fit(task, data)
    return trainer


def test_state_is_carried_over_and_reset(tmp_path: Path) -> None:
    (task, data), seen = make(tmp_path), Recorder()
    fit(task, data, seen, max_epochs=2)
    kinds = "".join(kind[0] + ("0" if fresh else "+") for kind, fresh in seen.steps)
    first_epoch = kinds[: kinds.index("v")]
    assert first_epoch == "t0" + "t+" * (len(first_epoch) // 2 - 1)
    assert kinds.count("t0") == 2  # once an epoch


def test_validation_within_an_epoch_keeps_the_training_state(tmp_path: Path) -> None:
    (task, data), seen = make(tmp_path), Recorder()
    fit(task, data, seen, max_epochs=1, val_check_interval=3)
    kinds = "".join(kind[0] + ("0" if fresh else "+") for kind, fresh in seen.steps)
    assert kinds.startswith("t0t+t+v0")
    assert "v0t+" in kinds
    assert kinds.count("t0") == 1


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_perplexity_is_that_of_the_whole_text(batch_size: int, tmp_path: Path) -> None:
    """Of each passage, read at once from its beginning, however many make a batch."""
    task, data = make(tmp_path)
    data.eval_batch_size = batch_size
    metrics = fit(task, data, max_epochs=1).callback_metrics
    tokens = data.arrays("val")
    length = min(data.eval_num_steps, -(-(len(tokens) - 1) // MIN_PASSAGES))
    losses = []
    for start in range(0, len(tokens) - 1, length):
        passage = tokens[start : start + length + 1]
        with torch.no_grad():
            losses.append(F.cross_entropy(task.eval()(passage[None, :-1])[0], passage[1:], reduction="sum"))
    loss = float(sum(losses)) / (len(tokens) - 1)
    assert float(metrics["val/loss"]) == pytest.approx(loss, rel=1e-5)
    assert float(metrics["val/perplexity"]) == pytest.approx(math.exp(loss), rel=1e-5)
    assert float(metrics["val/bits_per_char"]) == pytest.approx(loss / math.log(2), rel=1e-5)


def test_logits_of_many_tokens_are_computed_in_short_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of all characters took five gigabytes."""
    task, data = make(tmp_path)
    batch = next(iter(data.val_dataloader()))
    task.measure(batch)
    whole = task.eval_loss.compute()
    sizes = []
    advance = task.advance
    monkeypatch.setattr(language, "EVAL_LOGITS", 3 * len(batch[0]) * task.spec.num_tokens)
    monkeypatch.setattr(task, "advance", lambda x, state: (sizes.append(x.shape[1]), advance(x, state))[1])
    task.eval_loss.reset()
    task.measure(batch)
    assert max(sizes) == 3
    torch.testing.assert_close(task.eval_loss.compute(), whole)


def test_padding_is_not_a_target(tmp_path: Path) -> None:
    task, data = make(tmp_path)
    x, y, _ = next(iter(data.train_dataloader()))
    short = [F.pad(part[:, :-5], (0, 5)) for part in (x, y)]
    task.measure((x[:, :-5], y[:, :-5]))
    alone = task.eval_loss.compute()
    task.eval_loss.reset()
    task.measure((short[0], short[1]))
    torch.testing.assert_close(task.eval_loss.compute(), alone)


def test_words_have_no_bits_per_character() -> None:
    assert set(measures(1.0, WORDS)) == {"loss", "perplexity"}
    assert measures(math.log(2), CHARS) == pytest.approx({"loss": math.log(2), "perplexity": 2, "bits_per_char": 1})
    assert math.isfinite(measures(1e6, WORDS)["perplexity"])


@pytest.mark.parametrize("forget", [0.0, 1.0])
def test_some_rows_are_reset(forget: float, tmp_path: Path) -> None:
    task, data = make(tmp_path, forget=forget)
    states: list[Tensor] = []

    class Look(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            states.append(task.train_state[0])  # type: ignore[index, arg-type]

    fit(task, data, Look(), max_epochs=1)
    assert all(bool(state.any()) == (forget == 0) for state in states)
    assert not any(state.requires_grad for state in states)
    with pytest.raises(UserError, match=r"task\.forget=2"):
        make(tmp_path, forget=2.0)


def test_pieces_have_bits_per_character(tmp_path: Path) -> None:
    """The nats of all pieces, per character of the text."""
    data = TextFile(path=book(tmp_path), level="bpe", max_vocab=30, num_steps=8, eval_num_steps=40)
    data.setup()
    task = WindowLanguage(GPT(data.spec, num_units=8, num_heads=2), data.spec).eval()
    for batch in data.val_dataloader():
        task.measure(batch)
    nats, chars = 0.0, 0
    for x, y, _ in data.val_dataloader():
        with torch.no_grad():
            logits = task.net(x)
        for row in range(len(x)):
            real = y[row] != PAD
            nats += float(F.cross_entropy(logits[row][real], y[row][real], reduction="sum"))
            chars += len(data.spec.decode(y[row][real].tolist()))
    logged: dict[str, float] = {}
    task.log_dict = logged.update  # type: ignore[assignment, method-assign]
    task.log_split("val")
    assert logged["val/bits_per_char"] == pytest.approx(nats / chars / math.log(2), rel=1e-5)
    assert chars == len(data.spec.decode(data.arrays("val").tolist()[1:]))
    assert measures(2.0, data.spec, 4.0)["bits_per_char"] == pytest.approx(0.5 / math.log(2))


# Windows


def test_windows_are_read_from_their_beginning(tmp_path: Path) -> None:
    data = TextFile(path=book(tmp_path), num_steps=10, batch_size=4)
    data.setup()
    task = WindowLanguage(GPT(data.spec, num_units=8, num_heads=2, dropout=0.0), data.spec)
    task.log_step = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    x, y, _ = list(data.train_dataloader())[1]
    assert x.shape == (4, task.net.context)
    loss = task.training_step((x, y, None), 1)
    with torch.no_grad():
        torch.testing.assert_close(loss, F.cross_entropy(task.net(x).flatten(0, 1), y.flatten()))
    assert task.carried_state == ()


@pytest.mark.parametrize("model", ["char_rnn", "gpt"])
def test_a_resumed_run_equals_an_uninterrupted_one(model: str, tmp_path: Path) -> None:
    words = (f"model={model}", "data=text_file", f"data.path={book(tmp_path)}", "data.batch_size=8", "net.dropout=0.1")
    small = ("net.num_units=16", "data.num_steps=16", "net.num_layers=2")
    whole, parts = whole_and_parts(tmp_path, *words, *small)
    assert same(whole["state_dict"], parts["state_dict"])
    assert same(whole["optimizer_states"], parts["optimizer_states"])


# Whole runs


def test_a_transformer_learns_pieces_of_words(train: Callable[..., Outcome], tmp_path: Path) -> None:
    words = ("model=gpt", "data=text_file", f"data.path={book(tmp_path)}", "data.level=bpe", "data.max_vocab=30")
    small = ("net.num_units=32", "net.num_layers=2", "net.num_heads=2", "data.batch_size=8", "data.num_steps=16")
    done = train(*words, *small, "trainer.max_epochs=8", "optimizer.lr=0.01", "trainer=cpu")
    assert done.code == 0, done.err
    (file,) = tmp_path.glob("outputs/*/*/results.json")
    metrics = json.loads(file.read_text())["metrics"]
    assert metrics["test/bits_per_char"] < 0.6
    assert " the " in (file.parent / "samples.txt").read_text().partition("--- epoch 8 ---")[2]
    ckpt = file.parent / "checkpoints" / "best.ckpt"
    again = evaluate.evaluate(ckpt)["metrics"]
    assert again["test/bits_per_char"] == pytest.approx(metrics["test/bits_per_char"], rel=1e-5)


def test_a_run_trains_generates_and_reports_a_trigram_baseline(train: Callable[..., Outcome], tmp_path: Path) -> None:
    overrides = (
        "model=char_rnn",
        "data=text_file",
        f"data.path={book(tmp_path)}",
        "net.num_units=32",
        "data.batch_size=8",
    )
    done = train(*overrides, "trainer.max_epochs=8", "optimizer.lr=0.03", "trainer=cpu", "callbacks=[default,trigram]")
    assert done.code == 0, done.err
    (file,) = tmp_path.glob("outputs/*/*/results.json")
    metrics = json.loads(file.read_text())["metrics"]
    assert metrics["test/perplexity"] < 2.5
    assert metrics["test/bits_per_char"] == pytest.approx(math.log2(metrics["test/perplexity"]), rel=1e-4)
    assert 1 < metrics["baseline/perplexity_trigram"] < 3
    samples = (file.parent / "samples.txt").read_text()
    assert samples.count("--- epoch ") == 8
    assert " the " in samples.partition("--- epoch 8 ---")[2]
    again = evaluate.evaluate(file.parent / "checkpoints" / "best.ckpt")["metrics"]
    assert again["test/perplexity"] == pytest.approx(metrics["test/perplexity"], rel=1e-5)


def test_equal_seeds_give_equal_weights(train: Callable[..., Outcome], tmp_path: Path) -> None:
    overrides = (
        "model=word_rnn",
        "data=text_file",
        f"data.path={book(tmp_path)}",
        "data.level=word",
        "net.num_units=8",
    )
    found = []
    for seed in (1, 1, 2):
        run_dir = tmp_path / f"run{len(found)}"
        quick = ("trainer=cpu", "trainer.max_epochs=2", "net.embedding=8", "callbacks=checkpoint", "logger=none")
        done = train(*overrides, *quick, f"seed={seed}", f"hydra.run.dir={run_dir}")
        assert done.code == 0, done.err
        found.append(torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not all(torch.equal(found[0][name], found[2][name]) for name in found[0])


def test_texts_with_classes_need_other_models(train: Callable[..., Outcome], tmp_path: Path) -> None:
    done = train("model=char_rnn", "data=imdb", f"data_dir={tmp_path}")
    assert done.code == 2
    assert "char_rnn learns next tokens, but data=imdb gives classes; models for texts with classes: bilstm" in done.err
    done = train("model=text_cnn", "data=text_file", f"data.path={book(tmp_path)}")
    assert "text_cnn learns classes, but data=text_file gives next tokens; models for texts with next" in done.err
    assert config.compose(["model=word_rnn"]).trainer.gradient_clip_val == 1.0
