"""`dlzoo.Run`, comparisons and sweeps: what a notebook shows of folders."""

from __future__ import annotations

import json
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import dlzoo
from dlzoo.api.sweep import as_override
from dlzoo.errors import SpecError
from dlzoo.sweep.record import Record, Trial

WORDS = (
    "model=mlp",
    "data=digits",
    "net.hidden=[8]",
    "trainer=cpu",
    "trainer.max_epochs=2",
    "logger=none",
    "quiet=true",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[dlzoo.Run]:
    folder = tmp_path_factory.mktemp("runs")
    callbacks = "callbacks=[checkpoint,history]"
    return [dlzoo.train(*WORDS, callbacks, seed=seed, output_dir=folder / f"seed{seed}") for seed in (0, 1)]


def test_what_a_run_holds(runs: list[dlzoo.Run]) -> None:
    run = runs[0]
    assert run.results["status"] == "finished"
    assert 0 <= (run.metrics["test/accuracy"] or -1) <= 1
    assert [*run.history.index] == [1, 2]
    assert run.history["val/loss"].tolist() == [row["val/loss"] for row in run.epochs]
    assert run.config["net.hidden"] == [8]
    assert [*run.pictures] == ["learning_curves"]
    assert run.pictures["learning_curves"].size[0] > 100
    assert "learning_curves" in run.pictures
    assert "samples" not in run.pictures
    assert len(run.plot().axes) >= 2
    assert "mlp on digits: test/loss" in repr(run)


def test_a_run_shows_itself(runs: list[dlzoo.Run]) -> None:
    html = runs[0]._repr_html_()
    assert "mlp on digits" in html
    assert "test/accuracy" in html
    assert "data:image/png;base64," in html
    assert "http" not in html


def test_a_page_is_written(runs: list[dlzoo.Run], tmp_path: Path) -> None:
    assert "<!doctype html>" in runs[0].report(tmp_path / "page.html").read_text(encoding="utf-8")


def test_folders_that_are_no_runs(tmp_path: Path) -> None:
    with pytest.raises(dlzoo.UserError, match="is not a run folder"):
        dlzoo.Run(tmp_path)
    with pytest.raises(dlzoo.UserError, match="there is no such"):
        dlzoo.Run(tmp_path / "run")


def test_a_picture_that_is_not_there(runs: list[dlzoo.Run]) -> None:
    with pytest.raises(dlzoo.UserError, match="did you mean 'learning_curves'"):
        runs[0].pictures["learning_curve"]


def test_a_link_out_of_the_run_is_no_picture(runs: list[dlzoo.Run], tmp_path: Path) -> None:
    shutil.copytree(runs[0].path, tmp_path / "run")
    (tmp_path / "secret.png").write_bytes((runs[0].path / "learning_curves.png").read_bytes())
    (tmp_path / "run" / "samples.png").symlink_to(tmp_path / "secret.png")
    assert [*dlzoo.Run(tmp_path / "run").pictures] == ["learning_curves"]


def test_runs_are_compared(runs: list[dlzoo.Run]) -> None:
    comparison = dlzoo.compare([runs[0], runs[1].path])
    assert comparison.differences == {"seed": ["0", "1"]}
    assert comparison.table["test/accuracy"].tolist() == [run.metrics["test/accuracy"] for run in runs]
    assert "<img" in comparison._repr_html_()
    with pytest.raises(dlzoo.UserError, match="at least two"):
        dlzoo.compare(runs[:1])
    assert dlzoo.compare(str(runs[0].path.parents[2])).differences == comparison.differences


def test_what_to_search_as_on_the_command_line() -> None:
    space = {
        "optimizer.lr": (1e-4, 0.1),
        "net.dropout": (0.1, 0.5),
        "net.hidden": [[8], [8, 8]],
        "data": ["wine", "a-b"],
    }
    assert [as_override(key, values) for key, values in space.items()] == [
        "optimizer.lr=tag(log,interval(0.0001,0.1))", "net.dropout=interval(0.1,0.5)", "net.hidden=[8],[8,8]",
        'data=wine,"a-b"',
    ]  # fmt: skip
    for wrong in (3, "text", (1, 0), (1, 2, 3), []):
        with pytest.raises(dlzoo.UserError, match="space"):
            as_override("net.width", wrong)


@pytest.mark.usefixtures("trials_here")
def test_a_grid(tmp_path: Path) -> None:
    words = [*WORDS, "callbacks=[checkpoint,history]", "trainer.limit_train_batches=8"]
    space = {"optimizer.lr": [1e-2, 1e-9]}
    sweep = dlzoo.search(*words, space=space, sampler="grid", output_dir=tmp_path)
    assert sweep.best == {"optimizer.lr": "0.01"}
    assert [*sweep.trials.index] == [0, 1]
    assert sweep.trials["test/accuracy"].iloc[0] == sweep.run.metrics["test/accuracy"]
    assert "<table" in sweep._repr_html_()


@pytest.mark.usefixtures("trials_here")
def test_a_grid_of_which_every_trial_fails(tmp_path: Path) -> None:
    with pytest.raises(dlzoo.RunFailed, match=r"every trial failed, the first because: .*loss is nan"):
        dlzoo.search(*WORDS, "callbacks=none", "optimizer=sgd", space={"optimizer.lr": [1e38]}, sampler="grid",
                     output_dir=tmp_path)  # fmt: skip


@pytest.mark.slow
def test_a_search_in_a_script_without_a_guard(tmp_path: Path) -> None:
    """Its workers do not run the script again."""
    import subprocess
    import sys

    script = tmp_path / "script.py"
    words = [*WORDS, "callbacks=[checkpoint,history]", f"output_dir={tmp_path / 'outputs'}"]
    script.write_text(
        f"print('begun')\nimport dlzoo\nspace = {{'optimizer.lr': (1e-4, 1e-1)}}\n"
        f"found = dlzoo.search(*{words!r}, space=space, trials=2, sampler='random')\n"
        "print(len(found.trials), found.run.metrics['test/accuracy'] > 0.2)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("begun") == 1
    assert done.stdout.splitlines()[-1] == "2 True"


def test_figures_show_themselves_without_pyplot(runs: list[dlzoo.Run]) -> None:
    figure = runs[0].plot()
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


def test_a_mistake_is_a_sentence_in_a_notebook() -> None:
    assert dlzoo.UserError("model=\x1b[2J: no")._render_traceback_() == ["UserError: model=\\x1b[2J: no"]


def test_an_error_that_python_prints_does_not_command_the_terminal() -> None:
    for error in (dlzoo.UserError("no \x1b[2J"), SpecError("no \x1b[2J"), dlzoo.RunFailed("no \x1b", "more \x1b[2J")):
        assert "\x1b" not in "".join(traceback.format_exception(error))
        assert "no \\x1b" in str(error)


ESCAPE = "\x1b[2J\u202e"


@pytest.fixture
def forged(runs: list[dlzoo.Run], tmp_path: Path) -> Path:
    """A run folder with control characters wherever text may stand."""
    folder = tmp_path / f"run{ESCAPE}"
    shutil.copytree(runs[0].path, folder)
    results = json.loads((folder / "results.json").read_text())
    results["metrics"] |= {f"test/{ESCAPE}": 0.5}
    (folder / "results.json").write_text(json.dumps(results | {"model": ESCAPE, "status": ESCAPE}))
    (folder / "metrics.csv").write_text(f"epoch,val/{ESCAPE}\n1,0.5\n", encoding="utf-8")
    (folder / "learning_curves.png").rename(folder / f"{ESCAPE}.png")
    hydra = yaml.safe_load((folder / ".hydra/hydra.yaml").read_text())
    hydra["hydra"]["runtime"]["choices"]["model"] = ESCAPE
    (folder / ".hydra/hydra.yaml").write_text(yaml.safe_dump(hydra))
    return folder


SHOWN: dict[str, Callable[[dlzoo.Run], str]] = {
    "the run": repr,
    "its title": lambda run: run.title,
    "its HTML": lambda run: run._repr_html_(),
    "its history": lambda run: run.history.to_string(),
    "its pictures": lambda run: repr(run.pictures),
    "a comparison": lambda run: repr(dlzoo.compare([run, run])),
    "a comparison's HTML": lambda run: dlzoo.compare([run, run])._repr_html_(),
    "all runs": lambda run: dlzoo.runs(run.path.parent).to_string(),
}


@pytest.mark.parametrize("what", SHOWN)
def test_a_strangers_run_does_not_command_the_terminal(what: str, forged: Path) -> None:
    shown = SHOWN[what](dlzoo.Run(forged))
    assert "\\x1b[2J" in shown
    assert not {*shown} & {"\x1b", "\u202e"}


@pytest.fixture
def sweep(runs: list[dlzoo.Run], tmp_path: Path) -> Path:
    """The folder of a sweep whose only trial is a run."""
    shutil.copytree(runs[0].path, tmp_path / "sweep" / "0")
    trial = Trial(0, [f"x={ESCAPE}"], {ESCAPE: ESCAPE}, "complete", 0.5, folder=str(tmp_path / "sweep" / "0"))
    Record([], f"val/{ESCAPE}", "max", [trial]).write(tmp_path / "sweep")
    return tmp_path / "sweep"


def test_a_strangers_sweep_does_not_command_the_terminal(sweep: Path) -> None:
    shown = dlzoo.Sweep(sweep)._repr_html_() + dlzoo.Sweep(sweep).trials.to_string()
    assert "\\x1b[2J" in shown
    assert not {*shown} & {"\x1b", "\u202e"}


def test_the_winner_of_a_sweep_is_no_run_elsewhere(sweep: Path, tmp_path: Path) -> None:
    """Its report would be written there."""
    assert dlzoo.Sweep(sweep).run.path == sweep / "0"
    (sweep / "0").rename(tmp_path / "elsewhere")
    (sweep / "winner-0").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(dlzoo.UserError, match="winner-0 links outside the folder of the sweep"):
        dlzoo.Sweep(sweep).run  # noqa: B018
