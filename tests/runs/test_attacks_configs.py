"""Whatever a stranger writes into a config or a checkpoint: no process, no connection, nothing written outside of the
run, no traceback.

``DLZOO_WRITE_RESULTS=1 pytest -m reliability tests/runs/test_attacks_configs.py`` writes the counts for RESULTS.md.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import reliability_tables
import torch
import yaml
from attacks import CANARY_MODULE, TERMINAL, Attack, drawn, payloads, shown, unbalanced, writes
from audit import audited
from small_runs import changed, run

from dlzoo.checkpoint import load as checkpoint
from dlzoo.commands import evaluate, rerun_step, train
from dlzoo.config import allowlist as trust
from dlzoo.config import user_files
from dlzoo.errors import UserError

FEW, MANY = 30, 500
SECRET = "topsecret"
PLAIN = ["data=digits", "callbacks=checkpoint", "logger=none", "trainer=smoke", "trainer.accelerator=cpu"]


class Result(NamedTuple):
    code: int | None
    """None: an exception that nobody answered."""
    err: str
    violations: list[str]

    @property
    def is_answered(self) -> bool:
        """Whether it ended well, or with one line that says why not."""
        lines = [line for line in self.err.splitlines() if not line.startswith("warning: ")]
        if self.code == 0:
            return True
        return (
            self.code in (1, 2) and len(lines) == 1 and lines[0].startswith("error: ") and "Traceback" not in self.err
        )


class Victim:
    """Someone who uses what an attacker sent."""

    def __init__(self, folder: Path, ckpt: Path) -> None:
        self.folder = folder
        self.ckpt = ckpt
        self.canary = folder / "canary"
        self.number = 0

    def uses(self, attack: Attack) -> Result:
        self.number += 1
        here = self.folder / str(self.number)
        (here / "cwd").mkdir(parents=True)
        for path, text in attack.files.items():
            file = here / "config" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        spoilt = changed(self.ckpt, here / "spoilt.ckpt", lambda content: spoil(content, attack))
        output = f"output_dir={here / 'outputs'}"
        if attack.files:
            words = ["--config-dir", str(here / "config"), "experiment=mine", *PLAIN, output, *attack.flags]
            return self.call(train.main, words, here)
        if attack.words:
            return self.call(train.main, [f"ckpt={spoilt}", "trainer.max_epochs=2", output], here)
        return self.call(evaluate.main, [f"ckpt={spoilt}"], here)

    def call(self, main: Callable[[], None], words: list[str], here: Path) -> Result:
        code: int | None = None
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(io.StringIO()) as err:
            patch.setattr(sys, "argv", ["command", *words])
            patch.setenv("A_SECRET", SECRET)
            patch.setattr(tempfile, "tempdir", str(here / "outputs"))
            patch.chdir(here / "cwd")
            (here / "outputs").mkdir()
            with (
                contextlib.redirect_stdout(io.StringIO()) as out,
                audited(here / "outputs", canaries=["canary_module"], programs=["git"]) as violations,
            ):
                try:
                    main()
                except SystemExit as left:
                    code = left.code if isinstance(left.code, int) else 0
                except Exception as error:
                    print(f"Traceback: {type(error).__name__}: {error}", file=sys.stderr)
        sys.modules.pop("canary_module", None)
        violations += [f"{text!r} was shown" for text in (SECRET, TERMINAL) if text in out.getvalue() + err.getvalue()]
        if self.canary.exists():
            violations.append("the canary was written")
            shutil.rmtree(self.canary) if self.canary.is_dir() else self.canary.unlink()
        return Result(code, err.getvalue(), violations)


def spoil(content: dict[str, Any], attack: Attack) -> None:
    content["dlzoo"]["overrides"] = [*PLAIN, "net.hidden=[8]", "trainer.max_epochs=1", *attack.words]
    if attack.nodes:
        cfg = yaml.safe_load(content["dlzoo"]["config"])
        content["dlzoo"]["config"] = yaml.safe_dump(merged(cfg, attack.nodes))


def merged(node: Any, change: Any) -> Any:
    if isinstance(node, dict) and isinstance(change, dict) and "_target_" not in change:
        return node | {key: merged(node.get(key), value) for key, value in change.items()}
    return change


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    folder = tmp_path_factory.mktemp("victim")
    run(folder / "run", "data=digits", "trainer.max_epochs=1")
    (folder / "modules").mkdir()
    (folder / "modules" / "canary_module.py").write_text(CANARY_MODULE)
    (folder / "outside.yaml").write_text("_target_: canary_module.Net\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder / "modules")
        yield Victim(folder, folder / "run" / "checkpoints" / "best.ckpt")


def broken_by(victim: Victim, attacks: list[Attack]) -> Iterator[tuple[Attack, Result]]:
    for attack in attacks:
        result = victim.uses(attack)
        if result.violations or not result.is_answered:
            yield attack, result


def test_a_few_attacks(victim: Victim) -> None:
    assert [*broken_by(victim, drawn(victim.canary, FEW))] == []


@pytest.mark.reliability
def test_many_attacks(victim: Victim) -> None:
    attacks = drawn(victim.canary, MANY, seed=1)
    broken = [*broken_by(victim, attacks)]
    if reliability_tables.are_wanted():
        bad = {id(attack) for attack, _ in broken}
        tried = Counter(kind_of(attack) for attack in attacks)
        failed = Counter(kind_of(attack) for attack in attacks if id(attack) in bad)
        reliability_tables.write(
            __file__,
            "attacks_configs",
            title="Configs and overrides by a stranger",
            columns=["brought by", "tried", "broken"],
            rows=reliability_tables.with_total([[kind, tried[kind], failed[kind]] for kind in sorted(tried)]),
            note="Generated: what runs a program, imports a module, writes a file or connects, at every place of a "
            "config, nested, behind references, made out of text, and as names of groups; shown by --cfg, --info and "
            "--help; in lists with quotes that do not close. Broken: a process, a connection, a secret or a command of "
            "the terminal that is shown, a file outside of the run's folder, an import (all seen by an audit hook), or "
            "a traceback.",
        )
    assert broken == []


def kind_of(attack: Attack) -> str:
    if attack.files:
        return "files of --config-dir" + " with flags that only show something" * bool(attack.flags)
    return "overrides in a checkpoint" if attack.words else "the config in a checkpoint"


def test_without_the_checks_they_would_harm(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests above would pass for a wrong reason."""
    node = payloads(victim.canary)["import of a class"]
    words = [f"++net._target_={node['_target_']}"]
    attacks = [Attack("words", {}, words, {}), Attack("config", {}, [], {"net": node})]
    text = "# @package _global_\nnet: {_target_: canary_module.Net}\n"
    attacks.append(Attack("file", {"experiment/mine.yaml": text}, [], {}))
    text = f"# @package _global_\nhydra: {{run: {{dir: {victim.canary}}}}}\n"
    attacks.append(Attack("folder", {"experiment/mine.yaml": text}, [], {}))
    assert [*broken_by(victim, attacks)] == []
    monkeypatch.setattr(trust.Trust, "check_target", lambda _, target, key: target)
    monkeypatch.setattr(trust.Trust, "covers", lambda *_: True)
    monkeypatch.setattr(user_files, "check", lambda *_: None)
    monkeypatch.setattr(checkpoint, "ALLOWED", dict.fromkeys(checkpoint.ALLOWED, ("",)))
    results = [victim.uses(attack) for attack in attacks]
    assert [bool(result.violations) for result in results] == [True] * 4, results


def test_secrets_stay_where_they_are(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    """No text of the environment gets into what a run leaves."""
    monkeypatch.setenv("HOME", "/home/a-secret")
    text = '# @package _global_\nexpect: [{metric: test/accuracy, min: 0.1, source: "${oc.env:HOME}"}]\n'
    result = victim.uses(Attack("a secret", {"experiment/mine.yaml": text}, [], {}))
    assert (result.code, result.violations) == (2, []), result
    assert "not oc.env:" in result.err
    assert "a-secret" not in result.err
    assert min(len([*kind(victim.canary)]) for kind in (writes, shown, unbalanced)) > 100


CHECKPOINT = "lightning.pytorch.callbacks.ModelCheckpoint, monitor: null, auto_insert_metric_name: false"
NAMED = {
    "the environment by an object's attributes": f"c: {{_target_: {CHECKPOINT}, filename: "
    "'a{epoch].backward.__globals__[torch].os.environ[A_SECRET}'}",
    "signs by their numbers": f"c: {{_target_: {CHECKPOINT}, filename: '{{step:c}}{{step:c}}/x'}}",
    "a width that fills memory": f"c: {{_target_: {CHECKPOINT}, filename: '{{step:99999999999d}}'}}",
}
PIECES = """
expect: [{metric: test/accuracy, min: 0.1, source: "${callbacks.c.filename}{oc.env:A_SECRET}"}]
callbacks: {c: {_target_: %s, filename: "$"}}
"""
MISTAKES = {
    **{name: f"callbacks: {{{node}}}" for name, node in NAMED.items()},
    "TensorBoard's name": "logger: {t: {_target_: lightning.pytorch.loggers.TensorBoardLogger, name: x$A_SECRET}}",
    "an escaped reference": r'expect: [{metric: test/accuracy, min: 0.1, source: "\\${oc.env:A_SECRET}"}]',
    "an escaped reference in a name": r"logger: {t: {_target_: lightning.pytorch.loggers.CSVLogger, "
    r'name: "\\${oc.env:A_SECRET}"}}',
    "a reference in pieces": PIECES % CHECKPOINT,
    "a claim of a text": "expect: [{metric: test/accuracy, min: abc}]",
    "a claim of a list": "expect: [{metric: [1], min: 1}]",
    "claims that are a number": "expect: 5",
    "a claim that is a number": "expect: [5]",
    "a grid that is a number": "grid: 5",
    "a tag of Python's": "net: !!python/object/apply:os.system [ls]",
    "a key that stands twice": "net: {}\nnet: {}",
    "a callback that wants another task": "callbacks: {c: {_target_: lightning.pytorch.callbacks.BackboneFinetuning}}",
    "a callback's device": "callbacks: {c: {_target_: lightning.pytorch.callbacks.StochasticWeightAveraging, "
    "swa_lrs: 0.1, device: nonsense}}",
    "a metric that is not there": "callbacks: {c: {_target_: lightning.pytorch.callbacks.EarlyStopping, "
    "monitor: nope}}",
    "a callback's depth": "callbacks: {c: {_target_: lightning.pytorch.callbacks.ModelSummary, max_depth: -5}}",
    "a package that is missing": "trainer: {precision: transformer-engine}",
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_no_name_or_text_may_stand_for(name: str, victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "topsecret")
    result = victim.uses(Attack(name, {"experiment/mine.yaml": f"# @package _global_\n{MISTAKES[name]}\n"}, [], {}))
    assert (result.code, result.violations, result.is_answered) == (2, [], True), result
    here = victim.folder / str(victim.number) / "outputs"
    assert [path for path in here.rglob("*") if "topsecret" in path.name] == []
    assert "topsecret" not in result.err


def moment(**changes: Any) -> dict[str, Any]:
    batch = [torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.long)]
    stored = {"epoch": 0, "step": 0, "batch": batch, "carried": {}, "random": {"torch": torch.get_rng_state()}}
    return {"moment": stored | changes, "wrong": "step 1"}


CARDS: dict[str, dict[str, Any]] = {
    "more weights than a machine has": {"config": {"net": {"hidden": [10**7, 10**7]}}},
    "no data": {"config": {"data": None}},
    "a claim of a text": {"config": {"expect": [{"metric": "test/accuracy", "min": "x"}]}},
    "a picture of negative height": {"spec": {"height": -1}},
    "a picture larger than memory": {"spec": {"height": 10**9}},
    "names that are numbers": {"target": {"names": ["a", *range(9)]}},
    "no words": {"content": {**moment(), "wrong": None, "moment": 5}},
    "a moment of nothing": {"content": {**moment(), "moment": {}}},
    "a method carried over": {"content": moment(carried={"training_step": 5})},
    "random numbers of another kind": {"content": moment(random={"torch": torch.zeros(3)})},
    "a package that is missing": {"content": moment(), "config": {"trainer": {"precision": "transformer-engine"}}},
}


@pytest.mark.parametrize("name", CARDS)
def test_a_card_that_cannot_be_built(name: str, victim: Victim, tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        wanted, card = CARDS[name], content["dlzoo"]
        card["config"] = yaml.safe_dump(merged(yaml.safe_load(card["config"]), wanted.get("config", {})))
        card["spec"] |= wanted.get("spec", {})
        card["spec"]["target"] |= wanted.get("target", {})
        content |= wanted.get("content", {})

    main = rerun_step.main if "content" in CARDS[name] else evaluate.main
    (tmp_path / "cwd").mkdir()
    result = victim.call(main, [f"ckpt={changed(victim.ckpt, tmp_path / 'spoilt.ckpt', change)}"], tmp_path)
    assert (result.code, result.violations, result.is_answered) == (2, [], True), result


def test_layers_without_end_are_not_counted() -> None:
    card = {"config": "net: {_target_: dlzoo.nets.char_rnn.CharRNN, num_layers: 1000000000}", "overrides": []}
    with pytest.raises(UserError, match="num_layers=1000000000 must be 1,000 or less"):
        checkpoint.config_of({"dlzoo": card})


def test_a_net_of_our_size_is_built(victim: Victim, tmp_path: Path) -> None:
    """Else the test above would pass for a wrong reason."""
    ckpt = changed(victim.ckpt, tmp_path / "a.ckpt", lambda content: content.update(moment()))
    for number, main in enumerate((rerun_step.main, evaluate.main)):
        (tmp_path / f"{number}" / "cwd").mkdir(parents=True)
        assert victim.call(main, [f"ckpt={ckpt}"], tmp_path / f"{number}").code == 0


def test_a_link_out_of_a_config_dir_is_not_read(victim: Victim, tmp_path: Path) -> None:
    (tmp_path / "private.yaml").write_text("# @package _global_\nseed: 3\n")
    (tmp_path / "config" / "experiment").mkdir(parents=True)
    (tmp_path / "cwd").mkdir()
    (tmp_path / "config" / "experiment" / "mine.yaml").symlink_to(tmp_path / "private.yaml")
    result = victim.call(train.main, ["--config-dir", str(tmp_path / "config"), "experiment=mine"], tmp_path)
    assert result.code == 2
    assert "links outside the folder of --config-dir" in result.err
