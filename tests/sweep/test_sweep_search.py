"""Searches as real processes: what stops them, what they share, how they choose."""

from __future__ import annotations

import csv
import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sweep_runs import QUICK, Train, start, the_sweep
from waiting import wait_for

from dlzoo.config import compose as config
from dlzoo.errors import UserError
from dlzoo.sweep import command_line as lines
from dlzoo.sweep import driver as command
from dlzoo.sweep import record as records
from dlzoo.sweep import space as spaces
from dlzoo.sweep.record import Record, Trial
from dlzoo.sweep.runner import Runner
from dlzoo.sweep.space import Choice, Range
from dlzoo.utils import checkpoint_files
from scripts.results_table import search_section

SEARCH = (*QUICK, "optimizer.lr=tag(log,interval(1e-3,1e-1))", "sweep=random")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_search_that_was_stopped_goes_on(how: signal.Signals, tmp_path: Path) -> None:
    words = (*SEARCH, "sweep.trials=3", "trainer.max_epochs=40", "sweep.winner=none")
    process = start(tmp_path, *words)

    def second_trial_trains() -> bool:
        return any(tmp_path.glob("sweeps/*/1-*/metrics.csv"))

    wait_for(second_trial_trains, goes_on=lambda: process.poll() is None)
    process.send_signal(how)
    process.communicate()
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130}[how]
    (log,) = tmp_path.glob("sweeps/*/1-*/metrics.csv")
    time.sleep(0.5)  # a process that trained on would write a row in this time, and fail the assertion below
    written = log.stat().st_mtime_ns
    lost = checkpoint_files.read(log.parent / "checkpoints" / "last.ckpt")["dlzoo"]["overrides"]
    assert log.stat().st_mtime_ns == written, "the process of a sweep that was stopped trains on"
    again = start(tmp_path, *words)
    out, err = again.communicate()
    assert again.returncode == 0, err
    assert "1 are done" in out
    trials = records.read(the_sweep(tmp_path)).trials
    assert [t.state for t in trials] == ["complete"] * 3
    assert [t.number for t in trials] == [0, 1, 2]
    lost_rate = next(word for word in lost if "optimizer.lr=" in word).lstrip("+")
    assert trials[1].words == [lost_rate], "what was lost is run again, under its number"
    assert len({t.words[0] for t in trials}) == 3


class Careless:
    """Its destructor runs into Ctrl-C, which Python prints and forgets."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_is_not_lost_in_a_destructor(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)

    def stopped_before_a_trial() -> None:
        with Runner() as runner:
            Careless()
            runner.run(["model=mlp"], tmp_path, lambda epoch: False)

    def stopped_after_the_last() -> None:
        with Runner():
            Careless()

    for sweep in (stopped_before_a_trial, stopped_after_the_last):
        with pytest.raises(KeyboardInterrupt):
            sweep()
    assert [*tmp_path.iterdir()] == []
    assert signal.getsignal(signal.SIGINT) is before


def test_two_processes_share_a_study(tmp_path: Path) -> None:
    words = (*SEARCH, "sweep.trials=5", "net.dropout=0.1,0.2", "trainer.max_epochs=6")
    both = [start(tmp_path, *words) for _ in range(2)]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    folder = the_sweep(tmp_path)
    trials = records.read(folder).trials
    assert len(trials) == 5
    assert len({tuple(t.words) for t in trials}) == 5
    assert {t.state for t in trials} == {"complete"}
    done = [out.count("\ntrial ") + out.startswith("trial ") for out, _ in said]
    assert len(list(folder.glob("winner-*/results.json"))) == 1
    assert sum("has won" in out for out, _ in said) == 1
    assert min(done) >= 1, "both had a share"


def test_values_that_were_tried_are_not_tried_again(tmp_path: Path) -> None:
    process = start(tmp_path, *QUICK, "sweep=random", "net.dropout=0.1,0.2", "sweep.trials=6", "sweep.winner=none")
    _, err = process.communicate()
    assert process.returncode == 0, err
    folder = the_sweep(tmp_path)
    assert len(list(folder.glob("*/results.json"))) == 2
    record = records.read(folder)
    assert len(record.trials) == 6
    assert record.num_epochs == 4, "a copy costs nothing"
    assert sum(trial.reason.startswith("as trial ") for trial in record.trials) == 4


def test_bad_trials_are_stopped_and_only_the_winner_is_tested(tmp_path: Path) -> None:
    words = ("sweep=hyperband", "optimizer.lr=tag(log,interval(1e-6,1e-1))", "sweep.trials=6", "trainer.max_epochs=9")
    process = start(tmp_path, *QUICK, *words, "sweep.winner=train_val", "sweep.metric=val/accuracy")
    _, err = process.communicate()
    assert process.returncode == 0, err
    folder = the_sweep(tmp_path)
    record = records.read(folder)
    stopped = [t for t in record.trials if t.state == "pruned"]
    won = record.best()
    assert won is not None
    assert won.value == max(t.value or 0.0 for t in record.trials)
    assert stopped
    for trial in stopped:
        with (Path(trial.folder) / "metrics.csv").open() as file:
            assert len(list(csv.DictReader(file))) == trial.epochs < 9
        assert (trial.value or 0.0) <= won.value
    for trial in record.trials:
        assert not any(name.startswith("test/") for name in trial.metrics)
    results = json.loads((folder / f"winner-{won.number}" / "results.json").read_text())
    assert results["metrics"]["test/accuracy"] > 0
    assert results["epochs"] == won.best_epoch
    stored = checkpoint_files.read(folder / f"winner-{won.number}" / results["checkpoints"]["best"])
    assert won.best_epoch is not None
    assert stored["epoch"] == won.best_epoch - 1, "not chosen on rows that it was trained on"
    assert sum(stored["dlzoo"]["spec"]["target"]["counts"]) == 1438, "digits has 1438 rows for training and validation"


def test_the_epochs_of_a_search_can_be_limited(tmp_path: Path) -> None:
    process = start(tmp_path, *SEARCH, "sweep.epochs=5", "trainer.max_epochs=3", "sweep.winner=none")
    _, err = process.communicate()
    assert process.returncode == 0, err
    record = records.read(the_sweep(tmp_path))
    assert [t.epochs for t in record.trials] == [3, 2]
    assert record.num_epochs == 5


@pytest.mark.parametrize("method", ["tpe", "bayes"])
def test_every_method_learns_from_its_trials(method: str, tmp_path: Path) -> None:
    """After ten random ones the values are no longer those of a random search."""
    found: dict[str, list[str]] = {}
    for name in (method, "random"):
        study = _study(tmp_path / name, name)
        for _ in range(14):
            trial = study.claim()
            assert trial is not None
            trial.value, trial.state = abs(float(trial.params["x"]) - 0.7), "complete"
            study.tell(trial)
        found[name] = [trial.words[0] for trial in study.trials()]
    late = [abs(float(word.partition("=")[2]) - 0.7) for word in found[method][10:]]
    assert found[method][10:] != found["random"][10:]
    assert min(late) < 0.1


def _study(folder: Path, method: str) -> Any:
    from dlzoo.sweep import settings, space
    from dlzoo.sweep.search import Search

    told = settings.read([f"sweep={method}", "sweep.trials=20"])
    return Search(told, space.from_yaml({"x": {"low": 0.0, "high": 1.0}}), "val/loss", "study", folder, 10)


def test_a_random_trial_depends_on_its_number_alone(tmp_path: Path) -> None:
    one, other = _study(tmp_path / "one", "random"), _study(tmp_path / "other", "random")
    first = [one.claim().words for _ in range(3)]
    trial = other.claim()
    assert trial.words == first[0]
    trial.end("it was not run")
    other.tell(trial)
    assert _study(tmp_path / "other", "random").claim().words == first[1]
    assert len(set(map(tuple, first))) == 3


def edited(folder: Path, name: str, value: Any) -> None:
    """The study of a folder as a stranger might leave it."""
    path = folder / "study.journal"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if name in line.get("user_attr", {}):
            line["user_attr"][name] = value
        if name == "distribution" and "distribution" in line:
            line |= value
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def ended_study(folder: Path) -> None:
    study = _study(folder, "random")
    trial = study.claim()
    trial.state, trial.value, trial.best_epoch, trial.folder = "complete", 0.5, 1, str(folder / "0-run")
    study.tell(trial)


class NotStarted:
    def run(self, *words: Any) -> None:
        raise AssertionError(words)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (["++net._target_=os.system"], "net._target_=os.system is not built"),
        (["trust=evil"], "which is no option of a run"),
        (["hydra.run.dir=/elsewhere"], "which is no option of a run"),
        (["output_dir=/elsewhere"], "says where the winner is to write"),
    ],
)
def test_what_a_study_says_that_its_trials_found_is_no_command(found: list[str], message: str, tmp_path: Path) -> None:
    ended_study(tmp_path)
    edited(tmp_path, "found", found)
    study, line = _study(tmp_path, "random"), lines.read([*SEARCH, "-m"])
    record = Record(line.shared, "val/loss", "min", study.trials())
    runner: Any = NotStarted()
    with pytest.raises(UserError, match=message):
        command.retrain_winner(line, study, record, runner, tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("found", "net._target_=os.system"),
        ("value", "x"),
        ("epochs", -1),
        ("metrics", [1]),
        (
            "distribution",
            {
                "distribution": '{"name": "CategoricalDistribution", "attributes": {"choices": ["{_target_: a.B}"]}}',
                "param_value_internal": 0,
            },
        ),
    ],
)
def test_a_study_of_other_kinds_is_a_sentence(name: str, value: Any, tmp_path: Path) -> None:
    ended_study(tmp_path)
    edited(tmp_path, name, value)
    with pytest.raises(UserError, match=r"study\.journal"):
        _study(tmp_path, "random").trials()


def test_a_study_names_no_folder_elsewhere(tmp_path: Path) -> None:
    """A sweep writes into the folders of its runs."""
    ended_study(tmp_path / "study")
    for folder in (str(tmp_path), "../other"):
        edited(tmp_path / "study", "folder", folder)
        (trial,) = _study(tmp_path / "study", "random").trials()
        assert Path(trial.folder).parent == tmp_path / "study"


def test_sqlite_and_a_name_that_is_taken(train: Train, tmp_path: Path) -> None:
    words = (*SEARCH, "sweep.trials=1", f"sweep.storage=sqlite:///{tmp_path / 'study.db'}", "sweep.name=mine")
    done = train("-m", *words, "sweep.winner=none")
    assert done.code == 0, done.err
    assert (tmp_path / "study.db").is_file()
    done = train("-m", *words, "sweep=tpe")
    assert done.code == 2
    assert "sweep.name=mine" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sweep=random",), "there is nothing to search"),
        (("sweep=randon", "seed=0,1"), "did you mean 'random'?"),
        (
            ("sweep=random", "sweep.trails=3", "seed=0,1"),
            "sweep.trails: there is no such setting; did you mean 'trials'?",
        ),
        (("sweep=random", "sweep.trials=0", "seed=0,1"), "sweep.trials=0 is too small"),
        (("sweep=random,tpe", "seed=0,1"), "choose one method"),
        (("sweep=random", "sweep.metric=val/oddity", "seed=0,1"), "give sweep.mode=min or sweep.mode=max"),
        (("optimizer.lr=interval(1e-3,1e-1)",), "search it with sweep="),
        (("seed=0,1", "hydra/launcher=basic"), "trials run in dlzoo's own processes"),
        (("sweep=random", "seed=0,1", "sweep.storage=nosql://there"), "sweep.storage=nosql://there"),
        (("sweep=random", "sweep.space={optimizer.lr: {low: 2, high: 1}}"), "low must not be above high"),
    ],
)
def test_mistakes_are_said_before_anything_runs(
    words: Sequence[str], message: str, train: Train, tmp_path: Path
) -> None:
    done = train("-m", *words)
    assert done.code == 2
    assert message in done.err
    assert not list(tmp_path.glob("**/log.txt"))


def test_a_mistake_in_what_all_trials_share_ends_a_search(train: Train, tmp_path: Path) -> None:
    done = train("-m", *SEARCH, "sweep.trials=50", "optimizer.momentumm=0.5")
    assert done.code == 2
    assert done.err.count("torch.optim.Adam has no such option") == 3
    assert len(list(tmp_path.glob("**/log.txt"))) == 3


def test_a_sweep_without_m_says_so(train: Train) -> None:
    done = train("sweep=[random,mlp_mnist]")
    assert done.code == 2
    assert "add -m" in done.err


def test_failed_trials_are_never_the_best() -> None:
    trials = [Trial(0, ["a=1"], {}, state="failed", value=0.1), Trial(1, ["a=2"], {}, state="complete", value=0.2)]
    best = Record([], "val/loss", "min", trials).best()
    assert best is not None
    assert best.number == 1
    assert Record([], "val/loss", "min", trials[:1]).best() is None


def test_importance_finds_what_matters() -> None:
    import random

    from dlzoo.sweep.plots import importance

    draw = random.Random(0)
    trials = []
    for i in range(40):
        params = {"lr": 10 ** draw.uniform(-4, -1), "name": draw.choice("ab"), "seed": draw.randint(0, 9)}
        trials.append(Trial(i, [], params, "complete", abs(params["lr"] - 0.01) + 0.001 * (params["name"] == "b")))
    shares = importance(Record([], "val/loss", "min", trials), trials, ["lr", "name", "seed"])
    assert shares["lr"] > 0.6
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("word", "entry"),
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
def test_sweeps_of_the_command_line_are_ranges_and_choices(word: str, entry: Range | Choice) -> None:
    (override,) = lines.parsed([word])
    found = spaces.from_override(override)
    assert found == entry
    if isinstance(found, Range):
        assert [type(found.low), type(found.high)] == [type(entry.low), type(entry.high)]  # type: ignore[union-attr]


def test_the_command_line_wins_over_the_files() -> None:
    line = lines.read(
        config.prepare(
            ["-m", "sweep=[random,mlp_mnist]", "optimizer=sgd", "net.hidden.length=range(1,3)", "data=digits"]
        )
    )
    space = command.space_of(line)
    assert set(space) == {"net.hidden.length", "net.hidden.each", "optimizer.lr"}
    assert space["net.hidden.length"] == Range(1, 2)
    assert space["net.hidden.each"] == Range(16, 256)
    assert "data=digits" in line.words
    assert "data=mnist" not in line.words
    assert spaces.words(space, spaces.sample(space)) == ["net.hidden=[16]", "optimizer.lr=0.0001"]


def test_searches_stand_in_the_results(tmp_path: Path) -> None:
    shared = {
        "method": "hyperband",
        "trials": 8,
        "epochs": 50,
        "seconds": 9.0,
        "device": "gpu",
        "versions": {},
        "commit": "c",
    }
    runs = [shared | {"value": value, "test/accuracy": value} for value in (0.93, 0.95)]
    (tmp_path / "results").mkdir()
    store = {"metric": "val/accuracy", "told": "How.", "runs": [*runs, runs[0] | {"method": "random"}]}
    (tmp_path / "results" / "searches.json").write_text(json.dumps(store))
    section = search_section(tmp_path)
    assert "| `hyperband` | 2 | 8.0 ± 0.0 | 50 ± 0 | 94.00 ± 1.41% | 94.00 ± 1.41% | 9 ± 0 |" in section
    assert "| `random` | 1 | 8.0 | 50 | 93.00% | 93.00% | 9 |" in section
    assert search_section(tmp_path / "elsewhere") == []
