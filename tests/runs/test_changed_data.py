"""Every reader, change of its data and command: a figure is never of rows that were learned from.

What was seen is judged by a comparison of the rows themselves. ``DLZOO_WRITE_RESULTS=1 pytest -m reliability
tests/runs/test_changed_data.py`` writes the counts for RESULTS.md.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import reliability_tables
import torch
from changing_data import CHANGES, COMMON, OPTIONS, READERS, call, first_rows, has, path_of, share_seen

from dlzoo.checkpoint.load import load_task
from dlzoo.commands import evaluate, train
from dlzoo.data.fingerprint import MAX_OVERLAP

pytestmark = pytest.mark.reliability

EPOCHS = {"table": 200}
"""So many that the noise is known by heart; of others a few, for the rule is the same."""
COMMANDS = ("continued", "resume=auto", "evaluated", "evaluated elsewhere")


@pytest.fixture(scope="module")
def counts() -> Iterator[Counter[tuple[str, str, str]]]:
    """By reader, command and what came of it."""
    counted: Counter[tuple[str, str, str]] = Counter()
    yield counted
    done = {(reader, command) for reader, command, _ in counted}
    if done != {(r, c) for r in READERS for c in COMMANDS}:
        return
    rows = []
    for reader, command in sorted(done, key=lambda pair: ([*READERS].index(pair[0]), COMMANDS.index(pair[1]))):
        refused, same, new = (counted[reader, command, what] for what in ("refused", "same rows", "new rows"))
        rows.append([reader, command, refused + same + new, refused, same, new, 0])
    reliability_tables.write(
        __file__,
        "changed_data",
        title="Data that changed between two commands",
        columns=[
            "data",
            "then",
            "tried",
            "refused",
            "the same rows",
            "tested on new rows",
            "tested on rows it learned",
        ],
        rows=reliability_tables.with_total(rows),
        note=f"Rows added, removed, reordered and edited ({len(CHANGES)} changes), and options that choose other rows. "
        "Refused: with a sentence that says what changed. The test rows of what was not refused were compared with the "
        f"training and validation rows one by one; up to {MAX_OVERLAP:.0%} of them may be equal by chance.",
    )


@pytest.mark.parametrize("name", READERS)
def test_no_figure_is_of_rows_that_were_learned_from(
    name: str, tmp_path: Path, counts: Counter[tuple[str, str, str]]
) -> None:
    reader, path, rows = READERS[name], path_of(name, tmp_path), first_rows(READERS[name])
    reader.write(path, rows)
    epochs = EPOCHS.get(name, 2)
    plain = [*reader.words(path), *COMMON, f"trainer.max_epochs={epochs}", "optimizer.lr=0.01"]
    code, said = call(train.main, *plain, f"hydra.run.dir={tmp_path / 'run'}")
    assert code == 0, said
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    if name in EPOCHS:
        assert accuracy_on_train(last, reader.build(path)) > 0.9
    kept = tmp_path / "kept"
    copy(path, kept)

    def fresh() -> Path:
        """The folder of the run as it was left, before its results."""
        shutil.rmtree(tmp_path / "again", ignore_errors=True)
        shutil.copytree(tmp_path / "run", tmp_path / "again")
        (tmp_path / "again" / "results.json").unlink()
        return tmp_path / "again"

    def note(command: str, code: int, said: str, *, may_pass: bool, same: bool, case: str) -> None:
        assert "Traceback" not in said, (case, command, said)
        assert code == (0 if may_pass else 2), (case, command, said)
        if not may_pass:
            assert ("cannot be resumed" if command in COMMANDS[:2] else "was trained or validated on") in said, (
                case,
                said,
            )
        elif command in COMMANDS[2:] and name in EPOCHS:
            assert json.loads(said[said.index("{") :])["metrics"]["test/accuracy"] < 0.85, (case, said)
        counts[name, command, "refused" if not may_pass else "same rows" if same else "new rows"] += 1

    more = f"trainer.max_epochs={epochs + 1}"
    for case, change in CHANGES.items():
        before = reader.build(kept)
        reader.write(path, change(reader, rows))
        same = before.fit_fingerprint().same_rows(reader.build(path).fit_fingerprint())
        is_new = share_seen(reader, before, reader.build(path)) <= MAX_OVERLAP
        told = [f"ckpt={fresh() / 'checkpoints' / 'last.ckpt'}", more]
        note("continued", *call(train.main, *told), may_pass=same, same=same, case=case)
        told = [*plain, f"hydra.run.dir={fresh()}", "resume=auto"]
        note("resume=auto", *call(train.main, *told), may_pass=same, same=same, case=case)
        note("evaluated", *call(evaluate.main, f"ckpt={last}", "json=true"), may_pass=is_new, same=same, case=case)
        other = tmp_path / f"elsewhere{path.suffix}"
        copy(path, other)
        told = [f"ckpt={last}", f"data.path={other}", "json=true"]
        note("evaluated elsewhere", *call(evaluate.main, *told), may_pass=is_new, same=same, case=case)
        copy(kept, path)
    for word in (word for word in OPTIONS if has(reader, word, path)):
        key, value = word.removeprefix("data.").split("=")
        before, after = reader.build(path), reader.build(path, **{key: float(value) if "." in value else int(value)})
        same = before.fit_fingerprint().same_rows(after.fit_fingerprint())
        is_new = share_seen(reader, before, after) <= MAX_OVERLAP
        told = [f"ckpt={fresh() / 'checkpoints' / 'last.ckpt'}", more, word]
        note("continued", *call(train.main, *told), may_pass=same, same=same, case=word)
        told = [f"ckpt={last}", word.replace("seed=", "data.seed=") if word == "seed=1" else word, "json=true"]
        note("evaluated", *call(evaluate.main, *told), may_pass=is_new, same=same, case=word)


def copy(source: Path, to: Path) -> None:
    if to.is_dir():
        shutil.rmtree(to)
    if source.is_dir():
        shutil.copytree(source, to)
    else:
        shutil.copyfile(source, to)


def accuracy_on_train(ckpt: Path, data: Any) -> float:
    task, _ = load_task(ckpt)
    rows = data.arrays("train")
    with torch.no_grad():
        return float((task(rows.x).argmax(1) == rows.y).float().mean())
