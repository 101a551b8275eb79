"""The command line of a sweep: what becomes a range or a choice, and mistakes, found before a trial starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from small_runs import Train
from sweep_runs import SEARCH

from dlzoo.config.prepare import prepare
from dlzoo.sweep import command_line, driver
from dlzoo.sweep import space as spaces
from dlzoo.sweep.space import Choice, Range


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("sweep=random",), "nothing to search"),
        (("sweep=randon", "seed=0,1"), "did you mean 'random'?"),
        (
            ("sweep=random", "sweep.trails=3", "seed=0,1"),
            "sweep.trails: there is no such setting; did you mean 'trials'?",
        ),
        (("sweep=random", "sweep.trials=0", "seed=0,1"), "sweep.trials=0 is too small"),
        (("sweep=random,tpe", "seed=0,1"), "choose one method"),
        (("sweep=random", "sweep.metric=val/oddity", "seed=0,1"), "add sweep.mode=min or sweep.mode=max"),
        (("optimizer.lr=interval(1e-3,1e-1)",), "search it with sweep="),
        (("seed=0,1", "hydra/launcher=basic"), "trials run in dlzoo's own worker processes"),
        (("sweep=random", "seed=0,1", "sweep.storage=nosql://there"), "sweep.storage=nosql://there"),
        (("sweep=random", "sweep.space={optimizer.lr: {low: 2, high: 1}}"), "low must not exceed high"),
    ],
)
def test_mistakes_are_reported_before_anything_runs(
    overrides: Sequence[str], message: str, train: Train, tmp_path: Path
) -> None:
    done = train("-m", *overrides)
    assert done.code == 2
    assert message in done.err
    assert not list(tmp_path.glob("**/log.txt"))


def test_a_misspelled_option_is_reported_before_the_first_trial(train: Train, tmp_path: Path) -> None:
    done = train("-m", *SEARCH, "sweep.trials=50", "optimizer.momentumm=0.5")
    assert (done.code, done.err.count("torch.optim.Adam has no such option")) == (2, 1)
    assert not list(tmp_path.glob("**/log.txt"))


def test_a_sweep_without_m_is_an_error(train: Train) -> None:
    done = train("sweep=[random,mlp_mnist]")
    assert done.code == 2
    assert "add -m" in done.err


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("x=interval(1,4)", Range(1.0, 4.0)),
        ("x=int(interval(1,4))", Range(1, 4)),
        ("x=tag(log,interval(1e-4,1e-2))", Range(1e-4, 1e-2, log=True)),
        ("x=range(0,9)", Range(0, 8)),
        ("x=range(16,257,16)", Range(16, 256, step=16)),
        ("x=range(0,10,4)", Range(0, 8, step=4)),
        ("x=range(0.5,1.6,0.25)", Range(0.5, 1.5, step=0.25)),
        ("x=a,b", Choice(("a", "b"))),
        ("x=[1,2],[]", Choice(("[1,2]", "[]"))),
    ],
)
def test_command_line_sweeps_become_ranges_and_choices(text: str, entry: Range | Choice) -> None:
    (override,) = command_line.parse([text])
    parsed = spaces.from_override(override)
    assert parsed == entry
    if isinstance(parsed, Range):
        assert [type(parsed.low), type(parsed.high)] == [type(entry.low), type(entry.high)]  # type: ignore[union-attr]


def test_the_command_line_takes_precedence_over_files() -> None:
    line = command_line.read(
        prepare(["-m", "sweep=[random,mlp_mnist]", "optimizer=sgd", "net.hidden.length=range(1,3)", "data=digits"])
    )
    space = driver.space_of(line)
    assert set(space) == {"net.hidden.length", "net.hidden.each", "optimizer.lr"}
    assert space["net.hidden.length"] == Range(1, 2)
    assert space["net.hidden.each"] == Range(16, 256)
    assert "data=digits" in line.overrides
    assert "data=mnist" not in line.overrides
    assert spaces.to_overrides(space, spaces.sample(space)) == ["net.hidden=[16]", "optimizer.lr=0.0001"]
