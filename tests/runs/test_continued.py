"""A run that is killed at a checkpoint, or trained for more epochs, is the run that was never stopped, bit for bit.

The reliability suite crosses every scheduler with every callback that keeps something, and with every way to step.
``DLZOO_WRITE_RESULTS=1 pytest -m reliability tests/runs/test_continued.py`` writes the counts for RESULTS.md.
"""

from __future__ import annotations

import itertools
import random
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import reliability_tables
import torch
from continuing import (
    CALLBACKS,
    SCHEDULERS,
    TRAINING,
    VALIDATION,
    Undisturbed,
    continued,
    run,
    words_of,
)
from killing import differences

from dlzoo.checkpoint import run_paths
from dlzoo.errors import UserError

FIXED_LENGTH = ("cosine", "onecycle")
"""Schedules that depend on the length of the run: with more epochs they are others from the first step on."""
COMMON_NAMED = (
    "net.hidden=[6] data.batch_size=16 data.val_fraction=0.25 trainer=cpu deterministic=true logger=none "
    "trainer.max_epochs=5 callbacks=[history,checkpoint,ema] callbacks.last_checkpoint.every_n_steps=3"
)
KINDS = ("killed", "moved", "more epochs")


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take half of such a short run's time."""
    monkeypatch.setattr("dlzoo.callbacks.csv_history.History.draw", lambda *_: None)
    monkeypatch.setattr("dlzoo.callbacks.gradient_norms.publish", lambda *_: None)


THIN = [
    ("plateau", "checkpoint", "accumulation", "twice an epoch"),
    ("plateau, warm-up", "EMA", "Adam", "every second epoch"),
    ("step", "both", "LBFGS", "each epoch"),
    ("onecycle", "gradient norms", "all", "not at the end"),
]


@pytest.mark.parametrize("case", THIN, ids=" - ".join)
def test_killed_at_a_checkpoint(case: tuple[str, str, str, str], tmp_path: Path) -> None:
    assert Undisturbed(tmp_path, words_of(*case)).broken_by_kill(-3) == []


@pytest.mark.parametrize("case", [case for case in THIN if case[0] not in FIXED_LENGTH], ids=" - ".join)
def test_more_epochs(case: tuple[str, str, str, str], tmp_path: Path) -> None:
    assert Undisturbed(tmp_path, words_of(*case)).broken_by_more_epochs() == []


NAMED = {
    "two inputs, two targets": "model=siamese data=csv data.path={table} data.inputs={{one:[a],other:[b]}} "
    "data.target={{gap:gap,side:side}} data.problem={{gap:regression}} data.standardize=true "
    "task.loss_weights={{side:0.5}}",
    "two outputs": "model=wide_deep data=csv data.path={table} data.target=gap data.drop=[side]",
}


@pytest.mark.parametrize("name", NAMED)
def test_named_inputs_and_outputs_are_continued(name: str, tmp_path: Path) -> None:
    """Killed after an epoch and within one; the plateau and the best checkpoint follow a metric of several."""
    draw = random.Random(0)
    rows = [(draw.random(), draw.random()) for _ in range(120)]
    lines = [f"{a},{b},{abs(a - b)},{'left' if a > b else 'right'}" for a, b in rows]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,gap,side", *lines]))
    words = [
        *NAMED[name].format(table=tmp_path / "table.csv").split(),
        *COMMON_NAMED.split(),
        *SCHEDULERS["plateau"].split(),
    ]
    whole = Undisturbed(tmp_path, words)
    over, within = (
        max(i for i, (copy, _) in enumerate(whole.copies[:-1]) if place in copy and "epoch 5" not in copy)
        for place in ("at the end of", "within")
    )
    assert whole.broken_by_kill(over) == []
    assert whole.broken_by_kill(within) == []
    assert whole.broken_by_more_epochs() == []


def test_a_plateau_lowers_the_rate_in_these_cases(tmp_path: Path) -> None:
    """Without this, the cases above would not notice that its steps are lost."""
    for case in THIN[:2]:
        rates = {row["lr"] for row in run(tmp_path / case[0], words_of(*case))["rows"]}
        assert len(rates) > 1, case


@pytest.mark.parametrize("words", ["trainer.limit_val_batches=0", "trainer=cpu trainer.limit_val_batches=0.0"])
def test_a_plateau_without_validation_is_refused(words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="scheduler=plateau monitors val/loss, but there is no validation"):
        run(tmp_path, [*words_of("plateau", "checkpoint", "Adam", "each epoch"), *words.split()])


STOPPED = [
    *words_of("none", "early stopping", "Adam", "each epoch"),
    "optimizer.lr=1",
    "trainer.max_epochs=12",
    "callbacks.early_stopping.patience=1",
]


def test_a_run_that_early_stopping_has_ended_does_not_train_on(tmp_path: Path) -> None:
    whole = Undisturbed(tmp_path, STOPPED)
    assert whole.left["progress"][0] < 12, "it was stopped early"
    assert whole.broken_by_kill(-1) == []


def test_with_more_patience_it_does(tmp_path: Path) -> None:
    expected = run(tmp_path / "whole", [*STOPPED, "callbacks.early_stopping.patience=3"])
    first = run(tmp_path / "short", STOPPED)
    assert first["progress"][0] < expected["progress"][0]
    again = continued(tmp_path / "short", [*STOPPED, "callbacks.early_stopping.patience=3"])
    assert differences(expected, again) == []


def test_best_ckpt_can_be_continued_too(tmp_path: Path) -> None:
    """It is written within the validation, before the epoch ends."""
    words = [*words_of("plateau", "checkpoint", "Adam", "twice an epoch"), "optimizer.lr=0.01"]
    expected = run(tmp_path / "whole", words)
    assert differences(expected["rows"], continued(tmp_path / "whole", words, "best")["rows"]) == []


# ---------------------------------------------------------------------- moved


WORSE = [*words_of("none", "checkpoint", "Adam", "each epoch"), "optimizer.lr=0.01", "callbacks.checkpoint.mode=max"]
"""Its loss falls, so the epoch with the highest is the first."""


@pytest.mark.parametrize("case", THIN[:1], ids=" - ".join)
def test_a_run_folder_can_be_moved(case: tuple[str, str, str, str], tmp_path: Path) -> None:
    assert Undisturbed(tmp_path, words_of(*case)).broken_by_kill(-3, move=True) == []


def test_a_moved_run_keeps_its_best_checkpoint(tmp_path: Path) -> None:
    expected = run(tmp_path / "whole", WORSE)
    best = expected["weights"]["best"]
    assert differences(best, expected["weights"]["last"]), "the last epoch is not the best"
    run(tmp_path / "short", [*WORSE, "trainer.max_epochs=4"])
    shutil.move(tmp_path / "short", tmp_path / "elsewhere")
    assert differences(expected, continued(tmp_path / "elsewhere", WORSE)) == []


def test_a_run_goes_on_in_another_folder_with_its_best_checkpoint(tmp_path: Path) -> None:
    from dlzoo.config import compose as config
    from dlzoo.config import overrides
    from dlzoo.training.run import run as run_training

    expected = run(tmp_path / "whole", WORSE)
    run(tmp_path / "short", [*WORSE, "trainer.max_epochs=4"])
    last = tmp_path / "short" / "run" / "checkpoints" / "last.ckpt"
    cfg = config.compose([*WORSE, overrides.quoted("ckpt", last)])
    results = run_training(cfg, tmp_path / "branch" / "run", WORSE)
    shutil.rmtree(tmp_path / "short")
    stored = torch.load(tmp_path / "branch" / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    assert differences(expected["weights"]["best"], stored["state_dict"]) == []
    assert results["checkpoints"]["best"] == str(tmp_path / "branch" / "run" / "checkpoints" / "best.ckpt")


def test_checkpoints_of_before_hold_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run(tmp_path / "whole", WORSE)
    with monkeypatch.context() as patch:
        patch.setattr("dlzoo.checkpoint.run_paths.stored", lambda callbacks, run_dir: callbacks)
        run(tmp_path / "short", [*WORSE, "trainer.max_epochs=4"])
    last = torch.load(tmp_path / "short" / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert str(tmp_path) in str(last["callbacks"])
    shutil.move(tmp_path / "short", tmp_path / "elsewhere")
    assert differences(expected, continued(tmp_path / "elsewhere", WORSE)) == []


def test_no_checkpoint_and_no_results_know_where_they_are(tmp_path: Path) -> None:
    run(tmp_path, WORSE)
    for path in (tmp_path / "run" / "checkpoints").glob("*.ckpt"):
        content = torch.load(path, weights_only=True)
        assert str(tmp_path) not in str({key: content[key] for key in content if key != "state_dict"}), path
    assert str(tmp_path) not in (tmp_path / "run" / "results.json").read_text()


def test_a_missing_best_checkpoint_is_said_and_chosen_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, [*WORSE, "trainer.max_epochs=4"])
    (tmp_path / "run" / "checkpoints" / "best.ckpt").unlink()
    assert continued(tmp_path, WORSE)["progress"] == [5, 30, "finished"]
    assert re.search(r"best\.ckpt .*is missing", capsys.readouterr().err)


# ---------------------------------------------------------------------- all of them


@pytest.fixture(scope="module")
def counts() -> Iterator[dict[str, dict[str, list[int]]]]:
    """For each scheduler and kind: (tried, broken)."""
    counted: dict[str, dict[str, list[int]]] = {name: {} for name in SCHEDULERS}
    yield counted
    kinds = {name: set(KINDS if name not in FIXED_LENGTH else KINDS[:2]) for name in SCHEDULERS}
    if {n: set(found) for n, found in counted.items()} != kinds:
        return
    rows: list[list[Any]] = []
    for name, found in counted.items():
        rows.append([name, *(value for kind in KINDS for value in found.get(kind, [None, None]))])
    reliability_tables.write(
        __file__,
        "continued",
        title="Continued, by schedule",
        columns=["schedule", *(f"{kind}{broken}" for kind in KINDS for broken in ("", ", broken"))],
        rows=reliability_tables.with_total(rows),
        note=f"Each schedule with {', '.join(CALLBACKS)} and {', '.join(TRAINING)}; validated {', '.join(VALIDATION)} "
        "in turn. Killed: the run folder as it was after a checkpoint, or just before it, was continued; moved: so, "
        "under another name; more epochs: three and then two more, against five at once (not where the schedule "
        "depends on the length of the run). Broken: the weights, optimizer, schedule, callbacks, random state, metrics "
        "or the rows of metrics.csv are not, bit for bit, those of the undisturbed run. On the CPU with "
        "`deterministic=true`.",
    )


@pytest.mark.reliability
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_schedule_with_every_callback_and_every_way_to_step(
    scheduler: str, tmp_path: Path, counts: dict[str, dict[str, list[int]]]
) -> None:
    draw, validations = random.Random(scheduler), itertools.cycle(VALIDATION)
    broken: dict[str, list[str]] = {kind: [] for kind in KINDS}
    tried = dict.fromkeys(KINDS, 0)
    for number, case in enumerate(itertools.product(CALLBACKS, TRAINING)):
        validation = next(validations) if number % len(TRAINING) else next(itertools.islice(validations, 1, None))
        whole = Undisturbed(tmp_path / f"{number}", words_of(scheduler, *case, validation))
        checks: dict[str, Callable[[], list[str]]] = {"killed": partial(whole.broken_by_kill, draw.randrange(100))}
        if number % 3 == 0:
            checks["moved"] = partial(whole.broken_by_kill, draw.randrange(100), move=True)
        if scheduler not in FIXED_LENGTH:
            checks["more epochs"] = whole.broken_by_more_epochs
        for kind, check in checks.items():
            tried[kind] += 1
            if differing := check():
                broken[kind].append(f"{case}, {validation}: {'; '.join(differing)}")
        shutil.rmtree(whole.folder)
    for kind in KINDS:
        if tried[kind]:
            counts[scheduler][kind] = [tried[kind], len(broken[kind])]
    assert [text for found in broken.values() for text in found] == []


@pytest.mark.reliability
@pytest.mark.parametrize("family", ["gan", "dqn"])
@pytest.mark.parametrize("scheduler", ["step", "plateau", "plateau, warm-up"])
def test_tasks_that_step_by_themselves(family: str, scheduler: str, tmp_path: Path) -> None:
    from killing import words_of as words_of_family

    whole = Undisturbed(tmp_path, [*words_of_family(family), *SCHEDULERS[scheduler].split(), "trainer.max_epochs=5"])
    for moment in (-1, -2, 3):
        assert whole.broken_by_kill(moment) == []
    assert whole.broken_by_more_epochs() == []


def test_a_path_that_leads_out_of_the_run_is_not_taken_along(tmp_path: Path) -> None:
    """A stranger's checkpoint could have files copied from one folder to another."""
    (tmp_path / "secret").write_text("theirs")
    ckpt, run_dir = tmp_path / "a" / "b" / "checkpoints" / "last.ckpt", tmp_path / "run"
    state = {"dirpath": "checkpoints", "best_model_path": "../../secret"}
    with pytest.raises(UserError, match="which is outside its run folder"):
        run_paths.loaded({"ModelCheckpoint": state}, ckpt, run_dir)
    assert not list(tmp_path.rglob("run*"))
