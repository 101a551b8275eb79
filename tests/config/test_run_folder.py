"""A folder that holds a run already: a new run moves it aside, a mistake leaves it as it is."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from small_runs import Train

WORDS = ["model=softmax", "data=iris", "trainer=cpu", "callbacks=[checkpoint,history]", "trainer.max_epochs=1"]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_moves_the_first_aside(train: Train, tmp_path: Path) -> None:
    folder, earlier = tmp_path / "run", tmp_path / "run-earlier"
    given = f"hydra.run.dir={folder}"
    first = train(*WORDS, given)
    assert (first.code, "earlier run" in first.out) == (0, False)
    before = files(folder)
    second = train(*WORDS, "seed=1", given)
    assert (second.code, second.err) == (0, "")
    assert f"{folder} holds an earlier run: it is now {earlier}" in second.out
    assert files(earlier) == before
    assert len([*folder.glob("events.out.tfevents.*")]) == len([*earlier.glob("events.out.tfevents.*")])
    assert json.loads((folder / "results.json").read_text())["seed"] == 1
    assert "seed=1" in (folder / ".hydra" / "overrides.yaml").read_text()
    assert train(*WORDS, "seed=2", given).code == 0
    assert (tmp_path / "run-earlier-2" / "results.json").exists()


def test_a_run_that_continues_stays(train: Train, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert train(*WORDS, f"hydra.run.dir={folder}").code == 0
    continued = train(f"ckpt={folder / 'checkpoints' / 'last.ckpt'}", "trainer.max_epochs=2")
    assert (continued.code, "earlier run" in continued.out) == (0, False)
    assert [path.name for path in tmp_path.glob("run*")] == ["run"]
    assert not (folder / ".hydra.earlier").exists()


def test_a_mistake_leaves_a_run_as_it_is(train: Train, tmp_path: Path) -> None:
    """Also its config, which is to say what was used."""
    folder = tmp_path / "run"
    assert train(*WORDS, f"hydra.run.dir={folder}").code == 0
    before = files(folder)
    for words in ([*WORDS, "scheduler=cosine", "scheduler.warmup=-1"], ["data.val_fraction=0.5", "ckpt=CKPT"]):
        given = [word.replace("CKPT", str(folder / "checkpoints" / "last.ckpt")) for word in words]
        outcome = train(*given, f"hydra.run.dir={folder}", "data.batch_size=-1")
        assert outcome.code == 2, outcome.out
    assert files(folder) == before


def test_a_resumed_run_counts_all_its_seconds(train: Train, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert train(*WORDS, f"hydra.run.dir={folder}").code == 0
    ckpt = folder / "checkpoints" / "last.ckpt"
    content = torch.load(ckpt, weights_only=True)
    assert 0 < content["continuation"]["seconds"] < json.loads((folder / "results.json").read_text())["seconds"]["fit"]
    content["continuation"]["seconds"] = 1000.0
    torch.save(content, tmp_path / "changed.ckpt")
    outcome = train(f"ckpt={tmp_path / 'changed.ckpt'}", "trainer.max_epochs=2", f"hydra.run.dir={tmp_path / 'other'}")
    assert outcome.code == 0, outcome.err
    seconds = json.loads((tmp_path / "other" / "results.json").read_text())["seconds"]["fit"]
    assert seconds > 1000
    assert f"2 epochs in {seconds:.1f} s" in outcome.out
