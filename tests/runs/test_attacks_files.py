"""Checkpoints and run folders from a stranger, mutated node by node: each command answers in a sentence.

Each mutation is tried in a process of its own, under an audit hook: no traceback, no crash, nothing written outside of
the run's folder, no process and no connection. ``DLZOO_WRITE_RESULTS=1 pytest -m reliability
tests/runs/test_attacks_files.py`` writes the counts for RESULTS.md.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import io
import json
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import reliability_tables
import torch
import yaml
from attacks import links
from bad_yaml import BAD_YAML, LAUGHS
from mutations import ABSENT, Ending, Mutation, call, chosen, fresh, mutations, write

from dlzoo.commands import report
from dlzoo.errors import UserError
from dlzoo.utils import archives as durable

COMMON = "trainer.accelerator=cpu logger=none callbacks=[checkpoint,history]"
FAMILIES = {
    "momentum": "model=mlp data=digits optimizer=momentum scheduler=cosine net.hidden=[8] net.norm=batch",
    "adam, EMA, early stopping": "model=mlp data=digits optimizer=adam scheduler=plateau net.hidden=[8] "
    "callbacks=[checkpoint,history,ema,early_stopping]",
    "L-BFGS": "model=mlp data=digits optimizer=lbfgs net.hidden=[4] data.batch_size=500",
    "two optimizers": "model=dcgan data=digits net.width=4 data.batch_size=256",
    "replay buffer": "model=dqn data=cartpole data.steps_per_epoch=300 data.val_episodes=1 data.test_episodes=1 "
    "task.learning_starts=100 trainer.log_every_n_steps=1000",
    "carried state": "model=gru data=air_passengers net.stateful=true data.window=8 data.batch_size=2",
}
LAST = "run/checkpoints/last.ckpt"
QUICK = {
    "adam, EMA, early stopping": [
        (("optimizer_states", 0, "state", 0, "exp_avg"), "shorter"),
        (("loops", "fit_loop", "epoch_progress", "current", "completed"), "negative"),
        (("state_dict",), "a string"),
    ]
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """A folder with a run of a family after one epoch, made once, and one to work in, whose place it was."""
    made: dict[str, tuple[Path, Path]] = {}

    def of(family: str) -> tuple[Path, Path]:
        if family not in made:
            folder = tmp_path_factory.mktemp("run")
            work, stored = folder / "work", folder / "template"
            work.mkdir()
            words = [*COMMON.split(), *FAMILIES[family].split(), "trainer.max_epochs=1", "hydra.run.dir=run"]
            # a key given twice: the family's own counts
            words = list({word.partition("=")[0]: word for word in words}.values())
            ending = call(work, "dlzoo.commands.train", words)
            assert ending.code == 0, ending
            fresh(work, stored)
            made[family] = work, stored
        return made[family]

    return of


Tally = dict[str, tuple[int, int, int]]


@pytest.fixture(scope="module")
def tally() -> Iterator[Tally]:
    """By what was changed: how often it was tried, refused in a sentence, and ended badly."""
    counted: Tally = {}
    yield counted
    if len(counted) < len(FAMILIES) + 2:
        return
    reliability_tables.write(
        __file__,
        "attacks_files",
        title="Checkpoints and run folders from a stranger",
        columns=["what was changed", "mutations", "refused in a sentence", "traceback, crash or something touched"],
        rows=reliability_tables.with_total([[what, *numbers] for what, numbers in counted.items()]),
        note="One node of a file is removed or becomes of another kind, length, shape or size; then the command runs "
        "in a process of its own under an audit hook. What is not refused ran to its end: the change meant nothing "
        "to it.",
    )


def count(tally: Tally, what: str, endings: list[tuple[str, Ending]]) -> None:
    refused = sum(ending.code != 0 for _, ending in endings)
    bad = [f"{name}: {ending}" for name, ending in endings if not ending.is_well]
    tally[what] = len(endings), refused, len(bad)
    assert not bad, "\n\n".join(bad[:10])


def continued(work: Path) -> Ending:
    return call(work, "dlzoo.commands.train", [f"ckpt={LAST}", "trainer.max_epochs=2"])


def tried(mutation: Mutation, work: Path, stored: Path, content: dict[str, Any], evaluates: bool) -> Ending:
    """Continue, or evaluate, a checkpoint with one change."""
    fresh(stored, work)
    write(work / LAST, mutation(content))
    return call(work, "dlzoo.commands.evaluate", [f"ckpt={LAST}"]) if evaluates else continued(work)


@pytest.mark.parametrize("family", QUICK)
def test_a_changed_checkpoint_is_a_sentence(family: str, template: Callable[[str], tuple[Path, Path]]) -> None:
    work, stored = template(family)
    content = torch.load(stored / LAST, weights_only=True)
    fresh(stored, work)
    assert continued(work).code == 0  # what is not changed goes on
    for place, name in QUICK[family]:
        ending = tried(Mutation(place, name), work, stored, content, evaluates=False)
        assert (ending.is_well, ending.code) == (True, 2), (place, name, str(ending))
        assert f"ckpt={work.resolve() / LAST}" in ending.text or f"ckpt={LAST}" in ending.text, ending


@pytest.mark.reliability
@pytest.mark.parametrize("family", FAMILIES)
def test_any_change_of_a_checkpoint_ends_well(
    family: str, template: Callable[[str], tuple[Path, Path]], tally: Tally
) -> None:
    work, stored = template(family)
    content = torch.load(stored / LAST, weights_only=True)
    every = [m for m in mutations(content) if m.place[0] != "dlzoo" or m.place[1:2] == ("spec",)]
    resumed, tested = chosen(every, 30), chosen([m for m in every if m.place[0] in ("dlzoo", "state_dict")], 8, seed=1)
    endings = [
        (str(m), tried(m, work, stored, content, evaluates))
        for ms, evaluates in ((resumed, False), (tested, True))
        for m in ms
    ]
    count(tally, f"checkpoint: {family}", endings)


@pytest.mark.reliability
def test_any_change_of_the_arrays_beside_a_checkpoint_ends_well(
    template: Callable[[str], tuple[Path, Path]], tally: Tally
) -> None:
    import numpy as np

    work, stored = template("replay buffer")
    (path,) = (stored / "run" / "checkpoints").glob("last.replay*.npz")
    with np.load(path) as arrays:
        content = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    names = ["removed", "longer", "shorter", "negative", "NaN in it", "dtype", "one more axis", "huge", "a string"]
    endings = []
    for mutation in mutations(content, names):
        fresh(stored, work)
        changed = mutation(content)
        plain = {
            k: v.numpy() if isinstance(v, torch.Tensor) else np.array(v if v != 10**30 else 1e300)
            for k, v in changed.items()
        }
        durable.write(work / path.relative_to(stored), lambda file, plain=plain: np.savez(file, **plain))
        endings.append((str(mutation), continued(work)))
    count(tally, "replay buffer beside a checkpoint", endings)


# ------------------------------------------------------------------------------------------------------ run folders


def files_of(folder: Path) -> dict[str, tuple[Any, Callable[[Any], str]]]:
    """The files of a run that commands read: their content, and how it is written."""

    def table(rows: Any) -> str:
        text = io.StringIO()
        csv.writer(text).writerows(row if isinstance(row, list) else [row] for row in rows)
        return text.getvalue()

    def dump(value: Any) -> str:
        return yaml.safe_dump(plain(value))

    found: dict[str, tuple[Any, Callable[[Any], str]]] = {
        "results.json": (json.loads((folder / "results.json").read_text()), lambda value: json.dumps(plain(value))),
        "metrics.csv": ([*csv.reader((folder / "metrics.csv").open())], table),
    }
    for name in ("config", "hydra", "overrides"):
        path = f".hydra/{name}.yaml"
        found[path] = yaml.safe_load((folder / path).read_text()), dump
    return found


def plain(value: Any) -> Any:
    """What JSON and YAML can hold of a mutated value."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list | tuple) else value


COMMANDS = {
    "report": ("dlzoo.commands.report", ["run"]),
    "compare": ("dlzoo.commands.compare", ["run", "other", "output=compare.png"]),
}


def read_by(command: str, work: Path) -> Ending:
    module, words = COMMANDS[command]
    return call(work, module, words)


@pytest.fixture(scope="module")
def runs(template: Callable[[str], tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with two runs to work in, and the template of it."""
    _, stored = template("adam, EMA, early stopping")
    folder = tmp_path_factory.mktemp("runs")
    for name in ("run", "other"):
        fresh(stored / "run", folder / "template" / name)
    fresh(folder / "template", folder / "work")
    return folder / "work", folder / "template"


SPOILT: dict[str, tuple[str, str | bytes]] = {
    "no JSON": ("results.json", "{"),
    "a list for results": ("results.json", "[]"),
    "deep JSON": ("results.json", "[" * 100_000),
    "seconds that are text": ("results.json", '{"seconds": {"fit": "long"}, "metrics": {}}'),
    "metrics that are lists": ("results.json", '{"metrics": {"test/accuracy": [1]}}'),
    "a claim without a bound": ("results.json", '{"metrics": {}, "expect": [{"metric": "a"}]}'),
    "no UTF-8": ("results.json", b"\xff\xfe\x00"),
    "a word among numbers": ("metrics.csv", "epoch,val/loss\n1,abc\n"),
    "no epoch": ("metrics.csv", "a,b\n1,2\n"),
    "a short line": ("metrics.csv", "epoch,val/loss\n1\n"),
    "billion laughs": (".hydra/config.yaml", LAUGHS),
    "deep YAML": (".hydra/config.yaml", BAD_YAML["deep blocks"][0]),
    "a class in YAML": (".hydra/config.yaml", BAD_YAML["a class"][0]),
    "a config that is a list": (".hydra/config.yaml", "- 1\n"),
    "choices that are a list": (".hydra/hydra.yaml", "hydra: {runtime: {choices: [1]}}\n"),
    "no choices": (".hydra/hydra.yaml", "hydra: 3\n"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_hand_edited_run_folder_is_a_sentence(
    command: str, runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    work, stored = runs
    module, words = COMMANDS[command]
    monkeypatch.chdir(work)
    for what, (name, content) in SPOILT.items():
        fresh(stored / "run", work / "run")
        (work / "run" / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(UserError) as refused:
            import_module(module).command(words)
        assert name in str(refused.value), what


def test_a_link_out_of_a_run_folder_is_not_carried_into_its_page(
    runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    work, stored = runs
    for name in ("notes.txt", "warnings.txt", "results.json", "metrics.csv", "report.csv", ".hydra/config.yaml"):
        fresh(stored, work)
        monkeypatch.chdir(work)
        secret = work / "secret"
        secret.write_text("{'password': 123}")
        path = work / "run" / name
        path.unlink(missing_ok=True)
        path.symlink_to(secret)
        page = work / "run" / "report.html"
        with contextlib.suppress(UserError):
            report.command(["run"])
        assert not page.is_file() or "password" not in page.read_text(), name


@pytest.mark.reliability
@pytest.mark.parametrize("command", COMMANDS)
def test_any_change_of_a_run_folder_ends_well(command: str, runs: tuple[Path, Path], tally: Tally) -> None:
    work, stored = runs
    names = [
        "removed", "None", "a string", "a list", "a mapping", "nested lists", "true", "negative", "huge", "NaN",
        "infinite", "longer", "shorter",
    ]  # fmt: skip
    endings = []
    for name, (content, dump) in files_of(stored / "run").items():
        for mutation in chosen(mutations(copy.deepcopy(content), names), 9):
            fresh(stored, work)
            changed = mutation(content)
            (work / "run" / name).write_text(dump(changed if changed is not ABSENT else None), encoding="utf-8")
            endings.append((f"{name} {mutation}", read_by(command, work)))
    count(tally, f"run folder: {command}", endings)


@pytest.mark.reliability
@pytest.mark.parametrize("command", ["continued", "report"])
def test_links_named_like_outputs_are_not_written_through(
    command: str, template: Callable[[str], tuple[Path, Path]], tally: Tally
) -> None:
    work, stored = template("adam, EMA, early stopping")
    mine, endings = work.parent / "mine", []
    for name, make in links():
        fresh(stored, work)
        mine.unlink(missing_ok=True)
        mine.write_text("precious")
        (work / "run" / name).unlink(missing_ok=True)
        make(work / "run" / name, mine)
        ending = continued(work) if command == "continued" else read_by("report", work)
        # the watch follows the link of a name that is replaced: what counts is the file that it leads to
        touched = [] if mine.read_text() == "precious" else ["written through the link"]
        endings.append((f"{make.__name__} {name}", Ending(ending.code, ending.text, touched)))
    count(tally, f"links named like outputs: {command}", endings)
