"""Whatever signs are in the name of a folder: a run in it can be continued, found again and swept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from small_runs import TABLE, Outcome

from dlzoo.config import overrides
from dlzoo.config.overrides import value_of
from dlzoo.config.prepare import prepare
from dlzoo.errors import UserError
from dlzoo.training.resume import comparable

NAMES = [
    'it\'s "quoted"',
    "a,b=c",
    "ends\\",
    "back\\\\ \\\"slash\\'",
    "$HOME %(x)s ~",
    "br{ac}es[x](y)",
    "ünï 中文",
    " spaces  ",
    "'",
    '"',
    "#;&|<>*?!:",
    "line\nbreak",
]
SIGNS = "ab01 \\\"',=${}[]():;*~#&%+-@!?äß中\t\n.`|<>^"
names = st.text(alphabet=SIGNS, min_size=1, max_size=15).filter(lambda name: name != "???")  # OmegaConf's missing value


@settings(max_examples=500, deadline=None)
@given(names)
def test_hydra_and_omegaconf_read_what_was_quoted(name: str) -> None:
    if "${" in name:
        with pytest.raises(UserError, match="starts a reference"):
            overrides.quoted("data.path", name)
        return
    word = overrides.quoted("data.path", name)
    value = OverridesParser.create().parse_override(word).value()
    assert value == name
    assert OmegaConf.create({"path": value}).path == name
    assert value_of(word) == name
    assert prepare([word]) == [f"++{word}"]


@settings(max_examples=200, deadline=None)
@given(names.filter(lambda name: "${" not in name))
def test_words_are_compared_by_what_they_mean(name: str) -> None:
    word = overrides.quoted("data.path", name)
    assert comparable([word]) == comparable([f"++{word}"]) == [f"data.path={name}"]


QUICK = ["model=mlp", "net.hidden=[4]", "trainer=cpu", "callbacks=[history,checkpoint]", "logger=none"]


def command(train: Any, *words: str) -> Outcome:
    done = train(*QUICK, *words)
    assert done.code == 0, done.err
    return done


@pytest.mark.parametrize("name", [NAMES[0], pytest.param("all", marks=pytest.mark.reliability)])
def test_a_run_in_such_a_folder_with_such_data_is_continued(name: str, train: Any, tmp_path: Path) -> None:
    for number, odd in enumerate(NAMES if name == "all" else [name]):
        folder = tmp_path / f"{number}" / odd
        folder.mkdir(parents=True)
        (folder / f"{odd}.csv").write_text(TABLE)
        run = folder / "run"
        data = [overrides.quoted("data.path", folder / f"{odd}.csv"), "data=csv", "data.target=price"]
        data += ["data.separator=';'", "data.missing=impute"]
        command(train, *data, overrides.quoted("hydra.run.dir", run), "trainer.max_epochs=1")
        ckpt = run / "checkpoints" / "last.ckpt"
        given_as = [overrides.quoted("ckpt", ckpt), f"ckpt={ckpt}"][number % 2]  # the shell takes quotes away
        command(train, given_as, "trainer.max_epochs=2")
        command(train, *data, overrides.quoted("hydra.run.dir", run), "trainer.max_epochs=2", "ckpt=last")
        assert len((run / "metrics.csv").read_text().splitlines()) == 3
        again = command(train, *data, overrides.quoted("hydra.run.dir", run), "trainer.max_epochs=2", "resume=auto")
        assert "is finished" in again.out


@pytest.mark.reliability
@pytest.mark.parametrize("name", NAMES[:4])
def test_a_sweep_in_such_a_folder_goes_on(name: str, train: Any, tmp_path: Path) -> None:
    folder = overrides.quoted("hydra.sweep.dir", tmp_path / name)
    words = ["-m", "data=iris", "trainer.max_epochs=1", "seed=0,1", folder]
    command(train, *words)
    again = command(train, *words, "resume=auto")
    assert "2 of 2 trials are done" in again.out


def test_a_run_folder_by_a_relative_path_from_another_folder(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    command(train, "data=iris", "hydra.run.dir=run", "trainer.max_epochs=1")
    monkeypatch.chdir(tmp_path / "there")
    command(train, "ckpt=../here/run/checkpoints/last.ckpt", "trainer.max_epochs=2")
    assert len((tmp_path / "here" / "run" / "metrics.csv").read_text().splitlines()) == 3
    assert not (tmp_path / "there" / "run").exists()


def test_a_reference_in_a_path_is_a_sentence(train: Any, tmp_path: Path) -> None:
    folder = tmp_path / "${x}"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    done = train(*QUICK, "data=iris", f"data.path={folder}")
    assert done.code == 2
    assert "Traceback" not in done.err
