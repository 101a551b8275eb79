"""The task of nets that write token sequences: losses, metrics, scheduled sampling, and whole runs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from continuing import Undisturbed
from small_runs import Outcome

import dlzoo
from dlzoo.commands import evaluate, predict
from dlzoo.commands import export as exporting
from dlzoo.data.pairs.digits import DigitSequences
from dlzoo.errors import UserError
from dlzoo.nets.seq2seq import Seq2Seq
from dlzoo.specs.batch import Batch
from dlzoo.specs.token_sequences import END, START
from dlzoo.specs.tokenizer import PAD
from dlzoo.tasks.decoding import Outputs
from dlzoo.tasks.transduction import Transduction, cross_entropy, exact_matches, shifted

SMALL = {
    "seq2seq": ["net.embedding=8", "net.num_units=16"],
    "seq2seq_attention": ["net.embedding=8", "net.num_units=16"],
    "transformer": ["net.num_units=16", "net.num_heads=2"],
}
DIGITS = ["data=digit_sequences", "data.num_samples=200", "data.max_digits=4", "data.test_max_digits=6"]
DETERMINISTIC = ["trainer=cpu", "deterministic=true", "logger=none", "trainer.max_epochs=3"]
DETERMINISTIC += ["callbacks=[history,checkpoint]", "callbacks.last_checkpoint.every_n_steps=2"]
Y = torch.tensor([[5, 6, END], [4, END, PAD]])

pytestmark = pytest.mark.usefixtures("one_thread")


def task_of(**options: float) -> tuple[Transduction, DigitSequences]:
    data = DigitSequences(num_samples=200, max_digits=4, test_max_digits=6)
    data.setup()
    torch.manual_seed(0)
    return Transduction(Seq2Seq(data.spec, embedding=8, num_units=16), data.spec, **options), data  # type: ignore[arg-type]


def test_the_decoder_reads_the_target_one_step_later() -> None:
    assert shifted(Y).tolist() == [[START, 5, 6], [START, 4, END]]


def test_the_loss_is_that_of_tokens_without_padding() -> None:
    logits = torch.randn(2, 3, 8)
    each = cross_entropy(logits, Y)
    assert each[1, 2] == 0
    expected = F.cross_entropy(logits[0], Y[0], reduction="none")
    torch.testing.assert_close(each[0], expected)
    smooth = cross_entropy(logits, Y, 0.3)[0]
    torch.testing.assert_close(smooth, 0.7 * expected - 0.3 * logits[0].log_softmax(1).mean(1))


def test_an_exact_match_is_equal_up_to_its_end() -> None:
    outputs = torch.tensor([[5, 6, END, PAD], [4, 4, END, PAD]])
    assert exact_matches(outputs, Y).tolist() == [True, False]
    assert exact_matches(Y[1:, :2], Y[1:]).tolist() == [True], "whatever the padding"
    assert exact_matches(torch.tensor([[5, 6]]), Y[:1]).tolist() == [False], "without an end"


def test_metrics_are_those_of_their_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    task, data = task_of()
    x, y = data.arrays("test").sources.padded(torch.arange(40)), data.arrays("test").targets.padded(torch.arange(40))
    assert len({int(n > task.target.longest_input) for n in (x != PAD).sum(1)}) == 2, "both kinds of rows"
    right = torch.where(torch.arange(40)[:, None] % 2 == 0, y, y.roll(1, 0))
    for part in (slice(0, 15), slice(15, 40)):
        task.measure(x[part], y[part], Outputs(right[part], torch.zeros(1)))
    logged: dict[str, float] = {}
    monkeypatch.setattr(task, "log_dict", logged.update)
    task.log_split("test")
    known = (x != PAD).sum(1) <= task.target.longest_input
    matches, is_token = (right == y).all(1).float(), y != PAD
    logits = task.net(x, shifted(y))
    hits = (logits.argmax(2) == y)[known][is_token[known]].float()
    loss = F.cross_entropy(logits[known][is_token[known]], y[known][is_token[known]])
    expected = {
        "exact_match": matches[known].mean(), "exact_match_longer": matches[~known].mean(),
        "token_accuracy": hits.mean(), "loss": loss, "perplexity": loss.exp(),
    }  # fmt: skip
    for name, value in expected.items():
        assert logged[f"test/{name}"] == pytest.approx(float(value), rel=1e-5)
    assert 0 < float(matches[known].mean()) < 1


def test_a_split_without_longer_inputs_has_no_metrics_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    task, data = task_of()
    x, y, _ = next(iter(data.batches("val")))
    task.validation_step(Batch(x, y), 0)
    logged: dict[str, float] = {}
    monkeypatch.setattr(task, "log_dict", logged.update)
    task.log_split("val")
    assert [*logged] == ["val/loss", "val/token_accuracy", "val/exact_match", "val/perplexity"]


def test_a_share_of_0_is_plain_teacher_forcing_and_of_1_reads_its_own_tokens() -> None:
    task, data = task_of()
    x, y, _ = next(iter(data.batches("val")))
    plain = task.net(x, shifted(y))
    torch.testing.assert_close(task.sampled(x, y, 0.0), plain)
    own = task.sampled(x, y, 1.0)
    read = torch.cat([torch.full_like(y[:, :1], START), own.argmax(2)[:, :-1]], 1)
    torch.testing.assert_close(task.net(x, read), own)
    assert not torch.allclose(own, plain)


def test_the_share_grows_linearly_over_the_epochs(
    train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[float] = []
    step = Transduction.training_step

    def noted(self: Transduction, batch: Batch, batch_idx: int) -> torch.Tensor:
        shares.append(self.own_share)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Transduction, "training_step", noted)
    words = ["model=seq2seq", *DIGITS, *SMALL["seq2seq"], "task.scheduled_sampling=0.8", "trainer.max_epochs=3"]
    done = train(*words, "trainer.limit_train_batches=1", "test=false", "callbacks=none", "logger=none")
    assert done.code == 0, done.err
    assert shares == pytest.approx([0.0, 0.4, 0.8])
    done = train(*words, "trainer.max_epochs=-1", "trainer.max_steps=3", "callbacks=none", "logger=none")
    assert "task.scheduled_sampling=0.8 grows over the epochs, whose number must be known" in done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, r"task\.beam_size=0 must lie between 1 and 64"),
        ({"label_smoothing": 1.5}, r"task\.label_smoothing=1\.5 must lie between 0 and 1"),
        ({"length_penalty": -1.0}, r"task\.length_penalty=-1\.0 is too small"),
    ],
)
def test_options_out_of_range(options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        task_of(**options)


def test_a_diverged_net_says_so() -> None:
    task, _ = task_of()
    with torch.no_grad():
        task.net.output.bias.fill_(torch.nan)  # type: ignore[union-attr, operator]
    with pytest.raises(UserError, match="the net's output is not finite: its training diverged"):
        task.predict(torch.tensor([[2, 3]]))


@pytest.mark.parametrize(
    "model", ["seq2seq", *(pytest.param(m, marks=pytest.mark.slow) for m in SMALL if m != "seq2seq")]
)
def test_a_run_whole(model: str, train: Callable[..., Outcome], tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [f"model={model}", *DIGITS, *SMALL[model], "trainer.max_epochs=2", f"hydra.run.dir={run}"]
    done = train(*words)
    assert done.code == 0, done.err
    metrics = json.loads((run / "results.json").read_text())["metrics"]
    assert {"test/exact_match", "test/exact_match_longer", "test/token_accuracy_longer"} <= metrics.keys()
    assert "test/bleu" not in metrics, "digits are no sentences"
    with (run / "translations.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert len(rows) == 40
    assert all(row["reference"] == row["source"][::-1] for row in rows)
    assert (run / "attention.png").exists() == (model != "seq2seq")
    loaded = dlzoo.load(run)
    frame = loaded.predict(["31", "2718"])
    assert [*frame.columns] == ["output"]
    assert loaded.predict("31")["output"].iloc[0] == frame["output"].iloc[0], "alone as in a batch"
    assert [*dlzoo.load(run).predict([rows[0]["source"]])["output"]] == [rows[0]["output"]]


def test_prediction_and_evaluation_by_command(
    train: Callable[..., Outcome], terminal: Callable[..., Outcome], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["model=seq2seq", *DIGITS, *SMALL["seq2seq"], "trainer.max_epochs=1", f"hydra.run.dir={run}"]
    assert train(*words).code == 0
    ckpt = f"ckpt={run / 'checkpoints' / 'best.ckpt'}"
    code, out, err = terminal(predict.main, ckpt, "input=31x4", "format=json")  # x is no token of the training rows
    assert code == 0
    assert err == "warning: 1 of 4 tokens are unknown to the model, such as 'x'\n"
    (record,) = json.loads(out)
    assert record["input"] == "31x4"
    assert isinstance(record["output"], str)
    code, out, err = terminal(predict.main, ckpt, "input=3 1 4")
    assert (code, out.split("\n")[0].split()) == (0, ["input", "output"])
    (tmp_path / "pairs.tsv").write_text("31\t13\n\n" + "1" * 9 + "\t" + "1" * 9 + "\n4\n")
    code, out, err = terminal(predict.main, ckpt, f"input={tmp_path / 'pairs.tsv'}", "format=json")
    assert [record["input"] for record in json.loads(out)] == ["31", "1" * 9, "4"], "the first column, without a header"
    assert err == "warning: 1 of 3 inputs have more than 6 tokens: the rest is not read\n"
    assert [*dlzoo.load(run).predict(tmp_path / "pairs.tsv").index] == ["31", "1" * 9, "4"]
    code, _, err = terminal(predict.main, ckpt, "input=314", "top_k=2")
    assert "top_k does not apply: this checkpoint predicts token sequences" in err
    before = json.loads((run / "results.json").read_text())["metrics"]
    code, out, err = terminal(evaluate.main, ckpt, "json=true")
    assert code == 0, err
    again = json.loads(out)["metrics"]
    assert again["test/exact_match_longer"] == before["test/exact_match_longer"]
    assert again["test/loss"] == pytest.approx(before["test/loss"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("model", SMALL)
def test_encoder_and_decoder_in_onnx_write_what_the_checkpoint_writes(
    model: str, train: Callable[..., Outcome], terminal: Callable[..., Outcome], tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    run = tmp_path / "run"
    assert train(f"model={model}", *DIGITS, *SMALL[model], "trainer.max_epochs=2", f"hydra.run.dir={run}").code == 0
    sessions = {}
    for part in ("encoder", "decoder"):
        path = tmp_path / f"{part}.onnx"
        code, _, err = terminal(exporting.main, f"ckpt={run}", f"part={part}", f"output={path}")
        assert code == 0, err
        sessions[part] = onnxruntime.InferenceSession(str(path))
    loaded = dlzoo.load(run)
    x = np.array([loaded.spec.encode("31415")])  # type: ignore[attr-defined]
    names = [port.name for port in sessions["encoder"].get_outputs()]
    known = dict(zip(names, sessions["encoder"].run(None, {"tokens": x}), strict=True)) | {"tokens": x}
    for port in sessions["decoder"].get_inputs():
        if port.name not in (*known, "token"):  # keys and values of no token yet
            known[port.name] = np.zeros([{"batch": 1, "past": 0}.get(size, size) for size in port.shape], np.float32)
    written, token = [], START
    for _ in range(7):
        needed = {port.name for port in sessions["decoder"].get_inputs()} - {"token"}
        given = {name: known[name] for name in needed} | {"token": np.array([[token]])}
        probabilities, *state = sessions["decoder"].run(None, given)
        for name, value in zip([port.name for port in sessions["decoder"].get_outputs()][1:], state, strict=True):
            known[name.removesuffix("_after")] = value
        probabilities[0, :END] = 0
        written.append(token := int(probabilities[0].argmax()))
        if token == END:
            break
    task = loaded.task
    task.beam_size = 1  # type: ignore[attr-defined]
    assert task.predict(torch.tensor(x))[0].tolist() == written  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("model", SMALL)
def test_a_run_that_is_killed_within_an_epoch_continues_bit_for_bit(model: str, tmp_path: Path) -> None:
    words = [f"model={model}", *DIGITS, *SMALL[model], "data.batch_size=32", "net.dropout=0.2", *DETERMINISTIC]
    words += ["task.scheduled_sampling=0.5", *(["net.num_layers=2"] if model != "transformer" else [])]
    whole = Undisturbed(tmp_path, words)
    within = [number for number, (name, _) in enumerate(whole.copies) if "within" in name]
    for moment in (within[0], within[-1]):
        assert not whole.broken_by_kill(moment)


@pytest.mark.slow
@pytest.mark.parametrize("model", SMALL)
def test_bfloat16_learns(model: str, train: Callable[..., Outcome], tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [f"model={model}", *DIGITS, *SMALL[model], "trainer.max_epochs=3", "trainer.precision=bf16-mixed"]
    assert train(*words, f"hydra.run.dir={run}").code == 0
    with (run / "metrics.csv").open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_attention_learns_to_reverse_digits(train: Callable[..., Outcome], tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["model=seq2seq_attention", "data=digit_sequences", "data.num_samples=5000", "data.max_digits=5"]
    words += ["data.test_max_digits=7", "net.num_units=64", "net.embedding=32", "optimizer.lr=5e-3"]
    assert train(*words, "trainer.max_epochs=12", "scheduler=onecycle", f"hydra.run.dir={run}").code == 0
    assert json.loads((run / "results.json").read_text())["metrics"]["test/exact_match"] > 0.9
