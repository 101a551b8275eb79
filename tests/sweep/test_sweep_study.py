"""A study that others may have written or edited: what it stores is checked, and nothing outside of it is touched."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from small_runs import Train
from sweep_runs import QUICK, SEARCH, open_study

from dlzoo.errors import UserError
from dlzoo.sweep import command_line, driver
from dlzoo.sweep.record import Record, absolute_folder
from dlzoo.sweep.search import LOCK_OF_STUDY


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
    study = open_study(folder, "random")
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
    study, line = open_study(tmp_path, "random"), command_line.read([*SEARCH, "-m"])
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
        open_study(tmp_path, "random").trials()


@pytest.mark.parametrize("name", [0.37, "net.hidden", None])
def test_a_hyperparameter_that_no_search_has_is_a_user_error(name: Any, tmp_path: Path) -> None:
    write_study(tmp_path)
    path = tmp_path / "study.journal"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line |= {"param_name": name} if "param_name" in line else {}
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with pytest.raises(UserError, match=r"study\.journal: trial 0\."):
        open_study(tmp_path, "random").trials()


@pytest.mark.parametrize("worker", [5, [1], {"a": 1}])
def test_a_worker_that_is_no_name_is_a_user_error(worker: Any, tmp_path: Path) -> None:
    open_study(tmp_path, "random").claim()  # by a process that has ended
    edit_study(tmp_path, "worker", worker)
    with pytest.raises(UserError, match=r"study\.journal: trial 0\.worker is .* but must be the name of a process"):
        open_study(tmp_path, "random").claim()


def test_a_study_cannot_name_a_folder_outside_the_sweep(tmp_path: Path) -> None:
    """A sweep writes into the folders of its runs."""
    write_study(tmp_path / "study")
    for folder in (str(tmp_path), "../other"):
        edit_study(tmp_path / "study", "folder", folder)
        (trial,) = open_study(tmp_path / "study", "random").trials()
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
        open_study(tmp_path, "random")


def test_a_database_and_a_name_in_use(tmp_path: Path) -> None:
    storage = f"sweep.storage=sqlite:///{tmp_path / 'study.db'}"
    open_study(tmp_path, "random", storage)
    assert (tmp_path / "study.db").is_file()
    with pytest.raises(UserError, match=r"sweep\.name=study: the study of this name searches something else"):
        open_study(tmp_path, "tpe", storage)


def test_a_study_with_another_name_is_copied_before_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "victim.txt").write_text("mine\n")
    (tmp_path / "sweep" / "study.journal").hardlink_to(tmp_path / "victim.txt")
    (tmp_path / "sweep" / "study.journal.lock").symlink_to("/elsewhere/study.journal")  # of a killed process
    driver.own_files(tmp_path / "sweep")
    (tmp_path / "sweep" / "study.journal").write_text("theirs")
    assert (tmp_path / "victim.txt").read_text() == "mine\n"


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
        study = open_study(Path("sweep"), "random")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert not lock.is_symlink()
    assert study.study._storage._backend._lock._lock_target_file == str(tmp_path / "sweep" / "study.journal")
