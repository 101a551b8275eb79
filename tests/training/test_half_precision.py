"""Weights in half precision, trainer.precision=bf16-true: every family trains, and what is measured is not rounded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_runs import Outcome

from dlzoo.layers.basic import Standardize, StandardizeNamed

SHORT = (
    "trainer=cpu trainer.precision=bf16-true trainer.max_epochs=1 trainer.limit_train_batches=2 logger=none "
    "callbacks=[checkpoint,history,samples,forecast,generative]"
)
slow = pytest.mark.slow
FAMILIES = {
    "pictures": "model=cnn data=digits augment=flips",
    "series": "model=lstm data=air_passengers",
    "rule": "model=perceptron data=iris",
    "values": pytest.param("model=mlp data=synthetic data.kind=friedman task.loss=huber", marks=slow),
    "accumulated": pytest.param("model=gan data=digits trainer.accumulate_grad_batches=2", marks=slow),
    "penalty": pytest.param("model=wgan_gp data=digits net.width=4", marks=slow),
    "latents": pytest.param("model=vae data=digits net.hidden=[16]", marks=slow),
    "stateful": pytest.param(
        "model=gru data=air_passengers net.stateful=true data.window=8 data.batch_size=2", marks=slow
    ),
    "agent": pytest.param(
        "model=dqn data=cartpole data.steps_per_epoch=120 task.learning_starts=60 data.val_episodes=1 "
        "data.test_episodes=1 trainer.limit_train_batches=1.0",
        marks=slow,
    ),
}


@pytest.mark.parametrize("words", FAMILIES.values(), ids=[*FAMILIES])
def test_each_family_trains(train: Callable[..., Outcome], words: str) -> None:
    outcome = train(*SHORT.split(), *words.split())
    assert (outcome.code, outcome.err) == (0, "")


def test_texts_of_several_lengths_train(train: Callable[..., Outcome], tmp_path: Path) -> None:
    """Steps behind the end of a text are skipped, by PyTorch's packed sequences."""
    rows = [f"{'so very ' * (i % 4)}{('bad', 'good')[i % 2]},{i % 2}" for i in range(60)]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]))
    words = ("model=bilstm", "data=text_csv", f"data.path={tmp_path / 'texts.csv'}", "data.target=label")
    outcome = train(*SHORT.split(), *words, "data.text=text", "net.hidden=4")
    assert (outcome.code, outcome.err) == (0, "")


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16-true", torch.float32), ("16-true", torch.float32), ("64-true", torch.float64)]
)
def test_averages_of_weights_are_updated_in_single_precision_at_least(
    precision: str, dtype: torch.dtype, train: Callable[..., Outcome], tmp_path: Path
) -> None:
    words = [*SHORT.split()[:1], *SHORT.split()[3:-1], "model=softmax", "data=iris", f"trainer.precision={precision}"]
    words += ["callbacks=[checkpoint,history,ema]", f"hydra.run.dir={tmp_path / 'run'}"]
    outcome = train(*words, "trainer.max_epochs=1")
    assert (outcome.code, outcome.err) == (0, "")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    weights = {value.dtype for name, value in content["state_dict"].items() if name.startswith("net.")}
    assert weights == {dtype}
    outcome = train(*words, "trainer.max_epochs=2", f"ckpt={last}")
    assert (outcome.code, outcome.err) == (0, "")


def test_sums_over_many_rows_are_not_rounded(train: Callable[..., Outcome], tmp_path: Path) -> None:
    """In half precision a count stops growing at 256, so that accuracies would be no fractions of the rows."""
    outcome = train(*SHORT.split(), "model=mlp", "net.hidden=[8]", "data=digits", f"hydra.run.dir={tmp_path / 'run'}")
    assert outcome.code == 0
    accuracy = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]["test/accuracy"]
    num_correct = accuracy * 359
    assert num_correct == pytest.approx(round(num_correct), abs=1e-3)
    content = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    weights = {name: value.dtype for name, value in content["state_dict"].items() if name.startswith("net.")}
    assert {*weights.values()} == {torch.bfloat16}


def test_inputs_are_standardised_before_they_are_cast() -> None:
    """1961 and 1962 are the same number in bfloat16."""
    years = torch.tensor([[1961.0], [1962.0]])
    part = Standardize([1960.0], [1.0])
    named = StandardizeNamed({"year": part})
    part.dtype = torch.bfloat16
    assert part(years).tolist() == [[1.0], [2.0]]
    assert named({"year": years})["year"].dtype == torch.bfloat16
    assert Standardize()(years).dtype == torch.float32
