"""Written text: a pure function of weights and options, by the drawing that the options say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import Outcome, Terminal, run

from dlzoo.commands import sample
from dlzoo.errors import UserError
from dlzoo.inference.sampling import Sampling
from dlzoo.inference.text import Options, generate
from dlzoo.nets.base import RecurrentNet
from dlzoo.nets.char_rnn import CharRNN
from dlzoo.nets.gpt import GPT
from dlzoo.nets.word_rnn import WordRNN
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.targets import NextTokens
from dlzoo.specs.tokenizer import SPECIAL, Tokenizer

CHARS = TextSpec(NextTokens(10), Tokenizer("char", lower=False), vocabulary=(*SPECIAL, *"abcdefg\n"))
WORDS = TextSpec(NextTokens(6), vocabulary=(*SPECIAL, "food", "was", "good", "."))
TEXT = "the cat sat on the mat and the dog sat on the log.\n" * 60


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "book.txt").write_text(TEXT)
    words = ["model=char_rnn", "data=text_file", f"data.path={folder}/book.txt", "data.batch_size=8"]
    small = ["~net.hidden", "net.num_units=32", "optimizer.lr=0.03", "trainer.max_epochs=6"]
    return Path(run(folder, *words, *small)["checkpoints"]["best"])


@pytest.mark.parametrize(("net", "spec"), [(CharRNN(CHARS), CHARS), (WordRNN(WORDS), WORDS), (GPT(CHARS), CHARS)])
def test_a_text_is_a_function_of_the_options(net: RecurrentNet, spec: TextSpec) -> None:
    def text(**options: Any) -> str:
        return generate(net.eval(), spec, Options(**{"length": 40, "prompt": "good"} | options))

    torch.manual_seed(1)
    first = text()
    assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(1))  # others' draws are left alone
    assert first == text() != text(seed=1)
    assert first.startswith("good")
    assert "<" not in first
    assert text(length=10) == first[: len(text(length=10))]
    greedy = text(temperature=0.0)
    assert greedy == text(temperature=0.0, seed=1) == text(top_k=1) == text(temperature=1e-6, seed=3)
    assert greedy == text(top_p=1e-6)
    assert text(top_p=1.0) == first


def test_the_length_is_in_tokens() -> None:
    net = CharRNN(CHARS).eval()
    assert len(generate(net, CHARS, Options(length=25))) == 25
    assert len(generate(net, CHARS, Options(length=25, prompt="bad"))) == 28
    words = generate(WordRNN(WORDS).eval(), WORDS, Options(length=25))
    assert len(WORDS.encode(words)) == 25


def test_a_vocabulary_of_long_tokens_fills_no_terminal() -> None:
    spec = TextSpec(NextTokens(6), vocabulary=(*SPECIAL, *(c * 10_000 for c in "abcd")))
    text = generate(WordRNN(spec).eval(), spec, Options(length=25))
    assert len(text.split()) == 25
    assert all(len(word) == 100 and word.endswith("…") for word in text.split())


def test_the_prompt_stays_as_it_was_written() -> None:
    text = generate(WordRNN(WORDS).eval(), WORDS, Options(prompt="The FOOD, was  good", length=5))
    assert text.startswith("The FOOD, was  good")
    assert len(WORDS.encode(text)) == 5 + 5


def test_a_prompt_counts() -> None:
    """A net that says the token after the last one: f comes after e."""

    class Next(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.p = torch.nn.Parameter(torch.zeros(1))

        def step(self, x: torch.Tensor, state: Any = None) -> Any:
            return torch.nn.functional.one_hot((x + 1) % 10, 10) * 50.0, state

    assert generate(Next(), CHARS, Options(prompt="ab", length=4)) == "abcdef"
    assert generate(Next(), CHARS, Options(prompt="f", length=2)) == "fg\n"


def test_a_temperature_sharpens_and_top_k_and_top_p_cut() -> None:
    scores = torch.tensor([0.0, 1.0, 2.0, 3.0])

    def shares(**options: Any) -> list[float]:
        draw = torch.Generator().manual_seed(0)
        found = [int(Sampling(**options).draw(scores, draw)) for _ in range(4000)]
        return [found.count(i) / 4000 for i in range(4)]

    assert shares() == pytest.approx(scores.softmax(0).tolist(), abs=0.03)
    assert shares(temperature=2.0) == pytest.approx((scores / 2).softmax(0).tolist(), abs=0.03)
    assert shares(top_k=2) == pytest.approx([0, 0, *scores[2:].softmax(0).tolist()], abs=0.03)
    assert shares(top_k=99) == shares() == shares(top_p=1.0)
    # the shares are 0.032, 0.087, 0.237 and 0.644
    assert shares(top_p=0.7) == shares(top_p=0.85) == shares(top_k=2)
    assert shares(top_p=0.9) == shares(top_k=3)
    assert shares(top_p=0.5) == [0, 0, 0, 1]
    assert shares(top_k=3, top_p=0.66) == [0, 0, 0, 1], "of the three, the first has 0.665"
    assert shares(temperature=4.0, top_p=0.6) == pytest.approx([0, 0, *(scores[2:] / 4).softmax(0).tolist()], abs=0.03)
    ties = torch.zeros(4)
    assert {int(Sampling(top_p=0.5).draw(ties, torch.Generator().manual_seed(i))) for i in range(50)} == {0, 1}
    assert shares(temperature=0) == shares(top_k=1) == [0, 0, 0, 1]
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(UserError, match="the training of this checkpoint diverged"):
            Sampling().draw(torch.tensor([wrong, 0.0, float("-inf")]), torch.Generator())


def test_the_command(ckpt: Path, terminal: Terminal, tmp_path: Path) -> None:
    words = ["prompt=the cat", "temperature=0.3", "top_k=5", "top_p=0.9", "length=60", "seed=2"]
    code, out, err = terminal(sample.main, f"ckpt={ckpt}", *words)
    assert (code, err) == (0, "")
    assert out.startswith("the cat sat on")
    assert len(out) == 60 + len("the cat") + 1
    assert terminal(sample.main, f"ckpt={ckpt}", *words, f"output={tmp_path}/text.txt").code == 0
    assert (tmp_path / "text.txt").read_text() == out
    assert terminal(sample.main, f"ckpt={ckpt}", "length=5").code == 0
    assert "temperature" in terminal(sample.main, "--help").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["temprature=1"], "there is no such option; did you mean 'temperature'?"),
        (["temperature=-1"], "temperature=-1.0 must be at least 0"),
        (["top_k=0"], "top_k=0 is too small"),
        (["top_p=0"], "top_p=0.0 must be above 0 and at most 1"),
        (["top_p=90"], "top_p=90.0 must be above 0 and at most 1"),
        (["length=0"], "length=0 is too small"),
        (["length=x"], "length=x must be an integer"),
        (["output=."], "this is a folder"),
    ],
)
def test_mistakes(words: list[str], message: str, ckpt: Path, terminal: Terminal) -> None:
    assert message in terminal.mistake(sample.main, f"ckpt={ckpt}", *words)
    assert "ckpt is missing" in terminal.mistake(sample.main)


def test_a_model_that_generates_nothing(terminal: Terminal, tmp_path: Path) -> None:
    best = run(tmp_path, "data=digits")["checkpoints"]["best"]
    assert "its model (Supervised) is not generative" in terminal.mistake(sample.main, f"ckpt={best}")


def test_options_are_checked_where_they_are_made() -> None:
    with pytest.raises(UserError, match="temperature"):
        Options(temperature=-0.1)


def test_samples_of_a_run_go_on_when_it_is_continued(train: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(TEXT)
    words = ("model=char_rnn", "data=text_file", f"data.path={tmp_path}/book.txt", "net.num_units=8", "trainer=cpu")
    assert train(*words, "trainer.max_epochs=2").code == 0
    (file,) = tmp_path.glob("outputs/*/*/samples.txt")
    before = file.read_text()
    assert train(f"ckpt={file.parent}/checkpoints/last.ckpt", "trainer.max_epochs=3").code == 0
    assert file.read_text().startswith(before)
    assert file.read_text().count("--- epoch 3 ---") == 1
