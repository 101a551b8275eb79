"""Experiment trackers: what each of them gets, under which names, and who may choose one."""

from __future__ import annotations

import csv
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from small_runs import with_experiment

import dlzoo
from dlzoo.callbacks import trackers
from dlzoo.config import compose as config
from dlzoo.config import groups, schema, stored_overrides
from dlzoo.config.allowlist import NETWORKED, Trust

WORDS = ("model=mlp", "data=digits", "net.hidden=[8]", "trainer=cpu", "trainer.max_epochs=2", "quiet=true")
FEW = "callbacks=[checkpoint,history]"


class Fake(trackers.Tracker):
    """Notes what a tracker would send."""

    def __init__(self, save_dir: str) -> None:
        super().__init__(save_dir, "p", None)
        self.sent: list[tuple[str, Any]] = []

    def send_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.sent.append(("metrics", (step, dict(metrics))))

    def send_config(self, config: Mapping[str, object]) -> None:
        self.sent.append(("config", dict(config)))

    def send_picture(self, name: str, path: Path, step: int) -> None:
        assert path.read_bytes()[:4] == b"\x89PNG"
        self.sent.append(("picture", name))

    def send_text(self, name: str, text: str) -> None:
        self.sent.append(("text", (name, text)))

    def send_end(self, status: trackers.Status) -> None:
        self.sent.append(("end", status))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> list[Fake]:
    """The trackers of the runs with ``logger=csv``."""
    made: list[Fake] = []

    def make(save_dir: str) -> Fake:
        made.append(Fake(save_dir))
        return made[-1]

    monkeypatch.setattr("dlzoo.training.trainer._build", _instead(make))
    return made


def _instead(make: Any) -> Any:
    from dlzoo.training import trainer

    original = trainer._build

    def build(node: Mapping[str, Any], defaults: Mapping[str, str]) -> Any:
        is_csv = node["_target_"] == "dlzoo.callbacks.trackers.CSV"
        return make(defaults["save_dir"]) if is_csv else original(node, defaults)

    return build


def of(kind: str, fake: Fake) -> list[Any]:
    return [content for name, content in fake.sent if name == kind]


def test_what_a_tracker_gets(fake: list[Fake], tmp_path: Path) -> None:
    run = dlzoo.train(*WORDS, FEW, "logger=[tensorboard,csv]", output_dir=tmp_path)
    (tracker,) = fake
    kinds = [kind for kind, _ in tracker.sent]
    assert kinds[0] == "config"  # so that a run which fails has it
    assert kinds[-1] == "end"
    assert of("end", tracker) == ["finished"]
    params = of("config", tracker)[0]
    assert params["net.hidden"] == "[8]"
    assert params["model"] == "mlp"
    assert params["optimizer"] == "Adam"
    texts = dict(of("text", tracker))
    assert texts["command"].startswith("dlzoo train model=mlp data=digits")
    assert "dlzoo.nets.mlp.MLP" in texts["config"]
    logged: dict[str, float] = {}
    for _, metrics in of("metrics", tracker):
        logged |= metrics
    assert {name: logged[name] for name in run.metrics} == pytest.approx(run.metrics)
    assert "train/lr" in logged
    assert "lr" not in logged
    assert of("picture", tracker) == ["learning_curves"]


def test_a_run_that_fails_ends_as_failed(fake: list[Fake], tmp_path: Path) -> None:
    with pytest.raises(dlzoo.RunFailed):
        dlzoo.train(*WORDS, FEW, "logger=csv", "optimizer=sgd", "optimizer.lr=1e30", output_dir=tmp_path)
    assert of("end", fake[0]) == ["failed"]


def test_csv_files(tmp_path: Path) -> None:
    run = dlzoo.train(*WORDS, "callbacks=checkpoint", "logger=csv", output_dir=tmp_path)
    with (run.path / "csv" / "metrics.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    last = {name: value for row in rows for name, value in row.items() if value}
    assert float(last["test/accuracy"]) == pytest.approx(run.metrics["test/accuracy"])
    assert "train/lr" in last
    assert "net.hidden" in (run.path / "csv" / "hparams.yaml").read_text()
    run.delete()


@pytest.mark.parametrize("name", NETWORKED.values())
def test_a_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(dlzoo.UserError, match=rf"logger={name} needs the package {name}.*dlzoo\[{name}\]"):
        dlzoo.train(*WORDS, f"logger={name}")


@pytest.fixture
def _as_if_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlzoo.config.optional_packages.TRACKERS", {})


@pytest.mark.usefixtures("_as_if_installed")
@pytest.mark.parametrize("name", NETWORKED.values())
def test_only_the_command_line_sends_results_away(name: str, tmp_path: Path) -> None:
    """A stranger's experiment or checkpoint does not."""
    target = next(target for target, choice in NETWORKED.items() if choice == name)
    for text in (f"defaults: [override /logger: {name}]", f"logger: {{x: {{_target_: {target}}}}}"):
        with_experiment(tmp_path, text)
        with pytest.raises(dlzoo.UserError, match=f"give logger={name} on the command line"):
            dlzoo.train("experiment=mine", config_dir=tmp_path, output_dir=tmp_path / "outputs")
    for given in ([f"logger={name}"], [f"logger=[tensorboard,{name}]"]):
        schema.check(config.compose(given), given)
    kept = stored_overrides.check([f"logger=[csv,{name}]", "seed=1"], "x.ckpt", Trust(), groups.known_keys([]))
    assert kept == ["seed=1"]


@pytest.mark.usefixtures("_as_if_installed")
@pytest.mark.parametrize("option", ["wandb.entity: evil", "mlflow.tracking_uri: a", "trackio.space_id: a/b"])
def test_a_file_does_not_say_where_they_are_sent(option: str, tmp_path: Path) -> None:
    name, _, rest = option.partition(".")
    with_experiment(tmp_path, f"logger: {{{name}: {{{rest}}}}}")
    with pytest.raises(dlzoo.UserError, match="only the user decides"):
        dlzoo.train("experiment=mine", f"logger={name}", config_dir=tmp_path, output_dir=tmp_path / "outputs")


def test_weights_and_biases_offline(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    run = dlzoo.train(*WORDS, FEW, "logger=wandb", "logger.wandb.mode=offline", output_dir=tmp_path)
    (path,) = run.path.glob("wandb/offline-run-*/run-*.wandb")
    written = path.read_bytes()
    for name in ("test/accuracy", "val/loss", "train/lr", "learning_curves", "net.hidden", "text/command"):
        assert name.encode() in written, name
    run.delete()


def test_mlflow_in_a_file(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    run = dlzoo.train(*WORDS, FEW, "logger=mlflow", output_dir=tmp_path)
    with sqlite3.connect(run.path / "mlflow.db") as store:
        metrics = dict(store.execute("select key, value from latest_metrics").fetchall())
        params = dict(store.execute("select key, value from params").fetchall())
        ((name, status),) = store.execute("select name, status from runs").fetchall()
    assert metrics["test/accuracy"] == pytest.approx(run.metrics["test/accuracy"])
    assert "train/lr" in metrics
    assert params["net.hidden"] == "[8]"
    assert (name, status) == (run.path.name, "FINISHED")
    assert [*run.path.glob("mlflow/*/artifacts/pictures/learning_curves.png")]
    run.delete()


def test_trackio_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trackio = pytest.importorskip("trackio")
    run = dlzoo.train(*WORDS, FEW, "logger=trackio", output_dir=tmp_path / "outputs")
    (recorded,) = trackio.Api().runs("dlzoo")
    assert recorded.name == run.path.name
    assert recorded.config["net.hidden"] == "[8]"
    with sqlite3.connect(tmp_path / "trackio" / "dlzoo.db") as store:
        logged = b" ".join(bytes(row[0]) for row in store.execute("select metrics from metrics"))
    for name in ("test/accuracy", "val/loss", "train/lr", "learning_curves"):
        assert name.encode() in logged
