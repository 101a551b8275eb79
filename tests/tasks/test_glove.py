"""GloVe against its equations, and what its runs leave."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from picture_runs import content, resume, run, run_until, same
from test_word2vec import CREATURES, PLACES, SPEC, TREES, book

import dlzoo
from dlzoo.commands import export
from dlzoo.errors import UserError
from dlzoo.layers.cooccurrences import Cooccurrences
from dlzoo.nets.glove import GloVe
from dlzoo.tasks.glove import CooccurrenceFactorization


@pytest.fixture
def text(tmp_path: Path) -> tuple[str, ...]:
    return ("model=glove", "data=text_file", book(tmp_path), "data.level=word", "data.lower=true", "net.embedding=8")


def a_task(**options: Any) -> CooccurrenceFactorization:
    torch.manual_seed(0)
    net = GloVe(SPEC, embedding=4).double()
    with torch.no_grad():
        for p in net.parameters():
            p.normal_()
    return CooccurrenceFactorization(net, SPEC, **options)


def test_gradients_are_those_of_the_paper() -> None:
    task = a_task(x_max=10.0, alpha=0.6)
    words, contexts = torch.tensor([2, 3, 2, 7]), torch.tensor([4, 4, 2, 9])
    values = torch.tensor([0.5, 3.0, 10.0, 200.0])
    v, u = (table.detach().clone().requires_grad_() for table in (task.net.table, task.net.context_table))
    weight = torch.tensor([(x / 10) ** 0.6 if x < 10 else 1.0 for x in values.tolist()], dtype=torch.float64)
    product = (v[words, :-1] * u[contexts, :-1]).sum(1) + v[words, -1] + u[contexts, -1]
    expected = weight * (product - values.double().log()) ** 2 / 2
    loss, change, change_of_contexts = task.gradients(words, contexts, values)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-6, atol=1e-7)  # counts are in single precision
    scaled, *_ = task.gradients(words, contexts, values, 3.0)
    of_scaled = weight * (product - (3 * values.double()).log()) ** 2 / 2
    torch.testing.assert_close(scaled, of_scaled.detach(), rtol=1e-6, atol=1e-7)
    expected.sum().backward()
    for rows, found, parameter in ((words, change, v), (contexts, change_of_contexts, u)):
        total = torch.zeros_like(parameter).index_add_(0, rows, found)
        torch.testing.assert_close(total.detach(), parameter.grad, rtol=1e-6, atol=1e-7)


def test_adagrad_is_that_of_the_authors() -> None:
    """The rate is divided by the root of the squares before the step, which begin with 1."""
    task = a_task(learning_rate=0.1)
    before = task.net.table.detach().clone()
    gradients = torch.randn(2, 5, dtype=torch.float64)
    for _ in range(2):
        task.adagrad(task.net.table.data, task.net.squares, torch.tensor([3, 5]), gradients.clone())
    expected = before[[3, 5]] - 0.1 * gradients - 0.1 * gradients / (1 + gradients**2).sqrt()
    torch.testing.assert_close(task.net.table.detach()[[3, 5]], expected)
    torch.testing.assert_close(task.net.squares[[3, 5]], 1 + 2 * gradients**2)
    assert torch.equal(task.net.table.detach()[[2, 4]], before[[2, 4]])


def test_an_epoch_passes_over_each_pair_once(text: tuple[str, ...], tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []
    pairs: list[Cooccurrences] = []
    with pytest.MonkeyPatch.context() as patch:
        share = CooccurrenceFactorization.share

        def spied(self: CooccurrenceFactorization, batch_idx: int) -> torch.Tensor:
            seen.append(share(self, batch_idx))
            assert self.pairs is not None
            pairs.append(self.pairs)
            return seen[-1]

        patch.setattr(CooccurrenceFactorization, "share", spied)
        run(tmp_path / "run", *text, "trainer.max_epochs=2")
    num = len(pairs[0].values)
    epochs = torch.cat(seen).view(2, num)
    assert torch.equal(epochs.sort(1).values, torch.arange(num).expand(2, -1))
    assert not torch.equal(epochs[0], epochs[1])


def test_products_become_the_logarithms_of_counts(text: tuple[str, ...], tmp_path: Path) -> None:
    options = ("task.window=2", "task.pairs_per_step=16", "trainer.max_epochs=60", "task.x_max=20")
    run(tmp_path / "run", *text, *options)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.02 * losses[0]
    words = dlzoo.load(tmp_path / "run").words
    assert len(words) > len({*CREATURES, *TREES, *PLACES})
    assert words.most_similar("cat", top_k=3)


def test_a_run_that_was_stopped_in_an_epoch_resumes_bit_for_bit(text: tuple[str, ...], tmp_path: Path) -> None:
    words = (*text, "trainer.max_epochs=3", "data.batch_size=4", "task.pairs_per_step=8")
    run(tmp_path / "whole", *words)
    run_until(CooccurrenceFactorization, (1, 2), tmp_path / "parts", *words)
    resume(tmp_path / "parts")
    whole, parts = content(tmp_path / "whole"), content(tmp_path / "parts")
    assert same(whole["state_dict"], parts["state_dict"])


def test_an_export_looks_vectors_up(text: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path / "run", *text)
    export.command([f"ckpt={tmp_path / 'run'}", "format=onnx", f"output={tmp_path / 'words.onnx'}"])
    assert (tmp_path / "words.onnx").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("data.level=char",), r"set data\.level=word"),
        (("task.x_max=0",), r"task\.x_max=0.* must be above 0"),
        (("task.window=0",), r"task\.window=0 must lie between 1 and 1,000"),
        (("task.alpha=2",), r"task\.alpha=2.* must lie between 0 and 1"),
        (("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"), r"trainer\.devices=2: word vectors are"),
    ],
)
def test_what_cannot_be_is_said(words: tuple[str, ...], message: str, text: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path / "run", *text, *words)
