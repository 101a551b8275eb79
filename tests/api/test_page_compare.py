"""The page that compares runs: what it holds, that text of runs stays text, and what its script does in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_runs import Terminal, bare_run

import dlzoo
from dlzoo.api import page_compare
from dlzoo.commands import compare

HOSTILE = "</script><img src=x onerror=alert(1)>"


def make(folder: Path, lr: float, accuracy: float | None, *, width: str = "[8]") -> dlzoo.Run:
    """A run folder with curves and a picture, without weights."""
    config = {"optimizer": {"lr": lr}, "net": {"hidden": width}}
    bare_run(folder, config, {"metrics": {"test/accuracy": accuracy}, "status": "finished"})
    (folder / "metrics.csv").write_text(f"epoch,step,train/loss,val/loss\n1,5,{lr + 1},2\n2,10,{lr},nan\n")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "confusion_matrix.png")
    return dlzoo.Run(folder)


@pytest.fixture
def page(tmp_path: Path) -> str:
    runs = [
        make(tmp_path / "a", 0.5, 0.25),
        make(tmp_path / "b", 0.1, 0.75),
        make(tmp_path / "c", 2.0, None, width=HOSTILE),
    ]
    shutil.copy(tmp_path / "a" / "confusion_matrix.png", tmp_path / "a" / "only_here.png")
    return dlzoo.compare(runs).page(tmp_path / "page.html").read_text(encoding="utf-8")


def data_in(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert match
    return json.loads(match[1])


def test_what_it_holds(page: str) -> None:
    data = data_in(page)
    assert [run["name"] for run in data["runs"]] == ["A", "B", "C"]
    assert data["options"]["optimizer.lr"] == ["0.5", "0.1", "2.0"]
    assert data["curves"]["loss"][:2] == [
        {"run": 0, "split": "train", "points": [[1, 1.5], [2, 0.5]]},
        {"run": 0, "split": "val", "points": [[1, 2.0], [2, None]]},
    ]
    assert '<td class="number" data-value="0.75">75.00%</td>' in page
    assert page.count("<figure data-run=") == 3  # what one run alone has is not compared
    assert page.count("data:image/png;base64,") == 3


def test_it_needs_nothing_else_and_text_stays_text(page: str, tmp_path: Path) -> None:
    assert "Content-Security-Policy\" content=\"default-src 'none'; img-src data:" in page
    assert not re.search(r"<(script|img|link|iframe)[^>]* (src|href)=(?!.data:)", page)
    assert "<img src=x" not in page
    assert page.count("</script>") == 2  # of the data, and of the page's own
    assert data_in(page)["options"]["net.hidden"][2] == HOSTILE
    assert str(tmp_path) not in page


def test_long_curves_are_thinned(tmp_path: Path) -> None:
    run = make(tmp_path / "a", 0.1, None)
    rows = "".join(f"{epoch},{epoch},{epoch}\n" for epoch in range(1, 5001))
    (run.path / "metrics.csv").write_text("epoch,step,val/loss\n" + rows)
    points = page_compare.points_of(dlzoo.Run(run.path), "val/loss")
    assert len(points) <= page_compare.MAX_POINTS + 1
    assert (points[0], points[-1]) == ((1, 1.0), (5000, 5000.0))


def test_numbers_as_large_as_numbers_can_be(tmp_path: Path) -> None:
    run = make(tmp_path / "a", 1.0, 0.5)
    (tmp_path / "a" / "metrics.csv").write_text("epoch,val/loss\n1,1.797693e308\n2,-1.7e308\n")
    assert page_compare.curves([run])["loss"][0]["points"] == [(1, None), (2, -1.7e308)]


with_node = pytest.mark.skipif(
    shutil.which("node") is None, reason="no node: no package of the test extra runs JavaScript"
)
"""What the page holds, without its script, is tested in any case; readers' browsers run the script."""


@with_node
def test_the_script_parses() -> None:
    script = page_compare._resource("page_compare.js")
    command = ["node", "--check", "-"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr


@with_node
@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        ("0", "1", [0, 0.2, 0.4, 0.6, 0.8, 1]),
        ("1e17", "1e17", []),
        ("1e17", "1e17 + 64", None),
        ("-1.7e308", "1.7e308", None),
        ("0", "Infinity", []),
        ("NaN", "NaN", []),
    ],
)
def test_the_ticks_of_an_axis_end(low: str, high: str, ticks: list[float] | None) -> None:
    script = page_compare._resource("page_compare.js")
    function = script[script.index("const nice = ") : script.index("const short = ")]
    code = f"{function}; console.log(JSON.stringify(nice({low}, {high}, 5)))"
    found = subprocess.run(["node", "-e", code], capture_output=True, text=True, timeout=20, check=True)
    shown = json.loads(found.stdout)
    assert len(shown) < 100
    assert ticks is None or shown == pytest.approx(ticks)


def test_the_command_writes_it(tmp_path: Path, terminal: Terminal) -> None:
    make(tmp_path / "a", 0.5, 0.25)
    make(tmp_path / "b", 0.1, 0.75)
    said = terminal(compare.main, tmp_path, f"output={tmp_path / 'page.html'}")
    assert said.code == 0, said.err
    assert "page.html" in said.out
    assert "<!doctype html>" in (tmp_path / "page.html").read_text()
    assert ".png, .svg, .pdf or .html" in terminal.mistake(compare.main, tmp_path, "output=page.htm")


IN_THE_BROWSER = """
<script>
const says = [];
const note = (text) => says.push(text);
window.addEventListener("error", (event) => note(`error ${event.message}`));
const all = (selector) => [...document.querySelectorAll(selector)];
const order = () => all("#runs tbody tr:not([hidden])").map((row) => row.dataset.run).join("");
const paths = () => document.querySelectorAll("#chart path").length;
window.addEventListener("load", () => {
  const head = all("#runs th").find((head) => head.textContent === "test/accuracy");
  note(`start ${order()} ${paths()}`);
  head.querySelector("button").click();
  note(`up ${order()}`);
  head.querySelector("button").click();
  note(`down ${order()}`);
  const label = all("#filters label").find((label) => label.textContent.startsWith("optimizer.lr"));
  const select = label.querySelector("select");
  select.value = "1";
  select.dispatchEvent(new Event("change"));
  note(`filtered ${order()} ${paths()} ${document.getElementById("count").textContent}`);
  note(`pictures ${document.querySelectorAll(".side figure:not([hidden])").length}`);
  select.value = "";
  select.dispatchEvent(new Event("change"));
  document.querySelector("#runs input").click();
  note(`unchecked ${paths()}`);
  const box = document.getElementById("chart").getBoundingClientRect();
  const place = { clientX: box.left + 60, clientY: box.top + 9 };
  document.getElementById("chart").dispatchEvent(new PointerEvent("pointermove", place));
  note(`tip ${document.getElementById("tip").textContent}`);
  note(`wide ${document.documentElement.scrollWidth <= innerWidth}`);
  document.body.textContent = "SAYS " + JSON.stringify(says);
});
</script>
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
def test_it_sorts_filters_and_draws(page: str, tmp_path: Path) -> None:
    path = tmp_path / "tried.html"
    path.write_text(page.replace("<body>", f"<body>{IN_THE_BROWSER}"), encoding="utf-8")
    command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000"]
    done = subprocess.run(
        [*command, "--window-size=500,900", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    match = re.search(r"SAYS (\[.*?\])</body>", done.stdout, re.DOTALL)
    assert match, done.stdout[-2000:]
    assert json.loads(match[1]) == [
        "start 012 6",
        "up 012",  # the one without a value is last
        "down 102",
        "filtered 1 2 1 of 3 runs",
        "pictures 1",
        "unchecked 4",
        "tip epoch 1A  2C  2",
        "wide true",
    ]
