"""Searches as real processes: interruption, shared studies, samplers and pruners."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sweep_runs import QUICK, Train, alive, start, sweep_folder
from waiting import wait_for

from dlzoo.config import compose as config
from dlzoo.errors import UserError
from dlzoo.sweep import command_line, driver
from dlzoo.sweep import record as records
from dlzoo.sweep import space as spaces
from dlzoo.sweep.record import Record, Trial, absolute_folder
from dlzoo.sweep.runner import Runner
from dlzoo.sweep.search import LOCK_OF_STUDY
from dlzoo.sweep.space import Choice, Range
from dlzoo.utils import checkpoint_files
from scripts.results_table import search_section

SEARCH = (*QUICK, "optimizer.lr=tag(log,interval(1e-3,1e-1))", "sweep=random")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_search_resumes(how: signal.Signals, tmp_path: Path) -> None:
    overrides = (*SEARCH, "sweep.trials=3", "trainer.max_epochs=40", "sweep.winner=none")
    process = start(tmp_path, *overrides)

    def second_trial_trains() -> bool:
        return any(tmp_path.glob("sweeps/*/1-*/metrics.csv"))

    wait_for(second_trial_trains, goes_on=lambda: process.poll() is None)
    process.send_signal(how)
    process.communicate()
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130}[how]
    (log,) = tmp_path.glob("sweeps/*/1-*/metrics.csv")
    wait_for(lambda: not alive(process.pid))
    assert len(log.read_text().splitlines()) - 1 < 40, "the trial of an interrupted sweep trained to its end"
    lost = checkpoint_files.read(log.parent / "checkpoints" / "last.ckpt")["dlzoo"]["overrides"]
    again = start(tmp_path, *overrides)
    out, err = again.communicate()
    assert again.returncode == 0, err
    assert "1 are done" in out
    trials = records.read(sweep_folder(tmp_path)).trials
    assert [t.state for t in trials] == ["complete"] * 3
    assert [t.number for t in trials] == [0, 1, 2]
    lost_override = next(word for word in lost if "optimizer.lr=" in word).lstrip("+")
    assert trials[1].words == [lost_override], "a lost trial is run again under its number"
    assert len({t.words[0] for t in trials}) == 3


class RaisesSigintOnDel:
    """Raises SIGINT in its destructor, where Python swallows the exception."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_is_not_lost_in_a_destructor(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)

    def stopped_before_a_trial() -> None:
        with Runner() as runner:
            RaisesSigintOnDel()
            runner.run(["model=mlp"], tmp_path, lambda epoch: False)

    def stopped_after_the_last() -> None:
        with Runner():
            RaisesSigintOnDel()

    for sweep in (stopped_before_a_trial, stopped_after_the_last):
        with pytest.raises(KeyboardInterrupt):
            sweep()
    assert [*tmp_path.iterdir()] == []
    assert signal.getsignal(signal.SIGINT) is before


def test_two_processes_share_a_study(tmp_path: Path) -> None:
    overrides = (*SEARCH, "sweep.trials=5", "net.dropout=0.1,0.2", "trainer.max_epochs=6")
    both = [start(tmp_path, *overrides) for _ in range(2)]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    folder = sweep_folder(tmp_path)
    trials = records.read(folder).trials
    assert len(trials) == 5
    assert len({tuple(t.words) for t in trials}) == 5
    assert {t.state for t in trials} == {"complete"}
    done = [out.count("\ntrial ") + out.startswith("trial ") for out, _ in outputs]
    assert len(list(folder.glob("winner-*/results.json"))) == 1
    assert sum(" won; retraining" in out for out, _ in outputs) == 1
    assert min(done) >= 1, "both processes ran trials"


def test_repeated_values_are_not_run_again(tmp_path: Path) -> None:
    process = start(tmp_path, *QUICK, "sweep=random", "net.dropout=0.1,0.2", "sweep.trials=6", "sweep.winner=none")
    _, err = process.communicate()
    assert process.returncode == 0, err
    folder = sweep_folder(tmp_path)
    assert len(list(folder.glob("*/results.json"))) == 2
    record = records.read(folder)
    assert len(record.trials) == 6
    assert record.num_epochs == 4, "a repeated trial costs nothing"
    assert sum(trial.reason.startswith("same as trial ") for trial in record.trials) == 4


def test_bad_trials_are_pruned_and_only_the_winner_is_tested(tmp_path: Path) -> None:
    overrides = (
        "sweep=hyperband",
        "optimizer.lr=tag(log,interval(1e-6,1e-1))",
        "sweep.trials=6",
        "trainer.max_epochs=9",
    )
    process = start(tmp_path, *QUICK, *overrides, "sweep.winner=train_val", "sweep.metric=val/accuracy")
    _, err = process.communicate()
    assert process.returncode == 0, err
    folder = sweep_folder(tmp_path)
    record = records.read(folder)
    pruned = [t for t in record.trials if t.state == "pruned"]
    won = record.best()
    assert won is not None
    assert won.value == max(t.value or 0.0 for t in record.trials)
    assert pruned
    for trial in pruned:
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
    record = records.read(sweep_folder(tmp_path))
    assert [t.epochs for t in record.trials] == [3, 2]
    assert record.num_epochs == 5


@pytest.mark.parametrize("method", ["tpe", "bayes"])
def test_every_method_learns_from_its_trials(method: str, tmp_path: Path) -> None:
    """After ten random trials the values differ from those of a random search."""
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

    parsed = settings.read([f"sweep={method}", "sweep.trials=20"])
    return Search(parsed, space.from_yaml({"x": {"low": 0.0, "high": 1.0}}), "val/loss", "study", folder, 10)


def test_a_random_trial_depends_on_its_number_alone(tmp_path: Path) -> None:
    one, other = _study(tmp_path / "one", "random"), _study(tmp_path / "other", "random")
    first = [one.claim().words for _ in range(3)]
    trial = other.claim()
    assert trial.words == first[0]
    trial.end("it was not run")
    other.tell(trial)
    assert _study(tmp_path / "other", "random").claim().words == first[1]
    assert len(set(map(tuple, first))) == 3


def edit_study(folder: Path, name: str, value: Any) -> None:
    """Tamper with the study in a folder."""
    path = folder / "study.journal"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if name in line.get("user_attr", {}):
            line["user_attr"][name] = value
        if name == "distribution" and "distribution" in line:
            line |= value
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def write_study(folder: Path) -> None:
    study = _study(folder, "random")
    trial = study.claim()
    trial.state, trial.value, trial.best_epoch, trial.folder = "complete", 0.5, 1, str(folder / "0-run")
    study.tell(trial)


class NotStarted:
    def run(self, *overrides: Any) -> None:
        raise AssertionError(overrides)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (["++net._target_=os.system"], "net._target_=os.system is not allowed"),
        (["trust=evil"], "which is not an option of a run"),
        (["hydra.run.dir=/elsewhere"], "which is not an option of a run"),
        (["output_dir=/elsewhere"], "sets where the winner writes its output"),
    ],
)
def test_overrides_stored_in_a_study_are_not_trusted(found: list[str], message: str, tmp_path: Path) -> None:
    write_study(tmp_path)
    edit_study(tmp_path, "found", found)
    study, line = _study(tmp_path, "random"), command_line.read([*SEARCH, "-m"])
    record = Record(line.shared, "val/loss", "min", study.trials())
    runner: Any = NotStarted()
    with pytest.raises(UserError, match=message):
        driver.retrain_winner(line, study, record, runner, tmp_path)


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
def test_a_study_with_values_of_the_wrong_type_is_a_user_error(name: str, value: Any, tmp_path: Path) -> None:
    write_study(tmp_path)
    edit_study(tmp_path, name, value)
    with pytest.raises(UserError, match=r"study\.journal"):
        _study(tmp_path, "random").trials()


@pytest.mark.parametrize("worker", [5, [1], {"a": 1}])
def test_a_worker_that_is_no_name_is_a_user_error(worker: Any, tmp_path: Path) -> None:
    _study(tmp_path, "random").claim()  # by a process that has ended
    edit_study(tmp_path, "worker", worker)
    with pytest.raises(UserError, match=r"study\.journal: trial 0\.worker is .* but must be the name of a process"):
        _study(tmp_path, "random").claim()


def test_a_study_cannot_name_a_folder_outside_the_sweep(tmp_path: Path) -> None:
    """A sweep writes into the folders of its runs."""
    write_study(tmp_path / "study")
    for folder in (str(tmp_path), "../other"):
        edit_study(tmp_path / "study", "folder", folder)
        (trial,) = _study(tmp_path / "study", "random").trials()
        assert Path(trial.folder).parent == tmp_path / "study"
    for folder in ("/a/..", "../..", "../link"):
        (tmp_path / "study" / "link").unlink(missing_ok=True)
        (tmp_path / "study" / "link").symlink_to(tmp_path)
        assert absolute_folder(folder, tmp_path / "study") == str(tmp_path / "study")


@pytest.mark.parametrize("name", ["study.journal", "0", "winner-0"])
def test_a_sweep_does_not_write_through_a_link_out_of_its_folder(name: str, train: Train, tmp_path: Path) -> None:
    """The folder may be a stranger's, and the trials' folders in it lead anywhere."""
    victim, sweep = tmp_path / "victim", tmp_path / "sweep"
    victim.mkdir()
    sweep.mkdir()
    (sweep / name).symlink_to(victim)
    for search in ([*SEARCH, "sweep.trials=1"], [*QUICK, "seed=0,1"]):
        done = train("-m", *search, f"hydra.sweep.dir={sweep}", "hydra.sweep.subdir='${hydra:job.num}'")
        assert done.code == 2
        assert f"{sweep / name} links outside" in done.err
        assert not [*victim.iterdir()]


@pytest.mark.parametrize("text", ['{"op_code": 99, "worker_id": "x"}\n', "[" * 100_000 + "\n", None])
def test_a_journal_that_is_none_is_a_user_error(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    os.mkfifo(path) if text is None else path.write_text(text)
    with pytest.raises(UserError, match="is not a regular file" if text is None else "sweep.storage="):
        _study(tmp_path, "random")


def test_a_study_with_another_name_is_copied_before_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "victim.txt").write_text("mine\n")
    (tmp_path / "sweep" / "study.journal").hardlink_to(tmp_path / "victim.txt")
    (tmp_path / "sweep" / "study.journal.lock").symlink_to("/elsewhere/study.journal")  # of a killed process
    driver.own_files(tmp_path / "sweep")
    (tmp_path / "sweep" / "study.journal").write_text("theirs")
    assert (tmp_path / "victim.txt").read_text() == "mine\n"


def test_sqlite_storage_and_a_name_in_use(train: Train, tmp_path: Path) -> None:
    overrides = (*SEARCH, "sweep.trials=1", f"sweep.storage=sqlite:///{tmp_path / 'study.db'}", "sweep.name=mine")
    done = train("-m", *overrides, "sweep.winner=none")
    assert done.code == 0, done.err
    assert (tmp_path / "study.db").is_file()
    done = train("-m", *overrides, "sweep=tpe")
    assert done.code == 2
    assert "sweep.name=mine" in done.err


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


def test_a_mistake_shared_by_all_trials_stops_a_search(train: Train, tmp_path: Path) -> None:
    done = train("-m", *SEARCH, "sweep.trials=50", "optimizer.betas=[2,3]")
    assert done.code == 2
    assert done.err.count("Invalid beta parameter") == 3
    assert len(list(tmp_path.glob("**/log.txt"))) == 3


def test_a_misspelled_option_is_reported_before_the_first_trial(train: Train, tmp_path: Path) -> None:
    done = train("-m", *SEARCH, "sweep.trials=50", "optimizer.momentumm=0.5")
    assert (done.code, done.err.count("torch.optim.Adam has no such option")) == (2, 1)
    assert not list(tmp_path.glob("**/log.txt"))


def test_a_sweep_without_m_is_an_error(train: Train) -> None:
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
    importances = importance(Record([], "val/loss", "min", trials), trials, ["lr", "name", "seed"])
    assert importances["lr"] > 0.6
    assert sum(importances.values()) == pytest.approx(1)


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
        config.prepare(
            ["-m", "sweep=[random,mlp_mnist]", "optimizer=sgd", "net.hidden.length=range(1,3)", "data=digits"]
        )
    )
    space = driver.space_of(line)
    assert set(space) == {"net.hidden.length", "net.hidden.each", "optimizer.lr"}
    assert space["net.hidden.length"] == Range(1, 2)
    assert space["net.hidden.each"] == Range(16, 256)
    assert "data=digits" in line.overrides
    assert "data=mnist" not in line.overrides
    assert spaces.to_overrides(space, spaces.sample(space)) == ["net.hidden=[16]", "optimizer.lr=0.0001"]


def test_searches_are_listed_in_the_results(tmp_path: Path) -> None:
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


def test_a_lock_that_leads_nowhere_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_late(*_: Any) -> None:
        raise AssertionError("the lock is waited for")

    monkeypatch.chdir(tmp_path)
    Path("sweep").mkdir()
    lock = Path("sweep") / LOCK_OF_STUDY
    lock.symlink_to("sweep/study.journal")  # of a process that was killed, by a relative path
    os.utime(lock, (1, 1), follow_symlinks=False)
    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(25)
    try:
        study = _study(Path("sweep"), "random")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert not lock.is_symlink()
    assert study.study._storage._backend._lock._lock_target_file == str(tmp_path / "sweep" / "study.journal")
