"""word2vec against its equations, and what its runs leave."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from picture_runs import content, resume, run, run_until, same
from torch import Tensor

import dlzoo
from dlzoo.commands import export
from dlzoo.errors import UserError
from dlzoo.layers.huffman import huffman
from dlzoo.layers.word_windows import Chunk
from dlzoo.nets.word2vec import Word2Vec
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.targets import NextTokens
from dlzoo.specs.tokenizer import Tokenizer
from dlzoo.tasks.word2vec import WordPrediction, kept_probability
from dlzoo.tasks.word_vectors import add_rows

NUM = 14
SPEC = TextSpec(NextTokens(NUM), vocabulary=("<pad>", "<unk>", *"abcdefghijkl"))
HIERARCHICAL = "net.output=hierarchical_softmax"


def a_task(**options: Any) -> WordPrediction:
    """With random weights in double precision; words that come later are rarer."""
    torch.manual_seed(0)
    net = Word2Vec(SPEC, embedding=6, output=options.pop("output", "negative_sampling")).double()
    with torch.no_grad():
        for p in net.parameters():
            p.normal_()
    net.counts.copy_(torch.tensor([0.0, 0.0, *range(2 * NUM - 4, 0, -2)]))
    return WordPrediction(net, SPEC, subsample=0, **options)


def log_sigmoid(x: Tensor) -> Tensor:
    return -torch.log1p(torch.exp(-x))


def pairs_of(task: WordPrediction, chunk: Chunk) -> list[tuple[int, int, list[int]]]:
    """Each word of a chunk with its position in `around` and the positions of its context there."""
    size, block = task.windows.size, task.windows.block
    return [
        (b * block + i, b * block + i + size, (b * block + chunk.mask[b, i].nonzero()[:, 0]).tolist())
        for b in range(len(chunk.mask))
        for i in range(block)
        if chunk.mask[b, i].any()
    ]


def naive_loss(task: WordPrediction, chunk: Chunk, negatives: Tensor | None, v: Tensor, u: Tensor) -> Tensor:
    """The sum of the losses by the equations, one pair after the other.

    Args:
        v: (N + 2w, D), a vector for each position of `around`, so that each has a gradient of its own.
    """
    share = 0.0 if negatives is None else task.num_negatives / negatives.shape[1]
    tree = huffman(task.net.counts[2:])

    def loss(hidden: Tensor, word: int, block: int) -> Tensor:
        if negatives is not None:
            noise = sum(log_sigmoid(-hidden @ u[k]) for k in negatives[block].tolist())
            return -log_sigmoid(hidden @ u[word]) - share * noise
        steps = [*zip(tree.nodes[word - 2].tolist(), tree.codes[word - 2].tolist(), strict=True)]
        return -sum(
            (log_sigmoid((1 - 2 * code) * hidden @ u[node]) for node, code in steps[: tree.lengths[word - 2]]),
            torch.zeros(()),
        )

    total = torch.zeros((), dtype=torch.float64)
    for n, place, context in pairs_of(task, chunk):
        block, word = n // task.windows.block, int(chunk.words[n])
        if task.architecture == "cbow":
            total = total + loss(v[context].mean(0), word, block)
        elif negatives is not None:  # the word predicts its context
            total = total + sum(loss(v[place], int(chunk.around[j]), block) for j in context)
        else:  # the context predicts the word
            total = total + sum(loss(v[j], word, block) for j in context)
    return total


@pytest.mark.parametrize("architecture", ["skipgram", "cbow"])
@pytest.mark.parametrize("output", ["negative_sampling", "hierarchical_softmax"])
def test_gradients_are_those_of_the_equations(architecture: Any, output: Any) -> None:
    task = a_task(architecture=architecture, output=output, window=3, shared_negatives=7, num_negatives=5)
    x = torch.randint(2, NUM, (3, 15), generator=torch.Generator().manual_seed(1))
    (chunk,) = task.chunks(x, torch.Generator().manual_seed(2))
    assert chunk.mask.any()
    draw = torch.Generator().manual_seed(3)
    loss, count, gradients = task.gradients(chunk, with_loss=True, draw=draw)
    negatives = None
    if output == "negative_sampling":
        draws = torch.rand(len(chunk.mask), 7, generator=torch.Generator().manual_seed(3), dtype=torch.float32)
        negatives = torch.searchsorted(task.derived.noise, draws.double(), right=True)
    v = task.net.table.detach()[chunk.around].requires_grad_()
    u = task.net.output_weights.detach().clone().requires_grad_()
    expected = naive_loss(task, chunk, negatives, v, u)
    torch.testing.assert_close(loss, expected.detach())
    listed = pairs_of(task, chunk)
    num_pairs = len(listed) if architecture == "cbow" else sum(len(context) for *_, context in listed)
    assert int(count) == num_pairs
    of_positions, of_outputs = torch.autograd.grad(expected, (v, u))
    if architecture == "cbow":  # each word of a context gets the whole gradient of the mean
        of_positions = whole_gradient(task, chunk, negatives, v.detach(), u.detach())
    found = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in (("v", (NUM, 6)), ("u", u.shape))}
    for table, rows, changes, _ in gradients:
        name = "v" if table.data_ptr() == task.net.table.data_ptr() else "u"
        found[name].index_add_(0, rows, changes)
    by_word = torch.zeros(NUM, 6, dtype=torch.float64).index_add_(0, chunk.around, of_positions)
    torch.testing.assert_close(found["v"], -by_word)
    torch.testing.assert_close(found["u"], -of_outputs)


def whole_gradient(task: WordPrediction, chunk: Chunk, negatives: Tensor | None, v: Tensor, u: Tensor) -> Tensor:
    total = torch.zeros_like(v)
    for each in pairs_of(task, chunk):
        n, _, context = each
        part = torch.zeros_like(chunk.mask)
        part.view(-1, part.shape[2])[n] = chunk.mask.view(-1, part.shape[2])[n]
        w = v.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(naive_loss(task, chunk._replace(mask=part), negatives, w, u), w)
        total += gradient * len(context)
    return total


def test_terms_of_each_gradient_are_counted() -> None:
    """The limit of a row's steps goes by them."""
    for architecture in ("skipgram", "cbow"):
        for output in ("negative_sampling", "hierarchical_softmax"):
            task = a_task(architecture=architecture, output=output, window=2, shared_negatives=4)
            (chunk,) = task.chunks(torch.arange(2, NUM)[None], torch.Generator().manual_seed(0))
            _, count, gradients = task.gradients(chunk, with_loss=False, draw=torch.Generator().manual_seed(0))
            of_vectors, of_outputs = (
                sum(float(g.terms.sum()) for g in gradients if g.table.data_ptr() == table.data_ptr())
                for table in (task.net.table, task.net.output_weights)
            )
            if output == "negative_sampling":
                assert of_outputs == pytest.approx(6 * float(count))
            if architecture == "skipgram":  # a term is of one vector and one output
                assert of_vectors == pytest.approx(of_outputs)
            else:  # of each vector of the context
                assert of_vectors > of_outputs


def test_steps_of_a_row_are_limited() -> None:
    table = torch.zeros(4, 2)
    rows, changes = torch.tensor([1, 1, 1, 2]), torch.ones(4, 2)
    add_rows(table, rows, changes, torch.tensor([1.0, 1.0, 2.0, 1.0]), most=2.0)
    assert table[:, 0].tolist() == [0.0, 1.5, 1.0, 0.0]


def test_words_are_dropped_by_the_formula_of_the_paper() -> None:
    counts = torch.tensor([0.0, 0.0, 900.0, 90.0, 10.0])
    kept = kept_probability(counts, 0.01)
    for count, probability in zip([900, 90, 10], kept[2:].tolist(), strict=True):
        f = count / 1000
        assert probability == pytest.approx(min(1.0, (math.sqrt(f / 0.01) + 1) * 0.01 / f))
    task = a_task()
    task.subsample = 0.05
    x = torch.full((1, 20_000), 2)
    num = sum(int(chunk.is_word.sum()) for chunk in task.chunks(x, torch.Generator().manual_seed(0)))
    assert num / 20_000 == pytest.approx(float(task.derived.kept[2]), abs=0.02)


def test_windows_and_negative_samples_are_drawn_from_their_distributions() -> None:
    task = a_task(window=4)
    x = torch.full((1, 10_000), 3)
    sizes = torch.cat([chunk.mask.sum(2).flatten() for chunk in task.chunks(x, torch.Generator().manual_seed(0))])
    shares = torch.bincount(sizes.long(), minlength=9)[2:9:2] / 10_000
    torch.testing.assert_close(shares, torch.full((4,), 0.25), atol=0.02, rtol=0)
    noise = task.derived.noise
    weights = task.net.counts.double() ** 0.75
    torch.testing.assert_close(noise.diff(prepend=noise.new_zeros(1)), weights / weights.sum())
    assert noise[1] == 0  # neither padding nor unknown words


# ------------------------------------------------------------------ runs

CREATURES, VERBS = ("cat", "dog", "hen", "cow"), ("ate", "saw", "bit")
TREES, PLACES = ("oak", "elm", "ash", "fir"), ("hill", "lake", "road")


def book(folder: Path, num: int = 600) -> str:
    """Sentences of two kinds, whose words share their contexts."""
    draw = torch.Generator().manual_seed(0)

    def pick(words: tuple[str, ...]) -> str:
        return words[int(torch.randint(len(words), (), generator=draw))]

    path = folder / "book.txt"
    lines = [
        f"the {pick(CREATURES)} {pick(VERBS)} the {pick(CREATURES)}."
        if i % 2
        else f"the {pick(TREES)} of {pick(PLACES)}."
        for i in range(num)
    ]
    path.write_text("\n".join(lines))
    return f"data.path={path}"


@pytest.fixture
def text(tmp_path: Path) -> tuple[str, ...]:
    return ("model=word2vec", "data=text_file", book(tmp_path), "data.level=word", "data.lower=true", "net.embedding=8")


@pytest.mark.parametrize("output", ["negative_sampling", "hierarchical_softmax"])
@pytest.mark.parametrize("architecture", ["skipgram", "cbow"])
def test_words_with_the_same_contexts_become_neighbours(
    output: str, architecture: str, text: tuple[str, ...], tmp_path: Path
) -> None:
    options = (f"net.output={output}", f"task.architecture={architecture}", "task.learning_rate=0.1", "task.window=2")
    more = ("task.words_per_step=64", "task.subsample=0.05", "trainer.max_epochs=12", "data.num_steps=200")
    run(tmp_path / "run", *text, *options, *more)
    words = dlzoo.load(tmp_path / "run").words
    for kind in (CREATURES, TREES, PLACES):
        for word in kind:
            nearest = [name for name, _ in words.most_similar(word, top_k=2)]
            assert {*nearest} & {*kind}, (word, nearest)


@pytest.mark.parametrize("words", [(), (HIERARCHICAL, "task.architecture=cbow")], ids=["skipgram", "cbow"])
def test_a_run_that_was_stopped_in_an_epoch_resumes_bit_for_bit(
    words: tuple[str, ...], text: tuple[str, ...], tmp_path: Path
) -> None:
    words = (*text, *words, "trainer.max_epochs=3", "data.batch_size=4")
    run(tmp_path / "whole", *words)
    run_until(WordPrediction, (1, 2), tmp_path / "parts", *words)
    resume(tmp_path / "parts")
    whole, parts = content(tmp_path / "whole"), content(tmp_path / "parts")
    assert same(whole["state_dict"], parts["state_dict"])
    assert whole["state_dict"]["net.table"].isfinite().all()


def test_labels_of_texts_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text("text,label\n" + "good cat,a\nbad dog,b\nbad cat,b\ngood dog and hen,a\n" * 30)
    data = ("data=text_csv", f"data.path={path}", "data.text=text", "data.target=label")
    assert run(tmp_path / "run", "model=word2vec", *data)["metrics"]["test/loss"] > 0


def test_an_export_looks_vectors_up(text: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path / "run", *text)
    export.command([f"ckpt={tmp_path / 'run'}", "format=onnx", f"output={tmp_path / 'words.onnx'}"])
    assert (tmp_path / "words.onnx").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("data.level=char",), r"set data\.level=word"),
        (("trainer.accumulate_grad_batches=2",), r"trainer\.accumulate_grad_batches=2: word vectors"),
        (("trainer.max_epochs=-1",), r"trainer\.max_epochs=-1: the learning rate"),
        (("task.window=0",), r"task\.window=0 must lie between 1 and 1,000"),
        (("task.learning_rate=0",), r"task\.learning_rate=0.* must be above 0"),
        (("net.output=hierarchical_softmax", "task.num_negatives=3"), "would be ignored"),
        (("task.architecture=cbo",), "did you mean 'cbow'"),
        (("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"), r"trainer\.devices=2: word vectors are"),
    ],
)
def test_what_cannot_be_is_said(words: tuple[str, ...], message: str, text: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path / "run", *text, *words)


def test_texts_of_unknown_words_are_refused(tmp_path: Path) -> None:
    net = Word2Vec(SPEC, embedding=2)
    assert net.table.shape == (NUM, 2)
    with pytest.raises(UserError, match=r"set data\.level=word"):
        WordPrediction(net, TextSpec(NextTokens(NUM), Tokenizer("char"), vocabulary=SPEC.vocabulary))
