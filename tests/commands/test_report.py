"""One page about a run that opens from disk: all of it inside, nothing of it taken for markup."""

from __future__ import annotations

import json
import os
from html.parser import HTMLParser
from pathlib import Path

import pytest
from small_runs import Terminal

from dlzoo.api import page_parts
from dlzoo.commands import report
from dlzoo.sweep.record import Record, Trial


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """What a run leaves, written by hand, with signs in it that HTML would take for markup."""
    from PIL import Image

    hydra = tmp_path / "run" / ".hydra"
    hydra.mkdir(parents=True)
    (hydra / "config.yaml").write_text("seed: 7\nnet: {_target_: a.B, hidden: [8]}\n")
    (hydra / "overrides.yaml").write_text("- seed=7\n")
    chosen = {"model": "mlp", "data": "wine", "experiment": "mlp_wine", "scheduler": "none"}
    (hydra / "hydra.yaml").write_text(f"hydra: {{runtime: {{choices: {json.dumps(chosen)}}}}}\n")
    results = {
        "metrics": {"test/accuracy": 0.95, "test/loss": 0.2, "val/loss": 0.3, "baseline/accuracy_logistic": 0.9},
        "expect": [{"metric": "test/accuracy", "min": 0.9, "source": "course <b>", "reached": 0.95, "met": True}],
        "seconds": {"setup": 1.0, "fit": 2.5, "test": 0.1},
        "versions": {"torch": "9.9"},
        "checkpoints": {"best": "b.ckpt", "last": None},
        "epochs": 2,
    }
    results |= {"device": "cpu", "precision": "32-true", "seed": 7, "commit": "abc", "num_parameters": 148}
    folder = hydra.parent
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "metrics.csv").write_text("epoch,step,train/loss,val/loss\n1,3,0.5,0.4\n2,6,0.25,0.3\n")
    (folder / "report.csv").write_text("class,precision,recall,f1,support\n<script>,0.5,0.25,0.333333,12\n")
    (folder / "warnings.txt").write_text("the <loss> rises\n")
    Image.new("RGB", (30, 20)).save(folder / "zebra.png")
    Image.new("RGB", (30, 20)).save(folder / "learning_curves.png")
    return folder


class Page(HTMLParser):
    """The tags that are open, the pictures, and the text."""

    VOID = ("meta", "img", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures: list[tuple[str, str]] = []
        self.text = ""
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "img":
            self.pictures.append((str(told["alt"]), str(told["src"])))
        self.links += [str(told[key]) for key in ("href", "src") if key in told]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def test_the_page_holds_all_of_the_run(run_dir: Path, terminal: Terminal) -> None:
    code, out, err = terminal(report.main, run_dir)
    assert (code, err, out.strip()) == (0, "", f"report   {run_dir / 'report.html'}")
    page = Page((run_dir / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    for told in ("mlp on wine", "95.00%", "met: ≥ 90.00%, course <b>", "the <loss> rises", "<script>0.5000", "9.9"):
        assert told in page.text, told
    for told in ("2 epochs in 2.5 s on cpu, 148 parameters, seed 7", "hidden: [8]", "seed=7", "abc", "2.5"):
        assert told in page.text, told
    assert "testaccuracy\nnet95.00%\nbaseline logistic90.00%" in page.text.replace("\n\n", "\n"), "methods by metrics"
    assert "none" not in page.text.split("Config")[1].split("full config")[0]
    assert [name for name, _ in page.pictures] == ["learning curves", "zebra"], "the curves come first"


def test_nothing_is_fetched_from_anywhere(run_dir: Path, terminal: Terminal, tmp_path: Path) -> None:
    assert terminal(report.main, run_dir, f"output={tmp_path / 'page.html'}").code == 0
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.links
    assert all(link.startswith("data:image/png;base64,") for link in page.links)


def test_paths_of_the_machine_are_not_on_the_page(run_dir: Path, terminal: Terminal) -> None:
    """Only the last name of an absolute path is shown: the page is sent to others."""
    (run_dir / ".hydra" / "config.yaml").write_text(
        "data: {path: /home/someone/houses.csv, b: 'C:\\Users\\someone\\x'}\n"
    )
    (run_dir / ".hydra" / "overrides.yaml").write_text(
        "- data.path=/home/someone/houses.csv\n- net.weights=~/someone/w.pt\n"
    )
    (run_dir / "warnings.txt").write_text("ckpt=/home/someone/best.ckpt is old; see data/someone.txt\n")
    (run_dir / "samples.txt").write_text("the path /usr/bin/env\n")
    results = json.loads((run_dir / "results.json").read_text())
    results["checkpoints"]["best"] = "/home/someone/best.ckpt"
    (run_dir / "results.json").write_text(json.dumps(results))
    assert terminal(report.main, run_dir).code == 0
    text = Page((run_dir / "report.html").read_text(encoding="utf-8")).text
    assert text.count("someone") == 1
    for shown in ("data.path=…/houses.csv", "…/best.ckpt is old; see data/someone.txt", "…/w.pt", "/usr/bin/env"):
        assert shown in text


def test_a_run_that_has_not_ended(run_dir: Path, terminal: Terminal) -> None:
    (run_dir / "results.json").unlink()
    assert terminal(report.main, run_dir).code == 0
    page = Page((run_dir / "report.html").read_text(encoding="utf-8"))
    assert "is unfinished or failed; 2 epochs recorded" in page.text


def test_mistakes_are_said(run_dir: Path, terminal: Terminal, tmp_path: Path) -> None:
    assert "give one folder" in terminal.mistake(report.main)
    assert "did you mean 'run'" in terminal.mistake(report.main, tmp_path / "rum")
    assert "is neither the folder of a run" in terminal.mistake(report.main, tmp_path)
    assert "output" in terminal.mistake(report.main, run_dir, f"output={tmp_path}")


def test_a_name_that_is_no_unicode_and_pictures_without_end(
    run_dir: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_parts, "MAX_PAGE_BYTES", sum(path.stat().st_size for path in run_dir.glob("*.*g")) + 500)
    for name in (b"x\xff.png", b"y.png", b"z.png"):
        Path(os.fsdecode(os.path.join(os.fsencode(run_dir), name))).write_bytes(b"x" * 200)
    assert terminal(report.main, run_dir).code == 0
    page = (run_dir / "report.html").read_text()
    assert "x\\udcff" in page
    assert "z.png is too large for this page" in page


def test_more_metrics_than_a_run_has(run_dir: Path, terminal: Terminal) -> None:
    results = json.loads((run_dir / "results.json").read_text())
    results["metrics"] = {f"test/{i}": 0.5 for i in range(5001)}
    (run_dir / "results.json").write_text(json.dumps(results))
    assert "metrics is" in terminal.mistake(report.main, run_dir)


def test_no_name_of_a_run_commands_the_browser_or_the_terminal(run_dir: Path, terminal: Terminal) -> None:
    """Neither as markup nor by control characters; the direction of text is not changed either."""
    odd = "\x1b]0;a\x07\u202eb<script>"
    results = json.loads((run_dir / "results.json").read_text())
    results["metrics"][f"test/{odd}"] = 0.5
    results |= {"device": odd, "commit": odd, "versions": {odd: odd}}
    results["expect"][0]["source"] = odd
    (run_dir / "results.json").write_text(json.dumps(results))
    chosen = dict.fromkeys(("model", "data", "experiment", odd), odd)
    (run_dir / ".hydra" / "hydra.yaml").write_text(f"hydra: {{runtime: {{choices: {json.dumps(chosen)}}}}}\n")
    for name in (f"{odd[:-8]}.png", f"{odd[:-8]}.txt"):
        (run_dir / name).write_text("x")
    assert terminal(report.main, str(run_dir)).code == 0
    page = (run_dir / "report.html").read_text()
    assert {c for c in page if not c.isprintable()} == {"\n"}
    assert ("<script>" in page, page.count("&lt;script&gt;") > 8) == (False, True)


ODD = "a\x1b\u202e<script>"


@pytest.fixture
def sweep_dir(tmp_path: Path) -> Path:
    """A grid over two settings and two seeds, one of which failed, with the figure of a sweep."""
    from PIL import Image

    folder = tmp_path / "grid"
    trials = [
        Trial(0, ["net.dropout=0.1", "seed=0"], {"seed": 0}, "complete", 0.9, 0.3, 2, 3, 1.0),
        Trial(1, ["net.dropout=0.1", "seed=1"], {"seed": 1}, "complete", 0.8, 0.4, 1, 3, 1.0),
        Trial(2, ["net.dropout=0.5", "seed=0"], {"seed": 0}, "complete", 0.6, 0.9, 3, 3, 1.0),
        Trial(3, [f"data.path=/home/someone/{ODD}", "seed=0"], {"seed": 0}, "failed", reason=f"no {ODD}"),
    ]
    for trial, accuracy in zip(trials, (0.5, 0.7, 0.4), strict=False):
        trial.metrics = {"val/loss": 0.3, "test/accuracy": accuracy}
    Record(["model=mlp", "data=wine"], "val/accuracy", "max", trials).write(folder)
    Image.new("RGB", (30, 20)).save(folder / "parallel_coordinates.png")
    return folder


def test_a_page_about_a_sweep(sweep_dir: Path, terminal: Terminal) -> None:
    code, out, err = terminal(report.main, sweep_dir)
    assert (code, err, out.strip()) == (0, "", f"report   {sweep_dir / 'report.html'}")
    text = (sweep_dir / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert [name for name, _ in page.pictures] == ["parallel coordinates"]
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    for shown in ("Sweep grid", "4 trials, 1 failed, 9 epochs", "all with model=mlp data=wine", "Best: trial 0"):
        assert shown in page.text, shown
    assert "net.dropout=0.1285.00 ± 7.07%60.00 ± 14.14%" in page.text, "two seeds, validation, test"
    assert page.text.index("net.dropout=0.1 seed=0") < page.text.rindex("net.dropout=0.5 seed=0"), "best first"
    assert "someone" not in text
    assert {c for c in text if not c.isprintable()} == {"\n"}
    assert "<script>" not in text


def test_a_sweep_without_a_best_trial_or_a_damaged_record(sweep_dir: Path, terminal: Terminal) -> None:
    Record([], None, "min", [Trial(0, ["seed=0"], {"seed": 0}, "failed", reason="no")]).write(sweep_dir)
    assert terminal(report.main, sweep_dir).code == 0
    assert "there is no best one" in Page((sweep_dir / "report.html").read_text(encoding="utf-8")).text
    (sweep_dir / "sweep.json").write_text('{"words": 7}')
    assert "words" in terminal.mistake(report.main, sweep_dir)
