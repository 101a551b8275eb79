"""Deep belief networks: machines one after the other, then a classifier that starts from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from picture_runs import content, resume, run, same

from dlzoo.checkpoint import load as checkpoint
from dlzoo.errors import UserError
from dlzoo.layers.visible_units import BinaryUnits
from dlzoo.nets.dbn import DeepBeliefNet
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes

SMALL = ("model=dbn", "data=digits", "net.hidden=[24,16]", "data.batch_size=256", "task.sample_steps=20")


def weights(folder: Path, part: str) -> dict[str, Any]:
    return {key: value for key, value in content(folder)["state_dict"].items() if key.startswith(f"net.{part}")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run after each stage: both machines trained, then the classifier."""
    path: Path = tmp_path_factory.mktemp("dbn")
    for epochs in (1, 2, 3):
        run(path / f"{epochs}", *SMALL, "task.pretrain_epochs=1", f"trainer.max_epochs={epochs}")
    return path


def test_each_stage_trains_its_own_part(folder: Path) -> None:
    first, second, third = (folder / f"{epochs}" for epochs in (1, 2, 3))
    assert same(weights(first, "machines.0"), weights(second, "machines.0"))
    assert not same(weights(first, "machines.1"), weights(second, "machines.1"))
    assert same(weights(first, "hidden"), weights(second, "hidden"))
    assert same(weights(second, "machines"), weights(third, "machines"))
    assert not same(weights(second, "output"), weights(third, "output"))


def test_the_classifier_starts_from_the_machines(folder: Path) -> None:
    before, after = weights(folder / "3", "machines"), weights(folder / "3", "hidden")
    for i in range(2):
        start, end = before[f"net.machines.{i}.weight"].T, after[f"net.hidden.{i}.weight"]
        assert torch.nn.functional.cosine_similarity(start.flatten(), end.flatten(), dim=0) > 0.9
        assert not torch.equal(start, end)
    net = DeepBeliefNet(ImageSpec(1, 2, 3, Classes(("a", "b"))), hidden=(5, 4))
    net.initialise_classifier()
    x = torch.rand(7, 1, 2, 3)
    torch.testing.assert_close(net(x), net.output(net.up(x.flatten(1), 2)))


def test_machines_are_trained_on_the_features_below(folder: Path) -> None:
    """The base rates of the second machine are the mean features of the first."""
    state = content(folder / "2")["state_dict"]
    task: Any = checkpoint.load_task(folder / "2" / "checkpoints" / "last.ckpt")[0]
    from dlzoo.config import compose as config
    from dlzoo.config import instantiate as build

    data = build.build_data(config.compose([*SMALL]).data)
    data.setup("fit")
    x = torch.cat([data.prepared(batch).inputs for batch in data.batches("train")])
    expected = BinaryUnits().bias_for(task.net.up(x.flatten(1), 1).mean(0))
    torch.testing.assert_close(state["net.machines.1.base_bias"], expected.detach(), rtol=1e-4, atol=1e-4)


def test_a_run_resumed_at_a_stage_equals_an_uninterrupted_one(folder: Path, tmp_path: Path) -> None:
    run(tmp_path, *SMALL, "task.pretrain_epochs=1", "trainer.max_epochs=2")
    resume(tmp_path, "trainer.max_epochs=3")
    for key in ("state_dict", "global_step", "optimizer_states"):
        assert same(content(folder / "3")[key], content(tmp_path)[key]), key


def test_chains_are_of_the_highest_machine_alone(folder: Path, tmp_path: Path) -> None:
    """The lower one learns as without them; the higher one's chains are in the checkpoint, and a run continues them."""
    words = (*SMALL, "task.pretrain_epochs=1", "task.num_chains=6")
    run(tmp_path / "whole", *words, "trainer.max_epochs=2")
    assert same(weights(tmp_path / "whole", "machines.0"), weights(folder / "2", "machines.0"))
    assert not same(weights(tmp_path / "whole", "machines.1"), weights(folder / "2", "machines.1"))
    run(tmp_path / "parts", *words, "trainer.max_epochs=1")
    resume(tmp_path / "parts", "trainer.max_epochs=2")
    assert same(content(tmp_path / "whole")["state_dict"], content(tmp_path / "parts")["state_dict"])
    rates = [state["param_groups"][0]["lr"] for state in content(tmp_path / "parts")["optimizer_states"]]
    assert rates == [0.1, 0.02, 0.1]
    chains = content(tmp_path / "parts")["continuation"]["ranks"][0]["carried"]["chains"]
    assert chains.shape == (6, 24)  # 24 units below the highest 16
    task: Any = checkpoint.load_task(tmp_path / "whole" / "checkpoints" / "last.ckpt")[0]
    assert task.carried_state_mismatch("chains", chains) is None
    assert task.carried_state_mismatch("chains", torch.zeros(6, 64)) == "6 chains of 24 units"


def test_it_learns_digits_and_draws_some(tmp_path: Path) -> None:
    overrides = ("net.hidden=[100]", "task.pretrain_epochs=5", "trainer.max_epochs=15", "data.batch_size=32")
    results = run(tmp_path, *SMALL, *overrides)
    assert results["metrics"]["test/accuracy"] > 0.85
    task: Any = checkpoint.load_task(tmp_path / "checkpoints" / "last.ckpt")[0]
    samples = task.sample(6, seed=0)
    assert samples.shape == (6, 1, 8, 8)
    assert torch.equal(samples, task.sample(6, seed=0))
    assert task.filters().shape == (100, 1, 8, 8)
    x = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(task.predict(x).sum(1), torch.ones(3))
    assert next(task.gibbs_chains(x, seed=0)).shape == x.shape


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("net.hidden=[]",), r"net.hidden=\[\] must give the hidden units"),
        (("net.hidden=[4,0]",), r"net.hidden=\[4, 0\] must give the hidden units"),
        (("task.pretrain_epochs=0", "task.num_chains=3"), "task.num_chains=3 .*task.pretrain_epochs above 0"),
        (
            ("task.num_chains=0", "task.chains_lr=1"),
            "task.chains_lr=1 .*task.num_chains and task",
        ),
        (("task.pretrain_epochs=0", "task.num_steps=2"), "task.num_steps=2 .*task.pretrain_epochs above 0"),
    ],
)
def test_mistakes_end_in_a_sentence(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, *SMALL, *words)


def test_a_run_that_ends_before_the_classifier_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("task.pretrain_epochs=1", "trainer.max_epochs=1", "callbacks=[history,checkpoint,problems]")
    run(tmp_path, *SMALL, *words)
    assert "the classifier is never trained: pretraining takes 2 epochs" in capsys.readouterr().err
