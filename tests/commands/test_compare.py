"""Runs side by side: what differs in their configs, what each reached, and one picture of all curves."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from figure_texts import check_layout
from small_runs import Terminal
from sweep_runs import run_trials_here

from dlzoo.api import compared, comparison
from dlzoo.api.run import Run
from dlzoo.commands import compare, train
from dlzoo.visualization import curves


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of a sweep, by the command itself, and a third that has not ended."""
    folder = tmp_path_factory.mktemp("sweep")
    words = ["-m", "net.hidden=[8],[16]", "trainer=cpu", "trainer.max_epochs=2", "data=wine", "logger=none"]
    words += ["callbacks=[history,checkpoint]", f"hydra.sweep.dir={folder}", f"output_dir={folder}"]
    with pytest.MonkeyPatch.context() as patch:
        run_trials_here(patch)
        patch.setattr(sys, "argv", ["train.py", *words])
        with pytest.raises(SystemExit) as left:
            train.main()
    assert left.value.code == 0
    shutil.copytree(folder / "1-mlp-wine-seed0", folder / "10-mlp-wine-seed0")
    (folder / "10-mlp-wine-seed0" / "results.json").unlink()
    return folder


def rows(out: str, heading: str) -> dict[str, list[str]]:
    """The table under a heading, by its first column."""
    lines = out[out.index(heading) :].split("\n\n")[0].splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines}


def test_only_differences_are_shown(sweep: Path, terminal: Terminal, tmp_path: Path) -> None:
    code, out, err = terminal(compare.main, sweep, f"output={tmp_path / 'curves.png'}")
    assert (code, err) == (0, "")
    assert [line[:1] for line in out.splitlines()[:3]] == ["A", "B", "C"]
    assert "10-mlp-wine-seed0   (unfinished or failed)" in out
    assert rows(out, "config") == {"config": ["A", "B", "C"], "net.hidden": ["[8]", "[16]", "[16]"]}
    results = rows(out, "results")
    assert results["epochs"] == ["2", "2", "2"]
    assert results["test/accuracy"][2] == "-"
    assert all(cell.endswith("%") for cell in results["test/accuracy"][:2])
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_the_curves_are_those_of_metrics_csv(sweep: Path) -> None:
    runs = [Run(folder) for folder in comparison.runs_under(str(sweep))[:2]]
    figure = comparison.overlaid(runs)
    assert figure is not None
    loss = figure.axes[0]
    drawn = [[float(y) for y in line.get_ydata()] for line in loss.get_lines()]  # type: ignore[union-attr]
    wanted = [curves.curve(run.epochs, f"{split}/loss")[1] for run in runs for split in ("train", "val")]
    assert drawn == wanted
    assert len(drawn[0]) == 2
    (legend,) = figure.legends
    check_layout(figure)
    assert [text.get_text() for text in legend.get_texts()] == ["A  [8]", "B  [16]"]


def test_runs_of_other_groups(tmp_path: Path) -> None:
    """A class that a choice implies is not listed; callbacks that only some runs have are listed by name alone."""
    a = {"model": "mlp", "net._target_": "MLP", "net.hidden": [8], "callbacks.film._target_": "Film", "seed": 1}
    b = {"model": "lenet", "net._target_": "LeNet", "seed": True, "data.data_dir": "/a"}
    assert compared.differences([a, b]) == {
        "model": ["mlp", "lenet"],
        "net.hidden": ["[8]", "-"],
        "seed": ["1", "true"],
        "differing callbacks": ["film", "-"],
    }


def test_mistakes_are_said(sweep: Path, terminal: Terminal, tmp_path: Path) -> None:
    assert "give at least two runs" in terminal.mistake(compare.main, sweep / "0-mlp-wine-seed0")
    assert "did you mean '0-mlp-wine-seed0'" in terminal.mistake(compare.main, sweep / "0-mlp-wine-seed")
    assert "contains none" in terminal.mistake(compare.main, tmp_path, sweep)
    assert "must be .png" in terminal.mistake(compare.main, sweep, "output=curves.txt")
    assert "did you mean 'output'" in terminal.mistake(compare.main, sweep, "outptu=curves.png")


@pytest.mark.parametrize("value", ["1e308", "1e101"])
def test_numbers_that_nothing_can_draw(value: str, sweep: Path, terminal: Terminal, tmp_path: Path) -> None:
    shutil.copytree(sweep, tmp_path / "sweep")
    curves = sorted((tmp_path / "sweep").rglob("metrics.csv"))[0]
    curves.write_text(f"epoch,train/loss,val/loss\n0,{value},-1e308\n1,-1e308,0.5\n2,1,1\n")
    done = terminal(compare.main, tmp_path / "sweep", f"output={tmp_path / 'curves.png'}")
    assert done.code == 0, done.err


def test_folders_of_runs_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = ["run2", "run10", "run1²2", "²", "run٣", "a"]
    for name in names:
        (tmp_path / name / ".hydra").mkdir(parents=True)
        (tmp_path / name / ".hydra" / "config.yaml").touch()
    assert [path.name for path in comparison.runs_under(str(tmp_path))] == ["a", "run1²2", "run2", "run٣", "run10", "²"]
