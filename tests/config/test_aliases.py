"""Short keys, other spellings of names, and what a misspelled key is close to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from small_runs import Outcome

from dlzoo.config import aliases, groups
from dlzoo.config.prepare import prepare
from dlzoo.errors import UserError

MEANT = {
    "epochs=2": ["++trainer.max_epochs=2"],
    "lr=0.1,0.2": ["++optimizer.lr=0.1,0.2"],
    "batch_size=auto": ["++data.batch_size=auto"],
    "device=mps": ["++trainer.accelerator=mps"],
    "device=cuda:1": ["++trainer.accelerator=cuda", "++trainer.devices=[1]"],
    "name=first": ["hydra.run.dir=${output_dir}/first"],
    "data=MNIST": ["data=mnist"],
    "data=Fashion-MNIST": ["data=fashion_mnist"],
    "model=LeNet,mlp": ["model=lenet,mlp"],
    "callbacks=[default,EMA]": ["callbacks=[default,ema]"],
    "trainer=cuda": ["trainer=gpu"],
}


@pytest.mark.parametrize("word", MEANT)
def test_what_a_word_means_is_said(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare([word]) == MEANT[word]
    assert f"notice: {word} means " in capsys.readouterr().err
    assert prepare(MEANT[word]) == MEANT[word]
    assert capsys.readouterr().err == ""


def test_a_name_of_several_runs_is_that_of_the_sweep() -> None:
    assert prepare(["-m", "name=first"]) == ["-m", "hydra.sweep.dir=${output_dir}/first"]


def test_a_run_is_stored_with_what_was_meant(train: Callable[..., Outcome], tmp_path: Path) -> None:
    words = ("model=softmax", "data=Iris", "epochs=1", "lr=0.5", "batch_size=50", "device=cpu", "name=first")
    done = train(*words, "callbacks=none", "logger=none")
    assert done.code == 0, done.err
    run = tmp_path / "outputs" / "first"
    assert json.loads((run / "results.json").read_text())["batch_size"] == 50
    stored = (run / ".hydra" / "overrides.yaml").read_text()
    assert "++optimizer.lr=0.5" in stored
    assert "data=iris" in stored
    assert not [name for name in aliases.SHORT if f"- {name}=" in stored]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["device=gppu"], "device=gppu is unknown; did you mean 'gpu'?"),
        (["device=cpu:1"], "device=cpu:1 is unknown"),
        (["name=a/b"], "name=a/b must consist of letters, digits"),
        (["name=.."], "name=.. must consist of"),
        (["data=MNSIT"], "data=MNSIT: there is no such data; did you mean"),
        (["hiden=[3]"], "hiden: unknown key; did you mean 'net.hidden'?"),
        (["max_epoch=3"], "did you mean 'trainer.max_epochs'?"),
        (["epoch=3"], "did you mean 'epochs'?"),
        (["lrr=3"], "did you mean 'optimizer.lr'?"),
        (["evry=1", "scheduler=step"], "did you mean 'scheduler.every'?"),
        (["maxlength=9", "model=text_cnn", "data=imdb"], "did you mean 'data.max_length'?"),
        (["seeed=7"], "did you mean 'seed'?"),
        (["qqq=7"], "qqq: unknown key; choose from: augment"),
    ],
)
def test_a_sentence_with_the_nearest_name(words: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        prepare(words)
    assert said in str(caught.value)


def test_a_checkpoint_has_no_short_keys() -> None:
    """A stored override is what it means: none in a stranger's checkpoint is expanded."""
    assert not {*aliases.SHORT} & {*groups.known_keys()}
